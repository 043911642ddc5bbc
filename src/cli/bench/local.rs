//! `bench --local`: runs the contenders in turn for several rounds, and reports medians and ratios.

use super::mesh::NAMES;
use super::part::{Contender, Exercise, Part, Report};
use crate::cli::failure::Failure;
use crate::cli::shell::Shell;
use crate::cli::{Verdict, arguments};
use crate::id::Name;
use crate::node::realm;
use crate::time::EpochLength;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The measurements of a round, in their order.
const PLAN: [(Contender, Exercise); 7] = [
    (Contender::Raw, Exercise::OneWay),
    (Contender::Bare, Exercise::OneWay),
    (Contender::Mesh, Exercise::OneWay),
    (Contender::Raw, Exercise::RoundTrip),
    (Contender::Bare, Exercise::RoundTrip),
    (Contender::Mesh, Exercise::RoundTrip),
    (Contender::Mesh, Exercise::Confirmed),
];

/// One measurement over all rounds.
#[derive(Debug, Serialize)]
struct Row {
    contender: Contender,
    exercise: Exercise,
    /// Messages per second, or the round-trip time in microseconds: the median of the rounds.
    median: f64,
    /// The same value of each round, ascending.
    rounds: Vec<f64>,
    /// 99th percentile of the round-trip time in microseconds, median of the rounds.
    p99: Option<f64>,
    /// Ratio to the bare stream of the same run.
    ratio: Option<f64>,
    /// Processor time of both processes in seconds per second, median of the rounds.
    cpu: f64,
    /// Messages dropped in all rounds.
    lost: u64,
}

/// The figures of one round: rate or time, 99th percentile, processor time, messages lost.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    value: f64,
    p99: Option<f64>,
    cpu: f64,
    lost: u64,
}

pub(super) async fn run(shell: &Shell, size: u16, period: Duration, rounds: u8) -> Result<Verdict, Failure> {
    let progress = progress(shell, u64::from(rounds) * PLAN.len() as u64);
    let mut figures: BTreeMap<usize, Vec<Figures>> = BTreeMap::new();
    for round in 1..=rounds {
        for (at, (contender, exercise)) in PLAN.into_iter().enumerate() {
            progress.set_message(format!("round {round} of {rounds}: {}", title(contender, exercise)));
            let part = Part {
                contender,
                exercise,
                to: None,
                size: size.into(),
                millis: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            };
            figures.entry(at).or_default().push(measure(part).await?);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let mut rows: Vec<Row> = Vec::new();
    for (at, figures) in figures {
        let (contender, exercise) = PLAN[at];
        let bare = rows.iter().find(|row| row.contender == Contender::Bare && row.exercise == exercise);
        let median = median(figures.iter().map(|figures| figures.value));
        let ratio = bare.map(|bare| median / bare.median);
        let mut values: Vec<f64> = figures.iter().map(|figures| figures.value).collect();
        values.sort_by(f64::total_cmp);
        let p99 = figures.iter().filter_map(|figures| figures.p99);
        rows.push(Row {
            contender,
            exercise,
            median,
            rounds: values,
            p99: (exercise == Exercise::RoundTrip).then(|| self::median(p99)),
            ratio,
            cpu: self::median(figures.iter().map(|figures| figures.cpu)),
            lost: figures.iter().map(|figures| figures.lost).sum(),
        });
    }
    if shell.json {
        return shell.object(&rows).map(|()| Verdict::Done);
    }
    shell.line(format_args!("{size} B messages, {rounds} rounds of {:.1} s, medians", period.as_secs_f64()))?;
    shell.table(
        &["WHAT", "MEDIAN", "TO BARE STREAM", "P99", "RANGE", "CPU", "LOST"],
        rows.iter().map(cells).collect(),
    )?;
    Ok(Verdict::Done)
}

fn cells(row: &Row) -> Vec<String> {
    let value = |value: f64| match row.exercise {
        Exercise::RoundTrip => format!("{value:.1} µs"),
        _ if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        _ => format!("{:.0} k/s", value / 1e3),
    };
    let (first, last) = (row.rounds.first().copied(), row.rounds.last().copied());
    vec![
        title(row.contender, row.exercise),
        value(row.median),
        row.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}x")),
        row.p99.map_or_else(|| "-".into(), |p99| format!("{p99:.1} µs")),
        format!("{} - {}", value(first.unwrap_or_default()), value(last.unwrap_or_default())),
        format!("{:.0} %", row.cpu * 100.0),
        row.lost.to_string(),
    ]
}

fn title(contender: Contender, exercise: Exercise) -> String {
    let who = match contender {
        Contender::Raw => "raw TCP",
        Contender::Bare => "bare libp2p stream",
        Contender::Mesh => "m2mesh",
    };
    let what = match exercise {
        Exercise::OneWay => "one way",
        Exercise::RoundTrip => "there and back",
        Exercise::Confirmed => "one way, confirmed, durable at both ends",
    };
    format!("{who}, {what}")
}

/// Starts a receiver and a sender, and returns their figures.
async fn measure(part: Part) -> Result<Figures, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("no directory for the benchmark: {error}"), "check TMPDIR");
    let scratch = Scratch::new().map_err(failed)?;
    if part.contender == Contender::Mesh {
        let device = |name: &str| Ok((Name::new(name).expect("a name"), scratch.make(name)?));
        let devices = NAMES.map(device).into_iter().collect::<Result<Vec<_>, Failure>>()?;
        realm::found(&devices, EpochLength::HOUR).map_err(|error| Failure::split(error, "check TMPDIR"))?;
    }
    let mut receiver = Process::start(&scratch.0.join(NAMES[0]), &part)?;
    let address = receiver.line().await?;
    let to = address.strip_prefix("LISTEN ").map(str::to_owned);
    let sending = Part { to, ..part.clone() };
    let sent = Process::start(&scratch.0.join(NAMES[1]), &sending)?.result().await?;
    let received = receiver.result().await?;
    let seconds = Duration::from_millis(part.millis).as_secs_f64();
    let cpu = (sent.cpu + received.cpu) / seconds;
    if let Some(trips) = sent.trips {
        return Ok(Figures { value: trips.p50 as f64 / 10.0, p99: Some(trips.p99 as f64 / 10.0), cpu, lost: 0 });
    }
    let counted = sent.counted.or(received.counted).unwrap_or_default();
    let value = if counted.seconds > 0.0 { counted.messages as f64 / counted.seconds } else { 0.0 };
    Ok(Figures { value, p99: None, cpu, lost: counted.lost })
}

/// One of the two processes.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(directory: &Path, part: &Part) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot start a process: {error}"), "try again");
        let task = serde_json::to_string(part).expect("our own types have string keys and no failing serializer");
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("--dir")
            .arg(directory)
            .args(["bench", "--part", &task])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let broken =
            || Failure::new("a process of the benchmark ended early", "its diagnostics stand above; try again");
        self.lines.next_line().await.ok().flatten().ok_or_else(broken)
    }

    async fn result(mut self) -> Result<Report, Failure> {
        let line = self.line().await?;
        // It has reported everything; its exit status does not matter.
        let _ = self.child.wait().await;
        serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("a process of the benchmark said {line:?}: {error}"), "try again"))
    }
}

/// A directory that is removed after the measurement.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| std::io::Error::other(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("m2mesh-bench-{}", data_encoding::HEXLOWER.encode(&name)));
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }

    fn make(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        arguments::make_directory(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a directory of the benchmark was left behind");
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

fn progress(shell: &Shell, steps: u64) -> ProgressBar {
    if shell.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
