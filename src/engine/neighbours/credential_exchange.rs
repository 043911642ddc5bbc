//! Credential exchange: credentials of other devices, shown at admission and at the turn of an epoch, or requested by
//! their hash.
//!
//! ```text
//! epoch ─▶ Refresh: the neighbour's next credential, of the same key
//! unknown sender of a group frame, unknown origin of an LSA ─▶ CredentialRequest ⇄ Credential
//! ```
//!
//! Invariants
//! 1. A credential is kept only after it has been verified under the bulletin in force.
//! 2. A credential that nobody has requested is dropped (`credentials_unasked`).

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::id::{CredentialHash, LinkId, Pseudonym};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::wire;
use crate::wire::credential_exchange::CredentialRequest;
use crate::wire::frame::{self, Kind};
use std::sync::Arc;

impl Neighbours {
    /// Sends this node's new credential to all neighbours.
    pub(in crate::engine) fn send_refresh(&mut self, core: &mut Core) {
        let Some(own) = core.credential().cloned() else { return };
        // A link is under one pseudonym for as long as it is up.
        let of_own = self.links.iter().filter(|(_, link)| link.own == own.pseudonym());
        let links: Vec<LinkId> = of_own.map(|(id, _)| id).collect();
        for link in links {
            self.send_frame(core, link, frame::raw(Kind::Refresh, &own.signed));
        }
    }

    pub(in crate::engine) fn ask_credential(&mut self, core: &mut Core, link: LinkId, hash: CredentialHash) {
        self.peers.note_asked(link, hash, core.now.time);
        self.send_control(core, link, Kind::CredentialRequest, &CredentialRequest { hash });
    }

    pub(in crate::engine) fn handle_credential_request(&mut self, core: &mut Core, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<CredentialRequest>(body) else {
            return self.note_malformed(core, link, Counter::ControlMalformed);
        };
        if !self.may_ask(core, link, Asked::Credential) {
            return;
        }
        let present = core.membership.credential(core.now.unix);
        let own = [present, core.credential()].into_iter().flatten().find(|own| own.hash == request.hash);
        let known: Option<Arc<[u8]>> = own.map(|own| own.signed.clone()).or_else(|| self.peers.signed(&request.hash));
        if let Some(signed) = known {
            self.send_frame(core, link, frame::raw(Kind::Credential, &signed));
        }
    }

    /// Verifies a credential. One that is known already is only checked against the present bulletin and time.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] says why the credential is not accepted.
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

    /// The device that a credential belongs to, or `None` if the credential is unknown.
    pub(in crate::engine) fn pseudonym_of(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.peers.pseudonym(hash)
    }
}
