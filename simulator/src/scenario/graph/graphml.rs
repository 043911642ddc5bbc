//! GraphML: `node` and `edge` elements, whose `data` elements have keys that are declared at the beginning.
//!
//! It does not matter whether a graph calls itself directed: an edge holds in both directions, unless there is another
//! in the opposite direction. Graphs within nodes are read as if they were not nested. A node without a label has that
//! of its picture, if an editor has drawn one.

use super::attributes::Attributes;
use super::{Raw, RawEdge, RawNode};
use crate::scenario::problem::Problem;
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::BTreeMap;

pub(super) fn read(name: &str, text: &str) -> Result<Raw, Problem> {
    // Without document types there are no entities that could expand.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MOST_ELEMENTS, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let what = format!("{name}:{}: this is no XML: {error}", error.pos().row);
        Problem::new(what, "write the file again with the program that made it")
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "graphml" {
        let what = format!("{name}: this is no GraphML, but <{}>", root.tag_name().name());
        return Err(Problem::new(what, "name a file whose outermost element is <graphml>"));
    }
    let mut rows = Rows { at: 0, row: 1, text };
    let declared = keys(root);
    let mut raw = Raw::default();
    for element in root.descendants().filter(Node::is_element) {
        let tag = element.tag_name().name();
        if !matches!(tag, "node" | "edge") || element.tag_name().namespace() != root.tag_name().namespace() {
            continue;
        }
        let place = format!("{name}:{}", rows.of(element.range().start));
        let needed = |key: &str| {
            element.attribute(key).map(str::to_owned).ok_or_else(|| {
                let what = format!("{place}: the {tag} has no `{key}`");
                Problem::new(what, format!("add {key}=\"…\", or write the file again with the program that made it"))
            })
        };
        let mut attributes = Attributes::new(&place);
        let own = element.children().filter(|child| child.tag_name().name() == "data");
        for data in own {
            let key = data.attribute("key").unwrap_or_default();
            let known = declared.get(key).copied().unwrap_or(key);
            attributes.add(known, data.text().unwrap_or_default());
        }
        if tag == "node" {
            let id = needed("id")?;
            let drawn = || element.descendants().find(|child| child.tag_name().name() == "NodeLabel");
            let label = attributes.label().map(str::to_owned);
            let label = label.or_else(|| Some(drawn()?.text()?.trim().to_owned()).filter(|label| !label.is_empty()));
            let node = attributes.node(label.unwrap_or_else(|| id.clone()))?;
            raw.nodes.push(RawNode { id, node });
        } else {
            let ends = [needed("source")?, needed("target")?];
            let properties = attributes.edge()?;
            raw.edges.push(RawEdge { ends, place, properties });
        }
    }
    Ok(raw)
}

/// Returns the names of attributes by their keys.
fn keys<'d>(root: Node<'d, '_>) -> BTreeMap<&'d str, &'d str> {
    let all = root.children().filter(|child| child.tag_name().name() == "key");
    all.filter_map(|key| Some((key.attribute("id")?, key.attribute("attr.name")?))).collect()
}

/// The numbers of lines, queried in the order of the file, so that the text is scanned once.
struct Rows<'t> {
    at: usize,
    row: usize,
    text: &'t str,
}

impl Rows<'_> {
    fn of(&mut self, position: usize) -> usize {
        let passed = self.text.get(self.at..position).unwrap_or_default();
        self.row += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.at = self.at.max(position);
        self.row
    }
}

/// The number of elements, attribute texts and similar nodes of a file: several for each node and edge.
const MOST_ELEMENTS: u32 = 20_000_000;
