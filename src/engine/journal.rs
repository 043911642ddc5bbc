//! Journal: the commit of the turn, which also holds the events of the event log.
//!
//! Writes gather here while inputs are handled. When outputs are drained, they become one [`Commit`] under the next
//! number, together with the turn's inbox messages, dedupe states and events. Outputs that wait for it (receipts,
//! calls, notices) carry that number and follow it.
//!
//! Invariants
//! - Commit numbers are consecutive from 1 in a process.
//! - An event becomes durable no later than the outputs that wait for the disk and were caused after it.

use super::api::{Reply, Token};
use super::store::{Commit, Read, ReadError, SET_ASIDE, Table, Write};
use crate::engine::core::Core;
use crate::event_log::{self, Event, EventLog, HEAD_KEY, Loader};
use crate::id::Lsn;
use crate::time::Now;
use crate::wire;
use std::collections::BTreeSet;

/// The writes of the turn, and the replies that wait for them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lsn: Lsn,
    writes: Vec<Write>,
    /// The replies that wait until the turn's commit is durable; the flag says whether each is the last under its
    /// token.
    deferred: Vec<(Token, Reply, bool)>,
    watchers: BTreeSet<Token>,
    /// Whether the store fails, so that no commit becomes durable for now.
    pub(super) disk_fails: bool,
    /// Whether the store has left a note of what it set aside.
    set_aside: bool,
}

impl Journal {
    /// Creates the journal of a process, with the note that the store may have left.
    pub(super) fn new(store: &dyn Read) -> Result<Self, ReadError> {
        let set_aside = store.get(Table::Meta, SET_ASIDE)?.is_some();
        Ok(Self { set_aside, ..Self::default() })
    }

    /// Returns the number of the last commit.
    pub(super) fn last(&self) -> Lsn {
        self.lsn
    }

    /// Returns the number that this turn's commit gets if there is one.
    pub(super) fn turn(&self) -> Lsn {
        Lsn(self.lsn.0 + 1)
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(super) fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.writes.extend(writes);
    }

    /// Defers a reply of a stream until this turn's commit is durable.
    pub(super) fn defer(&mut self, token: Token, reply: Reply) {
        self.deferred.push((token, reply, false));
    }

    /// Defers the last reply under a token until this turn's commit is durable.
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
        // The store wrote the note; an unreadable one is ignored, and the log then reports itself as broken.
        wire::decode(&told).into_iter().for_each(|what| loader.set_aside(what));
    }
    store.scan(Table::Log, &[], &mut |key, value| {
        loader.record(key, value);
        true
    })?;
    Ok(loader.finish(now).0)
}

impl Journal {
    /// Returns the gathered writes as the next commit; `None` if there are none.
    pub(super) fn take_commit(&mut self) -> Option<Commit> {
        let writes = core::mem::take(&mut self.writes);
        (!writes.is_empty()).then(|| {
            self.lsn.0 += 1;
            Commit { lsn: self.lsn, writes }
        })
    }

    /// Returns the replies that wait for the turn's commit, which are no longer kept here.
    pub(super) fn take_deferred(&mut self) -> Vec<(Token, Reply, bool)> {
        core::mem::take(&mut self.deferred)
    }

    /// Returns the tokens of the streams that follow the event log.
    pub(super) fn watchers(&self) -> impl Iterator<Item = Token> {
        self.watchers.iter().copied()
    }
}

impl Core {
    /// Records an event from outside the engine, and notes whether the disk fails.
    pub(super) fn handle_event(&mut self, event: Event) {
        self.journal.disk_fails = match event {
            Event::StoreFailed { .. } => true,
            Event::StoreRecovered => false,
            _ => self.journal.disk_fails,
        };
        self.record(event);
    }

    /// Notes that connections were refused at admission.
    pub(super) fn note_refused(&mut self, reason: &'static str, count: u64) {
        self.log.note_refused(reason, count);
        self.timeout_log();
    }

    /// Takes the writes of the event log into the turn's commit. Returns whether there were any.
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
            // The log holds the note from here on.
            self.journal.write(Write::Delete { table: Table::Meta, key: SET_ASIDE.to_vec() });
        }
        true
    }
}
