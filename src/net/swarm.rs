//! The [`Network`] itself.

use super::{
    Executor, GossipId, LinkCounters, MessageAcceptance, NetConfig, NetEvent, PublishError, SendError, Transport,
};
use crate::id::{LinkId, Pseudonym};
use crate::wire::data::Class;
use libp2p::{Multiaddr, PeerId};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Says who is a member.
pub trait Gatekeeper: Send + Sync + 'static {
    /// What is known of an admitted peer.
    type Peer: Clone + Send + Sync + 'static;
    /// The own encoded Hello of this moment.
    fn hello(&self) -> Vec<u8>;
    /// Checks a neighbour's Hello against the key that its connection has proved; or a reason code.
    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<Self::Peer, &'static str>;
}

/// One Swarm with one key, polled by the node.
pub struct Network<G: Gatekeeper> {
    gatekeeper: Arc<G>,
}

impl<G: Gatekeeper> Network<G> {
    /// Over a transport whose key is `local`; listens and dials as configured once polled. `seed` feeds jitter.
    pub fn new(
        _transport: Transport,
        _local: PeerId,
        _executor: Executor,
        gatekeeper: Arc<G>,
        _config: &NetConfig,
        _seed: [u8; 32],
    ) -> Self {
        Self { gatekeeper }
    }
    /// What happened next.
    pub fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<NetEvent<G::Peer>> {
        let _ = self.gatekeeper.hello();
        Poll::Pending
    }
    /// Queues one frame; its kind decides the lane.
    pub fn try_send(&self, _link: LinkId, _class: Class, _frame: &[u8]) -> Result<(), SendError> {
        Err(SendError::Gone)
    }
    /// Whether frames are taken from sockets; gossip and link events go on meanwhile.
    pub fn set_reading(&mut self, _reading: bool) {}
    /// Publishes a frame.
    pub fn publish(&mut self, _topic: &str, _data: Vec<u8>) -> Result<(), PublishError> {
        Err(PublishError::NoSubscribers)
    }
    /// Takes part in a topic.
    pub fn subscribe(&mut self, _topic: &str) {}
    /// Leaves a topic.
    pub fn unsubscribe(&mut self, _topic: &str) {}
    /// Answers a [`NetEvent::Gossip`]: only what is accepted goes on to others.
    pub fn report(&mut self, _id: &GossipId, _verdict: MessageAcceptance) {}
    /// Addresses learnt from neighbours.
    pub fn add_addresses(&mut self, _addresses: impl IntoIterator<Item = Multiaddr>) {}
    /// A neighbour's own addresses: not dialled while its link is up.
    pub fn set_neighbour_addresses(&mut self, _link: LinkId, _addresses: impl IntoIterator<Item = Multiaddr>) {}
    /// Closes a link; `LinkDown` with this reason follows.
    pub fn close(&mut self, _link: LinkId, _reason: &str) {}
    /// A link's figures.
    pub fn counters(&self, _link: LinkId) -> Option<LinkCounters> {
        None
    }
    /// Links that are up.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        std::iter::empty()
    }
}
