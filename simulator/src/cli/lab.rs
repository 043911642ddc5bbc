//! `lab`: a scenario played by real processes.

use super::failure::Failure;
use super::outputs;
use super::scratch::Scratch;
use super::tell::{self, say};
use crate::lab::layout::{Beyond, Layout, lay_out};
use crate::lab::{self, Options, Played};
use crate::scenario;
use crate::world::Progress;
use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A scenario in real time, by a lab of real processes on this machine
///
/// Takes the scenario that `run` takes, and judges the same expectations, as far as a lab can measure their metrics. A
/// scenario that a lab cannot carry out is refused before anything starts. Exit code 2 when an expectation was missed
/// or a check violated.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim lab repair-ring --for 3m --set warmup=10s")]
pub(super) struct Arguments {
    /// Scenario: a file, or the name of a shipped one
    scenario: PathBuf,
    /// Seed, instead of the scenario's
    #[arg(long, value_name = "SEED", value_parser = super::run::seed)]
    seed: Option<u64>,
    /// Changes a setting of the scenario: KEY is a path, as `devices.meter.count`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ends the measured time after this long, if the scenario's is longer
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// Leaves out the parts that a lab cannot carry out, instead of refusing the scenario
    #[arg(long)]
    leave_out: bool,
    /// The node's command, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    m2mesh: Option<PathBuf>,
    /// Writes the events of the run to this file, a JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// Keeps the nodes' directories in this directory, with their diagnostics
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    match play(arguments) {
        Ok((played, left_out)) => {
            let wall = began.elapsed();
            if arguments.json {
                say!("{}", machines(&played, &left_out, wall));
            } else {
                people(&played, &left_out, wall);
            }
            tell::code(&played.summary)
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn play(arguments: &Arguments) -> Result<(Played, Vec<Beyond>), Failure> {
    let loaded = scenario::load(&arguments.scenario, &arguments.set)?;
    let layout = lay_out(loaded.plan(arguments.seed)?, arguments.length)?;
    if let (false, Some(refused)) = (arguments.leave_out, refused(&layout)) {
        return Err(refused);
    }
    if let Some(path) = &arguments.events {
        outputs::try_file(path)?;
    }
    let scratch = Scratch::new("lab")?;
    let directory = match &arguments.keep {
        Some(keep) => {
            std::fs::create_dir_all(keep).map_err(|error| Failure::file("make", keep, &error))?;
            std::path::absolute(keep).map_err(|error| Failure::file("find", keep, &error))?
        }
        None => scratch.path().to_owned(),
    };
    let options = Options { program: arguments.m2mesh.clone(), events: arguments.events.clone() };
    let left_out = layout.beyond.clone();
    let bar = bar(&layout, !arguments.json);
    let played = lab::play(layout, &options, &directory, &mut |progress| draw(&bar, progress));
    bar.finish_and_clear();
    let mut played = played?;
    played.summary.set.clone_from(&arguments.set);
    Ok((played, left_out))
}

/// Returns the reason for which a lab cannot play the scenario unchanged.
fn refused(layout: &Layout) -> Option<Failure> {
    let (one, others) = match &layout.beyond[..] {
        [] => return None,
        [one] => (format!("a lab cannot do what the scenario asks for: {}", one.what), "it"),
        all => {
            let lines: String = all.iter().map(|beyond| format!("\n  {}", beyond.what)).collect();
            (format!("a lab cannot do {} things that the scenario asks for:{lines}", all.len()), "them")
        }
    };
    let hint = format!(
        "run it simulated with `m2mesh-sim run`, change the scenario, or play it without {others}: --leave-out"
    );
    Some(Failure::new(one, hint))
}

fn bar(layout: &Layout, shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(SCALE);
    let style = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("starting {} nodes", layout.names.len()));
    bar.tick();
    bar
}

fn draw(bar: &ProgressBar, Progress { virtual_s, total_s, events, delivered }: Progress) {
    bar.set_position((virtual_s / total_s.max(1e-9) * SCALE as f64) as u64);
    let [at, of] = [virtual_s, total_s].map(|seconds| humantime::format_duration(Duration::from_secs(seconds as u64)));
    bar.set_message(format!("{at} of {of}, {events} messages handed over, {delivered} delivered"));
}

/// Returns the summary in the form of `run`, and the differences of a lab.
fn machines(played: &Played, left_out: &[Beyond], wall: Duration) -> Value {
    let Played { summary, unmeasured } = played;
    let mut told = serde_json::to_value(summary).unwrap_or_default();
    told["lab"] = json!(true);
    told["wall_s"] = json!(wall.as_secs_f64());
    told["answer"] = json!(word(played));
    told["why"] = json!(crate::report::why(summary));
    told["not_measured"] = json!(unmeasured);
    told["left_out"] = json!(left_out.iter().map(ToString::to_string).collect::<Vec<_>>());
    told
}

fn people(played: &Played, left_out: &[Beyond], wall: Duration) {
    let Played { summary, unmeasured } = played;
    tell::question(summary);
    tell::measured(summary);
    say!("run       {} real processes, {:.1} s on the wall", summary.nodes, wall.as_secs_f64());
    say!("seed      {}", summary.seed);
    tell::answer(summary, word(played));
    let loud = |word: &str| style(format!("{word:<9}")).yellow().bold();
    for expected in unmeasured {
        say!("{} {expected}: a lab does not measure that", loud("unknown"));
    }
    for beyond in left_out {
        say!("{} {beyond}", loud("left out"));
    }
}

fn word(played: &Played) -> &'static str {
    match (played.summary.passed, played.unmeasured.is_empty()) {
        (true, true) => "holds",
        (true, false) => "holds, as far as it was measured",
        (false, _) => "does not hold",
    }
}

/// The number of steps of the progress bar.
const SCALE: u64 = 1_000;
