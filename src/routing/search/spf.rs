//! Shortest-path trees: Dijkstra's algorithm on a binary heap, away from a node or towards a set of nodes.
//!
//! Paths are ranked by cost, then by hops; of paths that tie in both, a node keeps the edge with the lowest index. That is
//! a rule about the finished tree and not about the order of its growth, so a tree that was repaired is the tree that
//! would have been grown anew.

use super::objective::{CLOSED, Step};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The edge of a root, and of what was not reached.
pub const NO_EDGE: EdgeIndex = EdgeIndex::MAX;

/// How a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// From or to the nearest root; saturates.
    pub cost: u64,
    /// Edges of that path.
    pub hops: u32,
    /// Its edge at this node, or [`NO_EDGE`].
    pub edge: EdgeIndex,
}

/// Not reached.
pub const FAR: Reach = Reach { cost: u64::MAX, hops: u32::MAX, edge: NO_EDGE };
/// A root.
pub const ROOT: Reach = Reach { cost: 0, hops: 0, edge: NO_EDGE };

impl Reach {
    /// Whether there is a path.
    pub fn known(&self) -> bool {
        self.hops != u32::MAX
    }

    /// What paths are ranked by.
    pub fn key(&self) -> (u64, u32) {
        (self.cost, self.hops)
    }

    /// Offers another path. Answers whether it is a shorter one, not only an equal one.
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

/// What a tree grows in: nodes from 0 on, and edges by index, lower ones preferred.
pub trait Net {
    /// How many nodes.
    fn len(&self) -> usize;
    /// Edges that leave a node, and where they lead.
    fn from(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)>;
    /// Edges that reach a node, and where they begin.
    fn into(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)>;
    /// Where an edge begins and where it leads.
    fn ends(&self, edge: EdgeIndex) -> (NodeIndex, NodeIndex);
}

/// A whole graph.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Graph.
    pub graph: &'a Graph,
    /// Its edges.
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

/// Nodes whose turn comes by cost, hops, node.
pub type Queue = BinaryHeap<Reverse<(u64, u32, NodeIndex)>>;

/// A tree. `AWAY` from its roots along the edges, or towards them against the edges.
#[derive(Clone, Debug)]
pub struct Tree<const AWAY: bool> {
    /// By node.
    pub reach: Vec<Reach>,
    /// Nodes whose path is final, nearest first.
    pub settled: Vec<NodeIndex>,
}

/// From a node to all others.
pub type From = Tree<true>;
/// From all others to the nearest of some.
pub type Towards = Tree<false>;

impl<const AWAY: bool> Tree<AWAY> {
    /// Grows one from `roots`. Leaves out nodes where `within` says no to what they cost, and ends when `stop` says so of a
    /// settled node.
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
    /// The whole of it, by objective.
    pub fn all(graph: &Graph, steps: &[Step], from: NodeIndex) -> Self {
        Self::grow(&Whole { graph, steps }, &[from], |edge| steps[edge].objective, |_, _| true, |_, _| false)
    }

    /// The way to the nearest of `to`, of equals by the lowest last edge.
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

/// Which of `to` a tree from a node reaches first, of equals by the lowest last edge.
pub fn nearest(reach: &[Reach], to: &[NodeIndex]) -> Option<NodeIndex> {
    let known = to.iter().filter(|node| reach[**node as usize].known());
    known.min_by_key(|node| (reach[**node as usize].key(), reach[**node as usize].edge)).copied()
}

/// Edges from the root of a tree to a node.
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
    /// Edges from a node to the nearest root.
    pub fn path_to<'a>(&'a self, net: &'a impl Net, from: NodeIndex) -> impl Iterator<Item = EdgeIndex> + 'a {
        let edge = move |node: NodeIndex| Some(self.reach[node as usize].edge).filter(|edge| *edge != NO_EDGE);
        std::iter::successors(edge(from), move |at| edge(net.ends(*at).1))
    }
}
