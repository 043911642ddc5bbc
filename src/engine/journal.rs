//! The commit of the turn, and the event log that rides in it.
//!
//! While inputs are handled, writes gather here. When outputs are drained they become one [`Commit`] under the
//! next number, together with the turn's inbox messages, dedupe states and events; whatever waits for it (receipts,
//! calls, notices) is put behind it with that number.
//!
//! Invariants
//! 1. Commit numbers are consecutive from 1 in a process.
//! 2. An event is durable no later than anything that happened after it and waits for the disk.

use super::api::{Reply, Token};
use super::store::{Commit, Read, ReadError, SET_ASIDE, Table, Write};
use crate::engine::core::Core;
use crate::event_log::{self, Event, EventLog, HEAD_KEY, Loader};
use crate::id::Lsn;
use crate::time::Now;
use crate::wire;
use std::collections::BTreeSet;

/// Writes of the turn, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lsn: Lsn,
    writes: Vec<Write>,
    /// Replies that go when the turn's commit is durable.
    deferred: Vec<(Token, Reply, bool)>,
    watchers: BTreeSet<Token>,
    /// The store has left word of what it set aside.
    set_aside: bool,
}

impl Journal {
    /// Of a store with what it may have left to be told.
    pub(super) fn new(store: &dyn Read) -> Result<Self, ReadError> {
        let set_aside = store.get(Table::Meta, SET_ASIDE)?.is_some();
        Ok(Self { set_aside, ..Self::default() })
    }

    /// The number of the last commit.
    pub(super) fn last(&self) -> Lsn {
        self.lsn
    }

    /// The number of this turn's commit, if it has one.
    pub(super) fn turn(&self) -> Lsn {
        Lsn(self.lsn.0 + 1)
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(super) fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.writes.extend(writes);
    }

    /// A stream's reply for when this turn is durable.
    pub(super) fn defer(&mut self, token: Token, reply: Reply) {
        self.deferred.push((token, reply, false));
    }

    /// The last reply, for when this turn is durable.
    pub(super) fn finish_with(&mut self, token: Token, reply: Reply) {
        self.deferred.push((token, reply, true));
    }

    pub(super) fn watch(&mut self, token: Token) {
        self.watchers.insert(token);
    }

    pub(super) fn unwatch(&mut self, token: Token) -> bool {
        self.watchers.remove(&token)
    }
}

/// Resumes the event log from the store.
pub(super) fn load(store: &dyn Read, config: event_log::Config, now: Now) -> Result<EventLog, ReadError> {
    let head = store.get(Table::Meta, HEAD_KEY)?;
    let mut loader = Loader::new(config, head.as_deref());
    if let Some(told) = store.get(Table::Meta, SET_ASIDE)? {
        // The store has written it; if it were none, the log would say that it is broken.
        wire::decode(&told).into_iter().for_each(|what| loader.set_aside(what));
    }
    store.scan(Table::Log, &[], &mut |key, value| {
        loader.record(key, value);
        true
    })?;
    Ok(loader.finish(now).0)
}

impl Journal {
    /// What was gathered, as the next commit; `None` if that is nothing.
    pub(super) fn take_commit(&mut self) -> Option<Commit> {
        let writes = core::mem::take(&mut self.writes);
        (!writes.is_empty()).then(|| {
            self.lsn.0 += 1;
            Commit { lsn: self.lsn, writes }
        })
    }

    /// What waits for the turn's commit.
    pub(super) fn take_deferred(&mut self) -> Vec<(Token, Reply, bool)> {
        core::mem::take(&mut self.deferred)
    }

    /// Who follows the event log.
    pub(super) fn watchers(&self) -> impl Iterator<Item = Token> {
        self.watchers.iter().copied()
    }
}

impl Core {
    /// Something has happened that the log is to say.
    pub(super) fn handle_event(&mut self, event: Event) {
        self.disk_fails = match event {
            Event::StoreFailed { .. } => true,
            Event::StoreRecovered => false,
            _ => self.disk_fails,
        };
        self.record(event);
    }

    /// Somebody was refused at admission so often.
    pub(super) fn note_refused(&mut self, reason: &'static str, count: u64) {
        self.log.note_refused(reason, count);
        self.timeout_log();
    }

    /// Takes what the event log has to write into the turn's commit. Answers whether there was anything.
    pub(super) fn write_log(&mut self) -> bool {
        let Some(changes) = self.log.poll_changes() else { return false };
        let trimmed = changes.trimmed.into_iter();
        let key = |sequence| event_log::chain::key(sequence).to_vec();
        self.journal.extend(trimmed.map(|sequence| Write::Delete { table: Table::Log, key: key(sequence) }));
        let records = changes.records.into_iter();
        self.journal.extend(records.map(|(sequence, value)| Write::Put {
            table: Table::Log,
            key: key(sequence),
            value,
        }));
        self.journal.write(Write::Put { table: Table::Meta, key: HEAD_KEY.to_vec(), value: changes.head });
        if core::mem::take(&mut self.journal.set_aside) {
            // It is in the log from here on.
            self.journal.write(Write::Delete { table: Table::Meta, key: SET_ASIDE.to_vec() });
        }
        true
    }
}
