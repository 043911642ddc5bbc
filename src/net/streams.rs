//! Streams: the behaviour that gives every admitted connection a [`Handler`] and reports its events.
//!
//! It is the second lock behind admission: a connection whose peer is not among the [`Admitted`] gets no handler and is
//! denied, whatever the transport said.

use super::admitted::{Admitted, Found};
use super::handler::{Command, Event, Handler, Received};
use super::liveness::Watch;
use super::pacing::Pacer;
use super::pipe::Pipe;
use super::sorter::Sorter;
use super::{Multiaddr, NetConfig, PeerId};
use futures::channel::mpsc;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The behaviour that holds the connections' state on the side of the Swarm.
#[derive(Debug)]
pub(crate) struct Streams<P> {
    admitted: Admitted<P>,
    config: NetConfig,
    sorter: Arc<Sorter>,
    frames: mpsc::Sender<Received>,
    /// Connections that have a handler but are not established yet: no more than the Swarm has in hand.
    coming: BTreeMap<ConnectionId, Coming<P>>,
    /// The reasons of closings under way, by connection.
    reasons: BTreeMap<ConnectionId, String>,
    /// Actions for the Swarm, emptied at each of its polls.
    actions: VecDeque<ToSwarm<StreamsEvent<P>, Command>>,
}

#[derive(Debug)]
struct Coming<P> {
    found: P,
    pipe: Arc<Pipe>,
    address: Multiaddr,
    outbound: bool,
    bearer: u8,
    begun: Instant,
}

/// An event that the behaviour reports to the network.
#[derive(Debug)]
pub(crate) enum StreamsEvent<P> {
    /// A connection is established.
    Up {
        connection: ConnectionId,
        peer: PeerId,
        found: P,
        pipe: Arc<Pipe>,
        address: Multiaddr,
        outbound: bool,
        bearer: u8,
        /// When its set-up began.
        begun: Instant,
    },
    /// The handler of a connection reports an event.
    Handler { connection: ConnectionId, event: Event },
    /// A connection is closed.
    Down { connection: ConnectionId, reason: String },
}

/// The error of a connection whose peer has not been admitted.
#[derive(Debug, thiserror::Error)]
#[error("not admitted")]
struct NotAdmitted;

impl<P> Streams<P> {
    pub(crate) fn new(
        admitted: Admitted<P>,
        config: NetConfig,
        sorter: Arc<Sorter>,
        frames: mpsc::Sender<Received>,
    ) -> Self {
        Self {
            admitted,
            config,
            sorter,
            frames,
            coming: BTreeMap::new(),
            reasons: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Closes a connection at once; the first reason given is kept.
    pub(crate) fn close(&mut self, peer: PeerId, connection: ConnectionId, reason: String) {
        self.reasons.entry(connection).or_insert(reason);
        self.actions
            .push_back(ToSwarm::CloseConnection { peer_id: peer, connection: CloseConnection::One(connection) });
    }

    pub(crate) fn command(&mut self, peer: PeerId, connection: ConnectionId, command: Command) {
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: command,
        });
    }

    fn admit(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        local: Option<&Multiaddr>,
        dialer: bool,
    ) -> Result<Handler, ConnectionDenied> {
        let admitted = self.admitted.claim(&peer).ok_or_else(|| ConnectionDenied::new(NotAdmitted))?;
        let Found { found, round_trip, begun } = admitted;
        let pipe = Arc::new(Pipe::new(self.config.outbox_bytes));
        let (outbound, bearer) = (local.is_none(), self.sorter.carrying(address, local));
        let datagrams = address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let watch = Watch::new(&self.config, self.sorter.profile(bearer), datagrams, round_trip);
        let pacer = Pacer::new(self.sorter.profile(bearer));
        let handler = Handler::new(connection, dialer, pipe.clone(), self.frames.clone(), (watch, pacer));
        self.coming.insert(connection, Coming { found, pipe, address: address.clone(), outbound, bearer, begun });
        Ok(handler)
    }
}

impl<P: Send + 'static> NetworkBehaviour for Streams<P> {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamsEvent<P>;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(connection, peer, remote, Some(local), false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(connection, peer, address, None, role == Endpoint::Dialer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                if let Some(Coming { found, pipe, address, outbound, bearer, begun }) =
                    self.coming.remove(&connection_id)
                {
                    let (connection, peer) = (connection_id, peer_id);
                    let up = StreamsEvent::Up { connection, peer, found, pipe, address, outbound, bearer, begun };
                    self.actions.push_back(ToSwarm::GenerateEvent(up));
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, cause, .. }) => {
                let reason = self.reasons.remove(&connection_id);
                let reason = reason.or_else(|| cause.map(ToString::to_string));
                let reason = reason.unwrap_or_else(|| "closed".to_owned());
                self.actions
                    .push_back(ToSwarm::GenerateEvent(StreamsEvent::Down { connection: connection_id, reason }));
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.coming.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if let Event::Over(reason) = &event {
            self.close(peer, connection, reason.clone());
        }
        self.actions.push_back(ToSwarm::GenerateEvent(StreamsEvent::Handler { connection, event }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => Poll::Pending,
        }
    }
}
