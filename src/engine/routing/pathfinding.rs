//! Pathfinding: searches of the graph on behalf of `routes`.
//!
//! **Mechanism.** A search uses the cached shortest-path trees. Where it has to avoid some routers it searches the
//! graph itself: a relay avoids the routers that have had the frame, and every node avoids routers that are neither in
//! the frame's segment nor reach it (`segments`), since those would not forward it.
//!
//! To a leaf the last hop counts as well (`leaf_routes`).
//!
//! Invariants
//! 1. A route to a device leads only through routers that forward frames of the segment that is sent to it, as far as
//!    the routers' credentials are known.

use crate::engine::core::Core;
use crate::engine::neighbours::{Neighbours, segments};
use crate::engine::routing::Routing;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::routes::{Route, Routes};
use crate::id::Pseudonym;
use crate::identity::credential::PeerCredential;
use crate::routing::graph::{Graph, NodeIndex};
use crate::routing::policy::Wants;
use crate::routing::search::{Found, NoPath, Overlay, Path, search};
use std::borrow::Cow;

/// What a search avoids.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Avoided<'a> {
    /// The routers that have had the frame.
    pub(in crate::engine) nodes: &'a [Pseudonym],
    /// The segment of the frame: routers that forward no frames of it are avoided.
    pub(in crate::engine) segment: Option<u8>,
}

impl Routing {
    pub(in crate::engine) fn search_graph(
        &mut self,
        from: NodeIndex,
        to: &[NodeIndex],
        wants: &Wants,
        past: &Avoided<'_>,
    ) -> Result<Found, NoPath> {
        let overlay = self.overlay_for(past.segment);
        if let Cow::Borrowed(_) = overlay
            && past.nodes.is_empty()
        {
            let Routes { graph, overlay, trees, generation, .. } = &mut self.routes;
            return trees.search(graph, *generation, from, to, wants, overlay);
        }
        let graph = &self.routes.graph;
        let mut overlay = overlay.into_owned();
        // The routers that have had the frame have used up their part of the hops.
        let taken = u32::try_from(past.nodes.len()).unwrap_or(u32::MAX);
        overlay.hops = overlay.hops.map(|hops| hops.saturating_sub(taken));
        overlay.excluded.extend(past.nodes.iter().filter_map(|node| graph.index(node)));
        overlay.excluded.remove(&from);
        search(graph, from, to, wants, &overlay)
    }

    /// What a search for frames of a segment has to know besides the graph.
    pub(in crate::engine) fn overlay_for(&self, segment: Option<u8>) -> Cow<'_, Overlay> {
        let Routes { overlay, reaches, .. } = &self.routes;
        let Some(segment) = segment else { return Cow::Borrowed(overlay) };
        let outside = (0..).zip(reaches).filter(|(_, reach)| !segments::has(**reach, segment)).map(|(node, _)| node);
        let mut outside = outside.peekable();
        if outside.peek().is_none() {
            return Cow::Borrowed(overlay);
        }
        let mut overlay = overlay.clone();
        overlay.excluded.extend(outside);
        Cow::Owned(overlay)
    }

    /// A path of the graph as a route, or `None` if the credential of a router on it is unknown. `last` is the leaf at
    /// the end of the path, if the destination is one: the totals are then with the last hop, if its router tells what that is worth.
    pub(in crate::engine) fn route_along(&self, path: &Path, last: Option<&PeerCredential>) -> Option<Route> {
        let graph = &self.routes.graph;
        let edges: Vec<_> = path.edges.iter().map(|edge| graph.edge(*edge)).collect();
        let mut nodes: Vec<Pseudonym> = edges.iter().map(|edge| *graph.node(edge.to)).collect();
        let pairs = edges.iter().map(|edge| (*graph.node(edge.from), *graph.node(edge.to))).collect();
        let mut bearers: Vec<u8> = edges.iter().map(|edge| edge.bearer).collect();
        let mut hops = Vec::new();
        if nodes.len() > 1 || last.is_some() {
            hops =
                nodes.iter().map(|node| Some(self.link_state.hash_of(node)?.prefix())).collect::<Option<Vec<_>>>()?;
        }
        if let Some(leaf) = last {
            nodes.push(leaf.body.key);
            hops.push(leaf.hash.prefix());
        }
        let leaf = last.map(|leaf| leaf.body.handle);
        let (mut totals, mut rate) =
            (path.totals, edges.iter().map(|edge| edge.metrics.rate).min().unwrap_or(u32::MAX));
        if let Some((bearer, metrics)) = self.last_hop(&nodes, leaf.as_ref()) {
            totals.add(&metrics, bearer, None);
            bearers.push(bearer);
            rate = rate.min(metrics.rate);
        }
        Some(Route { nodes, hops, bearers, totals, rate, pairs, leaf })
    }

    /// Searches the graph, and the links of this device, for the best route to one of the targets and an alternate
    /// route. `last` is the leaf that the targets list, if the destination is one.
    pub(in crate::engine) fn search(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        targets: &[Pseudonym],
        last: Option<&PeerCredential>,
        wants: &Wants,
        past: &Avoided<'_>,
    ) -> Result<(Route, Option<Route>), NoRoute> {
        let own = core.own;
        let attached = last.filter(|_| targets.contains(&own)).map(|leaf| leaf.body.key);
        if let Some(leaf) = attached
            && let Some(link) = neighbours.links.of(&leaf).next().map(|(_, link)| link.peer.clone())
            && let Ok(route) = self.direct(core, neighbours, &link, wants)
        {
            return Ok((route, None));
        }
        let nodes = past.nodes;
        let Some(from) = self.routes.graph.index(&own) else {
            return self.search_neighbours(core, neighbours, targets, last, wants, nodes);
        };
        let others = targets.iter().filter(|at| **at != own);
        let to: Vec<NodeIndex> = others.filter_map(|at| self.routes.graph.index(at)).collect();
        if to.is_empty() {
            return self.search_neighbours(core, neighbours, targets, last, wants, nodes);
        }
        if let Some(leaf) = last
            && let Some(found) = self.search_last_hops(from, &to, leaf, wants, past)
        {
            return found;
        }
        match self.search_graph(from, &to, wants, past) {
            Ok(found) => {
                let alternate = found.alternate.and_then(|path| self.route_along(&path, last));
                self.route_along(&found.best, last).map(|best| (best, alternate)).ok_or(NoRoute::Apart)
            }
            Err(NoPath { nearest: Some(miss) }) => Err(NoRoute::Limits(miss.limit, miss.by)),
            Err(NoPath { nearest: None }) => {
                self.search_neighbours(core, neighbours, targets, last, wants, nodes).map_err(|no_way| {
                    let anywhere = Avoided { segment: None, ..*past };
                    match past.segment.filter(|_| self.search_graph(from, &to, wants, &anywhere).is_ok()) {
                        Some(segment) if no_way == NoRoute::Apart => NoRoute::Segment(segment),
                        _ => no_way,
                    }
                })
            }
        }
    }

    /// Finds a route over a link of this device to one of the targets, where the graph does not help.
    pub(in crate::engine) fn search_neighbours(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        targets: &[Pseudonym],
        last: Option<&PeerCredential>,
        wants: &Wants,
        past: &[Pseudonym],
    ) -> Result<(Route, Option<Route>), NoRoute> {
        for target in targets.iter().filter(|target| !past.contains(target)) {
            let Some(peer) = neighbours.links.of(target).next().map(|(_, link)| link.peer.clone()) else {
                continue;
            };
            let mut route = self.direct(core, neighbours, &peer, wants)?;
            if let Some(leaf) = last {
                route.hops = vec![peer.hash.prefix(), leaf.hash.prefix()];
                route.nodes.push(leaf.body.key);
                route.leaf = Some(leaf.body.handle);
            }
            return Ok((route, None));
        }
        Err(NoRoute::Apart)
    }

    /// The segment of frames to a router, or to the leaf that some routers list. `None` if it is unknown, or there is
    /// none in common.
    pub(in crate::engine) fn segment_towards(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        routers: &[Pseudonym],
        leaf: Option<&PeerCredential>,
    ) -> Option<u8> {
        let router = || neighbours.peers.get(&self.link_state.hash_of(routers.first()?)?);
        neighbours.segment_to(core, leaf.or_else(router)?)
    }

    /// The segments that each router of a graph may exchange frames of, as bit maps. A router whose credential is
    /// unknown is assumed to forward frames of all segments.
    pub(in crate::engine) fn reaches_in(&self, core: &Core, neighbours: &Neighbours, graph: &Graph) -> Vec<u64> {
        let bulletin = core.membership.bulletin();
        let reach = |node: &Pseudonym| {
            let credential = neighbours.peers.get(&self.link_state.hash_of(node)?)?;
            Some(bulletin.reach(credential.body.segments()))
        };
        graph.nodes().iter().map(|node| reach(node).unwrap_or(u64::MAX)).collect()
    }
}
