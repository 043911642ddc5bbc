//! `check`: whether a scenario is valid, what it amounts to, and which parts of it cannot have an effect.

use super::failure::Failure;
use super::tell::{right, table};
use crate::cli::tell::say;
use crate::metrics::{self, Unit};
use crate::plan::{Expectation, Plan};
use crate::scenario::{self, Warning};
use console::style;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Whether a scenario is valid, and what it amounts to
///
/// Nothing is run. An error names the wrong file and line, and what to write there. A warning names parts that cannot
/// have an effect: a flow between devices that never meet, an expectation that no run could miss, a fault that strikes
/// nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim check baseline-50 --set devices.node.count=200")]
pub(super) struct Arguments {
    /// Scenario: a file, or the name of a shipped one
    scenario: PathBuf,
    /// Seed, instead of the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// Changes a setting of the scenario: KEY is a path, as `devices.meter.count`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let checked = scenario::load(&arguments.scenario, &arguments.set).and_then(|loaded| {
        let plan = loaded.plan(arguments.seed)?;
        Ok((loaded.warnings(&plan), plan))
    });
    match checked {
        Ok((warnings, plan)) if arguments.json => say!("{}", to_json(&plan, &warnings)),
        Ok((warnings, plan)) => print(&plan, &warnings),
        Err(problem) => return Failure::from(problem).tell(arguments.json),
    }
    ExitCode::SUCCESS
}

fn to_json(plan: &Plan, warnings: &[Warning]) -> Value {
    let by_group = groups(plan).into_iter().map(|(group, count)| json!({ "group": group, "devices": count }));
    let by_bearer = links(plan).into_iter().map(|(bearer, count)| json!({ "bearer": bearer, "links": count }));
    let flows = plan.flows.iter().map(|flow| {
        json!({
            "flow": flow.name,
            "senders": flow.from.len(),
            "messages": scenario::messages(flow).round(),
            "copies": scenario::copies(flow),
        })
    });
    let faults = plan.faults.iter().map(|fault| {
        json!({
            "fault": fault.label,
            "at_s": fault.at.as_secs_f64(),
            "until_s": fault.until.map(|until| until.as_secs_f64()),
        })
    });
    json!({
        "scenario": plan.name,
        "question": plan.question,
        "seed": plan.seed,
        "virtual_s": length(plan).as_secs_f64(),
        "nodes": plan.devices.len(),
        "groups": by_group.collect::<Vec<_>>(),
        "links": by_bearer.collect::<Vec<_>>(),
        "flows": flows.collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
        "expectations": plan.expectations.iter().map(Expectation::whole).collect::<Vec<_>>(),
        "warnings": warnings,
    })
}

fn print(plan: &Plan, warnings: &[Warning]) {
    say!("{}\n", style(&plan.question).bold());
    let list = |counts: Vec<(&str, usize)>| {
        let each: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        each.join(", ")
    };
    say!("devices   {} ({})", plan.devices.len(), list(groups(plan)));
    let known = plan.edges.iter().filter(|edge| edge.known).count();
    say!("links     {} that can be ({}), {known} known from the start", plan.edges.len(), list(links(plan)));
    say!(
        "time      {}: {} to warm up, {} measured, {} to settle",
        shown(length(plan)),
        shown(plan.warmup),
        shown(plan.duration),
        shown(plan.settle)
    );
    say!("realm     epochs of {}, {} to begin with", shown(Duration::from_secs(plan.epoch.seconds())), plan.epochs);
    say!("seed      {}\n", plan.seed);
    if !plan.flows.is_empty() {
        let mut flows = table(&["FLOW", "SENDERS", "MESSAGES", "TO EACH", "BYTES"]);
        for flow in &plan.flows {
            let messages = format!("{:.0}", scenario::messages(flow));
            let (senders, copies) = (flow.from.len().to_string(), scenario::copies(flow).to_string());
            let size = metrics::text(Some(Unit::Bytes), flow.size as f64);
            flows.add_row([flow.name.clone().into(), right(senders), right(messages), right(copies), right(size)]);
        }
        say!("{flows}\n");
    }
    if !plan.faults.is_empty() {
        let mut faults = table(&["FAULT", "AT", "UNTIL"]);
        for fault in plan.faults.iter().take(SHOWN) {
            let until = fault.until.map_or_else(|| "the end".to_owned(), shown);
            faults.add_row([fault.label.clone().into(), right(shown(fault.at)), right(until)]);
        }
        say!("{faults}");
        match plan.faults.len().saturating_sub(SHOWN) {
            0 => say!(),
            more => say!(" and {more} more\n"),
        }
    }
    for expected in &plan.expectations {
        say!("expects   {}", expected.whole());
    }
    for Warning { warning, hint } in warnings {
        say!("\n{} {warning}\n{} {hint}", style("warning:").yellow().bold(), style("what to do:").bold());
    }
    match warnings.len() {
        0 => say!("the scenario is sound; run it with `m2mesh-sim run`"),
        1 => say!("\nthe scenario is sound, with a warning; run it with `m2mesh-sim run`"),
        count => say!("\nthe scenario is sound, with {count} warnings; run it with `m2mesh-sim run`"),
    }
}

fn length(plan: &Plan) -> Duration {
    plan.warmup + plan.duration + plan.settle
}

fn shown(duration: Duration) -> String {
    // Parts of a millisecond are not shown.
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// Returns the number of devices by group, in the order of the groups.
fn groups(plan: &Plan) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for device in &plan.devices {
        match counts.last_mut() {
            Some((group, count)) if *group == device.group => *count += 1,
            _ => counts.push((&device.group, 1)),
        }
    }
    counts
}

fn links(plan: &Plan) -> Vec<(&str, usize)> {
    let count = |bearer: usize| plan.edges.iter().filter(|edge| edge.bearer == bearer).count();
    plan.bearers.iter().enumerate().map(|(bearer, planned)| (planned.name.as_str(), count(bearer))).collect()
}

/// The number of faults that are listed one by one.
const SHOWN: usize = 20;
