//! Statistics: medians over runs, and their confidence intervals.
//!
//! The interval of a median is made of order statistics, and so assumes nothing of the distribution of the values: the
//! number of n values that are below the true median has the binomial distribution with probability one half. The
//! narrowest symmetric pair of ranks l, n + 1 − l with a coverage of at least 95 % is therefore an interval (Conover,
//! Practical Nonparametric Statistics, section 3.2). Fewer than six values cover less, even from the least to the
//! largest; then there is no interval.

use serde::{Deserialize, Serialize};

/// The statistics of some values of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Estimate {
    /// The number of values.
    pub(super) runs: usize,
    /// The median of the values.
    pub(super) median: f64,
    /// The least value.
    pub(super) least: f64,
    /// The largest value.
    pub(super) most: f64,
    /// The 95 % interval of the median, if there are enough values for one.
    pub(super) interval: Option<(f64, f64)>,
}

/// Returns the statistics of values in any order; `None` if there are none.
pub(super) fn estimate(values: &[f64]) -> Option<Estimate> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let runs = sorted.len();
    let median = (sorted[(runs - 1) / 2] + sorted[runs / 2]) / 2.0;
    let interval = rank(runs).map(|rank| (sorted[rank - 1], sorted[runs - rank]));
    Some(Estimate { runs, median, least, most, interval })
}

/// Returns the largest rank l, from 1, such that ranks l and n + 1 − l cover the median with 95 %.
fn rank(count: usize) -> Option<usize> {
    // P(fewer than l of n values are below the median), computed term by term.
    let (mut term, mut below, mut found) = (0.5f64.powi(i32::try_from(count).ok()?), 0.0, None);
    for rank in 1..=count / 2 {
        below += term;
        if 1.0 - 2.0 * below < COVERAGE {
            break;
        }
        found = Some(rank);
        term *= (count + 1 - rank) as f64 / rank as f64;
    }
    found
}

/// The probability with which an interval contains the true median.
const COVERAGE: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Coverage of ranks (1, 6) of 6 is 96.9 %, of (2, 9) of 10 97.9 %, of (6, 15) of 20 95.9 %.
        assert_eq!([rank(5), rank(6), rank(10), rank(20), rank(30)], [None, Some(1), Some(2), Some(6), Some(10)]);
    }

    #[test]
    fn an_estimate_has_the_median_between_its_ends() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let expected = Estimate { runs: 20, median: 10.5, least: 1.0, most: 20.0, interval: Some((6.0, 15.0)) };
        assert_eq!(estimate(&values), Some(expected));
        assert_eq!(estimate(&[3.0, 1.0, 2.0]).map(|few| (few.median, few.interval)), Some((2.0, None)));
        assert_eq!(estimate(&[f64::NAN]), None);
    }
}
