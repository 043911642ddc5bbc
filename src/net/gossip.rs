//! Gossip: gossipsub on the connections whose bytes are not counted.
//!
//! gossipsub knows peers, not links: it talks to a peer over whichever of its connections comes first. Over a metered
//! bearer it must not, so it is not told of such connections at all: they get a handler that does nothing, and what it
//! hears of how many connections a peer has counts the others only. A peer that is reached by metered bearers alone is no
//! peer to it.
//!
//! Invariants
//! 1. gossipsub never hears of a metered connection.

use super::sorter::Sorter;
use super::{Multiaddr, PeerId};
use either::Either;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::gossipsub;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};

/// See the module's documentation.
pub(crate) struct Gossip {
    inner: gossipsub::Behaviour,
    sorter: Arc<Sorter>,
    /// Metered connections; as many as the Swarm has.
    metered: BTreeSet<ConnectionId>,
    /// How many connections gossipsub knows of a peer; those of peers that have any.
    told: BTreeMap<PeerId, usize>,
}

impl Gossip {
    pub(crate) fn new(inner: gossipsub::Behaviour, sorter: Arc<Sorter>) -> Self {
        Self { inner, sorter, metered: BTreeSet::new(), told: BTreeMap::new() }
    }

    fn is_metered(&mut self, connection: ConnectionId, remote: &Multiaddr, local: Option<&Multiaddr>) -> bool {
        let metered = self.sorter.is_metered(self.sorter.carrying(remote, local));
        if metered {
            self.metered.insert(connection);
        }
        metered
    }
}

impl Deref for Gossip {
    type Target = gossipsub::Behaviour;

    fn deref(&self) -> &gossipsub::Behaviour {
        &self.inner
    }
}

impl DerefMut for Gossip {
    fn deref_mut(&mut self) -> &mut gossipsub::Behaviour {
        &mut self.inner
    }
}

impl NetworkBehaviour for Gossip {
    type ConnectionHandler = Either<THandler<gossipsub::Behaviour>, dummy::ConnectionHandler>;
    type ToSwarm = gossipsub::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.is_metered(connection, remote, Some(local)) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_inbound_connection(connection, peer, local, remote).map(Either::Left)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.is_metered(connection, address, None) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. })
                if self.metered.contains(&connection_id) => {}
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::DialFailure(DialFailure { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. })
                if self.metered.remove(&connection_id) => {}
            FromSwarm::AddressChange(change) if self.metered.contains(&change.connection_id) => {}
            FromSwarm::ConnectionEstablished(established) => {
                let told = self.told.entry(established.peer_id).or_default();
                let other_established = *told;
                *told += 1;
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    other_established,
                    ..established
                }));
            }
            FromSwarm::ConnectionClosed(closed) => {
                let remaining_established = match self.told.get_mut(&closed.peer_id) {
                    Some(told) => {
                        *told = told.saturating_sub(1);
                        *told
                    }
                    None => 0,
                };
                if remaining_established == 0 {
                    self.told.remove(&closed.peer_id);
                }
                self.inner
                    .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed { remaining_established, ..closed }));
            }
            event => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // gossipsub names the connection whose handler it means.
        self.inner.poll(cx).map(|action| action.map_in(Either::Left))
    }
}
