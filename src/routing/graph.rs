//! Graph: the network as routers, and the directed edges that both of their ends advertise.
//!
//! A graph is built once for each change of the database and queried many times, so it is stored flat: the edges that
//! leave a node are adjacent in memory, and so are those that reach it. Two nodes may be joined by several edges, one
//! for each bearer.
//!
//! Invariants
//! 1. Nodes ascend by pseudonym; edges ascend by origin, then target, then bearer.
//! 2. No edge leads from a node to itself.

use crate::id::Pseudonym;

/// The index of a node in a [`Graph`].
pub type NodeIndex = u32;
/// The index of an edge in a [`Graph`].
pub type EdgeIndex = u32;

/// The metrics of one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The price in micro-units of money per MB (10⁶ bytes).
    pub price: u64,
    /// The smoothed one-way delay in microseconds.
    pub delay: u32,
    /// The mean deviation of the delay in microseconds.
    pub deviation: u32,
    /// A lower bound of the chance that a frame arrives, in parts of 65,535.
    pub success: u16,
    /// The energy in millijoules per MB.
    pub energy: u32,
    /// The rate in kilobits per second; [`u32::MAX`] if it is unknown or unlimited.
    pub rate: u32,
    /// The largest frame in bytes.
    pub mtu: u32,
}

/// A directed edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The node where it begins.
    pub from: NodeIndex,
    /// The node where it leads.
    pub to: NodeIndex,
    /// The bearer class, see [`Bearer`](crate::wire::lsa::Bearer).
    pub bearer: u8,
    /// The metrics of the link in this direction.
    pub metrics: Metrics,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Pseudonym>,
    edges: Vec<Edge>,
    /// For each node, where its edges begin in `edges`; then the end of the last.
    out: Vec<u32>,
    /// The edges, ordered by target.
    incoming: Vec<EdgeIndex>,
    /// For each node, where the edges that reach it begin in `incoming`; then the end of the last.
    into: Vec<u32>,
}

impl Graph {
    /// Builds a graph of these nodes and edges, in any order; edges are between pseudonyms. Repeated nodes count once.
    /// An edge from a node to itself, or with a node that is not given, is left out.
    pub fn new(
        nodes: impl IntoIterator<Item = Pseudonym>,
        edges: impl IntoIterator<Item = (Pseudonym, Pseudonym, u8, Metrics)>,
    ) -> Self {
        let mut nodes: Vec<Pseudonym> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        let at = |node: &Pseudonym| nodes.binary_search(node).ok().and_then(|at| NodeIndex::try_from(at).ok());
        let mut edges: Vec<Edge> = edges
            .into_iter()
            .filter_map(|(from, to, bearer, metrics)| Some(Edge { from: at(&from)?, to: at(&to)?, bearer, metrics }))
            .filter(|edge| edge.from != edge.to)
            .collect();
        edges.sort_by_key(|edge| (edge.from, edge.to, edge.bearer));
        let out = starts(nodes.len(), edges.iter().map(|edge| edge.from));
        let mut incoming: Vec<EdgeIndex> = (0..).take(edges.len()).collect();
        incoming.sort_by_key(|edge| edges[*edge as usize].to);
        let into = starts(nodes.len(), edges.iter().map(|edge| edge.to));
        Self { nodes, edges, out, incoming, into }
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The index of a node; `None` if it is not in the graph.
    pub fn index(&self, node: &Pseudonym) -> Option<NodeIndex> {
        self.nodes.binary_search(node).ok().and_then(|at| NodeIndex::try_from(at).ok())
    }

    /// The node with an index.
    pub fn node(&self, at: NodeIndex) -> &Pseudonym {
        &self.nodes[at as usize]
    }

    /// All nodes, ascending.
    pub fn nodes(&self) -> &[Pseudonym] {
        &self.nodes
    }

    /// The number of other nodes that can be reached from a node.
    pub fn reached_from(&self, node: NodeIndex) -> usize {
        let mut seen = vec![false; self.len()];
        let mut open = vec![node];
        let mut count = 0;
        seen[node as usize] = true;
        while let Some(at) = open.pop() {
            for (_, edge) in self.from(at) {
                if !core::mem::replace(&mut seen[edge.to as usize], true) {
                    count += 1;
                    open.push(edge.to);
                }
            }
        }
        count
    }

    /// All edges.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The edge with an index.
    pub fn edge(&self, at: EdgeIndex) -> &Edge {
        &self.edges[at as usize]
    }

    /// The edges that leave a node, with their indices.
    pub fn from(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, &Edge)> {
        let (first, end) = (self.out[node as usize], self.out[node as usize + 1]);
        (first..end).zip(&self.edges[first as usize..end as usize])
    }

    /// The edges that reach a node, with their indices.
    pub fn into(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeIndex, &Edge)> {
        let range = self.into[node as usize] as usize..self.into[node as usize + 1] as usize;
        self.incoming[range].iter().map(|edge| (*edge, &self.edges[*edge as usize]))
    }
}

/// Returns where each node's run of edges begins, for edges ordered by their node at one end.
fn starts(nodes: usize, ends: impl Iterator<Item = NodeIndex>) -> Vec<u32> {
    let mut starts = vec![0; nodes + 1];
    for node in ends {
        starts[node as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2.
    #[test]
    fn edges_are_found_from_both_of_their_ends() {
        let node = |n: u8| Pseudonym([n; 32]);
        let metrics = |delay| Metrics {
            price: 0,
            delay,
            deviation: 0,
            success: u16::MAX,
            energy: 0,
            rate: u32::MAX,
            mtu: 65_536,
        };
        let edges = [(3, 1, 10), (1, 3, 20), (1, 2, 30), (2, 2, 40), (2, 9, 50)];
        let graph = &Graph::new(
            [3, 1, 2, 1].map(node),
            edges.map(|(from, to, delay)| (node(from), node(to), 0, metrics(delay))),
        );
        assert_eq!(graph.nodes(), [1, 2, 3].map(node));
        let at = |n| graph.index(&node(n)).expect("a node");
        let delays = |edges: Vec<(EdgeIndex, &Edge)>| edges.iter().map(|(_, e)| e.metrics.delay).collect::<Vec<_>>();
        assert_eq!(delays(graph.from(at(1)).collect()), [30, 20]);
        assert_eq!(delays(graph.into(at(1)).collect()), [10]);
        assert_eq!(delays(graph.into(at(2)).collect()), [30]);
        assert_eq!(delays(graph.from(at(2)).collect()), [0; 0]);
        assert_eq!((graph.edges().len(), graph.index(&node(9))), (3, None));
        assert_eq!([1, 2, 3].map(|n| graph.reached_from(at(n))), [2, 0, 2]);
    }
}
