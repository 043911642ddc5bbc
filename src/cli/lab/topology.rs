//! The topology of a lab: which nodes may link. It is full, a ring, a line, a grid, or read from a file.
//!
//! A grid is as nearly square as the number of nodes allows, and filled row by row. A file has a line `node-1 node-2`
//! for each link; empty lines, and the rest of a line after a `#`, are ignored.

use crate::cli::failure::Failure;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A topology, as named by `--topology`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    Full,
    Ring,
    Line,
    Grid,
    File(PathBuf),
}

/// The links, as pairs of node indices with the lower one first.
pub(super) struct Links {
    pairs: BTreeSet<(usize, usize)>,
    /// Whether every pair of nodes is linked.
    full: bool,
}

impl Topology {
    /// Parses a topology. A file whose name is one of the words has to be written as `./ring`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "full" => Self::Full,
            "ring" => Self::Ring,
            "line" => Self::Line,
            "grid" => Self::Grid,
            "" => return Err("write full, ring, line, grid, or the name of a file".to_owned()),
            file => Self::File(file.into()),
        })
    }

    /// Returns the links between `count` nodes.
    pub(super) fn links(&self, count: usize) -> Result<Links, Failure> {
        let ordered = |a: usize, b: usize| (a.min(b), a.max(b));
        let next = || (1..count).map(|at| (at - 1, at));
        let pairs: BTreeSet<(usize, usize)> = match self {
            Self::Full => (0..count).flat_map(|b| (0..b).map(move |a| (a, b))).collect(),
            Self::Line => next().collect(),
            Self::Ring => next().chain((count > 2).then(|| (0, count - 1))).collect(),
            Self::Grid => {
                let width = (1..).find(|width| width * width >= count).unwrap_or(1);
                let right = next().filter(|(_, at)| at % width != 0);
                right.chain((width..count).map(|at| (at - width, at))).collect()
            }
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Failure::new(
                        format!("there is no topology, and no file, called {}", path.display()),
                        "write full, ring, line, grid, or the name of a file with a line `node-1 node-2` for each link",
                    ),
                    _ => Failure::file("read", path, &error),
                })?;
                let pairs = parse(&text, count).map_err(|error| {
                    Failure::split(format!("{}: {error}", path.display()), "a link is a line `node-1 node-2`")
                })?;
                pairs.into_iter().map(|(a, b)| ordered(a, b)).collect()
            }
        };
        let full = pairs.len() == count * count.saturating_sub(1) / 2;
        Ok(Links { pairs, full })
    }
}

impl Links {
    /// Whether every pair of nodes may link.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Returns the nodes that a node links with.
    pub(super) fn of(&self, node: usize) -> impl Iterator<Item = usize> {
        self.pairs.iter().filter_map(move |(a, b)| match node {
            _ if node == *a => Some(*b),
            _ if node == *b => Some(*a),
            _ => None,
        })
    }
}

fn parse(text: &str, count: usize) -> Result<Vec<(usize, usize)>, String> {
    let index = |name: &str| {
        let number = name.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok());
        number
            .filter(|number| (1..=count).contains(number))
            .map(|number| number - 1)
            .ok_or_else(|| format!("this lab has no {name}; its nodes are node-1 to node-{count}, more with --nodes"))
    };
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = |error: String| format!("line {}: {error}", number + 1);
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words[..] {
            [] => {}
            [a, b] => {
                let (a, b) = (index(a).map_err(at)?, index(b).map_err(at)?);
                if a == b {
                    return Err(at("a node does not link with itself; name two nodes".to_owned()));
                }
                pairs.push((a, b));
            }
            _ => return Err(at(format!("{line:?} is no link; write two names, as node-1 node-2"))),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(topology: &str, count: usize) -> Vec<(usize, usize)> {
        let topology = Topology::parse(topology).expect("a topology");
        topology.links(count).expect("links").pairs.into_iter().collect()
    }

    #[test]
    fn topologies_have_the_links_that_their_names_say() {
        assert_eq!(pairs("full", 3), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(pairs("line", 4), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(pairs("ring", 4), [(0, 1), (0, 3), (1, 2), (2, 3)]);
        assert_eq!(pairs("ring", 2), [(0, 1)]);
        assert_eq!(pairs("grid", 4), [(0, 1), (0, 2), (1, 3), (2, 3)]);
        // Two rows of three, and one node left over.
        assert_eq!(pairs("grid", 7), [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (3, 6), (4, 5)]);
        for topology in ["full", "line", "ring", "grid"] {
            assert!(pairs(topology, 1).is_empty(), "{topology}");
        }
    }

    #[test]
    fn a_file_lists_links_and_its_mistakes_are_named_by_line() {
        let text = "# a star\nnode-2 node-1\n\nnode-1 node-3 # the long one\n";
        assert_eq!(parse(text, 3), Ok(vec![(1, 0), (0, 2)]));
        for (text, error) in [
            ("node-1 node-2\nnode-1 node-9", "line 2: this lab has no node-9"),
            ("node-1 node-1", "line 1: a node does not link with itself"),
            ("node-1", "line 1: \"node-1\" is no link"),
        ] {
            assert!(parse(text, 3).is_err_and(|said| said.starts_with(error)), "{error}");
        }
    }
}
