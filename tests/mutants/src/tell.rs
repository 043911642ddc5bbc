//! What a score has come to, for people, and as `score.toml` keeps it.

use crate::faults::Fault;
use crate::results::Results;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Of each fault of `score.toml`: the command and the seed that catch it, or nothing.
pub type Known = BTreeMap<String, Option<(String, u64)>>;

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    fault: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    core: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caught_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    how: Option<String>,
}

/// The faults, by core.
pub fn list(faults: &[Fault]) {
    let mut table = table(&["CORE", "FAULT", "WHAT IT DOES"]);
    for fault in faults {
        table.add_row([fault.core.as_str(), &fault.name, &fault.about]);
    }
    println!("{table}\n{} faults", faults.len());
}

/// Prints the score. Answers whether it is good enough.
pub fn score(faults: &[Fault], results: &Results, sample: bool) -> bool {
    let mut by_fault = table(&["CORE", "FAULT", "CAUGHT BY", "SEED", "RUNS", "HOW"]);
    let mut by_core: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for fault in faults {
        let Some(found) = results.faults.get(&fault.name) else { continue };
        let (caught, all) = by_core.entry(&fault.core).or_default();
        *all += 1;
        let row = match &found.caught {
            Some(by) => {
                *caught += 1;
                [by.command.clone(), by.seed.to_string(), by.runs.to_string(), by.verdict.text()]
            }
            None => {
                let reason = fault.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                ["-".to_owned(), String::new(), found.count().to_string(), format!("{}{reason}", found.escape())]
            }
        };
        let [command, seed, runs, how] = row;
        by_fault.add_row([fault.core.clone(), fault.name.clone(), command, seed, runs, how]);
    }
    let mut cores = table(&["CORE", "CAUGHT", "OF"]);
    for (core, (caught, all)) in &by_core {
        cores.add_row([(*core).to_owned(), caught.to_string(), all.to_string()]);
    }
    let (caught, all) = by_core.values().fold((0, 0), |(caught, all), (c, a)| (caught + c, all + a));
    let unfit: Vec<String> = results
        .clean
        .iter()
        .flat_map(|(command, seeds)| {
            let unfit = seeds.iter().filter(|(_, clean)| clean.verdict != crate::command::Verdict::Passed);
            unfit.map(move |(seed, clean)| format!("{command} seed {seed}: {}", clean.verdict.text()))
        })
        .collect();
    println!("{by_fault}\n\n{cores}\n");
    if !unfit.is_empty() {
        println!("fail without a fault, and catch nothing:\n  {}\n", unfit.join("\n  "));
    }
    println!("{caught} of {all} faults caught ({} %)", caught * 100 / all.max(1));
    if sample { caught == all } else { caught * 100 >= all * ENOUGH }
}

/// What `score.toml` says, if it is there.
pub fn known(path: &Path) -> Result<Known, String> {
    if !path.exists() {
        return Ok(Known::new());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let stored: Stored = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(stored.fault.into_iter().map(|line| (line.name, line.caught_by.zip(line.seed))).collect())
}

/// Results as `score.toml` has them: faults that were caught, but for those that kept figures alone show, which move with the node.
pub fn stored(faults: &[Fault], results: &Results) -> String {
    let line = |fault: &Fault| {
        let caught =
            results.faults.get(&fault.name)?.caught.as_ref().filter(|caught| !caught.verdict.is_of_figures())?;
        Some(Line {
            name: fault.name.clone(),
            core: fault.core.clone(),
            caught_by: Some(caught.command.clone()),
            seed: Some(caught.seed),
            how: Some(caught.verdict.text()),
        })
    };
    let fault: Vec<Line> = faults.iter().filter_map(line).collect();
    HEAD.to_owned() + &toml::to_string(&Stored { fault }).unwrap_or_default()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

/// How `score.toml` begins.
const HEAD: &str = "\
# Faults that are known to be caught, each by the run that did, as far as checks did it: those that kept figures alone show are left out.
# Seed 0 is a scenario's own. `m2mesh-mutants keep` writes this file from the results of a whole score.

";
/// Per cent.
const ENOUGH: u64 = 90;
