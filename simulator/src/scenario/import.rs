//! Import: a runnable scenario from a topology that another program has written.
//!
//! The scenario refers to the file, which is not changed: its nodes are the devices, in their groups, and its edges the
//! links. Every device sends to every other, and one device publishes to all. Nodes that are not in the largest part of
//! the network are listed as left out, since messages between parts are impossible.

use super::graph::{self, Graph, Node};
use super::problem::Problem;
use super::{ErrorKind, other};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The text of the scenario.
    pub text: String,
    /// The number of devices.
    pub nodes: usize,
    /// The number of links.
    pub links: usize,
}

/// Makes a scenario from a file of links, or of nodes and links; `nodes` is a separate file of nodes. `called` returns
/// the name of each file in the scenario.
pub fn import(file: &Path, nodes: Option<&Path>, called: impl Fn(&Path) -> String) -> Result<Imported, Problem> {
    let links = read(file)?;
    let standing = nodes.map(read).transpose()?;
    let of_nodes = nodes.map_or_else(|| called(file), &called);
    let all = standing.as_ref().unwrap_or(&links);
    if links.edges.is_empty() {
        let hint = "name a file of links, and one of nodes with --nodes";
        return Err(Problem::new(format!("{}: there are no links in it", file.display()), hint));
    }
    let whole = Graph { nodes: all.nodes.clone(), edges: links.edges.clone(), left_out: 0 };
    let part = whole.largest_part();
    let (kept, apart): (Vec<&Node>, Vec<&Node>) = all.nodes.iter().partition(|node| part.contains(node.name.as_str()));
    let count = links.edges.iter().filter(|edge| edge.ends.iter().all(|end| part.contains(end.as_str()))).count();
    let title = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text =
        written(&Parts { title, links: &links, file: called(file), of_nodes, kept: &kept, apart: &apart, count });
    Ok(Imported { text, nodes: kept.len(), links: count })
}

fn read(path: &Path) -> Result<Graph, Problem> {
    let shown = path.display().to_string();
    let text = other(path).map_err(|(what, hint)| {
        let missing = std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        Problem::new(what, if missing { "check the path" } else { hint })
    })?;
    graph::read(&shown, &text)
}

struct Parts<'a> {
    title: String,
    links: &'a Graph,
    file: String,
    of_nodes: String,
    kept: &'a [&'a Node],
    apart: &'a [&'a Node],
    count: usize,
}

fn written(parts: &Parts<'_>) -> String {
    let Parts { title, links, file, of_nodes, kept, apart, count } = parts;
    let mut text = String::new();
    let question = format!("Does {title} carry messages between any two of its devices, and publications to all?");
    let mut about = format!("Made of {file}: {} devices and {count} links.", kept.len());
    if !apart.is_empty() {
        about.push_str(&format!(" {} of its nodes have no way to these, and are left out.", apart.len()));
    }
    if links.left_out > 0 {
        let left_out =
            format!(" {} of its edges are left out: beside another, or from a node to itself.", links.left_out);
        about.push_str(&left_out);
    }
    let hidden = "a text takes what is written to it";
    let mut line = |line: String| writeln!(text, "{line}").expect(hidden);
    line(format!("question = {}", quoted(&question)));
    line(format!("about = {}", quoted(&about)));
    line("warmup = \"1m\"\nduration = \"10m\"\nsettle = \"2m\"".into());
    line("expect = [".into());
    for expected in ["delivered >= 99.9%", "publications.missed == 0", "duplicates == 0", "latency.p99 <= 2s"] {
        line(format!("    {},", quoted(expected)));
    }
    line("]".into());
    let bearers: BTreeSet<&str> =
        links.edges.iter().map(|edge| edge.properties.bearer.as_deref().unwrap_or(LINE)).collect();
    for bearer in &bearers {
        line(format!("\n[bearers.{}]", key(bearer)));
        line("delay = \"1ms\"                       # of devices at both ends; distances add to it".into());
    }
    let grouped = kept.iter().any(|node| node.group.is_some());
    let groups: BTreeSet<String> = match grouped {
        true => kept.iter().filter_map(|node| node.group.clone()).collect(),
        false => BTreeSet::from([free(kept)]),
    };
    for (place, group) in groups.iter().enumerate() {
        line(format!("\n[devices.{}]", key(group)));
        line(format!("file = {}", quoted(of_nodes)));
        let names: Vec<String> = apart.iter().map(|node| quoted(&node.name)).collect();
        if place == 0 && !names.is_empty() {
            line(format!("without = [{}]", names.join(", ")));
        }
    }
    line(format!("\n[[links]]\nkind = \"file\"\nfile = {}", quoted(file)));
    if bearers.len() > 1 && bearers.contains(LINE) {
        line(format!("bearer = {}", quoted(LINE)));
    }
    line("per_km = \"5us\"                      # light in fibre".into());
    let publisher = kept.first().map_or("", |node| node.name.as_str());
    line("\n[[traffic]]\nname = \"messages\"\nkind = \"send\"\nfrom = \"all\"\nto = \"all\"\nrate = \"2/m\"".into());
    line("\n[[traffic]]\nname = \"news\"\nkind = \"publish\"\ntopic = \"news\"".into());
    line(format!("from = {}\nevery = \"10s\"", quoted(publisher)));
    text
}

/// Returns a group's name that no device has.
fn free(nodes: &[&Node]) -> String {
    let numbered = (1..).map(|number| format!("node{number}"));
    let mut names = std::iter::once("node".to_owned()).chain(numbered);
    names.find(|name| nodes.iter().all(|node| node.name != *name)).unwrap_or_default()
}

/// Returns a text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Returns a text as a TOML key.
fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { text.to_owned() } else { quoted(text) }
}

/// The bearer of edges for which the file names none.
const LINE: &str = "line";
