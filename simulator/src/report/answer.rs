//! Answer: one or two sentences on why a run passed, or why it failed.

use crate::metrics;
use crate::record::{Check, Summary, Verdict};

/// The number of missed expectations, and of violated checks, that are named; further ones are counted.
const NAMED: usize = 2;

/// Returns the reason for the answer.
pub fn why(summary: &Summary) -> String {
    let missed: Vec<&Verdict> = summary.expectations.iter().filter(|verdict| !verdict.held).collect();
    let violated: Vec<&Check> = summary.checks.iter().filter(|check| check.violated > 0).collect();
    let mut sentences = Vec::new();
    if !missed.is_empty() {
        let all = summary.expectations.len();
        let named = missed.iter().map(|verdict| format!("{} {}", verdict.text, found(verdict)));
        sentences.push(format!("{} of {} missed: {}.", missed.len(), expectations(all), list(named)));
    }
    if !violated.is_empty() {
        let named = violated.iter().map(|check| format!("{}, {}", check.name, times(check.violated)));
        sentences.push(format!("{} of {} violated: {}.", violated.len(), checks(summary), list(named)));
    }
    if !sentences.is_empty() {
        return sentences.join(" ");
    }
    if !summary.passed {
        return "The run did not pass, though all expectations held and no check was violated.".to_owned();
    }
    let expected = match summary.expectations.len() {
        0 => "Nothing was expected".to_owned(),
        1 => "The one expectation held".to_owned(),
        count => format!("All {count} expectations held"),
    };
    let checked = if summary.checks.is_empty() { "nothing was checked" } else { "no check was violated" };
    format!("{expected}, and {checked}.{}", closest(&summary.expectations))
}

/// Names the expectation that is closest to being missed, if there are several. Margins to 0 are not relative, and so
/// are not compared.
fn closest(expectations: &[Verdict]) -> String {
    let relative = expectations.iter().filter(|verdict| verdict.wanted != 0.0);
    let measured = relative.filter_map(|verdict| Some((verdict.margin?, verdict)));
    let closest = measured.min_by(|(one, _), (other, _)| one.total_cmp(other));
    match closest {
        Some((_, verdict)) if expectations.len() > 1 => {
            format!(" The closest was {} {}.", verdict.text, found(verdict))
        }
        _ => String::new(),
    }
}

fn expectations(count: usize) -> String {
    if count == 1 { "1 expectation".to_owned() } else { format!("{count} expectations") }
}

fn checks(summary: &Summary) -> String {
    if summary.checks.len() == 1 { "1 check".to_owned() } else { format!("{} checks", summary.checks.len()) }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let mut text = items.take(NAMED).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

fn found(verdict: &Verdict) -> String {
    match verdict.found {
        None => "(nothing to measure)".to_owned(),
        Some(value) => format!("(found {})", metrics::text(metrics::unit_of(verdict.about()), value)),
    }
}
