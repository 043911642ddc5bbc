//! Messages on their way out that are to be confirmed: each in a stream to its destination, each with one end.
//!
//! ```text
//! submit ─▶ queued ──take_batch──▶ in flight ──receipt──▶ delivered | refused
//!             ▲  │                   │   │
//!             │  └──deadline────┐    │   └──deadline──▶ expired
//!             │                 ▼    │
//!             │            unreachable
//!             └──path broken, no receipt in time──┘
//! ```
//!
//! What is to be *kept* is written to the store as it is submitted, and taken up again after a restart under the
//! number it had: in its old stream, which takes nothing new, beside a new one.
//!
//! Invariants
//! 1. Every message submitted is handed back in exactly one [`End`].
//! 2. At most [`WINDOW`] slots a stream, [`MAX_DESTINATIONS`] destinations, [`MAX_BYTES`] of payload in all. Drop
//!    policy: `submit` refuses.

use super::dedupe::WINDOW;
use super::departure::{Departure, Taken};
use super::lane::Lane;
use super::persisted::{Change, Kept, KeptMessage, KeptRecord};
use super::stream::Stream;
use crate::id::{InnerId, Name, OuterId, SendId, StreamId};
use crate::time::{Now, Time, Unix};
use crate::wire::batch::{Ack, Purpose};
use crate::wire::data::Class;
use crate::wire::receipt::{Receipt, Verdict};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// Most destinations; as many as a node has contacts at most.
pub const MAX_DESTINATIONS: usize = 4_096;
/// Most payload kept in all streams, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Longest lifetime, so that a deadline never overflows: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// A message to be sent. `T` is whatever the caller knows it by.
#[derive(Clone, Debug)]
pub struct Submission<T> {
    /// Handed back with the end.
    pub token: T,
    /// The bytes.
    pub payload: Vec<u8>,
    /// What for.
    pub content: Content,
    /// Confirmation wanted.
    pub ack: Ack,
    /// With what else it may share a frame: its urgency, and what it asks of its way.
    pub lane: Lane,
    /// Of no use after this long.
    pub lifetime: Duration,
    /// Whether it is to outlive a restart.
    pub keep: bool,
    /// The application's name for it.
    pub id: Option<SendId>,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The receiver's inbox.
    Inbox,
    /// A service, or one that called a service.
    Call {
        /// Which of them.
        purpose: Purpose,
        /// Service called.
        service: Option<String>,
        /// Request answered.
        replies_to: Option<InnerId>,
    },
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
    /// It left, and the receiver had no room for it until its deadline.
    NoRoom,
    /// It never left: there was no way to the destination in time.
    Unreachable,
    /// The destination was revoked.
    Revoked {
        /// Whether it had left, as far as is known.
        left: bool,
    },
}

/// The end of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<T> {
    /// As submitted.
    pub token: T,
    /// The application's name for it.
    pub id: Option<SendId>,
    /// How urgent it was.
    pub class: Class,
    /// How.
    pub fate: Fate,
    /// Since it was submitted.
    pub latency: Duration,
    /// The flight that it was in last.
    pub flight: Option<u64>,
}

/// Flights of which nothing is heard, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// For so long that their way is to be suspected. Each is told once; a receipt may still come.
    pub suspicious: Vec<u64>,
    /// For so long that what was in them is queued again, or their path broke.
    pub lost: Vec<u64>,
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

/// All messages on their way out that are to be confirmed.
#[derive(Debug)]
pub struct Outgoing<T> {
    /// Streams of each destination; the last takes new messages, those before it are from before a restart.
    streams: BTreeMap<Name, Vec<Stream<T>>>,
    kept: Kept,
    bytes: usize,
    open: usize,
    /// Nothing is due before this.
    wake: Option<Time>,
    /// Numbers of the batch being taken; kept for its room.
    taken: Vec<u64>,
    /// Flights whose path broke, until that is told.
    over: Vec<u64>,
}

impl<T: Clone> Outgoing<T> {
    /// Empty.
    pub fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            kept: Kept::default(),
            bytes: 0,
            open: 0,
            wake: None,
            taken: Vec::new(),
            over: Vec::new(),
        }
    }

    /// Takes up what an earlier process left. Records come in the order of their keys. `token` says what a message is
    /// known by from now on, or nothing if it has ended; what is past its deadline is known and ends at the next
    /// timeout.
    pub fn restore(&mut self, record: KeptRecord<'_>, now: Now, token: &mut dyn FnMut(&KeptMessage<'_>) -> Option<T>) {
        let KeptRecord { to, stream: id, messages } = record;
        let Some(first) = messages.first().map(|message| InnerId { stream: id, sequence: message.sequence }) else {
            return;
        };
        let streams = self.streams.entry(to.clone()).or_default();
        let at = streams.iter().position(|stream| stream.id() == id).unwrap_or_else(|| {
            streams.push(Stream::restored(id, first.sequence));
            streams.len() - 1
        });
        let (mut open, mut last, mut stale) = (0, first.sequence, false);
        for message in messages {
            let known = token(&message).filter(|_| self.bytes + message.payload.len() <= MAX_BYTES);
            let KeptMessage {
                sequence,
                payload,
                ack,
                class,
                expiry,
                id,
                purpose,
                service,
                replies_to,
                send_policy,
                lifetime,
            } = message;
            // A clock that was ahead when it was submitted and is right now would keep it alive by the difference.
            let longest = lifetime.map_or(MAX_LIFETIME, Duration::from_micros).min(MAX_LIFETIME);
            let lifetime = expiry.since(now.unix).min(longest);
            let expiry = expiry.min(now.unix + longest);
            let lane = Lane { class, send_policy: send_policy.into() };
            last = last.max(sequence);
            let Some(token) = known else {
                stale = true;
                continue;
            };
            let content = match purpose {
                None => Content::Inbox,
                Some(purpose) => Content::Call { purpose, service, replies_to },
            };
            let bytes = payload.len();
            let payload = payload.into_owned();
            let message = Submission { token, payload, content, ack, lane, lifetime, keep: true, id };
            if streams[at].restore(sequence, message, now.time, expiry) {
                self.bytes += bytes;
                self.open += 1;
                open += 1;
            }
        }
        self.kept.found(&to, first, last, open, stale);
        self.wake = Some(now.time);
    }

    /// Takes a message.
    pub fn submit(
        &mut self,
        to: &Name,
        mut message: Submission<T>,
        now: Now,
        rng: &mut ChaCha20Rng,
    ) -> Result<InnerId, Full> {
        if self.bytes + message.payload.len() > MAX_BYTES {
            return Err(Full::Bytes);
        }
        if !self.streams.contains_key(to) {
            if self.streams.len() >= MAX_DESTINATIONS {
                self.streams.retain(|_, streams| streams.iter().any(|stream| !stream.is_empty()));
            }
            if self.streams.len() >= MAX_DESTINATIONS {
                return Err(Full::Destinations);
            }
            self.streams.insert(to.clone(), Vec::new());
        }
        let streams = self.streams.get_mut(to).ok_or(Full::Destinations)?;
        if streams.last().is_none_or(Stream::is_closed) {
            let mut id = [0; StreamId::LEN];
            rng.fill_bytes(&mut id);
            streams.push(Stream::new(StreamId(id)));
        }
        let stream = streams.last_mut().filter(|stream| stream.has_room()).ok_or(Full::Stream)?;
        message.lifetime = message.lifetime.min(MAX_LIFETIME);
        let (lifetime, bytes, keep) = (message.lifetime, message.payload.len(), message.keep);
        let sequence = stream.push(message, now.time, now.unix + lifetime);
        let id = InnerId { stream: stream.id(), sequence };
        self.bytes += bytes;
        self.open += 1;
        if keep {
            self.kept.submitted(to, id, bytes);
        }
        self.wake_by(now.time + lifetime);
        Ok(id)
    }

    /// Whether [`Self::submit`] would take `bytes` more for this destination.
    pub fn has_room(&self, to: &Name, bytes: usize) -> bool {
        let stream = self.streams.get(to).and_then(|streams| streams.last());
        self.bytes + bytes <= MAX_BYTES && stream.is_none_or(|stream| stream.is_closed() || stream.has_room())
    }

    /// Lanes in which something waits for this destination; of several streams some may come twice.
    pub fn lanes(&self, to: &Name) -> impl Iterator<Item = &Lane> {
        self.streams.get(to).into_iter().flatten().flat_map(Stream::lanes)
    }

    /// Whether something waits in this lane for this destination.
    pub fn waits(&self, to: &Name, lane: &Lane) -> bool {
        self.next_in(to, lane).is_some()
    }

    /// Of the next message in a lane: when it expires, how long that was when it was submitted, and its payload's bytes.
    pub fn next_in(&self, to: &Name, lane: &Lane) -> Option<(Unix, Duration, usize)> {
        let slot = self.streams.get(to)?.iter().find_map(|stream| stream.next_in(lane))?;
        Some((slot.expiry, slot.message.lifetime, slot.message.payload.len()))
    }

    /// The next messages in a lane, those that end by then, go behind the others. Answers whether another is next.
    pub fn pass_over(&mut self, to: &Name, lane: &Lane, ends_by: Unix) -> bool {
        let mut streams = self.streams.get_mut(to).into_iter().flatten();
        streams.find(|stream| stream.next_in(lane).is_some()).is_some_and(|stream| stream.pass_over(lane, ends_by))
    }

    /// So do those that have less time left than such messages have taken of late.
    pub fn pass_over_hurried(&mut self, to: &Name, lane: &Lane, now: Unix) {
        let streams = self.streams.get_mut(to).into_iter().flatten();
        streams.for_each(|stream| stream.pass_over_hurried(lane, now));
    }

    /// Destinations for which something waits.
    pub fn destinations_waiting(&self) -> impl Iterator<Item = &Name> {
        let waits = |streams: &[Stream<T>]| streams.iter().any(|stream| stream.lanes().next().is_some());
        self.streams.iter().filter(move |(_, streams)| waits(streams)).map(|(name, _)| name)
    }

    /// Takes the next messages of a lane that agree in what they ask for, appends the batch's plaintext to `out`,
    /// and hands back those that end by leaving.
    pub fn take_batch(
        &mut self,
        to: &Name,
        lane: &Lane,
        departure: &Departure<'_>,
        out: &mut Vec<u8>,
        ends: &mut Vec<End<T>>,
    ) -> Option<Taken> {
        let mut numbers = core::mem::take(&mut self.taken);
        let streams = self.streams.get_mut(to)?;
        let found = streams.iter_mut().find_map(|stream| {
            let taken = stream.take(lane, departure, out, &mut numbers)?;
            Some((stream.id(), taken, stream.suspicious_after()))
        });
        if let Some((stream, Taken { ack: Ack::None, .. }, _)) = found {
            for &sequence in &numbers {
                self.end_one(to, InnerId { stream, sequence }, Fate::Sent, departure.now.time, ends);
            }
        }
        self.taken = numbers;
        if let Some((_, _, suspicious)) = found {
            self.wake_by(departure.now.time + suspicious);
        }
        found.map(|(_, taken, _)| taken)
    }

    /// A receipt came from this destination. Answers, for each message for which it has no room, the flight that it was in:
    /// they stand aside, and are sent again soon.
    pub fn handle_receipt(&mut self, from: &Name, receipt: &Receipt, now: Time, ends: &mut Vec<End<T>>) -> Vec<u64> {
        let mut put_off = Vec::new();
        let fate = match receipt.verdict {
            Verdict::Delivered => {
                Fate::Delivered { hops: u32::try_from(receipt.visited.len()).unwrap_or(u32::MAX).saturating_add(1) }
            }
            Verdict::Expired => Fate::Expired,
            verdict => Fate::Refused(verdict),
        };
        for range in receipt.ranges.chunks_exact(2) {
            let stream = self.streams.get_mut(from).and_then(|streams| find_mut(streams, receipt.stream));
            let Some(stream) = stream else { return put_off };
            stream.confirmed(range[1], now);
            let numbers = stream.clamp(range[0], range[1]);
            if receipt.verdict == Verdict::InboxFull {
                put_off.extend(numbers.filter_map(|sequence| stream.put_off(sequence, now)));
                continue;
            }
            stream.taken(now);
            for sequence in numbers {
                self.end_one(from, InnerId { stream: receipt.stream, sequence }, fate, now, ends);
            }
        }
        let stream = self.streams.get(from).and_then(|streams| find(streams, receipt.stream));
        if let Some(at) = stream.and_then(Stream::offered_again) {
            self.wake_by(at);
        }
        put_off
    }

    /// The next hop has these frames.
    pub fn handle_hop_ack(&mut self, to: &Name, frames: &[OuterId], now: Time, ends: &mut Vec<End<T>>) {
        for frame in frames {
            let streams = self.streams.get_mut(to).into_iter().flatten();
            let acked: Vec<_> = streams.filter_map(|stream| Some((stream.id(), stream.hop_acked(frame)?))).collect();
            for (stream, sequences) in acked {
                for sequence in sequences {
                    self.end_one(to, InnerId { stream, sequence }, Fate::Sent, now, ends);
                }
            }
        }
    }

    /// The destination is a device of the realm no more: everything to it ends.
    pub fn cut_off(&mut self, to: &Name, now: Time, ends: &mut Vec<End<T>>) {
        let streams = self.streams.get(to).into_iter().flatten();
        let all = streams.flat_map(|stream| stream.clamp(0, u64::MAX).map(|sequence| (stream.id(), sequence)));
        for (stream, sequence) in all.collect::<Vec<_>>() {
            let id = InnerId { stream, sequence };
            let Some(left) = self.slot(to, id).map(|slot| slot.has_left) else { continue };
            self.end_one(to, id, Fate::Revoked { left }, now, ends);
        }
        // Whoever gets its name is another receiver.
        self.streams.remove(to);
    }

    /// The way to a destination broke, or it does not know our session: all that was in flight is queued again.
    pub fn handle_path_broken(&mut self, to: &Name) {
        for stream in self.streams.get_mut(to).into_iter().flatten() {
            stream.path_broken(&mut self.over);
        }
    }

    /// Deadlines and retries that are due; appends the flights of which nothing is heard to `overdue`.
    pub fn handle_timeout(&mut self, now: Time, ends: &mut Vec<End<T>>, overdue: &mut Overdue) {
        overdue.lost.append(&mut self.over);
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        let (mut due, mut late) = (Vec::new(), Vec::new());
        for (name, streams) in &mut self.streams {
            for stream in streams.iter_mut() {
                stream.timeout(now, &mut late, overdue);
                let id = stream.id();
                due.extend(late.drain(..).map(|sequence| (name.clone(), InnerId { stream: id, sequence })));
            }
            streams.retain(|stream| !(stream.is_closed() && stream.is_empty()));
        }
        for (name, id) in due {
            let fate = match self.slot(&name, id) {
                Some(slot) if slot.unplaced => Fate::NoRoom,
                Some(slot) if slot.has_left => Fate::Expired,
                Some(_) => Fate::Unreachable,
                None => continue,
            };
            self.end_one(&name, id, fate, now, ends);
        }
        self.wake = self.streams.values().flatten().filter_map(Stream::next_wake).min();
    }

    /// [`Self::handle_timeout`] need not be called before this.
    pub fn next_wake(&self) -> Option<Time> {
        if self.open == 0 { None } else { self.wake }
    }

    /// Messages that have not ended.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Payload that the next writes will hold, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.kept.pending_bytes()
    }

    /// What is to be written, so that what is kept outlives a restart.
    pub fn poll_writes(&mut self) -> Vec<Change> {
        let streams = &self.streams;
        self.kept.poll_writes(&|name, id| find(streams.get(name)?, id.stream)?.slot(id.sequence))
    }

    fn slot(&self, to: &Name, id: InnerId) -> Option<&super::stream::Slot<T>> {
        find(self.streams.get(to)?, id.stream)?.slot(id.sequence)
    }

    fn wake_by(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn end_one(&mut self, to: &Name, id: InnerId, fate: Fate, now: Time, ends: &mut Vec<End<T>>) {
        let stream = self.streams.get_mut(to).and_then(|streams| find_mut(streams, id.stream));
        let Some(slot) = stream.and_then(|stream| stream.end(id.sequence)) else { return };
        self.bytes -= slot.message.payload.len();
        self.open -= 1;
        if slot.message.keep {
            self.kept.ended(id, matches!(fate, Fate::Delivered { .. }));
        }
        let flight = slot.last_flight;
        let Submission { token, id, lane, .. } = slot.message;
        ends.push(End { token, id, class: lane.class, fate, latency: now.since(slot.submitted), flight });
    }
}

impl<T: Clone> Default for Outgoing<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn find<T>(streams: &[Stream<T>], id: StreamId) -> Option<&Stream<T>> {
    streams.iter().rev().find(|stream| stream.id() == id)
}

fn find_mut<T>(streams: &mut [Stream<T>], id: StreamId) -> Option<&mut Stream<T>> {
    streams.iter_mut().rev().find(|stream| stream.id() == id)
}

#[cfg(test)]
mod tests;
