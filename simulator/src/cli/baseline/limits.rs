//! Limits: expectations have to be within a factor of two of the measured value.
//!
//! A limit far from the measured value does not notice the faults for which it is there. The factor applies to every
//! expectation with a value of its own, except
//!
//! - shares: near 0 and 1 a factor says nothing;
//! - those that expect zero, or whose metric is zero: counts of violations and of losses;
//! - counts up to [`FEW`], which vary by more than a factor of two at random;
//! - times up to [`SHORT`], which are the intervals in which nodes act, whatever they do;
//! - healing within [`SOON`], since the time at which a node dials again is random;
//! - comparisons with another metric of the same run, and expectations that were missed, which are reported in any
//!   case.

use crate::metrics::{self, Unit};
use crate::record::Verdict;

/// Returns whether a value more than a factor of two from the measured one would still satisfy the expectation.
pub(super) fn is_loose(verdict: &Verdict) -> bool {
    let (Some(found), wanted, true) = (verdict.found, verdict.wanted, verdict.held) else { return false };
    let least = match metrics::unit_of(&verdict.text) {
        None | Some(Unit::Share) => return false,
        Some(Unit::Count) => FEW,
        Some(Unit::Seconds) if verdict.text.trim_start().starts_with("converged") => SOON,
        Some(Unit::Seconds) => SHORT,
        Some(Unit::Bytes | Unit::BytesPerSecond | Unit::Money | Unit::Joules) => 0.0,
    };
    if found == 0.0 || wanted == 0.0 || with_a_metric(&verdict.text) {
        return false;
    }
    let (low, high) = (found.min(wanted).max(least), found.max(wanted).max(least));
    high > low * FACTOR
}

/// Returns whether an expectation compares with another metric: its right side begins with a letter.
fn with_a_metric(text: &str) -> bool {
    let right = text.rsplit_once(['<', '>']).or_else(|| text.rsplit_once("=="));
    let right = right.map_or("", |(_, right)| right.trim_start_matches('=').trim_start());
    right.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The factor within which a limit has to be of the measured value.
const FACTOR: f64 = 2.0;
/// The count up to which a difference may be random.
const FEW: f64 = 10.0;
/// The short times, in seconds.
const SHORT: f64 = 0.02;
const SOON: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, found: f64, wanted: f64) -> bool {
        let verdict =
            Verdict { text: text.to_owned(), held: true, found: Some(found), wanted, decided: None, margin: None };
        is_loose(&verdict)
    }

    #[test]
    fn a_limit_more_than_twice_what_is_found_is_loose_both_ways() {
        assert!(!is("latency.p99 <= 2s", 1.0, 2.0) && is("latency.p99 <= 2s", 0.99, 2.0));
        assert!(!is("bytes.useful >= 1kB", 2000.0, 1000.0) && is("bytes.useful >= 1kB", 2001.0, 1000.0));
        assert!(is("cost.message[flow=a] <= 0.3", 0.1, 0.3) && is("control.rate < 3kB/s", 1000.0, 3000.0));
        assert!(is("sent >= 9", 40.0, 9.0) && !is("hops.mean >= 2", 6.0, 2.0));
        assert!(is("unsettled <= 100", 3.0, 100.0) && !is("unsettled <= 20", 3.0, 20.0));
    }

    #[test]
    fn shares_zeros_short_times_and_other_metrics_are_exempt() {
        assert!(!is("delivered >= 20%", 1.0, 0.2));
        assert!(!is("duplicates == 0", 0.0, 0.0) && !is("converged <= 90s", 0.0, 90.0));
        assert!(!is("cost.payload > 0", 40.0, 0.0));
        assert!(!is("latency.p50 <= 20ms", 0.001, 0.02));
        assert!(!is("converged <= 30s", 0.5, 30.0) && is("converged <= 60s", 0.5, 60.0));
        assert!(!is("cost.message[flow=a] <= cost.message[flow=b]", 0.1, 30.0));
        let missed = Verdict {
            text: "latency.p50 <= 1s".into(),
            held: false,
            found: Some(9.0),
            wanted: 1.0,
            decided: None,
            margin: None,
        };
        assert!(!is_loose(&missed));
    }
}
