//! Children: runs as processes of their own, each of which is this program again.
//!
//! Each of the workers, of which there is one for each process at a time, takes the next run from a queue, starts it,
//! and passes its result to the calling thread. That thread keeps each result before it takes the next, so that
//! finished runs are kept whatever happens later.

use super::super::failure::Failure;
use crate::record::{Performance, Summary};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

/// A run to be made.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Job {
    /// Its index among all runs of the sweep.
    pub(in crate::cli) number: usize,
    pub(in crate::cli) name: String,
    pub(in crate::cli) scenario: PathBuf,
    pub(in crate::cli) set: Vec<String>,
    pub(in crate::cli) seed: u64,
}

/// The result of a run, or the reason for which there is none.
#[derive(Debug)]
pub(in crate::cli) struct Outcome {
    pub(in crate::cli) number: usize,
    pub(in crate::cli) name: String,
    pub(in crate::cli) result: Result<Finished, String>,
}

/// A run that came to its end.
#[derive(Debug)]
pub(in crate::cli) struct Finished {
    pub(in crate::cli) summary: Summary,
    pub(in crate::cli) performance: Performance,
}

/// Makes all runs, `at_a_time` of them or as many as there are processors, and passes on each result as soon as the
/// run has ended. If `keep` fails, no more are started.
pub(in crate::cli) fn run(
    jobs: Vec<Job>,
    at_a_time: Option<usize>,
    shown: bool,
    mut keep: impl FnMut(Outcome) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(format!("this program does not find itself: {error}"), "start it by its whole path")
    })?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = at_a_time.unwrap_or(processors).min(jobs.len().max(1));
    let bar = if shown { ProgressBar::new(jobs.len() as u64) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} runs, {elapsed} gone, {eta} to go  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let waiting = Mutex::new(VecDeque::from(jobs));
    let (told, outcomes) = sync_channel::<Outcome>(workers);
    let mut kept = Ok(());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (told, waiting, program) = (told.clone(), &waiting, &program);
            scope.spawn(move || {
                while let Some(job) = { waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
                    let result = one(program, &job);
                    if told.send(Outcome { number: job.number, name: job.name, result }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        while let Ok(outcome) = outcomes.recv() {
            bar.inc(1);
            bar.set_message(outcome.name.clone());
            kept = keep(outcome);
            if kept.is_err() {
                waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                break;
            }
        }
        // A worker that still has a result to pass on ends when the channel is closed.
        drop(outcomes);
    });
    bar.finish_and_clear();
    kept
}

fn one(program: &PathBuf, job: &Job) -> Result<Finished, String> {
    let mut command = Command::new(program);
    command.arg("run").arg(&job.scenario).arg("--json").arg("--seed").arg(job.seed.to_string());
    for set in &job.set {
        command.arg("--set").arg(set);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    match output.status.code() {
        // The summary says whether it passed.
        Some(0 | 2) => {
            let no_summary = |error: serde_json::Error| format!("its answer is no summary: {error}");
            let mut told: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(no_summary)?;
            let performance = serde_json::from_value(told["performance"].take()).map_err(no_summary)?;
            Ok(Finished { summary: serde_json::from_value(told).map_err(no_summary)?, performance })
        }
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let told = serde_json::from_str::<serde_json::Value>(said.trim()).ok();
            let error = told.as_ref().and_then(|told| told["error"].as_str()).map(str::to_owned);
            Err(error.unwrap_or_else(|| format!("{} {}", output.status, said.trim())))
        }
    }
}
