//! Frames of the control stream: what neighbours tell each other about themselves and the realm.
//!
//! ```text
//! link up ─▶ Announce ⇄ Announce
//!         ─▶ the one with the older bulletin (versions were in the hellos) gets the newer, verifies it, keeps it,
//!            and hands it to its other neighbours
//! named by it, and missing ─▶ DocumentRequest ⇄ DocumentPiece, see `documents`
//! epoch   ─▶ Refresh: the neighbour's next credential, of the same key
//! unknown sender of a group frame, unknown origin of an LSA ─▶ CredentialRequest ⇄ Credential
//! ```

use super::{Engine, Output};
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{CredentialHash, CredentialPrefix, LinkId, Pseudonym, Tag};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::wire::announce::{Announce, MAX_ADDRESSES, MAX_GROUPS, MAX_OTHERS, MAX_SERVICES};
use crate::wire::bulletin::BulletinRequest;
use crate::wire::credential_exchange::CredentialRequest;
use crate::wire::frame::{self, Kind};
use crate::wire::{self};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest multiaddress in binary form, in bytes.
const MAX_ADDRESS: usize = 128;

impl Engine {
    /// The first words to a new neighbour, whose bulletin has that version.
    pub(super) fn greet(&mut self, link: LinkId, bulletin: u64) {
        let announce = self.announcement(link);
        self.send_control(link, Kind::Announce, &announce);
        let have = self.membership.bulletin().version();
        if bulletin > have {
            self.send_control(link, Kind::BulletinRequest, &BulletinRequest { have });
        } else if bulletin < have {
            self.send_bulletin(link);
        }
        self.fetch_documents();
    }

    /// What was under way over this link is lost, and what the neighbour knew of us may be.
    fn greet_again(&mut self, link: LinkId) {
        self.ask_elsewhere(link);
        let announce = self.announcement(link);
        self.send_control(link, Kind::Announce, &announce);
        self.send_bulletin(link);
        let Some(key) = self.links.get(link).map(|link| link.peer.body.key) else { return };
        for name in self.routes.over(&key) {
            self.outgoing.handle_path_broken(&name);
            self.ready.insert(name);
        }
    }

    /// The other end is told so too, and greets as well.
    pub(super) fn handle_broken(&mut self, link: LinkId) {
        let Some(forwarding) = self.links.get(link).map(|link| link.forwarding) else { return };
        self.count(Counter::ConnectionsBroken, 1);
        self.greet_again(link);
        self.compare_groups(link);
        if forwarding {
            self.meet_router(link);
        }
    }

    pub(super) fn handle_listening(&mut self, addresses: Vec<Vec<u8>>) {
        if self.addresses == addresses {
            return;
        }
        self.addresses = addresses;
        self.announce_again();
    }

    /// Something that neighbours know of us has changed.
    pub(super) fn announce_again(&mut self) {
        for link in self.links.ids() {
            let announce = self.announcement(link);
            self.send_control(link, Kind::Announce, &announce);
        }
    }

    pub(super) fn handle_control(&mut self, link: LinkId, kind: Kind, body: &[u8]) {
        match kind {
            Kind::Announce => self.handle_announce(link, body),
            Kind::BulletinRequest => match wire::decode::<BulletinRequest>(body) {
                Ok(request) if request.have < self.membership.bulletin().version() => self.send_bulletin(link),
                Ok(_) => {}
                Err(_) => self.count(Counter::ControlMalformed, 1),
            },
            Kind::Bulletin => self.handle_bulletin(link, body),
            Kind::CredentialRequest => self.handle_credential_request(link, body),
            Kind::Credential => self.handle_credential(body),
            Kind::Refresh => self.handle_refresh(link, body),
            Kind::EnrolRelay => self.handle_enrol_relay(link, body),
            Kind::EnrolAnswer => self.handle_enrol_answer(link, body),
            Kind::SessionNack => self.handle_nack(link, body),
            Kind::HopAck => self.handle_hop_ack(link, body),
            Kind::DocumentRequest => self.handle_document_request(link, body),
            Kind::DocumentPiece => self.handle_document_piece(link, body),
            Kind::Lsa => self.handle_lsa(link, body),
            Kind::LsaDigest => self.handle_lsa_digest(link, body),
            Kind::LsaRequest => self.handle_lsa_request(link, body),
            Kind::Locate => self.handle_locate(link, body),
            Kind::Located => self.handle_located(link, body),
            Kind::Fragment => self.handle_fragment(link, body),
            Kind::Group => self.handle_group_frame(link, body),
            Kind::GroupHave => self.handle_group_have(link, body),
            Kind::GroupWant => self.handle_group_want(link, body),
            Kind::GroupAgain => self.handle_group_again(link, body),
            // The link's handler answers pings itself; data frames go their own way.
            Kind::Ping | Kind::Pong | Kind::Data => {}
            Kind::Successor | Kind::TimeBeacon | Kind::Witness | Kind::Custody => {
                self.count(Counter::FramesOfUnknownKind, 1)
            }
        }
    }

    /// Hands this node's new credential to all neighbours.
    pub(super) fn send_refresh(&mut self) {
        let Some(own) = self.membership.credential(self.now.unix).cloned() else { return };
        for link in self.links.ids() {
            self.send_frame(link, frame::raw(Kind::Refresh, &own.signed));
        }
    }

    pub(super) fn ask_credential(&mut self, link: LinkId, hash: CredentialHash) {
        self.peers.note_asked(link, hash, self.now.time);
        self.send_control(link, Kind::CredentialRequest, &CredentialRequest { hash });
    }

    fn announcement(&self, to: LinkId) -> Announce {
        let pack = |addresses: &[Vec<u8>], most| addresses.iter().take(most).cloned().map(ByteBuf::from).collect();
        let others = self.addresses_of_others(to);
        Announce {
            forwarding: self.settings.forwarding,
            addresses: pack(&self.addresses, MAX_ADDRESSES),
            others: pack(&others, MAX_OTHERS),
            services: Vec::new(),
            // A router tells of its groups in its link state.
            groups: self.own_groups().into_iter().filter(|_| !self.settings.forwarding).take(MAX_GROUPS).collect(),
            area: self.settings.area,
            process: self.process,
            set_forward: self.links.get(to).map_or(0, |link| link.set_forward / 1_000),
        }
    }

    /// Where neighbours listen, as they say, for one of them: the first address of each before the second of any, so that
    /// none fills the room of the others with its own.
    fn addresses_of_others(&self, to: LinkId) -> Vec<Vec<u8>> {
        let told: BTreeMap<Pseudonym, &[Vec<u8>]> = self
            .links
            .iter()
            .filter(|(id, link)| {
                *id != to && self.links.get(to).is_none_or(|to| to.peer.body.key != link.peer.body.key)
            })
            .map(|(_, link)| (link.peer.body.key, link.addresses.as_slice()))
            .collect();
        let mut known = BTreeSet::new();
        let in_turn = (0..MAX_ADDRESSES).flat_map(|at| told.values().filter_map(move |addresses| addresses.get(at)));
        in_turn.filter(|address| known.insert(*address)).take(MAX_OTHERS).cloned().collect()
    }

    fn handle_announce(&mut self, link: LinkId, body: &[u8]) {
        let Ok(announce) = wire::decode::<Announce>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let Announce { forwarding, addresses, others, services, groups, area, process, set_forward } = announce;
        let unpack = |addresses: Vec<ByteBuf>, most| -> Vec<Vec<u8>> {
            let fit = addresses.into_iter().filter(|address| address.len() <= MAX_ADDRESS);
            fit.take(most).map(ByteBuf::into_vec).collect()
        };
        let (own, others) = (unpack(addresses, MAX_ADDRESSES), unpack(others, MAX_OTHERS));
        let Some(neighbour) = self.links.get_mut(link) else { return };
        neighbour.addresses.clone_from(&own);
        neighbour.theirs_set_forward = set_forward.saturating_mul(1_000);
        self.outputs.push_back(Output::Addresses { link, own, others });
        let trim = |tags: Vec<Tag>, most| tags.into_iter().take(most).collect::<Vec<_>>();
        let (services, mut groups) = (trim(services, MAX_SERVICES), trim(groups, MAX_GROUPS));
        groups.sort_unstable();
        groups.dedup();
        let fresh: Vec<Tag> = groups.iter().filter(|group| !neighbour.listens_to(group)).copied().collect();
        let news = (neighbour.forwarding, neighbour.area, &neighbour.services, &neighbour.groups)
            != (forwarding, area, &services, &groups);
        let restarted = neighbour.process.replace(process).is_some_and(|before| before != process);
        let meets = forwarding && (!neighbour.forwarding || neighbour.area != area || restarted);
        (neighbour.forwarding, neighbour.area) = (forwarding, area);
        (neighbour.services, neighbour.groups) = (services, groups);
        self.routing.links_changed |= news;
        let key = neighbour.peer.body.key;
        for group in fresh {
            self.repair.owe(key, group, true, self.now.time);
        }
        if restarted {
            // The link stayed up at our end.
            self.count(Counter::NeighboursRestarted, 1);
            self.greet_again(link);
        }
        if meets {
            self.compare_groups(link);
            self.meet_router(link);
        }
    }

    fn send_bulletin(&mut self, link: LinkId) {
        let frame = frame::raw(Kind::Bulletin, self.membership.bulletin().signed());
        self.send_frame(link, frame);
    }

    fn handle_bulletin(&mut self, from: LinkId, body: &[u8]) {
        match self.membership.accept_bulletin(body) {
            Ok(true) => {
                let version = self.membership.bulletin().version();
                self.record(Event::BulletinAccepted { version });
                self.documents.told_by = Some(from);
                self.heed_bulletin();
                self.outputs.push_back(Output::MembershipChanged { save: true });
                for link in self.links.ids().into_iter().filter(|link| *link != from) {
                    self.send_bulletin(link);
                }
                self.close_lapsed_links();
            }
            Ok(false) => {}
            Err(_) => self.count(Counter::BulletinsRefused, 1),
        }
    }

    /// A newer bulletin holds: group keys may be others, and senders revoked.
    pub(super) fn heed_bulletin(&mut self) {
        let (bulletin, unix) = (self.membership.bulletin().clone(), self.now.unix);
        self.peers.heed(|known| bulletin.recheck(known, unix).is_ok());
        // Who reaches which segment may be another matter now.
        self.routing.reconsider();
        self.watch_bulletin();
        self.fetch_documents();
        self.update_tags();
    }

    fn handle_credential_request(&mut self, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<CredentialRequest>(body) else {
            return self.count(Counter::ControlMalformed, 1);
        };
        let own = self.membership.credential(self.now.unix).filter(|own| own.hash == request.hash);
        let known: Option<Arc<[u8]>> = own.map(|own| own.signed.clone()).or_else(|| self.peers.signed(&request.hash));
        if let Some(signed) = known {
            self.send_frame(link, frame::raw(Kind::Credential, &signed));
        }
    }

    fn handle_credential(&mut self, body: &[u8]) {
        let hash = credential::hash(body);
        if !self.peers.take_asked(&hash, self.now.time) {
            return self.count(Counter::CredentialsUnasked, 1);
        }
        match self.verify_credential(body) {
            Ok(credential) => {
                self.learn_credential(credential);
                self.release_waiting(hash);
                self.release_lsas(hash);
            }
            Err(_) => self.count(Counter::CredentialsRefused, 1),
        }
    }

    fn handle_refresh(&mut self, link: LinkId, body: &[u8]) {
        let Some(key) = self.links.get(link).map(|link| link.peer.body.key) else { return };
        match self.verify_credential(body) {
            Ok(credential) if credential.body.key == key => self.refresh_link(link, credential),
            _ => {
                self.count(Counter::RefreshesRefused, 1);
                self.close(link, "its new credential is not valid");
            }
        }
    }

    /// Checks a credential; one that is known is not verified again.
    pub(super) fn verify_credential(&self, signed: &[u8]) -> Result<PeerCredential, CredentialError> {
        let (bulletin, unix) = (self.membership.bulletin(), self.now.unix);
        match self.peers.get(&credential::hash(signed)).filter(|known| *known.signed == *signed) {
            Some(known) => bulletin.recheck(known, unix).map(|()| known.clone()),
            None => bulletin.verify_credential(signed, unix),
        }
    }

    /// Our own credential of the epoch, as others see it.
    pub(super) fn learn_own(&mut self) {
        let Some(own) = self.membership.credential(self.now.unix).cloned() else { return };
        self.learn_credential(PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() });
        self.routing.links_changed = true;
    }

    /// Whose credential it is, if that is known.
    pub(super) fn pseudonym_of(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.peers.pseudonym(hash)
    }

    /// Who a hop is: the router of this area whose credential begins like that, else whoever else has such a one. One that
    /// could be two of them is nobody.
    pub(super) fn pseudonym_at(&self, hop: &CredentialPrefix) -> Option<Pseudonym> {
        let one_of = |mut all: BTreeSet<Pseudonym>| all.pop_first().filter(|_| all.is_empty());
        let routers: BTreeSet<Pseudonym> = self.routing.lsdb.routers_under(hop).collect();
        one_of(if routers.is_empty() { self.peers.under(hop).collect() } else { routers })
    }

    pub(super) fn learn_credential(&mut self, credential: PeerCredential) {
        let Self { peers, links, routing, own, .. } = self;
        let dropped = peers.learn(credential, |known| {
            let key = known.body.key;
            key == *own || links.of(&key).next().is_some() || routing.hash_of(&key) == Some(known.hash)
        });
        self.count(Counter::CredentialsForgotten, u64::from(dropped));
    }
}
