//! Behaviour: the libp2p behaviours that run on admitted connections.

use super::admitted::Admitted;
use super::handler::Received;
use super::sorter::Sorter;
use super::streams::Streams;
use super::{NetConfig, PeerId};
use futures::channel::mpsc;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::mdns;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use std::sync::Arc;

/// The libp2p behaviours of a network. The streams come first: the others do not see a connection that they deny.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour<P: Send + 'static> {
    pub(crate) streams: Streams<P>,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    /// Multicast DNS over IPv6.
    pub(crate) mdns6: Toggle<mdns::tokio::Behaviour>,
}

impl<P: Send + 'static> Behaviour<P> {
    pub(crate) fn new(
        local: PeerId,
        admitted: Admitted<P>,
        config: &NetConfig,
        sorter: &Arc<Sorter>,
        frames: mpsc::Sender<Received>,
    ) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_established(Some(config.max_links + SPARE))
            .with_max_established_per_peer(Some((super::links::MAX_CONNECTIONS * sorter.count()) as u32));
        Self {
            streams: Streams::new(admitted, config.clone(), sorter.clone(), frames),
            limits: connection_limits::Behaviour::new(limits),
            mdns: config.mdns.then(|| multicast_dns(local, false)).flatten().into(),
            mdns6: config.mdns.then(|| multicast_dns(local, true)).flatten().into(),
        }
    }
}

/// Starts multicast DNS over IPv4 or IPv6; `None` on a machine without an address of that family. It needs a tokio
/// runtime.
fn multicast_dns(local: PeerId, enable_ipv6: bool) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config { enable_ipv6, ..mdns::Config::default() };
    match mdns::tokio::Behaviour::new(config, local) {
        Ok(mdns) => Some(mdns),
        Err(error) => {
            let over = if enable_ipv6 { "IPv6" } else { "IPv4" };
            tracing::warn!(%error, "no multicast DNS over {over}");
            None
        }
    }
}

/// Connections allowed beyond the number of links, for duplicates that are being resolved.
const SPARE: u32 = 16;
