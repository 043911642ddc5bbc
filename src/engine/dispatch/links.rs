//! What becomes of neighbours: their links come up and go, they greet, say what they are, and show credentials.
//!
//! What concerns a link alone is done by `neighbours`; what follows from it for routes, messages, groups and the membership
//! is called here, in this order.

use crate::counter::Counter;
use crate::engine::Engine;
use crate::engine::neighbours::air::SETUP_BYTES;
use crate::engine::neighbours::allowances::Asked;
use crate::engine::neighbours::clocks::Clocks;
use crate::engine::neighbours::links::{Blocked, LeafTags, Link};
use crate::engine::routing::Reroute;
use crate::event_log::Event;
use crate::id::{LinkId, Pseudonym};
use crate::identity::admission::AdmittedPeer;
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::routing::graph::Metrics;
use crate::wire::bulletin::BulletinRequest;
use crate::wire::data::Class;
use crate::wire::frame::Kind;
use core::time::Duration;

impl Engine {
    pub(super) fn handle_link_up(
        &mut self,
        own: Pseudonym,
        id: LinkId,
        peer: AdmittedPeer,
        transport: &'static str,
        bearer: u8,
        age: Duration,
    ) {
        if self.turns_away(id, &peer.credential) {
            return;
        }
        let name = self.neighbours.name_of(&mut self.core, &peer.credential.body.handle);
        if self.neighbours.is_quarantined(&peer.credential.body.key, name.as_ref()) {
            return self.neighbours.close(&mut self.core, id, "it is in quarantine");
        }
        let clocks = Clocks::of_link(peer.seconds, self.core.now.unix.seconds(), age);
        self.core.record(Event::LinkUp {
            name: name.clone(),
            credential: peer.credential.hash.prefix(),
            transport: transport.to_owned(),
        });
        self.routing.learn_credential(&mut self.core, &mut self.neighbours, peer.credential.clone());
        self.member.witness_time(&mut self.core, &peer.credential.body);
        if self.neighbours.links.of(&peer.credential.body.key).next().is_none() {
            self.member.issuer_search.forget();
        }
        self.neighbours.links.insert(
            id,
            Link {
                own,
                peer: peer.credential,
                name: name.clone(),
                blocked: Blocked::default(),
                clocks,
                addresses: Vec::new(),
                bearer,
                silent: false,
                price: None,
                metrics: Metrics::default(),
                usable: true,
                forwarding: false,
                area: 0,
                process: None,
                tags: LeafTags::default(),
            },
        );
        self.neighbours.charge_air(&mut self.core, id, SETUP_BYTES);
        self.neighbours.assess(&mut self.core, id);
        self.neighbours.links_changed = true;
        self.member.ask_time(&mut self.core, &mut self.neighbours, id);
        self.greet(id, peer.bulletin);
        if let Some(name) = name {
            // What flew over an older link to the same device may have been lost with it; it is not sent twice
            // as long as that link stands.
            self.messages.sends.wake(name);
        }
        self.messages.mail.look_again();
        self.meet_in_sleep(id);
        self.note_rotation_link(&own);
    }

    pub(super) fn handle_link_down(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.neighbours.links.remove(id) else { return };
        self.core.record(Event::LinkDown {
            name: link.name.clone(),
            credential: link.peer.hash.prefix(),
            reason: reason.to_owned(),
        });
        self.neighbours.rest_after(&mut self.core, id, &link);
        if let Some(name) = link.name {
            self.messages.sends.handle_path_broken(&name);
            self.messages.sends.wake(name);
        }
        self.messages.sends.unblock(id);
        self.member.forget_link_in_relays(id);
        self.member.forget_link_in_documents(&mut self.core, &mut self.neighbours, id);
        self.routing.forget_link_in_routing(&mut self.core, &mut self.neighbours, id);
        self.groups.publishing.release(id);
        if self.neighbours.links.of(&link.peer.body.key).next().is_some() {
            // What was on its way over this one is lost.
            self.groups.repair.owe_all(link.peer.body.key, self.core.now.time);
        } else {
            self.groups.repair.forget_neighbour(&link.peer.body.key);
        }
        let gone = self.neighbours.links.of(&link.peer.body.key).next().is_none();
        self.member.clock.forget_link(id, gone.then_some(&link.peer.body.key));
        self.neighbours.fragments.forget(id);
        self.neighbours.air.forget(id);
        self.neighbours.successors.forget(id);
        self.neighbours.formers.remove(&id);
        self.neighbours.peers.forget_link(id);
        if link.own == self.core.own {
            self.wait_no_longer();
        }
    }

    /// A link is there: the neighbour is awake, and so is this device, or it should not be there.
    fn meet_in_sleep(&mut self, id: LinkId) {
        if self.neighbours.sleepers.own.is_asleep() {
            return self.neighbours.close(&mut self.core, id, "this device sleeps");
        }
        self.neighbours.send_rest(&mut self.core, id, Duration::ZERO);
    }

    pub(super) fn handle_blocked(&mut self, id: LinkId, class: Class) {
        let before = self.neighbours.links.get(id).and_then(|link| link.blocked.full);
        self.neighbours.links.set_blocked(id, Some(class));
        if before.is_some_and(|before| before < class) {
            // What is more urgent may leave again.
            self.messages.sends.unblock(id);
        }
    }

    pub(super) fn handle_writable(&mut self, id: LinkId) {
        self.neighbours.links.set_blocked(id, None);
        self.handle_freed(id);
    }

    /// A link takes more than before: those who wait for it are told.
    pub(super) fn handle_freed(&mut self, id: LinkId) {
        self.groups.publishing.release(id);
        if let Some(neighbour) = self.groups.neighbour_at(&self.neighbours, id) {
            self.groups.repair.hurry(&neighbour, self.core.now.time);
        }
        self.messages.sends.unblock(id);
        self.messages.mail.look_again();
    }

    /// A neighbour has a credential for the next epoch.
    pub(super) fn refresh_link(&mut self, id: LinkId, peer: PeerCredential) {
        let name = self.neighbours.name_of(&mut self.core, &peer.body.handle);
        self.routing.learn_credential(&mut self.core, &mut self.neighbours, peer.clone());
        self.member.witness_time(&mut self.core, &peer.body);
        if let Some(link) = self.neighbours.links.get_mut(id) {
            link.peer = peer;
        }
        self.neighbours.links_changed = true;
        // A contact keeps its name through an epoch that its card does not resolve yet.
        if name.is_some() {
            self.neighbours.links.rename(id, name);
        }
    }

    /// Contacts have changed: neighbours may have become contacts.
    pub(super) fn rename_links(&mut self) {
        for id in self.neighbours.links.ids() {
            let Some(handle) = self.neighbours.links.get(id).map(|link| link.peer.body.handle) else { continue };
            if let Some(name) = self.neighbours.name_of(&mut self.core, &handle) {
                self.messages.sends.wake(name.clone());
                self.neighbours.links.rename(id, Some(name));
            }
        }
        self.routing.name_routers(&mut self.core, &mut self.neighbours);
    }

    /// The first words to a new neighbour, whose bulletin has that version.
    pub(super) fn greet(&mut self, link: LinkId, bulletin: u64) {
        self.neighbours.announce(&mut self.core, link);
        let have = self.core.membership.bulletin().version();
        if bulletin > have {
            self.neighbours.send_control(&mut self.core, link, Kind::BulletinRequest, &BulletinRequest { have });
        } else if bulletin < have {
            self.member.send_bulletin(&mut self.core, &mut self.neighbours, link);
        }
        self.member.fetch_documents(&mut self.core, &mut self.neighbours);
    }

    /// What was under way over this link is lost, and what the neighbour knew of us may be.
    fn greet_again(&mut self, link: LinkId) {
        self.routing.ask_elsewhere(&mut self.core, &mut self.neighbours, link);
        self.neighbours.announce(&mut self.core, link);
        self.member.send_bulletin(&mut self.core, &mut self.neighbours, link);
        let Some(key) = self.neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        self.routing.reroutes.extend(self.routing.routes.over(&key).into_iter().map(Reroute::Lost));
        self.messages.reroute(&mut self.routing);
    }

    /// The other end is told so too, and greets as well.
    pub(super) fn handle_broken(&mut self, link: LinkId) {
        let Some(forwarding) = self.neighbours.links.get(link).map(|link| link.forwarding) else { return };
        self.core.count(Counter::ConnectionsBroken, 1);
        self.greet_again(link);
        self.groups.compare_groups(&mut self.core, &mut self.neighbours, link);
        if forwarding {
            self.routing.meet_router(&mut self.core, &mut self.neighbours, link);
        }
    }

    pub(super) fn handle_credential(&mut self, link: LinkId, body: &[u8]) {
        let hash = credential::hash(body);
        if !self.neighbours.peers.take_asked(&hash, self.core.now.time) {
            return self.core.count(Counter::CredentialsUnasked, 1);
        }
        match self.neighbours.verify_credential(&self.core, body) {
            Ok(credential) => {
                self.routing.learn_credential(&mut self.core, &mut self.neighbours, credential);
                self.groups.release_waiting(&mut self.core, &mut self.neighbours, &mut self.routing, hash);
                self.routing.release_lsas(&mut self.core, &mut self.neighbours, hash);
                self.messages.release_custody(&mut self.core, &mut self.neighbours, &mut self.routing, &hash);
            }
            // By another clock or bulletin it may be good; the issuer's signature is there for all.
            Err(CredentialError::Signature) => {
                self.neighbours.note_forgery(&mut self.core, link, Counter::CredentialsRefused);
            }
            Err(_) => self.core.count(Counter::CredentialsRefused, 1),
        }
    }

    pub(super) fn handle_refresh(&mut self, link: LinkId, body: &[u8]) {
        let Some(key) = self.neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        match self.neighbours.verify_credential(&self.core, body) {
            Ok(credential) if credential.body.key == key => self.refresh_link(link, credential),
            _ => {
                self.core.count(Counter::RefreshesRefused, 1);
                if !self.core.clock.is_sure() {
                    return;
                }
                self.neighbours.close(&mut self.core, link, "its new credential is not valid");
            }
        }
    }

    /// Our own credential of the epoch, as others see it.
    pub(super) fn learn_own(&mut self) {
        let present = self.core.membership.credential(self.core.now.unix);
        let credentials: Vec<_> = [present, self.core.credential()].into_iter().flatten().cloned().collect();
        for own in credentials {
            self.routing.learn_credential(
                &mut self.core,
                &mut self.neighbours,
                PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() },
            );
        }
        self.neighbours.links_changed = true;
    }

    /// A neighbour says what it is.
    pub(super) fn handle_announce(&mut self, link: LinkId, body: &[u8]) {
        let Some(said) = self.neighbours.handle_announce(&mut self.core, link, body) else { return };
        for group in said.fresh_groups {
            self.groups.repair.owe(said.neighbour, group, true, self.core.now.time);
        }
        if said.restarted {
            // The link stayed up at our end.
            self.core.count(Counter::NeighboursRestarted, 1);
            if self.neighbours.may_ask(&mut self.core, link, Asked::Digest) {
                self.greet_again(link);
            }
        }
        if said.meets {
            self.groups.compare_groups(&mut self.core, &mut self.neighbours, link);
            self.routing.meet_router(&mut self.core, &mut self.neighbours, link);
        }
    }
}
