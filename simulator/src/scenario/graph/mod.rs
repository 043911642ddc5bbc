//! Graphs: topologies that other programs have written, and tables of links and nodes.
//!
//! The extension of a file determines its format ([`read`]): GraphML, GML, JSON with nodes and links, GeoJSON; any
//! other file is a table with a line for each link or node ([`table`]). Each reader returns the same [`Graph`]: nodes
//! with a name, and perhaps a position, a group and a role; edges between two names, with their properties from the
//! file. Attributes have the names that such files usually use ([`attributes`]); others are ignored.
//!
//! The names of nodes in other programs' files are arbitrary. A node's name here is made from its label, with letters,
//! digits and dashes, and is unique ([`names`]). Tables are the user's own: their names are taken as they are, and
//! every column has to be a known one.
//!
//! Invariants
//! 1. For every input a reader returns a graph, or a [`Problem`] with its place in the file and the next step.
//! 2. Names of nodes are unique, and each is a [`Name`]; an edge joins two names, and each of them is that of a node.
//! 3. A file has at most [`MOST_NODES`] nodes.
//! - A file has at most [`MOST_EDGES`] edges and [`MOST_BYTES`] of text.

mod attributes;
pub mod geo;
mod geojson;
mod gml;
mod graphml;
mod json;
mod names;
mod table;
#[cfg(test)]
mod tests;

pub use attributes::Properties;
pub use table::rows;

use super::problem::Problem;
use m2mesh::id::Name;
use std::collections::{BTreeMap, BTreeSet};

/// A graph: see the module's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The nodes in the order of the file.
    pub nodes: Vec<Node>,
    /// The edges in the order of the file. There is at most one from one node to another over the same bearer.
    pub edges: Vec<Edge>,
    /// The number of edges of the file that are not among these: from a node to itself, or a second one from and to the
    /// same nodes.
    pub left_out: usize,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name, which is a valid name of a device.
    pub name: String,
    /// The place in the file: `site.csv:3`.
    pub place: String,
    /// The position.
    pub position: Option<Position>,
    /// The group.
    pub group: Option<String>,
    /// Whether it forwards for others.
    pub forwarding: Option<bool>,
    /// The area whose link state it shares.
    pub area: Option<u32>,
}

/// The position of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position {
    /// On a plane, in metres east and north.
    Metres([f64; 2]),
    /// On the earth, in degrees.
    Degrees {
        /// The latitude, north of the equator.
        latitude: f64,
        /// The longitude, east of Greenwich.
        longitude: f64,
    },
}

/// An edge of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The names of its nodes.
    pub ends: [String; 2],
    /// The place in the file.
    pub place: String,
    /// The properties from the first node to the second.
    pub properties: Properties,
}

/// Reads the text of a file; `name` is that of the file.
pub fn read(name: &str, text: &str) -> Result<Graph, Problem> {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let raw = match ending.as_deref() {
        Some("graphml" | "xml") => graphml::read(name, text)?,
        Some("gml") => gml::read(name, text)?,
        Some("geojson") => geojson::read(name, text)?,
        Some("json") if geojson::is_one(text) => geojson::read(name, text)?,
        Some("json") => json::read(name, text)?,
        _ => {
            let graph = table::read(name, text)?;
            bounded(name, graph.nodes.len(), graph.edges.len())?;
            return Ok(graph);
        }
    };
    bounded(name, raw.nodes.len(), raw.edges.len())?;
    names::finish(raw)
}

/// The result of a reader of another program's format: nodes by their identifiers in the file.
#[derive(Debug, Default)]
struct Raw {
    nodes: Vec<RawNode>,
    edges: Vec<RawEdge>,
}

#[derive(Debug)]
struct RawNode {
    id: String,
    node: Node,
}

#[derive(Debug)]
struct RawEdge {
    ends: [String; 2],
    place: String,
    properties: Properties,
}

fn bounded(name: &str, nodes: usize, links: usize) -> Result<(), Problem> {
    for (what, count, most) in [("nodes", nodes, MOST_NODES), ("links", links, MOST_EDGES)] {
        if count > most {
            let hint = format!("at most {most} can be: take a part of it");
            return Err(Problem::new(format!("{name}: it has {count} {what}"), hint));
        }
    }
    Ok(())
}

/// Returns the nodes that only edges name, which have only their name.
fn implied(edges: &[Edge]) -> Vec<Node> {
    let mut seen = BTreeSet::new();
    let ends = edges.iter().flat_map(|edge| edge.ends.iter().map(move |end| (end, &edge.place)));
    let first = ends.filter(|(end, _)| seen.insert(end.as_str()));
    first.map(|(end, place)| Node::new(end.clone(), place.clone())).collect()
}

impl Node {
    fn new(name: String, place: String) -> Self {
        Self { name, place, position: None, group: None, forwarding: None, area: None }
    }
}

impl Graph {
    /// Returns the names of the largest part in which every node has a path to every other; if several are as large,
    /// the first.
    pub fn largest_part(&self) -> BTreeSet<&str> {
        let mut near = BTreeMap::<&str, Vec<&str>>::new();
        for edge in &self.edges {
            let [one, other] = &edge.ends;
            near.entry(one).or_default().push(other);
            near.entry(other).or_default().push(one);
        }
        let (mut seen, mut largest) = (BTreeSet::new(), BTreeSet::new());
        for node in &self.nodes {
            let (mut part, mut open) = (BTreeSet::new(), vec![node.name.as_str()]);
            while let Some(at) = open.pop() {
                if seen.insert(at) {
                    part.insert(at);
                    open.extend(near.get(at).into_iter().flatten());
                }
            }
            if part.len() > largest.len() {
                largest = part;
            }
        }
        largest
    }
}

/// Checks that a word can be a device's name; the error says why not.
fn sound_name(word: &str) -> Result<(), String> {
    match Name::new(word) {
        Ok(_) if RESERVED.contains(&word) => Err(format!("a device cannot be called `{word}`, which means others")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{word:?} cannot be a device's name: {error}")),
    }
}

/// The words that have a meaning of their own in a scenario's lists of devices.
const RESERVED: [&str; 2] = ["all", "neighbours"];
/// The number of nodes of a file, which is that of the devices of a plan.
pub const MOST_NODES: usize = 20_000;
/// The number of edges of a file, which is that of a plan.
pub const MOST_EDGES: usize = 1_000_000;
/// The size of a file in bytes.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;
