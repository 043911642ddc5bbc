//! `compare`: settings side by side, or the present figures against kept ones ([`baseline`](super::baseline)).
//!
//! A comparison is a sweep of which no files are kept: every variant runs with the same seeds. For each metric, each
//! variant is compared with the first by the difference of the medians, and by whether their 95 % intervals are
//! disjoint. Disjoint intervals show a difference that is unlikely to be random; overlapping intervals show none, which
//! does not mean that there is none.

mod page;

use super::baseline::{self, Order};
use super::failure::Failure;
use super::scratch::Scratch;
use super::statistics::Estimate;
use super::sweep::points::{Seeds, Vary};
use super::sweep::results::{self, Point, Sweep};
use super::tell::say;
use super::{sweep, tell};
use crate::metrics::{self, Unit};
use comfy_table::Cell;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Settings side by side: what differs, and whether the difference is significant
///
/// Differences are against the first variant, and marked if the 95 % intervals of the medians do not overlap; that
/// takes six seeds or more. With --baseline, shipped scenarios in their small forms are compared with their kept
/// figures: exit code 2 if one has changed beyond its tolerance.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: m2mesh-sim compare narrowband --vary bearers.vhf.rate=10kbit,100kbit --seeds 1..8\n         \
                  m2mesh-sim compare --baseline grid-49 narrowband"
)]
pub(super) struct Arguments {
    /// Scenario: a file, or the name of a shipped one; with --baseline any number of shipped ones, or none for all
    #[arg(value_name = "SCENARIO", required_unless_present = "baseline")]
    scenarios: Vec<PathBuf>,
    /// The setting that varies, with its values; may be repeated, and all values of all of them are combined
    #[arg(long, value_name = "KEY=A,B,…", required_unless_present = "baseline")]
    vary: Vec<Vary>,
    /// Compares shipped scenarios in their small forms with their kept figures
    #[arg(long, conflicts_with_all = ["vary", "seeds", "set", "report"])]
    baseline: bool,
    /// Replaces kept figures by those that have changed beyond their tolerance
    #[arg(long, visible_alias = "bless", requires = "baseline")]
    write: bool,
    /// The file of kept figures, instead of the program's own
    #[arg(long, value_name = "FILE.toml", requires = "baseline")]
    figures: Option<PathBuf>,
    /// Seeds, as 1..20 or 1,5,9
    #[arg(long, value_name = "SEEDS", default_value = "1..6")]
    seeds: Seeds,
    /// Changes a setting in all runs; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of processes at a time; by default the number of processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Writes the comparison to this file, as one HTML page
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// A variant compared with the first, in one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Difference {
    metric: String,
    /// The place of the variant among the points, from 1: the first is the reference.
    point: usize,
    /// The difference of the medians, in the metric's unit.
    difference: f64,
    /// The difference of the medians, relative to the first; `None` if that is 0.
    relative: Option<f64>,
    /// Whether the intervals do not overlap; `None` if there are too few runs for intervals.
    apart: Option<bool>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.baseline {
        return baseline::run(&Order {
            scenarios: arguments.scenarios.iter().map(|name| name.display().to_string()).collect(),
            write: arguments.write,
            figures: arguments.figures.as_deref(),
            jobs: arguments.jobs.map(usize::from),
            json: arguments.json,
        });
    }
    let done = compare(arguments).and_then(|sweep| {
        if let Some(path) = &arguments.report {
            let page = page::page(&sweep, arguments.set.len());
            std::fs::write(path, page).map_err(|error| Failure::file("write", path, &error))?;
        }
        Ok(sweep)
    });
    match done {
        Ok(sweep) => {
            if arguments.json {
                let mut told = serde_json::json!(sweep);
                told["differences"] = serde_json::json!(differences(&sweep));
                say!("{told}");
            } else {
                print(&sweep, arguments.set.len());
                arguments.report.iter().for_each(|path| say!("report    {}", path.display()));
            }
            ExitCode::SUCCESS
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn compare(arguments: &Arguments) -> Result<Sweep, Failure> {
    let [scenario] = &arguments.scenarios[..] else {
        let error = format!("settings of {} scenarios are not compared", arguments.scenarios.len());
        return Err(Failure::new(error, "name one; several can be held against their kept figures with --baseline"));
    };
    let out = Scratch::new("compare")?;
    let sweep = sweep::Arguments {
        scenario: scenario.clone(),
        seeds: arguments.seeds.clone(),
        vary: arguments.vary.clone(),
        set: arguments.set.clone(),
        jobs: arguments.jobs,
        shard: None,
        junit: None,
        out: out.path().to_owned(),
        json: arguments.json,
    };
    let (sweep, failed) = sweep::sweep(&sweep, true)?;
    match failed.first() {
        Some(sweep::Failed { run, error }) => {
            let error = format!("run {run} failed: {error}");
            Err(Failure::new(error, "mend the scenario or its settings"))
        }
        None if sweep.points.len() < 2 => {
            Err(Failure::new("there is one variant only", "give --vary two values or more, as duration=1m,10m"))
        }
        None => Ok(sweep),
    }
}

/// Returns the differences of each variant from the first, in every metric.
fn differences(sweep: &Sweep) -> Vec<Difference> {
    let Some((first, others)) = sweep.points.split_first() else { return Vec::new() };
    let of_metric = |(metric, base): (&String, &Estimate)| -> Vec<Difference> {
        let others = others.iter().enumerate().filter_map(|(number, point)| Some((number, point.metrics.get(metric)?)));
        others.map(|(number, other)| difference(metric, number + 1, base, other)).collect()
    };
    first.metrics.iter().flat_map(of_metric).collect()
}

fn difference(metric: &str, point: usize, base: &Estimate, other: &Estimate) -> Difference {
    let difference = other.median - base.median;
    let intervals = base.interval.zip(other.interval);
    Difference {
        metric: metric.to_owned(),
        point,
        difference,
        relative: (base.median != 0.0).then(|| difference / base.median),
        apart: intervals.map(|((low, high), (other_low, other_high))| high < other_low || other_high < low),
    }
}

/// Prints a row for each metric, with a column for each variant.
fn print(sweep: &Sweep, common: usize) {
    say!("{}\n", console::style(&sweep.question).bold());
    let names: Vec<String> = sweep.points.iter().map(|point| name(point, common)).collect();
    let mut header = vec!["METRIC"];
    for (number, name) in names.iter().enumerate() {
        header.push(name);
        if number > 0 {
            header.push("");
        }
    }
    let mut table = tell::table(&header);
    let mut passed = vec![Cell::new("passed")];
    for (number, point) in sweep.points.iter().enumerate() {
        passed.push(tell::right(format!("{} of {}", point.passed, point.runs)));
        if number > 0 {
            passed.push(Cell::new(""));
        }
    }
    table.add_row(passed);
    for (metric, unit) in results::shown(&sweep.points) {
        let base = sweep.points.first().and_then(|point| point.metrics.get(&metric));
        let mut row = vec![Cell::new(&metric)];
        for (number, point) in sweep.points.iter().enumerate() {
            let estimate = point.metrics.get(&metric);
            row.push(tell::right(estimate.map_or_else(String::new, |estimate| value(unit, estimate))));
            if number > 0 {
                let pair = base.zip(estimate);
                let pair = pair.map(|(base, other)| difference(&metric, number, base, other));
                row.push(tell::right(pair.map_or_else(String::new, |pair| in_words(unit, &pair))));
            }
        }
        table.add_row(row);
    }
    say!("{table}");
    let few = sweep.points.iter().any(|point| point.metrics.values().any(|estimate| estimate.interval.is_none()));
    let note = if few { "; intervals take six runs or more" } else { "" };
    say!("\nmedians with their 95 % intervals, against the first; * where the intervals do not overlap{note}");
}

/// Returns the settings that distinguish a variant; the first `common` settings are the same for all and are left out.
fn name(point: &Point, common: usize) -> String {
    point.set.get(common..).unwrap_or_default().join(" ")
}

fn value(unit: Unit, estimate: &Estimate) -> String {
    let median = metrics::text(Some(unit), estimate.median);
    match estimate.interval {
        Some((low, high)) if low != high => {
            format!("{median} ({} to {})", metrics::text(Some(unit), low), metrics::text(Some(unit), high))
        }
        _ => median,
    }
}

fn in_words(unit: Unit, difference: &Difference) -> String {
    let mark = if difference.apart == Some(true) { " *" } else { "" };
    match difference.relative {
        _ if difference.difference == 0.0 => "=".to_owned(),
        Some(relative) => format!("{}{mark}", tell::percent(relative)),
        None => format!("+{}{mark}", metrics::text(Some(unit), difference.difference)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::statistics::estimate;

    #[test]
    fn intervals_that_touch_are_not_apart() {
        let of = |values: [f64; 6]| estimate(&values).expect("six values have an estimate");
        let base = of([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        let compared = |values| difference("sent", 1, &base, &of(values));
        assert_eq!(compared([3.0, 3.0, 4.0, 4.0, 5.0, 5.0]).apart, Some(false));
        let apart = compared([4.0, 4.0, 5.0, 5.0, 6.0, 6.0]);
        assert_eq!((apart.apart, apart.difference, apart.relative), (Some(true), 3.0, Some(1.5)));
        let few = estimate(&[9.0]).expect("a value has an estimate");
        assert_eq!(difference("sent", 1, &base, &few).apart, None);
    }
}
