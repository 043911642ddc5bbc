//! Leaf routes: the ways to a leaf, and those of a device that is one.
//!
//! **To a leaf.** A leaf is no node of the graph, but each router tells in its link state what its links to its leaves are worth
//! ([`LsaAccess`](crate::wire::lsa::LsaAccess)). The way to each router that lists the leaf is searched with what the limits leave once the
//! last hop is taken off them, and of the ways with their last hops the best is taken. So a device with a wire and a radio is reached by
//! wire, and one with a dear and a free link by the free one, whichever router is nearer. The alternate is the best of the others that shares no
//! relay with it: it ends at another router of the leaf where there is one.
//!
//! **From a leaf.** A leaf hands its frames to the router over whose link they go best, and second copies to the next best one.
//!
//! Invariants
//! 1. A route to a leaf keeps every limit with its last hop included, as far as its router tells what that is worth.
//! - At most [`MAX_ENDS`] routers are compared. Where more list a leaf, the nearest of them is taken, whatever its last hop.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::Link;
use crate::engine::routing::Routing;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::pathfinding::Avoided;
use crate::engine::routing::routes::Route;
use crate::id::{Handle, Pseudonym};
use crate::identity::credential::PeerCredential;
use crate::routing::graph::{Metrics, NodeIndex};
use crate::routing::policy::Wants;
use crate::routing::totals::{Limit, Totals, weigh};

/// Most routers of a leaf that are compared.
pub(in crate::engine) const MAX_ENDS: usize = 8;

impl Routing {
    /// What the last hop of a route is worth, and its bearer, if the route ends at a leaf whose router tells it.
    pub(in crate::engine) fn last_hop(&self, nodes: &[Pseudonym], leaf: Option<&Handle>) -> Option<(u8, Metrics)> {
        let router = nodes.get(nodes.len().checked_sub(2)?)?;
        self.link_state.lsdb.access(router, leaf?)
    }

    /// Searches for the best route to a leaf by any of its routers, and an alternate; `None` if that is not to be found by comparing
    /// last hops.
    ///
    /// # Errors
    ///
    /// [`NoRoute::Limits`] if there are ways, and each of them breaks a limit with its last hop.
    pub(in crate::engine) fn search_last_hops(
        &mut self,
        from: NodeIndex,
        routers: &[NodeIndex],
        leaf: &PeerCredential,
        wants: &Wants,
        past: &Avoided<'_>,
    ) -> Option<Result<(Route, Option<Route>), NoRoute>> {
        if routers.len() > MAX_ENDS {
            return None;
        }
        let (mut ways, mut missed): (Vec<Way>, Option<(Limit, u64)>) = (Vec::new(), None);
        for router in routers {
            let before = match self.last_totals(*router, &leaf.body.handle).map(|last| wants.before(&last)) {
                Some(Err(broken)) => {
                    missed = missed.or(Some(broken));
                    continue;
                }
                Some(Ok(before)) => Some(before),
                None => None,
            };
            match self.search_graph(from, &[*router], before.as_ref().unwrap_or(wants), past) {
                Ok(found) => {
                    let alternate = found.alternate.and_then(|path| self.route_along(&path, Some(leaf)));
                    let route = self.route_along(&found.best, Some(leaf));
                    ways.extend(route.map(|route| Way { last_resort: found.last_resort, route, alternate }));
                }
                Err(none) => missed = missed.or(none.nearest.map(|miss| (miss.limit, miss.by))),
            }
        }
        let rank = |route: &Route| (route.totals.weighed(&wants.policy.weights), route.nodes.len());
        let Some(best) = (0..ways.len()).min_by_key(|at| (ways[*at].last_resort, rank(&ways[*at].route))) else {
            return missed.map(|(limit, by)| Err(NoRoute::Limits(limit, by)));
        };
        let Way { route, alternate, .. } = ways.swap_remove(best);
        let others = ways.into_iter().map(|way| way.route).filter(|other| route.shares_no_relay(other));
        let alternate = others.min_by_key(rank).or(alternate);
        Some(Ok((route, alternate)))
    }

    /// The route of a device that is a leaf: over the best of its routers whose link keeps the limits, with that over the next one as its
    /// alternate.
    pub(in crate::engine) fn by_router(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        to: &PeerCredential,
        wants: &Wants,
    ) -> Result<(Route, Option<Route>), NoRoute> {
        let routers = neighbours.links.iter().filter(|(_, link)| link.forwarding && link.usable);
        let weight = |link: &Link| weigh(&link.metrics, &wants.policy.weights);
        let mut routers: Vec<_> = routers.map(|(id, link)| (weight(link), id, &link.peer)).collect();
        routers.sort_unstable_by_key(|(weight, id, _)| (*weight, *id));
        let (mut routes, mut no_route): (Vec<Route>, _) = (Vec::with_capacity(2), NoRoute::Apart);
        for (_, _, peer) in routers {
            if routes.iter().any(|route| route.first() == Some(peer.body.key)) {
                continue;
            }
            match self.direct(core, neighbours, peer, wants) {
                Ok(mut route) => {
                    route.nodes.push(to.body.key);
                    routes.push(route);
                }
                Err(limit) if no_route == NoRoute::Apart => no_route = limit,
                Err(_) => {}
            }
            if routes.len() == 2 {
                break;
            }
        }
        let mut routes = routes.into_iter();
        let best = routes.next().ok_or(no_route)?;
        Ok((best, routes.next()))
    }

    fn last_totals(&self, router: NodeIndex, leaf: &Handle) -> Option<Totals> {
        let (bearer, metrics) = self.link_state.lsdb.access(self.routes.graph.node(router), leaf)?;
        let mut totals = Totals::default();
        totals.add(&metrics, bearer, None);
        Some(totals)
    }
}

/// The way to a leaf by one of its routers.
struct Way {
    /// Whether it leads over links that are shunned.
    last_resort: bool,
    route: Route,
    alternate: Option<Route>,
}
