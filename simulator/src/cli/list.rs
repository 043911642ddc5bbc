//! `list`: the shipped scenarios, with their questions.

use super::failure::Failure;
use super::tell::{right, table};
use crate::cli::tell::say;
use crate::plan::Plan;
use crate::scenario::{self, Problem, SHIPPED};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The shipped scenarios, with their questions
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim list")]
pub(super) struct Arguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let plans: Result<Vec<Plan>, Problem> =
        SHIPPED.iter().map(|(name, _)| scenario::load(Path::new(name), &[])?.plan(None)).collect();
    let plans = match plans {
        Ok(plans) => plans,
        Err(problem) => return Failure::from(problem).tell(arguments.json),
    };
    if arguments.json {
        let all = plans.iter().map(|plan| {
            json!({
                "scenario": plan.name,
                "question": plan.question,
                "nodes": plan.devices.len(),
                "virtual_s": length(plan).as_secs_f64(),
            })
        });
        say!("{}", json!({ "scenarios": all.collect::<Vec<_>>() }));
        return ExitCode::SUCCESS;
    }
    let mut shown = table(&["SCENARIO", "NODES", "TIME", "QUESTION"]);
    for plan in &plans {
        let (nodes, time) = (plan.devices.len().to_string(), humantime::format_duration(length(plan)).to_string());
        shown.add_row([plan.name.as_str().into(), right(nodes), right(time), plan.question.as_str().into()]);
    }
    say!("{shown}");
    ExitCode::SUCCESS
}

fn length(plan: &Plan) -> Duration {
    plan.warmup + plan.duration + plan.settle
}
