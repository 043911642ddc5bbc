//! Ways of mail: to custodians, and on from relay to relay.
//!
//! A relay forwards mail like any data frame as long as there is a way to its receiver. If there is none, and the relay keeps no
//! mail itself, it sends it to the nearest custodian. It remembers where mail came from, so that statements of custody find their way
//! back.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::neighbours::links::Link;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::{Arrival, of_use_until, path_of, put_data};
use crate::engine::routing::pathfinding::Avoided;
use crate::engine::routing::routes::Route;
use crate::id::{Handle, LinkId, Lsn, Name, OuterId, Pseudonym, Tag};
use crate::routing::policy::Wants;
use crate::time::{Day, Unix};
use crate::wire::credential::Role;
use crate::wire::data::{MAX_HOPS, Path};
use std::collections::BTreeSet;

impl Routing {
    /// Whether an attempt began here.
    pub(in crate::engine) fn has_begun(&self, attempt: &OuterId) -> bool {
        self.flows.has_begun(attempt)
    }

    /// Whether a device is a neighbour, a router of this area, or a leaf that one lists.
    pub(in crate::engine) fn is_listed(&self, neighbours: &Neighbours, handle: &Handle) -> bool {
        neighbours.links.by_handle(handle).is_some_and(|link| link.usable)
            || self.link_state.router_of(handle).is_some()
            || !self.link_state.lsdb.routers_of_leaf(handle).is_empty()
    }

    /// Whether a path can name the device with a handle: a router by its link state, any other by its credential.
    pub(in crate::engine) fn can_be_named(&self, core: &Core, neighbours: &Neighbours, handle: &Handle) -> bool {
        self.link_state.router_of(handle).is_some() || self.credential_of_handle(core, neighbours, handle).is_some()
    }

    /// The routers that the operator has made mailboxes, besides this one, as far as their credentials are known.
    fn custodians(&self, core: &Core, neighbours: &Neighbours) -> Vec<Pseudonym> {
        let keeps = |router: &Pseudonym| {
            let hash = self.link_state.hash_of(router);
            let known = hash.and_then(|hash| neighbours.peers.get(&hash));
            known.is_some_and(|known| known.body.has_role(Role::Mailbox))
        };
        let routers = self.link_state.lsdb.entries().filter(|entry| !entry.lsa.leaving).map(|entry| entry.router);
        routers.filter(|router| !core.is_own(router) && keeps(router)).collect()
    }

    /// Whether there may be a mailbox: a router of this area or a neighbour is one. A leaf knows of no others, and asks
    /// where that costs nothing.
    pub(in crate::engine) fn may_know_custodian(&self, core: &Core, neighbours: &Neighbours) -> bool {
        let is_free = |bearer| !neighbours.link_metrics.bearer(bearer).metered;
        let mut links = neighbours.links.iter().map(|(_, link)| link).filter(|link| link.usable);
        let asks = |link: &Link| !core.settings.forwarding && link.forwarding && is_free(link.bearer);
        links.any(|link| link.peer.body.has_role(Role::Mailbox) || asks(link))
            || !self.custodians(core, neighbours).is_empty()
    }

    /// The routers that advertise a contact's box: its parents. Boxes are named by the day, by the day before, and by that of its prekey.
    pub(in crate::engine) fn parents_of(&self, core: &Core, name: &Name) -> Vec<Pseudonym> {
        let book = core.membership.contact_book();
        let today = core.membership.day_of(core.now.unix);
        let prekey = book.get(name).and_then(|card| card.prekey.as_ref()).map(|prekey| prekey.day);
        let days = [Some(today), today.0.checked_sub(1).map(Day), prekey];
        let tags: BTreeSet<Tag> = days.into_iter().flatten().filter_map(|day| book.box_of(name, day)).collect();
        self.advertising(core, tags.iter())
    }

    /// The routers that advertise any of these boxes, besides this one.
    pub(in crate::engine) fn advertising<'a>(
        &self,
        core: &Core,
        tags: impl Iterator<Item = &'a Tag>,
    ) -> Vec<Pseudonym> {
        let mut parents: Vec<Pseudonym> = tags.flat_map(|tag| self.link_state.lsdb.offering(tag)).collect();
        parents.retain(|router| !core.is_own(router));
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// The best route to one of the `parents`, or to any custodian if none of these is known, or, for a leaf, to a router; past those in
    /// `past`.
    pub(in crate::engine) fn route_to_custodian(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        segment: Option<u8>,
        wants: &Wants,
        (parents, past): (&[Pseudonym], &[Pseudonym]),
    ) -> Option<Route> {
        if !core.settings.forwarding {
            let routers = neighbours.links.iter().filter(|(_, link)| link.forwarding && link.usable);
            let weigh = |metrics| crate::routing::totals::weigh(metrics, &wants.policy.weights);
            let (_, best) = routers.min_by_key(|(id, link)| (weigh(&link.metrics), *id))?;
            let peer = best.peer.clone();
            return self.direct(core, neighbours, &peer, wants).ok();
        }
        self.follow_graph(core, neighbours);
        let fresh = |custodian: &Pseudonym| !past.contains(custodian);
        let mut custodians: Vec<Pseudonym> = parents.iter().copied().filter(fresh).collect();
        if custodians.is_empty() {
            custodians = self.custodians(core, neighbours);
            custodians.retain(fresh);
        }
        let found = self.search(core, neighbours, &custodians, None, wants, &Avoided { nodes: past, segment });
        let mut route = found.ok()?.0;
        if route.hops.is_empty() {
            // The path ends there, so that it knows that it is to keep the mail.
            let hash = self.link_state.hash_of(route.nodes.last()?)?;
            route.hops = vec![hash.prefix()];
        }
        Some(route)
    }

    /// The segment of frames to a router, or to a neighbour.
    pub(in crate::engine) fn segment_of(&self, core: &Core, neighbours: &Neighbours, router: &Pseudonym) -> Option<u8> {
        if let Some((_, link)) = neighbours.links.of(router).next() {
            return neighbours.segment_to(core, &link.peer);
        }
        neighbours.segment_to(core, neighbours.peers.get(&self.link_state.hash_of(router)?)?)
    }

    /// The link with which a route begins, and the path of a frame of that size on it.
    pub(in crate::engine) fn leave_on(
        &self,
        neighbours: &Neighbours,
        route: &Route,
        wants: &Wants,
        outer: OuterId,
    ) -> Option<(LinkId, Path)> {
        let (link, price) = neighbours.link_under(&route.first()?, &wants.policy)?;
        Some((link, path_of(route, price, usize::try_from(wants.bytes).unwrap_or(usize::MAX), outer)))
    }

    /// Passes mail on: towards its receiver, or, where there is no way and this device keeps none, to a custodian. Returns whether it
    /// is done with.
    pub(in crate::engine) fn pass_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        arrival: Arrival<'_>,
    ) -> bool {
        let Arrival { link: from, data, .. } = arrival;
        if !core.settings.forwarding {
            core.count(Counter::DataForOthers, 1);
            return true;
        }
        if !self.may_pass(core, neighbours, data) {
            return true;
        }
        let forgotten = self.flows.note_mail(data.path.outer, from);
        if !self.pass_on(core, neighbours, arrival) {
            let keeps = core.credential().is_some_and(|own| own.body.has_role(Role::Mailbox));
            if keeps || !self.pass_to_custodian(core, neighbours, arrival) {
                self.flows.forget_mail(&data.path.outer);
                return false;
            }
        }
        core.count(Counter::FlowsForgotten, u64::from(forgotten));
        true
    }

    fn pass_to_custodian(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        Arrival { link: from, data, buffer, .. }: Arrival<'_>,
    ) -> bool {
        let mut past: Vec<Pseudonym> =
            data.path.visited.iter().filter_map(|hop| self.pseudonym_at(neighbours, hop)).collect();
        past.extend(neighbours.links.get(from).map(|link| link.peer.body.key));
        let bytes = u32::try_from(data.sealed.len() + data.header_bytes.len()).unwrap_or(u32::MAX);
        let wants = Wants { policy: data.header.policy.clone(), time: None, bytes };
        let segment = Some(data.header.segment);
        let Some(own) = core.credential().map(|own| own.hash) else { return false };
        let parents = self.advertising(core, data.header.mail.iter().map(|mail| &mail.tag));
        let route = self.route_to_custodian(core, neighbours, segment, &wants, (&parents, &past));
        let way = route.and_then(|route| self.leave_on(neighbours, &route, &wants, data.path.outer));
        let Some((link, next)) = way else { return false };
        if data.path.visited.len() >= MAX_HOPS {
            return false;
        }
        let mut path = Path { visited: data.path.visited.clone(), age: data.path.age, ..next };
        path.spent = path.spent.saturating_add(data.path.spent);
        path.visited.push(own.prefix());
        path.age = path.age.saturating_add(neighbours.delay_of(from).into());
        let out = put_data(data.header_bytes, &path, data.sealed, buffer);
        let until = of_use_until(Unix(data.header.expiry), core.now);
        neighbours
            .send_data(core, Leaving { link, class: data.header.class, frame: out, after: Lsn(0), until: Some(until) });
        true
    }
}
