//! Totals: the metrics of a path, which are the sums of those of its links.

use super::graph::Metrics;
use super::policy::{BALANCED, Criterion, Wants};
use crate::wire::data::Policy;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// −ln of the least chance, 1/65,535, in millionths: the failures of a link that never succeeds.
const HOPELESS: u64 = 11_090_339;

/// The sums of the metrics along a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The price in micro-units of money per MB.
    pub price: u64,
    /// The delay in microseconds.
    pub delay: u64,
    /// The sum of the mean deviations of the delay, in microseconds.
    pub deviation: u64,
    /// −ln of the chance of arrival, in millionths.
    pub failures: u64,
    /// The energy in millijoules per MB.
    pub energy: u64,
    /// The bearers used, as a bit map by class.
    pub bearers: u16,
}

/// The reasons for which a path may be ruled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// It takes too long.
    Time,
    /// It costs too much.
    Budget,
    /// It fails too often.
    Success,
    /// It uses a bearer that is to be avoided.
    Bearer,
    /// It has more hops than a frame has room for.
    Hops,
}

impl Limit {
    /// The name of the limit, for people.
    pub fn name(self) -> &'static str {
        ["time", "budget", "success", "bearers", "hops"][self as usize]
    }

    /// The amount by which a path exceeds the limit, for people.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn amount(self, by: u64) -> String {
        match self {
            Self::Time => format!("{:.1} ms", by as f64 / 1e3),
            Self::Budget => format!("{:.6}", by as f64 / 1e6),
            Self::Success => format!("{:.2} %", by as f64 / 655.35),
            Self::Bearer | Self::Hops => format!("{by} of them"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Totals {
    /// The totals of one link.
    pub fn of(metrics: &Metrics) -> Self {
        let mut totals = Self::default();
        totals.add(metrics, 0, None);
        totals
    }

    /// Adds a link of this bearer class. `doubt` is the share in which the hop succeeds, in parts of 65,535.
    pub fn add(&mut self, metrics: &Metrics, bearer: u8, doubt: Option<u16>) {
        self.price = self.price.saturating_add(metrics.price);
        self.delay = self.delay.saturating_add(metrics.delay.into());
        self.deviation = self.deviation.saturating_add(metrics.deviation.into());
        self.failures = self.failures.saturating_add(nats(metrics.success)).saturating_add(doubt.map_or(0, nats));
        self.energy = self.energy.saturating_add(metrics.energy.into());
        self.bearers |= 1_u16.checked_shl(bearer.into()).unwrap_or(0);
    }

    /// The sum of one of the four criteria.
    pub fn get(&self, criterion: Criterion) -> u64 {
        match criterion {
            Criterion::Cost => self.price,
            Criterion::Delay => self.delay,
            Criterion::Failures => self.failures,
            Criterion::Energy => self.energy,
        }
    }

    /// The cost of this many bytes, in micro-units of money, rounded up.
    pub fn cost_of(&self, bytes: u64) -> u64 {
        u64::try_from((u128::from(self.price) * u128::from(bytes)).div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// The number of bytes that cost no more than `budget`, in micro-units of money.
    pub fn bytes_for(&self, budget: u64) -> u64 {
        let bytes = (u128::from(budget) * 1_000_000).checked_div(u128::from(self.price));
        bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// The sum that a policy minimises. If all weights are zero, those of `balanced` are used.
    pub fn weighed(&self, weights: &[u8; 4]) -> u64 {
        let weights = if *weights == [0; 4] { &BALANCED } else { weights };
        let sums = [self.price, self.delay, self.failures, self.energy];
        sums.iter()
            .zip(weights)
            .fold(0, |sum: u64, (of, weight)| sum.saturating_add(of.saturating_mul(u64::from(*weight))))
    }

    /// The first limit that the path breaks, and by how much; `None` if it breaks none.
    pub fn broken(&self, wants: &Wants) -> Option<(Limit, u64)> {
        let Policy { budget, success, avoid, .. } = &wants.policy;
        let beyond = |found: u64, limit: u64| (found > limit).then(|| found - limit);
        let avoided = avoid.map_or(0, |avoid| (avoid & self.bearers).count_ones());
        if avoided > 0 {
            return Some((Limit::Bearer, avoided.into()));
        }
        if let Some(by) = wants.time.and_then(|time| beyond(self.delay, time)) {
            return Some((Limit::Time, by));
        }
        if let Some(by) = budget.and_then(|budget| beyond(self.cost_of(wants.bytes.into()), budget)) {
            return Some((Limit::Budget, by));
        }
        let least = (*success)?;
        if self.failures > nats(least) {
            return Some((Limit::Success, u64::from(least.saturating_sub(self.success())).max(1)));
        }
        None
    }

    /// The chance of arrival in parts of 65,535.
    pub fn success(&self) -> u16 {
        // The least chance whose −ln does not exceed the sum.
        let (mut low, mut high) = (1_u16, u16::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            if nats(middle) <= self.failures { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// The criterion that has grown most by weight since `before`, with its values then and now; `None` if none has
    /// grown.
    pub fn grown_from(&self, before: &Self, weights: &[u8; 4]) -> Option<(Criterion, u64, u64)> {
        let weights = if *weights == [0; 4] { &BALANCED } else { weights };
        let all = [Criterion::Cost, Criterion::Delay, Criterion::Failures, Criterion::Energy];
        let grown = all.into_iter().zip(weights).map(|(criterion, weight)| {
            let (from, to) = (before.get(criterion), self.get(criterion));
            (to.saturating_sub(from).saturating_mul(u64::from(*weight)), criterion, from, to)
        });
        let most = grown.max_by_key(|(by, ..)| *by)?;
        (most.0 > 0).then_some((most.1, most.2, most.3))
    }

    /// The criterion in which this path is better than another by most, by weight, with the other's value and this
    /// one's.
    pub fn gain_over(&self, other: &Self, weights: &[u8; 4]) -> Option<(Criterion, u64, u64)> {
        other.grown_from(self, weights).map(|(criterion, own, others)| (criterion, others, own))
    }
}

/// −ln of a chance that is given in parts of 65,535, in millionths.
pub fn nats(success: u16) -> u64 {
    static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| {
        (0..=u16::MAX).map(|success| u32::try_from(exact_nats(success)).unwrap_or(u32::MAX)).collect()
    });
    TABLE[usize::from(success)].into()
}

/// Computes [`nats`] from the binary logarithm in integers, with the same result on every machine.
fn exact_nats(success: u16) -> u64 {
    if success == 0 {
        return HOPELESS;
    }
    // success = 2^exponent · mantissa, with the mantissa in [1, 2) as a number with 32 fractional bits.
    let exponent = u64::from(15 - success.leading_zeros());
    let mut mantissa = u64::from(success) << (32 - exponent);
    let mut log = exponent << 32;
    for bit in (0..32).rev() {
        mantissa = u64::try_from((u128::from(mantissa) * u128::from(mantissa)) >> 32).unwrap_or(u64::MAX);
        if mantissa >= 2 << 32 {
            mantissa >>= 1;
            log |= 1 << bit;
        }
    }
    // log2(65,535) in the same format; ln 2 below is in millionths.
    const FULL: u64 = 68_719_382_000;
    let below = FULL.saturating_sub(log);
    u64::try_from((u128::from(below) * 693_147) >> 32).unwrap_or(u64::MAX)
}

/// What a policy minimises, for one link.
pub fn weigh(metrics: &Metrics, weights: &[u8; 4]) -> u64 {
    Totals::of(metrics).weighed(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_near_enough() {
        for success in [1, 2, 100, 1_000, 32_768, 60_000, 65_000, 65_534] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let exact = (-(f64::from(success) / 65_535.0).ln() * 1e6).round() as u64;
            assert!(nats(success).abs_diff(exact) <= 20, "{success}: {} {exact}", nats(success));
        }
        assert_eq!(nats(u16::MAX), 0);
        assert!(nats(0) >= nats(1));
    }

    #[test]
    fn a_chance_comes_back_from_its_logarithm() {
        for success in [2_000, 30_000, 65_000, u16::MAX] {
            let totals = Totals { failures: nats(success), ..Totals::default() };
            assert!(totals.success().abs_diff(success) <= 2, "{success} {}", totals.success());
        }
    }
}
