//! Graphs: topologies that other programs have written, and tables of links and nodes.
//!
//! What a file is, its ending says ([`read`]): GraphML, GML, JSON with nodes and links, GeoJSON; anything else is a table
//! with a line for each link or node ([`table`]). Each reader gives the same [`Graph`]: nodes with a name, and perhaps a
//! position, a group and a role; edges between two names, with what the file says of how they behave. Attributes go by the
//! names that such files usually give them ([`attributes`]); others are left alone.
//!
//! Files of other programs call their nodes as they like. A node's name here is made of its label, with letters, digits
//! and dashes, and is unlike that of every other node ([`names`]). Tables are the user's own: names there are taken as they
//! stand, and every column has to be a known one.
//!
//! Invariants
//! 1. No input makes a reader fail otherwise than with a [`Problem`] that says where in which file, and what to do.
//! 2. Names of nodes are unlike each other, and each is a [`Name`]; an edge joins two names, and every one of them is a
//!    node's.
//! 3. What is read is bounded: [`MOST_NODES`], [`MOST_EDGES`], and [`MOST_BYTES`] of a file's text.

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

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// In the order of the file.
    pub nodes: Vec<Node>,
    /// In the order of the file. At most one from one node to another over the same bearer.
    pub edges: Vec<Edge>,
    /// Edges of the file that are not among these: from a node to itself, or a second one from and to the same nodes.
    pub left_out: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name, as a device has it.
    pub name: String,
    /// Where the file says so: `site.csv:3`.
    pub place: String,
    /// Where it stands.
    pub position: Option<Position>,
    /// Its group.
    pub group: Option<String>,
    /// Whether it forwards for others.
    pub forwarding: Option<bool>,
    /// Area whose link state it shares.
    pub area: Option<u32>,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position {
    /// East and north.
    Metres([f64; 2]),
    /// On the earth, in degrees.
    Degrees {
        /// North of the equator.
        latitude: f64,
        /// East of Greenwich.
        longitude: f64,
    },
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Names of its nodes.
    pub ends: [String; 2],
    /// Where the file says so.
    pub place: String,
    /// How it behaves from the first to the second.
    pub properties: Properties,
}

/// Reads a file's text; `name` is the file's.
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

/// What a reader of another program's format gives: nodes by their identifiers in the file.
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

/// Nodes that only edges name, which have nothing but their name.
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
    /// The names of the largest part of which every node has a way to every other; of the first one where several are as
    /// large.
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

/// Whether a word can be a device's name; the error says why not.
fn sound_name(word: &str) -> Result<(), String> {
    match Name::new(word) {
        Ok(_) if RESERVED.contains(&word) => Err(format!("a device cannot be called `{word}`, which means others")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{word:?} cannot be a device's name: {error}")),
    }
}

/// Words of a scenario that mean devices by themselves.
const RESERVED: [&str; 2] = ["all", "neighbours"];
/// Nodes of a file: as many as a plan has devices.
pub const MOST_NODES: usize = 20_000;
/// Edges of a file: as many as a plan has.
pub const MOST_EDGES: usize = 1_000_000;
/// Bytes of a file.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;
