//! JSON with nodes and links, as graph libraries write it: `nodes` with an `id`, `links` or `edges` with a `source` and
//! a `target`.
//!
//! A node's `pos` is its longitude and latitude, unless at least one `pos` exceeds the range of degrees: then all are
//! coordinates of a plane, in metres. If no node has an `id`, links refer to nodes by their place in the list, from 0
//! on.

use super::attributes::{self, Attributes};
use super::{Position, Raw, RawEdge, RawNode};
use crate::scenario::problem::Problem;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct File {
    nodes: Vec<Map<String, Value>>,
    #[serde(alias = "edges")]
    links: Vec<Map<String, Value>>,
}

pub(super) fn read(name: &str, text: &str) -> Result<Raw, Problem> {
    let file: File = serde_json::from_str(text).map_err(|error| unreadable(name, &error))?;
    let is_degrees = |pos: [f64; 2]| pos[0].abs() <= 180.0 && pos[1].abs() <= 90.0;
    let geographic = file.nodes.iter().filter_map(pair).all(is_degrees);
    let mut raw = Raw::default();
    for (number, own) in file.nodes.iter().enumerate() {
        let place = format!("{name}: nodes[{number}]");
        let attributes = scalars(own, &place);
        let id = own.get("id").and_then(scalar).unwrap_or_else(|| number.to_string());
        let label = attributes.label().unwrap_or(&id).to_owned();
        let mut node = attributes.node(label)?;
        node.position = match (node.position, pair(own)) {
            (None, Some([x, y])) if geographic => Some(Position::Degrees { latitude: y, longitude: x }),
            (None, Some(point)) => Some(attributes::metres(point, &place)?),
            (position, _) => position,
        };
        raw.nodes.push(RawNode { id, node });
    }
    for (number, own) in file.links.iter().enumerate() {
        let place = format!("{name}: links[{number}]");
        let end = |key: &str| {
            own.get(key).and_then(scalar).ok_or_else(|| {
                let hint = format!("add \"{key}\" with a node's `id`");
                Problem::new(format!("{place}: the link has no `{key}`"), hint)
            })
        };
        let ends = [end("source")?, end("target")?];
        let properties = scalars(own, &place).edge()?;
        raw.edges.push(RawEdge { ends, place, properties });
    }
    Ok(raw)
}

/// Returns the problem of an unreadable JSON file.
pub(super) fn unreadable(name: &str, error: &serde_json::Error) -> Problem {
    let what = format!("{name}:{}: this cannot be read: {error}", error.line());
    Problem::new(what, "correct it, or write the file again with the program that made it")
}

/// Returns the attributes that have a single value.
pub(super) fn scalars<'p>(own: &Map<String, Value>, place: &'p str) -> Attributes<'p> {
    let mut attributes = Attributes::new(place);
    for (key, value) in own {
        if let Some(text) = scalar(value) {
            attributes.add(key, &text);
        }
    }
    attributes
}

/// Returns a value that is one word or number.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns a node's `pos`.
fn pair(own: &Map<String, Value>) -> Option<[f64; 2]> {
    match own.get("pos")?.as_array()?.as_slice() {
        [x, y, ..] => Some([x.as_f64()?, y.as_f64()?]),
        _ => None,
    }
}
