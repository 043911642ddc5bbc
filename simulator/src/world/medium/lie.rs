//! Lies: the link state that a hostile router tells instead of its own.
//!
//! Its node is not touched: what the node tells of itself is replaced on its way out, and signed with the same key, so
//! that everybody takes it for the router's word. By it all its links cost nothing, take no time and never fail, and there
//! is one to every router whose link state it has handed on. When it begins to lie it does not wait for its node to have news:
//! each neighbour is told with the next that goes out to it, under a number after the last. The node hears of that, as any
//! router that finds itself misquoted, and tells its own again; that becomes a lie on its way out. When it ends, each neighbour is told the
//! truth in the same way: the node believes that it has told it all along.

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
    membership: Membership,
    clock: Arc<Clock>,
    /// Routers of which it has heard.
    heard: BTreeSet<CredentialHash>,
    /// What its node has told of itself last.
    last: Option<Lsa>,
    /// Neighbours that have been told the lie with which it begins.
    told: BTreeSet<usize>,
}

impl Liar {
    /// Has heard of nobody yet.
    pub fn new(membership: Membership, clock: Arc<Clock>) -> Self {
        Self { membership, clock, heard: BTreeSet::new(), last: None, told: BTreeSet::new() }
    }

    /// What goes out instead of a frame of its control stream.
    pub fn told(&mut self, frame: Vec<u8>, lies: bool) -> Vec<u8> {
        if frame.get(4) != Some(&(Kind::Lsa as u8)) {
            return frame;
        }
        self.lie(&frame[HEADER..], lies).unwrap_or(frame)
    }

    /// The lie with which it begins, for a neighbour that has not been told it.
    pub fn begins(&mut self, neighbour: usize, lies: bool) -> Option<Vec<u8>> {
        let last = self.last.clone().filter(|_| lies && !self.told.contains(&neighbour))?;
        let lie = self.untrue(Lsa { sequence: last.sequence + 1, ..last })?;
        self.told.insert(neighbour);
        Some(lie)
    }

    /// The truth with which it ends, for a neighbour that was told a lie.
    pub fn ends(&mut self, neighbour: usize, lies: bool) -> Option<Vec<u8>> {
        if lies || !self.told.remove(&neighbour) {
            return None;
        }
        let last = self.last.clone()?;
        self.signed(&Lsa { sequence: last.sequence + 1, ..last })
    }

    fn lie(&mut self, body: &[u8], lies: bool) -> Option<Vec<u8>> {
        let signed: Signed<'_> = wire::decode(body).ok()?;
        let lsa: Lsa = wire::decode(signed.body).ok()?;
        if lsa.origin != self.membership.credential(self.clock.now().unix)?.hash {
            self.heard.insert(lsa.origin);
            return None;
        }
        self.last = Some(lsa.clone());
        if lies { self.untrue(lsa) } else { None }
    }

    /// What it tells instead of the truth about itself.
    fn untrue(&self, mut lsa: Lsa) -> Option<Vec<u8>> {
        let told: BTreeSet<CredentialHash> = lsa.links.iter().map(|link| link.to).collect();
        let like = lsa.links.first()?.clone();
        let made_up = self.heard.iter().filter(|router| !told.contains(router));
        lsa.links.extend(made_up.map(|to| LsaLink { to: *to, ..like.clone() }));
        lsa.links.sort_by_key(|link| (link.to, link.bearer));
        lsa.links.truncate(MAX_LINKS);
        for link in &mut lsa.links {
            *link = LsaLink { price: 0, delay: 0, deviation: 0, success: u16::MAX, energy: 0, ..link.clone() };
        }
        self.signed(&lsa)
    }

    fn signed(&self, lsa: &Lsa) -> Option<Vec<u8>> {
        let own = self.membership.credential(self.clock.now().unix).filter(|own| own.hash == lsa.origin)?;
        Some(frame::raw(Kind::Lsa, &own.sign_document(CONTEXT, &wire::encode(lsa))))
    }
}
