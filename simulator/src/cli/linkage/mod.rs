//! `linkage`: how often observers can follow devices whose pseudonyms rotate.

mod rotating;
mod told;

use super::failure::Failure;
use super::outputs;
use super::progress;
use super::tell::say;
use crate::linkage::observed::Observed;
use crate::linkage::{self, Assessment, Observer};
use crate::world::Options;
use crate::world::onlooker::Sink;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often an observer can follow a device from one pseudonym to the next
///
/// Runs the scenario with all devices rotating, and lets a classifier assign the pseudonyms of each epoch to those of the
/// epoch before, by what the observer sees. Prints how often it is right, and what counter-measures buy. Exit code 2 when
/// leaves that no observer is linked to are found more than twice as often as by guessing, when one in a hundred of them
/// or more is followed through all epochs, or when a check is violated.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim linkage baseline-50 --leaves 30% --epoch 10min --observer members:10%")]
pub(in crate::cli) struct Arguments {
    /// Scenario: a file, the name of a shipped one, or a FILE.json that --keep has written
    scenario: PathBuf,
    /// Seed, instead of the scenario's
    #[arg(long, value_name = "SEED", value_parser = super::run::seed)]
    seed: Option<u64>,
    /// Changes a setting of the scenario: KEY is a path, as `devices.meter.count`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Who looks: `wire`, `members:SHARE` of the devices, or `contact`; may be repeated [default: wire, members:10%,
    /// contact]
    #[arg(long = "observer", value_name = "OBSERVER", value_parser = observer)]
    observers: Vec<Named>,
    /// Number of epochs to observe
    #[arg(long, value_name = "K", default_value_t = 7, value_parser = clap::value_parser!(u16).range(4..=100))]
    epochs: u16,
    /// Length of an epoch, instead of the scenario's
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    epoch: Option<Duration>,
    /// Makes this share of the devices leaves, drawn from the seed, as far as the others stay connected
    #[arg(long, value_name = "SHARE", value_parser = share)]
    leaves: Option<f64>,
    /// Keeps what was observed in this file, so that other observers can be tried without another run
    #[arg(long, value_name = "FILE.json")]
    keep: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// An observer, with the name by which it was asked for.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    observer: Observer,
}

/// What there is to tell of a run; nothing of one that was kept.
#[derive(Default)]
struct Run {
    /// The hash over every byte on every wire.
    trace: Option<String>,
    /// The checks that were violated, each with its number.
    violated: Vec<(String, u64)>,
}

/// What is to be told.
struct Outcome {
    scenario: String,
    seed: u64,
    epoch_s: f64,
    epochs: usize,
    devices: usize,
    leaves: usize,
    /// Of all pairs of a device and a contact, those that cards follow through all epochs, and all.
    contacts: (usize, usize),
    run: Run,
    assessments: Vec<Assessment>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> ExitCode {
    match assess(arguments) {
        Ok(outcome) => {
            match arguments.json {
                true => say!("{}", told::json(&outcome)),
                false => told::people(&outcome),
            }
            ExitCode::from(if told::holds(&outcome) && outcome.run.violated.is_empty() { 0 } else { 2 })
        }
        Err(failure) => failure.tell(arguments.json),
    }
}

fn assess(arguments: &Arguments) -> Result<Outcome, Failure> {
    let (observed, run) = match is_kept(&arguments.scenario) {
        true => (kept(&arguments.scenario)?, Run::default()),
        false => observe(arguments)?,
    };
    let usual = ["wire", "members:10%", "contact"].map(|name| observer(name).expect("these are observers"));
    let observers = if arguments.observers.is_empty() { &usual[..] } else { &arguments.observers[..] };
    let steps = observers.len() * linkage::STEPS;
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(steps as u64) };
    let style = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let assessments = observers.iter().map(|Named { name, observer }| {
        bar.set_message(format!("{name} looks for devices"));
        linkage::assess(&observed, name, *observer, &mut || bar.inc(1))
    });
    let assessments = assessments.collect();
    bar.finish_and_clear();
    let contacts = observed.contacts.iter().flatten();
    Ok(Outcome {
        scenario: observed.scenario.clone(),
        seed: observed.seed,
        epoch_s: observed.epoch_s,
        epochs: observed.epochs,
        devices: observed.devices.len(),
        leaves: observed.devices.iter().filter(|device| !device.router).count(),
        contacts: (contacts.clone().filter(|(_, follows)| *follows).count(), contacts.count()),
        run,
        assessments,
    })
}

fn observe(arguments: &Arguments) -> Result<(Observed, Run), Failure> {
    let plan = rotating::plan(arguments)?;
    if let Some(path) = &arguments.keep {
        outputs::try_file(path)?;
    }
    let sink = Sink::default();
    let options = Options { sink: Some(sink.clone()), ..Options::default() };
    let record = progress::simulate(plan, options, !arguments.json).map_err(Failure::of_run)?;
    let observed = sink.lock().ok().and_then(|mut sink| sink.take());
    let observed = observed.ok_or_else(|| Failure::of_run("the run has left nothing to look at".to_owned()))?;
    if let Some(path) = &arguments.keep {
        let text = serde_json::to_string(&observed).map_err(|error| Failure::of_run(error.to_string()))?;
        outputs::write(path, text.as_bytes())?;
    }
    let checks = record.summary.checks.into_iter().filter(|check| check.violated > 0);
    let violated = checks.map(|check| (check.promise, check.violated)).collect();
    Ok((observed, Run { trace: Some(record.summary.trace), violated }))
}

fn is_kept(scenario: &Path) -> bool {
    scenario.extension().is_some_and(|extension| extension == "json")
}

fn kept(path: &Path) -> Result<Observed, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let hint = "name a file that `m2mesh-sim linkage --keep` of this version has written";
    let observed: Observed = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{} holds nothing observed: {error}", path.display()), hint))?;
    let what = || Failure::new(format!("{} names devices that it does not have", path.display()), hint);
    observed.is_sound().then_some(observed).ok_or_else(what)
}

/// Parses an observer.
fn observer(text: &str) -> Result<Named, String> {
    let observer = match text.split_once(':') {
        None if text == "wire" => Some(Observer::Wire),
        None if text == "contact" => Some(Observer::Contact),
        Some(("members", part)) => share(part).ok().map(Observer::Members),
        _ => None,
    };
    let observer = observer.ok_or("an observer is `wire`, `contact`, or as `members:10%`")?;
    Ok(Named { name: text.to_owned(), observer })
}

/// Parses a share.
fn share(text: &str) -> Result<f64, String> {
    let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|number| number / divisor);
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a share is written as 10% or 0.1".to_owned())
}

/// Parses the length of an epoch.
fn length(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a length as 10min or 1h"))
}
