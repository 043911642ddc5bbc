//! Session: one end of an admitted exchange with a neighbour over a line: seals, acknowledges, notices silence.
//!
//! What leaves next is decided when the line is free, so that it is always the most urgent: see [`Session::urgency`] and
//! [`Session::next`]. An acknowledgement goes with the next segment the other way, or alone after a short delay; at once
//! if a segment is missing or the other end asks. The last segment of a burst asks.
//!
//! **Silence.** A packet that wants an answer starts the retransmission timer. When it expires, the oldest segment is
//! sent again, or an empty packet that asks. A session without an answer for four time-outs is *silent*, and goes on
//! when something is heard; one that has heard nothing for [`Pace::dead`] is over. An idle session asks once in
//! [`Pace::keep`], of which both depend on the rate of the line.
//!
//! **Flow.** Frames that the owner does not fetch are kept up to [`MOST_DELIVERED`] bytes; beyond half of that the other
//! end is told to wait, and what it sends nevertheless beyond the bound is not taken.
//!
//! Invariants
//! 1. What is kept is bounded: the lanes' limits, [`WINDOW`](super::window::WINDOW) segments, a frame for each lane and
//!    [`MOST_DELIVERED`].
//! - A session never goes on after its keys: it ends before a counter is used twice.

use super::Ending;
use super::framing;
use super::lanes::{Incoming, Outgoing};
use super::packet::{self, Payload, SEALED_HEAD, SEGMENT_HEAD};
use super::window::{Arrival, Receiving, Sending};
use crate::identity::noise::xx::{Opener, Sealer};
use crate::identity::seal::TAG;
use crate::time::Time;
use crate::wire::OutFrame;
use bytes::Bytes;
use core::time::Duration;
use std::collections::VecDeque;

/// The most bytes of frames that wait to be fetched.
pub const MOST_DELIVERED: usize = 256 * 1024;
/// Segments that are acknowledged together.
const TOGETHER: u32 = 4;
/// The longest delay of an acknowledgement that waits for a segment to go with.
const MOST_DELAY: Duration = Duration::from_millis(200);
/// The shortest time without an answer after which a session is silent.
const LEAST_SILENCE: Duration = Duration::from_secs(1);
/// The shortest time between two measurements that are reported.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The counter from which on a session is to be replaced by another.
const WORN: u32 = 1 << 31;

/// What follows from a line's rate and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest line frame of both ends, in bytes.
    pub mtu: usize,
    /// The time that it takes.
    pub frame: Duration,
    /// How long an idle session waits before it asks.
    pub keep: Duration,
    /// How long nothing may be heard.
    pub dead: Duration,
    /// The most bytes that wait in a lane.
    pub waiting: usize,
}

/// Something that has become of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A lane that was full has space.
    Writable,
    /// Nothing is heard though an answer is due.
    Silent,
    /// Something is heard again.
    Heard,
    /// A packet was answered after this time.
    Measured(Duration),
}

/// What a session has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Segments sent once more.
    pub again: u64,
}

/// One end of an admitted exchange. See the module's documentation.
pub struct Session {
    theirs: u32,
    pace: Pace,
    sealer: Sealer,
    opener: Opener,
    sending: Sending,
    receiving: Receiving,
    outgoing: Outgoing,
    incoming: Incoming,
    delivered: VecDeque<Bytes>,
    delivered_bytes: usize,
    /// Whether the other end was told to wait.
    busy: bool,
    /// Whether the other end takes nothing now.
    peer_busy: bool,
    /// The counter after the highest that was opened.
    heard_counter: u32,
    /// When an acknowledgement is due.
    due: Option<Time>,
    unacknowledged: u32,
    asks: bool,
    /// When the retransmission timer expires.
    expires: Option<Time>,
    /// Since when an answer is due.
    asked: Option<Time>,
    heard_at: Time,
    silent: bool,
    measured_at: Option<Time>,
    ending: Option<Ending>,
    happened: Vec<Happened>,
    carried: Carried,
}

impl Session {
    /// A session whose number at the other end is `theirs`.
    pub fn new(theirs: u32, sealer: Sealer, opener: Opener, pace: Pace, now: Time) -> Self {
        Self {
            theirs,
            pace,
            sealer,
            opener,
            sending: Sending::new(pace.frame),
            receiving: Receiving::default(),
            outgoing: Outgoing::new(pace.waiting),
            incoming: Incoming::default(),
            delivered: VecDeque::new(),
            delivered_bytes: 0,
            busy: false,
            peer_busy: false,
            heard_counter: 0,
            due: None,
            unacknowledged: 0,
            asks: false,
            expires: None,
            asked: None,
            heard_at: now,
            silent: false,
            measured_at: None,
            ending: None,
            happened: Vec::new(),
            carried: Carried::default(),
        }
    }

    /// Adds a frame to a lane; `false` if the lane is full.
    pub fn push(&mut self, lane: u8, frame: OutFrame) -> bool {
        self.outgoing.push(lane, frame)
    }

    /// Answers, or asks, with the next packet.
    pub fn speak(&mut self, asks: bool, now: Time) {
        self.asks |= asks;
        self.due = Some(now);
    }

    /// Ends the session with the next packet.
    pub fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Takes a sealed packet. Returns whether it is one of this session, sent by the other end now; and how the other
    /// end, or this one, has ended the session by it.
    pub fn handle(&mut self, counter: u32, sealed: &[u8], now: Time) -> (bool, Option<Ending>) {
        let Some(plain) = self.opener.open(counter, sealed) else { return (false, None) };
        self.heard_counter = counter.saturating_add(1);
        self.heard_at = now;
        self.asked = None;
        self.sending.handle_alive();
        if core::mem::replace(&mut self.silent, false) {
            self.happened.push(Happened::Heard);
        }
        match Payload::decode(&plain) {
            None => return (true, Some(Ending::Malformed)),
            Some(Payload::Close { reason }) => return (true, Some(Ending::of(reason))),
            Some(Payload::Open { acknowledgement, asks, busy, segment }) => {
                let measured = self.sending.handle(acknowledgement, now);
                self.peer_busy = busy;
                if asks {
                    self.due = Some(now);
                }
                let soon = self.measured_at.is_none_or(|at| now.since(at) >= MEASURE_EVERY);
                if let Some(round_trip) = measured.filter(|_| soon) {
                    self.measured_at = Some(now);
                    self.happened.push(Happened::Measured(round_trip));
                }
                if let Some(segment) = segment
                    && self.take(&segment, now).is_err()
                {
                    return (true, Some(Ending::Malformed));
                }
            }
        }
        let waits = self.sending.is_waiting() || (self.peer_busy && !self.outgoing.is_empty());
        self.expires = waits.then(|| now + self.sending.timeout());
        (true, None)
    }

    fn take(&mut self, segment: &packet::Segment<'_>, now: Time) -> Result<(), super::lanes::Malformed> {
        let at_once = match self.receiving.look(segment.sequence) {
            Arrival::Beyond => return Ok(()),
            Arrival::Again => true,
            Arrival::New { .. } if self.delivered_bytes >= MOST_DELIVERED => return Ok(()),
            Arrival::New { gap } => {
                let whole = self.incoming.push(segment.lane, segment.place, segment.data)?;
                self.receiving.take(segment.sequence);
                self.unacknowledged += 1;
                if let Some((frames, count)) = whole {
                    self.carried.bytes_in += frames.len() as u64;
                    self.carried.frames_in += count;
                    self.delivered_bytes += frames.len();
                    self.delivered.push_back(frames);
                    self.busy |= self.delivered_bytes >= MOST_DELIVERED / 2;
                }
                gap || self.unacknowledged >= TOGETHER
            }
        };
        let delay = (self.pace.frame * 2).min(MOST_DELAY);
        let by = if at_once { now } else { now + delay };
        self.due = Some(self.due.map_or(by, |due| due.min(by)));
        Ok(())
    }

    /// Fetches frames that have arrived.
    pub fn fetch(&mut self, now: Time) -> Option<Bytes> {
        let frames = self.delivered.pop_front()?;
        self.delivered_bytes -= frames.len();
        if self.busy && self.delivered_bytes < MOST_DELIVERED / 4 {
            self.busy = false;
            self.due = Some(now);
        }
        Some(frames)
    }

    /// Whether frames wait to be fetched.
    pub fn has_frames(&self) -> bool {
        !self.delivered.is_empty()
    }

    /// Fetches something that has happened.
    pub fn happened(&mut self) -> Option<Happened> {
        (!self.happened.is_empty()).then(|| self.happened.remove(0))
    }

    /// The lane of the segment that would leave now, and whether it has left before.
    fn segment(&self) -> Option<(u8, bool)> {
        if self.peer_busy {
            return None;
        }
        let (lost, new) = (self.sending.lost_lane(), self.outgoing.next_lane(self.sending.open_to()));
        match (lost, new) {
            (Some(lost), Some(new)) if new < lost => Some((new, false)),
            (Some(lost), _) => Some((lost, true)),
            (None, new) => new.map(|new| (new, false)),
        }
    }

    /// How urgent it is that a packet leaves, as the number of a lane; `None` if none is to leave.
    pub fn urgency(&self, now: Time) -> Option<u8> {
        if self.ending.is_some() {
            return Some(0);
        }
        let speaks = self.asks || self.due.is_some_and(|due| due <= now);
        let segment = self.segment().map(|(lane, _)| lane);
        segment.into_iter().chain(speaks.then_some(super::lanes::CONTROL)).min()
    }

    /// The body of the next line frame, which leaves at `left`. The session is over after one that ends it.
    pub fn next(&mut self, left: impl FnOnce(usize) -> Time) -> Result<Vec<u8>, Ending> {
        let Some(counter) = self.sealer.next() else { return Err(Ending::Worn) };
        let mut body = Vec::with_capacity(self.pace.mtu);
        packet::begin_sealed(self.theirs, counter, &mut body);
        if let Some(ending) = self.ending {
            Payload::Close { reason: ending as u8 }.encode(&mut body);
            self.sealer.seal(&mut body, SEALED_HEAD);
            return Ok(body);
        }
        let acknowledgement = self.receiving.acknowledgement(self.heard_counter);
        let segment = match self.segment() {
            None => None,
            Some((lane, true)) => self.sending.send_again(lane, counter),
            Some((lane, false)) => {
                let room = self.pace.mtu - framing::OVERHEAD - SEALED_HEAD - SEGMENT_HEAD - TAG;
                let (taken, writable) = self.outgoing.take(lane, room);
                if writable {
                    self.happened.push(Happened::Writable);
                }
                self.carried.bytes_out += taken.data.len() as u64;
                self.carried.frames_out += taken.frames;
                Some(self.sending.send(taken, counter))
            }
        };
        let waits = segment.is_some();
        let again = segment.as_ref().is_some_and(|leaving| leaving.again);
        let segment = segment.map(|leaving| packet::Segment {
            sequence: leaving.sequence,
            lane: leaving.taken.lane,
            place: leaving.taken.place,
            data: &leaving.taken.data,
        });
        let payload = Payload::Open { acknowledgement, asks: self.asks, busy: self.busy, segment };
        payload.encode(&mut body);
        // The last of a burst asks, and so does what is sent once more.
        let asks = self.asks || (waits && (again || self.segment().is_none()));
        if asks && !self.asks {
            packet::ask(&mut body[SEALED_HEAD..]);
        }
        self.sealer.seal(&mut body, SEALED_HEAD);
        self.carried.again += u64::from(again);
        let left = left(body.len());
        self.sending.handle_left(counter, left);
        (self.asks, self.due, self.unacknowledged) = (false, None, 0);
        if waits || asks {
            let by = left + self.sending.timeout();
            // Segments that follow do not put off the timer of the oldest.
            self.expires = Some(self.expires.filter(|_| self.asked.is_some()).unwrap_or(by));
            self.asked.get_or_insert(left);
        }
        Ok(body)
    }

    /// Handles timers that have expired. Fails if the session is over.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), Ending> {
        if self.heard_at + self.pace.dead <= now {
            return Err(Ending::Silent);
        }
        if self.expires.is_some_and(|at| at <= now) {
            self.sending.handle_timeout();
            (self.expires, self.asks) = (None, true);
        }
        if self.expires.is_none() && self.heard_at + self.pace.keep <= now && self.asked.is_none() {
            self.asks = true;
        }
        if !self.silent && self.silent_at().is_some_and(|at| at <= now) {
            self.silent = true;
            self.happened.push(Happened::Silent);
        }
        Ok(())
    }

    fn silent_at(&self) -> Option<Time> {
        self.asked.map(|asked| asked + (self.sending.base_timeout() * 4).max(LEAST_SILENCE))
    }

    /// When [`Session::handle_timeout`] is due, or an acknowledgement that is not due yet.
    pub fn next_timeout(&self, now: Time) -> Time {
        let keep = (self.expires.is_none() && self.asked.is_none()).then(|| self.heard_at + self.pace.keep);
        let silent = self.silent_at().filter(|_| !self.silent);
        let due = self.due.filter(|due| *due > now);
        let timers = [Some(self.heard_at + self.pace.dead), self.expires, due, keep, silent];
        timers.into_iter().flatten().min().unwrap_or(self.heard_at)
    }

    /// Whether the session is ending, and has nothing to send but that.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether it is time to replace the session by another.
    pub fn is_worn(&self) -> bool {
        self.sealer.next().is_none_or(|next| next >= WORN)
    }

    /// When something was heard last.
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// The number of the session at the other end.
    pub fn theirs(&self) -> u32 {
        self.theirs
    }

    /// The longest line frame, in bytes.
    pub fn mtu(&self) -> usize {
        self.pace.mtu
    }

    /// What it has carried.
    pub fn carried(&self) -> Carried {
        self.carried
    }

    /// The smoothed round trip.
    pub fn round_trip(&self) -> Option<Duration> {
        self.sending.round_trip()
    }
}
