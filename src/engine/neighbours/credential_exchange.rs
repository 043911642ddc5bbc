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

use crate::counter::Counter;
use crate::engine::Engine;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::{CredentialHash, CredentialPrefix, LinkId, Pseudonym};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::wire;
use crate::wire::credential_exchange::CredentialRequest;
use crate::wire::frame::{self, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Neighbours {
    /// Hands this node's new credential to all neighbours.
    pub(in crate::engine) fn send_refresh(&mut self, core: &mut Core) {
        let Some(own) = core.membership.credential(core.now.unix).cloned() else { return };
        for link in self.links.ids() {
            self.send_frame(core, link, frame::raw(Kind::Refresh, &own.signed));
        }
    }

    pub(in crate::engine) fn ask_credential(&mut self, core: &mut Core, link: LinkId, hash: CredentialHash) {
        self.peers.note_asked(link, hash, core.now.time);
        self.send_control(core, link, Kind::CredentialRequest, &CredentialRequest { hash });
    }

    pub(in crate::engine) fn handle_credential_request(&mut self, core: &mut Core, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<CredentialRequest>(body) else {
            return core.count(Counter::ControlMalformed, 1);
        };
        let own = core.membership.credential(core.now.unix).filter(|own| own.hash == request.hash);
        let known: Option<Arc<[u8]>> = own.map(|own| own.signed.clone()).or_else(|| self.peers.signed(&request.hash));
        if let Some(signed) = known {
            self.send_frame(core, link, frame::raw(Kind::Credential, &signed));
        }
    }

    /// Checks a credential; one that is known is not verified again.
    pub(in crate::engine) fn verify_credential(
        &self,
        core: &Core,
        signed: &[u8],
    ) -> Result<PeerCredential, CredentialError> {
        let (bulletin, unix) = (core.membership.bulletin(), core.now.unix);
        match self.peers.get(&credential::hash(signed)).filter(|known| *known.signed == *signed) {
            Some(known) => bulletin.recheck(known, unix).map(|()| known.clone()),
            None => bulletin.verify_credential(signed, unix),
        }
    }

    /// Whose credential it is, if that is known.
    pub(in crate::engine) fn pseudonym_of(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.peers.pseudonym(hash)
    }
}

impl Engine {
    pub(in crate::engine) fn handle_credential(&mut self, body: &[u8]) {
        let hash = credential::hash(body);
        if !self.neighbours.peers.take_asked(&hash, self.core.now.time) {
            return self.core.count(Counter::CredentialsUnasked, 1);
        }
        match self.neighbours.verify_credential(&self.core, body) {
            Ok(credential) => {
                self.learn_credential(credential);
                self.release_waiting(hash);
                self.routing.release_lsas(&mut self.core, &mut self.neighbours, hash);
            }
            Err(_) => self.core.count(Counter::CredentialsRefused, 1),
        }
    }

    pub(in crate::engine) fn handle_refresh(&mut self, link: LinkId, body: &[u8]) {
        let Some(key) = self.neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        match self.neighbours.verify_credential(&self.core, body) {
            Ok(credential) if credential.body.key == key => self.refresh_link(link, credential),
            _ => {
                self.core.count(Counter::RefreshesRefused, 1);
                self.neighbours.close(&mut self.core, link, "its new credential is not valid");
            }
        }
    }

    /// Our own credential of the epoch, as others see it.
    pub(in crate::engine) fn learn_own(&mut self) {
        let Some(own) = self.core.membership.credential(self.core.now.unix).cloned() else { return };
        self.learn_credential(PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() });
        self.routing.link_state.links_changed = true;
    }

    /// Who a hop is: the router of this area whose credential begins like that, else whoever else has such a one. One that
    /// could be two of them is nobody.
    pub(in crate::engine) fn pseudonym_at(&self, hop: &CredentialPrefix) -> Option<Pseudonym> {
        let one_of = |mut all: BTreeSet<Pseudonym>| all.pop_first().filter(|_| all.is_empty());
        let routers: BTreeSet<Pseudonym> = self.routing.link_state.lsdb.routers_under(hop).collect();
        one_of(if routers.is_empty() { self.neighbours.peers.under(hop).collect() } else { routers })
    }

    pub(in crate::engine) fn learn_credential(&mut self, credential: PeerCredential) {
        let Self { neighbours: Neighbours { peers, links, .. }, routing, core, .. } = self;
        let dropped = peers.learn(credential, |known| {
            let key = known.body.key;
            let routes = routing.link_state.hash_of(&key) == Some(known.hash);
            key == core.own || links.of(&key).next().is_some() || routes
        });
        self.core.count(Counter::CredentialsForgotten, u64::from(dropped));
    }
}
