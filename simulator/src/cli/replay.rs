//! `replay`: a run repeated from its report or record, for a closer look.
//!
//! A record contains the scenario's text with its settings and seed, so no other file is needed: neither the scenario's
//! file, nor those that it names. The trace hash proves that the run was the same. A run that is ended earlier has
//! another hash, and gives no answer: it serves inspection only.

use super::failure::Failure;
use super::scratch::Scratch;
use super::tell::say;
use super::{progress, tell};
use crate::plan::Plan;
use crate::record::Record;
use crate::world::Options;
use crate::{report, scenario};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The same run again, from its report or record
///
/// The trace hash shows whether it was the same run, byte for byte: exit code 2 if it was not. --node prints the events
/// of one node (with --json as lines of JSON), --until ends the run early to show its state.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim replay heal.html --node node-3 --until 90s")]
pub(super) struct Arguments {
    /// A report (HTML) or a record (JSON) of a run
    file: PathBuf,
    /// Ends the run at this virtual time
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    until: Option<std::time::Duration>,
    /// Prints the events of this node; with --events writes only these
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Writes the events to this file instead, a JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// Prints one JSON object, after a line for each event with --node
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let done = read(&arguments.file).and_then(|before| again(arguments, &before).map(|again| (before, again)));
    let (before, after) = match done {
        Ok(done) => done,
        Err(failure) => return failure.tell(arguments.json),
    };
    let same = arguments.until.is_none().then(|| before.summary.trace == after.summary.trace);
    if arguments.json {
        let mut told = tell::json(&after);
        told["same"] = serde_json::json!(same);
        say!("{told}");
    } else {
        match same {
            Some(_) => tell::people(&after),
            None => tell::so_far(&after),
        }
        let (made, own) = (&before.source.version, env!("CARGO_PKG_VERSION"));
        let by = match made == own {
            true => format!("another build of version {own} made it"),
            false => format!("it was made by version {made}, this is {own}"),
        };
        match same {
            Some(true) => say!("\nthe same run: every byte on every wire"),
            Some(false) => say!("\nanother run: its trace was {}; {by}", before.summary.trace),
            None => say!("\nended before its end, as asked: nothing was expected of it"),
        }
    }
    ExitCode::from(if same == Some(false) { 2 } else { 0 })
}

fn again(arguments: &Arguments, before: &Record) -> Result<Record, Failure> {
    let plan = scenario::from_source(&before.source)?.plan(Some(before.source.seed))?;
    if let Some(node) = &arguments.node {
        is_there(node, &plan)?;
    }
    let Arguments { until, node, events, json, .. } = arguments;
    let scratch = match (node, events) {
        (Some(_), None) => Some(Scratch::new("replay")?),
        _ => None,
    };
    let printed = scratch.as_ref().map(|scratch| scratch.path().join("events.jsonl"));
    let events = printed.clone().or_else(|| events.clone());
    let options =
        Options { events, until: until.map(|until| until.as_secs_f64()), node: node.clone(), ..Options::default() };
    let mut record = progress::simulate(plan, options, !json).map_err(Failure::of_run)?;
    record.summary.set = before.source.set.clone();
    record.source = before.source.clone();
    if let Some(path) = &printed {
        print_events(path, *json).map_err(|error| Failure::file("show", path, &error))?;
    }
    Ok(record)
}

fn is_there(node: &str, plan: &Plan) -> Result<(), Failure> {
    let names: Vec<String> = plan.devices.iter().map(|device| device.name.to_string()).collect();
    if names.iter().any(|name| name == node) {
        return Ok(());
    }
    let nearest = names.iter().min_by_key(|name| strsim::damerau_levenshtein(node, name));
    let hint = nearest.map_or_else(|| "it has none".to_owned(), |nearest| format!("did you mean `{nearest}`?"));
    Err(Failure::new(format!("no node of this run is called {node}"), hint))
}

/// Prints lines of JSON unchanged, or formatted for people.
fn print_events(path: &Path, json: bool) -> std::io::Result<()> {
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        let event = if json { None } else { serde_json::from_str(&line).ok() };
        say!("{}", event.as_ref().map_or(line, for_people));
    }
    if !json {
        say!("");
    }
    Ok(())
}

/// Formats an event: `  12.345678 s  meter-3  received message 7`.
fn for_people(event: &Value) -> String {
    let word = |key: &str| event[key].as_str().filter(|word| !word.is_empty());
    let mut what = word("event").unwrap_or("?").to_owned();
    if let Some(message) = event["message"].as_u64() {
        what.push_str(&format!(" message {message}"));
    }
    for (before, key) in [
        (" of ", "flow"),
        (" to ", "to"),
        (": ", "outcome"),
        (", ", "reason"),
        (": ", "label"),
        (" ", "kind"),
        (": ", "text"),
    ] {
        if let Some(word) = word(key) {
            what.push_str(&format!("{before}{word}"));
        }
    }
    format!("{:>14.6} s  {:<12} {what}", event["at"].as_f64().unwrap_or_default(), word("node").unwrap_or("all"))
}

/// Reads a record, from its own file or from a report.
fn read(path: &Path) -> Result<Record, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let record = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|error| format!("is no record of a run: {error}")),
        false => report::read(&text),
    };
    record.map_err(|error| {
        let hint = "give it what `run --report` or `run --record` has written";
        Failure::new(format!("{} {error}", path.display()), hint)
    })
}
