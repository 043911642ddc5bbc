//! The planted faults: what they are, and where they lie in the node's sources.
//!
//! `faults/CORE.toml` has those of one core. A fault names one piece of Rust in one file, and what a slip of its
//! programmer would have made of it. The piece is an expression, a block or statements; it is found by its text. Where the
//! text alone would be found elsewhere too, more of the source stands around it, and `⟦` and `⟧` enclose the piece. A slip that
//! takes several places to make has them under `also`.
//!
//! Invariants
//! - Each text is in its file exactly once, as the tests of the project check: a fault cannot rot unseen.
//! - No two pieces overlap.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One planted fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In lower case, with hyphens.
    pub name: String,
    /// The core in which it lies: the name of its file.
    pub core: String,
    /// What it would do to somebody, in one sentence.
    pub about: String,
    /// Why no run can catch it, where that is so.
    pub reason: Option<String>,
    /// Its pieces, at least one.
    pub pieces: Vec<Piece>,
}

/// A piece of the sources, and what is in its place while the fault is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Below the project's root.
    pub file: String,
    /// Text that is in the file once.
    pub find: String,
    /// The faulty piece.
    pub replace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    about: String,
    file: String,
    find: String,
    replace: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    also: Vec<Also>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    /// That of the fault, if not given.
    #[serde(default)]
    file: Option<String>,
    find: String,
    replace: String,
}

/// All faults, in the order of their files. The error says which file is wrong, and what about it.
pub fn load(directory: &Path) -> Result<Vec<Fault>, String> {
    let listed = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut files: Vec<_> = listed.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let (mut faults, mut names) = (Vec::new(), BTreeSet::new());
    for path in files {
        let place = path.display();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{place}: {error}"))?;
        let file: File = toml::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
        let core = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for entry in file.fault {
            let fault = entry.into_fault(&core);
            if !is_name(&fault.name) {
                return Err(format!(
                    "{place}: {:?} is no name of a fault: lower-case letters, digits, hyphens",
                    fault.name
                ));
            }
            if !names.insert(fault.name.clone()) {
                return Err(format!("{place}: two faults are called {}; give this one another name", fault.name));
            }
            faults.push(fault);
        }
    }
    Ok(faults)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Entry {
    fn into_fault(self, core: &str) -> Fault {
        let Self { name, about, file, find, replace, reason, also } = self;
        let more = also.into_iter().map(|Also { file: of, find, replace }| Piece {
            file: of.unwrap_or_else(|| file.clone()),
            find,
            replace,
        });
        let pieces =
            [Piece { file: file.clone(), find, replace }].into_iter().chain(more.collect::<Vec<_>>()).collect();
        Fault { name, core: core.to_owned(), about, reason, pieces }
    }
}

/// Where a piece lies in the text of its file: its bytes, without what only stands around it.
pub fn place(piece: &Piece, text: &str) -> Result<std::ops::Range<usize>, String> {
    let (before, rest) = piece.find.split_once('⟦').unwrap_or(("", &piece.find));
    let (wanted, after) = rest.split_once('⟧').unwrap_or((rest, ""));
    let whole = [before, wanted, after].concat();
    if wanted.trim().is_empty() {
        return Err("`find` names nothing; write the piece of source that the fault changes".to_owned());
    }
    let mut found = text.match_indices(&whole).map(|(at, _)| at);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at + before.len()..at + before.len() + wanted.len()),
        (None, _) => Err("`find` is not in the file any more; take what is there now, or another fault".to_owned()),
        (Some(_), Some(_)) => Err("`find` is there more than once; write more around it, with ⟦ and ⟧".to_owned()),
    }
}

/// What is wrong with the faults, by the sources below `root`: a line for each thing.
pub fn problems(faults: &[Fault], root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let mut taken: BTreeMap<&str, Vec<(std::ops::Range<usize>, &str)>> = BTreeMap::new();
    for fault in faults {
        for text in [Some(&fault.about), fault.reason.as_ref()].into_iter().flatten() {
            if !text.ends_with('.') {
                problems.push(format!("{}.toml: {}: {text:?} is no sentence; end it", fault.core, fault.name));
            }
        }
        for piece in &fault.pieces {
            let what = format!("{}.toml: {}: {}", fault.core, fault.name, piece.file);
            let found = std::fs::read_to_string(root.join(&piece.file)).map_err(|error| error.to_string());
            match found.and_then(|text| place(piece, &text)) {
                Err(problem) => problems.push(format!("{what}: {problem}")),
                Ok(range) => {
                    let known = taken.entry(&piece.file).or_default();
                    let overlaps = |(other, _): &&(std::ops::Range<usize>, &str)| {
                        range.start < other.end && other.start < range.end
                    };
                    if let Some((_, other)) = known.iter().find(overlaps) {
                        problems.push(format!("{what}: it overlaps {other}; narrow one of them"));
                    }
                    known.push((range, &fault.name));
                }
            }
        }
    }
    problems
}
