//! Opening the networks of a simulated device: the first one at its start, and another beside it when its pseudonym changes.
//!
//! Both listen at the device's addresses: the medium takes new connections to the network that was opened last.

use super::executor::{self, Owner};
use super::host::Clock;
use super::medium::{Medium, SimTransport, address};
use libp2p::core::Transport;
use m2mesh::id::Pseudonym;
use m2mesh::identity::admission::AdmissionView;
use m2mesh::identity::kdf::Secret;
use m2mesh::link::bearer::Bearers;
use m2mesh::net::{self, LinkIds, Multiaddr, NetConfig, Network};
use m2mesh::node::{Gate, OpenNetwork};
use std::sync::Arc;
use std::time::Duration;

/// What the networks of one life of a device have in common.
#[derive(Clone)]
pub struct SimOpener {
    /// The device.
    pub device: usize,
    /// Its present life.
    pub owner: Owner,
    /// Its clocks.
    pub clock: Arc<Clock>,
    /// What carries bits.
    pub medium: Medium,
    /// The bearers at whose addresses it listens.
    pub bearers: Vec<usize>,
    /// What these are.
    pub profiles: Bearers,
    /// Members that it stays connected with.
    pub bootstrap: Vec<Multiaddr>,
    /// How many neighbours it wants.
    pub target_links: u32,
    /// The time after its start within which it begins to dial.
    pub start_within: Duration,
    /// Numbers its links.
    pub link_ids: LinkIds,
}

impl SimOpener {
    /// Opens a network that dials the addresses `met` besides the others. `process` is the number that neighbours see, `jitter` spreads its dials.
    pub fn open(
        &self,
        own: Pseudonym,
        seed: &Secret,
        view: AdmissionView,
        met: Vec<Multiaddr>,
        (process, jitter): (u64, [u8; 32]),
    ) -> OpenNetwork {
        let local = net::keypair(seed).public().to_peer_id();
        let (clock, owner) = (self.clock.clone(), self.owner);
        let gate = Gate::new(view, process, move || clock.now());
        let transport = SimTransport::new(self.medium.clone(), self.device, local).of(owner).boxed();
        let executor: net::Executor = Box::new(move |task| executor::spawn(owner, task));
        let config = NetConfig {
            listen: self.bearers.iter().map(|bearer| address(self.device, *bearer)).collect(),
            bootstrap: self.bootstrap.clone(),
            mdns: false,
            target_links: self.target_links,
            bearers: self.profiles.clone(),
            met,
            start_within: self.start_within,
            ..NetConfig::default()
        };
        let network = Network::new(transport, local, executor, gate.clone(), &config, jitter, &self.link_ids);
        OpenNetwork { own, network, gate, listening: Vec::new() }
    }
}
