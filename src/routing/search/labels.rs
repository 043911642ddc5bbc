//! The shortest path under limits, exactly: a label search led by what is still to come.
//!
//! Steps
//! 1. Towards the targets, grow a shortest-path tree by each limited metric, within its limit and within the trees before.
//!    A node that is left out of one is on no path that keeps the limits. If that is true of the start, there is none.
//! 2. Where a tree's own path keeps all limits, the objective need not exceed that path's.
//! 3. Towards the targets, grow the tree of the objective, through what is left.
//! 4. From the start, extend labels (a path's end, objective and limited metrics), the smallest objective-to-be first: its
//!    own plus that of the tree. Drop a label whose limited metrics, with the least that is still to come, break a limit,
//!    and one for which another at the same node is no worse in anything.
//! 5. As soon as a label comes up whose way along the objective's tree keeps all limits, that is the best path: no other
//!    label can end in less.
//!
//! Invariants
//! 1. A path that is found keeps the limits, and none that keeps them has a smaller objective, or as small a one and
//!    fewer hops.
//! 2. There are at most [`MAX_LABELS`] labels.

use super::Limit;
use super::spf::{NO_EDGE, Reach, Towards};
use super::terms::{CLOSED, Terms};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most labels of a search. Bounds its memory (about 4 MB) and its time.
pub const MAX_LABELS: usize = 50_000;

/// Where a search begins and may end.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Start.
    pub from: NodeIndex,
    /// Targets.
    pub to: &'a [NodeIndex],
}

/// How a search ended.
#[derive(Debug)]
pub enum Outcome {
    /// With the best path.
    Found(Vec<EdgeIndex>),
    /// No path keeps the limits.
    None,
    /// At the cap; with a path that keeps the limits, if one is known.
    Capped(Option<Vec<EdgeIndex>>),
}

/// Searches under limits: for each, what it counts and the most there may be.
pub fn constrained(graph: &Graph, terms: &Terms, ends: Ends<'_>, limits: &[(Limit, u64)]) -> Outcome {
    match *limits {
        [a] => Search::run(graph, terms, ends, [a]),
        [a, b] => Search::run(graph, terms, ends, [a, b]),
        [a, b, c] => Search::run(graph, terms, ends, [a, b, c]),
        [a, b, c, d] => Search::run(graph, terms, ends, [a, b, c, d]),
        _ => Outcome::Capped(None),
    }
}

/// A path from the start to a node.
struct Label<const K: usize> {
    objective: u64,
    parts: [u64; K],
    node: NodeIndex,
    hops: u32,
    /// Its last edge, or [`NO_EDGE`].
    edge: EdgeIndex,
    /// The label before.
    parent: u32,
    /// The label that was kept at this node before this one, once it is kept.
    older: u32,
}

const NO_LABEL: u32 = u32::MAX;

struct Search<'a, const K: usize> {
    graph: &'a Graph,
    terms: &'a Terms,
    limits: [(Limit, u64); K],
    /// Least of each limited metric from a node to a target.
    least: [Towards; K],
    objective: Towards,
    /// The limited metrics of a node's way along the objective's tree.
    along: Vec<[u64; K]>,
    labels: Vec<Label<K>>,
    /// The label kept last at each node.
    kept: Vec<u32>,
}

impl<'a, const K: usize> Search<'a, K> {
    fn run(graph: &'a Graph, terms: &'a Terms, ends: Ends<'_>, limits: [(Limit, u64); K]) -> Outcome {
        let mut least: Vec<Towards> = Vec::with_capacity(K);
        for (limit, most) in limits {
            let within = |edge: usize| least.iter().all(|tree| tree.reach[terms.steps[edge].from as usize].known());
            let cost = |edge: usize| if within(edge) { terms.part(graph, limit, edge) } else { CLOSED };
            let tree = Towards::grow(graph, &terms.steps, ends.to, most, cost, |_, _| false);
            if !tree.reach[ends.from as usize].known() {
                return Outcome::None;
            }
            least.push(tree);
        }
        let (incumbent, most) = Self::incumbent(graph, terms, ends, &limits, &least);
        let last = least.last().map_or(&[][..], |tree| &tree.reach);
        let cost = |edge: usize| {
            let step = &terms.steps[edge];
            if last[step.from as usize].known() { step.objective } else { CLOSED }
        };
        let objective = Towards::grow(graph, &terms.steps, ends.to, most, cost, |_, _| false);
        let Ok(least) = least.try_into() else { return Outcome::None };
        let (labels, kept) = (Vec::with_capacity(1_024), vec![NO_LABEL; graph.len()]);
        let mut search = Self { graph, terms, limits, least, objective, along: Vec::new(), labels, kept };
        search.along = search.sums();
        search.extend(ends.from, most).unwrap_or(Outcome::Capped(incumbent))
    }

    /// Of the ways along the trees, the one with the least objective that keeps all limits; and that objective.
    fn incumbent(
        graph: &Graph,
        terms: &Terms,
        ends: Ends<'_>,
        limits: &[(Limit, u64); K],
        least: &[Towards],
    ) -> (Option<Vec<EdgeIndex>>, u64) {
        let ways = least.iter().map(|tree| tree.way(&terms.steps, ends.from).collect::<Vec<_>>());
        let keeps = |way: &Vec<EdgeIndex>| {
            limits.iter().all(|(limit, most)| {
                let parts = way.iter().map(|edge| terms.part(graph, *limit, *edge as usize));
                parts.fold(0, u64::saturating_add) <= *most
            })
        };
        let best = ways.filter(keeps).map(|way| (terms.objective(&way), way)).min();
        best.map_or((None, u64::MAX), |(objective, way)| (Some(way), objective))
    }

    /// The limited metrics of every node's way along the objective's tree.
    fn sums(&self) -> Vec<[u64; K]> {
        let mut along = vec![[0; K]; self.graph.len()];
        for node in &self.objective.settled {
            let edge = self.objective.reach[*node as usize].edge;
            if edge != NO_EDGE {
                let next = self.terms.steps[edge as usize].to;
                along[*node as usize] = self.plus(&along[next as usize], edge);
            }
        }
        along
    }

    /// Step 4. `None` at the cap.
    fn extend(&mut self, from: NodeIndex, most: u64) -> Option<Outcome> {
        let mut queue = BinaryHeap::with_capacity(1_024);
        if let Some(reach) = self.ahead(from) {
            self.labels.push(Label {
                objective: 0,
                parts: [0; K],
                node: from,
                hops: 0,
                edge: NO_EDGE,
                parent: NO_LABEL,
                older: NO_LABEL,
            });
            queue.push(Reverse((reach.cost, reach.hops, Reverse(0))));
        }
        // Of equals the youngest comes first: it has got furthest.
        while let Some(Reverse((_, _, Reverse(at)))) = queue.pop() {
            let label = &self.labels[at as usize];
            let (node, hops, so_far, parts) = (label.node, label.hops, label.objective, label.parts);
            if self.dominated(node, &parts) {
                continue;
            }
            if self.keeps(&parts, &self.along[node as usize]) {
                return Some(Outcome::Found(self.finish(at)));
            }
            self.labels[at as usize].older = std::mem::replace(&mut self.kept[node as usize], at);
            for (edge, _) in self.graph.from(node) {
                let step = self.terms.steps[edge as usize];
                if step.objective == CLOSED {
                    continue;
                }
                let Some(reach) = self.ahead(step.to) else { continue };
                let parts = self.plus(&parts, edge);
                let objective = so_far.saturating_add(step.objective);
                let to_be = objective.saturating_add(reach.cost);
                if to_be > most || !self.can_keep(&parts, step.to) || self.dominated(step.to, &parts) {
                    continue;
                }
                if self.labels.len() >= MAX_LABELS {
                    return None;
                }
                let label = u32::try_from(self.labels.len()).unwrap_or(NO_LABEL);
                queue.push(Reverse((to_be, hops + 1 + reach.hops, Reverse(label))));
                self.labels.push(Label {
                    objective,
                    parts,
                    node: step.to,
                    hops: hops + 1,
                    edge,
                    parent: at,
                    older: NO_LABEL,
                });
            }
        }
        Some(Outcome::None)
    }

    fn ahead(&self, node: NodeIndex) -> Option<Reach> {
        Some(self.objective.reach[node as usize]).filter(Reach::known)
    }

    #[inline]
    fn plus(&self, parts: &[u64; K], edge: EdgeIndex) -> [u64; K] {
        let mut sum = *parts;
        for (part, (limit, _)) in sum.iter_mut().zip(&self.limits) {
            *part = part.saturating_add(self.terms.part(self.graph, *limit, edge as usize));
        }
        sum
    }

    fn can_keep(&self, parts: &[u64; K], node: NodeIndex) -> bool {
        let mut all = parts.iter().zip(&self.least).zip(&self.limits);
        all.all(|((part, least), (_, most))| part.saturating_add(least.reach[node as usize].cost) <= *most)
    }

    fn keeps(&self, parts: &[u64; K], rest: &[u64; K]) -> bool {
        let mut all = parts.iter().zip(rest).zip(&self.limits);
        all.all(|((part, rest), (_, most))| part.saturating_add(*rest) <= *most)
    }

    /// Whether a label that was kept at `node` is no worse: its objective is not, since labels come up in that order.
    #[inline]
    fn dominated(&self, node: NodeIndex, parts: &[u64; K]) -> bool {
        let mut at = self.kept[node as usize];
        while at != NO_LABEL {
            let label = &self.labels[at as usize];
            if label.parts.iter().zip(parts).all(|(kept, new)| kept <= new) {
                return true;
            }
            if K == 1 {
                // Each that was kept is better than those before it.
                return false;
            }
            at = label.older;
        }
        false
    }

    /// A label's path, and on along the objective's tree.
    fn finish(&self, mut at: u32) -> Vec<EdgeIndex> {
        let rest = self.objective.way(&self.terms.steps, self.labels[at as usize].node);
        let mut edges = Vec::new();
        while self.labels[at as usize].edge != NO_EDGE {
            edges.push(self.labels[at as usize].edge);
            at = self.labels[at as usize].parent;
        }
        edges.reverse();
        edges.extend(rest);
        edges
    }
}
