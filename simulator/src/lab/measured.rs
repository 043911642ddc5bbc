//! Measured: the metrics of a lab, and the expectations judged by them.
//!
//! A lab sees what applications see: messages at both ends, the outcomes that their senders' nodes report, links as
//! nodes report them, and the nodes' counters. It does not see the wire, so traffic on links, its cost, and the energy
//! of radios are not measured. Neither is the time that the network took to come up, since it comes up before its lines
//! are shaped.
//!
//! Invariants
//! 1. An expectation of a metric that is not measured is neither held nor missed: it is listed separately.

use crate::metrics::{self, SELECTORS};
use crate::plan::{Expectation, Wanted};
use crate::record::Verdict;
use crate::world::verdicts::judge;
use std::collections::BTreeMap;

/// Returns whether a metric, with its selector or without, is measured in a lab.
pub fn is_measured(key: &str) -> bool {
    let name = key.split('[').next().unwrap_or(key);
    let of_messages = metrics::find(name).is_some_and(|metric| metric.selectors == SELECTORS);
    of_messages || name.starts_with("publications.") || metrics::of_nodes(name).is_some() || OTHERS.contains(&name)
}

/// Returns the verdict on an expectation; `None` if none is possible.
///
/// Of several alternatives, those that are measured are judged. If none of them holds, one that is not measured might.
pub fn verdict(expected: &Expectation, metrics: &BTreeMap<String, f64>) -> Option<Verdict> {
    let sees = |one: &&Expectation| {
        let other = if let Wanted::Metric(other) = &one.wanted { is_measured(other) } else { true };
        is_measured(&one.metric) && other
    };
    let all = || std::iter::once(expected).chain(&expected.or);
    let mut seen: Vec<Expectation> =
        all().filter(sees).map(|one| Expectation { or: Vec::new(), ..one.clone() }).collect();
    let whole = seen.len() == all().count();
    if seen.is_empty() {
        return None;
    }
    let first = seen.remove(0);
    let verdict = judge(&Expectation { or: seen, ..first }, metrics);
    (whole || verdict.held).then(|| {
        let text = expected.whole();
        let decided = verdict.decided.or_else(|| (verdict.text != text).then_some(verdict.text));
        Verdict { text, decided, ..verdict }
    })
}

/// The metrics besides those of messages and publications, counters and gauges.
const OTHERS: [&str; 4] = ["converged", "queue.max", "dropped", "violations"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Comparison;

    fn expected(metric: &str, most: f64) -> Expectation {
        let (text, wanted) = (format!("{metric} <= {most}"), Wanted::Value(most));
        Expectation { text, metric: metric.to_owned(), comparison: Comparison::AtMost, wanted, or: Vec::new() }
    }

    #[test]
    fn a_lab_measures_what_applications_see() {
        for key in [
            "delivered",
            "latency.p99.9[flow=a]",
            "publications.untold",
            "counter.data_looped",
            "gauge.inbox",
            "converged",
        ] {
            assert!(is_measured(key), "{key}");
        }
        for key in ["bytes.total", "cost[bearer=lte]", "reachable.time", "energy.total", "control.rate", "ready", "x"] {
            assert!(!is_measured(key), "{key}");
        }
    }

    /// Invariant 1.
    #[test]
    fn what_is_not_measured_is_neither_held_nor_missed() {
        let metrics = BTreeMap::from([("late".to_owned(), 3.0)]);
        let of = |expected: &Expectation| verdict(expected, &metrics).map(|verdict| verdict.held);
        assert_eq!([of(&expected("late", 3.0)), of(&expected("late", 2.0))], [Some(true), Some(false)]);
        assert_eq!(of(&expected("bytes.total", 1e9)), None);
        let other = Expectation { wanted: Wanted::Metric("bytes.total".to_owned()), ..expected("late", 9.0) };
        assert_eq!(of(&other), None);
        // One of two alternatives is sufficient, and the other might hold.
        let or = |most| Expectation { or: vec![expected("bytes.total", 0.0)], ..expected("late", most) };
        assert_eq!([of(&or(3.0)), of(&or(2.0))], [Some(true), None]);
        let both = Expectation { or: vec![expected("late", 5.0)], ..expected("late", 2.0) };
        assert_eq!(of(&both), Some(true));
    }
}
