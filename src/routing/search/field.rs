//! What of a graph is left under limits, and the best path known so far that keeps them.
//!
//! A node is of use only if the least there is of a limited metric, from the start to it and from it to a target, is within
//! the limit. Of the first limit such nodes are found so that little else is looked at: from the start up to half the limit;
//! from the targets, as far as the first half allows; from the start again, within what was reached. What is left is copied
//! into a small network of its own, edges with their metrics side by side, since it is searched many times. There, towards
//! the targets, a shortest-path tree grows by each limited metric, within its limit and within the trees before.

use super::objective::{CLOSED, Objective};
use super::spf::{FAR, From, NO_EDGE, Net, Towards, Whole};
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
    /// See [`Objective`].
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

/// An edge of a field.
#[derive(Clone, Copy, Debug)]
pub struct Arc<const K: usize> {
    /// Where it begins, in the field.
    pub from: NodeIndex,
    /// Where it leads, in the field.
    pub to: NodeIndex,
    /// What it adds.
    pub sums: Sums<K>,
    /// Its place in the graph.
    edge: EdgeIndex,
}

/// See the module's documentation. Nodes and edges have places of their own here, in the order of the graph.
#[derive(Debug)]
pub struct Field<const K: usize> {
    /// Edges, by origin.
    pub arcs: Vec<Arc<K>>,
    /// Where the edges of each node begin.
    out: Vec<u32>,
    /// Edges by target.
    incoming: Vec<EdgeIndex>,
    /// Where those of each node begin.
    into: Vec<u32>,
    /// Start.
    pub from: NodeIndex,
    to: Vec<NodeIndex>,
    /// What is limited, and the most there may be.
    pub limits: [u64; K],
    /// Least of each limited metric from a node to a target.
    pub least: Vec<Towards>,
    /// The best path known that keeps the limits.
    pub incumbent: Option<Vec<EdgeIndex>>,
    /// Its objective: what a better path may have at most.
    pub most: u64,
}

impl<const K: usize> Net for Field<K> {
    fn len(&self) -> usize {
        self.out.len() - 1
    }

    fn from(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)> {
        let (first, end) = (self.out[node as usize], self.out[node as usize + 1]);
        (first..end).zip(&self.arcs[first as usize..end as usize]).map(|(at, arc)| (at, arc.to))
    }

    fn into(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, NodeIndex)> {
        let range = self.into[node as usize] as usize..self.into[node as usize + 1] as usize;
        self.incoming[range].iter().map(|at| (*at, self.arcs[*at as usize].from))
    }

    fn ends(&self, edge: EdgeIndex) -> (NodeIndex, NodeIndex) {
        let arc = &self.arcs[edge as usize];
        (arc.from, arc.to)
    }
}

impl<const K: usize> Field<K> {
    /// `None` if no path keeps the limits.
    pub fn new(graph: &Graph, objective: &Objective, ends: Ends<'_>, limits: [(Limit, u64); K]) -> Option<Self> {
        let mut field = Self::within_first(graph, objective, ends, limits)?;
        for (at, most) in field.limits.into_iter().enumerate() {
            let tree = field.towards(most, true, |sums| sums.parts[at]);
            if !tree.reach[field.from as usize].known() {
                return None;
            }
            field.least.push(tree);
        }
        for at in 0..K {
            field.offer(field.least[at].path_to(&field, field.from).collect());
        }
        Some(field)
    }

    /// What is left of the graph under the first limit.
    fn within_first(graph: &Graph, objective: &Objective, ends: Ends<'_>, limits: [(Limit, u64); K]) -> Option<Self> {
        let (limit, most) = *limits.first()?;
        let whole = Whole { graph, steps: &objective.steps };
        let part = |edge: usize| objective.part(graph, limit, edge);
        let (root, half) = ([ends.from], most / 2);
        let near = From::grow(&whole, &root, part, |_, sum| sum <= half, |_, _| false);
        let ahead = |node: NodeIndex| Some(near.reach[node as usize]).filter(|r| r.known()).map_or(half, |r| r.cost);
        let back = |node, sum: u64| sum.saturating_add(ahead(node)) <= most;
        let back = Towards::grow(&whole, ends.to, part, back, |_, _| false);
        let left = |node: NodeIndex, sum: u64| {
            let rest = back.reach[node as usize];
            rest.known() && sum.saturating_add(rest.cost) <= most
        };
        if !left(ends.from, 0) {
            return None;
        }
        let near = From::grow(&whole, &root, part, left, |_, _| false);
        let mut nodes = near.settled;
        nodes.sort_unstable();
        let mut places = vec![NodeIndex::MAX; graph.len()];
        (0..).zip(&nodes).for_each(|(place, node)| places[*node as usize] = place);
        let (mut arcs, mut out) = (Vec::with_capacity(nodes.len() * 4), vec![0]);
        let mut into = vec![0; nodes.len() + 1];
        for (from, node) in (0..).zip(&nodes) {
            let so_far = near.reach[*node as usize].cost;
            for (edge, to) in whole.from(*node) {
                let part = part(edge as usize);
                if part != CLOSED && left(to, so_far.saturating_add(part)) {
                    let parts = limits.map(|(limit, _)| objective.part(graph, limit, edge as usize));
                    let sums = Sums { objective: objective.steps[edge as usize].objective, parts };
                    let to = places[to as usize];
                    arcs.push(Arc { from, to, sums, edge });
                    into[to as usize + 1] += 1;
                }
            }
            out.push(u32::try_from(arcs.len()).unwrap_or(u32::MAX));
        }
        (1..into.len()).for_each(|at| into[at] += into[at - 1]);
        let mut incoming: Vec<EdgeIndex> = (0..).take(arcs.len()).collect();
        incoming.sort_by_key(|arc| arcs[*arc as usize].to);
        let place = |node: &NodeIndex| Some(places[*node as usize]).filter(|place| *place != NodeIndex::MAX);
        let (from, to) = (place(&ends.from)?, ends.to.iter().filter_map(place).collect());
        let limits = limits.map(|(_, most)| most);
        let least = Vec::with_capacity(K);
        Some(Self { arcs, out, incoming, into, from, to, limits, least, incumbent: None, most: u64::MAX })
    }

    /// Towards the targets, by any costs; ends at the start if nothing beyond it is asked for.
    pub fn towards(&self, most: u64, beyond: bool, cost: impl Fn(&Sums<K>) -> u64) -> Towards {
        let none = Vec::new();
        let open = self.least.last().map_or(&none, |tree| &tree.reach);
        let within = |node: NodeIndex, sum| sum <= most && open.get(node as usize) != Some(&FAR);
        let cost = |arc: usize| cost(&self.arcs[arc].sums).min(CLOSED - 1);
        Towards::grow(self, &self.to, cost, within, |node, _| !beyond && node == self.from)
    }

    /// Edges that leave a node.
    #[inline]
    pub fn range(&self, node: NodeIndex) -> std::ops::Range<EdgeIndex> {
        self.out[node as usize]..self.out[node as usize + 1]
    }

    /// Of a path.
    pub fn sums_of(&self, way: &[EdgeIndex]) -> Sums<K> {
        way.iter().fold(Sums::NONE, |sums, arc| sums.plus(&self.arcs[*arc as usize].sums))
    }

    /// Of every node's way along a tree.
    pub fn along(&self, tree: &Towards) -> Vec<Sums<K>> {
        let mut along = vec![Sums::NONE; self.len()];
        for node in &tree.settled {
            let edge = tree.reach[*node as usize].edge;
            if edge != NO_EDGE {
                let arc = &self.arcs[edge as usize];
                along[*node as usize] = arc.sums.plus(&along[arc.to as usize]);
            }
        }
        along
    }

    /// Whether all limits are kept.
    #[inline]
    pub fn keeps(&self, parts: &[u64; K]) -> bool {
        parts.iter().zip(&self.limits).all(|(part, most)| part <= most)
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

    /// A path's edges in the graph.
    pub fn edges(&self, way: &[EdgeIndex]) -> Vec<EdgeIndex> {
        way.iter().map(|arc| self.arcs[*arc as usize].edge).collect()
    }
}
