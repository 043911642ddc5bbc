//! `sweep`: many runs of a scenario, over seeds and settings.
//!
//! Every run is a process of its own ([`children`]), as many at a time as the machine has processors. The result of a
//! run is a file under `runs/`. The summaries of all runs, `sweep.json` and `sweep.csv`, are made from these files
//! alone ([`results`]), so they do not depend on the order, the number of invocations, or the machines of the runs: a
//! shard takes every n-th run, and `merge` combines shards into the same bytes. `plan.json` identifies the runs that
//! belong together.
//!
//! Invariants
//! 1. The files are a function of the scenario, settings and seeds, and of the program's version.
//! 2. A run is kept when it has ended, completely or not at all. A run that is kept is not made again.

pub(super) mod children;
pub(super) mod points;
pub(super) mod results;

use super::failure::Failure;
use super::outputs;
use super::tell::say;
use crate::record::Summary;
use crate::report::junit::{self, Run};
use crate::scenario;
use children::{Job, Outcome};
use points::{Seeds, Shard, Vary};
use results::Sweep;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// A scenario many times, over seeds and settings, with medians and how sure they are
///
/// Runs as many processes at a time as there are processors. What has been run is kept in --out and not run again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: m2mesh-sim sweep lossy-asymmetric --seeds 1..20 --vary links.0.loss=0,5%,20% --out lossy"
)]
pub(super) struct Arguments {
    /// Scenario: a file, or the name of a shipped one
    pub(super) scenario: PathBuf,
    /// Seeds, as 1..20 or 1,5,9
    #[arg(long, value_name = "SEEDS")]
    pub(super) seeds: Seeds,
    /// Varies a setting: all values of all of them are combined; may be repeated
    #[arg(long, value_name = "KEY=A,B,…")]
    pub(super) vary: Vec<Vary>,
    /// Changes a setting in all runs; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Number of processes at a time; by default the number of processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Makes only this part of the runs, as 1/4; `merge` combines the parts
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
    /// The directory for the results; runs that are there already are kept
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Writes the expectations and checks of all runs to this file as test cases, as JUnit's XML
    #[arg(long, value_name = "FILE.xml")]
    pub(super) junit: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match sweep(arguments, true) {
        Ok((sweep, failed)) => {
            if arguments.json {
                let mut told = serde_json::json!(sweep);
                told["failed"] = serde_json::json!(failed);
                say!("{told}");
            } else {
                results::print(&sweep);
                results::print_again(&sweep, &arguments.scenario);
            }
            for Failed { run, error } in &failed {
                let hint = "mend it and sweep again; what is done is kept";
                Failure::new(format!("run {run} failed: {error}"), hint).tell(arguments.json);
            }
            let passed = sweep.points.iter().all(|point| point.passed == point.runs);
            ExitCode::from(if !failed.is_empty() {
                1
            } else if passed {
                0
            } else {
                2
            })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

/// A run without a result, and the reason.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    pub(super) run: String,
    pub(super) error: String,
}

/// Makes the runs that are missing, and sums up all that are kept. Returns the sweep with the runs that failed, in
/// their order.
pub(super) fn sweep(arguments: &Arguments, shown: bool) -> Result<(Sweep, Vec<Failed>), Failure> {
    let points = points::combine(&arguments.set, &arguments.vary);
    // An error in a point is found before hours of simulation.
    let mut source = None;
    for set in &points {
        let loaded = scenario::load(&arguments.scenario, set)?;
        loaded.plan(arguments.seeds.0.first().copied())?;
        source.get_or_insert_with(|| loaded.source());
    }
    let source = source.unwrap_or_default();
    let plan = results::Plan::new(&source, points, arguments.seeds.0.clone());
    results::begin(&arguments.out, &plan)?;
    arguments.junit.as_deref().map_or(Ok(()), outputs::try_file)?;
    let wanted = plan.runs().enumerate().filter(|(number, _)| arguments.shard.is_none_or(|shard| shard.has(*number)));
    let jobs: Vec<Job> = wanted
        .map(|(number, (point, seed))| Job {
            number,
            name: results::name(point, seed),
            scenario: arguments.scenario.clone(),
            set: plan.points[point].clone(),
            seed,
        })
        .filter(|job| !results::is_done(&arguments.out, job))
        .collect();
    let mut failed = Vec::new();
    let shown = shown && !arguments.json;
    children::run(jobs, arguments.jobs.map(usize::from), shown, |Outcome { number, name, result }| match result {
        Ok(finished) => results::keep(&arguments.out, &name, &finished.summary),
        Err(error) => {
            failed.push((number, Failed { run: name, error }));
            Ok(())
        }
    })?;
    failed.sort_by_key(|(number, _)| *number);
    let failed = failed.into_iter().map(|(_, failed)| failed).collect();
    if let Some(path) = &arguments.junit {
        let runs: Vec<Summary> = plan
            .runs()
            .filter_map(|(point, seed)| results::read(&arguments.out, &results::name(point, seed)))
            .collect();
        let runs = runs.iter().map(|summary| Run { summary, performance: None });
        outputs::write(path, junit::document(runs).as_bytes())?;
    }
    Ok((results::finish(&arguments.out, &plan)?, failed))
}
