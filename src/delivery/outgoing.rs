//! Messages on their way out: one stream for each destination, and one end for each message.
//!
//! A stream's open messages lie in a ring of slots by sequence number, from the *floor* (the lowest that has not
//! ended) to the next number to be given. Beside it stand one queue of waiting numbers for each class, the flights
//! in order of departure, and for each lifetime in use the deadlines, which are in order too since time is. So
//! nothing is searched per message.
//!
//! ```text
//! submit ─▶ queued ──take_batch──▶ in flight ──receipt──▶ delivered | refused
//!             ▲  │                   │   │
//!             │  └──deadline────┐    │   └──deadline──▶ expired
//!             │                 ▼    │
//!             │            unreachable
//!             └──path broken, no receipt within RETRY──┘
//! ```
//!
//! Invariants
//! 1. Every message submitted is handed back in exactly one [`End`].
//! 2. At most [`WINDOW`] slots a stream, [`MAX_DESTINATIONS`] streams, [`MAX_BYTES`] of payload in all. Drop
//!    policy: `submit` refuses.
//! 3. A message keeps its sequence number through every attempt.

use super::dedupe::WINDOW;
use crate::id::{Handle, InnerId, Name, OuterId, StreamId};
use crate::time::{Now, Time, Unix};
use crate::wire::batch::{Ack, Batch, MAX_MESSAGES, MAX_PLAIN, Message, PLAIN_BATCH, Purpose};
use crate::wire::codec::encode_into;
use crate::wire::data::Class;
use crate::wire::receipt::{Receipt, Verdict};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};

/// Most streams; as many as a node has contacts at most.
pub const MAX_DESTINATIONS: usize = 4_096;
/// Most payload kept in all streams, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long after departure a message without a receipt is sent again, if its path still stands.
pub const RETRY: Duration = Duration::from_secs(15);
/// Longest lifetime, so that a deadline never overflows: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Bytes that a message adds to a batch besides payload and service name, at most.
const MESSAGE_OVERHEAD: usize = 72;
/// Bytes of a batch besides its messages, at most.
const BATCH_OVERHEAD: usize = 256;

/// A message to be sent. `T` is whatever the caller knows it by.
#[derive(Clone, Debug)]
pub struct Submission<T> {
    /// Handed back with the end.
    pub token: T,
    /// The bytes.
    pub payload: Vec<u8>,
    /// What for.
    pub purpose: Purpose,
    /// Service called.
    pub service: Option<String>,
    /// Request answered.
    pub replies_to: Option<InnerId>,
    /// Confirmation wanted.
    pub ack: Ack,
    /// Urgency.
    pub class: Class,
    /// Of no use after this long.
    pub lifetime: Duration,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it, durably; hops as the receiver counted them.
    Delivered {
        /// Hops.
        hops: u32,
    },
    /// Handed over; nothing more was asked.
    Sent,
    /// The receiver says no.
    Refused(Verdict),
    /// It left, and no receipt came in time.
    Expired,
    /// It never left: there was no way to the destination in time.
    Unreachable,
}

/// The end of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<T> {
    /// As submitted.
    pub token: T,
    /// How.
    pub fate: Fate,
    /// Since it was submitted.
    pub latency: Duration,
}

/// A batch just taken: its plaintext has been appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Messages in it.
    pub messages: usize,
    /// What they ask for.
    pub ack: Ack,
    /// Latest deadline among them.
    pub expiry: Unix,
}

/// What a batch leaves with.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// The frame that will carry it: what the next hop acknowledges.
    pub attempt: OuterId,
    /// Handles under which receipts find the sender.
    pub reply: &'a [Handle],
    /// When.
    pub now: Now,
}

/// No room; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many messages to this destination have not ended.
    #[error("{WINDOW} messages to that destination have not ended yet")]
    Stream,
    /// Too many destinations.
    #[error("there are messages to {MAX_DESTINATIONS} destinations already")]
    Destinations,
    /// Too many bytes.
    #[error("{MAX_BYTES} bytes of messages have not ended yet")]
    Bytes,
}

/// All messages on their way out.
#[derive(Debug)]
pub struct Outgoing<T> {
    streams: BTreeMap<Name, Stream<T>>,
    bytes: usize,
    open: usize,
}

#[derive(Debug)]
struct Stream<T> {
    id: StreamId,
    /// Sequence number of `slots[0]`.
    floor: u64,
    slots: VecDeque<Option<Slot<T>>>,
    queues: [VecDeque<u64>; 4],
    flights: VecDeque<(Time, u64)>,
    deadlines: BTreeMap<Duration, VecDeque<(Time, u64)>>,
    /// Frames whose messages end with the next hop's acknowledgement. Bounded by the window: each has a message.
    hops: BTreeMap<OuterId, Vec<u64>>,
}

#[derive(Debug)]
struct Slot<T> {
    message: Submission<T>,
    submitted: Time,
    expiry: Unix,
    /// When it last left; `None` while it is queued.
    departed: Option<Time>,
    /// Whether it ever left.
    has_left: bool,
}

impl<T: Clone> Outgoing<T> {
    /// Empty.
    pub fn new() -> Self {
        Self { streams: BTreeMap::new(), bytes: 0, open: 0 }
    }

    /// Takes a message.
    pub fn submit(
        &mut self,
        to: &Name,
        message: Submission<T>,
        now: Time,
        unix: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<InnerId, Full> {
        if self.bytes + message.payload.len() > MAX_BYTES {
            return Err(Full::Bytes);
        }
        if !self.streams.contains_key(to) {
            if self.streams.len() >= MAX_DESTINATIONS {
                self.streams.retain(|_, stream| !stream.slots.is_empty());
            }
            if self.streams.len() >= MAX_DESTINATIONS {
                return Err(Full::Destinations);
            }
        }
        let stream = self.streams.entry(to.clone()).or_insert_with(|| Stream::new(rng));
        if stream.slots.len() as u64 >= WINDOW {
            return Err(Full::Stream);
        }
        let lifetime = message.lifetime.min(MAX_LIFETIME);
        let sequence = stream.floor + stream.slots.len() as u64;
        self.bytes += message.payload.len();
        self.open += 1;
        stream.queues[message.class as usize].push_back(sequence);
        stream.deadlines.entry(lifetime).or_default().push_back((now + lifetime, sequence));
        stream.slots.push_back(Some(Slot {
            message,
            submitted: now,
            expiry: unix + lifetime,
            departed: None,
            has_left: false,
        }));
        Ok(InnerId { stream: stream.id, sequence })
    }

    /// Whether [`Self::submit`] would take `bytes` more for this destination.
    pub fn has_room(&self, to: &Name, bytes: usize) -> bool {
        self.bytes + bytes <= MAX_BYTES
            && self.streams.get(to).is_none_or(|stream| (stream.slots.len() as u64) < WINDOW)
    }

    /// The most urgent class in which something waits for this destination.
    pub fn waiting(&self, to: &Name) -> Option<Class> {
        let stream = self.streams.get(to)?;
        Class::ALL.into_iter().find(|class| !stream.queues[*class as usize].is_empty())
    }

    /// Destinations for which something waits.
    pub fn destinations_waiting(&self) -> impl Iterator<Item = &Name> {
        self.streams.iter().filter(|(_, s)| s.queues.iter().any(|q| !q.is_empty())).map(|(name, _)| name)
    }

    /// Takes the next messages of a class that agree in what they ask for, appends the batch's plaintext to `out`,
    /// and hands back those that end by leaving.
    pub fn take_batch(
        &mut self,
        to: &Name,
        class: Class,
        departure: &Departure<'_>,
        out: &mut Vec<u8>,
        ends: &mut Vec<End<T>>,
    ) -> Option<Taken> {
        let Departure { attempt, reply, now } = *departure;
        let stream = self.streams.get_mut(to)?;
        let mut taken = Vec::new();
        let (mut size, mut ack, mut expiry, mut base) = (BATCH_OVERHEAD, None, Unix(0), u64::MAX);
        let queue = &mut stream.queues[class as usize];
        while let Some(&sequence) = queue.front() {
            let Some(slot) = slot_mut(&mut stream.slots, stream.floor, sequence) else {
                queue.pop_front();
                continue;
            };
            let message = &slot.message;
            let adds = MESSAGE_OVERHEAD + message.payload.len() + message.service.as_ref().map_or(0, String::len);
            let fits = taken.is_empty() || (size + adds <= MAX_PLAIN && taken.len() < MAX_MESSAGES);
            if !fits || ack.is_some_and(|ack| ack != message.ack) {
                break;
            }
            queue.pop_front();
            (size, ack, expiry, base) = (size + adds, Some(message.ack), expiry.max(slot.expiry), base.min(sequence));
            taken.push(sequence);
        }
        let ack = ack?;
        stream.encode(&taken, base, ack, reply, now.unix, out);
        stream.depart(&taken, ack, attempt, now.time);
        if ack == Ack::None {
            for &sequence in &taken {
                self.end_one(to, sequence, Fate::Sent, now.time, ends);
            }
        }
        Some(Taken { messages: taken.len(), ack, expiry })
    }

    /// A receipt came from this destination.
    pub fn handle_receipt(&mut self, from: &Name, receipt: &Receipt, now: Time, ends: &mut Vec<End<T>>) {
        let Some(stream) = self.streams.get(from) else { return };
        if stream.id != receipt.stream {
            return;
        }
        let fate = match receipt.verdict {
            Verdict::Delivered => {
                Fate::Delivered { hops: u32::try_from(receipt.visited.len()).unwrap_or(u32::MAX).max(1) }
            }
            Verdict::Expired => Fate::Expired,
            verdict => Fate::Refused(verdict),
        };
        for range in receipt.ranges.chunks_exact(2) {
            // Clamped to what is open, so that a hostile range costs nothing.
            let Some(stream) = self.streams.get(from) else { return };
            let (floor, end) = (stream.floor, stream.floor + stream.slots.len() as u64);
            for sequence in range[0].max(floor)..=range[1].min(end.saturating_sub(1)) {
                self.end_one(from, sequence, fate, now, ends);
            }
        }
    }

    /// The next hop has these frames.
    pub fn handle_hop_ack(&mut self, to: &Name, frames: &[OuterId], now: Time, ends: &mut Vec<End<T>>) {
        for frame in frames {
            let Some(sequences) = self.streams.get_mut(to).and_then(|stream| stream.hops.remove(frame)) else {
                continue;
            };
            for sequence in sequences {
                self.end_one(to, sequence, Fate::Sent, now, ends);
            }
        }
    }

    /// The way to a destination broke, or it does not know our session: all that was in flight is queued again.
    pub fn handle_path_broken(&mut self, to: &Name) {
        if let Some(stream) = self.streams.get_mut(to) {
            let flown: Vec<u64> = stream.flights.drain(..).map(|(_, sequence)| sequence).collect();
            stream.hops.clear();
            stream.requeue(flown);
        }
    }

    /// Deadlines and retries that are due.
    pub fn handle_timeout(&mut self, now: Time, ends: &mut Vec<End<T>>) {
        let mut due = Vec::new();
        for (name, stream) in &mut self.streams {
            stream.forget_ended();
            let mut again = Vec::new();
            while stream.flights.front().is_some_and(|(at, _)| *at + RETRY <= now) {
                let Some((at, sequence)) = stream.flights.pop_front() else { break };
                let slot = slot_mut(&mut stream.slots, stream.floor, sequence);
                if slot.is_some_and(|slot| slot.departed == Some(at)) {
                    again.push(sequence);
                }
            }
            stream.requeue(again);
            for queue in stream.deadlines.values_mut() {
                while queue.front().is_some_and(|(at, _)| *at <= now) {
                    due.extend(queue.pop_front().map(|(_, sequence)| (name.clone(), sequence)));
                }
            }
        }
        for (name, sequence) in due {
            let left = self
                .streams
                .get_mut(&name)
                .and_then(|stream| slot_mut(&mut stream.slots, stream.floor, sequence).map(|slot| slot.has_left));
            if let Some(left) = left {
                self.end_one(&name, sequence, if left { Fate::Expired } else { Fate::Unreachable }, now, ends);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn next_wake(&self) -> Option<Time> {
        self.streams
            .values()
            .filter(|stream| !stream.slots.is_empty())
            .flat_map(|stream| {
                let deadlines = stream.deadlines.values().filter_map(|queue| queue.front().map(|(at, _)| *at));
                deadlines.chain(stream.flights.front().map(|(at, _)| *at + RETRY))
            })
            .min()
    }

    /// Messages that have not ended.
    pub fn open(&self) -> usize {
        self.open
    }

    fn end_one(&mut self, to: &Name, sequence: u64, fate: Fate, now: Time, ends: &mut Vec<End<T>>) {
        let Some(stream) = self.streams.get_mut(to) else { return };
        let Some(at) = sequence.checked_sub(stream.floor).and_then(|at| usize::try_from(at).ok()) else { return };
        let Some(slot) = stream.slots.get_mut(at).and_then(Option::take) else { return };
        self.bytes -= slot.message.payload.len();
        self.open -= 1;
        while stream.slots.front().is_some_and(Option::is_none) {
            stream.slots.pop_front();
            stream.floor += 1;
        }
        ends.push(End { token: slot.message.token, fate, latency: now.since(slot.submitted) });
        if stream.slots.is_empty() {
            stream.forget_ended();
        }
    }
}

impl<T: Clone> Default for Outgoing<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Stream<T> {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut id = [0; StreamId::LEN];
        rng.fill_bytes(&mut id);
        Self {
            id: StreamId(id),
            floor: 1,
            slots: VecDeque::new(),
            queues: Default::default(),
            flights: VecDeque::new(),
            deadlines: BTreeMap::new(),
            hops: BTreeMap::new(),
        }
    }

    fn encode(&self, taken: &[u64], base: u64, ack: Ack, reply: &[Handle], sent: Unix, out: &mut Vec<u8>) {
        let messages = taken
            .iter()
            .filter_map(|&sequence| {
                let slot = slot(&self.slots, self.floor, sequence)?;
                let message = &slot.message;
                Some(Message {
                    offset: u32::try_from(sequence - base).unwrap_or(u32::MAX),
                    purpose: message.purpose,
                    payload: &message.payload,
                    service: message.service.as_deref(),
                    replies_to: message.replies_to,
                    lifetime: Some(slot.expiry.0.saturating_sub(sent.0)),
                })
            })
            .collect();
        let reply = if ack == Ack::None { Vec::new() } else { reply.to_vec() };
        out.push(PLAIN_BATCH);
        encode_into(&Batch { stream: self.id, floor: self.floor, base, sent: sent.0, ack, reply, messages }, out);
    }

    fn depart(&mut self, taken: &[u64], ack: Ack, attempt: OuterId, now: Time) {
        for &sequence in taken {
            if let Some(slot) = slot_mut(&mut self.slots, self.floor, sequence) {
                (slot.departed, slot.has_left) = (Some(now), true);
                self.flights.push_back((now, sequence));
            }
        }
        if ack == Ack::Hop {
            self.hops.insert(attempt, taken.to_vec());
        }
    }

    /// Back to the front of their queues, in order.
    fn requeue(&mut self, mut sequences: Vec<u64>) {
        sequences.sort_unstable();
        sequences.dedup();
        for sequence in sequences.into_iter().rev() {
            if let Some(slot) = slot_mut(&mut self.slots, self.floor, sequence)
                && slot.departed.take().is_some()
            {
                self.queues[slot.message.class as usize].push_front(sequence);
            }
        }
    }

    /// Lets go of bookkeeping whose messages have ended: it lies in front of what is open.
    fn forget_ended(&mut self) {
        let (slots, floor) = (&self.slots, self.floor);
        let open = |sequence: &u64| slot(slots, floor, *sequence).is_some();
        while self.flights.front().is_some_and(|(_, sequence)| !open(sequence)) {
            self.flights.pop_front();
        }
        for queue in self.deadlines.values_mut() {
            while queue.front().is_some_and(|(_, sequence)| !open(sequence)) {
                queue.pop_front();
            }
        }
        self.deadlines.retain(|_, queue| !queue.is_empty());
        self.hops.retain(|_, sequences| sequences.iter().any(open));
    }
}

fn slot<T>(slots: &VecDeque<Option<Slot<T>>>, floor: u64, sequence: u64) -> Option<&Slot<T>> {
    slots.get(usize::try_from(sequence.checked_sub(floor)?).ok()?)?.as_ref()
}

fn slot_mut<T>(slots: &mut VecDeque<Option<Slot<T>>>, floor: u64, sequence: u64) -> Option<&mut Slot<T>> {
    slots.get_mut(usize::try_from(sequence.checked_sub(floor)?).ok()?)?.as_mut()
}

#[cfg(test)]
mod tests;
