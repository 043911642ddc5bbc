//! `merge`: the shards of one sweep combined, with the same bytes as if all runs had been made at once.

use super::failure::Failure;
use super::sweep::results::{self, Sweep};
use super::tell::say;
use std::path::PathBuf;
use std::process::ExitCode;

/// Puts the shards of a sweep together
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim merge shard-1 shard-2 --out all")]
pub(super) struct Arguments {
    /// Directories that `sweep --shard` has written
    #[arg(required = true, value_name = "DIR")]
    shards: Vec<PathBuf>,
    /// The directory for the combined sweep
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match merge(arguments) {
        Ok(sweep) => {
            if arguments.json {
                say!("{}", serde_json::json!(sweep));
            } else {
                results::print(&sweep);
            }
            let passed = sweep.points.iter().all(|point| point.passed == point.runs);
            ExitCode::from(if passed { 0 } else { 2 })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn merge(arguments: &Arguments) -> Result<Sweep, Failure> {
    let mut plan = None;
    for shard in &arguments.shards {
        let found = results::read_plan(shard)?.ok_or_else(|| {
            Failure::new(
                format!("{} holds no sweep", shard.display()),
                "name directories that `sweep --shard` has written",
            )
        })?;
        if plan.get_or_insert_with(|| found.clone()) != &found {
            return Err(Failure::new(
                format!("{} is a shard of another sweep than {}", shard.display(), arguments.shards[0].display()),
                "shards belong together when the text, settings, seeds and version are the same",
            ));
        }
    }
    let Some(plan) = plan else { return Err(Failure::new("there is nothing to merge", "name shards")) };
    results::begin(&arguments.out, &plan)?;
    let mut missing = Vec::new();
    for (point, seed) in plan.runs() {
        let name = results::name(point, seed);
        match arguments.shards.iter().find_map(|shard| results::read(shard, &name)) {
            Some(summary) => results::keep(&arguments.out, &name, &summary)?,
            None => missing.push(name),
        }
    }
    if !missing.is_empty() {
        let few: Vec<&str> = missing.iter().take(SHOWN).map(String::as_str).collect();
        return Err(Failure::new(
            format!("{} runs are in no shard, among them {}", missing.len(), few.join(", ")),
            "name all shards, or sweep again those that failed",
        ));
    }
    results::finish(&arguments.out, &plan)
}

/// The number of missing runs that are named.
const SHOWN: usize = 5;
