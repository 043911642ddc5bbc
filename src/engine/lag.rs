//! Lag: by how much a publisher's clock is behind this one, as far as its frames tell.
//!
//! A pushed frame says when its publisher sealed it. What it seemed to take from there is the way and the difference of the clocks,
//! and what it has waited for on the way: where a line was stuck and goes on, everything in it seems to have taken long. So
//!
//! - less than nothing is the clocks: no way takes that;
//! - up to [`USUAL`] is the way;
//! - more is the clocks only if it is more than [`QUEUE`], longer than queues hold anything up, and stays: if a frame that was sealed
//!   [`APART`] later seemed to take as long, give or take [`STEADY`]. What has waited in a stuck line took the less, the later it was sealed.
//!
//! Beside that a neighbour's hello shows its clock, and a frame that was fetched, or whose publisher's clock is wrong, comes with what its giver
//! has found out: the two together say what the publisher's clock is to this one, hop by hop. That holds until this node knows itself; what was
//! fetched may have waited for long, and tells nothing of clocks. But where it seems to have taken what a way takes, without what it has waited,
//! the clocks of both ends agree, whatever its giver says: the giver's may have been set since its hello.
//!
//! Invariants
//! 1. What has waited is never taken for a clock that is behind: nothing is handed over late for having been late.

use crate::time::Unix;
use core::time::Duration;

/// Longer than frames take, unless they go by satellite.
pub(super) const USUAL: Duration = Duration::from_secs(2);
/// Longer than a frame waits in queues that are full all the time: what the link of a publisher holds goes on after its deadline.
const QUEUE: Duration = Duration::from_secs(60);
/// So long after a frame that seemed to take long another has to have been sealed that does, too.
const APART: Duration = Duration::from_secs(3);
/// By how much less the other may seem to take.
const STEADY: Duration = Duration::from_secs(1);

/// See the module's documentation. Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    /// The shortest that a frame seemed to take.
    shortest: Option<i64>,
    /// A frame that seemed to take long: when it was sealed, and how long.
    slow: Option<(Unix, i64)>,
    /// Others have seemed to take as long.
    steady: bool,
    /// What others have found out.
    told: i64,
}

impl Lag {
    /// A pushed frame, sealed then by its publisher's clock, seemed to take so long.
    pub(super) fn note(&mut self, sent: Unix, took: i64) {
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

    /// By how much the clock is behind, by what hellos show and the giver of a frame has said; 0 for not at all.
    pub(super) fn note_told(&mut self, behind: i64) {
        self.told = behind;
    }

    /// By how much it is behind; less than 0 where it is ahead, 0 where nothing speaks against it.
    pub(super) fn behind(&self) -> i64 {
        match self.shortest {
            Some(shortest) if shortest < 0 => shortest,
            Some(shortest) if shortest <= micros(USUAL) => 0,
            Some(shortest) if self.steady && shortest > micros(QUEUE) => shortest,
            _ => self.told,
        }
    }
}

/// Whether a frame took as long as a way takes, by the clocks of both ends and without what it has waited.
pub(super) fn is_usual(took: i64) -> bool {
    (0..=micros(USUAL)).contains(&took)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found after frames that were sealed at these seconds and came at those.
    fn behind(frames: &[(f64, f64)]) -> f64 {
        let mut lag = Lag::default();
        for (sent, came) in frames {
            lag.note(Unix((1e12 + sent * 1e6) as u64), ((came - sent) * 1e6) as i64);
        }
        lag.behind() as f64 / 1e6
    }

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
        // What waited besides says nothing, and is forgotten when others are quicker.
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
        assert_eq!(lag.behind(), 20_000_000);
        lag.note(Unix(1_000_000_000), 30_000);
        assert_eq!(lag.behind(), 0);
    }
}
