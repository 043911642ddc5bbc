//! Names: the names of devices, made from other programs' names of nodes.

use super::{Edge, Graph, RESERVED, Raw, sound_name};
use crate::scenario::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};

/// Gives the nodes their names, and the edges the names of their ends.
pub(super) fn finish(raw: Raw) -> Result<Graph, Problem> {
    let mut taken = Taken::default();
    let mut by_id = BTreeMap::new();
    let mut nodes = Vec::with_capacity(raw.nodes.len());
    for mut found in raw.nodes {
        found.node.name = unlike(&plain(&found.node.name), &mut taken);
        let place = found.node.place.clone();
        if by_id.insert(found.id.clone(), found.node.name.clone()).is_some() {
            let what = format!("{place}: there is a node `{}` already", found.id);
            return Err(Problem::new(what, "give each node an identifier of its own"));
        }
        nodes.push(found.node);
    }
    let mut edges = Vec::with_capacity(raw.edges.len());
    let (mut left_out, mut seen) = (0, BTreeSet::new());
    for edge in raw.edges {
        let named = |id: &String| {
            by_id.get(id).cloned().ok_or_else(|| {
                let hint = "name two nodes of the file by their identifiers, or remove the edge";
                Problem::new(format!("{}: no node has the identifier `{id}`", edge.place), hint)
            })
        };
        let ends = [named(&edge.ends[0])?, named(&edge.ends[1])?];
        let fresh = ends[0] != ends[1] && seen.insert((ends.clone(), edge.properties.bearer.clone()));
        if fresh {
            edges.push(Edge { ends, place: edge.place, properties: edge.properties });
        } else {
            left_out += 1;
        }
    }
    Ok(Graph { nodes, edges, left_out })
}

/// Returns the label reduced to the characters that a name may have.
fn plain(label: &str) -> String {
    let mut made = String::new();
    for c in label.chars().map(unaccented) {
        if c.is_ascii_alphanumeric() || (!made.is_empty() && matches!(c, '_' | '.')) {
            made.push(c);
        } else if !made.is_empty() && !made.ends_with('-') {
            made.push('-');
        }
        if made.len() == MOST_LETTERS {
            break;
        }
    }
    let made = made.trim_end_matches('-');
    if made.is_empty() { "node".to_owned() } else { made.to_owned() }
}

/// Returns the letter without its accent, for the letters of western Europe.
fn unaccented(c: char) -> char {
    let first = u32::from('À');
    let place = u32::from(c).checked_sub(first).and_then(|place| usize::try_from(place).ok());
    place.and_then(|place| PLAIN.get(place)).map_or(c, |plain| char::from(*plain))
}

/// The names that are taken, each with the last number that was tried for a similar one.
#[derive(Default)]
struct Taken(BTreeMap<String, usize>);

/// Returns the name, with a number if needed to differ from all earlier names.
fn unlike(name: &str, taken: &mut Taken) -> String {
    let mut made = name.to_owned();
    while taken.0.contains_key(&made) || RESERVED.contains(&made.as_str()) {
        let last = taken.0.entry(name.to_owned()).or_insert(1);
        *last += 1;
        made = format!("{name}-{last}");
    }
    debug_assert!(sound_name(&made).is_ok(), "{made}");
    taken.0.insert(made.clone(), 1);
    made
}

/// The replacements of the letters from À to ÿ.
const PLAIN: &[u8; 64] = b"AAAAAAACEEEEIIIIDNOOOOO-OUUUUYTsaaaaaaaceeeeiiiidnooooo-ouuuuyty";
/// The number of characters taken from a label: a number may follow, and a name has at most 64.
const MOST_LETTERS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_and_stay_apart() {
        let mut taken = Taken::default();
        let labels = ["New York", "Zürich (CH)", "", "New-York", "all", "東京", "--x", &"a".repeat(99), "a.b_c"];
        let made: Vec<String> = labels.iter().map(|label| unlike(&plain(label), &mut taken)).collect();
        let long = "a".repeat(48);
        assert_eq!(
            made,
            ["New-York", "Zurich-CH", "node", "New-York-2", "all-2", "node-2", "x", long.as_str(), "a.b_c"]
        );
        assert!(made.iter().all(|name| sound_name(name).is_ok()));
    }
}
