//! Field: the part of a graph that can matter under limits, and the best known path that keeps them.
//!
//! A node matters only if the least sum of a limited metric, from the start through the node to a target, is within the
//! limit. For the first limit such nodes are found by three partial searches that visit few others: from the start up
//! to half the limit; from the targets, as far as the result of the first allows; from the start again, within what the
//! second reached. The remaining part is copied into a small network of its own, in which the metrics of an edge are
//! adjacent in memory, because it is searched many times. In it, one shortest-path tree towards the targets grows for
//! each limited metric, within its limit and within the trees before.

use super::objective::{CLOSED, Objective};
use super::spf::{FAR, From, NO_EDGE, Net, Towards, Whole};
use crate::routing::graph::{EdgeIndex, Graph, NodeIndex};
use crate::routing::totals::Limit;

/// Where a search begins and where it may end.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The start.
    pub from: NodeIndex,
    /// The targets.
    pub to: &'a [NodeIndex],
}

/// The objective and the limited metrics of a path, or of a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<const K: usize> {
    /// The sum of the objective, see [`Objective`].
    pub objective: u64,
    /// The sum of the metric that each limit counts.
    pub parts: [u64; K],
}

impl<const K: usize> Sums<K> {
    /// The sums of no edge.
    pub const NONE: Self = Self { objective: 0, parts: [0; K] };

    /// Adds the sums of two consecutive parts; saturates.
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
    /// The node where it begins, in the field.
    pub from: NodeIndex,
    /// The node where it leads, in the field.
    pub to: NodeIndex,
    /// What it adds to the sums.
    pub sums: Sums<K>,
    /// Its index in the graph.
    edge: EdgeIndex,
}

/// See the module's documentation. Nodes and edges have indices of their own here, in the order of the graph.
#[derive(Debug)]
pub struct Field<const K: usize> {
    /// The edges, ordered by origin.
    pub arcs: Vec<Arc<K>>,
    /// For each node, where its edges begin in `arcs`; then the end of the last.
    out: Vec<u32>,
    /// The edges, ordered by target.
    incoming: Vec<EdgeIndex>,
    /// For each node, where the edges that reach it begin in `incoming`; then the end of the last.
    into: Vec<u32>,
    /// The start.
    pub from: NodeIndex,
    to: Vec<NodeIndex>,
    /// The greatest sum of each limited metric that is allowed.
    pub limits: [u64; K],
    /// For each limited metric, the tree of the least sums from a node to a target.
    pub least: Vec<Towards>,
    /// The best known path that keeps the limits.
    pub incumbent: Option<Vec<EdgeIndex>>,
    /// The objective of that path: a better path has less.
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
    /// Builds the field; `None` if no path keeps the limits.
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

    /// Builds the part of the graph that remains under the first limit.
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

    /// Grows a tree towards the targets by any cost, up to `most`. It ends at the start unless `beyond` is set.
    pub fn towards(&self, most: u64, beyond: bool, cost: impl Fn(&Sums<K>) -> u64) -> Towards {
        let none = Vec::new();
        let open = self.least.last().map_or(&none, |tree| &tree.reach);
        let within = |node: NodeIndex, sum| sum <= most && open.get(node as usize) != Some(&FAR);
        let cost = |arc: usize| cost(&self.arcs[arc].sums).min(CLOSED - 1);
        Towards::grow(self, &self.to, cost, within, |node, _| !beyond && node == self.from)
    }

    /// The indices of the edges that leave a node.
    #[inline]
    pub fn range(&self, node: NodeIndex) -> std::ops::Range<EdgeIndex> {
        self.out[node as usize]..self.out[node as usize + 1]
    }

    /// The sums of a path.
    pub fn sums_of(&self, way: &[EdgeIndex]) -> Sums<K> {
        way.iter().fold(Sums::NONE, |sums, arc| sums.plus(&self.arcs[*arc as usize].sums))
    }

    /// For every node, the sums of its path along a tree.
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

    /// Whether the sums keep all limits.
    #[inline]
    pub fn keeps(&self, parts: &[u64; K]) -> bool {
        parts.iter().zip(&self.limits).all(|(part, most)| part <= most)
    }

    /// Takes a path as the best known one, if it keeps the limits and is better. Returns its sums.
    pub fn offer(&mut self, way: Vec<EdgeIndex>) -> Sums<K> {
        let sums = self.sums_of(&way);
        if self.keeps(&sums.parts) && (self.incumbent.is_none() || sums.objective < self.most) {
            self.most = sums.objective;
            self.incumbent = Some(way);
        }
        sums
    }

    /// The edges of a path as indices in the graph.
    pub fn edges(&self, way: &[EdgeIndex]) -> Vec<EdgeIndex> {
        way.iter().map(|arc| self.arcs[*arc as usize].edge).collect()
    }
}
