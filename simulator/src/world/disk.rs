//! Disk: a device's memory store, which loses at a crash what was not flushed, and an observer of its contents.
//!
//! The observer sees which messages of the workload are durable in the inbox, and reports them to the [`Ledger`]:
//! receipts promise exactly this, and are checked against it. It also sees the records of the device's event log, and mail that the
//! device keeps for others, which it reports to the witness. It reads what the engine commits and changes nothing.

use super::ledger::{Ledger, message_of};
use super::medium::Medium;
use m2mesh::engine::api::{InboxRecord, MailRecord};
use m2mesh::engine::store::{Commit, Read, Table, Write};
use m2mesh::id::Lsn;
use m2mesh::store::memory::MemoryReader;
use m2mesh::store::{MemoryDisk, MemoryStore, Store, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// A store that its device's world can reach.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    store: MemoryStore,
    node: usize,
    ledger: Ledger,
    medium: Medium,
    /// The contents of commits that are not durable yet.
    pending: VecDeque<(Lsn, Pending)>,
    /// The seals of mail on the disk, by its key.
    mail: BTreeMap<Vec<u8>, [u8; 32]>,
    fails: bool,
}

/// The contents of a commit.
#[derive(Default)]
struct Pending {
    messages: Vec<u64>,
    mail: Vec<Mail>,
}

/// What becomes of a mail.
enum Mail {
    /// It is kept: its key, its seal, and until when.
    Kept(Vec<u8>, [u8; 32], u64),
    /// It is let go of.
    Gone(Vec<u8>),
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.mail.is_empty()
    }
}

impl Disk {
    /// Opens the store with what an earlier life left.
    pub fn open(disk: MemoryDisk, flush: Duration, node: usize, (ledger, medium): (&Ledger, &Medium)) -> Self {
        let mut mail = BTreeMap::new();
        let scanned = disk.scan(Table::Mail, &[], &mut |key, value| {
            mail.extend(m2mesh::wire::decode::<MailRecord>(value).map(|record| (key.to_vec(), record.seal())));
            true
        });
        debug_assert!(scanned.is_ok(), "a store in memory can be read");
        let there = mail.values().copied().collect();
        medium.witness(|witness| witness.note_mail_of_disk(node, &there));
        let store = MemoryStore::open(disk, flush);
        let (ledger, medium) = (ledger.clone(), medium.clone());
        Self(Arc::new(Mutex::new(State { store, node, ledger, medium, pending: VecDeque::new(), mail, fails: false })))
    }

    /// Loses power and returns what is left. The store must not be used any more.
    pub fn crash(&self) -> MemoryDisk {
        let mut state = self.lock();
        let store = std::mem::replace(&mut state.store, MemoryStore::new(Duration::ZERO));
        state.pending.clear();
        store.crash()
    }

    /// Sets or clears the reason for which it takes no writes.
    pub fn set_failure(&self, reason: Option<&str>) {
        let mut state = self.lock();
        state.fails = reason.is_some();
        state.store.set_failure(reason);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Disk {
    type Reader = MemoryReader;

    fn reader(&self) -> MemoryReader {
        self.lock().store.reader()
    }

    fn submit(&mut self, commit: Commit) {
        let mut state = self.lock();
        let mut pending = Pending::default();
        for write in &commit.writes {
            match write {
                Write::Put { table: Table::Inbox, value, .. } => {
                    if let Ok(record) = m2mesh::wire::decode::<InboxRecord<'_>>(value) {
                        pending.messages.extend(record.payloads().filter_map(message_of));
                    }
                }
                Write::Put { table: Table::Mail, key, value } => {
                    let record = m2mesh::wire::decode::<MailRecord>(value);
                    pending.mail.extend(record.map(|record| Mail::Kept(key.clone(), record.seal(), record.until.0)));
                }
                Write::Delete { table: Table::Mail, key } => pending.mail.push(Mail::Gone(key.clone())),
                Write::Put { table: Table::Log, value, .. } => state.ledger.handle_logged(state.node, value),
                _ => {}
            }
        }
        if !pending.is_empty() {
            state.pending.push_back((commit.lsn, pending));
        }
        if state.fails {
            state.ledger.handle_put_off(state.node);
        }
        state.store.submit(commit);
    }

    fn is_full(&self) -> bool {
        self.lock().store.is_full()
    }

    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>> {
        let mut state = self.lock();
        let polled = state.store.poll_durable(after, cx);
        if let Poll::Ready(Ok(durable)) = polled {
            while let Some((_, pending)) = state.pending.pop_front_if(|(lsn, _)| *lsn <= durable) {
                for message in pending.messages {
                    state.ledger.handle_durable(message, state.node);
                }
                for mail in pending.mail {
                    state.note_mail(mail);
                }
            }
        }
        polled
    }
}

impl State {
    fn note_mail(&mut self, mail: Mail) {
        let node = self.node;
        match mail {
            Mail::Kept(key, seal, until) => {
                self.mail.insert(key, seal);
                self.medium.witness(|witness| witness.note_kept(node, seal, until));
            }
            Mail::Gone(key) => {
                if let Some(seal) = self.mail.remove(&key) {
                    self.medium.witness(|witness| witness.note_let_go(node, seal));
                }
            }
        }
    }
}
