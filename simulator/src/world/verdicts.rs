//! Verdicts: expectations judged by the metrics of a run.

use crate::plan::{Comparison, Expectation, Wanted};
use crate::record::Verdict;
use std::collections::BTreeMap;

/// Judges an expectation. Of several alternatives, the verdict is on the one that holds by most, or comes closest.
pub fn judge(expected: &Expectation, metrics: &BTreeMap<String, f64>) -> Verdict {
    let first = verdict(expected, metrics);
    if expected.or.is_empty() {
        return first;
    }
    let text = expected.whole();
    let rank = |verdict: &Verdict| (verdict.held, verdict.margin.unwrap_or(f64::NEG_INFINITY));
    let better = |one: Verdict, other: Verdict| {
        let ((held, by), (other_held, other_by)) = (rank(&one), rank(&other));
        // Of two that are equally good, the first in the text.
        if other_held.cmp(&held).then(other_by.total_cmp(&by)).is_gt() { other } else { one }
    };
    let best = expected.or.iter().map(|other| verdict(other, metrics)).fold(first, better);
    Verdict { decided: Some(best.text), text, ..best }
}

fn verdict(expected: &Expectation, metrics: &BTreeMap<String, f64>) -> Verdict {
    let found = metrics.get(&expected.metric).copied();
    let wanted = match &expected.wanted {
        Wanted::Value(value) => Some(*value),
        Wanted::Metric(other) => metrics.get(other).copied(),
    };
    let (found, wanted) = (found.filter(|_| wanted.is_some()), wanted.unwrap_or_default());
    let compare = |found: f64| match expected.comparison {
        Comparison::AtMost => (found <= wanted, wanted - found),
        Comparison::AtLeast => (found >= wanted, found - wanted),
        Comparison::Less => (found < wanted, wanted - found),
        Comparison::More => (found > wanted, found - wanted),
        Comparison::Equal => (found == wanted, 0.0 - (found - wanted).abs()),
    };
    let compared = found.map(compare);
    let margin = compared.map(|(_, by)| if wanted == 0.0 { by } else { by / wanted.abs() });
    let held = compared.is_some_and(|(held, _)| held);
    Verdict { text: expected.text.clone(), held, found, wanted, decided: None, margin }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(metric: &str, comparison: Comparison, value: f64) -> Expectation {
        let (text, wanted) = (format!("{metric} ? {value}"), Wanted::Value(value));
        Expectation { text, metric: metric.to_owned(), comparison, wanted, or: Vec::new() }
    }

    #[test]
    fn of_several_expectations_one_is_enough_and_the_best_is_told() {
        let metrics = BTreeMap::from([("cost".to_owned(), 2.0), ("delivered".to_owned(), 0.9)]);
        let cheap = |most| expected("cost", Comparison::AtMost, most);
        let all = |least| expected("delivered", Comparison::AtLeast, least);
        let nothing = expected("nothing", Comparison::AtLeast, 0.0);
        for (first, or, held, decided) in [
            (cheap(1.0), vec![all(0.9)], true, "delivered ? 0.9"),
            (cheap(4.0), vec![all(0.9), nothing.clone()], true, "cost ? 4"),
            (cheap(1.0), vec![all(1.0)], false, "delivered ? 1"),
            (nothing.clone(), vec![all(1.0)], false, "delivered ? 1"),
        ] {
            let verdict = judge(&Expectation { or, ..first }, &metrics);
            assert_eq!((verdict.held, verdict.about()), (held, decided));
            assert!(verdict.text.contains(" or "), "{}", verdict.text);
        }
        let alone = judge(&cheap(1.0), &metrics);
        assert_eq!((alone.held, alone.decided.is_none(), alone.margin), (false, true, Some(-1.0)));
    }
}
