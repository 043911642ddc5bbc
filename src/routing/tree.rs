//! Trees: along which links a group's routers pass on its frames where these are not gossiped.
//!
//! A router that has no member of a group forwards nothing for it, unless it joins parts of the group that are apart:
//! then it is a *connector*. All routers compute for themselves which routers are connectors, and along which links the
//! group's frames are passed on, from advertisements alone ([`told_graph`](super::lsdb::Lsdb::told_graph)); those with
//! the same database find the same tree.
//!
//! **Mechanism.** A Steiner tree, at most twice as heavy as the lightest one, by the algorithm of K. Mehlhorn ("A
//! faster approximation algorithm for the Steiner problem in graphs", Information Processing Letters 27, 1988):
//!
//! 1. For every node the nearest member is found, and the path to it: one search from all members at once.
//! 2. Each link between nodes with different nearest members joins these two members, at the weight of the whole path
//!    between them.
//! 3. In order of weight, the links are taken that join members that are not joined yet.
//! 4. The tree consists of these links and the paths from their ends to the members.
//!
//! The weight of a link is first its price, so that no money is spent where a free path exists. Among equal prices it
//! is the delay, increased by the share of frames that have to be sent again, and by a small amount for the hop.
//!
//! Invariants
//! 1. A tree joins all members that the graph joins, has no cycle, and ends in members only.
//! 2. The same graph and members give the same tree on every machine: weights are integers, and no two paths have equal
//!    rank.

use crate::id::Pseudonym;
use crate::routing::graph::{Edge, Graph, NodeIndex};
use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What a hop adds to the weight besides its delay, in microseconds.
const HOP: u64 = 1_000;

/// A graph prepared for trees: for each pair of neighbours, the lightest link.
#[derive(Clone, Debug)]
pub struct SteinerTrees<'a> {
    graph: &'a Graph,
    /// The links of each node: neighbour, weight, bearer.
    links: Vec<Vec<(NodeIndex, Weight, u8)>>,
}

/// The price in micro-units of money per MB, then the delay in microseconds.
type Weight = (u64, u64);

/// The tree of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    branches: BTreeMap<Pseudonym, Vec<Branch>>,
}

/// A link of a tree, from one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch {
    /// The neighbour at the other end.
    pub to: Pseudonym,
    /// The bearer class.
    pub bearer: u8,
}

/// The result of the search for a node.
#[derive(Clone, Copy)]
struct Reached {
    weight: Weight,
    member: NodeIndex,
    /// The next node on the path to the member, and the bearer of the link to it; `None` for the member itself.
    next: Option<(NodeIndex, u8)>,
}

impl<'a> SteinerTrees<'a> {
    /// Prepares a graph. A link that does not exist in both directions is left out.
    pub fn new(graph: &'a Graph) -> Self {
        Self::within(graph, |_| true)
    }

    /// As [`Self::new`], with the links between these routers alone.
    pub fn within(graph: &'a Graph, takes_part: impl Fn(NodeIndex) -> bool) -> Self {
        let links = (0..).take(graph.len()).map(|node| {
            let mut links: Vec<(NodeIndex, Weight, u8)> = Vec::new();
            let edges = graph.from(node).filter(|(_, edge)| takes_part(node) && takes_part(edge.to));
            for (_, edge) in edges {
                let mut back = graph.from(edge.to).map(|(_, back)| back);
                let Some(back) = back.find(|back| back.to == node && back.bearer == edge.bearer) else { continue };
                let weight = weight(edge).max(weight(back));
                match links.last_mut() {
                    Some(last) if last.0 == edge.to && last.1 <= weight => {}
                    Some(last) if last.0 == edge.to => *last = (edge.to, weight, edge.bearer),
                    _ => links.push((edge.to, weight, edge.bearer)),
                }
            }
            links
        });
        Self { graph, links: links.collect() }
    }

    /// The tree that joins these routers. A router that is not in the graph is not in the tree.
    pub fn of(&self, members: &BTreeSet<Pseudonym>) -> Tree {
        let members: Vec<NodeIndex> = members.iter().filter_map(|member| self.graph.index(member)).collect();
        let reached = self.reach(&members);

        let mut joints: Vec<(Weight, NodeIndex, NodeIndex, u8)> = Vec::new();
        for (from, links) in (0..).zip(&self.links) {
            for (to, weight, bearer) in links.iter().filter(|link| from < link.0) {
                let Some((one, other)) = reached[from as usize].zip(reached[*to as usize]) else { continue };
                if one.member != other.member {
                    joints.push((sum(sum(one.weight, *weight), other.weight), from, *to, *bearer));
                }
            }
        }
        joints.sort_unstable();

        let mut tree: BTreeSet<(NodeIndex, NodeIndex, u8)> = BTreeSet::new();
        let mut parts = Parts::new(self.links.len());
        for (_, from, to, bearer) in joints {
            let member = |node: NodeIndex| reached[node as usize].map_or(node, |reached| reached.member);
            if !parts.join(member(from), member(to)) {
                continue;
            }
            tree.insert((from, to, bearer));
            for end in [from, to] {
                let mut at = end;
                while let Some((next, bearer)) = reached[at as usize].and_then(|reached| reached.next) {
                    tree.insert((at.min(next), at.max(next), bearer));
                    at = next;
                }
            }
        }

        let node = |at: NodeIndex| *self.graph.node(at);
        let mut branches: BTreeMap<Pseudonym, Vec<Branch>> =
            members.iter().map(|member| (node(*member), Vec::new())).collect();
        for (one, other, bearer) in tree {
            branches.entry(node(one)).or_default().push(Branch { to: node(other), bearer });
            branches.entry(node(other)).or_default().push(Branch { to: node(one), bearer });
        }
        branches.values_mut().for_each(|branches| branches.sort_unstable());
        Tree { branches }
    }

    /// For every node, the nearest member, if it has one, and the path there. Of two members at one weight the lower
    /// one counts, of two paths the one over the lower neighbour.
    fn reach(&self, members: &[NodeIndex]) -> Vec<Option<Reached>> {
        let mut reached: Vec<Option<Reached>> = vec![None; self.links.len()];
        let mut heap = BinaryHeap::new();
        for member in members {
            heap.push(Reverse(((0, 0), *member, *member, None)));
        }
        while let Some(Reverse((weight, member, at, next))) = heap.pop() {
            if reached[at as usize].is_some() {
                continue;
            }
            reached[at as usize] = Some(Reached { weight, member, next });
            for (to, more, bearer) in &self.links[at as usize] {
                if reached[*to as usize].is_none() {
                    heap.push(Reverse((sum(weight, *more), member, *to, Some((at, *bearer)))));
                }
            }
        }
        reached
    }
}

impl Tree {
    /// Whether a router takes part in the tree: as a member, or as a connector between members.
    pub fn holds(&self, router: &Pseudonym) -> bool {
        self.branches.contains_key(router)
    }

    /// The links over which a router passes on the group's frames, except the one that a frame came from; ascending.
    pub fn branches(&self, router: &Pseudonym) -> &[Branch] {
        self.branches.get(router).map_or(&[], Vec::as_slice)
    }

    /// All routers that take part in the tree, ascending.
    pub fn routers(&self) -> impl Iterator<Item = &Pseudonym> {
        self.branches.keys()
    }
}

fn weight(edge: &Edge) -> Weight {
    let metrics = &edge.metrics;
    let again = u64::from(metrics.delay) * u64::from(u16::MAX) / u64::from(metrics.success.max(1));
    (metrics.price, again + HOP)
}

fn sum(one: Weight, other: Weight) -> Weight {
    (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
}

/// The sets of members that are already joined.
struct Parts(Vec<NodeIndex>);

impl Parts {
    fn new(nodes: usize) -> Self {
        Self((0..).take(nodes).collect())
    }

    /// Joins the sets of two members; returns whether they were apart.
    fn join(&mut self, one: NodeIndex, other: NodeIndex) -> bool {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other) as usize] = one.min(other);
        one != other
    }

    fn root(&mut self, mut at: NodeIndex) -> NodeIndex {
        while self.0[at as usize] != at {
            let above = self.0[at as usize];
            self.0[at as usize] = self.0[above as usize];
            at = above;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::graph::Metrics;
    use proptest::prelude::*;

    fn node(number: u8) -> Pseudonym {
        Pseudonym([number; 32])
    }

    fn set(numbers: &[u8]) -> BTreeSet<Pseudonym> {
        numbers.iter().map(|number| node(*number)).collect()
    }

    /// Links in both directions, each as (one, other, bearer, price, delay in ms).
    fn graph(nodes: u8, links: &[(u8, u8, u8, u64, u32)]) -> Graph {
        let edges = links.iter().flat_map(|(one, other, bearer, price, delay)| {
            let metrics = Metrics {
                price: *price,
                delay: *delay * 1_000,
                deviation: 0,
                success: u16::MAX,
                energy: 0,
                rate: u32::MAX,
                mtu: 65_536,
            };
            [(node(*one), node(*other), *bearer, metrics), (node(*other), node(*one), *bearer, metrics)]
        });
        Graph::new((1..=nodes).map(node), edges.collect::<Vec<_>>())
    }

    /// The links of a tree as (lower, higher, bearer).
    fn links(tree: &Tree) -> Vec<(u8, u8, u8)> {
        let from = |router: &Pseudonym| {
            let router = router.0[0];
            tree.branches(&node(router)).iter().map(move |branch| (router, branch.to.0[0], branch.bearer))
        };
        tree.routers().flat_map(from).filter(|(one, other, _)| one < other).collect()
    }

    #[test]
    fn a_connector_joins_what_lies_apart() {
        // 1 - 2 - 3, and 4 at 2: with 1, 3 and 4 as members, 2 is a connector, and no other router takes part.
        let graph = graph(6, &[(1, 2, 0, 0, 1), (2, 3, 0, 0, 1), (2, 4, 1, 0, 1), (4, 5, 0, 0, 1)]);
        let trees = SteinerTrees::new(&graph);
        let tree = trees.of(&set(&[1, 3, 4, 6, 99]));
        assert_eq!(links(&tree), [(1, 2, 0), (2, 3, 0), (2, 4, 1)]);
        assert!(tree.holds(&node(2)) && !tree.holds(&node(5)) && !tree.holds(&node(99)));
        assert!(tree.holds(&node(6)) && tree.branches(&node(6)).is_empty(), "a member that nothing reaches");
        let two = [1, 3, 4].map(|n| Branch { to: node(n), bearer: u8::from(n == 4) });
        assert_eq!(tree.branches(&node(2)), two);
        assert_eq!(trees.of(&set(&[])), Tree::default());
    }

    #[test]
    fn a_free_way_is_preferred_however_long() {
        // 1 and 3 are joined over cellular, or over 2 by a slow wire; 1 - 2 also by satellite, faster but at a price.
        let graph = graph(3, &[(1, 3, 2, 5, 1), (1, 2, 0, 0, 900), (2, 3, 0, 0, 900), (1, 2, 3, 9, 1)]);
        assert_eq!(links(&SteinerTrees::new(&graph).of(&set(&[1, 3]))), [(1, 2, 0), (2, 3, 0)]);
    }

    #[test]
    fn one_connector_does_where_pairs_would_take_several() {
        // A star around 5 is lighter than the ring of members.
        let star = [(1, 5, 0, 0, 10), (2, 5, 0, 0, 10), (3, 5, 0, 0, 10), (4, 5, 0, 0, 10)];
        let ring = [(1, 2, 0, 0, 25), (2, 3, 0, 0, 25), (3, 4, 0, 0, 25), (1, 4, 0, 0, 25)];
        let graph = graph(5, &[star, ring].concat());
        assert_eq!(links(&SteinerTrees::new(&graph).of(&set(&[1, 2, 3, 4]))).len(), 4);
        assert!(SteinerTrees::new(&graph).of(&set(&[1, 2, 3, 4])).holds(&node(5)));
    }

    #[test]
    fn a_link_that_one_end_lacks_is_none() {
        let metrics = graph(2, &[(1, 2, 0, 0, 1)]).edge(0).metrics;
        let graph = Graph::new([1, 2].map(node), [(node(1), node(2), 0, metrics), (node(2), node(1), 1, metrics)]);
        assert_eq!(links(&SteinerTrees::new(&graph).of(&set(&[1, 2]))), []);
    }

    /// For each node, the lowest node of its part of the graph.
    fn parts(nodes: u8, links: impl Iterator<Item = (u8, u8)>) -> Vec<u32> {
        let mut parts = Parts::new(usize::from(nodes) + 1);
        for (one, other) in links {
            parts.join(one.into(), other.into());
        }
        (0..=u32::from(nodes)).map(|node| parts.root(node)).collect()
    }

    proptest! {
        /// Invariants 1 and 2.
        #[test]
        fn trees_join_their_members_without_a_cycle_and_end_in_members(
            all in prop::collection::vec((1u8..=20, 1u8..=20, 0u8..3, 0u64..3, 0u32..20), 0..60),
            members in prop::collection::btree_set(1u8..=20, 0..8),
        ) {
            let mut seen = BTreeSet::new();
            let all: Vec<_> = all.into_iter()
                .map(|(a, b, bearer, price, delay)| (a.min(b), a.max(b), bearer, price, delay))
                .filter(|link| link.0 != link.1 && seen.insert((link.0, link.1, link.2)))
                .collect();
            let graph = graph(20, &all);
            let tree = SteinerTrees::new(&graph).of(&members.iter().map(|n| node(*n)).collect());
            let links = links(&tree);

            let before = parts(20, all.iter().map(|link| (link.0, link.1)));
            let after = parts(20, links.iter().map(|link| (link.0, link.1)));
            for (one, other) in members.iter().flat_map(|one| members.iter().map(move |other| (*one, *other))) {
                let (one, other) = (usize::from(one), usize::from(other));
                prop_assert_eq!(before[one] == before[other], after[one] == after[other]);
            }
            let mut grown = Parts::new(21);
            for (one, other, bearer) in &links {
                prop_assert!(grown.join((*one).into(), (*other).into()), "a cycle");
                prop_assert!(all.iter().any(|link| (link.0, link.1, link.2) == (*one, *other, *bearer)));
            }
            for router in tree.routers() {
                prop_assert!(members.contains(&router.0[0]) || tree.branches(router).len() > 1);
            }
            // The same links in another order give the same tree.
            let turned: Vec<_> = all.iter().rev().copied().collect();
            let again = SteinerTrees::new(&super::tests::graph(20, &turned)).of(&members.iter().map(|n| node(*n)).collect());
            prop_assert_eq!(tree, again);
        }
    }
}
