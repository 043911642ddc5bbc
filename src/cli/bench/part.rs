//! One of the two processes of `bench --local`: the receiver or the sender of one contender.
//!
//! Its task is in its argument `--part`, as JSON. A receiver prints the address where it can be reached on standard
//! output. Each process then prints its result as one JSON object.

use super::{bare, mesh, raw};
use crate::cli::Verdict;
use crate::cli::failure::Failure;
use crate::cli::histogram::Histogram;
use crate::cli::shell::Shell;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Contender {
    /// Raw TCP.
    Raw,
    /// A bare libp2p stream.
    Bare,
    /// Two nodes of m2mesh.
    Mesh,
}

/// How the messages are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Exercise {
    /// One way, without confirmation.
    OneWay,
    /// Round trips, one at a time.
    RoundTrip,
    /// One way, each message confirmed and durable at both ends.
    Confirmed,
}

/// The task of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) contender: Contender,
    pub(super) exercise: Exercise,
    /// Address of the receiver; `None` for the receiver itself.
    pub(super) to: Option<String>,
    pub(super) size: usize,
    pub(super) millis: u64,
}

/// The task of a sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) size: usize,
    pub(super) period: Duration,
}

/// Messages counted, and the time from the first to the last.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) messages: u64,
    pub(super) seconds: f64,
    /// Messages known to be dropped.
    pub(super) lost: u64,
    #[serde(skip)]
    began: Option<Instant>,
}

/// Round-trip times, in tenths of a microsecond.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RoundTrips {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    #[serde(skip)]
    times: Histogram,
}

/// The report of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) counted: Option<Counted>,
    pub(super) trips: Option<RoundTrips>,
    /// Processor time of the process, in seconds.
    pub(super) cpu: f64,
}

impl Counted {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, messages: u64) {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.messages += messages;
        self.seconds = began.elapsed().as_secs_f64();
    }
}

impl RoundTrips {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a round-trip time. It is recorded in tenths of a microsecond, since some are short.
    pub(super) fn add(&mut self, time: Duration) {
        self.count += 1;
        self.times.add(u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX));
    }

    fn finish(mut self) -> Self {
        self.p50 = self.times.percentile(50).unwrap_or_default();
        self.p99 = self.times.percentile(99).unwrap_or_default();
        self
    }
}

pub(super) async fn run(part: &str, shell: &Shell) -> Result<Verdict, Failure> {
    let part: Part = serde_json::from_str(part)
        .map_err(|error| Failure::new(format!("not a part of a benchmark: {error}"), "use `m2mesh bench --local`"))?;
    let (shell, directory) = (shell.clone(), shell.node_directory()?);
    // Runs as a spawned task: the task that `block_on` runs would get its turn less often.
    let done = tokio::spawn(async move { perform(part, &shell, directory).await }).await;
    done.unwrap_or_else(|error| Err(Failure::new(format!("the benchmark broke off: {error}"), "try again")))
}

async fn perform(part: Part, shell: &Shell, directory: PathBuf) -> Result<Verdict, Failure> {
    let task = Task { size: part.size, period: Duration::from_millis(part.millis) };
    let ready = |address: String| {
        // The process that reads this line has started this one and waits for it.
        let _ = shell.line(format_args!("LISTEN {address}"));
    };
    let failed = |error: &dyn Display| Failure::new(format!("the benchmark broke off: {error}"), "try again");
    let echo = part.exercise == Exercise::RoundTrip;
    let (mut counted, mut trips) = (None, None);
    match (part.contender, &part.to, part.exercise) {
        (Contender::Raw, None, _) => counted = Some(raw::receive(echo, ready).await.map_err(|e| failed(&e))?),
        (Contender::Bare, None, _) => counted = Some(bare::receive(echo, ready).await.map_err(|e| failed(&e))?),
        (Contender::Mesh, None, _) => {
            counted = Some(mesh::receive(&directory, echo, ready).await.map_err(|e| failed(&e))?);
        }
        (Contender::Raw, Some(to), Exercise::RoundTrip) => {
            trips = Some(raw::ping(to, task).await.map_err(|e| failed(&e))?);
        }
        (Contender::Bare, Some(to), Exercise::RoundTrip) => {
            trips = Some(bare::ping(to, task).await.map_err(|e| failed(&e))?);
        }
        (Contender::Mesh, Some(to), Exercise::RoundTrip) => {
            trips = Some(mesh::ping(&directory, to, task).await.map_err(|e| failed(&e))?);
        }
        (Contender::Raw, Some(to), _) => raw::send(to, task).await.map_err(|e| failed(&e))?,
        (Contender::Bare, Some(to), _) => bare::send(to, task).await.map_err(|e| failed(&e))?,
        (Contender::Mesh, Some(to), Exercise::OneWay) => {
            mesh::send(&directory, to, task).await.map_err(|e| failed(&e))?;
        }
        (Contender::Mesh, Some(to), Exercise::Confirmed) => {
            counted = Some(mesh::confirm(&directory, to, task).await.map_err(|e| failed(&e))?);
        }
    }
    shell.object(&Report {
        counted,
        trips: trips.map(RoundTrips::finish),
        cpu: processor(std::process::id()).unwrap_or_default(),
    })?;
    Ok(Verdict::Done)
}

/// Returns the processor time of a process of this machine in seconds; `None` where `/proc` does not say.
pub(super) fn processor(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // User and system time are the 12th and 13th fields after the name in parentheses, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
