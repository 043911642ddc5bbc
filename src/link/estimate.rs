//! What a link is good for, as its probes tell.
//!
//! **Delay.** Half of each round trip, smoothed with its mean deviation as in RFC 6298. **Success.** Each probe that comes
//! back in good time is a success, one that does not, or only after what must have been a retransmission below, a
//! failure: counts that fade with a half-life, as the parameters of a Beta distribution, of which the lower bound of the
//! middle 95 % is told (normal approximation), so that a link about which little is known is not called perfect.
//!
//! All in integers: the same measurements say the same on every machine.
//!
//! Invariants
//! 1. A link without measurements has the prior: 1 ms, and 199 of 200.

use crate::time::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// What is believed of a link before it is measured: microseconds.
const PRIOR_DELAY: u64 = 1_000;
/// Weight of the prior, in thousandths of probes, and how many of them came back.
const PRIOR: (u64, u64) = (200_000, 199_000);
/// Counts fade to a half in this time.
const HALF_LIFE: u64 = 10 * 60 * 1_000_000;
/// Most probes that count at a time, in thousandths: beyond, earlier ones make room.
const MOST: u64 = 100_000;
/// A probe that takes this much longer than twice the shortest was held up by a retransmission.
const SLACK: u64 = 20_000;
/// How long the shortest round trip is believed.
const WINDOW: u64 = 10 * 60 * 1_000_000;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimator {
    /// Smoothed one-way delay and its mean deviation, microseconds.
    delay: Option<(u64, u64)>,
    /// Shortest round trip of late, and since when.
    shortest: Option<(u64, u64)>,
    /// Thousandths of probes, faded: failures and successes.
    failures: u64,
    successes: u64,
    /// When they were last faded.
    faded: u64,
}

/// What a link is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// One-way delay, microseconds.
    pub delay: u32,
    /// Its mean deviation, microseconds.
    pub deviation: u32,
    /// Lower bound of the chance that a probe comes back in good time, in parts of 65,535.
    pub success: u16,
}

impl Estimator {
    /// One that knows nothing.
    pub fn new(now: Time) -> Self {
        Self { delay: None, shortest: None, failures: 0, successes: 0, faded: now.0 }
    }

    /// Takes up what an earlier process measured: its clock began elsewhere.
    pub fn resume(&mut self, now: Time) {
        self.faded = now.0;
        self.shortest = self.shortest.map(|(shortest, _)| (shortest, now.0));
    }

    /// A probe came back.
    pub fn measured(&mut self, round_trip: Duration, now: Time) {
        let took = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        let shortest = match self.shortest {
            Some((shortest, since)) if shortest <= took && now.0.saturating_sub(since) < WINDOW => (shortest, since),
            _ => (took, now.0),
        };
        let late = took > shortest.0 * 2 + SLACK;
        self.shortest = Some(shortest);
        let one_way = took / 2;
        self.delay = Some(match self.delay {
            None => (one_way, one_way / 2),
            Some((mean, deviation)) => ((mean * 7 + one_way) / 8, (deviation * 3 + mean.abs_diff(one_way)) / 4),
        });
        self.probed(!late, now);
    }

    /// A probe did not come back.
    pub fn unanswered(&mut self, now: Time) {
        self.probed(false, now);
    }

    fn probed(&mut self, came: bool, now: Time) {
        (self.failures, self.successes) = self.faded_to(now);
        self.faded = now.0;
        if came {
            self.successes += 1_000;
        } else {
            self.failures += 1_000;
        }
        let all = self.failures + self.successes;
        if all > MOST {
            self.failures = self.failures * MOST / all;
            self.successes = self.successes * MOST / all;
        }
    }

    /// Counts as of now: halved for each half-life, and in between along a straight line.
    fn faded_to(&self, now: Time) -> (u64, u64) {
        let passed = now.0.saturating_sub(self.faded);
        let (halvings, rest) = (passed / HALF_LIFE, passed % HALF_LIFE);
        let fade = |count: u64| {
            let count = count.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
            count - count / 2 * rest / HALF_LIFE
        };
        (fade(self.failures), fade(self.successes))
    }

    /// What the link is good for now.
    pub fn quality(&self, now: Time) -> Quality {
        let (delay, deviation) = self.delay.unwrap_or((PRIOR_DELAY, PRIOR_DELAY / 2));
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Quality { delay: narrow(delay), deviation: narrow(deviation), success: self.success(now) }
    }

    /// Lower bound of the Beta distribution's middle 95 %: mean less 1.96 standard deviations.
    fn success(&self, now: Time) -> u16 {
        const ONE: u64 = 65_535;
        let (failures, successes) = self.faded_to(now);
        // The prior makes room for what has been seen.
        let seen = failures + successes;
        let prior = PRIOR.0 * MOST / (MOST + 100 * seen).max(1);
        let all = prior + seen;
        let good = prior * PRIOR.1 / PRIOR.0 + successes;
        let mean = good * ONE / all.max(1);
        // Variance of the mean, in squares of 1/65,535: p(1 − p) / (n + 1), n in probes.
        let variance = mean * (ONE - mean.min(ONE)) * 1_000 / (all + 1_000);
        let bound = mean.saturating_sub(variance.isqrt() * 49 / 25);
        u16::try_from(bound).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(probes: &[(u64, bool)]) -> Quality {
        let mut estimator = Estimator::new(Time(0));
        let mut now = Time(0);
        for (millis, came) in probes {
            now = now + Duration::from_secs(1);
            match came {
                true => estimator.measured(Duration::from_millis(*millis), now),
                false => estimator.unanswered(now),
            }
        }
        estimator.quality(now)
    }

    #[test]
    fn delay_follows_the_round_trips() {
        assert_eq!(after(&[(100, true)]).delay, 50_000);
        let quality = after(&[(100, true); 50]);
        assert!(quality.delay.abs_diff(50_000) < 10 && quality.deviation < 100, "{quality:?}");
        let jump = after(&[[(20, true); 20], [(200, true); 20]].concat());
        assert!(jump.delay > 90_000, "{jump:?}");
    }

    #[test]
    fn failures_show_and_little_knowledge_is_not_called_perfect() {
        let fresh = after(&[]).success;
        assert!((62_000..65_000).contains(&fresh), "{fresh}");
        let clean = after(&[(20, true); 100]).success;
        assert!(clean > 64_000, "{clean}");
        let lossy: Vec<_> = (0..100).map(|at| (20, at % 5 != 0)).collect();
        let lossy = after(&lossy).success;
        assert!((42_000..54_000).contains(&lossy), "{lossy}");
        // A retransmission below is a failure that came back.
        let held_up: Vec<_> = (0..100).map(|at| (if at % 5 == 0 { 260 } else { 20 }, true)).collect();
        assert!(after(&held_up).success < 56_000);
    }

    #[test]
    fn what_was_fades() {
        let mut estimator = Estimator::new(Time(0));
        for _ in 0..20 {
            estimator.unanswered(Time(1));
        }
        let then = estimator.quality(Time(1)).success;
        let later = estimator.quality(Time(6 * HALF_LIFE)).success;
        assert!(then < 12_000 && later > 50_000, "{then} {later}");
    }
}
