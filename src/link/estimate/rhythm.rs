//! The rhythm of answers, and how suspicious a silence is: φ-accrual (N. Hayashibara and others, "The φ accrual failure
//! detector", SRDS 2004).
//!
//! Times between answers are taken as normally distributed, with the mean and variance of late; φ is −log₁₀ of the chance that
//! the next answer comes as late as now, or later. They are counted in gaps, the planned time between probes, so that the
//! rhythm is kept when probes are sent more or less often. The deviation is at least a quarter of a gap: φ passes 8 after 2.3
//! gaps at the earliest, when two answers are missing.
//!
//! The upper tail of the normal distribution is 1 / (1 + eˣ) with x = y (1.5976 + 0.070566 y²), y being in deviations: off
//! by less than 0.0002 (E. Page, Applied Statistics 26, 1977).

use crate::link::fade::{STEPS, faded};
use crate::time::Time;
use core::time::Duration;

/// One gap; also one deviation, and one of φ's exponents.
const ONE: i64 = 1_024;
/// Least deviation.
const LEAST: i64 = ONE / 4;
/// Longest time between answers that counts, so that an outage does not make patient for long.
const LONGEST: i64 = 8 * ONE;
/// A new time between answers counts so much, one part in this.
const WEIGHT: i64 = 16;
/// Deviations at which φ is 8.
const SILENT_AT: i64 = 5_352;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Planned time between probes, microseconds.
    gap: u64,
    /// When the last answer came.
    beat: Option<Time>,
    /// When anything came.
    heard: Option<Time>,
    /// Mean and variance, times [`WEIGHT`], in gaps and squares of gaps.
    mean: i64,
    variance: i64,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { gap: 1_000_000, beat: None, heard: None, mean: ONE * WEIGHT, variance: ONE * ONE / 4 * WEIGHT }
    }
}

impl Rhythm {
    pub(super) fn pace(&mut self, every: Duration) {
        let gap = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
        if self.gap != gap {
            self.gap = gap;
            // The time between the last answer and the next is of neither pace.
            self.beat = None;
        }
    }

    pub(super) fn beat(&mut self, now: Time) {
        if let Some(before) = self.beat.replace(now) {
            let took = self.gaps(before, now).min(LONGEST);
            let off = took - self.mean / WEIGHT;
            self.mean += off;
            self.variance += off * off - self.variance / WEIGHT;
        }
        self.heard = Some(now);
    }

    pub(super) fn heard(&mut self, now: Time) {
        if self.heard.is_some() {
            self.heard = Some(now);
        }
    }

    /// φ in thousandths.
    pub(super) fn suspicion(&self, now: Time) -> u32 {
        let Some(heard) = self.heard else { return 0 };
        let late = (self.gaps(heard, now) - self.mean / WEIGHT) * ONE / self.deviation();
        // Beyond, φ is in the thousands.
        let y = i128::from(late.clamp(-32 * ONE, 32 * ONE));
        let one = i128::from(ONE);
        let x = y * 15_976 / 10_000 + y * y * y / (one * one) * 70_566 / 1_000_000;
        let size = u64::try_from(x.unsigned_abs()).unwrap_or(u64::MAX);
        // e^−|x| as a power of a half, in parts of 65,536; then ln(1 + e^−|x|) by the series of the area tangent.
        let power = i128::from(faded(65_536, size * STEPS * 10_000 / 6_931 / ONE.unsigned_abs()));
        let w = power * 65_536 / (131_072 + power);
        let square = w * w / 65_536;
        let log = 2 * (w + w * square / 65_536 / 3 + w * square / 65_536 * square / 65_536 / 5);
        let phi = (x.max(0) * 64 + log) * 1_000 * 10_000 / (65_536 * 23_026);
        u32::try_from(phi).unwrap_or(u32::MAX)
    }

    pub(super) fn silent_at(&self) -> Option<Time> {
        let gaps = self.mean / WEIGHT + SILENT_AT * self.deviation() / ONE;
        let micros = u128::from(self.gap) * u128::from(gaps.unsigned_abs()) / u128::from(ONE.unsigned_abs());
        self.heard.map(|heard| heard + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    fn gaps(&self, from: Time, to: Time) -> i64 {
        let gaps = to.since(from).as_micros() * 1_024 / u128::from(self.gap);
        i64::try_from(gaps).unwrap_or(i64::MAX).min(1 << 32)
    }

    fn deviation(&self) -> i64 {
        (self.variance / WEIGHT).isqrt().max(LEAST)
    }
}
