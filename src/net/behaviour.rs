//! Behaviour: what runs on admitted connections, and how gossipsub is set up.
//!
//! Gossip is anonymous: frames carry their own signatures, checked by the node once per message instead of once
//! per copy, and nothing goes on to others before the node has accepted it. A message's id is the SHA-256 of the
//! whole frame, so that equal bytes are one message wherever they come from.

use super::admission::Admitted;
use super::gossip::Gossip;
use super::handler::{Command, Received};
use super::sorter::Sorter;
use super::streams::Streams;
use super::{MAX_GOSSIP, NetConfig, PeerId};
use futures::channel::mpsc;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{self, ConfigBuilder, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{ConnectionId, NetworkBehaviour};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The streams come first: what they deny, the others never hear of.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour<P: Send + 'static> {
    pub(crate) streams: Streams<P>,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    /// The same where there is no IPv4.
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
            gossip: Gossip::new(gossip(), sorter.clone()),
            mdns: config.mdns.then(|| multicast_dns(local, false)).flatten().into(),
            mdns6: config.mdns.then(|| multicast_dns(local, true)).flatten().into(),
        }
    }

    /// Gets gossip going on the connections that are left of several to a peer.
    ///
    /// gossipsub has one queue for a peer and opens its stream on a connection when that connection's task runs and
    /// finds something there. The first connection of a peer always has something; a later one, on which nothing was
    /// ever sent, is not woken by what is put into the queue, and would carry no gossip until other traffic happened
    /// to wake it. So when an earlier connection has gone, this puts something small there, and wakes the task.
    pub(crate) fn rouse_gossip(&mut self, peer: PeerId, connections: &[ConnectionId]) {
        let topic = IdentTopic::new(ROUSING);
        // Fails for a subscription filter only, and there is none.
        let _ = self.gossip.subscribe(&topic);
        self.gossip.unsubscribe(&topic);
        for connection in connections {
            self.streams.command(peer, *connection, Command::Wake);
        }
    }
}

fn gossip() -> gossipsub::Behaviour {
    let config = ConfigBuilder::default()
        .protocol_id_prefix("/m2mesh/1/gossip")
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| MessageId::from(Sha256::digest(&message.data).to_vec()))
        .max_transmit_size(MAX_GOSSIP + ENVELOPE)
        .history_length(HISTORY)
        .flood_publish(true)
        .publish_queue_duration(QUEUE_TIME)
        .forward_queue_duration(QUEUE_TIME)
        .build()
        .expect("the settings above agree with each other");
    gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)
        .expect("anonymous authenticity goes with anonymous validation")
}

/// Over IPv4 or IPv6; each is nothing to a machine that has no address of that family. Works on a tokio runtime only.
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

/// A topic that nobody listens to.
const ROUSING: &str = "-";
/// Connections beyond the links: duplicates that are being resolved.
const SPARE: u32 = 16;
/// Bytes of gossipsub's own around a message and its topic.
const ENVELOPE: usize = 256;
/// Heartbeats (seconds) for which a message is kept: longer than it takes to fetch an unknown sender's credential.
const HISTORY: usize = 30;
/// How long a message may wait for one neighbour before gossipsub drops it there.
const QUEUE_TIME: Duration = Duration::from_secs(30);
