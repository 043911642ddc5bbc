//! What becomes of a device that the operator has revoked, everywhere in the engine at once.
//!
//! ```text
//! bulletin ─▶ its links end ─▶ its credentials, link state, places and publications go ─▶ sessions, messages and calls with it end
//! ```
//!
//! Invariant: after the turn that brings a bulletin there is no link to a device that it revokes, no session with one, and nothing on its way
//! to one.

use crate::counter::Counter;
use crate::engine::{Engine, Output};
use crate::id::LinkId;
use crate::identity::credential::{CredentialError, PeerCredential};

/// What the log says of links that end for it.
const REASON: &str = "revoked";

impl Engine {
    /// Does what the bulletin's revocations ask for.
    pub(in crate::engine) fn cut_off_revoked(&mut self) {
        self.member.note_contacts(&mut self.core);
        let revoked =
            |link: &LinkId| self.neighbours.links.get(*link).is_some_and(|known| self.is_revoked(&known.peer));
        for link in self.neighbours.links.ids().into_iter().filter(revoked).collect::<Vec<_>>() {
            self.neighbours.close(&mut self.core, link, REASON);
            // What still comes over it concerns nobody.
            self.handle_link_down(link, REASON);
        }
        let (bulletin, unix) = (self.core.membership.bulletin().clone(), self.core.now.unix);
        // A device that is not sure of the time cannot tell whose credentials hold.
        let lost = !self.core.clock.is_sure();
        let holds = |known: &PeerCredential| match bulletin.recheck(known, unix) {
            Ok(()) => true,
            Err(reason) => lost && reason != CredentialError::Revoked,
        };
        let mut gone = self.neighbours.peers.heed(holds);
        gone.retain(|known| self.is_revoked(known));
        self.routing.cut_off(&self.core, &gone);
        for credential in &gone {
            let frames = self.groups.shelf.forget_publisher(&credential.hash).frames;
            self.core.count(Counter::GroupFramesUnkept, frames);
        }
        self.messages.cut_off(&mut self.core, &mut self.neighbours, &mut self.routing);
    }

    /// A neighbour was admitted by what held then. Answers whether it is revoked now, and its link has been closed.
    pub(super) fn turns_away(&mut self, link: LinkId, peer: &PeerCredential) -> bool {
        let revoked = self.is_revoked(peer);
        if revoked {
            self.core.outputs.push_back(Output::Close { link, reason: REASON.to_owned() });
        }
        revoked
    }

    fn is_revoked(&self, peer: &PeerCredential) -> bool {
        self.core.membership.bulletin().recheck(peer, self.core.now.unix) == Err(CredentialError::Revoked)
    }
}
