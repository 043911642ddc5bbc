//! Routes: which path the messages to each destination take, and why it changed.
//!
//! **Mechanism.** A route is chosen for a destination and the send policy of its messages, from the graph of the
//! link-state database together with this device's own links as it sees them itself. It is kept until it breaks or
//! another one is clearly better (`hold_down`); every change goes into the event log with its main cause.
//!
//! The send policy states what is to be minimised; a deadline rules out routes that take too long. A message with
//! enough time takes the route that its send policy ranks best. For messages without enough time another route is
//! chosen and kept beside it ([`Aim::hurried`]), so that those with enough time do not take the expensive route of the
//! hurried ones.
//!
//! A destination may be a neighbour, a router in the database, or a leaf that one or more routers list. A device that
//! is itself a leaf hands every frame to one of its routers, which finds the route.
//!
//! Invariants
//! 1. A route keeps every limit of its send policy at the time of its use.
//! 2. A route is not used if one of its edges is gone, or its leaf is at other routers now; what was under way on it is
//!    sent again.
//! - At most [`MAX_ROUTES`] are kept. Drop policy: all are forgotten, and chosen anew as they are needed.

use crate::delivery::lane::SendPolicy;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::pathfinding::Avoided;
use crate::engine::routing::wording::explain_no_route;
use crate::engine::routing::{Reroute, Routing};
use crate::event_log::Event;
use crate::id::{CredentialHash, CredentialPrefix, Handle, Name, Pseudonym};
use crate::identity::credential::PeerCredential;
use crate::routing::graph::Graph;
use crate::routing::hold_down::HoldDown;
use crate::routing::policy::Wants;
use crate::routing::search::Overlay;
use crate::routing::totals::{Limit, Totals};
use crate::routing::trees::SptCache;
use crate::time::Time;
use crate::wire::data::MAX_HOPS;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most routes kept.
pub(in crate::engine) const MAX_ROUTES: usize = 4_096;
/// How often routes are looked at anew while some hops are in doubt, since doubt fades.
const FADING: Duration = Duration::from_secs(10);

/// A route to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Route {
    /// The nodes on the path after this device, the destination last.
    pub nodes: Vec<Pseudonym>,
    /// The hops as in [`Path`](crate::wire::data::Path): empty to a neighbour, and where a leaf's router is to find the
    /// route.
    pub hops: Vec<CredentialPrefix>,
    /// The bearer of each hop, as far as it is known.
    pub bearers: Vec<u8>,
    /// The totals of the path when the route was chosen, without the price of the frame's own bytes.
    pub totals: Totals,
    /// The rate of the slowest link in kbit/s, as far as it is known.
    pub rate: u32,
    /// The hops by their two ends, which are praised or blamed for what becomes of frames.
    pub pairs: Vec<(Pseudonym, Pseudonym)>,
    /// The destination's handle, if it is a leaf of the router before it.
    pub leaf: Option<Handle>,
}

impl Route {
    /// The neighbour that the path begins with.
    pub(in crate::engine) fn first(&self) -> Option<Pseudonym> {
        self.nodes.first().copied()
    }

    /// Whether this route and another one to the same destination share no relay. `false` if both are direct.
    pub(in crate::engine) fn shares_no_relay(&self, other: &Self) -> bool {
        let relays = self.nodes.len().saturating_sub(1);
        let theirs = &other.nodes[..other.nodes.len().saturating_sub(1)];
        !self.nodes[..relays].iter().any(|relay| theirs.contains(relay)) && (relays > 0 || !theirs.is_empty())
    }
}

/// Where a device is located.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Location {
    /// It is a neighbour, and nothing else is known of it.
    NextToUs(PeerCredential),
    /// This device is a leaf: one of its routers knows the location.
    BeyondRouter(PeerCredential),
    /// It is one of these routers, or the leaf that they list.
    At(Vec<Pseudonym>, Option<PeerCredential>),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Routes {
    pub(in crate::engine) chosen: BTreeMap<Aim, Chosen>,
    pub(in crate::engine) graph: Graph,
    /// Grows whenever the graph is built anew: when a link, a neighbour or the doubt about a hop changes.
    pub(in crate::engine) generation: u64,
    pub(in crate::engine) overlay: Overlay,
    overlay_until: Option<Time>,
    pub(in crate::engine) trees: SptCache,
    /// The segments that each router of the graph may exchange frames of, as bit maps by the router's index in the
    /// graph.
    pub(in crate::engine) reaches: Vec<u64>,
}

/// What a route is chosen for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Aim {
    pub(in crate::engine) to: Name,
    pub(in crate::engine) send_policy: Arc<SendPolicy>,
    /// Whether this is for messages with too little time left for the route that their send policy ranks best.
    pub(in crate::engine) hurried: bool,
}

#[derive(Clone, Debug)]
pub(in crate::engine) struct Chosen {
    pub(in crate::engine) route: Arc<Route>,
    pub(in crate::engine) alternate: Option<Arc<Route>>,
    /// Since when it is in use, and for how long it is held.
    pub(in crate::engine) hold: HoldDown,
    /// Its totals when it was chosen.
    pub(in crate::engine) totals_then: Totals,
    /// As of which generation.
    pub(in crate::engine) generation: u64,
    /// Whether an edge of it has gone since; what was under way on it has been queued again.
    pub(in crate::engine) broken: bool,
}

impl Routes {
    /// The destinations whose route begins with this neighbour, the neighbour itself included.
    pub(in crate::engine) fn over(&self, neighbour: &Pseudonym) -> BTreeSet<Name> {
        let leads = self.chosen.iter().filter(|(_, chosen)| chosen.route.first() == Some(*neighbour));
        leads.map(|(aim, _)| aim.to.clone()).collect()
    }

    /// The routes in use: for each, what it was chosen for, the route itself and when it was chosen.
    pub(in crate::engine) fn in_use(&self) -> impl Iterator<Item = (&Aim, &Route, Time)> {
        let stand = self.chosen.iter().filter(|(_, chosen)| !chosen.broken);
        stand.map(|(aim, chosen)| (aim, &*chosen.route, chosen.hold.since()))
    }
}

/// A route, with an alternate beside it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct RouteChoice {
    pub route: Arc<Route>,
    pub alternate: Option<Arc<Route>>,
    /// If the route is for hurried messages: the delay in microseconds of the route that their send policy ranks best.
    pub spares: Option<u64>,
}

impl Routing {
    pub(in crate::engine) fn next_route_check(&self) -> Option<Time> {
        self.routes.overlay_until
    }

    /// The neighbour with which the best path to a router begins.
    pub(in crate::engine) fn first_towards(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        router: &Pseudonym,
        wants: &Wants,
    ) -> Option<Pseudonym> {
        self.search(core, neighbours, &[*router], None, wants, &Avoided::default()).ok()?.0.first()
    }

    /// The route over the link to a neighbour, or the reason why its link cannot be used.
    pub(in crate::engine) fn direct(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        peer: &PeerCredential,
        wants: &Wants,
    ) -> Result<Route, NoRoute> {
        let key = peer.body.key;
        let Some((link, _)) = neighbours.link_under(&key, &wants.policy) else { return Err(NoRoute::Apart) };
        let Some(link) = neighbours.links.get(link) else { return Err(NoRoute::Apart) };
        let bearer = neighbours.link_metrics.bearer(link.bearer).class as u8;
        let mut totals = Totals::default();
        totals.add(&link.metrics, bearer, None);
        let bearers = vec![bearer];
        let pairs = vec![(core.own, key)];
        let rate = link.metrics.rate;
        let route = Route { nodes: vec![key], hops: Vec::new(), bearers, totals, rate, pairs, leaf: None };
        match broken(&route.totals, wants) {
            None => Ok(route),
            Some((limit, by)) => Err(NoRoute::Limits(limit, by)),
        }
    }

    /// Whether a route ends at a leaf that is at other routers now.
    pub(in crate::engine) fn has_moved(&self, core: &Core, neighbours: &Neighbours, route: &Route) -> bool {
        let Some(router) = route.nodes.len().checked_sub(2).map(|at| &route.nodes[at]) else { return false };
        let routers = route.leaf.map_or_else(Vec::new, |leaf| self.routers_towards(core, neighbours, &leaf));
        !routers.is_empty() && !routers.contains(router)
    }

    /// Notes in the failure history that a flight over this route was confirmed.
    pub(in crate::engine) fn record_success(&mut self, core: &mut Core, neighbours: &mut Neighbours, route: &Route) {
        let changed = neighbours.link_metrics.history.succeeded(&route.pairs, core.now.time);
        self.link_state.note_history(changed);
    }

    /// Notes in the failure history that a flight over this route was not confirmed in time.
    pub(in crate::engine) fn record_failure(&mut self, core: &mut Core, neighbours: &mut Neighbours, route: &Route) {
        let changed = neighbours.link_metrics.history.failed(&route.pairs, core.now.time);
        self.link_state.note_history(changed);
    }

    /// Returns the route for messages of a send policy, with `left` until they expire, in a frame of that many `bytes`.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] says why there is none: the location of the destination is unknown or being asked for, no path leads
    /// there, or every path breaks a limit or the segment.
    pub(in crate::engine) fn route(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Name,
        send_policy: &Arc<SendPolicy>,
        left: Duration,
        bytes: usize,
    ) -> Result<RouteChoice, NoRoute> {
        let time = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let at_leisure = Wants { policy: send_policy.policy.clone(), time: None, bytes };
        let aim = Aim { to: to.clone(), send_policy: send_policy.clone(), hurried: false };
        let choice = self.route_for(core, neighbours, aim.clone(), &at_leisure)?;
        let in_time = Wants { time: Some(time), ..at_leisure };
        if keeps(&choice.route.totals, &in_time) {
            return Ok(choice);
        }
        let hurried = self.route_for(core, neighbours, Aim { hurried: true, ..aim }, &in_time)?;
        Ok(RouteChoice { spares: Some(choice.route.totals.delay), ..hurried })
    }

    fn route_for(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        aim: Aim,
        wants: &Wants,
    ) -> Result<RouteChoice, NoRoute> {
        if let Some(chosen) = self.routes.chosen.get(&aim)
            && chosen.generation == self.routes.generation
            && keeps(&chosen.route.totals, wants)
        {
            return Ok(RouteChoice { route: chosen.route.clone(), alternate: chosen.alternate.clone(), spares: None });
        }
        let found = self.find_route(core, neighbours, &aim.to, wants);
        let standing = self.routes.chosen.get(&aim).cloned();
        match (found, standing) {
            (Ok(found), Some(standing)) => Ok(self.prefer(core, neighbours, aim, found, &standing, wants)),
            (Ok(found), None) => Ok(self.choose(core, aim, found)),
            (Err(no_route), standing) => {
                if standing.is_some() {
                    self.routes.chosen.remove(&aim);
                    core.record(Event::RouteLost { to: aim.to, cause: explain_no_route(&no_route) });
                }
                Err(no_route)
            }
        }
    }

    /// The route of a relay to the device with a handle, for a frame of a segment; it avoids the nodes in `past`.
    pub(in crate::engine) fn route_to_handle(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Handle,
        segment: u8,
        wants: &Wants,
        past: &[Pseudonym],
    ) -> Option<Route> {
        let segment = Some(segment);
        self.follow_graph(core, neighbours);
        let neighbour = neighbours.links.by_handle(to).map(|link| link.peer.body.key);
        let targets = match neighbour.or_else(|| self.link_state.router_of(to)) {
            Some(router) => vec![router],
            None => self.routers_towards(core, neighbours, to),
        };
        let last = self.credential_of_handle(core, neighbours, to);
        self.search(core, neighbours, &targets, last.as_ref(), wants, &Avoided { nodes: past, segment })
            .ok()
            .map(|choice| choice.0)
    }

    /// The reverse of the path on which the messages of a device came, or `None` if it does not begin with a usable
    /// link.
    pub(in crate::engine) fn route_back(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Name,
        visited: &[CredentialPrefix],
    ) -> Option<Arc<Route>> {
        let (end, hash) = match self.link_state.router_named(to) {
            Some(router) => (router, self.link_state.hash_of(&router)?),
            None => self.credential_of_name(core, neighbours, to).map(|leaf| (leaf.body.key, leaf.hash))?,
        };
        let mut hops: Vec<CredentialPrefix> = visited.iter().rev().copied().collect();
        // Each relay knows the one after it: relays of another area are not known here, and the end need not be named.
        neighbours.links.of(&self.pseudonym_at(neighbours, hops.first()?)?).find(|(_, link)| link.usable)?;
        let nodes = hops.iter().filter_map(|hop| self.pseudonym_at(neighbours, hop)).chain([end]).collect();
        hops.extend((hops.len() < MAX_HOPS).then_some(hash.prefix()));
        Some(Arc::new(Route {
            nodes,
            hops,
            bearers: Vec::new(),
            totals: Totals::default(),
            rate: u32::MAX,
            pairs: Vec::new(),
            leaf: None,
        }))
    }

    pub(in crate::engine) fn find_route(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Name,
        wants: &Wants,
    ) -> Result<(Route, Option<Route>), NoRoute> {
        match self.location(core, neighbours, to)? {
            Location::NextToUs(peer) => self.direct(core, neighbours, &peer, wants).map(|route| (route, None)),
            Location::BeyondRouter(leaf) => self.by_router(core, neighbours, &leaf, wants),
            Location::At(routers, leaf) => {
                let segment = self.segment_towards(core, neighbours, &routers, leaf.as_ref());
                self.search(core, neighbours, &routers, leaf.as_ref(), wants, &Avoided { nodes: &[], segment })
            }
        }
    }

    /// Returns what is known of the location of a device. If nothing is, routers are asked ([`NoRoute::Asking`]),
    /// unless there is nobody to ask ([`NoRoute::Unknown`]).
    pub(in crate::engine) fn location(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Name,
    ) -> Result<Location, NoRoute> {
        self.follow_graph(core, neighbours);
        let neighbour = neighbours.links.to(to).map(|(_, link)| link.peer.clone());
        if let Some(peer) = &neighbour
            && !self.link_state.lsdb_knows(&peer.body.key)
        {
            // It is a leaf, or a router whose link state is not known here: it is a neighbour, and that is all there is
            // to know, unless it is silent here and other routers may hear it.
            let handle = peer.body.handle;
            if neighbours.links.of(&peer.body.key).any(|(_, link)| link.usable) {
                return Ok(Location::NextToUs(peer.clone()));
            }
            let routers = self.routers_towards(core, neighbours, &handle);
            return Ok(match core.settings.forwarding {
                false => Location::BeyondRouter(peer.clone()),
                true if routers.is_empty() => Location::NextToUs(peer.clone()),
                true => Location::At(routers, Some(peer.clone())),
            });
        }
        let unix = core.now.unix;
        let Some(handle) = core.membership.contacts().handle_of(to, unix) else { return Err(NoRoute::Unknown) };
        let router = neighbour.map(|peer| peer.body.key).or_else(|| self.link_state.router_named(to));
        if let Some(router) = router {
            return Ok(Location::At(vec![router], None));
        }
        let leaf = self.credential_of_name(core, neighbours, to);
        if let Some(leaf) = leaf.as_ref().filter(|_| !core.settings.forwarding) {
            return Ok(Location::BeyondRouter(leaf.clone()));
        }
        let routers =
            leaf.as_ref().map_or_else(Vec::new, |leaf| self.routers_towards(core, neighbours, &leaf.body.handle));
        if routers.is_empty() {
            let mut asked = self.ask_where(core, neighbours, handle);
            for former in core.membership.contact_book().former_handles_of(to, unix) {
                asked |= self.ask_where(core, neighbours, former);
            }
            return Err(if asked { NoRoute::Asking } else { NoRoute::Unknown });
        }
        Ok(Location::At(routers, leaf))
    }

    /// Whether anything depends on the graph now: a route that was chosen by it, a message that waits for one, or doubt
    /// about a hop that fades. Otherwise the graph is built when it is needed.
    pub(in crate::engine) fn routes_stand(&self, core: &Core, waiting: bool) -> bool {
        !self.routes.chosen.is_empty()
            || waiting
            || self.routes.overlay_until.is_some_and(|until| until <= core.now.time)
    }

    /// Builds the graph anew if this device's own links have changed, and at most once in a while if others have
    /// advertised something.
    pub(in crate::engine) fn follow_graph(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        if !self.link_state.gathers(core.now.time) {
            self.refresh_graph(core, neighbours);
        }
    }

    /// Builds the graph anew if anything in it has changed.
    pub(in crate::engine) fn refresh_graph(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        let fades = self.routes.overlay_until.is_some_and(|until| until <= now);
        if !self.link_state.take_changed(now) && !fades {
            return;
        }
        let own = self.own_links(core, neighbours);
        let graph = {
            let peers = &neighbours.peers;
            let resolve = |hash: &CredentialHash| peers.pseudonym(hash);
            self.link_state.lsdb.graph(&resolve, &own)
        };
        let mut overlay = Overlay { hops: u32::try_from(MAX_HOPS).ok(), ..Overlay::default() };
        for ((from, to), doubt, shunned) in neighbours.link_metrics.history.doubts(now) {
            if let Some(ends) = graph.index(&from).zip(graph.index(&to)) {
                overlay.doubts.insert(ends, doubt);
                if shunned {
                    overlay.shunned.insert(ends);
                }
            }
        }
        self.routes.overlay_until = (!overlay.doubts.is_empty()).then(|| now + FADING);
        self.routes.reaches = self.reaches_in(core, neighbours, &graph);
        self.routes.overlay = overlay;
        self.routes.graph = graph;
        self.routes.generation += 1;
        self.requeue_broken(core, neighbours);
    }

    /// Reports the routes that have lost an edge or their leaf, so that what is under way on them is sent again, and
    /// wakes what waits for a route.
    fn requeue_broken(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let graph = &self.routes.graph;
        let stands = |(from, to): &(Pseudonym, Pseudonym)| {
            let ends = graph.index(from).zip(graph.index(to));
            ends.is_some_and(|(from, to)| graph.from(from).any(|(_, edge)| edge.to == to))
                || (*from == core.own && neighbours.links.of(to).any(|(_, link)| link.usable))
        };
        let chosen = self.routes.chosen.iter().filter(|(_, chosen)| !chosen.broken);
        let stands = |route: &Route| route.pairs.iter().all(stands) && !self.has_moved(core, neighbours, route);
        let broken: Vec<_> = chosen.filter(|(_, chosen)| !stands(&chosen.route)).map(|(key, _)| key.clone()).collect();
        for key in broken {
            // This is done once: a route that nobody asks for stays as it is.
            if let Some(chosen) = self.routes.chosen.get_mut(&key) {
                chosen.broken = true;
            }
            self.reroutes.push(Reroute::Broken(key.to));
        }
        self.reroutes.push(Reroute::Anew);
    }
}

/// Whether the totals of a path keep the limits.
pub(in crate::engine) fn keeps(totals: &Totals, wants: &Wants) -> bool {
    broken(totals, wants).is_none()
}

/// The limit that the totals of a path break, and by how much.
pub(in crate::engine) fn broken(totals: &Totals, wants: &Wants) -> Option<(Limit, u64)> {
    totals.broken(wants)
}
