//! What contacts send: accepted once, made durable, and only then confirmed.
//!
//! ```text
//! parcel ─▶ its stream's dedupe ─▶ a record of the inbox ─┐
//! batch  ─▶ its stream's dedupe ─▶ calls, responses       ├─▶ the turn's commit ─▶ durable: receipts, notices
//!                       changed dedupe states ────────────┘
//! ```
//!
//! The accepted messages of a parcel lie in the store as they came: one record, not decoded. Each has a number, from 1
//! on without gaps. Whoever reads the inbox is a *consumer* with a cursor of its own; what all of them have behind
//! them goes. What asks for no confirmation is handed to consumers that listen *live*, from memory, and goes to the
//! store only if there is none.
//!
//! Invariants
//! 1. A receipt `Delivered` comes out with the number of the commit that holds the message and the dedupe state that
//!    accepted it; both are in one commit: after a crash they agree. A message has one verdict, which every copy of it is
//!    told; but for `InboxFull`, which says that it is to come again.
//! 2. The inbox holds at most [`MAX_INBOX`] messages and [`MAX_INBOX_BYTES`], of one contact at most as much as is then free
//!    (`holdings`). Drop policy: the newest is not taken, and its sender is told to send it again soon (`InboxFull`).
//! 3. At most [`MAX_STREAMS`] streams are remembered. Drop policy: of the sender that has most, the one longest without a
//!    message is forgotten.
//! 4. No message goes that a consumer (`consumers`) has not consumed.

use super::api::{InboxRecord, Refused, Reply, Token};
use super::consumers::{self, Consumers};
use super::holdings::Holdings;
use super::receipts::Back;
use super::senders::Senders;
use super::store::{INBOX_FLOOR, Read, ReadError, Table, Write};
use super::unicast::inner;
use super::{Engine, Output};
use crate::counter::Counter;
use crate::delivery::dedupe::{self, Dedupe};
use crate::id::{CredentialPrefix, Lsn, Name, StreamId};
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::batch::{Ack, Batch, MAX_MESSAGES, MAX_PAYLOAD, Purpose};
use crate::wire::parcel::{Parcel, RECORD, Records};
use crate::wire::receipt::{MAX_RANGES, Receipt, Verdict};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most messages in the inbox.
pub(super) const MAX_INBOX: u64 = 1_000_000;
/// Most bytes of messages in the inbox.
pub(super) const MAX_INBOX_BYTES: usize = 1 << 30;
/// Most streams of senders remembered.
pub(super) const MAX_STREAMS: usize = 8_192;

/// One sender's stream, as it is kept in [`Table::Dedupe`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    from: Name,
    dedupe: Dedupe,
    last: Unix,
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
pub(super) struct Inbox {
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// Of each sender the streams, as they last brought something.
    senders: Senders,
    /// Streams whose state the turn's commit must hold.
    touched: BTreeSet<StreamId>,
    cursors: Consumers,
    /// Last number given.
    last: u64,
    bytes: usize,
    records: VecDeque<Record>,
    /// Of each contact what lies there, until the whole record is consumed.
    holdings: Holdings,
    grown: bool,
    watchers: BTreeMap<Token, String>,
    live: BTreeSet<Token>,
    receipts: BTreeMap<(Name, StreamId, Verdict), Vec<u64>>,
    /// Relays that the turn's messages came over, where there were any.
    visited: BTreeMap<StreamId, Vec<CredentialPrefix>>,
    /// When the first of the turn's messages of a stream is over: its sender is to be told by then.
    due: BTreeMap<StreamId, Unix>,
    /// Streams of which the turn has brought something again.
    repeated: BTreeSet<StreamId>,
    /// Senders whose receipts seem to have been lost of late: since when they go back the way the messages came, or do
    /// not any more. No more than there are contacts.
    returning: BTreeMap<Name, (Time, bool)>,
}

impl Inbox {
    /// What the store holds.
    pub(super) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let mut inbox = Self::default();
        if let Some(cursors) = store.get(Table::Meta, consumers::KEY)? {
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
    pub(super) fn waiting(&self) -> u64 {
        self.last - self.cursors.of("")
    }

    /// Last number given to a message.
    pub(super) fn last_given(&self) -> u64 {
        self.last
    }

    pub(super) fn watch(&mut self, token: Token, consumer: String, live: bool) {
        self.watchers.insert(token, consumer);
        if live {
            self.live.insert(token);
        }
    }

    pub(super) fn unwatch(&mut self, token: Token) -> bool {
        self.live.remove(&token);
        self.watchers.remove(&token).is_some()
    }

    pub(super) fn extent(&self, consumer: &str) -> Reply {
        Reply::Inbox { first: self.cursors.of(consumer) + 1, last: self.last }
    }

    /// Makes a consumer, if there is none of that name. Answers the writes.
    pub(super) fn make_consumer(&mut self, consumer: &str) -> Result<Vec<Write>, Refused> {
        Ok(if self.cursors.make(consumer)? { vec![self.cursors.write()] } else { Vec::new() })
    }

    /// Refuses a consumer that nobody made.
    pub(super) fn check_consumer(&self, consumer: &str) -> Result<(), Refused> {
        self.cursors.check(consumer)
    }

    /// Forgets a consumer: nothing stays for it. Answers the writes, or nothing if there is none.
    pub(super) fn forget(&mut self, consumer: &str) -> Option<Vec<Write>> {
        self.cursors.forget(consumer).then(|| self.trim())
    }

    /// A consumer has behind it what is up to that number. Answers the writes.
    pub(super) fn consume(&mut self, consumer: &str, up_to: u64) -> Vec<Write> {
        if self.cursors.consume(consumer, up_to.min(self.last)) { self.trim() } else { Vec::new() }
    }

    /// Drops what all have behind them.
    fn trim(&mut self) -> Vec<Write> {
        let gone = self.cursors.trim();
        let mut writes = vec![self.cursors.write()];
        while let Some(record) = self.records.pop_front_if(|record| record.last <= gone) {
            self.bytes -= record.bytes;
            self.holdings.release(&record.from, (record.last + 1 - record.first, record.bytes));
            writes.push(Write::Delete { table: Table::Inbox, key: record.first.to_be_bytes().to_vec() });
        }
        writes
    }

    /// A record lies in the store, or will with this turn.
    fn enter(&mut self, record: &InboxRecord<'_>) {
        let (first, last, bytes) = (record.first, record.last(), record.records.len());
        self.bytes += bytes;
        let from = self.holdings.add(&record.from, (last + 1 - first, bytes));
        self.records.push_back(Record { from, first, last, bytes });
    }

    /// Whether there is no room for so much of a contact.
    fn is_full(&self, of: &Name, messages: u64, bytes: usize) -> bool {
        !self.holdings.may_take(of, (messages, bytes), (self.last - self.cursors.gone(), self.bytes))
    }

    /// Whether receipts go back the way the messages came; `again`: some of these have come again, so neither way is spared.
    fn returns(&mut self, to: &Name, again: bool, now: Time) -> bool {
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

    fn note_visited(&mut self, stream: StreamId, visited: &[CredentialPrefix]) {
        if !visited.is_empty() {
            self.visited.insert(stream, visited.to_vec());
        }
    }

    /// A message of a stream that is over then has come. Of one that is over now nobody waits to be told.
    fn note_due(&mut self, stream: StreamId, ends: Unix, now: Unix) {
        if ends > now {
            let due = self.due.entry(stream).or_insert(ends);
            *due = ends.min(*due);
        }
    }

    fn confirm(&mut self, from: &Name, stream: StreamId, verdict: Verdict, ranges: &[u64]) {
        let known = self.receipts.entry((from.clone(), stream, verdict)).or_default();
        for range in ranges.chunks_exact(2) {
            match known.last_mut() {
                Some(last) if last.checked_add(1) == Some(range[0]) => *last = range[1],
                _ => known.extend_from_slice(range),
            }
        }
    }
}

impl Engine {
    /// Takes a parcel that a contact sealed for us. `offset`: its clock less ours; `visited`: relays on the way.
    pub(super) fn handle_parcel(&mut self, from: &Name, offset: i64, visited: &[CredentialPrefix], body: &[u8]) {
        let Ok(parcel) = Parcel::parse(body) else { return self.count(Counter::DataMalformed, 1) };
        let (head, count) = (&parcel.head, u64::from(parcel.count));
        if !self.admit_stream(from, head.stream, head.floor) {
            return self.count(Counter::BatchesRefused, 1);
        }
        self.inbox.note_visited(head.stream, visited);
        let sent = Unix(head.sent.saturating_add_signed(offset.saturating_neg()));
        let end = sent.0.saturating_add(head.lifetime);
        for ends in [end, end.saturating_sub(parcel.earliest.into())] {
            self.inbox.note_due(head.stream, Unix(ends), self.now.unix);
        }
        let whole = end.saturating_sub(parcel.earliest.into()) >= self.now.unix.0
            && !self.inbox.is_full(from, count, parcel.records.len())
            && self.inbox.streams.get_mut(&head.stream).is_some_and(|s| s.dedupe.accept_next(head.base, count));
        if whole {
            self.deliver(from, &parcel, 0, parcel.records);
            if head.ack == Ack::End {
                let ranges = [head.base, head.base + count - 1];
                self.inbox.confirm(from, head.stream, Verdict::Delivered, &ranges);
            }
        } else {
            self.handle_by_piece(from, &parcel, end);
        }
    }

    /// As [`Self::handle_parcel`], for one of whose messages not all are new, in time, and find room.
    fn handle_by_piece(&mut self, from: &Name, parcel: &Parcel<'_>, end: u64) {
        let (mut at, mut run, mut confirmed) = (0, 0..0, BTreeMap::<Verdict, Vec<u64>>::new());
        let mut first = 0;
        for (index, record) in (0..).zip(Records(parcel.records)) {
            let next = at + RECORD + record.payload.len();
            let sequence = parcel.head.base.saturating_add(index);
            let late = end.saturating_sub(record.earlier.into()) < self.now.unix.0;
            // Those of the run are not in the inbox's books yet.
            let full = self.inbox.is_full(from, index - first + 1, run.len() + next - at);
            let (verdict, fresh) = self.judge(parcel.head.stream, sequence, full, late);
            if fresh {
                run.end = next;
            } else {
                self.deliver(from, parcel, first, &parcel.records[run]);
                (run, first) = (next..next, index + 1);
            }
            at = next;
            let Some(verdict) = verdict.or(fresh.then_some(Verdict::Delivered)) else { continue };
            let ranges = confirmed.entry(verdict).or_default();
            match ranges.last_mut() {
                Some(last) if last.checked_add(1) == Some(sequence) => *last = sequence,
                _ => ranges.extend([sequence, sequence]),
            }
        }
        self.deliver(from, parcel, first, &parcel.records[run]);
        if parcel.head.ack == Ack::End {
            for (verdict, ranges) in confirmed {
                self.inbox.confirm(from, parcel.head.stream, verdict, &ranges);
            }
        }
    }

    /// Accepted messages of a parcel, from its `index`th on.
    fn deliver(&mut self, from: &Name, parcel: &Parcel<'_>, index: u64, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        let (head, received) = (&parcel.head, self.now.unix);
        let record = InboxRecord {
            first: 0,
            from: from.clone(),
            stream: head.stream,
            base: head.base.saturating_add(index),
            sent: Unix(head.sent),
            received,
            records: Cow::Borrowed(records),
        };
        let inbox = &mut self.inbox;
        if head.ack == Ack::None && !inbox.live.is_empty() {
            let record = Arc::new(InboxRecord { records: Cow::Owned(records.to_vec()), ..record });
            for &token in &inbox.live {
                let reply = Reply::Live(record.clone());
                self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
            }
            return;
        }
        let record = InboxRecord { first: inbox.last + 1, ..record };
        inbox.last = record.last();
        inbox.enter(&record);
        inbox.touched.insert(head.stream);
        inbox.grown = true;
        let key = record.first.to_be_bytes().to_vec();
        self.journal.write(Write::Put { table: Table::Inbox, key, value: wire::encode(&record) });
    }

    /// Takes calls that a contact sealed for us. `offset`: its clock less ours; `visited`: relays on the way.
    pub(super) fn handle_batch(&mut self, from: &Name, offset: i64, visited: &[CredentialPrefix], body: &[u8]) {
        let Ok(batch) = wire::decode::<Batch<'_>>(body) else { return self.count(Counter::DataMalformed, 1) };
        if batch.messages.len() > MAX_MESSAGES || !self.admit_stream(from, batch.stream, batch.floor) {
            return self.count(Counter::BatchesRefused, 1);
        }
        self.inbox.note_visited(batch.stream, visited);
        let sent = Unix(batch.sent.saturating_add_signed(offset.saturating_neg()));
        for message in &batch.messages {
            let sequence = batch.base.saturating_add(u64::from(message.offset));
            let ends = message.lifetime.map(|lifetime| Unix(sent.0.saturating_add(lifetime)));
            let late = ends.is_some_and(|ends| ends < self.now.unix);
            ends.into_iter().for_each(|ends| self.inbox.note_due(batch.stream, ends, self.now.unix));
            let (mut verdict, fresh) = self.judge(batch.stream, sequence, false, late);
            if fresh {
                self.inbox.touched.insert(batch.stream);
                let id = inner(batch.stream, sequence);
                let answer = match message.purpose {
                    _ if message.payload.len() > MAX_PAYLOAD => Verdict::Forbidden,
                    Purpose::Request => self.handle_call(from, id, message, ends),
                    Purpose::Heard => {
                        self.handle_heard(from, message);
                        Verdict::Delivered
                    }
                    Purpose::Reply | Purpose::Failure => {
                        self.handle_answer(from, message);
                        Verdict::Delivered
                    }
                };
                // A copy of it is to be told the same.
                if answer != Verdict::Delivered
                    && let Some(stream) = self.inbox.streams.get_mut(&batch.stream)
                {
                    stream.dedupe.revoke(sequence, answer);
                }
                verdict = Some(answer);
            }
            if let Some(verdict) = verdict.filter(|_| batch.ack == Ack::End) {
                self.inbox.confirm(from, batch.stream, verdict, &[sequence, sequence]);
            }
        }
    }

    /// The stream belongs to this sender; what ended there is settled.
    fn admit_stream(&mut self, from: &Name, id: StreamId, floor: u64) -> bool {
        let owner = self.inbox.streams.get(&id).map_or(from, |stream| &stream.from);
        if let Some(oldest) = self.inbox.senders.heard(owner, id) {
            self.inbox.streams.remove(&oldest);
            self.inbox.touched.remove(&oldest);
            self.journal.write(Write::Delete { table: Table::Dedupe, key: oldest.as_bytes().to_vec() });
            self.count(Counter::DedupeStreamsForgotten, 1);
        }
        let now = self.now.unix;
        let stream = self.inbox.streams.entry(id).or_insert_with(|| Stream {
            from: from.clone(),
            dedupe: Dedupe::default(),
            last: now,
        });
        if stream.from != *from {
            return false;
        }
        stream.last = now;
        stream.dedupe.settle(floor);
        true
    }

    /// What is to be said of a message, if anything, and whether it is to be taken.
    fn judge(&mut self, id: StreamId, sequence: u64, full: bool, late: bool) -> (Option<Verdict>, bool) {
        let Some(stream) = self.inbox.streams.get_mut(&id) else { return (None, false) };
        let dedupe = &mut stream.dedupe;
        if full && !late && dedupe.verdict(sequence).is_none() {
            // It is not settled by this, and may come again.
            self.count(Counter::InboxFull, 1);
            return (Some(Verdict::InboxFull), false);
        }
        match if late { dedupe.turn_down(sequence, Verdict::Expired) } else { dedupe.accept(sequence) } {
            dedupe::Verdict::Known(verdict) => {
                self.inbox.repeated.insert(id);
                self.count(Counter::MessagesDuplicate, 1);
                (Some(verdict), false)
            }
            dedupe::Verdict::Refused => {
                // There is room again once those before it are settled.
                self.count(Counter::MessagesBeyondWindow, 1);
                (Some(Verdict::InboxFull), false)
            }
            dedupe::Verdict::New if late => {
                self.inbox.touched.insert(id);
                self.count(Counter::MessagesLate, 1);
                (Some(Verdict::Expired), false)
            }
            dedupe::Verdict::New => (None, true),
        }
    }

    /// Puts the dedupe states that the turn has changed into its commit.
    pub(super) fn write_dedupe(&mut self) {
        for id in core::mem::take(&mut self.inbox.touched) {
            if let Some(stream) = self.inbox.streams.get(&id) {
                self.journal.write(Write::Put {
                    table: Table::Dedupe,
                    key: id.as_bytes().to_vec(),
                    value: wire::encode(stream),
                });
            }
        }
    }

    /// Says what the commit holds, once it is durable: to the application, and to the senders.
    pub(super) fn announce_inbox(&mut self, after: Lsn) {
        if core::mem::take(&mut self.inbox.grown) {
            for (&token, consumer) in &self.inbox.watchers {
                let reply = self.inbox.extent(consumer);
                self.outputs.push_back(Output::Reply { token, reply, after, last: false });
            }
        }
        let mut by_sender: BTreeMap<Name, Vec<Receipt>> = BTreeMap::new();
        let at = self.now.unix.0;
        let visited = core::mem::take(&mut self.inbox.visited);
        let repeated = core::mem::take(&mut self.inbox.repeated);
        let due = core::mem::take(&mut self.inbox.due);
        for ((from, stream, verdict), ranges) in core::mem::take(&mut self.inbox.receipts) {
            for ranges in ranges.chunks(2 * MAX_RANGES) {
                let visited = visited.get(&stream).cloned().unwrap_or_default();
                let receipt = Receipt { stream, verdict, ranges: ranges.to_vec(), visited, at };
                by_sender.entry(from.clone()).or_default().push(receipt);
            }
        }
        let (now, under) = (self.now.time, self.sessions.take_came());
        for (from, receipts) in by_sender {
            let mut visited = receipts.iter().rev().map(|receipt| &receipt.visited);
            let came = visited.find(|visited| !visited.is_empty()).cloned().unwrap_or_default();
            let again = receipts.iter().any(|receipt| repeated.contains(&receipt.stream));
            let returned = self.inbox.returning.get(&from).is_some_and(|(_, back)| *back);
            let returns = self.inbox.returns(&from, again, now);
            if returned && !returns {
                self.fail_over_receipts(&from);
            }
            let by = receipts.iter().filter_map(|receipt| due.get(&receipt.stream)).min();
            let back = Back { came: &came, returns, left: by.map(|by| by.since(self.now.unix)) };
            for receipts in receipts.chunks(RECEIPTS_A_FRAME) {
                self.send_receipts(&from, receipts.to_vec(), &back, under.get(&from).copied(), after);
            }
        }
        self.send_answers();
        self.inbox.returning.retain(|_, (since, _)| *since + RETURNING > now);
    }
}

/// A message that comes again tells that its receipt may have been lost on its way. For so long receipts to its sender then
/// go back on the way that its messages take, which carries at least these; so do those to whom no other way is known.
const RETURNING: Duration = Duration::from_secs(600);
/// What comes again sooner than this says nothing of the way that receipts have taken since.
const SETTLED: Duration = Duration::from_secs(1);
/// Receipts of [`MAX_RANGES`] ranges each that fit one seal.
const RECEIPTS_A_FRAME: usize = 12;
