//! Lag: by how much a publisher's clock is behind this device's, estimated from the publisher's frames.
//!
//! A pushed frame says when its publisher sealed it. The apparent transit time, from there to its arrival here, is the
//! sum of the true transit time, the time spent waiting in queues and the difference of the two clocks. After a link
//! was stuck, every frame that waited in it has a long apparent transit time. Therefore
//!
//! - a negative apparent transit time is due to the clocks: no path takes negative time, and waiting would only have
//!   made it longer;
//! - one up to [`USUAL`] is due to the path;
//! - a longer one is due to the clocks only if it exceeds what others have found out by more than [`QUEUE`], which is
//!   longer than queues hold anything up, and if it is steady: a frame that was sealed [`APART`] later had the same
//!   apparent transit time, give or take [`STEADY`]. Of the frames that waited in a stuck link, those sealed later took
//!   less time.
//!
//! Besides, a neighbour's hello shows that neighbour's clock, and a frame that was fetched, or whose publisher's clock
//! is wrong, carries what its giver has found out. The two together give the publisher's clock relative to this one,
//! hop by hop. That estimate is used until this node has one of its own. A fetched frame may have waited for long, so
//! it says nothing about clocks, with one exception: if its apparent transit time without the waiting is what a path
//! takes, the clocks of both ends agree, whatever its giver says, since the giver's clock may have been set after its
//! hello.
//!
//! When this device's clock is set, all estimates move by the same amount. A publisher's clock that was set forward
//! shows at once: its frames have negative apparent transit times. A clock that was set back shows in a frame that was
//! sealed before a frame with a lower number: from that frame on, the flow's lag is estimated anew, and frames sealed
//! before it are judged by the estimate of that time.
//!
//! Invariants
//! 1. Waiting is never taken for a clock that is behind: no frame is handed over after its deadline because it was
//!    late.

use crate::time::Unix;
use core::time::Duration;

/// A transit time longer than that of any frame, except over a satellite link.
pub(in crate::engine) const USUAL: Duration = Duration::from_secs(2);
/// Longer than a frame waits in queues that are full all the time: frames that a publisher's link holds go on even
/// after their deadline.
const QUEUE: Duration = Duration::from_secs(60);
/// How much later a second frame with a long apparent transit time must have been sealed for the time to count as
/// steady.
const APART: Duration = Duration::from_secs(3);
/// By how much the second frame's apparent transit time may be below that of the first.
const STEADY: Duration = Duration::from_secs(1);

/// What is known of a publisher's clock. Times without a type of their own are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Lag {
    /// The shortest apparent transit time.
    shortest: Option<i64>,
    /// A frame with a long apparent transit time: when it was sealed, and that time.
    slow: Option<(Unix, i64)>,
    /// Whether later frames had an equally long apparent transit time.
    steady: bool,
    /// The lag that others have found out.
    told: i64,
    /// The highest frame number so far, and when that frame was sealed.
    last: Option<(u64, Unix)>,
    /// What is known of frames that were sealed before the publisher's clock was set back.
    before: Option<Before>,
}

/// What is known of frames that were sealed before their publisher's clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    /// The lowest number of the frames that were sealed afterwards and have come, and when that frame was sealed.
    until: u64,
    sealed: Unix,
    behind: i64,
}

impl Lag {
    /// Notes a pushed frame: its number, when it was sealed by its publisher's clock, and its apparent transit time in
    /// microseconds.
    pub(in crate::engine) fn note(&mut self, number: u64, sent: Unix, took: i64) {
        if self.before_it_was_set(number, sent).is_some() {
            return;
        }
        self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
        if took <= micros(USUAL) {
            (self.slow, self.steady) = (None, false);
            return;
        }
        match self.slow {
            Some((first, before)) if took.saturating_add(micros(STEADY)) >= before => {
                self.steady |= sent.since(first) >= APART;
            }
            _ => (self.slow, self.steady) = (Some((sent, took)), false),
        }
    }

    /// Notes when a frame was sealed by its publisher's clock, and thereby whether that clock was set back.
    pub(in crate::engine) fn note_sealed(&mut self, number: u64, sent: Unix) {
        match self.last {
            Some((last, _)) if number <= last => return,
            Some((_, at)) if sent < at => {
                let before = Before { until: number, sealed: sent, behind: self.now_behind() };
                *self = Self { before: Some(before), ..Self::default() };
            }
            _ => {}
        }
        self.last = Some((number, sent));
    }

    /// Handles a step of this device's clock, forward by `by` microseconds: the publisher's clock is that much further
    /// behind.
    pub(in crate::engine) fn handle_step(&mut self, by: i64) {
        self.told = self.now_behind().saturating_add(by);
        if let Some(before) = &mut self.before {
            before.behind = before.behind.saturating_add(by);
        }
        self.shortest = self.shortest.map(|shortest| shortest.saturating_add(by));
        self.slow = self.slow.map(|(sent, took)| (sent, took.saturating_add(by)));
    }

    /// Notes the lag in microseconds that follows from neighbours' hellos and from what the giver of a frame said; 0 if
    /// there is none.
    pub(in crate::engine) fn note_told(&mut self, behind: i64) {
        self.told = behind;
    }

    /// Returns by how many microseconds the clock that sealed a frame is behind; negative if it is ahead, 0 if there is
    /// no evidence of a difference.
    pub(in crate::engine) fn behind(&self, number: u64, sent: Unix) -> i64 {
        self.before_it_was_set(number, sent).map_or_else(|| self.now_behind(), |before| before.behind)
    }

    fn before_it_was_set(&self, number: u64, sent: Unix) -> Option<Before> {
        self.before.filter(|before| number < before.until && sent > before.sealed)
    }

    fn now_behind(&self) -> i64 {
        match self.shortest {
            Some(shortest) if shortest < 0 => shortest.min(self.told),
            Some(shortest) if shortest <= micros(USUAL) => 0,
            Some(shortest) if self.steady && shortest.saturating_sub(self.told) > micros(QUEUE) => shortest,
            _ => self.told,
        }
    }
}

/// Whether an apparent transit time, without the time spent waiting, is what a path takes if both clocks agree.
pub(in crate::engine) fn is_usual(took: i64) -> bool {
    (0..=micros(USUAL)).contains(&took)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lag in seconds after frames that were sealed and came at the given seconds.
    fn behind(frames: &[(f64, f64)]) -> f64 {
        let mut lag = Lag::default();
        for (number, (sent, came)) in (0..).zip(frames) {
            lag.note(number, Unix((1e12 + sent * 1e6) as u64), ((came - sent) * 1e6) as i64);
        }
        lag.now_behind() as f64 / 1e6
    }

    /// Invariant 1.
    #[test]
    fn what_has_waited_in_a_line_says_nothing_of_clocks() {
        assert_eq!(behind(&[(0.0, 15.0)]), 0.0);
        let stuck: Vec<(f64, f64)> = (0..14).map(|sent| (f64::from(sent), 15.0)).collect();
        assert_eq!(behind(&stuck), 0.0);
        assert_eq!(behind(&[(0.0, 15.0), (0.5, 15.4), (2.0, 16.9), (20.0, 20.1)]), 0.0);
        // A queue that is full all the time.
        for seconds in [6.0, 44.0] {
            let queued: Vec<(f64, f64)> = (0..60).map(|sent| (f64::from(sent), f64::from(sent) + seconds)).collect();
            assert_eq!(behind(&queued), 0.0);
        }
    }

    #[test]
    fn a_clock_that_is_behind_is_known_when_frames_keep_seeming_to_take_long() {
        assert_eq!(behind(&[(0.0, 90.1), (1.0, 91.1), (2.9, 93.2)]), 0.0);
        assert_eq!(behind(&[(0.0, 90.1), (1.0, 91.1), (3.0, 93.2)]), 90.1);
        // The time spent waiting says nothing, and is forgotten when other frames are quicker.
        assert_eq!(behind(&[(0.0, 110.0), (1.0, 91.1), (4.1, 94.2)]), 90.1);
    }

    #[test]
    fn a_clock_that_is_ahead_is_known_at_once_and_one_that_is_right_stays_so() {
        assert_eq!(behind(&[(30.0, 0.5)]), -29.5);
        assert_eq!(behind(&[(0.0, 0.1), (5.0, 15.0), (9.0, 19.0)]), 0.0);
    }

    #[test]
    fn what_others_have_found_out_holds_until_it_is_known_here() {
        let mut lag = Lag::default();
        lag.note_told(20_000_000);
        assert_eq!(lag.now_behind(), 20_000_000);
        lag.note(1, Unix(1_000_000_000), 30_000);
        assert_eq!(lag.now_behind(), 0);
    }

    #[test]
    fn what_is_known_moves_with_this_devices_clock() {
        let second = 1_000_000;
        for by in [100, 10, -10, -100] {
            let mut lag = Lag::default();
            lag.note(1, Unix(1_000_000_000), second / 10);
            lag.handle_step(by * second);
            assert!((lag.now_behind() - by * second).abs() <= second / 10, "{by}: {}", lag.now_behind());
            lag.handle_step(-by * second);
            assert_eq!(lag.now_behind(), 0);
        }
        let mut told = Lag::default();
        told.note_told(20 * second);
        told.handle_step(-5 * second);
        assert_eq!(told.now_behind(), 15 * second);
        // The rest of the apparent transit time is due to the path: all frames of a burst are under way for long.
        for (number, sent) in [(1, 1_000), (2, 1_010)] {
            told.note_told(90 * second);
            told.note(number, Unix(sent * 1_000_000), 93 * second);
        }
        assert_eq!(told.now_behind(), 90 * second);
    }

    #[test]
    fn a_publishers_clock_that_was_set_back_shows_in_the_order_of_its_frames() {
        let at = |seconds: u64| Unix(1_000_000_000 + seconds * 1_000_000);
        let mut lag = Lag::default();
        for (number, sent) in [(1, at(100)), (3, at(102)), (2, at(101))] {
            lag.note_sealed(number, sent);
            lag.note(number, sent, 30_000);
            lag.note_told(40_000_000);
            assert_eq!(lag.behind(number, sent), 0);
        }
        lag.note_sealed(5, at(62));
        lag.note_told(40_000_000);
        lag.note(5, at(62), 40_030_000);
        assert_eq!([lag.behind(5, at(62)), lag.behind(6, at(103))], [40_000_000; 2]);
        // Frames that were sealed before come late, and say nothing about the present clock.
        assert_eq!([lag.behind(2, at(101)), lag.behind(4, at(103))], [0, 0]);
        lag.note(4, at(103), -39_000_000);
        assert_eq!([lag.behind(4, at(61)), lag.behind(5, at(62))], [40_000_000; 2]);
        lag.handle_step(1_000_000);
        assert_eq!([lag.behind(4, at(103)), lag.behind(6, at(63))], [1_000_000, 41_000_000]);
    }
}
