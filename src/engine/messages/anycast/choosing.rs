//! Choosing: which devices may offer a service, and which of them is best for a message.
//!
//! A leaf has no link state, and so asks its contacts, whoever they are; the others ask those at routers that advertise the
//! service.
//!
//! The rank of an offer is that of its route by the message's policy: money, delay, failures of late and energy, weighed as for
//! a path. Offers whose routes are nearly as good as the best are ranked by their load, since half a second of waiting for a busy
//! program outweighs a millisecond on the way.

use super::{Known, MAX_CANDIDATES, tags};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::departures::AROUND;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::Name;
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;

/// A device that may be asked.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: Name,
    /// What its route costs by the policy.
    pub(super) cost: u64,
    /// How long it may be silent.
    pub(super) patience: Duration,
}

/// Routes whose costs differ by less than a quarter count as equally good.
const NEAR: u64 = 4;

impl Messages {
    /// The contacts that may offer a service: those that say so themselves, routers that advertise it, and leaves of these.
    pub(super) fn offering(
        &self,
        core: &mut Core,
        neighbours: &Neighbours,
        routing: &Routing,
        service: &str,
    ) -> BTreeSet<Name> {
        let (tags, unix) = (tags::tags_of(core, service), core.now.unix);
        let mut found = BTreeSet::new();
        for (_, link) in neighbours.links.iter() {
            if let Some(name) = link.name.as_ref().filter(|_| tags.iter().any(|tag| link.tags.services.contains(tag))) {
                found.insert(name.clone());
            }
        }
        if !core.settings.forwarding {
            // A leaf has no link state. It asks its contacts.
            found.extend(core.membership.contact_book().iter().map(|card| card.name.clone()));
        }
        let lsdb = &routing.link_state.lsdb;
        for router in tags.iter().flat_map(|tag| lsdb.offering(tag)) {
            found.extend(routing.link_state.name_of_router(&router).cloned());
            for leaf in lsdb.entry(&router).into_iter().flat_map(|entry| &entry.lsa.leaves) {
                found.extend(core.membership.contacts().resolve(leaf, unix).map(|card| card.name.clone()));
            }
        }
        let book = core.membership.contact_book();
        found.retain(|name| book.get(name).is_some() && !book.is_revoked(name));
        found
    }

    /// The devices among these to which a path within the policy leads in time, the cheapest first.
    pub(super) fn reachable(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        number: u64,
        names: &BTreeSet<Name>,
    ) -> Vec<Candidate> {
        let Some(entry) = self.anycasts.entries.get(&number) else { return Vec::new() };
        let (lane, left) = (entry.lane.clone(), entry.deadline.since(core.now.time));
        let bytes = entry.payload.len() + AROUND;
        let mut found = Vec::new();
        // Where there are more than are looked at, each send looks at others.
        let first = core.rng.next_u64() as usize % names.len().max(1);
        for name in names.iter().cycle().skip(first).take(names.len().min(MAX_CANDIDATES)) {
            let Ok(choice) = routing.route(core, neighbours, name, &lane.send_policy, left, bytes) else { continue };
            let totals = choice.route.totals;
            let cost = totals.weighed(&lane.send_policy.policy.weights);
            let round_trip = Duration::from_micros(totals.delay.saturating_mul(2));
            found.push(Candidate { name: name.clone(), cost, patience: self.sends.silent_after(name, round_trip) });
        }
        self.reroute(routing);
        found.sort_by(|a, b| (a.cost, &a.name).cmp(&(b.cost, &b.name)));
        found
    }

    /// The best of these offers. Full ones count only where load does not matter.
    pub(super) fn best(
        &self,
        core: &Core,
        service: &str,
        candidates: &[Candidate],
        takes_place: bool,
    ) -> Option<Candidate> {
        let busy = |candidate: &Candidate| match self.anycasts.fresh(service, &candidate.name, core.now.time) {
            Some(Some(offer)) if takes_place => offer.busy(),
            _ => 0,
        };
        let open = candidates.iter().filter(|candidate| busy(candidate) < 1_000);
        let least = open.clone().map(|candidate| candidate.cost).min()?;
        let near = least.saturating_add(least / NEAR);
        let mut near: Vec<&Candidate> = open.filter(|candidate| candidate.cost <= near).collect();
        near.sort_by(|a, b| (busy(a), a.cost, &a.name).cmp(&(busy(b), b.cost, &b.name)));
        near.first().map(|best| (*best).clone())
    }

    /// A device has been given a request: until it says otherwise it has one more.
    pub(super) fn count_order(&mut self, service: &str, to: &Name) {
        if let Some(Known { offer: Some(offer), .. }) = self.anycasts.known.get_mut(&(service.to_owned(), to.clone())) {
            offer.load = offer.load.saturating_add(1);
        }
    }
}
