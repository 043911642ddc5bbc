//! Results: the files of a sweep, and the summary of its runs.
//!
//! ```text
//! DIR/plan.json            what was to be run: scenario, a digest of its text, settings, seeds, the program's version
//! DIR/runs/p0-s7.json      the summary of point 0 with seed 7
//! DIR/sweep.json           for each point how many runs passed and held each expectation, and for each metric the median,
//!                          its interval, least and most
//! DIR/sweep.csv            metrics as a table: point, metric, runs, median, low, high, least, most
//! ```
//!
//! A file is written under another name and then renamed, so that an existing file is complete.

use super::super::failure::Failure;
use super::super::statistics::{Estimate, estimate};
use super::super::tell::{self, say};
use super::children::Job;
use crate::metrics::{self, Unit};
use crate::record::{Source, Summary, Verdict};
use comfy_table::Cell;
use console::style;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The plan of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Plan {
    scenario: String,
    /// The SHA-256 of the scenario's text and the files that it names.
    digest: String,
    /// The settings of each point.
    pub(in crate::cli) points: Vec<Vec<String>>,
    seeds: Vec<u64>,
    /// The program's version, since other versions give other bytes.
    version: String,
}

/// The results of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Sweep {
    pub(in crate::cli) scenario: String,
    pub(in crate::cli) question: String,
    pub(in crate::cli) points: Vec<Point>,
}

/// The runs with the same settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Point {
    pub(in crate::cli) set: Vec<String>,
    pub(in crate::cli) runs: usize,
    pub(in crate::cli) passed: usize,
    /// The seeds of runs that missed an expectation or violated a check.
    pub(in crate::cli) failed_seeds: Vec<u64>,
    /// The expectations in their order in the scenario.
    pub(in crate::cli) expectations: Vec<Expected>,
    pub(in crate::cli) metrics: BTreeMap<String, Estimate>,
}

/// An expectation over several runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Expected {
    pub(in crate::cli) text: String,
    /// The number of runs in which it held.
    pub(in crate::cli) held: usize,
}

impl Plan {
    pub(in crate::cli) fn new(source: &Source, points: Vec<Vec<String>>, seeds: Vec<u64>) -> Self {
        let mut digest = Sha256::new().chain_update(&source.text);
        for (name, text) in &source.files {
            digest.update(name);
            digest.update(text);
        }
        let name = Path::new(&source.file).file_stem().map(|name| name.to_string_lossy().into_owned());
        let scenario = name.unwrap_or_else(|| source.file.clone());
        let (digest, version) = (HEXLOWER.encode(&digest.finalize()), env!("CARGO_PKG_VERSION").to_owned());
        Self { scenario, digest, points, seeds, version }
    }

    /// Returns all runs, by point and seed.
    pub(in crate::cli) fn runs(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.points.len()).flat_map(|point| self.seeds.iter().map(move |seed| (point, *seed)))
    }
}

/// Returns the name of a run.
pub(in crate::cli) fn name(point: usize, seed: u64) -> String {
    format!("p{point}-s{seed}")
}

fn place(directory: &Path, name: &str) -> PathBuf {
    directory.join("runs").join(format!("{name}.json"))
}

/// Prepares a directory for a plan: it has to be empty, or to have the same plan.
pub(in crate::cli) fn begin(directory: &Path, plan: &Plan) -> Result<(), Failure> {
    let runs = directory.join("runs");
    std::fs::create_dir_all(&runs).map_err(|error| Failure::file("make", &runs, &error))?;
    match read_plan(directory)? {
        Some(before) if before != *plan => Err(Failure::new(
            format!(
                "{} holds another sweep, of {}: not the same text, settings, seeds or version",
                directory.display(),
                before.scenario
            ),
            "choose another --out, or remove it",
        )),
        Some(_) => Ok(()),
        None => write(&directory.join(PLAN), &text(plan)),
    }
}

/// Reads the plan of a directory, if there is one.
pub(in crate::cli) fn read_plan(directory: &Path) -> Result<Option<Plan>, Failure> {
    let path = directory.join(PLAN);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), "remove the directory and sweep again"))
}

/// Returns whether a run is kept.
pub(in crate::cli) fn is_done(directory: &Path, job: &Job) -> bool {
    read(directory, &job.name).is_some_and(|summary| summary.seed == job.seed && summary.set == job.set)
}

/// Reads the summary of a run, if it is kept.
pub(in crate::cli) fn read(directory: &Path, name: &str) -> Option<Summary> {
    serde_json::from_str(&std::fs::read_to_string(place(directory, name)).ok()?).ok()
}

/// Keeps the summary of a run.
pub(in crate::cli) fn keep(directory: &Path, name: &str, summary: &Summary) -> Result<(), Failure> {
    write(&place(directory, name), &text(summary))
}

/// Sums up all runs that are kept, and writes the result.
pub(in crate::cli) fn finish(directory: &Path, plan: &Plan) -> Result<Sweep, Failure> {
    let mut question = String::new();
    let mut points = Vec::new();
    for (point, set) in plan.points.iter().enumerate() {
        let (mut runs, mut failed_seeds, mut expectations) = (0, Vec::new(), Vec::<Expected>::new());
        let mut values = BTreeMap::<String, Vec<f64>>::new();
        for seed in &plan.seeds {
            let Some(summary) = read(directory, &name(point, *seed)) else { continue };
            runs += 1;
            if !summary.passed {
                failed_seeds.push(*seed);
            }
            question = summary.question;
            for Verdict { text, held, .. } in summary.expectations {
                match expectations.iter_mut().find(|expected| expected.text == text) {
                    Some(expected) => expected.held += usize::from(held),
                    None => expectations.push(Expected { text, held: usize::from(held) }),
                }
            }
            summary.metrics.into_iter().for_each(|(metric, value)| values.entry(metric).or_default().push(value));
        }
        let metrics = values.into_iter().filter_map(|(metric, values)| Some((metric, estimate(&values)?))).collect();
        let passed = runs - failed_seeds.len();
        points.push(Point { set: set.clone(), runs, passed, failed_seeds, expectations, metrics });
    }
    let sweep = Sweep { scenario: plan.scenario.clone(), question, points };
    write(&directory.join("sweep.json"), &text(&sweep))?;
    write(&directory.join("sweep.csv"), &table(&sweep))?;
    Ok(sweep)
}

fn table(sweep: &Sweep) -> String {
    let mut lines = vec!["point,metric,runs,median,low,high,least,most".to_owned()];
    for point in &sweep.points {
        for (metric, estimate) in &point.metrics {
            let Estimate { runs, median, least, most, interval } = estimate;
            let (low, high) =
                interval.map_or((String::new(), String::new()), |(low, high)| (low.to_string(), high.to_string()));
            let (point, metric) = (quoted(&point.set.join(" ")), quoted(metric));
            lines.push(format!("{point},{metric},{runs},{median},{low},{high},{least},{most}"));
        }
    }
    lines.join("\n") + "\n"
}

/// Returns a field of a table (RFC 4180).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("all keys of plans, summaries and sweeps are text") + "\n"
}

/// Writes a file, completely or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let unfinished = path.with_extension("unfinished");
    let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, path));
    written.map_err(|error| {
        // The unfinished file is of no use.
        let _ = std::fs::remove_file(&unfinished);
        Failure::file("write", path, &error)
    })
}

/// Prints the most important results of each point for people.
pub(in crate::cli) fn print(sweep: &Sweep) {
    say!("{}\n", style(&sweep.question).bold());
    for point in &sweep.points {
        let set = if point.set.is_empty() { "as it is".to_owned() } else { point.set.join(" ") };
        let passed = format!("{} of {} passed", point.passed, point.runs);
        let all = point.passed == point.runs;
        say!("{}  {}", style(set).bold(), if all { style(passed).green() } else { style(passed).red() });
        for Expected { text, held } in point.expectations.iter().filter(|expected| expected.held < point.runs) {
            say!("  {} {text}: in {} of {} runs", style("missed").red().bold(), point.runs - held, point.runs);
        }
        let mut table = tell::table(&["METRIC", "MEDIAN", "95 % INTERVAL", "LEAST", "MOST"]);
        for (name, unit) in shown(&sweep.points) {
            let Some(estimate) = point.metrics.get(&name) else { continue };
            let text = |value: f64| tell::right(metrics::text(Some(unit), value));
            table.add_row([
                Cell::new(name),
                text(estimate.median),
                tell::right(interval(unit, estimate)),
                text(estimate.least),
                text(estimate.most),
            ]);
        }
        say!("{table}\n");
    }
}

/// Prints how to repeat a run that did not pass.
pub(in crate::cli) fn print_again(sweep: &Sweep, scenario: &Path) {
    for point in &sweep.points {
        let Some(first) = point.failed_seeds.first() else { continue };
        let seeds: Vec<String> = point.failed_seeds.iter().map(u64::to_string).collect();
        let set: String = point.set.iter().map(|set| format!(" --set '{set}'")).collect();
        say!("not passed with seeds {}; to look at one:", seeds.join(", "));
        say!("  m2mesh-sim run {} --seed {first}{set} --report seed-{first}.html", scenario.display());
    }
}

/// Returns the metrics that people are shown, with their units: those of expectations, and those that are important by
/// themselves at some point.
pub(in crate::cli) fn shown(points: &[Point]) -> Vec<(String, Unit)> {
    let asked: BTreeSet<&str> =
        points.iter().flat_map(|point| &point.expectations).map(|expected| tell::metric_of(&expected.text)).collect();
    let mut shown = Vec::new();
    for metric in metrics::METRICS {
        let matters = |point: &Point| {
            let estimate = point.metrics.get(metric.name);
            estimate.is_some_and(|e| [e.least, e.most].into_iter().any(|value| tell::is_important(metric.name, value)))
        };
        if asked.contains(metric.name) || points.iter().any(matters) {
            shown.push((metric.name.to_owned(), metric.unit));
        }
        let selected = |name: &&&str| name.split_once('[').is_some_and(|(whole, _)| whole == metric.name);
        shown.extend(asked.iter().filter(selected).map(|name| ((*name).to_owned(), metric.unit)));
    }
    shown
}

/// Formats an interval for people.
pub(in crate::cli) fn interval(unit: Unit, estimate: &Estimate) -> String {
    let text = |value: f64| metrics::text(Some(unit), value);
    estimate
        .interval
        .map_or_else(|| "too few runs".to_owned(), |(low, high)| format!("{} to {}", text(low), text(high)))
}

const PLAN: &str = "plan.json";
