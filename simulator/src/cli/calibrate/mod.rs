//! `calibrate`: the simulator compared with reality.
//!
//! The same small mesh is run twice: as real processes on this machine, and in the simulator. The compared value is the
//! latency from submission to end-to-end confirmation, as the nodes themselves measure it: it includes two trips over
//! each line, the receiver's disk, and all the work in between. The disk's time to flush is measured at the same time
//! and given to the simulated disks, since a disk that others use takes longer, and one that has been idle takes less.
//!
//! Over `tcp` and `quic` the links are real: lines of nodes in network namespaces, with packets that a relay in user
//! space delays and the kernel drops, and the kernel's TCP or the node's QUIC to repair the loss. This tests the model
//! of a line ([`m2mesh::net::emulation`]). Over `lab` it is a ring over loopback, whose links are shaped by that same
//! model. This tests whether virtual time, the simulated transport and disk, and a node that takes no time give the
//! latency of sockets, processes and a kernel, but not whether the model of a line is right.
//!
//! No verdict is given if the machine was busy: see `machine`.
//!
//! Files: `lab` and `lines` the real parts · `senders` their input · `simulated` the simulated part · `comparison` the
//! comparison of both · `machine` whether the machine was idle.

mod comparison;
mod lab;
mod lines;
mod machine;
mod senders;
mod simulated;

use super::failure::Failure;
use super::scratch::Scratch;
use super::tell::say;
use comparison::{Comparison, Place, Side};
use lab::Lab;
use lines::{Lines, Setting};
use m2mesh::net::emulation::{Recovery, Shape};
use machine::Watch;
use senders::Load;
use simulated::Mesh;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Compares real processes with their simulation
///
/// Exit code 2 when the medians differ by more than 15 %, or the 99th percentiles by more than 30 %. Needs a machine
/// that is otherwise idle: other load delays real nodes, and not the simulation. On a busy machine there is no verdict,
/// and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim calibrate --over quic --hops 3 --loss 5%")]
pub(super) struct Arguments {
    /// What joins the real nodes: a lab's shaped connections in a ring, or lines of network namespaces (as root, on Linux)
    #[arg(long, value_enum, default_value = "lab")]
    over: Over,
    /// Number of nodes: those of a lab, or, over tcp and quic, approximately the total of all lines
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=50))]
    nodes: u16,
    /// Over tcp and quic, number of hops from the first node of a line to its last
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=7))]
    hops: u16,
    /// Time for which messages are sent
    #[arg(long = "for", value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Time from one message of a node to its next
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Delay of each link, in each direction
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Greatest deviation from the delay
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Packets lost, in per cent
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    loss: f64,
    /// Rate of each link in each direction, in bits a second; unlimited by default
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,
    /// Time that a simulated node takes for each incoming frame
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    processing: Duration,
    /// Over tcp and quic, cuts all links silently for this long in the middle, and compares when messages get through
    /// again
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    cut: Option<Duration>,
    /// Seed of the simulation, and of jitter over tcp and quic
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = super::run::seed)]
    seed: u64,
    /// The node's command, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    m2mesh: Option<PathBuf>,
    /// Writes calibration.json, the output of --json, and latencies.csv, all latencies, into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// What joins the real nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Over {
    /// Connections over loopback that the nodes shape themselves
    Lab,
    /// TCP over paths between network namespaces
    Tcp,
    /// QUIC over the same
    Quic,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match compare(arguments) {
        Ok((comparison, sides)) => {
            if arguments.json {
                say!("{}", serde_json::json!(comparison));
            } else {
                comparison.print(&sides);
            }
            ExitCode::from(if comparison.within { 0 } else { 2 })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

impl Arguments {
    fn problem(&self) -> Option<&'static str> {
        if self.jitter > self.delay || self.every.is_zero() {
            return Some("the jitter is more than the delay, or messages have no distance");
        }
        if self.over == Over::Lab && (self.cut.is_some() || self.hops != 1 || self.nodes < 3) {
            return Some("a lab's ring has three nodes or more, a hop and no cut: --over tcp or quic has others");
        }
        match self.cut {
            Some(cut) if cut * 3 > self.length => Some("the cut takes more than a third of the time"),
            _ => None,
        }
    }

    fn shape(&self) -> Shape {
        let Self { delay, jitter, rate, .. } = *self;
        Shape { delay, jitter, loss: (self.loss * 1e6).round() as u32, rate, price: 0 }
    }

    /// Returns when links are cut, and for how long.
    fn cut(&self) -> Option<(Duration, Duration)> {
        self.cut.map(|cut| (self.length / 3, cut))
    }
}

fn compare(arguments: &Arguments) -> Result<(Comparison, [Side; 2]), Failure> {
    if let Some(problem) = arguments.problem() {
        return Err(Failure::new(problem, "check the arguments"));
    }
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).map_err(|error| Failure::file("make", out, &error))?;
    }
    let scratch = Scratch::new("calibrate")?;
    let (place, real, mesh) = real(arguments, scratch.path())?;
    let Place { disk_flush_s, machine, .. } = place;
    eprintln!("a flush of the disk took {:.1} ms; simulating the same", disk_flush_s * 1e3);
    let (sent, confirmed, cut) = simulated::run(&mesh, load(arguments), scratch.path())?;
    let sides = [real, Side { sent, confirmed, cut }];
    let comparison = comparison::compare(&place, &sides)?;
    if let Some(out) = &arguments.out {
        comparison.keep(out, &sides)?;
    }
    match machine.objection() {
        None => Ok((comparison, sides)),
        Some(objection) => Err(Failure::new(
            format!("no verdict, since the machine was busy: {objection}"),
            "end what else runs on this machine, or lessen --nodes, and calibrate again",
        )),
    }
}

fn load(arguments: &Arguments) -> Load {
    Load { length: arguments.length, every: arguments.every, size: SIZE }
}

/// Runs the real nodes. Returns the directory and properties of the machine, the results, and the mesh to be simulated.
fn real(arguments: &Arguments, directory: &Path) -> Result<(Place, Side, Mesh), Failure> {
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("m2mesh"));
    let program = arguments.m2mesh.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("m2mesh"));
    let (load, shape) = (load(arguments), arguments.shape());
    let measured = |sending: &dyn Fn() -> Result<Side, Failure>| {
        eprintln!("sending for {}", humantime::format_duration(arguments.length));
        measure(directory, sending)
    };
    let ((side, machine, flush), over, nodes, edges, pairs) = if arguments.over == Over::Lab {
        eprintln!("starting {} nodes", arguments.nodes);
        let lab = Lab::start(&program, directory, arguments.nodes)?;
        lab.shape(&shape)?;
        let found = measured(&|| lab.send(load).map(|(sent, confirmed)| Side { sent, confirmed, cut: None }))?;
        lab.stop()?;
        let nodes = usize::from(arguments.nodes);
        let ring: Vec<_> = (0..nodes).map(|node| (node, (node + 1) % nodes)).collect();
        (found, "lab", nodes, ring.clone(), ring)
    } else {
        let hops = usize::from(arguments.hops);
        let count = (usize::from(arguments.nodes) / (hops + 1)).max(1);
        let quic = arguments.over == Over::Quic;
        eprintln!("starting {count} lines of {} nodes", hops + 1);
        let lines =
            Lines::start(&program, directory, Setting { quic, lines: count, hops, shape, seed: arguments.seed })?;
        let found = measured(&|| {
            lines.send(load, arguments.cut()).map(|(sent, confirmed, cut)| Side { sent, confirmed, cut })
        })?;
        let (edges, pairs) = (lines.edges(), lines.pairs().collect());
        lines.stop()?;
        (found, if quic { "quic" } else { "tcp" }, count * (hops + 1), edges, pairs)
    };
    let place = Place { over, nodes, disk_flush_s: flush.as_secs_f64(), machine };
    let transport = if arguments.over == Over::Quic { Recovery::Quic } else { Recovery::Tcp };
    let (processing, cut, seed) = (arguments.processing, arguments.cut(), arguments.seed);
    let mesh = Mesh { nodes, edges, pairs, shape, flush, processing, transport, cut, seed };
    Ok((place, side, mesh))
}

/// Sends messages, and measures disk and machine at the same time.
fn measure(
    directory: &Path,
    sending: &dyn Fn() -> Result<Side, Failure>,
) -> Result<(Side, machine::Readings, Duration), Failure> {
    let watch = Watch::begin();
    let (side, flush) = std::thread::scope(|scope| {
        let (calm, sends) = sync_channel::<()>(0);
        let flush = scope.spawn(|| disk_flush(directory, sends));
        let side = sending();
        drop(calm);
        (side, flush.join().unwrap_or_else(|_| Err(std::io::Error::other("the measurement has failed"))))
    });
    let readings = watch.end();
    let flush = flush.map_err(|error| Failure::file("flush", directory, &error))?;
    Ok((side?, readings, flush))
}

/// Returns the median time of writing a page with its flush, at equal intervals for as long as messages are sent.
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

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok().map(|percent| percent / 100.0);
    number.filter(|share| (0.0..=0.9).contains(share)).ok_or_else(|| "write it as 1%, at most 90%".to_owned())
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = m2mesh::config::quantity::bits(text).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "write it as 250kbit or 10Mbit".to_owned())
}

/// The size of a message in bytes.
const SIZE: usize = 200;
/// The time from one measured flush to the next: few flushes compared with those of the nodes.
const BETWEEN_FLUSHES: Duration = Duration::from_millis(100);
