//! The score: which faults are caught, by what, after how many runs.
//!
//! **Order.** First with what is known to catch it, then with each scenario's own seed and the figures that are kept of it,
//! then seed by seed, and with each of these every fault that is not caught yet; for each fault all commands, the
//! cheapest first, as measured without a fault, but those first in which the fault has already made a difference. What fails
//! without a fault at that seed is left out, and so is what does not come by the fault then: such a run is the same with it.
//! A command in whose first three runs nothing went another way is left out from then on unless all are wanted, which can
//! only make the score worse.

use crate::command::{Bench, Command, OWN_SEED, Verdict};
use crate::faults::Fault;
use crate::results::{Caught, Clean, Results, Sight};
use indicatif::ProgressBar;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What to do.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// These.
    pub faults: &'a [Fault],
    /// With these.
    pub commands: &'a [Command],
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Runs at a time.
    pub jobs: usize,
    /// Also commands that seem of no use.
    pub all: bool,
    /// What each fault is tried with before anything else, by its name: a command and a seed.
    pub first: Vec<(String, String, u64)>,
    /// Kept here meanwhile.
    pub file: Option<&'a Path>,
}

/// What a fault is tried with together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// What is known to catch it.
    Known,
    /// All commands with one seed.
    Seed(u64),
}

struct State {
    results: Results,
    /// Runs without a fault that are being made.
    making: BTreeSet<(String, u64)>,
    /// Faults and rounds to come, the next one last.
    queue: Vec<(usize, Round)>,
    /// Faults that are being tried: one by one, so that no run is made which the run before it makes needless.
    busy: BTreeSet<usize>,
    saved: Instant,
    error: Option<String>,
}

struct Scorer<'a> {
    wanted: &'a Wanted<'a>,
    bench: &'a Bench,
    state: Mutex<State>,
    made: Condvar,
    bar: ProgressBar,
}

/// Makes the runs that are left to make, and answers with all results.
pub fn score(wanted: &Wanted<'_>, bench: &Bench, results: Results) -> Result<Results, String> {
    let rounds = [Round::Known].into_iter().chain((OWN_SEED..=wanted.seeds).map(Round::Seed));
    let rounds = rounds.flat_map(|round| (0..wanted.faults.len()).map(move |fault| (fault, round)));
    let queue: Vec<(usize, Round)> = rounds.collect::<Vec<_>>().into_iter().rev().collect();
    let bar = ProgressBar::new(queue.len() as u64);
    let state =
        State { results, making: BTreeSet::new(), queue, busy: BTreeSet::new(), saved: Instant::now(), error: None };
    let scorer = Scorer { wanted, bench, state: Mutex::new(state), made: Condvar::new(), bar };
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        scorer.bar.set_style(style);
    }
    std::fs::create_dir_all(&bench.scratch).map_err(|error| format!("{}: {error}", bench.scratch.display()))?;
    std::thread::scope(|scope| {
        for _ in 0..wanted.jobs.max(1) {
            scope.spawn(|| scorer.work());
        }
    });
    scorer.bar.finish_and_clear();
    let state = scorer.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = wanted.file {
        state.results.write(path)?;
    }
    state.error.map_or(Ok(state.results), Err)
}

impl Scorer<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((at, round)) = self.next() {
            let fault = &self.wanted.faults[at];
            let tried = self.try_fault(fault, round);
            let mut state = self.lock();
            if let Err(error) = tried {
                state.error.get_or_insert(error);
            }
            state.busy.remove(&at);
            self.made.notify_all();
            drop(state);
            self.bar.inc(1);
        }
    }

    /// What is to be done next: of a fault that nobody else is trying, and that is not caught yet.
    fn next(&self) -> Option<(usize, Round)> {
        let mut state = self.lock();
        loop {
            let State { queue, results, busy, error, .. } = &mut *state;
            if error.is_some() {
                return None;
            }
            let before = queue.len();
            let caught = |at: usize| {
                let found = results.faults.get(&self.wanted.faults[at].name);
                found.is_some_and(|found| found.caught.is_some())
            };
            queue.retain(|(at, _)| !caught(*at));
            self.bar.inc((before - queue.len()) as u64);
            if let Some(place) = queue.iter().rposition(|(at, _)| !busy.contains(at)) {
                let next = queue.remove(place);
                busy.insert(next.0);
                return Some(next);
            }
            if queue.is_empty() {
                return None;
            }
            state = self.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All of a round, until something catches it.
    fn try_fault(&self, fault: &Fault, round: Round) -> Result<(), String> {
        let order: Vec<(&Command, u64)> = match round {
            Round::Known => {
                let known = self.wanted.first.iter().filter(|(name, ..)| *name == fault.name);
                known.filter_map(|(_, command, seed)| Some((self.command(command)?, *seed))).collect()
            }
            Round::Seed(seed) => self.order(fault, seed)?.into_iter().map(|command| (command, seed)).collect(),
        };
        for (command, seed) in order {
            {
                let state = self.lock();
                let found = state.results.faults.get(&fault.name);
                let done = found.is_some_and(|found| {
                    found.caught.is_some() || found.runs.get(&command.name).is_some_and(|runs| runs.contains_key(&seed))
                });
                if done || state.error.is_some() {
                    continue;
                }
            }
            self.try_one(fault, command, seed)?;
        }
        Ok(())
    }

    fn try_one(&self, fault: &Fault, command: &Command, seed: u64) -> Result<(), String> {
        let clean = self.clean(command, seed)?;
        let mut sight = Sight::Unfit;
        let mut caught = None;
        if clean.verdict == Verdict::Passed && !clean.reached.contains(&fault.name) {
            sight = Sight::NotReached;
        } else if clean.verdict == Verdict::Passed {
            let limit = LEAST_LIMIT.max(Duration::from_secs_f64(clean.took * PATIENCE));
            let run = self.bench.run(command, seed, Some(&fault.name), limit)?;
            if matches!(&run.verdict, Verdict::Crashed(how) if how.contains(crate::weave::UNKNOWN)) {
                return Err(format!("the simulator was built without {}; build it anew", fault.name));
            }
            if run.reached.is_empty() {
                return Err(format!("{} was come by without it, and is not with it; build anew", fault.name));
            }
            let same = run.trace.is_some() && run.trace == clean.trace;
            sight = if same { Sight::SameTrace } else { Sight::OtherTrace };
            caught = Some(run.verdict).filter(|verdict| *verdict != Verdict::Passed);
        }
        let mut state = self.lock();
        let found = state.results.faults.entry(fault.name.clone()).or_default();
        match caught {
            Some(verdict) if found.caught.is_none() => {
                let runs = found.count() + 1;
                self.bar.println(format!(
                    "caught  {:<44} {} seed {seed}: {}",
                    fault.name,
                    command.name,
                    verdict.text()
                ));
                found.caught = Some(Caught { command: command.name.clone(), seed, verdict, runs });
            }
            Some(_) => {}
            None => {
                found.runs.entry(command.name.clone()).or_default().insert(seed, sight);
            }
        }
        let caught = state.results.faults.values().filter(|found| found.caught.is_some()).count();
        self.bar.set_message(format!("{caught} of {} caught; seed {seed}: {}", self.wanted.faults.len(), fault.name));
        self.save(&mut state)
    }

    /// Commands for a fault, the most promising first.
    fn order(&self, fault: &Fault, seed: u64) -> Result<Vec<&Command>, String> {
        let mut ranked = Vec::new();
        for command in self.wanted.commands.iter().filter(|command| command.has(seed)) {
            // What it costs is measured once.
            let cost = self.clean(command, if command.has(OWN_SEED) { OWN_SEED } else { 1 })?.took;
            let state = self.lock();
            let found = state.results.faults.get(&fault.name);
            let best =
                found.and_then(|found| found.runs.get(&command.name)).and_then(|runs| runs.values().max().copied());
            let hopeless = !self.wanted.all && found.is_some_and(|found| found.is_hopeless(&command.name, seed));
            if !hopeless {
                ranked.push((best != Some(Sight::OtherTrace), cost, command));
            }
        }
        ranked.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        Ok(ranked.into_iter().map(|(.., command)| command).collect())
    }

    /// What a command does without a fault: made once, by whoever asks first.
    fn clean(&self, command: &Command, seed: u64) -> Result<Clean, String> {
        let key = (command.name.clone(), seed);
        let mut state = self.lock();
        loop {
            if let Some(clean) = state.results.clean.get(&command.name).and_then(|seeds| seeds.get(&seed)) {
                return Ok(clean.clone());
            }
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            if state.making.insert(key.clone()) {
                break;
            }
            state = self.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.bar.set_message(format!("without a fault: {} seed {seed}", command.name));
        let run = self.bench.run(command, seed, None, LONGEST_CLEAN);
        let mut state = self.lock();
        state.making.remove(&key);
        self.made.notify_all();
        let run = match run {
            Ok(run) => run,
            Err(error) => {
                state.error.get_or_insert(error.clone());
                return Err(error);
            }
        };
        let clean = Clean { verdict: run.verdict, trace: run.trace, took: run.took, reached: run.reached };
        state.results.clean.entry(command.name.clone()).or_default().insert(seed, clean.clone());
        self.save(&mut state)?;
        Ok(clean)
    }

    fn save(&self, state: &mut State) -> Result<(), String> {
        if let Some(path) = self.wanted.file.filter(|_| state.saved.elapsed() >= SAVE) {
            state.results.write(path)?;
            state.saved = Instant::now();
        }
        Ok(())
    }

    fn command(&self, name: &str) -> Option<&Command> {
        self.wanted.commands.iter().find(|command| command.name == name)
    }
}

/// A run may take this at least.
const LEAST_LIMIT: Duration = Duration::from_secs(60);
/// And so many times as long as without a fault.
const PATIENCE: f64 = 10.0;
/// A run without a fault: what takes longer is broken.
const LONGEST_CLEAN: Duration = Duration::from_secs(1_800);
/// Results are written this often.
const SAVE: Duration = Duration::from_secs(3);
