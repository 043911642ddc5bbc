//! Shaper: a model of a line, which says when what is sent into it arrives.
//!
//! A [`Shaper`] models one direction of one reliable, ordered connection over a line with a [`Shape`]. It is told
//! the time and draws from a generator of its own. Bytes go in as *pieces* of at most [`MTU`] bytes. What happens to a
//! piece:
//!
//! 1. It waits until the line is free, then occupies it for `bytes × 8 / rate`.
//! 2. It travels for the delay, plus or minus the jitter (uniform, drawn for each piece).
//! 3. It may be lost, which a reliable transport turns into time: it is sent again when its loss is noticed, by the
//!    acknowledgement of something that was sent after it or by a time-out ([`Recovery`]: TCP's rules or QUIC's). Each
//!    attempt may be lost in turn. The last of [`MAX_ATTEMPTS`] arrives: a transport that gives up is not modelled, and
//!    neither is congestion control; `rate` is what a sender gets.
//! 4. It is handed over once all pieces before it in its lane have been, so a loss holds up what follows (head-of-line
//!    blocking). All of TCP is one lane; each stream of QUIC is one.
//!
//! What follows a lost piece is not known when it is sent. So [`Shaper::send`] returns when a piece arrives if nothing
//! follows. When something follows that shows a loss sooner, arrivals of pieces under way become earlier:
//! [`Shaper::take_revised`] reports this, and [`Shaper::arrival`] returns the new times.
//!
//! Pieces that are sent at the same moment share a packet as far as they fit into one: they are lost together. An
//! acknowledgement that would show a loss may be lost too, just as often.
//!
//! Invariants
//! 1. Pieces of a lane arrive in the order in which they were sent, none earlier than `delay − jitter` after it was
//!    sent.
//! 2. No more than `rate` goes through the line, repetitions included.
//! 3. An arrival only ever becomes earlier, and not earlier than the send that made it so.
//! 4. The same pieces at the same times with the same seed arrive at the same times.
//! - Only pieces that are lost and not repeated yet, and those sent after them, are kept.

mod recovery;
#[cfg(test)]
mod tests;

pub use recovery::Recovery;

use super::lab::Shape;
use crate::time::Time;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::time::Duration;

/// The model of one direction of a connection.
#[derive(Debug)]
pub struct Shaper {
    shape: Shape,
    recovery: Recovery,
    rng: ChaCha20Rng,
    /// When the line will have carried all that is in it.
    free: Time,
    /// The part of a microsecond left over in `free`, in units of 1/`rate`.
    remainder: u64,
    /// The number of the next piece.
    next: u64,
    /// The first piece that is lost and not repeated yet, and all pieces sent after it.
    held: VecDeque<Piece>,
    /// When the last piece before those in `held` arrives, by lane.
    floor: [Time; LANES],
    /// When the last piece arrives, by lane.
    last: [Time; LANES],
    /// When the acknowledgement of the last piece that was not lost arrives.
    acknowledged: Time,
    lost: u64,
    revised: bool,
    /// When the last packet was begun, and how many bytes it holds.
    packet: (Time, usize),
}

/// The passage of one piece through the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The number of the piece, counted from 0.
    pub number: u64,
    /// When the piece arrives if nothing shows a loss sooner.
    pub arrives: Time,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    number: u64,
    lane: usize,
    /// How long the successful attempt travels.
    flight: Duration,
    /// The earliest arrival: the line must have carried all attempts first.
    least: Time,
    /// When it was last sent.
    sent: Time,
    /// The number of attempts that are lost, including the last one sent.
    losses: u32,
    /// When it is sent again, if any are lost.
    again: Time,
    /// Consecutive attempts so far that only time-outs show to be lost.
    timeouts: u32,
    /// Whether it has been sent more than once.
    repeated: bool,
    /// Bit `n` is set if both datagrams of the first probe are lost, after the attempt with `n` losses left.
    unprobed: u32,
    arrives: Time,
}

impl Shaper {
    /// Creates an empty line that recovers by TCP's rules.
    pub fn new(shape: Shape, seed: [u8; 32]) -> Self {
        Self::with_recovery(shape, Recovery::Tcp, seed)
    }

    /// Creates an empty line that recovers by these rules.
    pub fn with_recovery(shape: Shape, recovery: Recovery, seed: [u8; 32]) -> Self {
        Self {
            shape,
            recovery,
            rng: ChaCha20Rng::from_seed(seed),
            free: Time(0),
            remainder: 0,
            next: 0,
            held: VecDeque::new(),
            floor: [Time(0); LANES],
            last: [Time(0); LANES],
            acknowledged: Time(0),
            lost: 0,
            revised: false,
            packet: (Time(0), 0),
        }
    }

    /// Changes the line. Pieces under way arrive at the reported times or sooner, and before all that follow.
    pub fn set_shape(&mut self, shape: Shape) {
        if shape.rate != self.shape.rate {
            self.remainder = 0;
        }
        self.shape = shape;
    }

    /// Returns how the line behaves.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns the rules by which losses are noticed.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Sends a piece of at most [`MTU`] bytes of a stream. `lane` is the same for all pieces of a stream and differs
    /// between streams.
    pub fn send(&mut self, bytes: usize, lane: u64, now: Time) -> Passage {
        self.pass(now);
        self.free = self.free.max(now);
        self.occupy(bytes);
        let lane = match self.recovery {
            Recovery::Tcp => 0,
            Recovery::Quic => usize::try_from(lane).unwrap_or_default() % LANES,
        };
        let (number, sent, flight) = (self.next, self.free, self.flight());
        self.next += 1;
        let mut piece = Piece {
            number,
            lane,
            flight,
            least: Time(0),
            sent,
            losses: 0,
            again: Time(0),
            timeouts: 0,
            repeated: false,
            unprobed: 0,
            arrives: Time(0),
        };
        // What is written at once shares a packet as far as it fits, and is lost with it or not at all.
        let (at, held) = self.packet;
        let shared = at == now && number > 0 && held + bytes <= MTU;
        self.packet = (now, if shared { held + bytes } else { bytes });
        if let Some(first) = self.held.back().filter(|last| shared && last.number + 1 == number && last.losses > 0) {
            (piece.losses, piece.unprobed) = (first.losses, first.unprobed);
        }
        while !shared && piece.losses + 1 < MAX_ATTEMPTS && self.is_lost() {
            self.lost += 1;
            piece.losses += 1;
            piece.unprobed |=
                u32::from(self.recovery == Recovery::Quic && self.is_lost() && self.is_lost()) << piece.losses;
            self.occupy(bytes);
        }
        let mut changes = piece.losses > 0;
        if piece.losses == 0 {
            let known = sent + (flight + self.shape.delay);
            self.acknowledged = self.acknowledged.max(known);
            // The acknowledgement may be lost in turn.
            changes |= !shared && !self.held.is_empty() && !self.is_lost() && self.show(sent, known);
        } else {
            piece.least = self.free + self.least_flight();
            let begins = if self.recovery == Recovery::Tcp { sent.max(self.acknowledged) } else { sent };
            piece.again = begins + self.pause(&piece);
        }
        if self.held.is_empty() {
            self.floor = self.last;
        }
        piece.arrives = self.natural(piece).max(self.last[lane]);
        self.last[lane] = piece.arrives;
        if piece.losses > 0 || !self.held.is_empty() {
            self.held.push_back(piece);
        }
        if changes {
            self.settle();
        }
        let arrives = self.held.back().map_or(piece.arrives, |piece| piece.arrives);
        Passage { number, arrives }
    }

    /// Whether any arrival has become earlier since the last call.
    pub fn take_revised(&mut self) -> bool {
        std::mem::take(&mut self.revised)
    }

    /// Returns when a piece arrives; `None` if this is as last reported.
    pub fn arrival(&self, number: u64) -> Option<Time> {
        let at = self.held.binary_search_by_key(&number, |piece| piece.number).ok()?;
        Some(self.held[at].arrives)
    }

    /// Returns the number of losses so far, each attempt counted.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Repeats what was to be sent again by now, and drops what no longer needs to be kept.
    fn pass(&mut self, now: Time) {
        for at in 0..self.held.len() {
            let mut piece = self.held[at];
            while piece.losses > 0 && piece.again <= now {
                self.repeat(&mut piece);
            }
            self.held[at] = piece;
        }
        while let Some(piece) = self.held.pop_front_if(|piece| piece.losses == 0) {
            let floor = &mut self.floor[piece.lane];
            *floor = (*floor).max(piece.arrives);
        }
    }

    /// Sends a piece again; its next attempt may be lost too.
    fn repeat(&self, piece: &mut Piece) {
        piece.sent = piece.again;
        piece.losses -= 1;
        piece.repeated = true;
        if piece.losses > 0 {
            piece.timeouts += 1;
            piece.again = piece.sent + self.pause(piece);
        }
    }

    /// Returns how long after an attempt a piece is sent again if nothing shows the loss.
    fn pause(&self, piece: &Piece) -> Duration {
        let Self { shape, recovery, .. } = self;
        match recovery {
            Recovery::Tcp => recovery.timeout(shape, piece.timeouts),
            Recovery::Quic => {
                let unprobed = piece.unprobed >> piece.losses & 1 == 1;
                let second = if unprobed { recovery.timeout(shape, 1) } else { Duration::ZERO };
                recovery.timeout(shape, 0) + second + recovery.probing(shape)
            }
        }
    }

    /// Returns when a piece is sent for the last time and when it arrives, if nothing shows a loss sooner.
    fn through(&self, mut piece: Piece) -> (Time, Time) {
        while piece.losses > 0 {
            self.repeat(&mut piece);
        }
        (piece.sent, (piece.sent + piece.flight).max(piece.least))
    }

    fn natural(&self, piece: Piece) -> Time {
        self.through(piece).1
    }

    /// Handles the acknowledgement, at time `known`, of what was sent at time `sent`: earlier losses are shown then.
    /// Returns whether any piece is sent again sooner.
    fn show(&mut self, sent: Time, known: Time) -> bool {
        let (recovery, patience) = (self.recovery, self.recovery.patience(&self.shape));
        let lost = self.held.iter_mut().filter(|piece| piece.losses > 0 && piece.sent <= sent);
        // All of them, not only the first: `count` runs through every piece.
        lost.filter_map(|piece| piece.is_shown(known, recovery, patience).then_some(())).count() > 0
    }

    /// Works out which losses are shown by repetitions that get through, and when all kept pieces arrive accordingly.
    fn settle(&mut self) {
        let mut sooner = true;
        while sooner {
            // For each repeated piece: when it is sent for the last time, and when the first acknowledgement of this or
            // a later one arrives.
            let lost = self.held.iter().filter(|piece| piece.losses > 0).map(|piece| self.through(*piece));
            let mut repeated: Vec<(Time, Time)> =
                lost.map(|(sent, arrives)| (sent, arrives + self.shape.delay)).collect();
            repeated.sort_unstable();
            let mut first = Time(u64::MAX);
            for (_, known) in repeated.iter_mut().rev() {
                first = first.min(*known);
                *known = first;
            }
            let (recovery, patience) = (self.recovery, self.recovery.patience(&self.shape));
            sooner = false;
            for piece in self.held.iter_mut().filter(|piece| piece.losses > 0) {
                let after = repeated.partition_point(|(sent, _)| *sent < piece.sent);
                let known = repeated.get(after).map(|(_, known)| *known);
                sooner |= known.is_some_and(|known| piece.is_shown(known, recovery, patience));
            }
        }
        self.last = self.floor;
        for at in 0..self.held.len() {
            let arrives = self.natural(self.held[at]);
            let piece = &mut self.held[at];
            let last = &mut self.last[piece.lane];
            // A time that was reported is never moved back, even if the line has become slower since.
            *last = (*last).max(arrives).min(piece.arrives);
            self.revised |= piece.arrives != *last;
            piece.arrives = *last;
        }
    }

    /// Occupies the line for as many bytes.
    fn occupy(&mut self, bytes: usize) {
        let Some(rate) = self.shape.rate else { return };
        let rate = rate.max(1);
        let work = u128::from(bytes as u64) * 8_000_000 + u128::from(self.remainder);
        let micros = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        self.remainder = u64::try_from(work % u128::from(rate)).unwrap_or_default();
        self.free = self.free + Duration::from_micros(micros);
    }

    /// Draws how long a piece travels.
    fn flight(&mut self) -> Duration {
        let jitter = u64::try_from(self.shape.jitter.as_micros()).unwrap_or(u64::MAX / 2);
        if jitter == 0 {
            return self.shape.delay;
        }
        let drawn = self.rng.next_u64() % (2 * jitter + 1);
        self.least_flight() + Duration::from_micros(drawn)
    }

    fn least_flight(&self) -> Duration {
        self.shape.delay.saturating_sub(self.shape.jitter)
    }

    fn is_lost(&mut self) -> bool {
        self.shape.loss > 0 && self.rng.next_u64() % MILLION < u64::from(self.shape.loss)
    }
}

impl Piece {
    /// Notes that something sent later is acknowledged at time `known`. Returns whether the piece is sent again sooner
    /// for that.
    fn is_shown(&mut self, known: Time, recovery: Recovery, patience: Duration) -> bool {
        let at = known.max(self.sent + patience);
        let sooner = at < self.again && (recovery == Recovery::Quic || !self.repeated);
        if sooner {
            // TCP probes no more once it repairs.
            (self.again, self.timeouts) = (at, 0);
        }
        sooner
    }
}

/// Returns how many bytes a sender may have waiting for and travelling through a line before it is held back: twice
/// what the line itself holds, but at least what it carries in a tenth of a second, so that a slow line has a short
/// queue.
pub fn window(shape: &Shape) -> usize {
    let Some(rate) = shape.rate else { return MOST_WINDOW };
    let held = (2 * (shape.delay + shape.jitter)).max(LEAST_QUEUE);
    let bytes = u128::from(rate) * held.as_micros() / 8_000_000;
    usize::try_from(bytes).unwrap_or(MOST_WINDOW).clamp(LEAST_WINDOW, MOST_WINDOW)
}

/// The maximum number of bytes of a piece: an Ethernet frame's payload.
pub const MTU: usize = 1_500;
/// The maximum number of attempts at a piece, the first included: as many as Linux makes by default.
pub const MAX_ATTEMPTS: u32 = 16;
/// The unit of loss.
const MILLION: u64 = 1_000_000;
/// Bounds of the window, in bytes: two pieces, and what sustains 50 MB/s over 20 ms.
const LEAST_WINDOW: usize = 2 * MTU;
const MOST_WINDOW: usize = 1024 * 1024;
/// The least time that the window's bytes take to go through the line.
const LEAST_QUEUE: Duration = Duration::from_millis(100);
/// The number of lanes that are told apart; a connection has few long-lived streams.
const LANES: usize = 4;
