//! Successors: a device whose pseudonym changes tells its neighbours, over the old links, how it goes on.
//!
//! ```text
//! the new network listens ─▶ Successor over each link of the old pseudonym ─▶ the neighbour verifies credential and proof
//!                         ─▶ what it knows of the device holds of the new pseudonym, before that has a link
//! ```
//!
//! Without it a neighbour measures the new link from the beginning, and has no doubts about a device that it has found to drop messages.
//! What the device has used up of its allowances, and the offences that it has committed, go over as well: a new pseudonym
//! is no pardon.
//! Who does not want neighbours to be told is *strict* ([`crate::identity::anonymity`]).
//!
//! Invariants
//! 1. A successor is believed only over the link of the credential that it succeeds, and only if its own credential verifies and the proof
//!    holds.
//! 2. A link brings one successor: further ones are refused before anything is computed (`successors_refused`).

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::{LinkId, Pseudonym};
use crate::identity::credential::PeerCredential;
use crate::identity::successor;
use crate::wire;
use crate::wire::frame::Kind;
use crate::wire::successor::Successor;
use std::collections::BTreeMap;

/// What neighbours have named as their successors: at most one for each link that is up.
#[derive(Debug, Default)]
pub(in crate::engine) struct Successors {
    /// By link: which pseudonym goes on as which, or nothing where what was named was not believed.
    named: BTreeMap<LinkId, Option<(Pseudonym, Pseudonym)>>,
}

impl Successors {
    /// The pseudonym as which a neighbour goes on.
    pub(in crate::engine) fn of(&self, neighbour: &Pseudonym) -> Option<Pseudonym> {
        self.named.values().flatten().find(|(old, _)| old == neighbour).map(|(_, new)| *new)
    }

    /// A link is down.
    pub(in crate::engine) fn forget(&mut self, link: LinkId) {
        self.named.remove(&link);
    }
}

impl Neighbours {
    /// Tells every neighbour of the pseudonym in force that this device goes on under that of the present epoch.
    pub(in crate::engine) fn tell_successor(&mut self, core: &mut Core) {
        let (old, new) = (core.credential().cloned(), core.membership.credential(core.now.unix).cloned());
        let (Some(old), Some(new)) = (old, new) else { return };
        let of_old = self.links.iter().filter(|(_, link)| link.own == old.pseudonym());
        let told: Vec<(LinkId, Successor)> = of_old
            .filter_map(|(id, link)| {
                let proof = successor::prove(&old, &new, &link.peer).ok()?;
                Some((id, Successor { new: new.signed.to_vec(), proof }))
            })
            .collect();
        for (link, successor) in told {
            self.send_control(core, link, Kind::Successor, &successor);
        }
    }

    /// A neighbour names its successor. Returns the new credential if it is believed.
    pub(in crate::engine) fn take_successor(
        &mut self,
        core: &mut Core,
        link: LinkId,
        body: &[u8],
    ) -> Option<PeerCredential> {
        let Ok(Successor { new, proof }) = wire::decode::<Successor>(body) else {
            core.count(Counter::ControlMalformed, 1);
            return None;
        };
        let from = self.links.get(link).map(|link| (link.own, link.peer.clone()))?;
        let first = !self.successors.named.contains_key(&link);
        let next = first.then(|| self.judge_successor(core, &from, &new, &proof)).flatten();
        if first {
            let named = next.as_ref().map(|next| (from.1.body.key, next.body.key));
            self.successors.named.insert(link, named);
        }
        match &next {
            Some(next) => self.inherit(core, &from.1.body.key, next.body.key),
            None => core.count(Counter::SuccessorsRefused, 1),
        }
        next
    }

    /// What is known of a neighbour holds of the pseudonym under which it goes on.
    fn inherit(&mut self, core: &mut Core, from: &Pseudonym, to: Pseudonym) {
        self.link_metrics.inherit(from, to, core.now.time);
        self.allowances.inherit(from, to, core.now.time);
        self.forgeries.inherit(from, to, core.now.time);
        let forgotten = self.quarantine.inherit(from, to);
        core.count(Counter::OffendersForgotten, u64::from(forgotten));
    }

    fn judge_successor(
        &self,
        core: &Core,
        (own, old): &(Pseudonym, PeerCredential),
        new: &[u8],
        proof: &[u8; successor::PROOF],
    ) -> Option<PeerCredential> {
        let next = self.verify_credential(core, new).ok().filter(|next| next.body.key != old.body.key)?;
        // The neighbour has named the credential that it was shown last, which is that of this epoch or of the one before.
        let mut shown = core.membership.credentials_under(own, core.now.unix);
        shown.any(|own| successor::holds(own, old, &next, proof)).then_some(next)
    }
}
