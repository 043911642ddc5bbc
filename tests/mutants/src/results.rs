//! What runs have found, kept so that a score that was ended goes on where it was.

use crate::command::Verdict;
use crate::faults::Fault;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Of all faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What the sources without faults were, as a hash: other sources make other results.
    pub sources: String,
    /// Whether the build was an unoptimised one.
    pub debug: bool,
    /// Runs without a fault, by command and seed.
    #[serde(default)]
    pub clean: BTreeMap<String, BTreeMap<u64, Clean>>,
    /// By name.
    #[serde(default)]
    pub faults: BTreeMap<String, Found>,
}

/// A run without a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// How it ended. What fails by itself catches nothing.
    pub verdict: Verdict,
    /// The hash of all that happened.
    pub trace: Option<String>,
    /// Seconds.
    pub took: f64,
    /// Faults that it has come by: until the first of these is on, a run with it is the same.
    pub reached: BTreeSet<String>,
}

/// What became of one fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Of the fault's pieces: another fault of that name starts anew.
    pub digest: String,
    /// What caught it.
    #[serde(default)]
    pub caught: Option<Caught>,
    /// What runs that did not catch it showed, by command and seed.
    #[serde(default)]
    pub runs: BTreeMap<String, BTreeMap<u64, Sight>>,
}

/// What a run showed of a fault that it did not catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// The run fails without a fault, so it was not made.
    Unfit,
    /// Without a fault it is not come by, so the run was not made.
    NotReached,
    /// It was, and nothing went another way.
    SameTrace,
    /// Something did, and nobody minded.
    OtherTrace,
}

/// How a fault was caught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caught {
    /// By which command.
    pub command: String,
    /// With which seed.
    pub seed: u64,
    /// How.
    pub verdict: Verdict,
    /// After how many runs, with this one.
    pub runs: u64,
}

impl Results {
    /// Those of a file, if it is there.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| format!("{}: {error}; it is not of this program, name another file", path.display()))
    }

    /// Writes them in one go.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let new = path.with_extension("new");
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Keeps what still says something about those faults.
    pub fn keep(&mut self, faults: &[Fault]) {
        for fault in faults {
            let (digest, found) = (digest(fault), self.faults.entry(fault.name.clone()).or_default());
            if found.digest != digest {
                *found = Found { digest, ..Found::default() };
            }
        }
        self.faults.retain(|name, _| faults.iter().any(|fault| fault.name == *name));
    }
}

impl Found {
    /// How many runs there were.
    pub fn count(&self) -> u64 {
        let made = |sight: &&Sight| **sight > Sight::NotReached;
        self.runs.values().flat_map(BTreeMap::values).filter(made).count() as u64
    }

    /// The most that a run showed of it.
    pub fn best(&self) -> Option<Sight> {
        self.runs.values().flat_map(BTreeMap::values).max().copied()
    }

    /// Whether a command is of no use for this fault: in the first runs that were made nothing went another way.
    pub fn is_hopeless(&self, command: &str, seed: u64) -> bool {
        let Some(runs) = self.runs.get(command) else { return false };
        let shown: Vec<Sight> =
            runs.range(..seed).map(|(_, sight)| *sight).filter(|s| *s > Sight::NotReached).collect();
        shown.len() >= SAME_TRACE && shown.iter().all(|sight| *sight == Sight::SameTrace)
    }

    /// Why it was not caught, in a few words.
    pub fn escape(&self) -> &'static str {
        match self.best() {
            None | Some(Sight::Unfit) => "not run",
            Some(Sight::NotReached) => "not reached",
            Some(Sight::SameTrace) => "reached, changed nothing",
            Some(Sight::OtherTrace) => "changed runs, noticed by nothing",
        }
    }
}

/// Of the fault itself.
pub fn digest(fault: &Fault) -> String {
    let pieces = fault.pieces.iter().flat_map(|piece| [&piece.file, &piece.find, &piece.replace]);
    hash(pieces.map(String::as_bytes))
}

/// Of several texts.
pub fn hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    data_encoding::HEXLOWER.encode(&hasher.finalize()[..8])
}

/// After so many runs in which nothing went another way, no more are made with that command.
const SAME_TRACE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_shows_nothing_is_left_out_later() {
        let mut found = Found::default();
        let shown = [(1, Sight::Unfit), (2, Sight::NotReached)];
        found.runs.insert("a".to_owned(), shown.into_iter().collect());
        assert_eq!((found.count(), found.escape()), (0, "not reached"), "no run was made");
        found.runs.entry("a".to_owned()).or_default().extend((3..6).map(|seed| (seed, Sight::SameTrace)));
        assert!(!found.is_hopeless("a", 5), "two runs are no proof");
        assert!(found.is_hopeless("a", 6));
        assert!(!found.is_hopeless("b", 6), "of another nothing is known");
        assert_eq!((found.count(), found.escape()), (3, "reached, changed nothing"));
        found.runs.entry("a".to_owned()).or_default().insert(4, Sight::OtherTrace);
        assert!(!found.is_hopeless("a", 6));
        assert_eq!(found.escape(), "changed runs, noticed by nothing");
    }

    #[test]
    fn results_are_those_of_the_fault_as_it_is() {
        let piece = |replace: &str| crate::faults::Piece {
            file: "a.rs".to_owned(),
            find: "a".to_owned(),
            replace: replace.to_owned(),
        };
        let fault = |replace: &str| Fault {
            name: "one".to_owned(),
            core: "c".to_owned(),
            about: "It is.".to_owned(),
            reason: None,
            pieces: vec![piece(replace)],
        };
        let mut results = Results::default();
        results.keep(&[fault("b")]);
        let caught = Caught { command: "a".to_owned(), seed: 1, verdict: Verdict::HungFor(60), runs: 1 };
        results.faults.entry("one".to_owned()).or_default().caught = Some(caught);
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("score.json");
        results.write(&file).expect("it is written");
        let mut again = Results::read(&file).expect("it is read").expect("it is there");
        assert_eq!(again, results);
        again.keep(&[fault("b")]);
        assert_eq!(again, results);
        again.keep(&[fault("c")]);
        assert_eq!(again.faults["one"].caught, None);
        again.keep(&[]);
        assert!(again.faults.is_empty());
    }
}
