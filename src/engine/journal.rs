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
use super::{Engine, Output};
use crate::counter::Counter;
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

impl Engine {
    /// Ends the turn: one commit, and what waits for it. Answers whether there was anything.
    pub(super) fn flush_turn(&mut self) -> bool {
        self.settle_routing();
        self.write_dedupe();
        self.write_outgoing();
        self.write_history();
        let logged = self.write_log();
        let writes = core::mem::take(&mut self.journal.writes);
        let committed = !writes.is_empty();
        if committed {
            self.journal.lsn.0 += 1;
            self.outputs.push_back(Output::Commit(Commit { lsn: self.journal.lsn, writes }));
        }
        let after = self.journal.lsn;
        let before = self.outputs.len();
        self.announce_inbox(after);
        self.release_calls(after);
        for (token, reply, last) in core::mem::take(&mut self.journal.deferred) {
            self.outputs.push_back(Output::Reply { token, reply, after, last });
        }
        if logged {
            let last = self.log.head().last;
            for token in &self.journal.watchers {
                let (token, reply) = (*token, Reply::Log { last });
                self.outputs.push_back(Output::Reply { token, reply, after, last: false });
            }
        }
        committed || self.outputs.len() > before
    }

    /// What is on its way and is to outlive a restart, and how it ended.
    fn write_outgoing(&mut self) {
        for (key, value) in self.outgoing.poll_writes() {
            self.journal.write(match value {
                Some(value) => Write::Put { table: Table::Outbox, key, value },
                None => Write::Delete { table: Table::Outbox, key },
            });
        }
        let (writes, forgotten) = self.outcomes.poll_writes();
        self.journal.extend(writes);
        self.count(Counter::OutcomesForgotten, forgotten);
    }

    /// Records an event.
    pub(super) fn record(&mut self, event: Event) {
        self.log.append(event, self.now);
    }

    pub(super) fn note_refused(&mut self, reason: &'static str, count: u64) {
        self.log.note_refused(reason, count);
        self.timeout_log();
    }

    /// Counts something dropped or refused, and lets the log say so once an interval.
    pub(super) fn count(&mut self, counter: Counter, count: u64) {
        if count > 0 {
            *self.counters.entry(counter).or_default() += count;
            self.log.note_dropped(counter.name(), count);
            self.timeout_log();
        }
    }

    pub(super) fn timeout_log(&mut self) {
        self.log.handle_timeout(self.now);
    }

    fn write_log(&mut self) -> bool {
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
