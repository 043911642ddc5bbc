//! Guard: who may have a link over a line: what the [`Gatekeeper`] of a network says, under that network's key.

use crate::id::{Pseudonym, Signature};
use crate::identity::kdf::Secret;
use crate::identity::sign;
use crate::link::serial::Guard;
use crate::net::{Gatekeeper, Skew};
use crate::time::Unix;
use ed25519_dalek::SigningKey;
use std::cell::Cell;
use std::sync::Arc;

/// The code of a line that leads back to this node.
pub(super) const OWN: &str = "own";
/// The code of another process with this node's identity.
pub(super) const TWIN: &str = "twin";
/// The code of a member that this node keeps apart from.
pub(super) const CUT: &str = "cut";

/// One pseudonym of this device on a line.
pub(super) struct Member<G: Gatekeeper> {
    pub(super) own: Pseudonym,
    key: SigningKey,
    gatekeeper: Arc<G>,
    /// What the clocks said when nothing but the time spoke against a neighbour.
    skew: Cell<Option<Skew>>,
}

impl<G: Gatekeeper> Member<G> {
    pub(super) fn new(own: Pseudonym, seed: &Secret, gatekeeper: Arc<G>) -> Self {
        Self { own, key: SigningKey::from_bytes(seed), gatekeeper, skew: Cell::new(None) }
    }

    /// The time, if this device knows it.
    pub(super) fn clock(&self) -> Option<Unix> {
        self.gatekeeper.clock().map(Unix::from_seconds)
    }

    pub(super) fn take_skew(&self) -> Option<Skew> {
        self.skew.take()
    }
}

impl<G: Gatekeeper> Guard for Member<G> {
    type Peer = G::Peer;

    fn own(&self) -> Pseudonym {
        self.own
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        sign::sign(&self.key, context, body)
    }

    fn seconds(&self) -> u64 {
        self.gatekeeper.clock().unwrap_or_default()
    }

    fn hello(&self, seconds: u64) -> Vec<u8> {
        // A device that does not know the time has a credential for that of the other end, if any.
        self.gatekeeper.hello_at(seconds).unwrap_or_else(|| self.gatekeeper.hello())
    }

    fn answer(&self, theirs: &[u8]) -> Vec<u8> {
        self.gatekeeper.answer(theirs)
    }

    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<G::Peer, &'static str> {
        let found = self.gatekeeper.verify(hello, peer).inspect_err(|_| {
            if let Some(skew) = self.gatekeeper.skew(hello, peer) {
                self.skew.set(Some(skew));
            }
        })?;
        match self.gatekeeper.process(Some(&found)) == self.gatekeeper.process(None) {
            true if *peer == self.own => Err(OWN),
            false if *peer == self.own => Err(TWIN),
            _ if self.gatekeeper.bars(&found) => Err(CUT),
            _ => Ok(found),
        }
    }
}
