//! Neighbours: the devices at the other end of this device's links, what they announce, and the metrics of their links.

pub(super) mod announcements;
pub(super) mod clocks;
pub(super) mod credential_exchange;
pub(super) mod forgeries;
pub(super) mod fragments;
pub(super) mod link_metrics;
pub(super) mod links;
pub(super) mod peer_credentials;
pub(super) mod segments;
pub(super) mod successors;

use crate::engine::settings::Settings;
use crate::engine::store::{Read, ReadError};
use crate::id::{Pseudonym, Tag};
use crate::share::Rates;
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// The state of the neighbours wing.
pub(super) struct Neighbours {
    pub(super) links: links::Links,
    pub(super) peers: peer_credentials::PeerCredentials,
    pub(super) link_metrics: link_metrics::LinkMetrics,
    pub(super) fragments: fragments::Fragments,
    /// How many forged frames each link may still bring.
    pub(super) forgeries: Rates,
    /// The successors that neighbours have named.
    pub(super) successors: successors::Successors,
    /// The addresses at which this device listens.
    pub(super) addresses: BTreeMap<Pseudonym, Vec<Vec<u8>>>,
    /// Tags of the groups that this device listens to, or publishes to; advertised in its link state, or by the routers
    /// of a leaf.
    pub(super) own_groups: BTreeSet<Tag>,
    /// Whether something about links has changed that this device advertises, and that routes depend on.
    pub(super) links_changed: bool,
}

impl Neighbours {
    /// Starts without links; the spending and the measurements of an earlier process come from the store.
    pub(super) fn load(settings: &Settings, store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        Ok(Self {
            links: links::Links::default(),
            peers: peer_credentials::PeerCredentials::new(peer_credentials::MAX_CREDENTIALS),
            link_metrics: link_metrics::LinkMetrics::load(&settings.bearers, store, now)?,
            fragments: fragments::Fragments::default(),
            forgeries: forgeries::rates(),
            successors: successors::Successors::default(),
            addresses: BTreeMap::new(),
            own_groups: BTreeSet::new(),
            links_changed: true,
        })
    }
}
