//! The inbox: what contacts have sent and `intake` has accepted, kept until all who read it have it behind them.
//!
//! The accepted messages of a parcel lie in the store as they came: one record, not decoded. Each has a number, from 1
//! on without gaps. Whoever reads the inbox is a *consumer* with a cursor of its own; what all of them have behind
//! them goes. What asks for no confirmation is handed to consumers that listen *live*, from memory, and goes to the
//! store only if there is none.
//!
//! Invariants
//! 1. A receipt `Delivered` comes out with the number of the commit that holds both the message and the state of duplicates that
//!    accepted it: after a crash they agree.
//! 2. The inbox holds at most [`MAX_INBOX`](crate::delivery::holdings::MAX_INBOX) messages and
//!    [`MAX_INBOX_BYTES`](crate::delivery::holdings::MAX_INBOX_BYTES); one contact holds at most as much as is then free. Drop policy: the
//!    newest message is not taken, and its sender is told to send it again soon (`InboxFull`).
//! 3. No message is dropped that a consumer has not consumed.
//! - A message has one verdict, which every copy of it is told, except `InboxFull`.
//! - At most [`MAX_STREAMS`] streams are remembered. Drop policy: of the sender that has most, the stream longest without a
//!   message is forgotten.

use crate::delivery::cursors::{Cursors, MAX_CONSUMERS};
use crate::delivery::dedupe::Dedupe;
use crate::delivery::holdings::Holdings;
use crate::engine::Output;
use crate::engine::api::{InboxRecord, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::senders::Senders;
use crate::engine::store::{INBOX_CURSORS, INBOX_FLOOR, Read, ReadError, Table, Write};
use crate::id::{CredentialPrefix, Lsn, Name, StreamId};
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::receipt::Verdict;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most streams of senders remembered.
pub(in crate::engine) const MAX_STREAMS: usize = 8_192;

/// What comes again sooner than this says nothing of the way that receipts have taken since.
const SETTLED: Duration = Duration::from_secs(1);

/// One sender's stream, as it is kept in [`Table::Dedupe`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Stream {
    pub(in crate::engine) from: Name,
    pub(in crate::engine) dedupe: Dedupe,
    pub(in crate::engine) last: Unix,
}

/// One record of the inbox in the store.
#[derive(Clone, Debug)]
struct Record {
    from: Arc<Name>,
    first: u64,
    last: u64,
    bytes: usize,
}

/// The inbox.
#[derive(Debug, Default)]
pub(in crate::engine) struct Inbox {
    pub(in crate::engine) streams: BTreeMap<StreamId, Stream>,
    /// Of each sender the streams, as they last brought something.
    pub(in crate::engine) senders: Senders,
    /// Streams whose state the turn's commit must hold.
    pub(in crate::engine) touched: BTreeSet<StreamId>,
    cursors: Cursors,
    /// Last number given.
    pub(in crate::engine) last: u64,
    bytes: usize,
    records: VecDeque<Record>,
    /// Of each contact what lies there, until the whole record is consumed.
    holdings: Holdings,
    pub(in crate::engine) grown: bool,
    pub(in crate::engine) watchers: BTreeMap<Token, String>,
    pub(in crate::engine) live: BTreeSet<Token>,
    /// What senders are to be told of at the end of the turn.
    pub(in crate::engine) telling: Telling,
    /// Senders whose receipts seem to have been lost of late: since when they go back the way the messages came, or do
    /// not any more. No more than there are contacts.
    pub(in crate::engine) returning: BTreeMap<Name, (Time, bool)>,
}

/// What a turn has brought that its senders are to be told of.
#[derive(Debug, Default)]
pub(in crate::engine) struct Telling {
    /// Ranges of what has the same verdict.
    pub(in crate::engine) receipts: BTreeMap<(Name, StreamId, Verdict), Vec<u64>>,
    /// Relays that the turn's messages came over, where there were any.
    pub(in crate::engine) visited: BTreeMap<StreamId, Vec<CredentialPrefix>>,
    /// When the first of the turn's messages of a stream is over: its sender is to be told by then.
    pub(in crate::engine) due: BTreeMap<StreamId, Unix>,
    /// Streams of which the turn has brought something again.
    pub(in crate::engine) repeated: BTreeSet<StreamId>,
}

impl Inbox {
    /// What the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let mut inbox = Self::default();
        if let Some(cursors) = store.get(Table::Meta, INBOX_CURSORS)? {
            inbox.cursors = wire::decode(&cursors).unwrap_or_default();
        }
        store.scan(Table::Dedupe, &[], &mut |key, value| {
            if let (Some(id), Ok(stream)) = (StreamId::from_slice(key), wire::decode(value)) {
                inbox.streams.insert(id, stream);
            }
            true
        })?;
        store.scan(Table::Inbox, &[], &mut |_, value| {
            if let Ok(record) = wire::decode::<InboxRecord<'_>>(value) {
                inbox.enter(&record);
            }
            true
        })?;
        let floor =
            store.get(Table::Meta, INBOX_FLOOR)?.and_then(|floor| floor.try_into().ok()).map_or(0, u64::from_be_bytes);
        let last = inbox.records.back().map_or(0, |record| record.last);
        inbox.last = last.max(inbox.cursors.furthest()).max(floor);
        inbox.senders = Senders::load(inbox.streams.iter().map(|(id, stream)| (stream.last, *id, &stream.from)));
        Ok(inbox)
    }

    /// Messages that the consumer without a name has not consumed.
    pub(in crate::engine) fn waiting(&self) -> u64 {
        self.last - self.cursors.of("")
    }

    /// Last number given to a message.
    pub(in crate::engine) fn last_given(&self) -> u64 {
        self.last
    }

    /// The number of the oldest message that is kept.
    pub(in crate::engine) fn first_kept(&self) -> u64 {
        self.records.front().map_or(self.last + 1, |record| record.first)
    }

    pub(in crate::engine) fn watch(&mut self, token: Token, consumer: String, live: bool) {
        self.watchers.insert(token, consumer);
        if live {
            self.live.insert(token);
        }
    }

    pub(in crate::engine) fn unwatch(&mut self, token: Token) -> bool {
        self.live.remove(&token);
        self.watchers.remove(&token).is_some()
    }

    pub(in crate::engine) fn extent(&self, consumer: &str) -> Reply {
        Reply::Inbox { first: self.cursors.of(consumer) + 1, last: self.last }
    }

    /// Makes a consumer, if there is none of that name. Answers the writes.
    pub(in crate::engine) fn make_consumer(&mut self, consumer: &str) -> Result<Vec<Write>, Refused> {
        let made = self.cursors.make(consumer).map_err(|_| Refused::Consumers { limit: MAX_CONSUMERS })?;
        Ok(if made { vec![self.write_cursors()] } else { Vec::new() })
    }

    /// Refuses a consumer that nobody made.
    pub(in crate::engine) fn check_consumer(&self, consumer: &str) -> Result<(), Refused> {
        if self.cursors.knows(consumer) { Ok(()) } else { Err(Refused::NoSuchConsumer(consumer.to_owned())) }
    }

    /// Forgets a consumer and keeps no message for it any more. Returns the writes, or `None` if there is no such consumer.
    pub(in crate::engine) fn forget(&mut self, consumer: &str) -> Option<Vec<Write>> {
        self.cursors.forget(consumer).then(|| self.trim())
    }

    /// A consumer has behind it what is up to that number. Answers the writes.
    pub(in crate::engine) fn consume(&mut self, consumer: &str, up_to: u64) -> Vec<Write> {
        if self.cursors.consume(consumer, up_to.min(self.last)) { self.trim() } else { Vec::new() }
    }

    fn write_cursors(&self) -> Write {
        Write::Put { table: Table::Meta, key: INBOX_CURSORS.to_vec(), value: wire::encode(&self.cursors) }
    }

    /// Drops what all have behind them.
    fn trim(&mut self) -> Vec<Write> {
        let gone = self.cursors.trim();
        let mut writes = vec![self.write_cursors()];
        while let Some(record) = self.records.pop_front_if(|record| record.last <= gone) {
            self.bytes -= record.bytes;
            self.holdings.release(&record.from, (record.last + 1 - record.first, record.bytes));
            writes.push(Write::Delete { table: Table::Inbox, key: record.first.to_be_bytes().to_vec() });
        }
        writes
    }

    /// A record lies in the store, or will with this turn.
    pub(in crate::engine) fn enter(&mut self, record: &InboxRecord<'_>) {
        let (first, last, bytes) = (record.first, record.last(), record.records.len());
        self.bytes += bytes;
        let from = self.holdings.add(&record.from, (last + 1 - first, bytes));
        self.records.push_back(Record { from, first, last, bytes });
    }

    /// Whether there is no room for so much of a contact.
    pub(in crate::engine) fn is_full(&self, of: &Name, messages: u64, bytes: usize) -> bool {
        !self.holdings.may_take(of, (messages, bytes), (self.last - self.cursors.gone(), self.bytes))
    }

    /// Whether receipts go back the way the messages came; `again`: some of these have come again, so neither way is spared.
    pub(in crate::engine) fn returns(&mut self, to: &Name, again: bool, now: Time) -> bool {
        match self.returning.get_mut(to) {
            Some((since, back)) => {
                if again && now >= *since + SETTLED {
                    (*since, *back) = (now, !*back);
                }
                *back
            }
            None if again => {
                self.returning.insert(to.clone(), (now, true));
                true
            }
            None => false,
        }
    }

    pub(in crate::engine) fn note_visited(&mut self, stream: StreamId, visited: &[CredentialPrefix]) {
        if !visited.is_empty() {
            self.telling.visited.insert(stream, visited.to_vec());
        }
    }

    /// A message of a stream that is over then has come. Of one that is over now nobody waits to be told.
    pub(in crate::engine) fn note_due(&mut self, stream: StreamId, ends: Unix, now: Unix) {
        if ends > now {
            let due = self.telling.due.entry(stream).or_insert(ends);
            *due = ends.min(*due);
        }
    }

    pub(in crate::engine) fn confirm(&mut self, from: &Name, stream: StreamId, verdict: Verdict, ranges: &[u64]) {
        let known = self.telling.receipts.entry((from.clone(), stream, verdict)).or_default();
        for range in ranges.chunks_exact(2) {
            match known.last_mut() {
                Some(last) if last.checked_add(1) == Some(range[0]) => *last = range[1],
                _ => known.extend_from_slice(range),
            }
        }
    }
}

impl Messages {
    /// Tells who reads the inbox that it has grown, once the commit is durable.
    pub(in crate::engine) fn announce_inbox(&mut self, core: &mut Core, after: Lsn) {
        if core::mem::take(&mut self.inbox.grown) {
            for (&token, consumer) in &self.inbox.watchers {
                let reply = self.inbox.extent(consumer);
                core.outputs.push_back(Output::Reply { token, reply, after, last: false });
            }
        }
    }
}
