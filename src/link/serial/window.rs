//! Window: reliable delivery of segments over a line that loses and damages frames but keeps their order. It is
//! selective repeat, in the manner of LAPM's multi-selective reject (ITU-T V.42; LAPB and ISO/IEC 13239 have its kin).
//!
//! Each end numbers its segments, and each packet, sent anew or again, has a counter of its own. An acknowledgement says
//! which segments have arrived, and the highest counter that has. As the line keeps the order, a segment whose last
//! packet has a lower counter and which has not arrived is lost: it is sent again at once, without waiting for a timer.
//! For the same reason each acknowledgement measures the round trip of exactly one packet, from the moment at which its
//! last octet has left.
//!
//! If nothing at all is heard, the retransmission timer (RFC 6298) sends the oldest segment again and asks for an
//! answer. Its least value allows for what the line's rate makes an answer wait: the line frame under way at the other
//! end, and the delay of its acknowledgement.
//!
//! Invariants
//! 1. At most [`WINDOW`] segments are under way; the last [`RESERVED`] places are for alarms and control frames, so that
//!    these never wait for acknowledgements of less urgent ones.
//! 2. Each segment that the other end takes is taken once, however often it arrives.
//! - An acknowledgement of what was not sent changes nothing.

use super::lanes::Taken;
use super::packet::Acknowledgement;
use crate::time::Time;
use core::time::Duration;
use std::collections::VecDeque;

/// The most segments under way.
pub const WINDOW: usize = 32;
/// Of these, the places that only the most urgent lanes may use.
pub const RESERVED: usize = 8;
/// The lanes that may use them: those below this one.
pub const URGENT: u8 = 2;
/// The longest retransmission time-out: a line that is plugged in again is noticed within that time.
const MOST_TIMEOUT: Duration = Duration::from_secs(8);
/// Packets whose time of leaving is remembered.
const REMEMBERED: usize = 64;

/// The sender's side. See the module's documentation.
#[derive(Debug)]
pub struct Sending {
    /// Segments that have not been acknowledged up to the first, in order.
    under_way: VecDeque<Sent>,
    next: u16,
    /// When the last packets left, by counter, the oldest first.
    left: VecDeque<(u32, Time)>,
    /// The highest counter that the other end has opened.
    heard: Option<u32>,
    timing: Timing,
    /// The number of time-outs since anything was heard.
    expired: u32,
}

#[derive(Debug)]
struct Sent {
    taken: Taken,
    counter: u32,
    arrived: bool,
    lost: bool,
}

/// The smoothed round trip and its variation (RFC 6298, section 2).
#[derive(Debug)]
struct Timing {
    measured: Option<(Duration, Duration)>,
    first: Duration,
    least: Duration,
}

/// A segment that is about to leave.
#[derive(Debug)]
pub struct Leaving<'a> {
    /// Its sequence number.
    pub sequence: u16,
    /// Its bytes.
    pub taken: &'a Taken,
    /// Whether it leaves once more.
    pub again: bool,
}

impl Sending {
    /// For a line on which a frame of full length takes that time.
    pub fn new(frame: Duration) -> Self {
        let least = Duration::from_millis(100) + frame * 4;
        let timing = Timing { measured: None, first: Duration::from_secs(1) + frame * 4, least };
        Self { under_way: VecDeque::new(), next: 0, left: VecDeque::new(), heard: None, timing, expired: 0 }
    }

    /// The most urgent lane of a segment that was lost.
    pub fn lost_lane(&self) -> Option<u8> {
        self.under_way.iter().filter(|sent| sent.lost).map(|sent| sent.taken.lane).min()
    }

    /// Whether a new segment may leave: lanes below this one; none for 0.
    pub fn open_to(&self) -> u8 {
        match self.under_way.len() {
            WINDOW.. => 0,
            under_way if under_way >= WINDOW - RESERVED => URGENT,
            _ => u8::MAX,
        }
    }

    /// Whether any segment is under way.
    pub fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Sends a new segment in the packet with that counter.
    pub fn send(&mut self, taken: Taken, counter: u32) -> Leaving<'_> {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.under_way.push_back(Sent { taken, counter, arrived: false, lost: false });
        let sent = self.under_way.back().expect("it was put there");
        Leaving { sequence, taken: &sent.taken, again: false }
    }

    /// Sends the first lost segment of that lane again, in the packet with that counter.
    pub fn send_again(&mut self, lane: u8, counter: u32) -> Option<Leaving<'_>> {
        let base = self.base();
        let lost = |sent: &(u16, &mut Sent)| sent.1.lost && sent.1.taken.lane == lane;
        let (at, sent) = (0..).zip(&mut self.under_way).find(lost)?;
        (sent.lost, sent.counter) = (false, counter);
        Some(Leaving { sequence: base.wrapping_add(at), taken: &sent.taken, again: true })
    }

    /// The last octet of the packet with this counter leaves at that time.
    pub fn handle_left(&mut self, counter: u32, at: Time) {
        if self.left.len() == REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back((counter, at));
    }

    /// Takes an acknowledgement. Returns the round trip that it measures.
    pub fn handle(&mut self, acknowledgement: Acknowledgement, now: Time) -> Option<Duration> {
        let Acknowledgement { next, heard, gaps } = acknowledgement;
        let (base, measured) = (self.base(), self.handle_heard(heard, now));
        let arrived = usize::from(next.wrapping_sub(base));
        if arrived > self.under_way.len() {
            return measured;
        }
        self.under_way.drain(..arrived);
        for (at, sent) in self.under_way.iter_mut().skip(1).enumerate().take(32) {
            if gaps & 1 << at != 0 && !sent.arrived {
                (sent.arrived, sent.lost) = (true, false);
            }
        }
        if let Some(heard) = self.heard {
            for sent in self.under_way.iter_mut().filter(|sent| !sent.arrived && sent.counter <= heard) {
                sent.lost = true;
            }
        }
        measured
    }

    /// Finds the counter that was heard by the lower half of the one after it: the highest of those that have left.
    fn handle_heard(&mut self, half: u16, now: Time) -> Option<Duration> {
        let after = self.left.back()?.0 + 1;
        let back = u32::from((after as u16).wrapping_sub(half));
        // Before anything was opened, there is none.
        let heard = after.checked_sub(back)?.checked_sub(1)?;
        if self.heard.is_some_and(|before| heard <= before) {
            return None;
        }
        let (_, at) = *self.left.iter().find(|(counter, _)| *counter == heard)?;
        self.heard = Some(heard);
        let round_trip = now.since(at);
        self.timing.add(round_trip);
        Some(round_trip)
    }

    /// How long an answer may take: the time-out that follows the time-outs so far.
    pub fn timeout(&self) -> Duration {
        let longest = MOST_TIMEOUT.max(self.timing.base());
        self.timing.base().saturating_mul(1 << self.expired.min(16)).min(longest)
    }

    /// The time-out without regard to those so far.
    pub fn base_timeout(&self) -> Duration {
        self.timing.base()
    }

    /// The smoothed round trip.
    pub fn round_trip(&self) -> Option<Duration> {
        self.timing.measured.map(|(smoothed, _)| smoothed)
    }

    /// Something was heard: the line is not cut, and time-outs begin anew.
    pub fn handle_alive(&mut self) {
        self.expired = 0;
    }

    /// Handles a time-out: the oldest segment counts as lost, if there is any.
    pub fn handle_timeout(&mut self) {
        self.expired += 1;
        if let Some(oldest) = self.under_way.iter_mut().find(|sent| !sent.arrived) {
            oldest.lost = true;
        }
    }

    fn base(&self) -> u16 {
        self.next.wrapping_sub(self.under_way.len() as u16)
    }
}

impl Timing {
    fn add(&mut self, took: Duration) {
        self.measured = Some(match self.measured {
            None => (took, took / 2),
            Some((smoothed, variation)) => ((smoothed * 7 + took) / 8, (variation * 3 + smoothed.abs_diff(took)) / 4),
        });
    }

    fn base(&self) -> Duration {
        self.measured.map_or(self.first, |(smoothed, variation)| smoothed + variation * 4).max(self.least)
    }
}

/// The receiver's side: which segments have arrived.
#[derive(Debug, Default)]
pub struct Receiving {
    next: u16,
    /// Bit i: `next + 1 + i` has arrived.
    gaps: u32,
}

/// What a segment is to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has not arrived before; segments before it are missing if `gap`.
    New {
        /// Whether segments before it are missing.
        gap: bool,
    },
    /// It has arrived before.
    Again,
    /// It is beyond the window.
    Beyond,
}

impl Receiving {
    /// What a segment with this number is. Nothing is noted.
    pub fn look(&self, sequence: u16) -> Arrival {
        match usize::from(sequence.wrapping_sub(self.next)) {
            0 => Arrival::New { gap: false },
            ahead @ 1..WINDOW if self.gaps & 1 << (ahead - 1) == 0 => Arrival::New { gap: true },
            0x8000.. | 1..WINDOW => Arrival::Again,
            _ => Arrival::Beyond,
        }
    }

    /// Notes that the segment with this number has been taken.
    pub fn take(&mut self, sequence: u16) {
        let ahead = sequence.wrapping_sub(self.next);
        if ahead > 0 {
            self.gaps |= 1 << (ahead - 1).min(31);
            return;
        }
        self.next = self.next.wrapping_add(1);
        while self.gaps & 1 == 1 {
            self.gaps >>= 1;
            self.next = self.next.wrapping_add(1);
        }
        self.gaps >>= 1;
    }

    /// What has arrived, with the lower half of the counter after the highest that was opened.
    pub fn acknowledgement(&self, heard: u32) -> Acknowledgement {
        Acknowledgement { next: self.next, heard: heard as u16, gaps: self.gaps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lane: u8) -> Taken {
        Taken { lane, place: 0, data: Vec::new(), frames: 0 }
    }

    fn sending() -> Sending {
        Sending::new(Duration::from_millis(10))
    }

    fn acknowledged(next: u16, heard: u16, gaps: u32) -> Acknowledgement {
        Acknowledgement { next, heard, gaps }
    }

    /// Invariant 1.
    #[test]
    fn the_last_places_are_for_what_is_urgent() {
        let mut sending = sending();
        let mut open = Vec::new();
        for counter in 0..WINDOW as u32 {
            open.push(sending.open_to());
            sending.send(taken(4), counter);
        }
        assert_eq!((open[23], open[24], open[31], sending.open_to()), (u8::MAX, URGENT, URGENT, 0));
    }

    #[test]
    fn what_a_later_packet_overtook_is_lost_and_sent_again_once() {
        let mut sending = sending();
        for counter in 0..5 {
            sending.send(taken(4), counter);
            sending.handle_left(counter, Time(u64::from(counter) * 1_000));
        }
        // The second has not arrived; of the fifth nothing is known.
        let measured = sending.handle(acknowledged(1, 4, 0b11), Time(13_000));
        assert_eq!(measured, Some(Duration::from_millis(10)));
        assert_eq!(sending.lost_lane(), Some(4));
        assert_eq!(sending.send_again(4, 5).map(|leaving| (leaving.sequence, leaving.again)), Some((1, true)));
        assert_eq!(sending.lost_lane(), None);
        // The same acknowledgement again: the packet that carries it now has not been heard.
        sending.handle_left(5, Time(14_000));
        assert_eq!(sending.handle(acknowledged(1, 4, 0b11), Time(15_000)), None);
        assert_eq!(sending.lost_lane(), None);
        sending.handle(acknowledged(5, 6, 0), Time(30_000));
        assert!(!sending.is_waiting());
        // What was not sent cannot have arrived.
        sending.handle(acknowledged(99, 6, u32::MAX), Time(30_000));
        assert_eq!((sending.base(), sending.next), (5, 5));
    }

    #[test]
    fn one_that_has_heard_nothing_acknowledges_nothing() {
        let mut sending = sending();
        sending.send(taken(4), 0);
        sending.handle_left(0, Time(0));
        let nothing = Receiving::default().acknowledgement(0);
        assert_eq!(sending.handle(nothing, Time(20_000_000)), None);
        assert_eq!((sending.lost_lane(), sending.round_trip()), (None, None));
    }

    #[test]
    fn the_time_out_follows_rfc_6298_and_the_rate_of_the_line() {
        let mut sending = sending();
        assert_eq!(sending.timeout(), Duration::from_millis(1_040));
        for counter in 0..40 {
            sending.handle_left(counter, Time(0));
            sending.handle(acknowledged(0, counter as u16 + 1, 0), Time(1_000_000));
        }
        assert_eq!(sending.round_trip(), Some(Duration::from_secs(1)));
        assert!(sending.timeout() < Duration::from_millis(1_050));
        sending.send(taken(4), 40);
        for _ in 0..9 {
            sending.handle_timeout();
        }
        assert_eq!(sending.timeout(), MOST_TIMEOUT);
        // A frame that takes a second cannot be answered sooner.
        assert!(Sending::new(Duration::from_secs(1)).timeout() > Duration::from_secs(4));
    }

    /// Invariant 2.
    #[test]
    fn each_segment_is_taken_once_in_any_order_and_around_the_end_of_the_numbers() {
        let mut receiving = Receiving { next: u16::MAX - 1, gaps: 0 };
        let mut take = |offset: u16| {
            let sequence = (u16::MAX - 1).wrapping_add(offset);
            let arrival = receiving.look(sequence);
            if matches!(arrival, Arrival::New { .. }) {
                receiving.take(sequence);
            }
            (arrival, receiving.acknowledgement(0).gaps)
        };
        let (new, late) = (Arrival::New { gap: false }, Arrival::New { gap: true });
        assert_eq!(take(2), (late, 0b10));
        assert_eq!(take(2), (Arrival::Again, 0b10));
        assert_eq!(take(31), (late, 1 << 30 | 0b10));
        assert_eq!(take(32), (Arrival::Beyond, 1 << 30 | 0b10));
        assert_eq!(take(0), (new, 1 << 29 | 1));
        assert_eq!(take(1), (new, 1 << 27));
        assert_eq!(take(1), (Arrival::Again, 1 << 27));
        for offset in 3..31 {
            assert_eq!(take(offset).0, new);
        }
        assert_eq!(take(31), (Arrival::Again, 0));
        assert_eq!(receiving.next, (u16::MAX - 1).wrapping_add(32));
    }
}
