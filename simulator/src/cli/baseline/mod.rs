//! `compare --baseline`: the shipped scenarios compared with their kept figures ([`kept`]).
//!
//! Each named scenario, or every one, runs in its small form at its own seed, in a process of its own, as many at a
//! time as there are processors. A run is unchanged if it passes, no figure has changed beyond its tolerance, and no
//! expectation is loose ([`limits`]). All of this is the same from run to run, so a difference is due to a change of
//! the program.

mod kept;
mod limits;

use super::failure::Failure;
use super::sweep::children::{self, Finished, Job, Outcome};
use super::tell::{self, say};
use crate::metrics;
use crate::record::{Check, Verdict};
use crate::scenario::{self, Small};
use comfy_table::Cell;
use console::style;
use kept::{Change, Kept, Moved};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The options of the comparison.
#[derive(Debug)]
pub(super) struct Order<'a> {
    /// The names of shipped scenarios; empty for all.
    pub(super) scenarios: Vec<String>,
    /// Whether figures that have changed replace the kept ones.
    pub(super) write: bool,
    /// The file of kept figures; `None` for the program's own.
    pub(super) figures: Option<&'a Path>,
    pub(super) jobs: Option<usize>,
    pub(super) json: bool,
}

/// A scenario compared with its kept figures.
#[derive(Debug, Serialize)]
struct Held {
    scenario: String,
    set: Vec<String>,
    seed: u64,
    /// The hash of all traffic.
    trace: String,
    /// Whether its expectations held and no check was violated.
    passed: bool,
    expectations: Vec<Verdict>,
    checks: Vec<Check>,
    figures: Vec<Change>,
    /// Expectations that are too loose to notice faults.
    loose: Vec<String>,
}

impl Held {
    fn moved(&self) -> usize {
        self.figures.iter().filter(|change| change.verdict.counts()).count()
    }

    fn as_it_was(&self) -> bool {
        self.passed && self.moved() == 0 && self.loose.is_empty()
    }
}

pub(super) fn run(order: &Order<'_>) -> ExitCode {
    match compare(order) {
        Ok((held, written)) => {
            if order.json {
                let as_it_was = held.iter().all(Held::as_it_was);
                say!("{}", serde_json::json!({ "as_it_was": as_it_was, "scenarios": held }));
            } else {
                print(&held, order.scenarios.is_empty());
                written.iter().for_each(|path| say!("written   {}", path.display()));
            }
            let good = |held: &Held| if order.write { held.passed && held.loose.is_empty() } else { held.as_it_was() };
            ExitCode::from(if held.iter().all(good) { 0 } else { 2 })
        }
        Err(failure) => failure.tell(order.json),
    }
}

fn compare(order: &Order<'_>) -> Result<(Vec<Held>, Option<PathBuf>), Failure> {
    let forms = scenario::small(&order.scenarios)?;
    let (mut kept, file) = read(order)?;
    let mut jobs = Vec::with_capacity(forms.len());
    for (number, Small { scenario, set }) in forms.iter().enumerate() {
        let (name, path, set) = (scenario.clone(), PathBuf::from(scenario), set.clone());
        let seed = scenario::load(&path, &set)?.source().seed;
        jobs.push(Job { number, name, scenario: path, set, seed });
    }
    let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
    let mut held = Vec::new();
    children::run(jobs, order.jobs, !order.json, |Outcome { number, name, result }| {
        let Finished { summary, performance } = result.map_err(|error| {
            Failure::new(format!("the run of {name} failed: {error}"), "mend the scenario or its small form")
        })?;
        let found = kept::figures(&summary, &performance);
        let figures = kept.compare(&name, &found, !cfg!(debug_assertions));
        let loose = summary.expectations.iter().filter(|verdict| limits::is_loose(verdict));
        let loose = loose.map(|verdict| verdict.text.clone()).collect();
        held.push((
            number,
            Held {
                set: forms[number].set.clone(),
                seed: seeds[number],
                trace: summary.trace,
                scenario: name,
                passed: summary.passed,
                expectations: summary.expectations,
                checks: summary.checks,
                figures,
                loose,
            },
        ));
        Ok(())
    })?;
    held.sort_by_key(|(number, _)| *number);
    let held: Vec<Held> = held.into_iter().map(|(_, held)| held).collect();
    if !order.write {
        return Ok((held, None));
    }
    let file = file.ok_or_else(|| {
        Failure::new(
            "there is no file of figures to write",
            "name one with --figures; within the sources it is simulator/tests/baselines.toml",
        )
    })?;
    held.iter().for_each(|held| kept.take(&held.scenario, &held.figures));
    let all = scenario::small(&[])?;
    kept.retain(|scenario| all.iter().any(|small| small.scenario == scenario));
    let text = kept.text(all.iter().map(|small| small.scenario.as_str()));
    std::fs::write(&file, text).map_err(|error| Failure::file("write", &file, &error))?;
    Ok((held, Some(file)))
}

/// Reads the kept figures, and returns them with their file: the named one, or otherwise that of the sources from which
/// this program was built, or otherwise the one within the program.
fn read(order: &Order<'_>) -> Result<(Kept, Option<PathBuf>), Failure> {
    let own = Path::new(SOURCES);
    let file = order.figures.map(Path::to_owned).or_else(|| own.is_file().then(|| own.to_owned()));
    let text = match &file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?,
        None => KEPT.to_owned(),
    };
    let name = file.as_deref().unwrap_or(own).display().to_string();
    let kept = Kept::read(&text).map_err(|error| Failure::new(format!("{name}:{error}"), "correct it"))?;
    Ok((kept, file))
}

/// Prints for people a row for each figure that has changed, or for every figure if scenarios were named.
fn print(held: &[Held], only_changed: bool) {
    let mut table = tell::table(&["SCENARIO", "FIGURE", "KEPT", "FOUND", "CHANGE", "WITHIN", ""]);
    let mut rows = 0;
    for held in held {
        for change in &held.figures {
            if !only_changed || change.verdict != Moved::Same {
                table.add_row(row(&held.scenario, change));
                rows += 1;
            }
        }
    }
    if rows > 0 {
        say!("{table}\n");
    }
    for held in held.iter().filter(|held| !held.passed || !held.loose.is_empty()) {
        for verdict in held.expectations.iter().filter(|verdict| !verdict.held) {
            say!("{} {}: {} {}", style("missed").red().bold(), held.scenario, verdict.text, found(verdict));
        }
        for check in held.checks.iter().filter(|check| check.violated > 0) {
            say!("{} {}: {}", style("violated").red().bold(), held.scenario, check.promise);
            check.examples.iter().take(1).for_each(|example| say!("  {example}"));
        }
        let loose = held.expectations.iter().filter(|verdict| held.loose.contains(&verdict.text));
        for verdict in loose {
            say!("{} {}: {} {}", style("loose").yellow().bold(), held.scenario, verdict.text, found(verdict));
        }
    }
    let same = held.iter().filter(|held| held.as_it_was()).count();
    let moved: usize = held.iter().map(Held::moved).sum();
    let words = format!("{same} of {} scenarios as they were, {moved} figures moved", held.len());
    say!("{}", if same == held.len() { style(words).green() } else { style(words).red().bold() });
}

fn row(scenario: &str, change: &Change) -> Vec<Cell> {
    let value = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| kept::shown(change.figure, value));
    let words = match change.verdict {
        Moved::Same => style("as it was").dim(),
        Moved::Within => style("within").green(),
        Moved::Better => style("better").cyan().bold(),
        Moved::Worse => style("worse").red().bold(),
        Moved::Other if change.kept.is_none() => style("new").red().bold(),
        Moved::Other => style("gone").red().bold(),
    };
    let percent = |part: Option<f64>| part.map_or_else(String::new, tell::percent);
    vec![
        Cell::new(scenario),
        Cell::new(change.figure),
        tell::right(value(change.kept)),
        tell::right(value(change.found)),
        tell::right(percent(change.change)),
        tell::right(format!("{:.1} %", change.within * 100.0)),
        Cell::new(words),
    ]
}

fn found(verdict: &Verdict) -> String {
    let unit = metrics::unit_of(&verdict.text);
    verdict
        .found
        .map_or_else(|| "(nothing to measure)".to_owned(), |found| format!("(found {})", metrics::text(unit, found)))
}

/// The place of the figures in the sources from which this program was built.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/baselines.toml");
/// The figures within the program.
const KEPT: &str = include_str!("../../../tests/baselines.toml");
