//! Outgoing: messages on their way out that are to be confirmed, each in a stream to its destination, each with one
//! end.
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
//! A message that is to be *kept* is written to the store when it is submitted. After a restart it is taken up again
//! under its old number, in its old stream; that stream takes no new messages, and a new stream is opened beside it.
//!
//! Invariants
//! 1. Every submitted message is handed back in exactly one [`End`].
//! 2. A stream holds at most [`WINDOW`] slots. Drop policy: `submit` refuses.
//! - There are at most [`MAX_DESTINATIONS`] destinations, at most [`MAX_BYTES`] of payload in all, and at most [`MAX_BYTES_OF_ONE`] for
//!   one destination: a receiver that takes nothing leaves room for messages to others. Drop policy: `submit` refuses.

use super::dedupe::WINDOW;
use super::departure::{Departure, Taken};
use super::lane::Lane;
use super::message::{Content, End, Fate, Submission};
use super::persisted::{Change, Kept, KeptMessage, KeptRecord};
use super::stream::Stream;
use crate::id::{InnerId, Name, OuterId, StreamId};
use crate::time::{Now, Time, Unix};
use crate::wire::batch::Ack;
use crate::wire::receipt::{Receipt, Verdict};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// The most destinations: as many as a node has contacts at most.
pub const MAX_DESTINATIONS: usize = 4_096;
/// The most payload kept in all streams, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most payload kept for one destination, in bytes.
pub const MAX_BYTES_OF_ONE: usize = MAX_BYTES / 4;
/// The longest lifetime, so that a deadline never overflows: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Flights without a receipt, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Flights without a receipt for so long that their path is suspected. Each is reported once; a receipt may still
    /// come.
    pub suspicious: Vec<u64>,
    /// Flights without a receipt for so long that their messages are queued again, and flights whose path broke.
    pub lost: Vec<u64>,
}

/// There is no room; the message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many messages to this destination have not ended.
    #[error("{WINDOW} messages to that destination have not ended yet")]
    Stream,
    /// There are too many destinations.
    #[error("there are messages to {MAX_DESTINATIONS} destinations already")]
    Destinations,
    /// Too many bytes of payload to this destination have not ended.
    #[error("{MAX_BYTES_OF_ONE} bytes of messages to that destination have not ended yet")]
    Share,
    /// Too many bytes of payload have not ended.
    #[error("{MAX_BYTES} bytes of messages have not ended yet")]
    Bytes,
}

/// All messages on their way out that are to be confirmed.
#[derive(Debug)]
pub struct Outgoing<T> {
    /// The streams of each destination. The last one takes new messages; those before it are from before a restart.
    streams: BTreeMap<Name, Vec<Stream<T>>>,
    kept: Kept,
    bytes: usize,
    open: usize,
    /// Nothing is due before this time.
    wake: Option<Time>,
    /// The numbers of the batch being taken; kept to reuse the allocation.
    taken: Vec<u64>,
    /// Flights whose path broke and that have not been reported yet.
    over: Vec<u64>,
}

impl<T: Clone> Outgoing<T> {
    /// Creates an empty set.
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

    /// Takes up a record that an earlier process left. Records come in the order of their keys. `token` returns what a
    /// message is identified by from now on, or `None` if it has ended. A message that is past its deadline is taken up
    /// and ends at the next time-out.
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
            // If the clock was ahead at submission and is right now, the message would live longer by the difference.
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
            let message = Submission { token, payload, content, ack, lane, lifetime, keep: true, id, latest: None };
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
    ///
    /// # Errors
    /// [`Full`] if a bound is reached; nothing is taken then.
    pub fn submit(
        &mut self,
        to: &Name,
        mut message: Submission<T>,
        now: Now,
        rng: &mut ChaCha20Rng,
    ) -> Result<InnerId, Full> {
        self.check_bytes(to, message.payload.len())?;
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

    /// The lanes in which messages wait for this destination. If it has several streams, a lane may come twice.
    pub fn lanes(&self, to: &Name) -> impl Iterator<Item = &Lane> {
        self.streams.get(to).into_iter().flatten().flat_map(Stream::lanes)
    }

    /// Whether a message waits in this lane for this destination.
    pub fn waits(&self, to: &Name, lane: &Lane) -> bool {
        self.next_in(to, lane).is_some()
    }

    /// For the next message in a lane: its deadline, its lifetime at submission, and the bytes of its payload.
    pub fn next_in(&self, to: &Name, lane: &Lane) -> Option<(Unix, Duration, usize)> {
        let slot = self.streams.get(to)?.iter().find_map(|stream| stream.next_in(lane))?;
        Some((slot.expiry, slot.message.lifetime, slot.message.payload.len()))
    }

    /// Moves the messages at the front of a lane that expire by `ends_by` behind the others. Returns whether another
    /// message is next.
    pub fn pass_over(&mut self, to: &Name, lane: &Lane, ends_by: Unix) -> bool {
        let mut streams = self.streams.get_mut(to).into_iter().flatten();
        streams.find(|stream| stream.next_in(lane).is_some()).is_some_and(|stream| stream.pass_over(lane, ends_by))
    }

    /// Moves the messages at the front of a lane that have less time left than deliveries have taken lately behind the
    /// others.
    pub fn pass_over_hurried(&mut self, to: &Name, lane: &Lane, now: Unix) {
        let streams = self.streams.get_mut(to).into_iter().flatten();
        streams.for_each(|stream| stream.pass_over_hurried(lane, now));
    }

    /// The destinations for which messages wait.
    pub fn destinations_waiting(&self) -> impl Iterator<Item = &Name> {
        let waits = |streams: &[Stream<T>]| streams.iter().any(|stream| stream.lanes().next().is_some());
        self.streams.iter().filter(move |(_, streams)| waits(streams)).map(|(name, _)| name)
    }

    /// Takes the next messages of a lane that ask for the same acknowledgement and are of the same kind, appends the
    /// batch's plaintext to `out`, and adds to `ends` the messages that end by leaving.
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

    /// Handles a receipt from this destination. Returns the flight of each message that the receiver has no room for;
    /// these messages are put off, and are sent again soon.
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

    /// Handles the next hop's acknowledgement of these frames.
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

    /// Another keeps a frame for the receiver; its messages are sent again then.
    pub fn handle_kept(&mut self, to: &Name, frame: &OuterId, again: Time, now: Time, ends: &mut Vec<End<T>>) {
        let streams = self.streams.get_mut(to).into_iter().flatten();
        let kept: Vec<_> = streams.filter_map(|stream| Some((stream.id(), stream.keep(frame, again)?))).collect();
        for (stream, ended) in kept {
            self.wake_by(again);
            for sequence in ended {
                self.end_one(to, InnerId { stream, sequence }, Fate::Sent, now, ends);
            }
        }
    }

    /// The destinations for which others keep messages, and how many.
    pub fn kept(&self) -> impl Iterator<Item = (&Name, usize)> {
        let kept = |streams: &[Stream<T>]| streams.iter().map(Stream::kept).sum();
        self.streams.iter().map(move |(name, streams)| (name, kept(streams))).filter(|(_, kept)| *kept > 0)
    }

    /// Nobody keeps a frame, or not any more: its messages are queued again.
    pub fn handle_let_go(&mut self, to: &Name, frame: &OuterId) -> bool {
        let mut streams = self.streams.get_mut(to).into_iter().flatten();
        streams.any(|stream| stream.let_go(frame))
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

    /// Handles deadlines and retries that are due. Appends the flights without a receipt to `overdue`.
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

    /// When [`Self::handle_timeout`] has something to do; it need not be called before this time.
    pub fn next_wake(&self) -> Option<Time> {
        if self.open == 0 { None } else { self.wake }
    }

    /// The number of messages that have not ended.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The payload that the next writes will hold, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.kept.pending_bytes()
    }

    /// Returns the changes to be written so that the kept messages outlive a restart.
    pub fn poll_writes(&mut self) -> Vec<Change> {
        let streams = &self.streams;
        self.kept.poll_writes(&|name, id| find(streams.get(name)?, id.stream)?.slot(id.sequence))
    }

    fn slot(&self, to: &Name, id: InnerId) -> Option<&super::slot::Slot<T>> {
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

mod queued;
mod room;
#[cfg(test)]
mod tests;
