//! A histogram of latencies in bounded memory: its buckets grow with the value, with a relative error of at most 1/32.

/// Counts of values by bucket. Each power of two is split into [`STEPS`] buckets of equal width.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (64 * STEPS) as usize], count: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
    }

    /// The upper end of the bucket that holds the percentile; `None` if there are no values.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(upper_end(found as u64))
    }
}

fn bucket(value: u64) -> usize {
    let exponent = (value | STEPS).ilog2() - STEPS.ilog2();
    let within = (value >> exponent) % STEPS;
    let group = if value < STEPS { 0 } else { u64::from(exponent) + 1 };
    (group * STEPS + within) as usize
}

fn upper_end(bucket: u64) -> u64 {
    let (group, within) = (bucket / STEPS, bucket % STEPS);
    match group {
        0 => within,
        _ => ((STEPS + within + 1) << (group - 1)).wrapping_sub(1),
    }
}

/// Buckets per power of two.
const STEPS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        (1..=10_000).for_each(|value| histogram.add(value));
        for (percent, exact) in [(50, 5_000u64), (99, 9_900), (100, 10_000)] {
            let found = histogram.percentile(percent).expect("there are values");
            assert!(found >= exact && found - exact <= exact / 32 + 1, "{percent} %: {found} for {exact}");
        }
    }

    #[test]
    fn every_value_has_a_bucket_that_ends_at_or_above_it() {
        for value in [0, 1, 31, 32, 33, 63, 64, 1_000, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
            assert!(upper_end(bucket(value) as u64) >= value, "{value}");
        }
    }
}
