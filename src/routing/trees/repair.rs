//! Repair: carries a shortest-path tree over to a graph that has changed a little.
//!
//! Steps
//! 1. Match the nodes and edges of the two graphs, both of which are sorted.
//! 2. Discard how a node is reached if an edge on its path is gone or costs more.
//! 3. Offer each such node the edges that reach it from others, and each node the edges that are new or cost less.
//! 4. Continue from the nodes that accepted an offer, nearest first, as when a tree is grown (dynamic shortest paths in
//!    the manner of Ramalingam and Reps, 1996).
//!
//! Since how a node is reached depends on the finished tree alone ([`Reach`]), the result is the tree that would have
//! been grown.

use crate::id::Pseudonym;
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use crate::routing::search::{CLOSED, FAR, NO_EDGE, Queue, ROOT, Reach, Step};
use std::cmp::{Ordering, Reverse};

/// A tree is grown anew if more than one edge in this many has changed.
const MANY: usize = 4;

/// What must be known of a graph to match another with it, besides the ends of its edges.
#[derive(Debug)]
pub struct Shape {
    nodes: Vec<Pseudonym>,
    bearers: Vec<u8>,
}

impl Shape {
    /// Takes the shape of a graph.
    pub fn of(graph: &Graph) -> Self {
        Self { nodes: graph.nodes().to_vec(), bearers: graph.edges().iter().map(|edge| edge.bearer).collect() }
    }

    /// Whether a graph equals the one of this shape, given that their edges have the same ends.
    pub fn is(&self, graph: &Graph) -> bool {
        self.nodes == graph.nodes() && self.bearers.iter().eq(graph.edges().iter().map(|edge| &edge.bearer))
    }
}

/// Carries a tree of an old graph, by the steps `old`, over to `graph`, by the steps `new`. `None` if it is better
/// grown anew, or if its root is gone.
pub fn repaired(shape: &Shape, old: &[Step], tree: &[Reach], graph: &Graph, new: &[Step]) -> Option<Vec<Reach>> {
    let nodes = matched_nodes(&shape.nodes, graph.nodes());
    let (edges, better) = matched_edges(shape, old, &nodes, graph, new)?;
    let mut reach = vec![FAR; graph.len()];
    let lost = lost(old, tree, &edges);
    let mut queue = Queue::new();
    for (at, (before, lost)) in tree.iter().zip(&lost).enumerate() {
        if nodes[at] == NO_NODE || *lost {
            continue;
        }
        let edge = if before.edge == NO_EDGE { NO_EDGE } else { edges[before.edge as usize] };
        reach[nodes[at] as usize] = Reach { edge, ..*before };
    }
    if !reach.contains(&ROOT) {
        return None;
    }
    for node in (0..).take(graph.len()) {
        if !reach[node as usize].known() {
            for (edge, _) in graph.into(node) {
                offer(&mut reach, &mut queue, new, edge);
            }
        }
    }
    for edge in better {
        offer(&mut reach, &mut queue, new, edge);
    }
    while let Some(Reverse((cost, hops, node))) = queue.pop() {
        if reach[node as usize].key() == (cost, hops) {
            for (edge, _) in graph.from(node) {
                offer(&mut reach, &mut queue, new, edge);
            }
        }
    }
    Some(reach)
}

const NO_NODE: NodeIndex = NodeIndex::MAX;

fn offer(reach: &mut [Reach], queue: &mut Queue, steps: &[Step], edge: EdgeIndex) {
    let step = &steps[edge as usize];
    let origin = reach[step.from as usize];
    if step.objective == CLOSED || !origin.known() {
        return;
    }
    let (cost, hops) = (origin.cost.saturating_add(step.objective), origin.hops + 1);
    if reach[step.to as usize].offer(cost, hops, edge) {
        queue.push(Reverse((cost, hops, step.to)));
    }
}

/// For each old node, its new index, or [`NO_NODE`].
fn matched_nodes(old: &[Pseudonym], new: &[Pseudonym]) -> Vec<NodeIndex> {
    let mut at = 0;
    let place = |node: &Pseudonym| {
        while new.get(at).is_some_and(|other| other < node) {
            at += 1;
        }
        let found = new.get(at).is_some_and(|other| other == node);
        NodeIndex::try_from(at).ok().filter(|_| found).unwrap_or(NO_NODE)
    };
    old.iter().map(place).collect()
}

/// For each old edge, its new index, or [`NO_EDGE`] if it is gone or costs more; and the new edges that were added or
/// cost less. `None` if too many have changed.
fn matched_edges(
    shape: &Shape,
    old: &[Step],
    nodes: &[NodeIndex],
    graph: &Graph,
    new: &[Step],
) -> Option<(Vec<EdgeIndex>, Vec<EdgeIndex>)> {
    let most = new.len() / MANY;
    let (mut places, mut better) = (vec![NO_EDGE; old.len()], Vec::new());
    let (mut at, mut changed) = (0, 0);
    for (place, (step, bearer)) in places.iter_mut().zip(old.iter().zip(&shape.bearers)) {
        let (from, to) = (nodes[step.from as usize], nodes[step.to as usize]);
        if from == NO_NODE || to == NO_NODE {
            continue;
        }
        while let (Some(other), Some(edge)) = (new.get(at), graph.edges().get(at)) {
            let this = EdgeIndex::try_from(at).unwrap_or(NO_EDGE);
            match (other.from, other.to, edge.bearer).cmp(&(from, to, *bearer)) {
                Ordering::Less => better.push(this),
                Ordering::Greater => break,
                Ordering::Equal => {
                    if other.objective <= step.objective {
                        *place = this;
                    }
                    match other.objective.cmp(&step.objective) {
                        Ordering::Less => better.push(this),
                        Ordering::Greater => changed += 1,
                        Ordering::Equal => {}
                    }
                    at += 1;
                    break;
                }
            }
            at += 1;
        }
    }
    better.extend((0..).take(new.len()).skip(at));
    (changed + better.len() <= most).then_some((places, better))
}

/// Which old nodes were reached over an edge that is gone or costs more.
fn lost(old: &[Step], tree: &[Reach], edges: &[EdgeIndex]) -> Vec<bool> {
    let mut known: Vec<Option<bool>> = tree.iter().map(|reach| (reach.edge == NO_EDGE).then_some(false)).collect();
    let mut trail = Vec::new();
    for mut node in 0..tree.len() {
        let verdict = loop {
            if let Some(verdict) = known[node] {
                break verdict;
            }
            trail.push(node);
            let edge = tree[node].edge as usize;
            if edges[edge] == NO_EDGE {
                break true;
            }
            node = old[edge].from as usize;
        };
        for node in trail.drain(..) {
            known[node] = Some(verdict);
        }
    }
    known.into_iter().map(|verdict| verdict == Some(true)).collect()
}
