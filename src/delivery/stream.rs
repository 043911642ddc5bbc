//! Stream: the messages to one receiver that are to be confirmed: which are queued, which have left, which have ended.
//!
//! Open messages lie in a ring of slots by sequence number, from the *floor* (the lowest number that has not ended) to
//! the next number to be given. Beside the ring there are a queue of waiting numbers for each lane, the flights in
//! order of departure, and, for each lifetime in use, the deadlines, which are also in order because time is. So no
//! search is needed per message.
//!
//! Invariants
//! 1. There are at most [`WINDOW`] slots.
//! 2. A message keeps its sequence number through every attempt, and no number is given twice.

use super::dedupe::WINDOW;
use super::departure::{Departure, PLAIN_OVERHEAD, Taken};
use super::headroom::Headroom;
use super::lane::Lane;
use super::message::{Content, Submission};
use super::outgoing::Overdue;
use super::put_off::PutOff;
use super::retry::Retry;
use super::slot::Slot;
use super::under_way::{Allowance, UnderWay};
use crate::id::{OuterId, StreamId};
use crate::time::{Time, Unix};
use crate::wire::batch::{Ack, Batch, MAX_MESSAGES, MAX_PLAIN, Message, PLAIN_BATCH};
use crate::wire::codec::encode_into;
use crate::wire::data::Class;
use crate::wire::parcel::{Head, Parcel, RECORD, put_record};
use core::time::Duration;
use entrusted::Entrusted;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod custody;
mod entrusted;
mod waiting;

/// The most bytes that a call adds to a batch besides its payload and service name.
const CALL_OVERHEAD: usize = 72;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Stream<T> {
    id: StreamId,
    /// The sequence number of `slots[0]`.
    floor: u64,
    slots: VecDeque<Option<Slot<T>>>,
    /// The waiting numbers of each lane. Empty queues are removed soon.
    queues: BTreeMap<Lane, VecDeque<u64>>,
    under_way: UnderWay,
    retry: Retry,
    /// By class: what is urgent overtakes what is not, and says nothing of how long that takes.
    headroom: [Headroom; Class::ALL.len()],
    deadlines: BTreeMap<Duration, VecDeque<(Time, u64)>>,
    /// For each frame that the next hop is to acknowledge, or that is mail, its messages. Bounded by the window: each has a
    /// message.
    hops: BTreeMap<OuterId, Vec<u64>>,
    /// The messages that the receiver has no room for at the moment.
    put_off: PutOff,
    /// The messages that others keep for the receiver, by when they are sent again.
    kept: BTreeSet<(Time, u64)>,
    /// The messages that have ended here because others keep them.
    entrusted: Entrusted,
    /// The bytes of payload in all slots.
    bytes: usize,
    /// The last message of each key of which only the latest is to wait. Bounded by the window: each has a message.
    latest: BTreeMap<String, u64>,
    /// Whether the stream is from before a restart. It takes no new messages, since numbers may have been given that
    /// are not stored.
    closed: bool,
}

impl<T> Stream<T> {
    pub(super) fn new(id: StreamId) -> Self {
        Self {
            id,
            floor: 1,
            slots: VecDeque::new(),
            queues: BTreeMap::new(),
            under_way: UnderWay::default(),
            retry: Retry::default(),
            headroom: Default::default(),
            deadlines: BTreeMap::new(),
            hops: BTreeMap::new(),
            put_off: PutOff::default(),
            kept: BTreeSet::new(),
            entrusted: Entrusted::default(),
            bytes: 0,
            latest: BTreeMap::new(),
            closed: false,
        }
    }

    /// Creates a stream from before a restart, whose lowest open message has the number `floor`.
    pub(super) fn restored(id: StreamId, floor: u64) -> Self {
        Self { floor, closed: true, ..Self::new(id) }
    }

    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The bytes of payload that have not ended.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The messages that have not ended, and at most as many others.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Since when the receiver has had no room for messages of the stream; `None` if it has, as far as is known.
    pub(super) fn full_since(&self) -> Option<Time> {
        self.put_off.since().filter(|_| !self.slots.is_empty())
    }

    /// The message of a key that still waits and gives way to a newer one.
    pub(super) fn superseded(&self, key: &str) -> Option<u64> {
        let sequence = *self.latest.get(key)?;
        self.slot(sequence)?.departed.is_none().then_some(sequence)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        (self.slots.len() as u64) < WINDOW
    }

    /// Takes a message under the next number.
    pub(super) fn push(&mut self, message: Submission<T>, now: Time, expiry: Unix) -> u64 {
        let sequence = self.floor + self.slots.len() as u64;
        self.queue(sequence, &message, now);
        if let Some(key) = &message.latest {
            self.latest.insert(key.clone(), sequence);
        }
        let slot = Slot {
            message,
            submitted: now,
            expiry,
            departed: None,
            last_flight: None,
            far: false,
            has_left: false,
            again: false,
            unplaced: false,
            kept: false,
        };
        self.slots.push_back(Some(slot));
        sequence
    }

    /// Takes a restored message under its old number. Numbers must come in ascending order; returns `false` if they do
    /// not.
    pub(super) fn restore(&mut self, sequence: u64, message: Submission<T>, now: Time, expiry: Unix) -> bool {
        let Some(at) = sequence.checked_sub(self.floor).filter(|at| *at < WINDOW && *at >= self.slots.len() as u64)
        else {
            return false;
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.slots.resize_with(at, || None);
        self.queue(sequence, &message, now);
        let slot = Slot {
            message,
            submitted: now,
            expiry,
            departed: None,
            last_flight: None,
            far: false,
            has_left: true,
            again: true,
            unplaced: false,
            kept: false,
        };
        self.slots.push_back(Some(slot));
        true
    }

    fn queue(&mut self, sequence: u64, message: &Submission<T>, now: Time) {
        self.bytes += message.payload.len();
        self.queues.entry(message.lane.clone()).or_default().push_back(sequence);
        let deadlines = self.deadlines.entry(message.lifetime).or_default();
        // Ascending by construction; each restored message has a lifetime of its own.
        deadlines.push_back((now + message.lifetime, sequence));
    }

    pub(super) fn slot(&self, sequence: u64) -> Option<&Slot<T>> {
        self.slots.get(usize::try_from(sequence.checked_sub(self.floor)?).ok()?)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(sequence.checked_sub(self.floor)?).ok()?)?.as_mut()
    }

    /// Limits a range to the numbers that may be open, so that a hostile range costs nothing.
    pub(super) fn clamp(&self, first: u64, last: u64) -> core::ops::Range<u64> {
        let end = self.floor.saturating_add(self.slots.len() as u64);
        first.max(self.floor)..last.saturating_add(1).min(end)
    }

    /// The lanes in which messages wait, most urgent first.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(lane, _)| lane)
    }

    /// The next message in a lane.
    pub(super) fn next_in(&self, lane: &Lane) -> Option<&Slot<T>> {
        self.queues.get(lane)?.iter().find_map(|sequence| self.slot(*sequence))
    }

    /// Takes the next messages of a lane that ask for the same acknowledgement and are of the same kind, and appends
    /// their plaintext to `out`. Their numbers are left in `taken`.
    pub(super) fn take(
        &mut self,
        lane: &Lane,
        departure: &Departure<'_>,
        out: &mut Vec<u8>,
        taken: &mut Vec<u64>,
    ) -> Option<Taken> {
        taken.clear();
        let (mut size, mut ack, mut expiry, mut calls) = (PLAIN_OVERHEAD, Ack::None, Unix(0), false);
        let mut named = false;
        let mut queue = self.queues.remove(lane)?;
        while let Some(&sequence) = queue.front() {
            let Some(slot) = self.slot(sequence) else {
                queue.pop_front();
                continue;
            };
            let message = &slot.message;
            let (call, adds) = match &message.content {
                Content::Inbox => (false, RECORD + message.payload.len()),
                Content::Call { service, .. } => {
                    (true, CALL_OVERHEAD + message.payload.len() + service.as_ref().map_or(0, String::len))
                }
            };
            let first = taken.is_empty();
            let follows = call || first || taken.last().is_some_and(|last| last + 1 == sequence);
            let fits = first || (size + adds <= departure.most.min(MAX_PLAIN) && taken.len() < MAX_MESSAGES);
            // A record states in 32 bits how much earlier than the parcel's latest message its own message expires.
            let near = first || slot.expiry.0.abs_diff(expiry.0) < u64::from(u32::MAX) / 2;
            let agrees = first || (ack, calls) == (message.ack, call);
            let in_time = first || departure.suits(slot.expiry);
            if !(follows && fits && near && agrees && in_time) {
                break;
            }
            (size, ack, expiry, calls) = (size + adds, message.ack, expiry.max(slot.expiry), call);
            named |= message.id.is_some();
            queue.pop_front();
            taken.push(sequence);
        }
        if !queue.is_empty() {
            self.queues.insert(lane.clone(), queue);
        }
        let base = *taken.iter().min()?;
        let reply = if ack == Ack::None { Vec::new() } else { departure.reply.to_vec() };
        let (stream, floor, sent) = (self.id, self.told_floor(departure.now.unix), departure.now.unix.0);
        if calls {
            let messages = taken.iter().filter_map(|&sequence| self.call(sequence, base, sent)).collect();
            out.push(PLAIN_BATCH);
            encode_into(&Batch { stream, floor, base, sent, ack, reply, messages }, out);
        } else {
            let lifetime = expiry.0.saturating_sub(sent);
            let (error, push_only) = (departure.error, departure.push_only);
            Parcel::put(&Head { stream, floor, base, sent, ack, reply, lifetime, error, push_only }, &[], out);
            for &sequence in taken.iter() {
                let Some(slot) = self.slot(sequence) else { continue };
                let earlier = u32::try_from(expiry.0 - slot.expiry.0).unwrap_or(u32::MAX);
                put_record(out, earlier, &slot.message.payload);
            }
        }
        self.depart(taken, ack, departure);
        Some(Taken { messages: taken.len(), ack, expiry, named })
    }

    fn call(&self, sequence: u64, base: u64, sent: u64) -> Option<Message<'_>> {
        let slot = self.slot(sequence)?;
        let Content::Call { purpose, service, replies_to } = &slot.message.content else { return None };
        Some(Message {
            offset: u32::try_from(sequence - base).unwrap_or(u32::MAX),
            purpose: *purpose,
            payload: &slot.message.payload,
            service: service.as_deref(),
            replies_to: *replies_to,
            lifetime: Some(slot.expiry.0.saturating_sub(sent)),
        })
    }

    fn depart(&mut self, taken: &[u64], ack: Ack, departure: &Departure<'_>) {
        let now = departure.now.time;
        self.retry.expect(departure.expected);
        let round_trip = departure.arrives.since(departure.now.unix).saturating_mul(2);
        let allowance = Allowance::of(round_trip, self.suspicious_after());
        for &sequence in taken {
            if let Some(slot) = self.slot_mut(sequence) {
                (slot.again, slot.unplaced, slot.kept) = (slot.has_left, false, false);
                slot.far = !allowance.is_none() || departure.mail;
                (slot.departed, slot.has_left) = (Some((now, departure.flight)), true);
                slot.last_flight = Some(departure.flight);
            }
        }
        self.under_way.depart(taken, departure.flight, ack == Ack::End, allowance, now);
        if ack == Ack::Hop || departure.mail {
            self.hops.insert(departure.attempt, taken.to_vec());
        }
    }

    /// Returns the messages of a frame that the next hop has acknowledged.
    pub(super) fn hop_acked(&mut self, frame: &OuterId) -> Option<Vec<u64>> {
        self.hops.remove(frame)
    }

    /// Queues all messages in flight again; appends their flights to `over`.
    pub(super) fn path_broken(&mut self, over: &mut Vec<u64>) {
        let mut flown = self.under_way.take_all();
        flown.retain(|sequence| self.slot(*sequence).is_some_and(|slot| !slot.kept));
        for flight in flown.iter().filter_map(|sequence| self.slot(*sequence)?.flight()) {
            if over.last() != Some(&flight) {
                over.push(flight);
            }
        }
        self.hops.retain(|_, sequences| sequences.iter().any(|sequence| !flown.contains(sequence)));
        self.requeue(flown);
    }

    /// Sets aside a message in flight that the receiver has no room for. Returns its flight, whose path has delivered
    /// it.
    pub(super) fn put_off(&mut self, sequence: u64, now: Time) -> Option<u64> {
        let slot = self.slot_mut(sequence)?;
        let (_, flight) = slot.departed.take()?;
        slot.unplaced = true;
        self.under_way.acquit(flight);
        self.put_off.insert(sequence, now);
        Some(flight)
    }

    /// When some of the messages set aside are offered again.
    pub(super) fn offered_again(&self) -> Option<Time> {
        self.put_off.next_wake()
    }

    /// Notes that the receiver has taken a message.
    pub(super) fn taken(&mut self, now: Time) {
        self.put_off.taken(now);
    }

    /// Handles a receipt that confirms a message: the time it took determines how long to wait for others.
    pub(super) fn confirmed(&mut self, sequence: u64, now: Time) {
        let Some(slot) = self.slot(sequence).filter(|slot| !slot.again && !slot.far) else { return };
        let class = slot.message.lane.class as usize;
        if let Some((departed, _)) = slot.departed {
            self.retry.measured(now.since(departed));
            self.headroom[class].confirmed(now.since(departed));
        }
    }

    /// How long a message that leaves now may go without a receipt before it is sent again.
    pub(super) fn patience(&self) -> Duration {
        self.retry.after()
    }

    /// The longest time that a flight that leaves now may go without a receipt before its path is suspected.
    pub(super) fn suspicious_after(&self) -> Duration {
        self.retry.suspicious_after()
    }

    /// The same, if it is measured.
    pub(super) fn measured_after(&self) -> Option<Duration> {
        self.retry.measured_after()
    }

    /// Queues messages again that have been in flight for too long; appends messages past their deadline to `due`, and
    /// flights without a receipt to `overdue`.
    pub(super) fn timeout(&mut self, now: Time, due: &mut Vec<u64>, overdue: &mut Overdue) {
        self.forget_ended();
        overdue.suspicious.extend(self.under_way.poll_suspicious(now, self.suspicious_after()));
        let mut again = Vec::new();
        for (at, sequence) in self.under_way.poll_overdue(now, self.patience()) {
            let Some((left, flight)) = self.slot(sequence).and_then(|slot| slot.departed) else { continue };
            if left == at {
                again.push(sequence);
                if overdue.lost.last() != Some(&flight) {
                    overdue.lost.push(flight);
                }
            }
        }
        if !again.is_empty() {
            self.retry.lost();
        }
        again.extend(self.take_kept(now));
        self.requeue(again);
        for sequence in self.put_off.poll(now).into_iter().rev() {
            let Some(slot) = self.slot(sequence) else { continue };
            let lane = slot.message.lane.clone();
            self.queues.entry(lane).or_default().push_front(sequence);
        }
        let from = due.len();
        for queue in self.deadlines.values_mut() {
            while let Some((_, sequence)) = queue.pop_front_if(|(at, _)| *at <= now) {
                due.push(sequence);
            }
        }
        for sequence in &due[from..] {
            let slot = self.slot(*sequence);
            let missed = slot.and_then(|slot| Some((now.since(slot.departed?.0), &slot.message)));
            if let Some((left, message)) = missed {
                self.headroom[message.lane.class as usize].missed(left, message.lifetime);
            }
        }
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_wake(&self) -> Option<Time> {
        if self.slots.is_empty() {
            return None;
        }
        let deadlines = self.deadlines.values().filter_map(|queue| queue.front().map(|(at, _)| *at));
        let under_way = self.under_way.next_wake(self.suspicious_after(), self.patience());
        deadlines.chain(under_way).chain(self.put_off.next_wake()).chain(self.next_kept()).min()
    }

    /// Ends a message, if it is open.
    pub(super) fn end(&mut self, sequence: u64) -> Option<Slot<T>> {
        let at = usize::try_from(sequence.checked_sub(self.floor)?).ok()?;
        let slot = self.slots.get_mut(at)?.take()?;
        self.bytes -= slot.message.payload.len();
        if let Some(key) = slot.message.latest.as_ref().filter(|key| self.latest.get(*key) == Some(&sequence)) {
            self.latest.remove(key);
        }
        while self.slots.pop_front_if(|slot| slot.is_none()).is_some() {
            self.floor += 1;
        }
        if self.slots.is_empty() {
            self.forget_ended();
        }
        Some(slot)
    }

    /// Puts messages back at the front of their queues, in order.
    fn requeue(&mut self, mut sequences: Vec<u64>) {
        sequences.sort_unstable();
        sequences.dedup();
        for sequence in sequences.into_iter().rev() {
            let Some(slot) = self.slot_mut(sequence) else { continue };
            if slot.departed.take().is_some() {
                let lane = slot.message.lane.clone();
                self.queues.entry(lane).or_default().push_front(sequence);
            }
        }
    }

    /// Drops bookkeeping of messages that have ended, as far as it lies in front of open ones.
    fn forget_ended(&mut self) {
        let (slots, floor) = (&self.slots, self.floor);
        let open = |sequence: u64| {
            let at = sequence.checked_sub(floor).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| slots.get(at)).is_some_and(Option::is_some)
        };
        self.under_way.forget(open);
        for queue in self.deadlines.values_mut() {
            while queue.pop_front_if(|(_, sequence)| !open(*sequence)).is_some() {}
        }
        self.deadlines.retain(|_, queue| !queue.is_empty());
        self.put_off.retain(open);
        self.kept.retain(|(_, sequence)| open(*sequence));
        self.hops.retain(|_, sequences| sequences.iter().any(|sequence| open(*sequence)));
    }
}
