//! Neighbours: the devices at the other end of this device's links, what they announce, and the metrics of their links.

pub(super) mod air;
pub(super) mod allowances;
pub(super) mod announcements;
pub(super) mod clocks;
pub(super) mod credential_exchange;
pub(super) mod forgeries;
pub(super) mod fragments;
pub(super) mod link_metrics;
pub(super) mod links;
pub(super) mod peer_credentials;
pub(super) mod quarantine;
pub(super) mod segments;
pub(super) mod sleep;
pub(super) mod sleepers;
pub(super) mod successors;

use crate::engine::settings::Settings;
use crate::engine::store::{Read, ReadError};
use crate::id::{LinkId, Pseudonym, Tag};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// The state of the neighbours wing.
pub(super) struct Neighbours {
    pub(super) links: links::Links,
    pub(super) peers: peer_credentials::PeerCredentials,
    pub(super) link_metrics: link_metrics::LinkMetrics,
    pub(super) air: air::Air,
    pub(super) fragments: fragments::Fragments,
    /// The successors that neighbours have named.
    pub(super) successors: successors::Successors,
    pub(super) allowances: allowances::Allowances,
    /// How many forged and malformed frames each neighbour may still bring.
    pub(super) forgeries: forgeries::Forgeries,
    pub(super) quarantine: quarantine::Quarantine,
    /// The addresses of the process of a neighbour that the present one has followed while its link stood.
    pub(super) formers: BTreeMap<LinkId, Vec<Vec<u8>>>,
    /// The addresses at which this device listens.
    pub(super) addresses: BTreeMap<Pseudonym, Vec<Vec<u8>>>,
    /// Tags of the groups that this device listens to, or publishes to; advertised in its link state, or by the routers
    /// of a leaf.
    pub(super) own_groups: BTreeSet<Tag>,
    /// Tags of the services that this device offers; advertised likewise.
    pub(super) own_services: BTreeSet<Tag>,
    /// When this device is awake, devices whose parent this one is, and neighbours that are away.
    pub(super) sleepers: sleepers::Sleepers,
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
            air: air::Air::load(&settings.bearers, store, now)?,
            fragments: fragments::Fragments::default(),
            successors: successors::Successors::default(),
            allowances: allowances::Allowances::default(),
            forgeries: forgeries::Forgeries::default(),
            quarantine: quarantine::Quarantine::default(),
            formers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            own_groups: BTreeSet::new(),
            own_services: BTreeSet::new(),
            sleepers: sleepers::Sleepers::load(
                store,
                sleep::Sleep::new(settings.sleep.as_ref().map(|sleep| &sleep.awake), now),
            )?,
            links_changed: true,
        })
    }
}
