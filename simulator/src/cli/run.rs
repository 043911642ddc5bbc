//! `run`: one simulation.

use super::failure::Failure;
use super::outputs::{self, Outputs};
use super::tell::say;
use super::{progress, tell};
use crate::record::Record;
use crate::scenario;
use crate::world::Options;
use std::path::PathBuf;
use std::process::ExitCode;

/// One simulation of a scenario
///
/// Prints the metrics, the expectations, the checks, and the trace hash, which is the same for two equal runs. Exit
/// code 2 when an expectation was missed or a check violated.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: m2mesh-sim run partition-heal --seed 7 --set devices.node.count=20 --report heal.html"
)]
pub(super) struct Arguments {
    /// Scenario: a file, or the name of a shipped one
    scenario: PathBuf,
    /// Seed, instead of the scenario's
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Option<u64>,
    /// Changes a setting of the scenario: KEY is a path, as `devices.meter.count`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Writes the report to this file, as one HTML page
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Writes the whole record to this file, as JSON
    #[arg(long, value_name = "FILE.json")]
    record: Option<PathBuf>,
    /// Writes the events of the run to this file, a JSON object a line, including the records of the nodes' event logs
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    /// Writes the bytes of one link to this file as packets, in the pcapng format of Wireshark and tcpdump
    #[arg(long, value_name = "FILE.pcapng", requires = "pcap_link")]
    pcap: Option<PathBuf>,
    /// The link to capture, by its two devices
    #[arg(long, value_name = "A,B", requires = "pcap", value_parser = link)]
    pcap_link: Option<[String; 2]>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match simulate(arguments) {
        Ok(record) => {
            if arguments.json {
                say!("{}", tell::json(&record));
            } else {
                tell::people(&record);
                let Arguments { report, record, events, pcap, .. } = arguments;
                let files = [("report", report), ("record", record), ("events", events), ("packets", pcap)];
                let files = files.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?)));
                files.chain(arguments.outputs.told()).for_each(|(name, path)| say!("{name:<9} {}", path.display()));
            }
            tell::code(&record.summary)
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn simulate(arguments: &Arguments) -> Result<Record, Failure> {
    let loaded = scenario::load(&arguments.scenario, &arguments.set)?;
    let plan = loaded.plan(arguments.seed)?;
    // Checked first, so that an error is found before an hour of simulation.
    for path in [&arguments.report, &arguments.record].into_iter().flatten() {
        outputs::try_file(path)?;
    }
    arguments.outputs.try_out()?;
    let capture = arguments.pcap.clone().zip(arguments.pcap_link.clone());
    let options = Options { events: arguments.events.clone(), capture, ..Options::default() };
    let mut record = progress::simulate(plan, options, !arguments.json).map_err(Failure::of_run)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    record.source = crate::record::Source { seed: record.summary.seed, version, ..loaded.source() };
    record.summary.set = record.source.set.clone();
    if let Some(path) = &arguments.report {
        outputs::write(path, crate::report::page(&record).as_bytes())?;
    }
    if let Some(path) = &arguments.record {
        let text = serde_json::to_string(&record).expect("all keys of a record are text");
        outputs::write(path, text.as_bytes())?;
    }
    arguments.outputs.write(&record)?;
    Ok(record)
}

/// Parses two names of devices.
fn link(text: &str) -> Result<[String; 2], String> {
    match text.split_once(',').map(|(a, b)| [a.trim().to_owned(), b.trim().to_owned()]) {
        Some(ends) if ends.iter().all(|end| !end.is_empty()) && ends[0] != ends[1] => Ok(ends),
        _ => Err("a link is named by its two devices, as node-1,node-2".to_owned()),
    }
}

/// Parses a seed, which is a whole number.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a seed is a whole number from 0 on, as 7; the same seed gives the same run".to_owned())
}
