//! Lost: what an advertisement takes away, and whether it says anything else than another.

use super::Lsdb;
use crate::id::Pseudonym;
use crate::wire::lsa::{Lsa, LsaLink};
use std::collections::BTreeSet;

impl Lsdb {
    /// Whether an advertisement lacks a link or a leaf that the router's entry has: frames that are sent there are lost
    /// until this is known. A link to a neighbour under its next credential is the same link.
    pub fn takes_away(&self, router: &Pseudonym, lsa: &Lsa) -> bool {
        let Some(known) = self.entry(router).map(|entry| &entry.lsa).filter(|known| !known.leaving) else {
            return false;
        };
        let of = |link: &LsaLink| match self.router_of(&link.to) {
            Some(router) => (router.0, link.bearer),
            None => {
                let mut hash = [0; 32];
                hash[..link.to.0.len()].copy_from_slice(&link.to.0);
                (hash, link.bearer)
            }
        };
        let links: BTreeSet<_> = lsa.links.iter().map(of).collect();
        lsa.leaving
            || known.links.iter().any(|link| !links.contains(&of(link)))
            || known.leaves.iter().any(|leaf| lsa.leaves.binary_search(leaf).is_err())
    }
}

/// Whether two advertisements have the same content, apart from their origin and number.
pub(super) fn says_the_same(one: &Lsa, other: &Lsa) -> bool {
    let Lsa { origin: _, sequence: _, area, leaving, links, leaves, groups, services, borders, accesses } = one;
    *area == other.area
        && *leaving == other.leaving
        && *links == other.links
        && *leaves == other.leaves
        && *groups == other.groups
        && *borders == other.borders
        && *accesses == other.accesses
        && *services == other.services
}
