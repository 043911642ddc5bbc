//! m2mesh-mutants: how many of the faults that are planted in the node the simulator catches.
//!
//! [`faults`] are read from `faults/`, [`weave`] builds one simulator with all of them dormant, [`command`] runs it, [`score`]
//! goes through faults, seeds and commands, [`results`] are kept in a file, [`tell`] prints them. `README.md` says how to use it.

mod command;
mod faults;
mod results;
mod score;
mod tell;
mod weave;

use clap::{Parser, Subcommand};
use faults::Fault;
use results::Results;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weave::Places;

/// How many planted faults the simulator's scenarios and checks catch
#[derive(Debug, Parser)]
#[command(name = "m2mesh-mutants", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The faults, by core
    List,
    /// Whether each fault still is where it says
    Check,
    /// Builds the simulator with all faults
    Build {
        /// Unoptimised
        #[arg(long)]
        debug: bool,
    },
    /// Makes runs until each fault is caught, or all seeds are used up
    Score(Score),
    /// Keeps results of a file as tests/mutants/score.toml, by which samples go
    Keep {
        /// As `score --json` wrote it
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0 when 90 % of the faults were caught, and of a sample those that are known to be caught; else 2."
)]
struct Score {
    /// Unoptimised build
    #[arg(long)]
    debug: bool,
    /// Takes the simulator as it was built last
    #[arg(long)]
    no_build: bool,
    /// Keeps results there, and goes on from what is there
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Starts anew, whatever is in the file
    #[arg(long)]
    anew: bool,
    /// These faults only
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// So many faults, drawn among those that score.toml says are caught
    #[arg(long, value_name = "N", conflicts_with = "only")]
    sample: Option<usize>,
    /// What the sample is drawn with
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Each command runs with its own seed, against kept figures, and with the seeds 1 to N
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// These commands only
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    with: Vec<String>,
    /// Runs at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Also what has shown no effect of a fault with its first seeds
    #[arg(long)]
    all: bool,
    /// Address space that a run may have, in GB
    #[arg(long, value_name = "GB", default_value_t = 6)]
    memory: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode, String> {
    let places = Places::find();
    let faults = faults::load(&places.faults())?;
    match verb {
        Verb::List => tell::list(&faults),
        Verb::Check => {
            let problems = faults::problems(&faults, &places.root);
            if !problems.is_empty() {
                return Err(problems.join("\n"));
            }
            println!("{} faults are where they say", faults.len());
        }
        Verb::Build { debug } => {
            weave::weave(&places, &faults)?;
            println!("{}", weave::build(&places, debug)?.display());
        }
        Verb::Score(wanted) => return score_all(&places, &faults, &wanted),
        Verb::Keep { file } => {
            let results = Results::read(&file)?.ok_or_else(|| format!("{} is not there", file.display()))?;
            let path = stored(&places.root);
            std::fs::write(&path, tell::stored(&faults, &results)).map_err(|e| format!("{}: {e}", path.display()))?;
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn score_all(places: &Places, faults: &[Fault], wanted: &Score) -> Result<ExitCode, String> {
    let known = tell::known(&stored(&places.root))?;
    let chosen = choose(faults, wanted, &known)?;
    let mut commands = command::load(&places.root)?;
    if !wanted.with.is_empty() {
        if let Some(name) = wanted.with.iter().find(|name| commands.iter().all(|command| command.name != **name)) {
            return Err(format!("there is no command {name}; see simulator/tests/small.toml and commands.toml"));
        }
        commands.retain(|command| wanted.with.contains(&command.name));
    }
    if !wanted.no_build {
        weave::weave(places, faults)?;
        weave::build(places, wanted.debug)?;
    }
    let sources = sources(places)?;
    let mut results = match wanted.json.as_deref().filter(|_| !wanted.anew).map(Results::read).transpose()?.flatten() {
        Some(results) if results.sources != sources || results.debug != wanted.debug => {
            return Err("the results in that file are of other sources, or of another build; \
                 name another file, or start --anew"
                .to_owned());
        }
        Some(results) => results,
        None => Results { sources, debug: wanted.debug, ..Results::default() },
    };
    results.keep(faults);
    let bench = command::Bench {
        program: places.program(wanted.debug),
        scratch: places.scratch(),
        memory: wanted.memory * 1_000_000_000,
    };
    let first = known.iter().filter_map(|(name, caught)| {
        let (command, seed) = caught.clone()?;
        Some((name.clone(), command, seed))
    });
    let usual = if wanted.sample.is_some() { SAMPLE_SEEDS } else { SEEDS };
    let plan = score::Wanted {
        faults: &chosen,
        commands: &commands,
        seeds: wanted.seeds.unwrap_or(usual),
        jobs: wanted.jobs,
        all: wanted.all,
        first: first.collect(),
        file: wanted.json.as_deref(),
    };
    let results = score::score(&plan, &bench, results)?;
    let enough = tell::score(&chosen, &results, wanted.sample.is_some());
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Those that are asked for.
fn choose(faults: &[Fault], wanted: &Score, known: &tell::Known) -> Result<Vec<Fault>, String> {
    if let Some(name) = wanted.only.iter().find(|name| faults.iter().all(|fault| fault.name != **name)) {
        return Err(format!("no fault is called {name}; `list` shows all"));
    }
    let Some(count) = wanted.sample else {
        let fits = |fault: &&Fault| wanted.only.is_empty() || wanted.only.contains(&fault.name);
        return Ok(faults.iter().filter(fits).cloned().collect());
    };
    let mut drawn: Vec<&Fault> =
        faults.iter().filter(|fault| known.get(&fault.name).is_some_and(Option::is_some)).collect();
    if drawn.is_empty() {
        return Err(
            "tests/mutants/score.toml knows of no fault that is caught; make a whole score and keep it".to_owned()
        );
    }
    // By a hash of seed and name: what is drawn does not change when faults are added before it.
    drawn.sort_by_key(|fault| results::hash([&wanted.seed.to_be_bytes()[..], fault.name.as_bytes()].into_iter()));
    Ok(drawn.into_iter().take(count).cloned().collect())
}

/// What the results depend on, besides the faults: the node, the simulator and its scenarios.
fn sources(places: &Places) -> Result<String, String> {
    let matters = |file: &&String| {
        ["src/", "simulator/src/", "simulator/futures-timer/", "scenarios/"].iter().any(|start| file.starts_with(start))
            || ["Cargo.lock", "simulator/tests/small.toml", "tests/mutants/commands.toml"].contains(&file.as_str())
    };
    let mut parts = Vec::new();
    for file in weave::files(&places.root)?.iter().filter(matters) {
        let bytes = std::fs::read(places.root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        parts.extend([file.clone().into_bytes(), bytes]);
    }
    Ok(results::hash(parts.iter().map(Vec::as_slice)))
}

fn stored(root: &Path) -> PathBuf {
    root.join("tests/mutants/score.toml")
}

/// Seeds of a whole score.
const SEEDS: u64 = 20;
/// Of a sample, where what was known to catch a fault does not.
const SAMPLE_SEEDS: u64 = 3;
