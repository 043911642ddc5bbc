//! Disk: a device's memory store, which loses at a crash what was not flushed, and an observer of its contents.
//!
//! The observer sees which messages of the workload are durable in the inbox, and reports them to the [`Ledger`]:
//! receipts promise exactly this, and are checked against it. It also sees the records of the device's event log. It
//! reads what the engine commits and changes nothing.

use super::ledger::{Ledger, message_of};
use m2mesh::engine::api::InboxRecord;
use m2mesh::engine::store::{Commit, Table, Write};
use m2mesh::id::Lsn;
use m2mesh::store::memory::MemoryReader;
use m2mesh::store::{MemoryDisk, MemoryStore, Store, StoreError};
use std::collections::VecDeque;
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
    /// Messages in commits that are not durable yet.
    pending: VecDeque<(Lsn, Vec<u64>)>,
    fails: bool,
}

impl Disk {
    /// Opens the store with what an earlier life left.
    pub fn open(disk: MemoryDisk, flush: Duration, node: usize, ledger: Ledger) -> Self {
        let store = MemoryStore::open(disk, flush);
        Self(Arc::new(Mutex::new(State { store, node, ledger, pending: VecDeque::new(), fails: false })))
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
        let mut messages = Vec::new();
        for write in &commit.writes {
            match write {
                Write::Put { table: Table::Inbox, value, .. } => {
                    if let Ok(record) = m2mesh::wire::decode::<InboxRecord<'_>>(value) {
                        messages.extend(record.payloads().filter_map(message_of));
                    }
                }
                Write::Put { table: Table::Log, value, .. } => state.ledger.handle_logged(state.node, value),
                _ => {}
            }
        }
        if !messages.is_empty() {
            state.pending.push_back((commit.lsn, messages));
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
            while let Some((_, messages)) = state.pending.pop_front_if(|(lsn, _)| *lsn <= durable) {
                for message in messages {
                    state.ledger.handle_durable(message, state.node);
                }
            }
        }
        polled
    }
}
