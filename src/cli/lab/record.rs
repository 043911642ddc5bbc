//! The record of a running lab, `lab.json`: `lab status` and `lab exec` find the lab by it.

use super::nodes::{self, Node, Nodes, State};
use super::view;
use crate::cli::failure::Failure;
use crate::cli::shell::Shell;
use crate::cli::{Cli, Verb, Verdict, dispatch};
use crate::store::{DirectoryLock, LockError};
use clap::Parser;
use clap::error::ErrorKind;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The nodes of a lab, as they are recorded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    nodes: Vec<Entry>,
}

/// A node of the lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pid: u32,
    pub(super) directory: PathBuf,
    listen: Vec<String>,
    /// Whether it was killed on purpose and not started again.
    #[serde(default)]
    killed: bool,
}

impl Record {
    /// Returns the node of that name. The error names the most similar one.
    pub(super) fn find(&self, name: &str) -> Result<&Entry, Failure> {
        self.nodes
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| unknown(name, self.nodes.iter().map(|entry| entry.name.as_str())))
    }
}

/// The failure for a name that no node has.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = nearest.map_or_else(String::new, |nearest| format!("did you mean {nearest}? "));
    Failure::new(format!("the lab has no {name}"), format!("{hint}`m2mesh lab status` lists its nodes"))
}

/// Marks an empty directory as a lab's.
pub(super) fn mark(directory: &Path) -> Result<(), Failure> {
    keep(directory, &Record { nodes: Vec::new() })
}

/// Writes the record of the nodes.
pub(super) fn write(directory: &Path, nodes: &Nodes) -> Result<(), Failure> {
    let entry = |node: &Node| Entry {
        name: node.name.clone(),
        pid: node.pid,
        directory: node.directory.clone(),
        listen: node.listen.clone(),
        killed: node.state == State::Killed,
    };
    keep(directory, &Record { nodes: nodes.all.iter().map(entry).collect() })
}

fn keep(directory: &Path, record: &Record) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(record).map_err(|error| {
        Failure::new(format!("the lab cannot be written down: {error}"), "choose a --dir whose path is valid UTF-8")
    })?;
    let (path, new) = (directory.join(FILE), directory.join("lab.json.new"));
    fs::write(&new, json).and_then(|()| fs::rename(&new, &path)).map_err(|error| Failure::file("write", &path, &error))
}

/// Shows the nodes of the lab that runs in a directory. The verdict is no if a node is down that was not killed on
/// purpose.
pub(super) async fn status(shell: &Shell, directory: &Path) -> Result<Verdict, Failure> {
    let mut nodes = Vec::new();
    for Entry { name, pid, directory, listen, killed } in running(directory)?.nodes {
        let status = nodes::status(&directory).await;
        let state = match &status {
            Some(_) => State::Up,
            None if killed => State::Killed,
            None => State::Ended("it does not answer".to_owned()),
        };
        nodes.push(Node::seen(name, directory, listen, pid, state, status));
    }
    let up = nodes.iter().all(|node| matches!(node.state, State::Up | State::Killed));
    if shell.json {
        shell.object(&nodes.iter().map(view::row).collect::<Vec<_>>())?;
    } else {
        shell.table(&view::HEADER, nodes.iter().map(view::cells).collect())?;
    }
    Ok(Verdict::of(up))
}

/// Runs a verb on a node of the lab that runs in a directory.
pub(super) async fn exec(shell: &Shell, directory: &Path, node: &str, verb: Vec<OsString>) -> Result<Verdict, Failure> {
    let lab = running(directory)?;
    let entry = lab.find(node)?;
    let verb: Vec<OsString> = verb.into_iter().skip_while(|part| part == "--").collect();
    // If the verb's own arguments cannot be parsed, `--json` among them is noticed only here.
    let json = shell.json || verb.iter().any(|part| part == "--json");
    let cli = match Cli::try_parse_from(std::iter::once(OsString::from("m2mesh")).chain(verb)) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            shell.line(error.render().ansi())?;
            return Ok(Verdict::Done);
        }
        Err(error) => return Err(Failure::usage(&error).for_machines(json)),
    };
    if matches!(cli.verb, Verb::Lab(_) | Verb::Run(_) | Verb::Realm(_) | Verb::Join(_)) {
        return Err(Failure::new("this verb is not for a running node", "give a verb as send, receive or status"));
    }
    let json = shell.json || cli.global.json;
    Box::pin(dispatch(cli.verb, Shell::new(Some(entry.directory.clone()), json))).await
}

/// Returns the record of the lab that runs in a directory.
pub(super) fn running(directory: &Path) -> Result<Record, Failure> {
    let none = || {
        Failure::new(
            format!("no lab runs in {}", directory.display()),
            "start one with `m2mesh lab`, or name its directory with --dir",
        )
    };
    let path = directory.join(FILE);
    let json = fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => none(),
        _ => Failure::file("read", &path, &error),
    })?;
    match DirectoryLock::take(directory) {
        Err(LockError::Held { .. }) => {}
        Err(error) => return Err(Failure::new(error.to_string(), "check who owns the directory")),
        Ok(_) => return Err(none()),
    }
    serde_json::from_slice(&json)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display()), "start the lab again"))
}

/// Name of the record's file in the lab's directory.
pub(super) const FILE: &str = "lab.json";
