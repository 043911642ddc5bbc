//! Estimate: how good a link is, from its probes: how long it takes, and how often it fails.
//!
//! **Mechanism.** A probe is a ping that is answered at once. The caller reports what became of it: it came back after
//! some time, or it did not. Two quantities are estimated:
//!
//! - the [`round_trip`]: the smoothed time with its mean deviation, and the shortest time of the last minutes;
//! - the [`chance`] that a probe comes back in good time. The transports below are reliable streams, so a lost packet
//!   shows as a late probe and not as a lost one. A probe that takes more than twice the usual time plus [`SLACK`]
//!   counts as a failure; its time is added to the delay only when it is counted as a failure or as good.
//!
//! Whether the neighbour is alive is watched where its bytes arrive, in [`net`](crate::net), not here.
//!
//! All arithmetic is in integers: the same probes give the same results on every machine. The state can be stored and
//! resumed.
//!
//! Invariants
//! 1. A link without measurements is assumed to be good: a delay of [`PRIOR_DELAY`], and a chance of 0.99.
//! 2. The reported chance is a lower bound: once the credit of a new link is used up by failures, it is below the share
//!    of probes that came back.
//! 3. No measurement counts for ever: a link that was bad is assumed to be good again after a time without probes.

mod chance;
mod round_trip;

use crate::time::Time;
use chance::Chance;
use core::time::Duration;
use round_trip::RoundTrip;
use serde::{Deserialize, Serialize};

/// The one-way delay in microseconds that is assumed of a link without measurements: that of a local network, where
/// most links are, so that most need no correction. Half of it is the assumed deviation.
pub const PRIOR_DELAY: u32 = 1_000;
/// A probe that takes more than twice the usual time plus this was held up by a retransmission.
pub const SLACK: Duration = Duration::from_millis(20);

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimator {
    round_trip: RoundTrip,
    chance: Chance,
}

/// The estimated quality of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// The one-way delay in microseconds.
    pub delay: u32,
    /// The mean deviation of the delay in microseconds.
    pub deviation: u32,
    /// A lower bound of the chance that a probe comes back in good time, in parts of 65,535.
    pub success: u16,
}

impl Estimator {
    /// Creates the estimator of a link without measurements.
    pub fn new(now: Time) -> Self {
        Self { round_trip: RoundTrip::default(), chance: Chance::new(now) }
    }

    /// Resumes a stored state in a new process, whose clock has another origin.
    pub fn resume(&mut self, now: Time) {
        self.round_trip.resume(now);
        self.chance.resume(now);
    }

    /// Notes that a probe came back after `round_trip`.
    pub fn measured(&mut self, round_trip: Duration, now: Time) {
        let (failed, good) = self.round_trip.measured(round_trip, now);
        for _ in 0..failed {
            self.chance.seen(false, now);
        }
        if good {
            self.chance.seen(true, now);
        }
    }

    /// Notes that a probe did not come back within [`Self::timeout`].
    pub fn unanswered(&mut self, now: Time) {
        self.round_trip.unanswered();
        self.chance.seen(false, now);
    }

    /// The estimated quality of the link at this time.
    pub fn quality(&self, now: Time) -> Quality {
        let (delay, deviation) = self.round_trip.one_way().unwrap_or((PRIOR_DELAY, PRIOR_DELAY / 2));
        Quality { delay, deviation, success: self.chance.lower_bound(now) }
    }

    /// The shortest round trip of the last minutes; `None` before the first measurement.
    pub fn shortest(&self) -> Option<Duration> {
        self.round_trip.shortest()
    }

    /// How long to wait for an answer. The time doubles with each missing answer, until one arrives.
    pub fn timeout(&self) -> Duration {
        self.round_trip.timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn second(at: u64) -> Time {
        Time(at * 1_000_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Runs one probe a second; `None` is a probe that does not come back.
    fn probed(probes: impl IntoIterator<Item = Option<u64>>) -> (Estimator, Time) {
        let mut estimator = Estimator::new(second(0));
        let mut now = second(0);
        for probe in probes {
            now = now + Duration::from_secs(1);
            match probe {
                Some(took) => estimator.measured(millis(took), now),
                None => estimator.unanswered(now),
            }
        }
        (estimator, now)
    }

    fn success(probes: impl IntoIterator<Item = Option<u64>>) -> f64 {
        let (estimator, now) = probed(probes);
        f64::from(estimator.quality(now).success) / 65_535.0
    }

    /// Invariant 1: the delay.
    #[test]
    fn delay_follows_the_round_trips() {
        assert_eq!(Estimator::new(second(0)).quality(second(0)).delay, PRIOR_DELAY);
        let quality = |(estimator, now): (Estimator, Time)| estimator.quality(now);
        let first = quality(probed([Some(100)]));
        assert_eq!((first.delay, first.deviation), (50_000, 25_000), "RFC 6298, 2.2");
        let steady = quality(probed([Some(100); 50]));
        assert!(steady.delay.abs_diff(50_000) < 10 && steady.deviation < 50, "{steady:?}");
        let jump = quality(probed([[Some(20); 20], [Some(200); 20]].concat()));
        assert!((90_000..=100_000).contains(&jump.delay), "{jump:?}");
        let shaky = quality(probed((0..50).map(|n| Some(50 + n % 2 * 100))));
        assert!((20_000..30_000).contains(&shaky.deviation), "{shaky:?}");
    }

    #[test]
    fn the_timeout_is_that_of_rfc_6298_and_doubles() {
        assert_eq!(Estimator::new(second(0)).timeout(), Duration::from_secs(1));
        assert_eq!(probed([Some(100)]).0.timeout(), millis(300));
        let (mut estimator, now) = probed([Some(100), None, None]);
        assert_eq!(estimator.timeout(), millis(1_200));
        estimator.measured(millis(100), now);
        assert!(estimator.timeout() < millis(300));
        assert_eq!(probed([Some(1); 100]).0.timeout(), millis(200), "the least");
        assert_eq!(probed([None; 100]).0.timeout(), Duration::from_secs(60), "the most");
    }

    /// Invariant 1: the chance.
    #[test]
    fn a_clean_link_counts_as_good_from_the_first_to_the_last() {
        for probes in [0, 1, 10, 100, 1_000] {
            let clean = success(vec![Some(20); probes]);
            assert!((0.989..0.995).contains(&clean), "{probes}: {clean}");
        }
    }

    /// Invariant 2.
    #[test]
    fn failures_show_soon_and_as_many_as_there_are() {
        let lossy = |probes: u64, one_in: u64| success((0..probes).map(|n| (n % one_in > 0).then_some(20)));
        assert!(lossy(10, 5) < 0.95, "{}", lossy(10, 5));
        assert!(lossy(30, 5) < 0.80, "{}", lossy(30, 5));
        assert!((0.60..0.78).contains(&lossy(200, 5)), "{}", lossy(200, 5));
        assert!((0.92..0.985).contains(&lossy(300, 100)), "{}", lossy(300, 100));
        assert!(success([None; 50]) < 0.05);
        // A link that was good for long and is no longer.
        let (good, bad) = (vec![Some(20); 500], (0..40).map(|n| (n % 5 > 0).then_some(20)));
        assert!(success(good.into_iter().chain(bad)) < 0.85);
    }

    #[test]
    fn a_probe_that_was_held_up_is_a_failure() {
        let held_up = |late: u64| success((0..100).map(|n| Some(if n % 5 == 0 { late } else { 20 })));
        assert!(held_up(260) < 0.8);
        assert!(held_up(59) > 0.98);
        // If the whole link has become slow, the delay is reported and not failures.
        let (estimator, now) = probed([[Some(20); 100], [Some(300); 100]].concat());
        assert!(estimator.quality(now).success > 60_000);
        assert_eq!(estimator.shortest(), Some(millis(300)));
    }

    #[test]
    fn the_time_of_a_late_answer_counts_when_it_is_known_what_it_was() {
        let quality = |late: &[u64]| {
            let (estimator, now) = probed([20; 30].iter().chain(late).copied().map(Some));
            let Quality { delay, success, .. } = estimator.quality(now);
            (delay, success)
        };
        let steady = quality(&[]);
        assert_eq!(quality(&[220]), steady, "it may be either");
        assert_eq!(quality(&[220, 220]), steady);
        // An isolated late answer: failure and delay are counted in the same step.
        let (delay, success) = quality(&[220, 20]);
        assert!(delay > steady.0 + 9_000 && success < steady.1 - 300, "{delay} {success}");
        // Up to seven late answers in a row may be an accident.
        let (delay, success) = quality(&[220; 7]);
        assert!(delay == steady.0 && success.abs_diff(steady.1) < 10, "{delay} {success}");
        let (late, success) = quality(&[220, 220, 220, 220, 220, 220, 220, 20]);
        assert!(late > delay && success < steady.1 - 10_000, "{late} {success}");
        // A link that has become slow: its delay is known then, and nothing has failed.
        let (delay, success) = quality(&[220; 8]);
        assert!(delay > steady.0 + 60_000 && success.abs_diff(steady.1) < 10, "{delay} {success}");
        let (later, success) = quality(&[220; 20]);
        assert!(later > delay && success > steady.1 - 10, "{later} {success}");
    }

    #[test]
    fn of_a_run_of_late_answers_those_have_failed_that_were_held_up_among_them() {
        let success = |late: [u64; 8]| {
            let (estimator, now) = probed([20; 30].into_iter().chain(late).map(Some));
            estimator.quality(now).success
        };
        let steady = success([20; 8]);
        // A link that is slow for good, with the jitter that slow links have.
        assert!(success([300, 320, 310, 290, 350, 305, 330, 315]) >= steady - 10);
        // One packet in five is lost, and pings wait behind retransmissions.
        assert!(success([295, 96, 400, 96, 446, 445, 446, 96]) < steady - 10_000);
        assert!(success([150, 350, 450, 450, 200, 200, 150, 350]) < steady - 3_000);
    }

    #[test]
    fn the_shortest_is_that_of_the_last_minutes() {
        let (mut estimator, now) = probed([Some(5), Some(20)]);
        assert_eq!(estimator.shortest(), Some(millis(5)));
        for minute in 1..12 {
            estimator.measured(millis(20), now + Duration::from_secs(60 * minute));
        }
        assert_eq!(estimator.shortest(), Some(millis(20)));
    }

    /// Invariant 3.
    #[test]
    fn what_was_fades() {
        let (mut estimator, now) = probed([None; 40]);
        assert!(estimator.quality(now).success < 5_000);
        let later = now + Duration::from_secs(3 * 3_600);
        assert!(estimator.quality(later).success > 60_000, "{:?}", estimator.quality(later));
        // The result of fading does not depend on how often it is read.
        let mut often = estimator.clone();
        for at in 0..3_600 {
            often.unanswered(Time(now.0 + at));
            estimator.unanswered(Time(now.0 + at));
        }
        assert_eq!(often, estimator);
    }

    #[test]
    fn it_is_stored_and_taken_up() {
        let (estimator, now) = probed((0..100).map(|n| (n % 4 > 0).then_some(20)));
        let mut back: Estimator = wire::decode(&wire::encode(&estimator)).expect("our own");
        back.resume(second(3));
        assert_eq!(back.quality(second(3)), estimator.quality(now));
        assert_eq!(back.shortest(), Some(millis(20)));
    }
}
