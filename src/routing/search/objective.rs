//! Objective: a graph as one policy sees it: what each edge adds to the objective, and which edges are closed.
//!
//! Doubts, shunned pairs, excluded nodes and avoided bearers are applied here once, so that searches only deal with
//! numbers.

use super::{Limit, Overlay, Path, Totals};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use crate::routing::policy::BALANCED;
use crate::routing::totals::nats;

/// The objective of a closed edge.
pub const CLOSED: u64 = u64::MAX;

/// One edge, in the few bytes that a search reads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it adds to the objective; [`CLOSED`] if it is closed.
    pub objective: u64,
    /// The node where it begins.
    pub from: NodeIndex,
    /// The node where it leads.
    pub to: NodeIndex,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The edges, by [`EdgeIndex`].
    pub steps: Vec<Step>,
    /// −ln of each edge's chance of arrival in millionths, by [`EdgeIndex`], doubts included.
    failures: Vec<u64>,
}

/// The parameters that distinguish one [`Objective`] of a graph from another.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The weights by [`Criterion`](crate::routing::policy::Criterion); if all are zero, [`BALANCED`] is used.
    pub weights: [u8; 4],
    /// The bearers whose edges are closed, as a bit map.
    pub avoid: u16,
    /// The doubts, shunned pairs and excluded nodes.
    pub overlay: &'a Overlay,
    /// Whether shunned pairs are closed.
    pub shun: bool,
}

impl Objective {
    /// Applies a view to `graph`.
    pub fn new(graph: &Graph, view: View<'_>) -> Self {
        let View { weights, avoid, overlay, shun } = view;
        let weights = effective(weights);
        let mut failures: Vec<u64> = graph.edges().iter().map(|edge| nats(edge.metrics.success)).collect();
        for ((from, to), factor) in &overlay.doubts {
            for edge in between(graph, *from, *to) {
                failures[edge as usize] += nats(*factor);
            }
        }
        let steps = graph.edges().iter().zip(&failures).map(|(edge, failures)| {
            let metrics = &edge.metrics;
            let parts = [metrics.price, metrics.delay.into(), *failures, metrics.energy.into()];
            let weigh =
                |sum: u64, (weight, part): (&u8, u64)| sum.saturating_add(part.saturating_mul((*weight).into()));
            let objective = weights.iter().zip(parts).fold(1, weigh).min(CLOSED - 1);
            let open = !avoided(avoid, edge.bearer);
            Step { objective: if open { objective } else { CLOSED }, from: edge.from, to: edge.to }
        });
        let mut objective = Self { steps: steps.collect(), failures };
        if shun {
            for (from, to) in &overlay.shunned {
                between(graph, *from, *to).for_each(|edge| objective.close(edge));
            }
        }
        overlay.excluded.iter().for_each(|node| objective.close_node(graph, *node));
        objective
    }

    /// Closes an edge.
    pub fn close(&mut self, edge: EdgeIndex) {
        self.steps[edge as usize].objective = CLOSED;
    }

    /// Closes all edges that lead to a node.
    pub fn close_node(&mut self, graph: &Graph, node: NodeIndex) {
        if (node as usize) < graph.len() {
            graph.into(node).for_each(|(edge, _)| self.close(edge));
        }
    }

    /// Closes what a path disjoint from `path` may not share with it: its relays, or its only edge.
    pub fn close_path(&mut self, graph: &Graph, path: &Path) {
        if let [only] = path.edges[..] {
            self.close(only);
        }
        path.relays(graph).for_each(|relay| self.close_node(graph, relay));
    }

    /// What an open edge adds to what a limit counts; [`CLOSED`] if it is closed.
    #[inline]
    pub fn part(&self, graph: &Graph, limit: Limit, edge: usize) -> u64 {
        if self.steps[edge].objective == CLOSED {
            return CLOSED;
        }
        let metrics = &graph.edges()[edge].metrics;
        match limit {
            Limit::Time => metrics.delay.into(),
            Limit::Budget => metrics.price.min(CLOSED - 1),
            Limit::Success => self.failures[edge],
            Limit::Hops => 1,
            Limit::Bearer => 0,
        }
    }

    /// Makes a path of these edges.
    pub fn path(&self, graph: &Graph, edges: Vec<EdgeIndex>) -> Path {
        let mut totals = Totals::default();
        let mut failures = 0;
        for at in &edges {
            let edge = graph.edge(*at);
            totals.add(&edge.metrics, edge.bearer, None);
            failures += self.failures[*at as usize];
        }
        totals.failures = failures;
        Path { edges, totals }
    }

    /// The objective of a path; saturates.
    pub fn objective(&self, edges: &[EdgeIndex]) -> u64 {
        edges.iter().fold(0, |sum: u64, edge| sum.saturating_add(self.steps[*edge as usize].objective))
    }
}

/// Returns the weights, or those of `balanced` if all are zero.
pub fn effective(weights: [u8; 4]) -> [u8; 4] {
    if weights == [0; 4] { BALANCED } else { weights }
}

/// Whether a bit map contains a bearer.
pub fn avoided(avoid: u16, bearer: u8) -> bool {
    avoid.checked_shr(bearer.into()).is_some_and(|bits| bits & 1 == 1)
}

fn between(graph: &Graph, from: NodeIndex, to: NodeIndex) -> impl Iterator<Item = EdgeIndex> {
    let known = (from as usize) < graph.len();
    known.then(|| graph.from(from)).into_iter().flatten().filter(move |(_, edge)| edge.to == to).map(|(at, _)| at)
}
