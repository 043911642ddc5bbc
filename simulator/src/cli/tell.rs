//! Tell: the result of a run on standard output, for people or as one JSON object.

use crate::metrics::{self, METRICS};
use crate::record::{Performance, Record, Summary, Verdict};
use crate::report;
use comfy_table::{Cell, CellAlignment, Table, presets};
use console::style;
use serde_json::{Value, json};
use std::fmt;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Prints as `println!` does, but allows the reader to close the pipe.
macro_rules! say {
    () => { $crate::cli::tell::line(format_args!("")) };
    ($($arguments:tt)+) => { $crate::cli::tell::line(format_args!($($arguments)+)) };
}
pub(super) use say;

/// See [`say`].
pub(super) fn line(text: fmt::Arguments<'_>) {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: standard output cannot be written: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Returns 0 if the run passed, and 2 if an expectation was missed or a check violated.
pub(super) fn code(summary: &Summary) -> ExitCode {
    ExitCode::from(if summary.passed { 0 } else { 2 })
}

/// Returns one JSON object: the summary, and the resources of the run under `performance`.
pub(super) fn json(record: &Record) -> Value {
    let mut told = serde_json::to_value(&record.summary).unwrap_or_default();
    told["performance"] = json!(record.performance);
    told["answer"] = json!(if record.summary.passed { "holds" } else { "does not hold" });
    told["why"] = json!(report::why(&record.summary));
    told
}

/// Prints question and answer, expectations, checks, figures, and how to repeat the run.
pub(super) fn people(record: &Record) {
    let summary = &record.summary;
    question(summary);
    so_far(record);
    answer(summary, if summary.passed { "holds" } else { "does not hold" });
}

/// Prints the question and the expectations.
pub(super) fn question(summary: &Summary) {
    say!("{}\n", style(&summary.question).bold());
    if !summary.expectations.is_empty() {
        say!("{}\n", expectations(&summary.expectations));
    }
}

/// Prints the answer in words. The question may be asked positively or negatively: the expectations hold, or they do
/// not.
pub(super) fn answer(summary: &Summary, words: &str) {
    let answer = if summary.passed { style(words).green() } else { style(words).red() };
    say!("answer    {}", answer.bold());
    say!("why       {}", report::why(summary));
}

/// Prints the same without the answer, since a run that was ended early has no expectations.
pub(super) fn so_far(record: &Record) {
    let summary = &record.summary;
    measured(summary);
    let Performance { wall_s, cpu_s, peak_rss, events, .. } = record.performance;
    say!(
        "run       {} nodes, {} of virtual time in {cpu_s:.1} s of processor ({:.0}x), {wall_s:.1} s on the wall, {} of memory, {events} events",
        summary.nodes,
        metrics::text(Some(metrics::Unit::Seconds), summary.virtual_s),
        summary.virtual_s / cpu_s.max(1e-6),
        metrics::text(Some(metrics::Unit::Bytes), peak_rss as f64),
    );
    say!("seed      {}", summary.seed);
    say!("trace     {}", summary.trace);
}

/// Prints figures and checks.
pub(super) fn measured(summary: &Summary) {
    say!("{}", figures(summary));
    say!("{} metrics in all, also by class, group and flow: --json\n", summary.metrics.len());
    for check in &summary.checks {
        if check.violated > 0 {
            say!("{} {}: {} times of {}", style("violated").red().bold(), check.promise, check.violated, check.looked);
            check.examples.iter().for_each(|example| say!("  {example}"));
        }
    }
    let looked: u64 = summary.checks.iter().map(|check| check.looked).sum();
    let untried: Vec<&str> =
        summary.checks.iter().filter(|check| check.looked == 0).map(|check| check.name.as_str()).collect();
    let violated: u64 = summary.checks.iter().map(|check| check.violated).sum();
    let untried =
        if untried.is_empty() { String::new() } else { format!("; nothing to look at for {}", untried.join(", ")) };
    say!("checks    {violated} violated, looked at {looked} times{untried}");
}

fn expectations(verdicts: &[Verdict]) -> Table {
    let mut table = table(&["EXPECTED", "FOUND", "BY", ""]);
    for verdict in verdicts {
        let unit = metrics::unit_of(verdict.about());
        let found = verdict.found.map_or_else(|| "nothing to measure".to_owned(), |found| metrics::text(unit, found));
        let by = verdict.margin.map_or_else(String::new, |margin| match verdict.wanted == 0.0 {
            // A difference of zero has no sign.
            true => metrics::text(unit, margin + 0.0),
            false => percent(margin),
        });
        let held = if verdict.held { style("holds").green() } else { style("does not hold").red().bold() };
        table.add_row([Cell::new(&verdict.text), right(found), right(by), Cell::new(held)]);
    }
    table
}

/// Returns the figures that are important in every network, and those that went wrong; the others are in the JSON and
/// the report.
fn figures(summary: &Summary) -> Table {
    let mut table = table(&["METRIC", "VALUE", ""]);
    for metric in METRICS {
        let Some(value) = summary.metrics.get(metric.name) else { continue };
        if is_important(metric.name, *value) {
            let about = Cell::new(style(metric.about).dim());
            table.add_row([Cell::new(metric.name), right(metrics::text(Some(metric.unit), *value)), about]);
        }
    }
    table
}

/// Returns whether people are shown a metric with that value without asking for it.
pub(super) fn is_important(name: &str, value: f64) -> bool {
    ALWAYS.contains(&name) || value != 0.0 && UNLESS_ZERO.contains(&name)
}

/// Returns the metric of an expectation, with its selector: `latency.p99[class=alarm]`.
pub(super) fn metric_of(expectation: &str) -> &str {
    let bare = expectation.find(|c: char| c.is_whitespace() || "<>=".contains(c)).unwrap_or(expectation.len());
    match expectation.find('[').filter(|open| *open < bare).and_then(|open| expectation[open..].find(']')) {
        // Within a selector `=` is not a comparison.
        Some(length) => &expectation[..expectation.find('[').unwrap_or_default() + length + 1],
        None => &expectation[..bare],
    }
}

/// Formats a share as a percentage with its sign.
pub(super) fn percent(part: f64) -> String {
    format!("{:+.1} %", (part * 1e3).round() / 10.0 + 0.0)
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| Cell::new(style(*name).bold())));
    table
}

pub(super) fn right(text: impl Into<String>) -> Cell {
    Cell::new(text.into()).set_alignment(CellAlignment::Right)
}

/// The metrics that are important in every network. Those whose description refers to the previous one follow it.
const ALWAYS: [&str; 16] = [
    "sent",
    "delivered",
    "confirmed",
    "latency.mean",
    "latency.p50",
    "latency.p99",
    "latency.max",
    "confirmation.p50",
    "confirmation.p99",
    "hops.mean",
    "bytes.total",
    "control.rate",
    "reachable.mean",
    "reachable.min",
    "reachable.time",
    "ready",
];
/// The metrics of failures and costs, which are important if they are not zero.
const UNLESS_ZERO: [&str; 30] = [
    "expired",
    "refused",
    "unreachable",
    "unsettled",
    "duplicates",
    "late",
    "cost.total",
    "cost.message",
    "cost.month",
    "cost.month.payload",
    "cost.month.control",
    "radio.collided",
    "radio.faded",
    "energy.total",
    "battery.life",
    "converged",
    "links.lost",
    "turn.links",
    "turn.apart.max",
    "turn.pushed",
    "turn.returned",
    "revocation.p50",
    "revocation.p99",
    "revocation.parted.max",
    "revocation.links.max",
    "revocation.leaked",
    "revocation.document",
    "queue.max",
    "dropped",
    "violations",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_names_its_metric_with_its_selector() {
        let texts = ["delivered >= 0.9", "latency.p99[class=alarm] <= 2s", "sent[flow=a]==3", "cost.total<40"];
        let metrics = ["delivered", "latency.p99[class=alarm]", "sent[flow=a]", "cost.total"];
        assert_eq!(texts.map(metric_of), metrics);
    }

    #[test]
    fn nothing_has_no_sign_of_less_than_nothing() {
        assert_eq!([-0.0, -0.0001, 0.1234, -0.5].map(percent), ["+0.0 %", "+0.0 %", "+12.3 %", "-50.0 %"]);
    }

    #[test]
    fn what_is_shown_is_measured() {
        for name in ALWAYS.iter().chain(&UNLESS_ZERO) {
            assert!(metrics::find(name).is_some(), "{name}");
        }
    }
}
