//! Lie: the LSAs that a hostile router sends instead of its own.
//!
//! Its node is not changed: the node's own LSA is replaced as it leaves, and signed with the same key, so that all
//! routers take it for the router's own. According to the false LSA all of its links cost nothing, have no delay and
//! never fail, and it has a link to every router whose LSA it has forwarded. When the router begins to lie it does not
//! wait for its node to have news: each neighbour is sent a lie with the next frame that goes out to it, under a number
//! after the last. The node hears of that, as any router that finds itself misquoted, and sends its own LSA again,
//! which becomes a lie as it leaves. When the lie ends, each neighbour is sent the truth in the same manner; the node
//! itself has sent the truth all along.

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
    /// The routers of which it has heard.
    heard: BTreeSet<CredentialHash>,
    /// The last LSA of its own node.
    last: Option<Lsa>,
    /// The neighbours to which the first lie has been sent.
    told: BTreeSet<usize>,
}

impl Liar {
    /// Returns a router that has not heard of others yet.
    pub fn new(membership: Membership, clock: Arc<Clock>) -> Self {
        Self { membership, clock, heard: BTreeSet::new(), last: None, told: BTreeSet::new() }
    }

    /// Returns what goes out instead of a frame of its control stream.
    pub fn told(&mut self, frame: Vec<u8>, lies: bool) -> Vec<u8> {
        if frame.get(4) != Some(&(Kind::Lsa as u8)) {
            return frame;
        }
        self.lie(&frame[HEADER..], lies).unwrap_or(frame)
    }

    /// Returns the first lie, for a neighbour to which it has not been sent.
    pub fn begins(&mut self, neighbour: usize, lies: bool) -> Option<Vec<u8>> {
        let last = self.last.clone().filter(|_| lies && !self.told.contains(&neighbour))?;
        let lie = self.untrue(Lsa { sequence: last.sequence + 1, ..last })?;
        self.told.insert(neighbour);
        Some(lie)
    }

    /// Returns the truth that ends the lie, for a neighbour to which a lie was sent.
    pub fn ends(&mut self, neighbour: usize, lies: bool) -> Option<Vec<u8>> {
        if lies || !self.told.remove(&neighbour) {
            return None;
        }
        let last = self.last.clone()?;
        self.signed(&Lsa { sequence: last.sequence + 1, ..last })
    }

    /// Returns the routers of which it has heard.
    pub(super) fn heard(&self) -> impl Iterator<Item = &CredentialHash> {
        self.heard.iter()
    }

    /// Returns the last LSA of its own.
    pub(super) fn own(&self) -> Option<&Lsa> {
        self.last.as_ref()
    }

    /// Returns an LSA of its own, signed; it is the last one from now on.
    pub(super) fn say(&mut self, lsa: Lsa) -> Option<Vec<u8>> {
        let frame = self.signed(&lsa)?;
        self.last = Some(lsa);
        Some(frame)
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

    /// Returns the false LSA that replaces a true one.
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
