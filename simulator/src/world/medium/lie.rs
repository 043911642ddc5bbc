//! Lies: the link state that a hostile router tells instead of its own.
//!
//! Its node is not touched: what the node tells of itself is replaced on its way out, and signed with the same key, so
//! that everybody takes it for the router's word. By it all its links cost nothing, take no time and never fail, and there
//! is one to every router whose link state it has handed on.

use crate::world::host::Clock;
use m2mesh::id::CredentialHash;
use m2mesh::identity::membership::Membership;
use m2mesh::wire::frame::{self, HEADER, Kind};
use m2mesh::wire::lsa::{CONTEXT, Lsa, LsaLink, MAX_LINKS};
use m2mesh::wire::{self, Signed};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A router that can lie.
pub struct Liar {
    /// The keys with which its node signs.
    pub membership: Membership,
    /// Its clock.
    pub clock: Arc<Clock>,
    /// Routers of which it has heard.
    pub heard: BTreeSet<CredentialHash>,
}

impl Liar {
    /// What goes out instead of a frame of its control stream.
    pub fn told(&mut self, frame: Vec<u8>, lies: bool) -> Vec<u8> {
        if frame.get(4) != Some(&(Kind::Lsa as u8)) {
            return frame;
        }
        self.lie(&frame[HEADER..], lies).unwrap_or(frame)
    }

    fn lie(&mut self, body: &[u8], lies: bool) -> Option<Vec<u8>> {
        let signed: Signed<'_> = wire::decode(body).ok()?;
        let mut lsa: Lsa = wire::decode(signed.body).ok()?;
        let own = self.membership.credential(self.clock.now().unix)?.clone();
        if lsa.origin != own.hash {
            self.heard.insert(lsa.origin);
            return None;
        }
        if !lies {
            return None;
        }
        let told: BTreeSet<CredentialHash> = lsa.links.iter().map(|link| link.to).collect();
        let like = lsa.links.first()?.clone();
        let made_up = self.heard.iter().filter(|router| !told.contains(router));
        lsa.links.extend(made_up.map(|to| LsaLink { to: *to, ..like.clone() }));
        lsa.links.sort_by_key(|link| (link.to, link.bearer));
        lsa.links.truncate(MAX_LINKS);
        for link in &mut lsa.links {
            *link = LsaLink { price: 0, delay: 0, deviation: 0, success: u16::MAX, energy: 0, ..link.clone() };
        }
        Some(frame::raw(Kind::Lsa, &own.sign_document(CONTEXT, &wire::encode(&lsa))))
    }
}
