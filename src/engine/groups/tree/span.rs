//! Span: a tree of all routers, for frames that are for every device.
//!
//! No router advertises that it listens to broadcasts, since all do. The tree is grown when there is a frame for it, and again
//! at the next frame after the network has changed.

use super::{Place, segments_apart};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{Pseudonym, Tag};
use crate::routing::graph::Graph;
use crate::routing::tree::SteinerTrees;
use std::collections::BTreeSet;

/// What there is to reach, and what it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Reach {
    /// Devices besides this one: routers, and the leaves that they list.
    pub(in crate::engine) devices: usize,
    /// Transmissions along a tree.
    pub(in crate::engine) tree: usize,
    /// Transmissions if each router handed the frame to all its neighbours but the one from which it came.
    pub(in crate::engine) flood: usize,
}

impl Groups {
    /// Takes this router's place in the tree of all routers, unless it has one.
    pub(in crate::engine) fn span(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: Tag,
    ) {
        if !core.settings.forwarding || self.tree.places.contains_key(&group) {
            return;
        }
        let graph = told_graph(neighbours, routing);
        let mut reaches = routing.reaches_in(core, neighbours, &graph);
        if let Some(here) = graph.index(&core.own).and_then(|here| reaches.get_mut(here as usize)) {
            *here = neighbours.own_reach(core);
        }
        let of = |router: &Pseudonym| {
            let node = graph.index(router).and_then(|node| reaches.get(node as usize));
            node.copied().unwrap_or(u64::MAX)
        };
        let mut trees = Vec::new();
        for segments in segments_apart(core, neighbours, routing, (&graph, &reaches)) {
            let takes_part = |node: u32| reaches.get(node as usize).is_none_or(|reach| reach & segments != 0);
            let members = graph.nodes().iter().filter(|router| of(router) & segments != 0);
            trees.push((segments, SteinerTrees::within(&graph, takes_part).of(&members.copied().collect())));
        }
        let pseudonyms: Vec<Pseudonym> = [Some(core.own), core.former].into_iter().flatten().collect();
        let beside: BTreeSet<Pseudonym> = neighbours.links.neighbours().copied().collect();
        if let Some(place) = Place::of(&trees, &pseudonyms, &beside) {
            self.tree.places.insert(group, place);
        }
    }

    /// What there is to reach from here, as far as the link-state database tells.
    pub(in crate::engine) fn reach(&self, core: &Core, neighbours: &Neighbours, routing: &Routing) -> Reach {
        let graph = told_graph(neighbours, routing);
        let (mut met, mut next) = (BTreeSet::new(), graph.index(&core.own).into_iter().collect::<Vec<u32>>());
        let mut hops = 0;
        while let Some(node) = next.pop() {
            if !met.insert(node) {
                continue;
            }
            let to: BTreeSet<u32> = graph.from(node).map(|(_, edge)| edge.to).collect();
            hops += to.len();
            next.extend(to);
        }
        let routers = met.len().saturating_sub(1);
        let mut leaves = BTreeSet::new();
        let mut attached = 0;
        for router in met.iter().map(|node| graph.node(*node)) {
            let listed = routing.link_state.lsdb.entry(router).map(|entry| &entry.lsa.leaves[..]).unwrap_or_default();
            attached += listed.len();
            leaves.extend(listed.iter().copied());
        }
        let tree = routers + attached;
        Reach { devices: routers + leaves.len(), tree, flood: hops.saturating_sub(routers) + attached }
    }
}

fn told_graph(neighbours: &Neighbours, routing: &Routing) -> Graph {
    let peers = &neighbours.peers;
    routing.link_state.lsdb.told_graph(&|hash| peers.pseudonym(hash))
}
