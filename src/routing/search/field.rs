//! What of a graph is left under limits, and the best path known so far that keeps them.
//!
//! Towards the targets grows a shortest-path tree by each limited metric, within its limit and within the trees before. A
//! node that is left out of one is on no path that keeps the limits; if that is true of the start, there is none.

use super::spf::{NO_EDGE, Towards};
use super::terms::{CLOSED, Terms};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use crate::routing::totals::Limit;

/// Where a search begins and may end.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Start.
    pub from: NodeIndex,
    /// Targets.
    pub to: &'a [NodeIndex],
}

/// Objective and limited metrics of a path or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<const K: usize> {
    /// See [`Terms`].
    pub objective: u64,
    /// What each limit counts.
    pub parts: [u64; K],
}

impl<const K: usize> Sums<K> {
    /// Of no edge.
    pub const NONE: Self = Self { objective: 0, parts: [0; K] };

    /// Both in a row; saturates.
    #[inline]
    pub fn plus(mut self, other: &Self) -> Self {
        self.objective = self.objective.saturating_add(other.objective);
        for (part, other) in self.parts.iter_mut().zip(other.parts) {
            *part = part.saturating_add(other);
        }
        self
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Field<'a, const K: usize> {
    /// Graph.
    pub graph: &'a Graph,
    /// As the policy sees it.
    pub terms: &'a Terms,
    /// Start and targets.
    pub ends: Ends<'a>,
    /// What is limited, and the most there may be.
    pub limits: [(Limit, u64); K],
    /// Least of each limited metric from a node to a target.
    pub least: [Towards; K],
    /// The best path known that keeps the limits.
    pub incumbent: Option<Vec<EdgeIndex>>,
    /// Its objective: what a better path may have at most.
    pub most: u64,
}

impl<'a, const K: usize> Field<'a, K> {
    /// `None` if no path keeps the limits.
    pub fn new(graph: &'a Graph, terms: &'a Terms, ends: Ends<'a>, limits: [(Limit, u64); K]) -> Option<Self> {
        let mut least: Vec<Towards> = Vec::with_capacity(K);
        for (limit, most) in limits {
            let within = |edge: usize| least.last().is_none_or(|tree| tree.reach[from(terms, edge)].known());
            let cost = |edge: usize| if within(edge) { terms.part(graph, limit, edge) } else { CLOSED };
            let tree = Towards::grow(graph, &terms.steps, ends.to, most, cost, |_, _| false);
            if !tree.reach[ends.from as usize].known() {
                return None;
            }
            least.push(tree);
        }
        let least = least.try_into().ok()?;
        let mut field = Self { graph, terms, ends, limits, least, incumbent: None, most: u64::MAX };
        for at in 0..K {
            field.offer(field.least[at].way(&terms.steps, ends.from).collect());
        }
        Some(field)
    }

    /// Towards the targets, by any costs, within what is left; ends at the start if nothing beyond it is asked for.
    pub fn towards(&self, most: u64, beyond: bool, cost: impl Fn(usize, &Sums<K>) -> u64) -> Towards {
        let open = |edge: usize| {
            let known = self.least.last().is_none_or(|tree| tree.reach[from(self.terms, edge)].known());
            match known && self.terms.steps[edge].objective != CLOSED {
                true => cost(edge, &self.sums(edge)).min(CLOSED - 1),
                false => CLOSED,
            }
        };
        let stop = |node, _: &_| !beyond && node == self.ends.from;
        Towards::grow(self.graph, &self.terms.steps, self.ends.to, most, open, stop)
    }

    /// Of an open edge.
    #[inline]
    pub fn sums(&self, edge: usize) -> Sums<K> {
        let parts = self.limits.map(|(limit, _)| self.terms.part(self.graph, limit, edge));
        Sums { objective: self.terms.steps[edge].objective, parts }
    }

    /// Of a path.
    pub fn sums_of(&self, way: &[EdgeIndex]) -> Sums<K> {
        way.iter().fold(Sums::NONE, |sums, edge| sums.plus(&self.sums(*edge as usize)))
    }

    /// Of every node's way along a tree.
    pub fn along(&self, tree: &Towards) -> Vec<Sums<K>> {
        let mut along = vec![Sums::NONE; self.graph.len()];
        for node in &tree.settled {
            let edge = tree.reach[*node as usize].edge;
            if edge != NO_EDGE {
                let next = self.terms.steps[edge as usize].to;
                along[*node as usize] = self.sums(edge as usize).plus(&along[next as usize]);
            }
        }
        along
    }

    /// Whether all limits are kept.
    #[inline]
    pub fn keeps(&self, parts: &[u64; K]) -> bool {
        parts.iter().zip(&self.limits).all(|(part, (_, most))| part <= most)
    }

    /// Takes a path as the best known, if it is.
    pub fn offer(&mut self, way: Vec<EdgeIndex>) -> Sums<K> {
        let sums = self.sums_of(&way);
        if self.keeps(&sums.parts) && (self.incumbent.is_none() || sums.objective < self.most) {
            self.most = sums.objective;
            self.incumbent = Some(way);
        }
        sums
    }
}

fn from(terms: &Terms, edge: usize) -> usize {
    terms.steps[edge].from as usize
}
