//! Shortest-path trees: Dijkstra's algorithm on a binary heap, away from a node or towards a set of nodes.
//!
//! Paths are ranked by cost, then by hops; of paths that tie in both, a node keeps the edge with the lowest index. This
//! rule depends on the finished tree and not on the order in which it grew, so a repaired tree equals one that is grown
//! anew.

use super::objective::{CLOSED, Step};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The edge of a root, and of a node that was not reached.
pub const NO_EDGE: EdgeIndex = EdgeIndex::MAX;

/// How a node is reached in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The cost from or to the nearest root; saturates.
    pub cost: u64,
    /// The number of edges of that path.
    pub hops: u32,
    /// The path's edge at this node, or [`NO_EDGE`].
    pub edge: EdgeIndex,
}

/// The value of a node that was not reached.
pub const FAR: Reach = Reach { cost: u64::MAX, hops: u32::MAX, edge: NO_EDGE };
/// The value of a root.
pub const ROOT: Reach = Reach { cost: 0, hops: 0, edge: NO_EDGE };

impl Reach {
    /// Whether a path is known.
    pub fn known(&self) -> bool {
        self.hops != u32::MAX
    }

    /// The value that paths are ranked by.
    pub fn key(&self) -> (u64, u32) {
        (self.cost, self.hops)
    }

    /// Offers another path. Returns whether it is shorter, and not only equal.
    #[inline]
    pub fn offer(&mut self, cost: u64, hops: u32, edge: EdgeIndex) -> bool {
        if (cost, hops) < self.key() {
            *self = Self { cost, hops, edge };
            return true;
        }
        if (cost, hops) == self.key() && edge < self.edge && self.edge != NO_EDGE {
            self.edge = edge;
        }
        false
    }
}

/// A network in which a tree grows: nodes from 0 on, and edges by index, lower ones preferred.
pub trait Net {
    /// The number of nodes.
    fn len(&self) -> usize;
    /// The edges that leave a node, and where they lead.
    fn from(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)>;
    /// The edges that reach a node, and where they begin.
    fn into(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)>;
    /// The nodes where an edge begins and where it leads.
    fn ends(&self, edge: EdgeIndex) -> (NodeIndex, NodeIndex);
}

/// A whole graph as a network.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The graph's edges as steps.
    pub steps: &'a [Step],
}

impl Net for Whole<'_> {
    fn len(&self) -> usize {
        self.graph.len()
    }

    fn from(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)> {
        self.graph.from(node).map(|(edge, _)| (edge, self.steps[edge as usize].to))
    }

    fn into(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)> {
        self.graph.into(node).map(|(edge, _)| (edge, self.steps[edge as usize].from))
    }

    fn ends(&self, edge: EdgeIndex) -> (NodeIndex, NodeIndex) {
        let step = &self.steps[edge as usize];
        (step.from, step.to)
    }
}

/// The nodes to visit, ordered by cost, hops and index.
pub type Queue = BinaryHeap<Reverse<(u64, u32, NodeIndex)>>;

/// A shortest-path tree: from its roots along the edges if `AWAY`, otherwise towards them against the edges.
#[derive(Clone, Debug)]
pub struct Tree<const AWAY: bool> {
    /// How each node is reached, by index.
    pub reach: Vec<Reach>,
    /// The nodes whose path is final, nearest first.
    pub settled: Vec<NodeIndex>,
}

/// A tree from a node to all others.
pub type From = Tree<true>;
/// A tree from all nodes to the nearest of several roots.
pub type Towards = Tree<false>;

impl<const AWAY: bool> Tree<AWAY> {
    /// Grows a tree from `roots`. A node is left out if `within` returns `false` for it and its cost. The tree ends
    /// when `stop` returns `true` for a settled node.
    pub fn grow(
        net: &impl Net,
        roots: &[NodeIndex],
        cost: impl Fn(usize) -> u64,
        within: impl Fn(NodeIndex, u64) -> bool,
        mut stop: impl FnMut(NodeIndex, &Reach) -> bool,
    ) -> Self {
        let mut tree = Self { reach: vec![FAR; net.len()], settled: Vec::new() };
        let mut queue = Queue::with_capacity(net.len() / 4);
        for root in roots {
            tree.reach[*root as usize] = ROOT;
            queue.push(Reverse((0, 0, *root)));
        }
        while let Some(Reverse((so_far, hops, node))) = queue.pop() {
            let reach = tree.reach[node as usize];
            if reach.key() != (so_far, hops) {
                continue;
            }
            tree.settled.push(node);
            if stop(node, &reach) {
                break;
            }
            let mut relax = |(edge, next): (EdgeIndex, NodeIndex)| {
                let cost = cost(edge as usize);
                if cost == CLOSED {
                    return;
                }
                let sum = so_far.saturating_add(cost);
                if within(next, sum) && tree.reach[next as usize].offer(sum, hops + 1, edge) {
                    queue.push(Reverse((sum, hops + 1, next)));
                }
            };
            if AWAY {
                net.from(node).for_each(&mut relax);
            } else {
                net.into(node).for_each(&mut relax);
            }
        }
        tree
    }
}

impl From {
    /// Grows the whole tree by objective.
    pub fn all(graph: &Graph, steps: &[Step], from: NodeIndex) -> Self {
        Self::grow(&Whole { graph, steps }, &[from], |edge| steps[edge].objective, |_, _| true, |_, _| false)
    }

    /// The path to the nearest of `to`; of equal ones, the one with the lowest last edge.
    pub fn nearest(
        graph: &Graph,
        steps: &[Step],
        from: NodeIndex,
        to: &[NodeIndex],
        cost: impl Fn(usize) -> u64,
    ) -> Option<Vec<EdgeIndex>> {
        let mut reached = None;
        let tree = Self::grow(
            &Whole { graph, steps },
            &[from],
            cost,
            |_, _| true,
            |node, reach| {
                if reached.is_none() && to.contains(&node) {
                    reached = Some(reach.key());
                }
                reached.is_some_and(|key| reach.key() > key)
            },
        );
        path_to(&tree.reach, steps, nearest(&tree.reach, to)?).into()
    }
}

/// Which of `to` is nearest in a tree from a node; of equal ones, the one with the lowest last edge.
pub fn nearest(reach: &[Reach], to: &[NodeIndex]) -> Option<NodeIndex> {
    let known = to.iter().filter(|node| reach[**node as usize].known());
    known.min_by_key(|node| (reach[**node as usize].key(), reach[**node as usize].edge)).copied()
}

/// The edges from the root of a tree to a node.
pub fn path_to(reach: &[Reach], steps: &[Step], to: NodeIndex) -> Vec<EdgeIndex> {
    let mut edges = Vec::with_capacity(reach[to as usize].hops as usize);
    let mut edge = reach[to as usize].edge;
    while edge != NO_EDGE {
        edges.push(edge);
        edge = reach[steps[edge as usize].from as usize].edge;
    }
    edges.reverse();
    edges
}

impl Towards {
    /// The edges from a node to the nearest root.
    pub fn path_to<'a>(&'a self, net: &'a impl Net, from: NodeIndex) -> impl Iterator<Item = EdgeIndex> + 'a {
        let edge = move |node: NodeIndex| Some(self.reach[node as usize].edge).filter(|edge| *edge != NO_EDGE);
        std::iter::successors(edge(from), move |at| edge(net.ends(*at).1))
    }
}
