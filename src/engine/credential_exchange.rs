//! Credentials of others: shown at admission and at the turn of an epoch, or asked for by their hash.
//!
//! ```text
//! epoch ─▶ Refresh: the neighbour's next credential, of the same key
//! unknown sender of a group frame, unknown origin of an LSA ─▶ CredentialRequest ⇄ Credential
//! ```
//!
//! Invariants
//! 1. A credential is learned after it has been verified under the bulletin that holds.
//! 2. One that nobody has asked for is dropped (`credentials_unasked`).

use super::Engine;
use super::routes::Route;
use crate::counter::Counter;
use crate::id::{CredentialHash, CredentialPrefix, LinkId, Name, Pseudonym};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::wire;
use crate::wire::credential_exchange::CredentialRequest;
use crate::wire::frame::{self, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine {
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

    pub(super) fn handle_credential_request(&mut self, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<CredentialRequest>(body) else {
            return self.count(Counter::ControlMalformed, 1);
        };
        let own = self.membership.credential(self.now.unix).filter(|own| own.hash == request.hash);
        let known: Option<Arc<[u8]>> = own.map(|own| own.signed.clone()).or_else(|| self.peers.signed(&request.hash));
        if let Some(signed) = known {
            self.send_frame(link, frame::raw(Kind::Credential, &signed));
        }
    }

    pub(super) fn handle_credential(&mut self, body: &[u8]) {
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

    pub(super) fn handle_refresh(&mut self, link: LinkId, body: &[u8]) {
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

    /// The credential of the device at the end of a route.
    pub(super) fn credential_at_end(&mut self, name: &Name, route: &Route) -> Option<PeerCredential> {
        let last = route.nodes.last()?;
        if let Some((_, link)) = self.links.of(last).next() {
            return Some(link.peer.clone());
        }
        if let Some(hash) = self.routing.hash_of(last) {
            return self.peers.get(&hash).cloned();
        }
        self.credential_of_name(name)
    }
}
