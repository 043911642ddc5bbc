//! What came for this device: dedupe, the durable inbox, and the receipts that say so.
//!
//! A batch's messages are sorted by purpose: those for the inbox get the next numbers and wait, with the streams'
//! dedupe state, for the turn's commit; calls and responses go to `services`. For each stream and verdict the
//! confirmed sequence numbers are gathered as ranges; when the turn ends they are sealed, one receipt frame for
//! each sender, and leave when the commit is durable. A message that came before is confirmed again, not kept again.
//!
//! Invariants
//! 1. Inbox messages, dedupe state and numbers change in one commit: after a crash they agree.
//! 2. The inbox holds at most [`MAX_INBOX`] messages and [`MAX_INBOX_BYTES`]. Drop policy: refuse the newest
//!    (`InboxFull`), before it is taken for accepted.
//! 3. At most [`MAX_STREAMS`] streams are remembered. Drop policy: the one longest without a message is forgotten.

use super::api::{InboxMessage, Reply, Token};
use super::store::{Read, ReadError, Table, Write};
use super::unicast::inner;
use super::{Engine, Output};
use crate::delivery::dedupe::{self, Dedupe};
use crate::id::{Lsn, Name, StreamId};
use crate::time::Unix;
use crate::wire;
use crate::wire::batch::{Ack, Batch, MAX_MESSAGES, MAX_PAYLOAD, Purpose};
use crate::wire::receipt::{MAX_RANGES, Receipt, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most messages in the inbox.
pub(super) const MAX_INBOX: u64 = 1_000_000;
/// Most bytes of payload in the inbox.
pub(super) const MAX_INBOX_BYTES: usize = 1 << 30;
/// Most streams of senders remembered.
const MAX_STREAMS: usize = 8_192;
/// Bytes of payload after which a record of the inbox is closed.
const RECORD_BYTES: usize = 48 * 1024;
/// Key of the consumer's cursor in [`Table::Meta`].
const CURSOR: &[u8] = b"inbox-cursor";

/// One sender's stream, as it is kept in [`Table::Dedupe`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stream {
    from: Name,
    dedupe: Dedupe,
    last: Unix,
}

/// One record of the inbox in the store.
#[derive(Clone, Copy, Debug)]
struct Record {
    first: u64,
    last: u64,
    bytes: usize,
}

/// The inbox.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    streams: BTreeMap<StreamId, Stream>,
    /// Streams whose state the turn's commit must hold.
    touched: BTreeSet<StreamId>,
    /// Last number consumed.
    consumed: u64,
    /// Last number given.
    last: u64,
    bytes: usize,
    records: VecDeque<Record>,
    /// Messages of this turn.
    pending: Vec<InboxMessage>,
    pending_bytes: usize,
    grown: bool,
    watchers: BTreeSet<Token>,
    receipts: BTreeMap<(Name, StreamId, Verdict), Vec<u64>>,
}

impl Inbox {
    /// What the store holds.
    pub(super) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let mut inbox = Self::default();
        if let Some(cursor) = store.get(Table::Meta, CURSOR)? {
            inbox.consumed = u64::from_be_bytes(cursor.try_into().unwrap_or_default());
        }
        store.scan(Table::Dedupe, &[], &mut |key, value| {
            if let (Some(id), Ok(stream)) = (StreamId::from_slice(key), wire::decode(value)) {
                inbox.streams.insert(id, stream);
            }
            true
        })?;
        store.scan(Table::Inbox, &[], &mut |_, value| {
            if let Ok(messages) = wire::decode::<Vec<InboxMessage>>(value)
                && let (Some(first), Some(last)) = (messages.first(), messages.last())
            {
                let bytes = messages.iter().map(|message| message.payload.len()).sum();
                inbox.bytes += bytes;
                inbox.records.push_back(Record { first: first.number, last: last.number, bytes });
            }
            true
        })?;
        inbox.last = inbox.records.back().map_or(0, |record| record.last).max(inbox.consumed);
        Ok(inbox)
    }

    /// Messages not consumed.
    pub(super) fn waiting(&self) -> u64 {
        self.last - self.consumed
    }

    pub(super) fn watch(&mut self, token: Token) {
        self.watchers.insert(token);
    }

    pub(super) fn unwatch(&mut self, token: Token) -> bool {
        self.watchers.remove(&token)
    }

    pub(super) fn extent(&self) -> Reply {
        Reply::Inbox { first: self.consumed + 1, last: self.last }
    }

    /// Drops what has been consumed. Answers the writes.
    pub(super) fn consume(&mut self, up_to: u64) -> Vec<Write> {
        let up_to = up_to.min(self.last);
        if up_to <= self.consumed {
            return Vec::new();
        }
        self.consumed = up_to;
        let mut writes =
            vec![Write::Put { table: Table::Meta, key: CURSOR.to_vec(), value: up_to.to_be_bytes().to_vec() }];
        while self.records.front().is_some_and(|record| record.last <= up_to) {
            if let Some(record) = self.records.pop_front() {
                self.bytes -= record.bytes;
                writes.push(Write::Delete { table: Table::Inbox, key: record.first.to_be_bytes().to_vec() });
            }
        }
        writes
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.waiting() >= MAX_INBOX || self.bytes + self.pending_bytes + bytes > MAX_INBOX_BYTES
    }

    fn confirm(&mut self, from: &Name, stream: StreamId, verdict: Verdict, mut ranges: Vec<u64>) {
        let known = self.receipts.entry((from.clone(), stream, verdict)).or_default();
        if let (Some(last), Some(first)) = (known.last_mut(), ranges.first())
            && *last + 1 == *first
        {
            *last = ranges[1];
            ranges.drain(..2);
        }
        known.append(&mut ranges);
    }

    /// Closes the pending messages into a record.
    fn close_record(&mut self) -> Option<Write> {
        let (first, last) = (self.pending.first()?.number, self.pending.last()?.number);
        let write =
            Write::Put { table: Table::Inbox, key: first.to_be_bytes().to_vec(), value: wire::encode(&self.pending) };
        self.records.push_back(Record { first, last, bytes: self.pending_bytes });
        self.bytes += self.pending_bytes;
        self.pending.clear();
        self.pending_bytes = 0;
        self.grown = true;
        Some(write)
    }
}

impl Engine {
    /// Takes a batch that a contact sealed for us. `offset`: its clock less ours.
    pub(super) fn handle_batch(&mut self, from: &Name, offset: i64, body: &[u8]) {
        let Ok(batch) = wire::decode::<Batch<'_>>(body) else { return self.count("data_malformed", 1) };
        if batch.messages.len() > MAX_MESSAGES || !self.admit_stream(from, &batch) {
            return self.count("batches_refused", 1);
        }
        let sent = Unix(batch.sent.saturating_add_signed(offset.saturating_neg()));
        let mut confirmed: BTreeMap<Verdict, Vec<u64>> = BTreeMap::new();
        for message in &batch.messages {
            let sequence = batch.base.saturating_add(u64::from(message.offset));
            let Some(verdict) = self.judge(from, &batch, message, sequence, sent) else { continue };
            let ranges = confirmed.entry(verdict).or_default();
            match ranges.last_mut() {
                Some(last) if *last + 1 == sequence => *last = sequence,
                _ => ranges.extend([sequence, sequence]),
            }
        }
        if batch.ack == Ack::End {
            for (verdict, ranges) in confirmed {
                self.inbox.confirm(from, batch.stream, verdict, ranges);
            }
        }
    }

    /// The stream belongs to this sender; what ended there is settled.
    fn admit_stream(&mut self, from: &Name, batch: &Batch<'_>) -> bool {
        let streams = &mut self.inbox.streams;
        if streams.len() >= MAX_STREAMS
            && !streams.contains_key(&batch.stream)
            && let Some(oldest) = streams.iter().min_by_key(|(_, stream)| stream.last).map(|(id, _)| *id)
        {
            streams.remove(&oldest);
            self.inbox.touched.remove(&oldest);
            self.journal.write(Write::Delete { table: Table::Dedupe, key: oldest.as_bytes().to_vec() });
            self.count("dedupe_streams_forgotten", 1);
        }
        let now = self.now.unix;
        let stream = self.inbox.streams.entry(batch.stream).or_insert_with(|| Stream {
            from: from.clone(),
            dedupe: Dedupe::default(),
            last: now,
        });
        if stream.from != *from {
            return false;
        }
        stream.last = now;
        if stream.dedupe.settle(batch.floor) {
            self.inbox.touched.insert(batch.stream);
        }
        true
    }

    /// What becomes of one message; `None` when nothing is to be said of it.
    fn judge(
        &mut self,
        from: &Name,
        batch: &Batch<'_>,
        message: &wire::batch::Message<'_>,
        sequence: u64,
        sent: Unix,
    ) -> Option<Verdict> {
        if message.payload.len() > MAX_PAYLOAD {
            return Some(Verdict::Forbidden);
        }
        if message.purpose == Purpose::Deliver && self.inbox.is_full(message.payload.len()) {
            self.count("inbox_full", 1);
            return Some(Verdict::InboxFull);
        }
        match self.inbox.streams.get_mut(&batch.stream)?.dedupe.accept(sequence) {
            dedupe::Verdict::Duplicate => {
                self.count("messages_duplicate", 1);
                return Some(Verdict::Delivered);
            }
            dedupe::Verdict::Refused => {
                self.count("messages_beyond_window", 1);
                return None;
            }
            dedupe::Verdict::New => {}
        }
        self.inbox.touched.insert(batch.stream);
        let late = message.lifetime.is_some_and(|lifetime| sent.0.saturating_add(lifetime) < self.now.unix.0);
        if late {
            self.count("messages_late", 1);
            return Some(Verdict::Expired);
        }
        let id = inner(batch.stream, sequence);
        match message.purpose {
            Purpose::Deliver => {
                self.deliver(from, id, Unix(batch.sent), message.payload);
                Some(Verdict::Delivered)
            }
            Purpose::Request => Some(self.handle_call(from, id, message)),
            Purpose::Reply | Purpose::Failure => {
                self.handle_answer(from, message);
                Some(Verdict::Delivered)
            }
        }
    }

    fn deliver(&mut self, from: &Name, id: crate::id::InnerId, sent: Unix, payload: &[u8]) {
        let inbox = &mut self.inbox;
        inbox.last += 1;
        inbox.pending_bytes += payload.len();
        inbox.pending.push(InboxMessage {
            number: inbox.last,
            from: from.clone(),
            id,
            sent,
            received: self.now.unix,
            payload: payload.to_vec(),
        });
        if inbox.pending_bytes >= RECORD_BYTES || inbox.pending.len() >= MAX_MESSAGES {
            let write = inbox.close_record();
            self.journal.extend(write);
        }
    }

    /// Puts the turn's messages and dedupe state into its commit.
    pub(super) fn write_inbox(&mut self) {
        let record = self.inbox.close_record();
        self.journal.extend(record);
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
            let extent = self.inbox.extent();
            for token in &self.inbox.watchers {
                let reply = extent.clone();
                self.outputs.push_back(Output::Reply { token: *token, reply, after, last: false });
            }
        }
        let mut by_sender: BTreeMap<Name, Vec<Receipt>> = BTreeMap::new();
        let at = self.now.unix.0;
        for ((from, stream, verdict), ranges) in core::mem::take(&mut self.inbox.receipts) {
            for ranges in ranges.chunks(2 * MAX_RANGES) {
                let receipt = Receipt { stream, verdict, ranges: ranges.to_vec(), visited: Vec::new(), at };
                by_sender.entry(from.clone()).or_default().push(receipt);
            }
        }
        for (from, receipts) in by_sender {
            for receipts in receipts.chunks(RECEIPTS_A_FRAME) {
                self.send_receipts(&from, receipts.to_vec(), after);
            }
        }
    }
}

/// Receipts of [`MAX_RANGES`] ranges each that fit one seal.
const RECEIPTS_A_FRAME: usize = 12;
