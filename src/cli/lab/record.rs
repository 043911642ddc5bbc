//! `lab.json`, by which a running lab is found: `lab status`, `lab exec`.

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

/// What there is.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    nodes: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    pid: u32,
    directory: PathBuf,
    listen: Vec<String>,
}

/// Marks a directory as a lab's, before there is anything in it.
pub(super) fn mark(directory: &Path) -> Result<(), Failure> {
    keep(directory, &Record { nodes: Vec::new() })
}

/// Writes down what there is.
pub(super) fn write(directory: &Path, nodes: &Nodes) -> Result<(), Failure> {
    let entry = |node: &Node| Entry {
        name: node.name.clone(),
        pid: node.pid,
        directory: node.directory.clone(),
        listen: node.listen.clone(),
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

/// Shows the nodes of the lab that runs in a directory. A definite no when one of them is not up.
pub(super) async fn status(shell: &Shell, directory: &Path) -> Result<Verdict, Failure> {
    let mut nodes = Vec::new();
    for Entry { name, pid, directory, listen } in running(directory)?.nodes {
        let status = nodes::status(&directory).await;
        let state = match &status {
            Some(_) => State::Up,
            None => State::Ended("it does not answer".to_owned()),
        };
        nodes.push(Node { name, directory, listen, pid, state, status });
    }
    let up = nodes.iter().all(|node| node.state == State::Up);
    if shell.json {
        shell.object(&nodes.iter().map(view::row).collect::<Vec<_>>())?;
    } else {
        shell.table(&view::HEADER, nodes.iter().map(view::cells).collect())?;
    }
    Ok(Verdict::of(up))
}

/// Runs a verb against a node of the lab that runs in a directory.
pub(super) async fn exec(shell: &Shell, directory: &Path, node: &str, verb: Vec<OsString>) -> Result<Verdict, Failure> {
    let Record { nodes } = running(directory)?;
    let Some(entry) = nodes.iter().find(|entry| entry.name == node) else {
        let nearest = nodes.iter().max_by(|a, b| {
            let likeness = |entry: &Entry| strsim::jaro_winkler(&entry.name, node);
            likeness(a).total_cmp(&likeness(b))
        });
        let hint = nearest.map_or_else(String::new, |nearest| format!("did you mean {}? ", nearest.name));
        return Err(Failure::new(
            format!("the lab has no {node}"),
            format!("{hint}`m2mesh lab status` lists its nodes"),
        ));
    };
    let verb = verb.into_iter().skip_while(|part| part == "--");
    let cli = match Cli::try_parse_from(std::iter::once(OsString::from("m2mesh")).chain(verb)) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            shell.line(error.render().ansi())?;
            return Ok(Verdict::Done);
        }
        Err(error) => {
            let text = error.render().to_string();
            let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(Failure::new(what, "`m2mesh VERB --help` tells a verb's arguments"));
        }
    };
    if matches!(cli.verb, Verb::Lab(_) | Verb::Run(_) | Verb::Realm(_) | Verb::Join(_)) {
        return Err(Failure::new("this verb is not for a running node", "give a verb as send, receive or status"));
    }
    let json = shell.json || cli.global.json;
    Box::pin(dispatch(cli.verb, Shell::new(Some(entry.directory.clone()), json))).await
}

/// The record of the lab that runs in a directory.
fn running(directory: &Path) -> Result<Record, Failure> {
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

/// Its name in the lab's directory.
pub(super) const FILE: &str = "lab.json";
