//! Hold-down of the routes in use: whether each stays, gives way to a better one, or to its alternate.
//!
//! The rules are those of [`hold_down`](crate::routing::hold_down). Here they are asked when the graph has changed ([`Routing::prefer`]) and when a flight
//! over a route was not confirmed in time ([`Routing::fail_over`]). A route is also left when an edge of it is gone or shunned, and when it
//! ends at a leaf that has moved. What was under way on a route that failed is sent again over its alternate.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::routes::{Aim, Chosen, MAX_ROUTES, Route, RouteChoice, Routes, keeps};
use crate::engine::routing::wording::explain_cause;
use crate::engine::routing::{Reroute, Routing};
use crate::event_log::Event;
use crate::id::Name;
use crate::routing::hold_down::{self, HoldDown};
use crate::routing::policy::Wants;
use crate::routing::totals::Totals;
use std::sync::Arc;

impl Routing {
    /// Takes a route where none stood.
    pub(in crate::engine) fn choose(&mut self, core: &Core, aim: Aim, found: (Route, Option<Route>)) -> RouteChoice {
        let routes = &mut self.routes;
        if routes.chosen.len() >= MAX_ROUTES {
            routes.chosen.clear();
        }
        let (route, alternate) = (Arc::new(found.0), found.1.map(Arc::new));
        let generation = routes.generation;
        let chosen = Chosen {
            route: route.clone(),
            alternate: alternate.clone(),
            hold: HoldDown::new(core.now.time),
            totals_then: route.totals,
            generation,
            broken: false,
        };
        routes.chosen.insert(aim, chosen);
        RouteChoice { route, alternate, spares: None }
    }

    /// A new epoch gives routers new credentials: a route that stands names them by those of today.
    fn rename_hops(&self, kept: &mut Route, found: &Route) {
        let (nodes, hops) = (&kept.nodes, &mut kept.hops);
        for (node, hop) in nodes.iter().zip(hops.iter_mut()) {
            if let Some(hash) = self.link_state.hash_of(node) {
                *hop = hash.prefix();
            }
        }
        if let (Some(last), Some(now)) = (hops.last_mut(), found.hops.last()) {
            *last = *now;
        }
    }

    /// Keeps the route that stands, unless it broke or the one found is clearly better.
    pub(in crate::engine) fn prefer(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        aim: Aim,
        found: (Route, Option<Route>),
        standing: &Chosen,
        wants: &Wants,
    ) -> RouteChoice {
        let (route, alternate) = found;
        let generation = self.routes.generation;
        let same = route.nodes == standing.route.nodes && route.bearers == standing.route.bearers;
        let totals = if same { Some(route.totals) } else { self.totals_now(core, neighbours, &standing.route) };
        let stays =
            !same && totals.as_ref().is_some_and(|now| standing.hold.keeps(now, &route.totals, wants, core.now.time));
        if same || stays {
            let mut kept = (*standing.route).clone();
            if let Some(totals) = totals {
                kept.totals = totals;
            }
            let alternate = if same {
                kept.hops = route.hops;
                alternate
            } else {
                self.rename_hops(&mut kept, &route);
                [Some(route), alternate].into_iter().flatten().find(|other| kept.shares_no_relay(other))
            };
            let (route, alternate) = (Arc::new(kept), alternate.map(Arc::new));
            let chosen =
                Chosen { route: route.clone(), alternate: alternate.clone(), generation, broken: false, ..*standing };
            self.routes.chosen.insert(aim, chosen);
            if stays {
                // A better one is there: it is looked for again when the hold-down is over.
                self.link_state.look_again(standing.hold.held_until(), core.now.time);
            }
            return RouteChoice { route, alternate, spares: None };
        }
        let old = Route { totals: standing.totals_then, ..(*standing.route).clone() };
        let cause = self.cause(core, neighbours, &old, totals.as_ref(), &route, wants);
        let (old, new) =
            (self.names(core, neighbours, &standing.route.nodes), self.names(core, neighbours, &route.nodes));
        core.record(Event::RouteChanged { to: aim.to.clone(), old, new, cause });
        let choice = self.choose(core, aim.clone(), (route, alternate));
        if let Some(chosen) = self.routes.chosen.get_mut(&aim) {
            chosen.hold = standing.hold.replaced(core.now.time);
        }
        choice
    }

    /// The totals of a route in the present graph, or `None` if one of its edges is gone or shunned.
    fn totals_now(&self, core: &Core, neighbours: &Neighbours, route: &Route) -> Option<Totals> {
        let Routes { graph, overlay, .. } = &self.routes;
        if route.pairs.is_empty() || self.has_moved(core, neighbours, route) {
            return None;
        }
        let mut totals = Totals::default();
        for ((from, to), bearer) in route.pairs.iter().zip(&route.bearers) {
            let (from, to) = (graph.index(from)?, graph.index(to)?);
            if overlay.shunned.contains(&(from, to)) {
                return None;
            }
            let (_, edge) = graph.from(from).find(|(_, edge)| edge.to == to && edge.bearer == *bearer)?;
            totals.add(&edge.metrics, edge.bearer, overlay.doubts.get(&(from, to)).copied());
        }
        if let Some((bearer, metrics)) = self.last_hop(&route.nodes, route.leaf.as_ref()) {
            totals.add(&metrics, bearer, None);
        }
        Some(totals)
    }

    /// The one thing that made a route give way to another.
    fn cause(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        old: &Route,
        now: Option<&Totals>,
        new: &Route,
        wants: &Wants,
    ) -> String {
        let Some(now) = now else {
            if self.has_moved(core, neighbours, old) {
                return "it is with another router now".to_owned();
            }
            let gone = old.pairs.iter().find(|(from, to)| {
                let graph = &self.routes.graph;
                let ends = graph.index(from).zip(graph.index(to));
                ends.is_none_or(|(from, to)| {
                    self.routes.overlay.shunned.contains(&(from, to))
                        || !graph.from(from).any(|(_, edge)| edge.to == to)
                })
            });
            let Some((from, to)) = gone else { return "the link that it began with is gone".to_owned() };
            let shunned = {
                let graph = &self.routes.graph;
                let ends = graph.index(from).zip(graph.index(to));
                ends.is_some_and(|ends| self.routes.overlay.shunned.contains(&ends))
            };
            let silent = *from == core.own && neighbours.links.of(to).any(|(_, link)| link.silent);
            let (from, to) = (self.name_for(core, neighbours, from), self.name_for(core, neighbours, to));
            return if shunned {
                format!("failures: messages over {from} → {to} were not confirmed")
            } else if silent {
                format!("failures: the link {from} → {to} is silent")
            } else {
                format!("the link {from} → {to} is gone")
            };
        };
        explain_cause(hold_down::cause(&old.totals, now, &new.totals, wants))
    }

    /// A flight over this route was not confirmed in time: whatever stands on it gives way to its alternate.
    pub(in crate::engine) fn fail_over(&mut self, core: &mut Core, neighbours: &mut Neighbours, failed: &Route) {
        let on_it = |chosen: &Chosen| {
            chosen.alternate.is_some() && chosen.route.nodes == failed.nodes && chosen.route.bearers == failed.bearers
        };
        let chosen = self.routes.chosen.iter().filter(|(_, chosen)| on_it(chosen));
        let aims: Vec<Aim> = chosen.map(|(aim, _)| aim.clone()).collect();
        for aim in aims {
            self.fail_over_to_alternate(core, neighbours, aim, "failures: a message over it was not confirmed in time");
        }
    }

    /// Receipts on their usual way have been lost, and those that went back the way of the messages too.
    pub(in crate::engine) fn fail_over_receipts(&mut self, core: &mut Core, neighbours: &mut Neighbours, to: &Name) {
        for hurried in [false, true] {
            let aim = Aim { to: to.clone(), send_policy: Arc::default(), hurried };
            self.fail_over_to_alternate(
                core,
                neighbours,
                aim,
                "failures: what receipts over it had confirmed came again",
            );
        }
    }

    fn fail_over_to_alternate(&mut self, core: &mut Core, neighbours: &mut Neighbours, aim: Aim, cause: &str) {
        let now = core.now.time;
        let Some(standing) = self.routes.chosen.get(&aim).cloned() else { return };
        let Some(alternate) = standing.alternate.clone() else { return };
        let Some(hold) = standing.hold.fail_over(now) else { return };
        // What has failed worse is no way out. The fault may also lie with the receipts' way back.
        let history = &neighbours.link_metrics.history;
        let doubt = |route: &Route| route.pairs.iter().map(|pair| history.doubt(pair, now)).min().unwrap_or(u16::MAX);
        if doubt(&alternate) < doubt(&standing.route) {
            return;
        }
        let wants = Wants { policy: aim.send_policy.policy.clone(), time: None, bytes: 0 };
        let Some(totals_then) = self.totals_now(core, neighbours, &alternate).filter(|totals| keeps(totals, &wants))
        else {
            return;
        };
        let (old, new) =
            (self.names(core, neighbours, &standing.route.nodes), self.names(core, neighbours, &alternate.nodes));
        core.record(Event::RouteChanged { to: aim.to.clone(), old, new, cause: cause.to_owned() });
        let chosen = Chosen { route: alternate, alternate: Some(standing.route), hold, totals_then, ..standing };
        let name = aim.to.clone();
        self.routes.chosen.insert(aim, chosen);
        self.reroutes.push(Reroute::Lost(name));
        // The doubt that it is in now counts from here on.
        self.link_state.note_history(true);
    }
}
