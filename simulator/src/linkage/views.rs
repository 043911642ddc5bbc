//! Views: what an observer sees of each pseudonym, out of all that there was to see.
//!
//! | observer | links | beside these |
//! |-|-|-|
//! | wire | all: times, addresses and ports, sizes and directions; the PeerId of an end by asking it | nothing: no contents |
//! | members | those of its devices, with credentials and round-trip times | link state, leaves of routers, publications and heads of data frames that its devices receive, addresses in announcements |
//! | contact | as members, of one device | the pseudonyms of its contacts, by their cards |
//!
//! The members' own cards are not used: what cards give is the contact's line. Its own devices, and its contacts, an
//! observer knows under every pseudonym: they are *anchors*, by which others are placed.
//!
//! Invariants
//! 1. A sight does not hold the device of an alias; only anchors are devices, and those of the observer or its contacts.

use super::observed::{Id, LinkSeen, Observed, Span, Traffic};
use crate::virtual_os::splitmix;
use std::collections::{BTreeMap, BTreeSet};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observer {
    /// Somebody who sees every link, from outside.
    Wire,
    /// This share of the devices, together.
    Members(f64),
    /// One device, with the cards of its contacts.
    Contact,
}

/// Something to which a pseudonym is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A device that the observer knows under every pseudonym.
    Anchor(usize),
    /// A pseudonym.
    Alias(Id),
}

/// What is seen of a pseudonym.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// Its number. The classifier may compare it, and learns nothing from it.
    pub id: Id,
    /// The epoch in which it began.
    pub epoch: usize,
    /// Random bytes, by which sights are ordered.
    pub mark: u64,
    /// The time from its first sight to its last; `None` if it is never seen alive.
    pub span: Option<Span>,
    /// Its addresses: the bearer and a number that is the address there, of which all but the last 8 bits are the prefix.
    pub addresses: BTreeSet<(usize, usize)>,
    /// Its neighbours, with the round-trip time in seconds where it is seen.
    pub places: BTreeMap<Place, Option<f64>>,
    /// What it sends and receives.
    pub traffic: [Traffic; 2],
    /// Whether a device of the observer has a link to it.
    pub near: bool,
}

/// What an observer sees.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The pseudonyms, but those of its own devices and contacts.
    pub sights: Vec<Sight>,
    /// The devices that it knows under every pseudonym.
    pub anchors: BTreeSet<usize>,
    /// Those of them that are its contacts.
    pub contacts: BTreeSet<usize>,
}

impl View {
    /// Returns what an observer sees. The seed of the run determines which devices are the observer's.
    pub fn new(observed: &Observed, observer: Observer) -> Self {
        let own = own(observed, observer);
        let contacts: BTreeSet<usize> = match observer {
            Observer::Contact => own.iter().flat_map(|device| contacts_of(observed, *device)).collect(),
            Observer::Wire | Observer::Members(_) => BTreeSet::new(),
        };
        let anchors: BTreeSet<usize> = own.union(&contacts).copied().collect();
        let mut gathering = Gathering { observed, anchors: &anchors, sights: BTreeMap::new() };
        for link in &observed.links {
            let is_own = link.ends.map(|end| own.contains(&gathering.device(end)));
            if observer == Observer::Wire || is_own.contains(&true) {
                gathering.see_link(link, is_own);
            }
        }
        if observer != Observer::Wire {
            gathering.see_inside(&own);
        }
        let sights = gathering.sights.into_values().filter(|sight| sight.span.is_some()).collect();
        Self { sights, anchors, contacts }
    }
}

/// A view in the making.
struct Gathering<'a> {
    observed: &'a Observed,
    anchors: &'a BTreeSet<usize>,
    sights: BTreeMap<Id, Sight>,
}

impl Gathering<'_> {
    fn device(&self, id: Id) -> usize {
        self.observed.aliases[id as usize].device
    }

    fn place(&self, id: Id) -> Place {
        let device = self.device(id);
        if self.anchors.contains(&device) { Place::Anchor(device) } else { Place::Alias(id) }
    }

    /// Returns the sight of an alias, unless the observer knows it anyway.
    fn sight(&mut self, id: Id) -> Option<&mut Sight> {
        let alias = &self.observed.aliases[id as usize];
        let (epoch, mark) = (alias.epoch, alias.mark);
        let known = self.anchors.contains(&alias.device) || epoch >= self.observed.epochs;
        (!known).then(|| self.sights.entry(id).or_insert_with(|| Sight { id, epoch, mark, ..Sight::default() }))
    }

    fn see(&mut self, id: Id, span: Span) -> Option<&mut Sight> {
        let sight = self.sight(id)?;
        sight.span.get_or_insert(span).cover(span);
        Some(sight)
    }

    fn see_link(&mut self, link: &LinkSeen, own: [bool; 2]) {
        for end in [0, 1] {
            let (id, other) = (link.ends[end], self.place(link.ends[1 - end]));
            let address = (link.bearer, self.device(id));
            let Some(sight) = self.see(id, link.span) else { continue };
            sight.addresses.insert(address);
            let known = sight.places.entry(other).or_default();
            *known = Some(known.map_or(link.round_trip, |known| known.min(link.round_trip)));
            sight.traffic[0].merge(&link.sent[end]);
            sight.traffic[1].merge(&link.sent[1 - end]);
            sight.near |= own[1 - end];
        }
    }

    /// Adds what is seen inside the mesh by these devices.
    fn see_inside(&mut self, own: &BTreeSet<usize>) {
        let observed = self.observed;
        let areas: BTreeSet<u32> = own
            .iter()
            .map(|device| &observed.devices[*device])
            .filter(|device| device.router)
            .map(|device| device.area)
            .collect();
        for (id, advert) in &observed.adverts {
            let Some(span) = advert.span else { continue };
            if !areas.contains(&observed.devices[self.device(*id)].area) {
                continue;
            }
            let links = advert.links.iter().map(|(to, round_trip)| (self.place(*to), *round_trip));
            let leaves = advert.leaves.keys().map(|leaf| (self.place(*leaf), None));
            let links: Vec<_> = links.chain(leaves).collect();
            if let Some(sight) = self.see(*id, span) {
                for (to, round_trip) in links {
                    let known = sight.places.entry(to).or_default();
                    *known = known.or(round_trip);
                }
            }
            let router = self.place(*id);
            for (leaf, span) in &advert.leaves {
                if let Some(sight) = self.see(*leaf, *span) {
                    sight.places.entry(router).or_default();
                }
            }
        }
        for carried in observed.carried.iter().filter(|carried| own.contains(&carried.by)) {
            if let Some(sight) = self.see(carried.alias, carried.span) {
                sight.traffic[usize::from(!carried.published)].merge(&carried.traffic);
            }
        }
        for (id, bearer, _) in observed.told.iter().filter(|(.., by)| own.contains(by)) {
            let address = (*bearer, self.device(*id));
            // An address that is told says nothing of when the pseudonym is there.
            if let Some(sight) = self.sight(*id) {
                sight.addresses.insert(address);
            }
        }
    }
}

/// Returns the devices that are the observer's own. The issuer, which can tell all devices, is not among them.
fn own(observed: &Observed, observer: Observer) -> BTreeSet<usize> {
    let mut devices: Vec<usize> = (1..observed.devices.len()).collect();
    let most = match observer {
        Observer::Wire => 0,
        Observer::Members(share) => ((observed.devices.len() as f64 * share).round() as usize).max(1),
        Observer::Contact => 1,
    };
    let mut state = observed.seed ^ OWN;
    let mut own = BTreeSet::new();
    while own.len() < most && !devices.is_empty() {
        let at = splitmix(&mut state) % devices.len() as u64;
        own.insert(devices.swap_remove(at as usize));
    }
    own
}

/// Returns the contacts that a device follows.
fn contacts_of(observed: &Observed, device: usize) -> impl Iterator<Item = usize> + '_ {
    let contacts = observed.contacts.get(device).map_or(&[][..], Vec::as_slice);
    contacts.iter().filter(|(_, follows)| *follows).map(|(contact, _)| *contact)
}

/// What distinguishes this draw from others with the run's seed.
const OWN: u64 = 0x0b5e;
