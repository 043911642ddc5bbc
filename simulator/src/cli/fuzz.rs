//! `fuzz`: scenarios drawn from seeds, and the smallest form found of each that fails.

use super::failure::Failure;
use super::scratch::Scratch;
use super::sweep::children::{self, Job, Outcome};
use super::tell::{right, say, table};
use crate::fuzz::{self, Case};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs scenarios drawn from seeds, and reduces those that fail
///
/// Each seed gives a small network with traffic and faults, in which all checks watch; messages that are sent after
/// everything has healed have to arrive. A case that fails is reduced as long as it fails, and kept as a scenario. Exit
/// code 2 when one fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim fuzz --seed 1 --runs 200 --keep found")]
pub(super) struct Arguments {
    /// The first seed; each run has the next
    #[arg(long, default_value_t = 1, value_name = "SEED", value_parser = super::run::seed)]
    seed: u64,
    /// Number of runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    runs: u64,
    /// Keeps each failing scenario in this directory, one for each seed; the directory is created if it does not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Number of runs at a time; by default the number of processors
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Reduces each failing scenario for at most this many seconds; 0 keeps it as it was drawn
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    shrink: u64,
    /// Runs nothing, and prints the scenario of the first seed
    #[arg(long)]
    print: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// A seed whose case fails.
#[derive(Debug, Serialize)]
struct Found {
    seed: u64,
    /// Checks that were violated and expectations that were missed, or the error.
    failed: Vec<String>,
    /// The text of the reduced scenario.
    scenario: String,
    /// The number of lines that were drawn, and that are left.
    lines: (usize, usize),
    /// The file in which it is kept.
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.print {
        say!("{}", fuzz::case(arguments.seed).text());
        return ExitCode::SUCCESS;
    }
    match search(arguments) {
        Ok(found) => {
            if arguments.json {
                let held = arguments.runs - found.len() as u64;
                say!("{}", serde_json::json!({ "runs": arguments.runs, "held": held, "found": found }));
            } else {
                print(arguments, &found);
            }
            ExitCode::from(if found.is_empty() { 0 } else { 2 })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn print(arguments: &Arguments, found: &[Found]) {
    if !found.is_empty() {
        let mut shown = table(&["SEED", "FAILED", "LINES", "KEPT AS"]);
        for one in found {
            let lines = format!("{} of {}", one.lines.1, one.lines.0);
            let file = one.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
            shown.add_row([right(one.seed.to_string()), one.failed.join(", ").into(), right(lines), file.into()]);
        }
        say!("{shown}\n");
    }
    let last = arguments.seed + arguments.runs - 1;
    match found.len() {
        0 => say!("all {} runs hold, of seeds {} to {last}", arguments.runs, arguments.seed),
        failed => say!("{failed} of {} runs do not hold, of seeds {} to {last}", arguments.runs, arguments.seed),
    }
    if arguments.keep.is_none() && !found.is_empty() {
        say!("--keep DIR keeps their scenarios; `m2mesh-sim fuzz --seed SEED --print` prints one as it was drawn");
    }
}

fn search(arguments: &Arguments) -> Result<Vec<Found>, Failure> {
    let scratch = Scratch::new("fuzz")?;
    if let Some(keep) = &arguments.keep {
        std::fs::create_dir_all(keep).map_err(|error| Failure::file("make", keep, &error))?;
    }
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.runs);
    let cases: Vec<Case> = seeds.map(fuzz::case).collect();
    let jobs = at_a_time(arguments);
    let mut failed = try_all(&cases, scratch.path(), jobs, !arguments.json)?;
    let mut all = Vec::new();
    for (at, case) in cases.into_iter().enumerate() {
        let Some(failures) = failed.remove(&at) else { continue };
        let drawn = case.text().lines().count();
        let case = match arguments.shrink {
            0 => case,
            seconds => shrink(case, &failures, scratch.path(), jobs, Duration::from_secs(seconds))?,
        };
        let scenario = case.text();
        let failures: Vec<String> = failures.into_iter().collect();
        let file = arguments.keep.as_ref().map(|keep| keep.join(format!("seed-{}.toml", case.seed)));
        if let Some(file) = &file {
            let text = format!("# Seed {} of `m2mesh-sim fuzz`: {}\n{scenario}", case.seed, failures.join(", "));
            std::fs::write(file, text).map_err(|error| Failure::file("write", file, &error))?;
        }
        let lines = (drawn, scenario.lines().count());
        all.push(Found { seed: case.seed, failed: failures, scenario, lines, file });
    }
    Ok(all)
}

fn at_a_time(arguments: &Arguments) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.jobs.map_or(processors, usize::from)
}

/// Runs all cases, and returns the failures of those that fail, by their index.
fn try_all(
    cases: &[Case],
    directory: &Path,
    jobs: usize,
    shown: bool,
) -> Result<BTreeMap<usize, BTreeSet<String>>, Failure> {
    let mut waiting = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let scenario = directory.join(format!("{number}.toml"));
        std::fs::write(&scenario, case.text()).map_err(|error| Failure::file("write", &scenario, &error))?;
        waiting.push(Job { number, name: format!("seed {}", case.seed), scenario, set: Vec::new(), seed: case.seed });
    }
    let mut failed = BTreeMap::new();
    children::run(waiting, Some(jobs), shown, |Outcome { number, result, .. }| {
        let failures = match result {
            Ok(finished) => fuzz::failures(&finished.summary),
            Err(error) => BTreeSet::from([error]),
        };
        if !failures.is_empty() {
            failed.insert(number, failures);
        }
        Ok(())
    })?;
    Ok(failed)
}

/// Returns the smallest case found in the given time that fails in one of the same manners.
fn shrink(
    mut case: Case,
    failures: &BTreeSet<String>,
    directory: &Path,
    jobs: usize,
    time: Duration,
) -> Result<Case, Failure> {
    let began = Instant::now();
    'smaller: loop {
        for batch in case.smaller().chunks(jobs) {
            if began.elapsed() >= time {
                break 'smaller;
            }
            let failed = try_all(batch, directory, jobs, false)?;
            let same = failed.into_iter().find(|(_, how)| how.iter().any(|how| failures.contains(how)));
            if let Some((at, _)) = same {
                case = batch[at].clone();
                continue 'smaller;
            }
        }
        break;
    }
    Ok(case)
}
