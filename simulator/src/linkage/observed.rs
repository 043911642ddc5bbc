//! Observed: what there was to see in a run, before it is decided who sees which part of it, and the truth beside it.
//!
//! The truth is the device of each alias. Only the choice of what an observer sees ([`views`](super::views)), the
//! training on other turns, and the count of hits use it; the classifier is given sights without it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The number of bins of a histogram of sizes.
pub const BINS: usize = 12;
/// The upper ends of all bins of sizes but the last, in bytes.
const SIZES: [usize; BINS - 1] = [16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1_200];

/// The index of an alias.
pub type Id = u32;

/// What there was to see in a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observed {
    /// The name of the scenario.
    pub scenario: String,
    /// The seed of the run.
    pub seed: u64,
    /// The length of an epoch in seconds; the run begins with one.
    pub epoch_s: f64,
    /// The number of epochs that were observed.
    pub epochs: usize,
    /// The devices.
    pub devices: Vec<Seen>,
    /// The pseudonyms.
    pub aliases: Vec<Alias>,
    /// The links between aliases.
    pub links: Vec<LinkSeen>,
    /// What routers advertised, by the alias of the router.
    pub adverts: BTreeMap<Id, Advert>,
    /// The frames that others received: publications of the alias, and frames to its handle.
    pub carried: Vec<Carried>,
    /// The aliases whose addresses were told in announcements, with the bearer, and the device that was told.
    pub told: BTreeSet<(Id, usize, usize)>,
    /// By device, its contacts, each with whether its cards named the contact's handle of every epoch rightly.
    pub contacts: Vec<Vec<(usize, bool)>>,
}

impl Observed {
    /// Returns whether every device and alias that it names is there, as for what was read from a file.
    pub fn is_sound(&self) -> bool {
        let (aliases, devices) = (self.aliases.len(), self.devices.len());
        let is_alias = |id: &Id| (*id as usize) < aliases;
        self.aliases.iter().all(|alias| alias.device < devices)
            && self.links.iter().all(|link| link.ends.iter().all(is_alias))
            && self.adverts.keys().all(is_alias)
            && self.adverts.values().all(|advert| advert.links.keys().chain(advert.leaves.keys()).all(is_alias))
            && self.carried.iter().all(|carried| is_alias(&carried.alias) && carried.by < devices)
            && self.told.iter().all(|(id, _, by)| is_alias(id) && *by < devices)
            && self.contacts.len() <= devices
            && self.contacts.iter().flatten().all(|(contact, _)| *contact < devices)
    }
}

/// A device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Whether it forwards for others.
    pub router: bool,
    /// Its routing area.
    pub area: u32,
}

/// A pseudonym, with the handle that is in the same credential.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Alias {
    /// The device, which is what the classifier has to find.
    pub device: usize,
    /// The epoch of its credential, from 0 at the start of the run.
    pub epoch: usize,
    /// The first bytes of the pseudonym, which are random: aliases are handled in this order.
    pub mark: u64,
}

/// The traffic in one direction, counted while no pseudonym changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The number of pieces by size.
    pub sizes: [u32; BINS],
    /// The number of bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts a piece.
    pub fn add(&mut self, length: usize) {
        self.sizes[SIZES.partition_point(|most| *most < length)] += 1;
        self.bytes += length as u64;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.sizes.iter_mut().zip(other.sizes).for_each(|(size, more)| *size += more);
        self.bytes += other.bytes;
    }

    /// Returns the number of pieces.
    pub fn pieces(&self) -> u32 {
        self.sizes.iter().sum()
    }
}

/// A span of time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The first moment.
    pub first: f64,
    /// The last moment.
    pub last: f64,
}

impl Span {
    /// Returns a moment.
    pub fn at(moment: f64) -> Self {
        Self { first: moment, last: moment }
    }

    /// Extends it to a moment.
    pub fn reach(&mut self, moment: f64) {
        (self.first, self.last) = (self.first.min(moment), self.last.max(moment));
    }

    /// Extends it over another.
    pub fn cover(&mut self, other: Self) {
        self.reach(other.first);
        self.reach(other.last);
    }
}

/// A link between two aliases over one bearer, which may consist of several connections one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// The two aliases.
    pub ends: [Id; 2],
    /// The bearer.
    pub bearer: usize,
    /// The time from its first packet to its last.
    pub span: Span,
    /// The shortest round-trip time of a set-up, in seconds.
    pub round_trip: f64,
    /// What each end sent.
    pub sent: [Traffic; 2],
}

/// What a router advertised under one pseudonym.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advert {
    /// The time from the first advertisement to the last.
    pub span: Option<Span>,
    /// Its neighbours, with the last round-trip time in seconds that was measured, if there is one.
    pub links: BTreeMap<Id, Option<f64>>,
    /// The leaves that were attached to it, with the time from the first advertisement that lists one to the first that
    /// does so no more, or to the last that does.
    pub leaves: BTreeMap<Id, Span>,
    /// The leaves in its last advertisement.
    #[serde(skip)]
    pub listed: BTreeSet<Id>,
}

/// Frames of which relays and readers see an alias: as the publisher, or as the receiver's handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// The alias.
    pub alias: Id,
    /// The device that received the frames.
    pub by: usize,
    /// Whether the alias published them; otherwise they are addressed to it.
    pub published: bool,
    /// The time from the first frame to the last.
    pub span: Span,
    /// The frames.
    pub traffic: Traffic,
}
