//! Intake: judges messages that contacts have sealed for this device, one by one or as a whole parcel.
//!
//! ```text
//! parcel ─▶ its stream's dedupe ─▶ a record of the inbox ─┐
//! batch  ─▶ its stream's dedupe ─▶ calls, responses       ├─▶ the turn's commit ─▶ durable: receipts, notices
//!                       changed dedupe states ────────────┘
//! ```
//!
//! Invariants
//! 1. A message has one verdict, which is repeated for every copy of it, except `InboxFull`, which tells the sender to
//!    send it again.
//! 2. An accepted message and the dedupe state that accepted it are in one commit, so that they agree after a crash.

use crate::counter::Counter;
use crate::delivery::dedupe::{self, Dedupe};
use crate::engine::Output;
use crate::engine::api::{InboxRecord, Reply};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::inbox::Stream;
use crate::engine::routing::data_frames::inner;
use crate::engine::store::{Table, Write};
use crate::id::{CredentialPrefix, Lsn, Name, StreamId};
use crate::time::Unix;
use crate::wire::batch::{Ack, Batch, MAX_MESSAGES, MAX_PAYLOAD, Message, Purpose};
use crate::wire::parcel::{Parcel, RECORD, Records};
use crate::wire::receipt::Verdict;
use crate::wire::{self, group};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Messages {
    /// Notes that a contact has handed publications of this device to a subscriber.
    fn note_heard(&mut self, core: &mut Core, from: &Name, message: &Message<'_>) {
        let count = <[u8; 4]>::try_from(message.payload).map_or(0, u32::from_be_bytes);
        let told = message.replies_to.filter(|_| (1..=group::MAX_MESSAGES as u32).contains(&count));
        match told {
            Some(first) => self.asks.heard.push((from.clone(), first, count)),
            None => core.count(Counter::ConfirmationsUnasked, 1),
        }
    }

    /// Processes a parcel that a contact has sealed for this device. `offset` is the contact's clock less ours, in
    /// microseconds; `visited` names the relays that the frame has passed.
    pub(in crate::engine) fn handle_parcel(
        &mut self,
        core: &mut Core,
        from: &Name,
        offset: i64,
        visited: &[CredentialPrefix],
        body: &[u8],
    ) {
        let Ok(parcel) = Parcel::parse(body) else { return core.count(Counter::DataMalformed, 1) };
        let (head, count) = (&parcel.head, u64::from(parcel.count));
        if !self.admit_stream(core, from, head.stream, head.floor) {
            return core.count(Counter::BatchesRefused, 1);
        }
        self.inbox.note_visited(head.stream, visited);
        self.sessions.pushers.told(from, head.push_only, core.now.time);
        self.compare_clock(core, from, head.sent);
        let sent = Unix(head.sent.saturating_add_signed(offset.saturating_neg()));
        let end = sent.0.saturating_add(head.lifetime);
        for ends in [end, end.saturating_sub(parcel.earliest.into())] {
            self.inbox.note_due(head.stream, Unix(ends), core.now.unix);
        }
        let whole = end.saturating_sub(parcel.earliest.into()) >= core.now.unix.0
            && !self.inbox.is_full(from, count, parcel.records.len())
            && self.inbox.streams.get_mut(&head.stream).is_some_and(|s| s.dedupe.accept_next(head.base, count));
        if whole {
            self.deliver(core, from, &parcel, 0, parcel.records);
            if head.ack == Ack::End {
                let ranges = [head.base, head.base + count - 1];
                self.inbox.confirm(from, head.stream, Verdict::Delivered, &ranges);
            }
        } else {
            self.handle_by_piece(core, from, &parcel, end);
        }
    }

    /// As [`Self::handle_parcel`], for a parcel some of whose messages are not new, come too late, or find no room.
    fn handle_by_piece(&mut self, core: &mut Core, from: &Name, parcel: &Parcel<'_>, end: u64) {
        let (mut at, mut run, mut confirmed) = (0, 0..0, BTreeMap::<Verdict, Vec<u64>>::new());
        let mut first = 0;
        for (index, record) in (0..).zip(Records(parcel.records)) {
            let next = at + RECORD + record.payload.len();
            let sequence = parcel.head.base.saturating_add(index);
            let late = end.saturating_sub(record.earlier.into()) < core.now.unix.0;
            // The messages of the current run are not counted in the inbox yet.
            let full = self.inbox.is_full(from, index - first + 1, run.len() + next - at);
            let (verdict, fresh) = self.judge(core, parcel.head.stream, sequence, full, late);
            if fresh {
                run.end = next;
            } else {
                self.deliver(core, from, parcel, first, &parcel.records[run]);
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
        self.deliver(core, from, parcel, first, &parcel.records[run]);
        if parcel.head.ack == Ack::End {
            for (verdict, ranges) in confirmed {
                self.inbox.confirm(from, parcel.head.stream, verdict, &ranges);
            }
        }
    }

    /// Delivers accepted messages of a parcel, from its message number `index` on: to live consumers if it asks for no
    /// acknowledgement and there are any, else to the inbox.
    fn deliver(&mut self, core: &mut Core, from: &Name, parcel: &Parcel<'_>, index: u64, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        let (head, received) = (&parcel.head, core.now.unix);
        let record = InboxRecord {
            first: 0,
            from: from.clone(),
            stream: head.stream,
            base: head.base.saturating_add(index),
            sent: Unix(head.sent),
            received,
            records: Cow::Borrowed(records),
            blob: None,
            sent_error: head.error,
        };
        let inbox = &mut self.inbox;
        if head.ack == Ack::None && !inbox.live.is_empty() {
            let record = Arc::new(InboxRecord { records: Cow::Owned(records.to_vec()), ..record });
            for &token in &inbox.live {
                let reply = Reply::Live(record.clone());
                core.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
            }
            return;
        }
        let record = InboxRecord { first: inbox.last + 1, ..record };
        inbox.last = record.last();
        inbox.enter(&record);
        inbox.touched.insert(head.stream);
        inbox.grown = true;
        let key = record.first.to_be_bytes().to_vec();
        core.journal.write(Write::Put { table: Table::Inbox, key, value: wire::encode(&record) });
    }

    /// Notes that a stream has brought something, and settles everything below its floor. Returns whether the stream
    /// belongs to this sender.
    fn admit_stream(&mut self, core: &mut Core, from: &Name, id: StreamId, floor: u64) -> bool {
        let owner = self.inbox.streams.get(&id).map_or(from, |stream| &stream.from);
        if let Some(oldest) = self.inbox.senders.heard(owner, id) {
            self.inbox.streams.remove(&oldest);
            self.inbox.touched.remove(&oldest);
            core.journal.write(Write::Delete { table: Table::Dedupe, key: oldest.as_bytes().to_vec() });
            core.count(Counter::DedupeStreamsForgotten, 1);
        }
        let now = core.now.unix;
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

    /// Judges a message. Returns the verdict to report, if there is one already, and whether the message is accepted.
    fn judge(
        &mut self,
        core: &mut Core,
        id: StreamId,
        sequence: u64,
        full: bool,
        late: bool,
    ) -> (Option<Verdict>, bool) {
        let Some(stream) = self.inbox.streams.get_mut(&id) else { return (None, false) };
        let dedupe = &mut stream.dedupe;
        if full && !late && dedupe.verdict(sequence).is_none() {
            // This does not settle the message: it may be sent again.
            core.count(Counter::InboxFull, 1);
            return (Some(Verdict::InboxFull), false);
        }
        match if late { dedupe.turn_down(sequence, Verdict::Expired) } else { dedupe.accept(sequence) } {
            dedupe::Verdict::Known(verdict) => {
                self.inbox.telling.repeated.insert(id);
                core.count(Counter::MessagesDuplicate, 1);
                (Some(verdict), false)
            }
            dedupe::Verdict::Refused => {
                // There will be room in the window once the messages before it are settled.
                core.count(Counter::MessagesBeyondWindow, 1);
                (Some(Verdict::InboxFull), false)
            }
            dedupe::Verdict::New if late => {
                self.inbox.touched.insert(id);
                core.count(Counter::MessagesLate, 1);
                (Some(Verdict::Expired), false)
            }
            dedupe::Verdict::New => (None, true),
        }
    }

    /// Adds the dedupe states that this turn has changed to its commit.
    pub(in crate::engine) fn write_dedupe(&mut self, core: &mut Core) {
        for id in core::mem::take(&mut self.inbox.touched) {
            if let Some(stream) = self.inbox.streams.get(&id) {
                core.journal.write(Write::Put {
                    table: Table::Dedupe,
                    key: id.as_bytes().to_vec(),
                    value: wire::encode(stream),
                });
            }
        }
    }

    /// Processes a batch of calls, answers and confirmations that a contact has sealed for this device. `offset` is the
    /// contact's clock less ours, in microseconds; `visited` names the relays that the frame has passed.
    pub(in crate::engine) fn handle_batch(
        &mut self,
        core: &mut Core,
        from: &Name,
        offset: i64,
        visited: &[CredentialPrefix],
        body: &[u8],
    ) {
        let Ok(batch) = wire::decode::<Batch<'_>>(body) else { return core.count(Counter::DataMalformed, 1) };
        if batch.messages.len() > MAX_MESSAGES || !self.admit_stream(core, from, batch.stream, batch.floor) {
            return core.count(Counter::BatchesRefused, 1);
        }
        self.inbox.note_visited(batch.stream, visited);
        self.compare_clock(core, from, batch.sent);
        let sent = Unix(batch.sent.saturating_add_signed(offset.saturating_neg()));
        for message in &batch.messages {
            let sequence = batch.base.saturating_add(u64::from(message.offset));
            let ends = message.lifetime.map(|lifetime| Unix(sent.0.saturating_add(lifetime)));
            let late = ends.is_some_and(|ends| ends < core.now.unix);
            ends.into_iter().for_each(|ends| self.inbox.note_due(batch.stream, ends, core.now.unix));
            let (mut verdict, fresh) = self.judge(core, batch.stream, sequence, false, late);
            if fresh {
                self.inbox.touched.insert(batch.stream);
                let id = inner(batch.stream, sequence);
                let answer = match message.purpose {
                    _ if message.payload.len() > MAX_PAYLOAD => Verdict::Forbidden,
                    Purpose::Request => self.handle_call(core, from, id, message, ends),
                    Purpose::BlobRequest => self.handle_blob_call(core, from, id, message, ends),
                    Purpose::Heard => {
                        self.note_heard(core, from, message);
                        Verdict::Delivered
                    }
                    Purpose::Enquiry | Purpose::Reservation => self.handle_enquiry(core, from, id, message),
                    Purpose::Offer => {
                        self.hear_offer(core, from, message);
                        Verdict::Delivered
                    }
                    Purpose::Reply | Purpose::Failure | Purpose::Interrupted => {
                        self.handle_answer(core, from, message);
                        Verdict::Delivered
                    }
                    Purpose::BlobReply => {
                        self.handle_blob_answer(core, from, message);
                        Verdict::Delivered
                    }
                };
                // A copy of the message must be given the same verdict.
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
}
