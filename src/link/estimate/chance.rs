//! Chance: the chance that a probe comes back in good time.
//!
//! **Mechanism.** Successes and failures are counted, and the counts fade: with each probe, by a half in
//! [`HALF_LIFE_PROBES`], and with time, by a half in [`HALF_LIFE`]. They are the parameters of a Beta distribution, to
//! which *trust* adds successes that were not observed: [`TRUST`] for a new link, halved by each failure, and
//! recovering with a half-life of [`TRUST_HALF_LIFE`]. So a link without failures counts as good however few its probes
//! are, and a link with many failures is judged by its probes alone. The reported value is the lower end of Wilson's
//! score interval, one-sided, at 95 %.

use crate::link::fade::{STEPS, faded, steps};
use crate::time::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The count of one probe.
const ONE: u64 = 1 << 20;
/// The successes that a link without failures is credited with: they make the lower bound 0.99.
const TRUST: u64 = 268 * ONE;
/// The time without a failure after which half of the lost trust is back.
const TRUST_HALF_LIFE: Duration = Duration::from_secs(3_600);
/// The number of probes after which counts are halved,
const HALF_LIFE_PROBES: u64 = 32;
/// and the time after which they are halved, as a divisor of the trust's half-life: ten minutes.
const HALF_LIFE: u64 = 6;
/// The z of a one-sided interval of 95 %, in thousandths, and its square in parts of [`ONE`].
const Z: u64 = 1_645;
const Z_SQUARED: u64 = Z * Z * ONE / 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chance {
    successes: u64,
    failures: u64,
    trust: u64,
    /// The time up to which the counts have been faded.
    faded: u64,
}

impl Chance {
    pub(super) fn new(now: Time) -> Self {
        Self { successes: 0, failures: 0, trust: TRUST, faded: now.0 }
    }

    pub(super) fn resume(&mut self, now: Time) {
        self.faded = now.0;
    }

    pub(super) fn seen(&mut self, success: bool, now: Time) {
        self.fade(now);
        self.successes = faded(self.successes, STEPS / HALF_LIFE_PROBES);
        self.failures = faded(self.failures, STEPS / HALF_LIFE_PROBES);
        if success {
            self.successes += ONE;
        } else {
            self.failures += ONE;
            self.trust /= 2;
        }
    }

    /// The lower bound of the chance, in parts of 65,535.
    pub(super) fn lower_bound(&self, now: Time) -> u16 {
        let mut this = self.clone();
        this.fade(now);
        let (good, bad) = (u128::from(this.trust.saturating_add(this.successes)), u128::from(this.failures));
        let (all, one, square) = (good + bad, u128::from(ONE), u128::from(Z_SQUARED));
        let spread = ((good * bad / all.max(1) + square / 4) * one).isqrt() * u128::from(Z) / 1_000;
        let bound = (good + square / 2).saturating_sub(spread) * u128::from(u16::MAX) / (all + square);
        u16::try_from(bound).unwrap_or(u16::MAX)
    }

    fn fade(&mut self, now: Time) {
        let mut since = Time(self.faded);
        let steps = steps(&mut since, now, TRUST_HALF_LIFE);
        self.faded = since.0;
        self.successes = faded(self.successes, steps.saturating_mul(HALF_LIFE));
        self.failures = faded(self.failures, steps.saturating_mul(HALF_LIFE));
        self.trust = TRUST - faded(TRUST - self.trust.min(TRUST), steps);
    }
}
