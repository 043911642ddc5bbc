//! What may catch a fault: commands of the simulator, and one run of one of them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

/// A command of the simulator, less its seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The scenario's, or one of its own.
    pub name: String,
    /// Without `--seed` and `--json`.
    pub arguments: Vec<String>,
    /// The same at the scenario's own seed, held against the figures that are kept of it; without `--json`.
    #[serde(default, skip)]
    pub held_to_figures: Option<Vec<String>>,
}

/// Stands for the scenario's own seed, at which a run is held against kept figures too.
pub const OWN_SEED: u64 = 0;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Exit code 0.
    Passed,
    /// Exit code 2: these checks were violated, these expectations missed, these kept figures left.
    Failed {
        /// Names of checks.
        checks: Vec<String>,
        /// Texts of expectations.
        expectations: Vec<String>,
        /// Figures, with what was kept and what was found.
        #[serde(default)]
        figures: Vec<String>,
    },
    /// Any other end, with what was said last.
    Crashed(String),
    /// It was ended, since it took more than so many seconds of the processor.
    HungFor(u64),
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub verdict: Verdict,
    /// The hash of all that happened, where the command tells one.
    pub trace: Option<String>,
    /// Seconds.
    pub took: f64,
    /// Faults that were come by: with one that is on that one at most, without one all that could have been on.
    pub reached: BTreeSet<String>,
}

/// Where and how to run.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The simulator with all faults.
    pub program: PathBuf,
    /// For files of a run.
    pub scratch: PathBuf,
    /// Bytes of address space that a run may have: a fault may leak.
    pub memory: u64,
}

/// All commands: the small forms of the shipped scenarios, and what `commands.toml` adds.
pub fn load(root: &Path) -> Result<Vec<Command>, String> {
    #[derive(Deserialize)]
    struct Small {
        small: Vec<Scenario>,
    }
    #[derive(Deserialize)]
    struct Scenario {
        scenario: String,
        #[serde(default)]
        set: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Others {
        command: Vec<Command>,
    }
    fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
    let small: Small = read(&root.join("simulator/tests/small.toml"))?;
    let others: Others = read(&root.join("tests/mutants/commands.toml"))?;
    let scenarios = small.small.into_iter().map(|Scenario { scenario: name, set }| {
        let settings = set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
        let arguments = ["run".to_owned(), name.clone()].into_iter().chain(settings).collect();
        let held_to_figures = ["compare", "--baseline", "--jobs", "1", &name].map(str::to_owned).to_vec();
        Command { name, arguments, held_to_figures: Some(held_to_figures) }
    });
    Ok(scenarios.chain(others.command).collect())
}

impl Bench {
    /// Runs a command under a fault, or under none. The seed is one that the command can have, see [`Command::has`].
    pub fn run(&self, command: &Command, seed: u64, fault: Option<&str>, limit: Duration) -> Result<Run, String> {
        let mut arguments = command.held_to_figures.clone().filter(|_| seed == OWN_SEED);
        let arguments = arguments.get_or_insert_with(|| {
            let seed = ["--seed".to_owned(), seed.to_string()];
            command.arguments.iter().cloned().chain(seed).collect()
        });
        let name = format!("{}-{}-{seed}", fault.unwrap_or("none"), command.name);
        let [told, said, mark] = ["out", "err", "reached"].map(|end| self.scratch.join(format!("{name}.{end}")));
        let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        let _ = std::fs::remove_file(&mark);
        let began = Instant::now();
        // The tools of the system hold it to its limits: nothing here has to wait and look. What counts is time of the processor,
        // since others may use the machine; one that waits for ever is ended by the clock.
        let waits = limit * WAITING;
        let status = Process::new("sh")
            .args([
                "-c",
                "ulimit -v \"$0\" 2> /dev/null; ulimit -S -t \"$1\"; shift; exec timeout --kill-after=5 \"$@\"",
            ])
            .arg((self.memory / 1024).to_string())
            .arg(limit.as_secs().to_string())
            .arg(waits.as_secs().to_string())
            .arg(&self.program)
            .args(arguments)
            .arg("--json")
            .env("M2MESH_MUTANT", fault.unwrap_or_default())
            .env("M2MESH_MUTANT_REACHED", &mark)
            .stdin(Stdio::null())
            .stdout(create(&told)?)
            .stderr(create(&said)?)
            .status()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let took = began.elapsed().as_secs_f64();
        let told_text = std::fs::read_to_string(&told).unwrap_or_default();
        let mut summary: serde_json::Value = serde_json::from_str(&told_text).unwrap_or_default();
        // A comparison of one scenario has its summary within.
        if let Some(only) = summary["scenarios"].get_mut(0) {
            summary = only.take();
        }
        let verdict = match status.code() {
            Some(0) => Verdict::Passed,
            Some(2) if summary.is_object() => failed(&summary),
            code if ended_for_time(code, status.signal()) || began.elapsed() >= waits => {
                Verdict::HungFor(limit.as_secs())
            }
            code => {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                let mut lines = said.lines().skip_while(|line| !line.contains(" panicked at "));
                // Where it was, and why; or what was said last.
                let panic = lines.next().map(|place| format!("{place} {}", lines.next().unwrap_or_default()));
                let last = || said.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
                let last = panic.or_else(last).unwrap_or_else(|| "nothing said".to_owned());
                let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                Verdict::Crashed(format!("{code}: {}", last.chars().take(200).collect::<String>()))
            }
        };
        let trace = summary["trace"].as_str().map(str::to_owned);
        let reached = std::fs::read_to_string(&mark).unwrap_or_default().lines().map(str::to_owned).collect();
        let run = Run { verdict, trace, took, reached };
        for file in [told, said, mark] {
            let _ = std::fs::remove_file(file);
        }
        Ok(run)
    }
}

/// Whether the system has ended a run that took too much of the processor, or `timeout` says so of it.
fn ended_for_time(code: Option<i32>, signal: Option<i32>) -> bool {
    signal == Some(SIGXCPU) || code == Some(128 + SIGXCPU)
}

/// What a summary says is wrong.
fn failed(summary: &serde_json::Value) -> Verdict {
    let list = |key: &str| summary[key].as_array().cloned().unwrap_or_default().into_iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let checks = list("checks").filter(|check| check["violated"].as_u64() > Some(0)).map(|check| text(&check["name"]));
    let expectations =
        list("expectations").filter(|verdict| verdict["held"] == false).map(|verdict| text(&verdict["text"]));
    let moved = list("figures")
        .filter(|change| ["better", "worse", "other"].map(Some).contains(&change["verdict"].as_str()))
        // Others use the machine meanwhile.
        .filter(|change| change["figure"] != "cpu_s")
        .map(|change| format!("{} {} for {}", text(&change["figure"]), change["found"], change["kept"]));
    let loose = list("loose").map(|expectation| format!("loose now: {}", text(&expectation)));
    // What was drawn from a seed tells names of both.
    let drawn = list("found").flat_map(|found| found["failed"].as_array().cloned().unwrap_or_default());
    let checks: Vec<_> = checks.chain(drawn.map(|failed| text(&failed))).collect();
    let expectations: Vec<_> = expectations.collect();
    let figures: Vec<_> = moved.chain(loose).collect();
    if summary["figures"].is_array() && [&checks, &expectations, &figures].iter().all(|found| found.is_empty()) {
        return Verdict::Passed;
    }
    Verdict::Failed { checks, expectations, figures }
}

impl Command {
    /// Whether it can run with that seed.
    pub fn has(&self, seed: u64) -> bool {
        seed != OWN_SEED || self.held_to_figures.is_some()
    }
}

impl Verdict {
    /// Whether kept figures alone show that something is wrong.
    pub fn is_of_figures(&self) -> bool {
        let Self::Failed { checks, expectations, figures } = self else { return false };
        checks.is_empty() && expectations.is_empty() && !figures.is_empty()
    }

    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Failed { checks, .. } if !checks.is_empty() => format!("check {}", checks.join(", ")),
            Self::Failed { expectations, .. } if !expectations.is_empty() => {
                let more = expectations.len() - 1;
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{}{more}", expectations[0])
            }
            Self::Failed { figures, .. } if !figures.is_empty() => format!("figures: {}", figures.join(", ")),
            Self::Failed { .. } => "exit code 2".to_owned(),
            Self::Crashed(how) => format!("crash, {how}"),
            Self::HungFor(seconds) => format!("hung, ended after {seconds} s"),
        }
    }
}

/// So many times its limit a run may last by the clock.
const WAITING: u32 = 10;
const SIGXCPU: i32 = 24;
