//! Labels: finds the shortest path under limits, exactly, by a label search guided by lower bounds of what remains.
//!
//! Steps
//! 1. Remove what no path within the limits can touch ([`Field`]).
//! 2. Find good prices for the limited metrics, and good paths in the course of this ([`lagrange`]).
//! 3. Grow the trees of the objective and of the prices towards the targets, through what is left.
//! 4. From the start, extend labels (a path's end, objective and limited metrics) in the order of their expected
//!    objective: the label's own plus that of the tree. Drop a label if its limited metrics, with the least that
//!    remains, break a limit; if it cannot become better than the best known path, by objective or by prices; or if
//!    another label at the same node is no worse in any respect.
//! 5. The first label whose continuation along the objective's tree keeps all limits gives the best path: no other
//!    label can end with a smaller objective.
//!
//! Invariants
//! 1. A path that is found keeps the limits, and no path that keeps them has a smaller objective, or an equal one and
//!    fewer hops.
//! 2. There are at most [`MAX_LABELS`] labels, and at most [`MAX_COMPARED`] are compared.

use super::field::{Ends, Field, Sums};
use super::lagrange::{self, Prices};
use super::objective::Objective;
use super::spf::{NO_EDGE, Net, Reach, Towards};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use crate::routing::totals::Limit;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The most labels of a search. Bounds its memory (about 4 MB) and its time.
pub const MAX_LABELS: usize = 50_000;
/// The most pairs of labels that a search compares. Bounds its time if many labels meet at a node.
pub const MAX_COMPARED: usize = 2_000_000;

/// How a search ended.
#[derive(Debug)]
pub enum Outcome {
    /// The best path was found.
    Found(Vec<EdgeIndex>),
    /// No path keeps the limits.
    None,
    /// A bound was reached. A good path that keeps the limits is given, if one is known.
    Capped(Option<Vec<EdgeIndex>>),
}

/// Searches under limits, each given as what it counts and the greatest sum allowed. Ends after step 2 unless `labels`
/// is set.
pub fn constrained(
    graph: &Graph,
    objective: &Objective,
    ends: Ends<'_>,
    limits: &[(Limit, u64)],
    labels: bool,
) -> Outcome {
    match *limits {
        [a] => run(graph, objective, ends, [a], labels),
        [a, b] => run(graph, objective, ends, [a, b], labels),
        [a, b, c] => run(graph, objective, ends, [a, b, c], labels),
        [a, b, c, d] => run(graph, objective, ends, [a, b, c, d], labels),
        _ => Outcome::Capped(None),
    }
}

fn run<const K: usize>(
    graph: &Graph,
    objective: &Objective,
    ends: Ends<'_>,
    limits: [(Limit, u64); K],
    labels: bool,
) -> Outcome {
    let Some(mut field) = Field::new(graph, objective, ends, limits) else { return Outcome::None };
    let objective = field.towards(field.most, true, |sums| sums.objective);
    let shortest = field.offer(objective.path_to(&field, field.from).collect());
    let prices = lagrange::prices(&mut field, shortest);
    if !labels {
        return Outcome::Capped(field.incumbent.as_ref().map(|way| field.edges(way)));
    }
    let priced = lagrange::ahead(&field, &prices);
    let (along, along_priced) = (field.along(&objective), field.along(&priced));
    let most_priced = prices.most(&field);
    let (labels, kept) = (Vec::with_capacity(1_024), vec![NO_LABEL; field.len()]);
    let mut search =
        Search { field, objective, along, prices, priced, along_priced, most_priced, labels, kept, compared: 0 };
    let found = search.extend();
    let known = search.field.incumbent.take();
    let edges = |way: Vec<EdgeIndex>| search.field.edges(&way);
    match found {
        Some(Some(way)) => Outcome::Found(edges(way)),
        // A path is known here only if its sums have saturated.
        Some(None) => known.map_or(Outcome::None, |way| Outcome::Found(edges(way))),
        None => Outcome::Capped(known.map(edges)),
    }
}

/// A path from the start to a node.
struct Label<const K: usize> {
    sums: Sums<K>,
    node: NodeIndex,
    hops: u32,
    /// The last edge of the path, or [`NO_EDGE`].
    edge: EdgeIndex,
    /// The label of the path without its last edge.
    parent: u32,
    /// Once the label is kept: the label that was kept at this node before it.
    older: u32,
}

const NO_LABEL: u32 = u32::MAX;

struct Search<const K: usize> {
    field: Field<K>,
    objective: Towards,
    /// For every node, the sums of its path along the objective's tree.
    along: Vec<Sums<K>>,
    prices: Prices<K>,
    priced: Towards,
    along_priced: Vec<Sums<K>>,
    /// The most that a path no worse than the best known one may cost by prices.
    most_priced: u64,
    labels: Vec<Label<K>>,
    /// The label that was kept last at each node.
    kept: Vec<u32>,
    compared: usize,
}

impl<const K: usize> Search<K> {
    /// Step 4: returns the best path, or `Some(None)` if there is none. `None` if a bound is reached.
    fn extend(&mut self) -> Option<Option<Vec<EdgeIndex>>> {
        let from = self.field.from;
        let mut queue = BinaryHeap::with_capacity(1_024);
        if let Some(reach) = self.ahead(from) {
            let (edge, parent, older) = (NO_EDGE, NO_LABEL, NO_LABEL);
            self.labels.push(Label { sums: Sums::NONE, node: from, hops: 0, edge, parent, older });
            queue.push(Reverse((reach.cost, reach.hops, Reverse(0))));
        }
        // Of equal labels the newest comes first, because it is nearest to a target.
        while let Some(Reverse((_, _, Reverse(at)))) = queue.pop() {
            let label = &self.labels[at as usize];
            let (node, hops, sums) = (label.node, label.hops, label.sums);
            if self.hopeless(node, &sums) || self.dominated(node, &sums.parts) {
                continue;
            }
            if self.field.keeps(&sums.plus(&self.along[node as usize]).parts) {
                return Some(Some(self.finish(at, &self.objective)));
            }
            let priced = sums.plus(&self.along_priced[node as usize]);
            if priced.objective < self.field.most && self.field.keeps(&priced.parts) {
                self.field.offer(self.finish(at, &self.priced));
                self.most_priced = self.prices.most(&self.field);
            }
            self.labels[at as usize].older = std::mem::replace(&mut self.kept[node as usize], at);
            for edge in self.field.range(node) {
                let arc = self.field.arcs[edge as usize];
                let to = arc.to;
                let Some(reach) = self.ahead(to) else { continue };
                let sums = sums.plus(&arc.sums);
                if self.hopeless(to, &sums) || self.dominated(to, &sums.parts) {
                    continue;
                }
                if self.labels.len() >= MAX_LABELS || self.compared >= MAX_COMPARED {
                    return None;
                }
                let label = u32::try_from(self.labels.len()).unwrap_or(NO_LABEL);
                let to_be = sums.objective.saturating_add(reach.cost);
                queue.push(Reverse((to_be, hops + 1 + reach.hops, Reverse(label))));
                self.labels.push(Label { sums, node: to, hops: hops + 1, edge, parent: at, older: NO_LABEL });
            }
        }
        Some(None)
    }

    /// How a node reaches a target, if that can matter.
    #[inline]
    fn ahead(&self, node: NodeIndex) -> Option<Reach> {
        Some(self.objective.reach[node as usize])
            .filter(|reach| reach.known() && self.priced.reach[node as usize].known())
    }

    /// Whether no continuation from `node` keeps the limits and is at least as good as the best known path.
    #[inline]
    fn hopeless(&self, node: NodeIndex, sums: &Sums<K>) -> bool {
        let node = node as usize;
        let mut limited = sums.parts.iter().zip(&self.field.least).zip(&self.field.limits);
        sums.objective.saturating_add(self.objective.reach[node].cost) > self.field.most
            || self.prices.of(sums).saturating_add(self.priced.reach[node].cost) > self.most_priced
            || limited.any(|((part, least), most)| part.saturating_add(least.reach[node].cost) > *most)
    }

    /// Whether a label kept at `node` is no worse. Its objective is not, since labels are taken in that order.
    #[inline]
    fn dominated(&mut self, node: NodeIndex, parts: &[u64; K]) -> bool {
        let mut at = self.kept[node as usize];
        while at != NO_LABEL {
            self.compared += 1;
            let label = &self.labels[at as usize];
            if label.sums.parts.iter().zip(parts).all(|(kept, new)| kept <= new) {
                return true;
            }
            if K == 1 {
                // With one limit, each kept label is better in it than those before it.
                return false;
            }
            at = label.older;
        }
        false
    }

    /// The path of a label, continued along a tree.
    fn finish(&self, mut at: u32, tree: &Towards) -> Vec<EdgeIndex> {
        let rest = tree.path_to(&self.field, self.labels[at as usize].node);
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
