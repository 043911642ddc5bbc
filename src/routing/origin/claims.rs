//! Claims: what a router could advertise of itself, and whether that differs enough from what it has advertised.

use super::accesses::Access;
use crate::id::{CredentialHash, Handle, Pseudonym, Tag};
use crate::wire::lsa::{Lsa, LsaLink, MAX_ACCESSES, MAX_BORDERS, MAX_LEAVES, MAX_LINKS, MAX_TAGS};

/// A delay or deviation differs if it has changed by more than one part in this many of the advertised value,
const PART: u64 = 4;
/// and by more than this many microseconds,
const DELAY_STEP: u32 = 5_000;
/// or this many for the deviation, which varies more.
const DEVIATION_STEP: u32 = 10_000;
/// A chance differs if it has changed by more than this, in parts of 65,535 (a hundredth), and by more than one part in
/// [`PART`] of the chance of failure or of success, whichever is smaller.
const CHANCE_STEP: u16 = 655;

/// The content of an advertisement: an [`Lsa`] without its origin and sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The area.
    pub area: u32,
    /// Whether the router is leaving.
    pub leaving: bool,
    /// The links that can be used, in any order.
    pub links: Vec<Claim>,
    /// The leaves, in any order.
    pub leaves: Vec<Handle>,
    /// The groups, in any order.
    pub groups: Vec<Tag>,
    /// The services, in any order.
    pub services: Vec<Tag>,
    /// The other areas that the router has links into, in any order.
    pub borders: Vec<u32>,
    /// What the links to the leaves are worth, as [`Access::gathered`] returns it.
    pub accesses: Vec<Access>,
}

/// A link, with the neighbour's pseudonym, which is the same when its credential changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The neighbour.
    pub neighbour: Pseudonym,
    /// The link as it is advertised.
    pub link: LsaLink,
}

/// The kinds of difference between two sets of claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Differs {
    /// Whether anything differs that the other two fields do not cover.
    pub structure: bool,
    /// Whether the measured metrics of a link differ by more than the hysteresis.
    pub metrics: bool,
    /// Whether the credential of a neighbour differs.
    pub names: bool,
}

impl Claims {
    /// Sorts all lists and cuts them to their bounds; returns how many items had no place.
    pub(super) fn put_in_order(&mut self) -> u64 {
        self.links.sort_by_key(Claim::key);
        self.links.dedup_by_key(|claim| claim.key());
        let over = cut(&mut self.links, MAX_LINKS) + cut(&mut self.accesses, MAX_ACCESSES);
        over + arrange(&mut self.leaves, MAX_LEAVES)
            + arrange(&mut self.groups, MAX_TAGS)
            + arrange(&mut self.services, MAX_TAGS)
            + arrange(&mut self.borders, MAX_BORDERS)
    }

    /// Whether the claims contain nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { area: _, leaving, links, leaves, groups, services, borders, accesses } = self;
        !leaving
            && links.is_empty()
            && leaves.is_empty()
            && groups.is_empty()
            && services.is_empty()
            && borders.is_empty()
            && accesses.is_empty()
    }

    /// The differences between these claims, which were advertised, and others. Both must be in order.
    pub(super) fn differs(&self, other: &Self) -> Differs {
        let Self { area, leaving, links, leaves, groups, services, borders, accesses } = self;
        let kinds = |accesses: &[Access]| accesses.iter().map(Access::kind).collect::<Vec<_>>();
        let keys = |links: &[Claim]| links.iter().map(Claim::key).collect::<Vec<_>>();
        let mut differs = Differs {
            structure: *area != other.area
                || *leaving != other.leaving
                || *leaves != other.leaves
                || *groups != other.groups
                || *services != other.services
                || *borders != other.borders
                || kinds(accesses) != kinds(&other.accesses)
                || accesses.iter().zip(&other.accesses).any(|(old, new)| old.leaves != new.leaves)
                || keys(links) != keys(&other.links),
            ..Differs::default()
        };
        for claim in links {
            let Some(new) = other.link(claim) else { continue };
            let old = &claim.link;
            differs.structure |= configured(old) != configured(new);
            differs.metrics |= differs_enough(measured(old), measured(new));
            differs.names |= old.to != new.to;
        }
        differs.metrics |=
            accesses.iter().zip(&other.accesses).any(|(old, new)| differs_enough(old.measured(), new.measured()));
        differs
    }

    /// Returns these claims, but with the measurements of `before` where they do not differ enough.
    pub(super) fn damped(&self, before: &Self) -> Self {
        let mut claims = self.clone();
        for claim in &mut claims.links {
            if let Some(old) = before.link(claim).filter(|old| !differs_enough(measured(old), measured(&claim.link))) {
                let LsaLink { delay, deviation, success, .. } = *old;
                claim.link = LsaLink { delay, deviation, success, ..claim.link.clone() };
            }
        }
        for access in &mut claims.accesses {
            let old = before.accesses.iter().find(|old| old.kind() == access.kind());
            if let Some(old) = old.filter(|old| !differs_enough(old.measured(), access.measured())) {
                access.repeat(old);
            }
        }
        claims
    }

    /// Makes an advertisement of the claims.
    pub(super) fn lsa(&self, origin: CredentialHash, sequence: u64) -> Lsa {
        let Self { area, leaving, links, leaves, groups, services, borders, accesses } = self.clone();
        let accesses = accesses.iter().filter_map(|access| access.told(&leaves)).collect();
        let mut links: Vec<LsaLink> = links.into_iter().map(|claim| claim.link).filter(|l| l.to != origin).collect();
        links.sort_by_key(|link| (link.to, link.bearer));
        links.dedup_by_key(|link| (link.to, link.bearer));
        Lsa { origin, sequence, area, leaving, links, leaves, groups, services, borders, accesses }
    }

    fn link(&self, like: &Claim) -> Option<&LsaLink> {
        let at = self.links.binary_search_by_key(&like.key(), Claim::key).ok()?;
        Some(&self.links[at].link)
    }
}

impl Claim {
    fn key(&self) -> (Pseudonym, u8) {
        (self.neighbour, self.link.bearer)
    }
}

fn arrange<T: Ord>(list: &mut Vec<T>, most: usize) -> u64 {
    list.sort_unstable();
    list.dedup();
    cut(list, most)
}

fn cut<T>(list: &mut Vec<T>, most: usize) -> u64 {
    let over = list.len().saturating_sub(most);
    list.truncate(most);
    over as u64
}

fn configured(link: &LsaLink) -> (u64, u32, u32, u32) {
    let LsaLink { to: _, bearer: _, price, delay: _, deviation: _, success: _, energy, rate, mtu } = *link;
    (price, energy, rate, mtu)
}

/// What is measured of a link: its delay, the deviation of that, and the chance that a frame arrives.
fn measured(link: &LsaLink) -> (u32, u32, u16) {
    (link.delay, link.deviation, link.success)
}

/// Whether a measurement has left the hysteresis around the advertised value; both as [`measured`] returns them.
fn differs_enough(old: (u32, u32, u16), new: (u32, u32, u16)) -> bool {
    let part = |by: u64, of: u64| by * PART > of;
    let time = |old: u32, new: u32, step: u32| {
        let by = old.abs_diff(new);
        by > step && part(u64::from(by), u64::from(old))
    };
    let by = old.2.abs_diff(new.2);
    let rarer = u64::from(old.2.min(u16::MAX - old.2));
    time(old.0, new.0, DELAY_STEP)
        || time(old.1, new.1, DEVIATION_STEP)
        || (by > CHANCE_STEP && part(u64::from(by), rarer))
}
