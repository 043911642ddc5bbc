//! `calibrate`: the simulator held against reality.
//!
//! The same small mesh is run twice: as a lab of real processes over loopback with shaped links, and in the simulator. A ring
//! of nodes, each sending to the next at equal distances, with end-to-end confirmation. What is compared is the latency
//! from handing over to confirmation, as the nodes themselves measure it: it has two trips over a line, the receiver's disk,
//! and all the work between in it. The disk's time to flush is measured while the lab sends, since
//! a disk that others use takes longer and one that has rested shorter, and given to the simulated disks.
//!
//! What agreement says: that virtual time, the simulated transport and disk, and a node that costs no time give the latency
//! that sockets, processes and a kernel give. What it does not say: that a line of that shape exists. The lab shapes its
//! connections by the same model of a line ([`m2mesh::net::shape`]) as the simulator, so an error in that is in both.

mod lab;

use super::failure::Failure;
use super::scratch::Scratch;
use super::tell::{self, say};
use crate::plan::{Bearer, Device, Edge, Flow, FlowKind, Pattern, Plan, Waypoint};
use crate::world;
use lab::Lab;
use m2mesh::id::Name;
use m2mesh::net::shape::Shape;
use m2mesh::time::{EpochLength, Unix};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Compares a lab of real processes with its simulation
///
/// Exit code 2 when the medians differ by more than 15 %, or the 99th percentiles by more than 30 %.
/// Needs a machine that is otherwise quiet: what else runs there delays the lab, and not the simulation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim calibrate --nodes 10 --for 30s --loss 1%")]
pub(super) struct Arguments {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(3..=50))]
    nodes: u16,
    /// How long messages are sent
    #[arg(long = "for", value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// From one message of a node to its next
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Delay of each link, each way
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Most by which that varies
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Packets lost, of a hundred
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    loss: f64,
    /// Seed of the simulation
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = super::run::seed)]
    seed: u64,
    /// The node's command, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    m2mesh: Option<PathBuf>,
    /// Writes calibration.json, what is printed with --json, and latencies.csv, all latencies, into that directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Comparison {
    nodes: u16,
    /// Messages that were sent, in the lab and simulated.
    sent: [usize; 2],
    /// Of those, confirmed.
    confirmed: [usize; 2],
    disk_flush_s: f64,
    quantiles: Vec<Quantile>,
    /// Of the simulation relative to the lab.
    p50_error: f64,
    p99_error: f64,
    within: bool,
}

/// Confirmed after, in seconds.
#[derive(Debug, Serialize)]
struct Quantile {
    /// `p50`, `max`.
    name: &'static str,
    lab_s: f64,
    simulated_s: f64,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match compare(arguments) {
        Ok((comparison, lab, simulated)) => {
            if arguments.json {
                say!("{}", serde_json::json!(comparison));
            } else {
                print(&comparison, &lab, &simulated);
            }
            ExitCode::from(if comparison.within { 0 } else { 2 })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn compare(arguments: &Arguments) -> Result<(Comparison, Vec<f64>, Vec<f64>), Failure> {
    if arguments.jitter > arguments.delay || arguments.every.is_zero() {
        return Err(Failure::new(
            "the jitter is more than the delay, or messages have no distance",
            "check the arguments",
        ));
    }
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).map_err(|error| Failure::file("make", out, &error))?;
    }
    let scratch = Scratch::new("calibrate")?;
    let (flush, (lab_sent, mut lab), (simulated_sent, mut simulated)) = both(arguments, scratch.path())?;
    if lab.is_empty() || simulated.is_empty() {
        return Err(Failure::new("no message was confirmed, so there is nothing to compare", "try a longer --for"));
    }
    lab.sort_by(f64::total_cmp);
    simulated.sort_by(f64::total_cmp);
    let named = [("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    let quantiles = named.map(|(name, part)| {
        let (lab_s, simulated_s) = (quantile(&lab, part), quantile(&simulated, part));
        Quantile { name, lab_s, simulated_s }
    });
    let error = |part: f64| quantile(&simulated, part) / quantile(&lab, part) - 1.0;
    let (p50_error, p99_error) = (error(0.5), error(0.99));
    let comparison = Comparison {
        nodes: arguments.nodes,
        sent: [lab_sent, simulated_sent],
        confirmed: [lab.len(), simulated.len()],
        disk_flush_s: flush.as_secs_f64(),
        quantiles: quantiles.into(),
        p50_error,
        p99_error,
        within: p50_error.abs() <= P50_WITHIN && p99_error.abs() <= P99_WITHIN,
    };
    if let Some(out) = &arguments.out {
        keep(out, &comparison, &lab, &simulated)?;
    }
    Ok((comparison, lab, simulated))
}

/// What was found, and all that it was found from.
fn keep(out: &Path, comparison: &Comparison, lab: &[f64], simulated: &[f64]) -> Result<(), Failure> {
    let mut table = "where,confirmed_s\n".to_owned();
    for (place, latencies) in [("lab", lab), ("simulated", simulated)] {
        latencies.iter().for_each(|latency| table.push_str(&format!("{place},{latency:.6}\n")));
    }
    for (name, text) in
        [("calibration.json", format!("{:#}\n", serde_json::json!(comparison))), ("latencies.csv", table)]
    {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(())
}

/// How many messages were sent, and of those confirmed the latency in seconds.
type Latencies = (usize, Vec<f64>);

/// The disk's time to flush, and latencies: of the lab, and simulated.
fn both(arguments: &Arguments, directory: &Path) -> Result<(Duration, Latencies, Latencies), Failure> {
    let shape = Shape {
        delay: arguments.delay,
        jitter: arguments.jitter,
        loss: (arguments.loss * 1e6).round() as u32,
        rate: None,
        price: 0,
    };
    eprintln!("starting {} nodes", arguments.nodes);
    let lab = Lab::start(arguments.m2mesh.as_deref(), directory, arguments.nodes)?;
    lab.shape(&shape)?;
    eprintln!("sending for {}", humantime::format_duration(arguments.length));
    let (real, flush) = std::thread::scope(|scope| {
        let (calm, sending) = sync_channel::<()>(0);
        let flush = scope.spawn(|| disk_flush(directory, sending));
        let real = lab.send(arguments.length, arguments.every, SIZE);
        drop(calm);
        (real, flush.join().unwrap_or_else(|_| Err(std::io::Error::other("the measurement has failed"))))
    });
    let real = real?;
    let flush = flush.map_err(|error| Failure::file("flush", directory, &error))?;
    lab.stop()?;
    eprintln!("a flush of the disk took {:.1} ms; simulating the same", flush.as_secs_f64() * 1e3);
    let simulated = simulate(plan(arguments, shape, flush), directory)?;
    Ok((flush, real, simulated))
}

/// The same mesh as a plan.
fn plan(arguments: &Arguments, shape: Shape, flush: Duration) -> Plan {
    let nodes = usize::from(arguments.nodes);
    let device = |number: usize| Device {
        name: Name::new(format!("node-{}", number + 1)).expect("a word and a number are a name"),
        group: "node".to_owned(),
        track: vec![Waypoint { at: Duration::ZERO, x: 0.0, y: 0.0 }],
        schedules: Vec::new(),
        power: [0.0; 2],
        battery: None,
        flush,
        target_links: 0,
        forwarding: true,
        area: 0,
    };
    let edge = |a: usize| Edge { a, b: (a + 1) % nodes, bearer: 0, shapes: [shape; 2], known: true };
    let flow = Flow {
        name: "ring".to_owned(),
        from: (0..nodes).collect(),
        kind: FlowKind::Send((0..nodes).map(|from| vec![(from + 1) % nodes]).collect()),
        pattern: Pattern::Periodic(arguments.every),
        daily: None,
        size: SIZE,
        ack: Ack::End,
        class: Class::Telemetry,
        policy: None,
        deadline: Duration::from_secs(30),
        begin: Duration::ZERO,
        end: arguments.length,
    };
    Plan {
        name: "calibration".to_owned(),
        question: "Does the simulation agree with real processes?".to_owned(),
        seed: arguments.seed,
        warmup: Duration::from_secs(10),
        duration: arguments.length,
        settle: Duration::from_secs(40),
        epoch: EpochLength::HOUR,
        epochs: 3,
        start: Unix::from_seconds(START),
        bearers: vec![Bearer::wire("lan")],
        devices: (0..nodes).map(device).collect(),
        edges: (0..nodes).map(edge).collect(),
        policies: Vec::new(),
        flows: vec![flow],
        faults: Vec::new(),
        expectations: Vec::new(),
    }
}

fn simulate(plan: Plan, directory: &Path) -> Result<Latencies, Failure> {
    let place = directory.join("events.jsonl");
    let options = world::Options { events: Some(place.clone()), ..world::Options::default() };
    let (progress, _untold) = sync_channel(1);
    let failed =
        |error: String| Failure::new(error, "run it again; if it fails again, that is a defect of the program");
    world::simulate(plan, options, progress).map_err(failed)?;
    let text = std::fs::read_to_string(&place).map_err(|error| failed(error.to_string()))?;
    let (mut sent, mut latencies) = (BTreeMap::new(), Vec::new());
    for event in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let (Some(message), Some(at)) = (event["message"].as_u64(), event["at"].as_f64()) else { continue };
        match event["event"].as_str() {
            Some("sent") => drop(sent.insert(message, at)),
            Some("ended") if event["outcome"] == "delivered" => {
                latencies.extend(sent.get(&message).map(|begun| at - begun));
            }
            _ => {}
        }
    }
    Ok((sent.len(), latencies))
}

/// Median of writes of a page, each with its flush, at equal distances as long as something is sent.
fn disk_flush(directory: &Path, sending: Receiver<()>) -> std::io::Result<Duration> {
    let mut file = std::fs::File::create(directory.join("flush"))?;
    let mut took = Vec::new();
    while took.is_empty() || matches!(sending.recv_timeout(BETWEEN_FLUSHES), Err(RecvTimeoutError::Timeout)) {
        let began = Instant::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took[took.len() / 2])
}

/// The smallest of sorted values that so large a part does not exceed (nearest rank).
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()) - 1).copied().unwrap_or_default()
}

fn print(comparison: &Comparison, lab: &[f64], simulated: &[f64]) {
    let mut table = tell::table(&["CONFIRMED AFTER", "LAB", "SIMULATED", "ERROR"]);
    for Quantile { name, lab_s, simulated_s } in &comparison.quantiles {
        let seconds = |value: f64| tell::right(format!("{:.1} ms", value * 1e3));
        let error = tell::right(tell::percent(simulated_s / lab_s - 1.0));
        table.add_row([comfy_table::Cell::new(name), seconds(*lab_s), seconds(*simulated_s), error]);
    }
    say!("{table}");
    let Comparison { sent, confirmed, .. } = comparison;
    say!("{} of {} messages confirmed in the lab, {} of {} simulated\n", confirmed[0], sent[0], confirmed[1], sent[1]);
    let (from, to) = (lab[0].min(simulated[0]), quantile(lab, 0.995).max(quantile(simulated, 0.995)));
    say!("share confirmed, from {:.0} to {:.0} ms (logarithmic)", from * 1e3, to * 1e3);
    for (name, values) in [("lab      ", lab), ("simulated", simulated)] {
        let curve: String = (0..COLUMNS).map(|column| bar(values, from, to, column)).collect();
        say!("{name} {curve}");
    }
    let style = |text: &str, good: bool| {
        let text = console::style(text.to_owned());
        if good { text.green() } else { text.red() }
    };
    let word = if comparison.within { "agree" } else { "differ" };
    say!(
        "\nthey {}: median off by {:+.1} % (15 % allowed), 99th percentile by {:+.1} % (30 % allowed)",
        style(word, comparison.within).bold(),
        comparison.p50_error * 100.0,
        comparison.p99_error * 100.0
    );
}

/// How much is confirmed at a column of a curve.
fn bar(sorted: &[f64], from: f64, to: f64, column: usize) -> char {
    let at = from * (to / from).max(1.0).powf((column + 1) as f64 / COLUMNS as f64);
    let share = sorted.partition_point(|value| *value <= at) as f64 / sorted.len() as f64;
    BARS[((share * (BARS.len() - 1) as f64).round() as usize).min(BARS.len() - 1)]
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok().map(|percent| percent / 100.0);
    number.filter(|share| (0.0..=0.9).contains(share)).ok_or_else(|| "write it as 1%, at most 90%".to_owned())
}

/// Bytes of a message.
const SIZE: usize = 200;
/// From one measured flush to the next: few beside those of the nodes.
const BETWEEN_FLUSHES: Duration = Duration::from_millis(100);
/// By how much median and 99th percentile may differ.
const P50_WITHIN: f64 = 0.15;
const P99_WITHIN: f64 = 0.30;
/// Width of the curves.
const COLUMNS: usize = 60;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// 2026-01-05, 00:00 UTC.
const START: u64 = 1_767_571_200;
