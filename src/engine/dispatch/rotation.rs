//! What becomes of the pseudonym: the steps of a rotation, and what each means for links, routes, groups and messages.

use crate::engine::membership::rotation::{Phase, Step};
use crate::engine::neighbours::links::Link;
use crate::engine::{Engine, Output};
use crate::event_log::Event;
use crate::id::{LinkId, Pseudonym};
use crate::identity::anonymity::Anonymity;
use crate::identity::credential::{OwnCredential, acceptance};
use crate::time::{Time, Unix};
use crate::wire::lsa::Lsa;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine {
    /// The credential of the present epoch may be under another pseudonym than the one in force.
    pub(super) fn plan_rotation(&mut self) {
        let lapses = self.own_lapses();
        let (core, rotation) = (&mut self.core, &mut self.member.rotation);
        if core.clock.is_sure() {
            rotation.forget_told();
        }
        let Some(present) = core.membership.credential(rotation.told().unwrap_or(core.now.unix)) else { return };
        if let Some(other) = rotation.begin_anew(&present.pseudonym()) {
            self.neighbours.addresses.remove(&other);
            core.outputs.push_back(Output::Leave { own: other });
        }
        if present.pseudonym() == core.own {
            return rotation.call_off();
        }
        rotation.begin(core.skew(), lapses, core.now.time, &mut core.rng);
    }

    /// When the credential of the pseudonym in force ceases to be accepted. By what neighbours have confirmed: they accept it also where this clock
    /// has leaped. A credential of another time is accepted by nobody, as one that has lapsed.
    fn own_lapses(&self) -> Time {
        let core = &self.core;
        let witnessed = self.member.witnessed_time(core, &self.neighbours);
        let own = core.membership.credential_under(&core.own, witnessed);
        let accepted = own.and_then(|own| acceptance(&own.body));
        let accepted = accepted.filter(|(from, until)| (*from..*until).contains(&witnessed));
        core.now.time + accepted.map_or(Duration::ZERO, |(_, until)| until.since(witnessed))
    }

    /// If no link of the pseudonym in force is left, there is none to be moved to the next one: that is taken now, or as soon as its network is
    /// open. Its jitter is kept where the old credential still holds.
    pub(super) fn wait_no_longer(&mut self) {
        if self.neighbours.links.iter().any(|(_, link)| link.own == self.core.own) {
            return;
        }
        let now = self.core.now.time;
        if self.own_lapses() <= now {
            self.member.rotation.hurry(now);
        }
        self.member.rotation.wait_no_longer(now);
        self.timeout_rotation();
    }

    /// Others have told this device, which is not sure of the time, that it is another epoch. It takes part under the pseudonym of that if anybody
    /// links to it.
    pub(super) fn handle_told(&mut self, at: Unix) {
        let (core, rotation) = (&self.core, &mut self.member.rotation);
        let fits = |own: &&Arc<OwnCredential>| {
            !core.clock.is_sure() && acceptance(&own.body).is_some_and(|(from, until)| from <= at && at <= until)
        };
        let Some(told) = core.membership.credential(at).filter(fits) else { return };
        if !core.carries(&told.pseudonym()) {
            rotation.begin_told(at, core.skew(), core.now.time);
        }
    }

    pub(in crate::engine) fn timeout_rotation(&mut self) {
        let now = self.core.now;
        match self.member.rotation.step(now.time) {
            Step::Wait => {}
            Step::Open => {
                let at = self.member.rotation.told().unwrap_or(now.unix);
                let Some(next) = self.core.membership.credential(at).map(|own| own.pseudonym()) else {
                    return self.member.rotation.note_left();
                };
                if self.core.carries(&next) {
                    return self.member.rotation.note_left();
                }
                self.member.rotation.note_asked(next, now.time);
                let seed = self.core.membership.libp2p_seed(at);
                self.core.outputs.push_back(Output::Network { own: next, seed });
            }
            Step::Take(next, last) if last || self.is_joined(&next) => self.take_pseudonym(next),
            Step::Take(..) => self.member.rotation.note_missing(now.time),
            Step::Abandon(next) => {
                self.neighbours.addresses.remove(&next);
                self.core.outputs.push_back(Output::Leave { own: next });
                let told = self.member.rotation.told().unwrap_or(now.unix);
                self.core.record(Event::TimeToldInVain { told: told.seconds() });
                self.member.rotation.note_abandoned();
            }
            Step::Retire(last)
                if last || self.core.former.is_none_or(|former| self.all_linked(&former, &self.core.own)) =>
            {
                self.routing.leave_as(&mut self.core, &mut self.neighbours);
                self.member.rotation.note_retired(now.time);
            }
            Step::Retire(_) => self.member.rotation.note_missing(now.time),
            Step::Leave(former) => {
                self.core.former = None;
                self.neighbours.addresses.remove(&former);
                self.core.outputs.push_back(Output::Leave { own: former });
                self.member.rotation.note_left();
                // The epoch may have turned again meanwhile.
                self.plan_rotation();
            }
        }
    }

    /// A network that was asked for listens at these addresses, or could not be opened.
    pub(super) fn handle_networked(&mut self, own: Pseudonym, result: Result<Vec<Vec<u8>>, String>) {
        let now = self.core.now.time;
        let wanted = self.member.rotation.note_open(&own, result.is_ok(), now);
        // One that was slow to open has been asked for twice, and stays.
        let here =
            self.core.carries(&own) || matches!(self.member.rotation.phase(), Phase::Joining(next, _) if next == own);
        match result {
            Ok(addresses) if wanted => {
                self.neighbours.addresses.insert(own, addresses);
                if self.core.membership.anonymity() != Anonymity::Strict {
                    self.neighbours.tell_successor(&mut self.core);
                    self.neighbours.announce_again(&mut self.core);
                }
                self.wait_no_longer();
            }
            _ if here && !wanted => {}
            Ok(_) => self.core.outputs.push_back(Output::Leave { own }),
            Err(reason) => self.core.record(Event::RotationFailed { reason }),
        }
    }

    /// A neighbour goes on under another pseudonym.
    pub(super) fn handle_successor(&mut self, link: LinkId, body: &[u8]) {
        if let Some(next) = self.neighbours.take_successor(&mut self.core, link, body) {
            self.routing.learn_credential(&mut self.core, &mut self.neighbours, next);
        }
    }

    /// Whether every neighbour with a link to one pseudonym of this device has one to another. Neighbours that have rotated meanwhile count by their
    /// successors, where they are known.
    fn all_linked(&self, former: &Pseudonym, own: &Pseudonym) -> bool {
        let links = &self.neighbours.links;
        let under = |own: &Pseudonym| -> BTreeSet<Pseudonym> {
            links.iter().filter(|(_, link)| link.own == *own).map(|(_, link)| link.peer.body.key).collect()
        };
        let (here, successors) = (under(own), &self.neighbours.successors);
        let is_linked =
            |peer: &Pseudonym| here.contains(peer) || successors.of(peer).is_some_and(|next| here.contains(&next));
        under(former).iter().all(is_linked)
    }

    /// A link has come up.
    pub(super) fn note_rotation_link(&mut self, own: &Pseudonym) {
        let Phase::Joining(next, _) = self.member.rotation.phase() else { return };
        self.member.rotation.note_link(own, self.core.now.time);
        if next == *own && self.is_joined(&next) {
            self.take_pseudonym(next);
        }
    }

    /// Whether every neighbour of the pseudonym in force has a link to the next one, and advertises it: from then on paths lead there as soon as the
    /// device advertises its end.
    fn is_joined(&self, next: &Pseudonym) -> bool {
        let (core, lsdb) = (&self.core, &self.routing.link_state.lsdb);
        let at = self.member.rotation.told().unwrap_or(core.now.unix);
        let Some(own) = core.membership.credential(at).filter(|own| own.pseudonym() == *next) else { return false };
        let is_told = |lsa: &Lsa| match core.settings.forwarding {
            true => lsa.links.iter().any(|link| link.to == own.hash),
            false => lsa.leaves.contains(&own.body.handle),
        };
        let mut links = self.neighbours.links.iter().map(|(_, link)| link).filter(|link| link.own == *next);
        let is_known = |link: &Link| {
            let router = link.forwarding && link.area == core.settings.area;
            let advertises = || lsdb.entry(&link.peer.body.key).is_some_and(|entry| is_told(&entry.lsa));
            link.process.is_some() && (!router || advertises())
        };
        links.all(is_known) && self.all_linked(&core.own, next)
    }

    /// Takes part under another pseudonym from now on. Links of the one before carry what is under way.
    fn take_pseudonym(&mut self, next: Pseudonym) {
        let former = self.core.own;
        self.routing.take_pseudonym(&self.core, next);
        (self.core.own, self.core.former) = (next, Some(former));
        self.member.rotation.note_taken(former, self.core.now.time);
        self.neighbours.assess_all(&mut self.core);
        self.learn_own();
        self.core.outputs.push_back(Output::MembershipChanged { save: false });
        self.core.record(Event::PseudonymChanged {
            epoch: self.core.membership.epoch_length().epoch_at(self.core.now.unix).0,
        });
        self.groups.update_tags(&mut self.core, &mut self.neighbours);
        self.groups.regrow(&self.core);
        let links: Vec<LinkId> =
            self.neighbours.links.iter().filter(|(_, link)| link.own == next).map(|(id, _)| id).collect();
        for link in links {
            self.neighbours.announce(&mut self.core, link);
        }
        self.messages.sends.wake_waiting();
    }
}
