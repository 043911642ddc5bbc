//! Report: links, routes, and the route to one device, for an operator.

use super::Engine;
use super::api::{Reply, Token};
use super::routing::wording::{amount, measure, money, thousandths};
use super::view::{
    CandidateView, DoubtView, HopView, LinkView, PathView, RouteInUse, RouteView, RouterView, RoutesView,
};
use crate::engine::messages::objectives::Asked;
use crate::engine::routing::forecast;
use crate::engine::routing::leaf_routes::MAX_ENDS;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::routes::{Location, Route, Routes};
use crate::engine::routing::wording::{explain_no_route, explain_wait};
use crate::id::Name;
use crate::routing::explain::{Role, explain};
use crate::routing::graph::NodeIndex;
use crate::routing::policy::{Criterion, Wants};
use crate::routing::totals::Totals;
use crate::wire::data::Class;
use crate::wire::lsa::Bearer;
use core::time::Duration;
use std::collections::BTreeSet;

/// The lifetime and the size in bytes of the message for which a route is reported.
const LIFETIME: Duration = Duration::from_secs(30);
const BYTES: usize = 1_000;
/// How far ahead a report looks for a cheaper way.
const AHEAD: Duration = Duration::from_secs(7 * 86_400);

impl Engine {
    /// Returns the number of other routers to which a path leads.
    pub fn routers(&mut self) -> usize {
        self.routing.follow_graph(&mut self.core, &mut self.neighbours);
        let graph = &self.routing.routes.graph;
        graph.index(&self.core.own).map_or(0, |own| graph.reached_from(own))
    }

    pub(super) fn report_links(&mut self, token: Token) {
        let mut links: Vec<LinkView> = self.neighbours.links.iter().map(|(_, link)| self.link_view(link)).collect();
        links.sort_by(|a, b| (&a.to, &a.bearer).cmp(&(&b.to, &b.bearer)));
        self.core.finish(token, Reply::Links(links));
    }

    fn link_view(&self, link: &crate::engine::neighbours::links::Link) -> LinkView {
        let bearer = self.neighbours.link_metrics.bearer(link.bearer);
        let state = match (link.usable, link.silent) {
            (true, _) => "up",
            (false, true) => "silent",
            (false, false) => "closed",
        };
        let m = &link.metrics;
        LinkView {
            to: self.routing.name_for(&self.core, &self.neighbours, &link.peer.body.key),
            bearer: bearer.name.clone(),
            class: bearer.class.name().to_owned(),
            role: if link.forwarding { "router" } else { "leaf" }.to_owned(),
            state: state.to_owned(),
            delay_ms: f64::from(m.delay) / 1e3,
            deviation_ms: f64::from(m.deviation) / 1e3,
            success: f64::from(m.success) / f64::from(u16::MAX),
            price: money(m.price),
            energy_mj: m.energy,
            left: self.neighbours.link_metrics.left(link.bearer, self.core.now.unix),
            air_ms: self
                .neighbours
                .air
                .left(link.bearer, self.core.now.time)
                .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn report_routes(&mut self, token: Token) {
        self.routing.refresh_graph(&mut self.core, &mut self.neighbours);
        let now = self.core.now.time;
        let entries: Vec<_> = self.routing.link_state.lsdb.entries().collect();
        let router = |entry: &&crate::routing::lsdb::Entry| RouterView {
            name: self.routing.name_for(&self.core, &self.neighbours, &entry.router),
            sequence: entry.lsa.sequence,
            age_s: now.since(entry.arrived).as_secs(),
            // Only links that both ends advertise count: the LSA of a router that is gone still lists links that are
            // gone.
            neighbours: {
                let graph = &self.routing.routes.graph;
                let edges = graph.index(&entry.router).into_iter().flat_map(|router| graph.from(router));
                let neighbours: BTreeSet<String> = edges
                    .map(|(_, edge)| self.routing.name_for(&self.core, &self.neighbours, graph.node(edge.to)))
                    .collect();
                neighbours.into_iter().collect()
            },
            leaves: entry.lsa.leaves.len(),
            groups: entry.lsa.groups.len(),
        };
        let mut routers: Vec<RouterView> = entries.iter().map(router).collect();
        routers.sort_by(|a, b| a.name.cmp(&b.name));
        let doubts = self.neighbours.link_metrics.history.doubts(now).map(|((from, to), works, shunned)| DoubtView {
            from: self.routing.name_for(&self.core, &self.neighbours, &from),
            to: self.routing.name_for(&self.core, &self.neighbours, &to),
            works: f64::from(works) / f64::from(u16::MAX),
            shunned,
        });
        let doubts = doubts.collect();
        let routes = self.routing.routes.in_use().map(|(aim, route, since)| RouteInUse {
            to: aim.to.to_string(),
            policy: self.core.policies.name_of(&aim.send_policy.policy).unwrap_or("of its own").to_owned(),
            hurried: aim.hurried,
            path: self.path_view(route),
            since_s: now.since(since).as_secs(),
        });
        let view = RoutesView {
            area: self.core.settings.area,
            forwarding: self.core.settings.forwarding,
            links: self.routing.routes.graph.edges().len(),
            forwarded: self.routing.flows.forwarded,
            routers,
            routes: routes.collect(),
            doubts,
        };
        self.core.finish(token, Reply::Routes(Box::new(view)));
    }

    /// Reports the route to a device under a policy, the other candidates, and the reasons.
    pub(super) fn report_route(&mut self, token: Token, to: &Name, policy: Option<&str>) {
        if self.core.membership.contacts().get(to).is_none() && to != self.core.membership.name() {
            return self.messages.refuse_unknown(&mut self.core, token, to);
        }
        if self.messages.refuse_contact(&mut self.core, token, to) {
            return;
        }
        let asked = Asked { policy, class: Class::Telemetry, service: None, wait: None };
        let Some((send_policy, lifetime)) = self.messages.send_policy_of(
            &mut self.core,
            &mut self.neighbours,
            &mut self.routing,
            token,
            to,
            &asked,
            LIFETIME,
            0,
        ) else {
            return;
        };
        let time = u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
        let bytes = u32::try_from(BYTES).unwrap_or(u32::MAX);
        let wants = Wants { policy: send_policy.policy.clone(), time: Some(time), bytes };
        let choice = self.routing.route(&mut self.core, &mut self.neighbours, to, &send_policy, lifetime, BYTES);
        let chosen = choice.as_ref().ok().map(|choice| choice.route.clone());
        let candidates = self.candidates(to, &wants, chosen.as_deref());
        let mut why = self.why(&wants, chosen.as_deref(), choice.as_ref().err(), &candidates);
        why.extend(self.why_wait(to, &wants, chosen.as_deref()));
        let views = candidates.iter().map(|candidate| CandidateView {
            best_at: candidate.best_at.clone(),
            path: self.path_view(&candidate.route),
            chosen: candidate.taken,
            weight: candidate.route.totals.weighed(&wants.policy.weights),
            cut_by: candidate
                .route
                .totals
                .broken(&wants)
                .map(|(limit, by)| format!("{limit}, by {}", limit.amount(by))),
        });
        let weights = if send_policy.policy.weights == [0; 4] {
            crate::routing::policy::BALANCED
        } else {
            send_policy.policy.weights
        };
        let view = RouteView {
            to: to.to_string(),
            policy: self.core.policies.name_of(&send_policy.policy).unwrap_or("of its own").to_owned(),
            weights: weights.to_vec(),
            path: chosen.as_deref().map(|route| self.path_view(route)),
            alternate: choice
                .as_ref()
                .ok()
                .and_then(|choice| choice.alternate.as_deref())
                .map(|route| self.path_view(route)),
            no_route: choice.as_ref().err().map(explain_no_route),
            candidates: views.collect(),
            why,
        };
        self.core.finish(token, Reply::Route(Box::new(view)));
    }

    /// Returns the paths that were considered: the one taken, and the best by each measure.
    fn candidates(&mut self, to: &Name, wants: &Wants, taken: Option<&Route>) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        candidates.extend(taken.map(|route| Candidate { best_at: Vec::new(), route: route.clone(), taken: true }));
        let Ok(Location::At(routers, leaf)) = self.routing.location(&mut self.core, &mut self.neighbours, to) else {
            return candidates;
        };
        let overlay = self.routing.overlay_for(self.routing.segment_towards(
            &self.core,
            &self.neighbours,
            &routers,
            leaf.as_ref(),
        ));
        let Routes { graph, .. } = &self.routing.routes;
        let Some(from) = graph.index(&self.core.own) else { return candidates };
        let to: Vec<NodeIndex> = routers.iter().filter_map(|router| graph.index(router)).collect();
        for found in explain(graph, from, &to, wants, &overlay).candidates {
            let Some(route) = self.routing.route_along(&found.path, leaf.as_ref()) else { continue };
            let best_at: Vec<String> = found.roles.iter().filter_map(|role| role_name(*role)).collect();
            let same =
                |known: &&mut Candidate| known.route.nodes == route.nodes && known.route.bearers == route.bearers;
            match candidates.iter_mut().find(same) {
                Some(known) => known.best_at.extend(best_at),
                None => candidates.push(Candidate { best_at, route, taken: false }),
            }
        }
        // By each of a leaf's other routers, too: which last hop it has decides as well.
        for router in to.iter().take(if leaf.is_some() { MAX_ENDS } else { 0 }) {
            let best = explain(graph, from, &[*router], wants, &overlay).candidates.into_iter().next();
            let route = best.and_then(|best| self.routing.route_along(&best.path, leaf.as_ref()));
            let is_new = |route: &Route| {
                !candidates.iter().any(|known| known.route.nodes == route.nodes && known.route.bearers == route.bearers)
            };
            if let Some(route) = route.filter(is_new) {
                candidates.push(Candidate { best_at: Vec::new(), route, taken: false });
            }
        }
        candidates
    }

    /// Returns why this path is taken, and what would change that.
    fn why(
        &self,
        wants: &Wants,
        chosen: Option<&Route>,
        no_route: Option<&NoRoute>,
        candidates: &[Candidate],
    ) -> Vec<String> {
        let mut why = Vec::new();
        let Some(chosen) = chosen else {
            why.extend(no_route.map(|no_route| format!("no way is taken: {}", explain_no_route(no_route))));
            return why;
        };
        let weights = &wants.policy.weights;
        let own = chosen.totals.weighed(weights);
        let others: Vec<&Candidate> = candidates.iter().filter(|candidate| !candidate.taken).collect();
        if others.is_empty() {
            why.push("it is the best by every measure".to_owned());
        }
        for other in others {
            let over = self.over(&other.route);
            if let Some((limit, by)) = other.route.totals.broken(wants) {
                let limit_text = limit.amount(by);
                why.push(format!("the way over {over} breaks the limit on {limit} by {limit_text}; without that limit it could be taken"));
                continue;
            }
            let theirs = other.route.totals.weighed(weights);
            if theirs < own {
                why.push(format!(
                    "the way over {over} is better by {} %, too little, or too soon, to leave this one",
                    (own - theirs) * 100 / own.max(1)
                ));
                continue;
            }
            let gap = theirs - own;
            let tips = tips(gap, weights);
            let lead = match chosen.totals.gain_over(&other.route.totals, weights) {
                Some((criterion, theirs, ours)) => format!(
                    "{} decides against the way over {over}: {} there, {} here",
                    measure(criterion),
                    amount(criterion, theirs),
                    amount(criterion, ours)
                ),
                None => format!("the way over {over} has more hops"),
            };
            why.push(if tips.is_empty() {
                lead
            } else {
                format!("{lead}; it would be taken if this one's {}", tips.join(" or "))
            });
        }
        why
    }

    /// Returns which cheaper way will be there, if that is known.
    fn why_wait(&mut self, to: &Name, wants: &Wants, chosen: Option<&Route>) -> Option<String> {
        let until = self.core.now.unix + AHEAD;
        let asked = forecast::Asked { policy: &wants.policy, bytes: BYTES, ahead: 0, leaves: until, arrives: until };
        let cost = chosen.map(|route| route.totals.cost_of(BYTES as u64));
        let Self { core, neighbours, routing, .. } = self;
        let later = routing.forecast(core, neighbours, to, &asked, cost)?;
        let who = if chosen.is_some() {
            "a message that has time for it, and is willing to wait:"
        } else {
            "there will be one:"
        };
        Some(format!("{who} {}", explain_wait(&later)))
    }

    fn over(&self, route: &Route) -> String {
        let relays: Vec<String> = route
            .nodes
            .iter()
            .take(route.nodes.len().saturating_sub(1))
            .map(|node| self.routing.name_for(&self.core, &self.neighbours, node))
            .collect();
        if relays.is_empty() {
            let bearer = route.bearers.first().and_then(|class| Bearer::from_u8(*class));
            return format!("the link itself ({})", bearer.map_or("unknown", Bearer::name));
        }
        relays.join(" → ")
    }

    fn path_view(&self, route: &Route) -> PathView {
        let bearer = |at: usize| {
            route.bearers.get(at).and_then(|class| Bearer::from_u8(*class)).map(|bearer| bearer.name().to_owned())
        };
        let hops = route.nodes.iter().enumerate();
        let Totals { price, delay, energy, .. } = route.totals;
        PathView {
            hops: hops
                .map(|(at, node)| HopView {
                    to: self.routing.name_for(&self.core, &self.neighbours, node),
                    bearer: bearer(at),
                })
                .collect(),
            price: money(price),
            delay_ms: thousandths(delay),
            success: f64::from(route.totals.success()) / f64::from(u16::MAX),
            energy_mj: energy,
        }
    }

    /// Returns the contacts that the application can address, as [`Reply::Contacts`].
    pub fn contacts(&mut self) -> Reply {
        let contacts = self.core.membership.contacts().iter().map(|card| card.name.clone()).collect::<Vec<_>>();
        let contact = |name: Name| super::api::Contact {
            neighbour: self.neighbours.links.to(&name).is_some(),
            changed: self.core.membership.contact_book().changed(&name).map(|change| change.text().to_owned()),
            name: name.to_string(),
        };
        Reply::Contacts(contacts.into_iter().map(contact).collect())
    }
}

/// Returns the name of the measure by which a path is best; `None` for the one taken and its alternate.
fn role_name(role: Role) -> Option<String> {
    let name = match role {
        Role::Chosen | Role::Alternate => return None,
        Role::Nearest => "nearest to the limits",
        Role::Unlimited => "policy",
        Role::Best(criterion) => measure(criterion),
    };
    Some(name.to_owned())
}

/// A path that was considered.
struct Candidate {
    best_at: Vec<String>,
    route: Route,
    taken: bool,
}

/// Returns by how much each single measure of the path taken would have to get worse for another to be taken.
fn tips(gap: u64, weights: &[u8; 4]) -> Vec<String> {
    let weights = if *weights == [0; 4] { &crate::routing::policy::BALANCED } else { weights };
    let all = [Criterion::Cost, Criterion::Delay, Criterion::Failures, Criterion::Energy];
    let weighty = all.into_iter().zip(weights).filter(|(_, weight)| **weight > 1);
    weighty
        .map(|(criterion, weight)| {
            format!("{} rose by {}", measure(criterion), amount(criterion, gap / u64::from(*weight)))
        })
        .collect()
}
