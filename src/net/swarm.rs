//! Swarm: the [`Network`] itself, and the order in which its parts are polled.
//!
//! One poll works until it has an event or no part has anything to do. It first returns events that are already known,
//! then polls the Swarm (which works on local things before it takes new ones), requests for enrolment, counters, dials
//! that are due, and last the frames that connections have read. So a flood of frames does not delay link events, and
//! the frames of a link come after its `LinkUp`.

mod connections;
mod dials;
mod failures;
mod lab;

use super::admission::{Admission, Gate, Gatekeeper};
use super::admitted::Admitted;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::clocks::Clocks;
use super::counters::{Counters, Item};
use super::discovery::{Discovery, MAX_DIALS};
use super::emulation::Shaping;
use super::enrol::{Desk, Requests};
use super::handler::Received;
use super::handshake::Reason;
use super::lane::lane_of;
use super::link_ids::LinkIds;
use super::links::Links;
use super::listening::Listening;
use super::names::Resolver;
use super::permits::{Limits, Permits};
use super::sorter::Sorter;
use super::turnstile::Turnstile;
use super::wake_gate::Attended;
use super::{Executor, LinkCounters, Multiaddr, NetConfig, NetEvent, PeerId, SendError, Transport};
use crate::counter::Counter;
use crate::id::{LinkId, Pseudonym};
use crate::link::windows::Windows;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use dials::{Lookup, Trial};
use failures::{cause, met_by};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use libp2p::swarm::{self, ConnectionId, SwarmEvent};
use libp2p::{Swarm, Transport as _, mdns};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// One Swarm with one key, polled by the node. Calls take effect at the next poll, so poll it after any call.
pub struct Network<G: Gatekeeper> {
    gatekeeper: Arc<G>,
    swarm: Attended<Swarm<Behaviour<G::Peer>>>,
    links: Links,
    discovery: Discovery,
    sorter: Arc<Sorter>,
    requests: Requests,
    counters: Arc<Counters>,
    clocks: Arc<Clocks>,
    /// Present only in a lab.
    shaping: Option<Arc<Shaping>>,
    frames: mpsc::Receiver<Received>,
    reading: bool,
    /// Dials under way: at most [`MAX_DIALS`], lookups of names included.
    dials: BTreeMap<ConnectionId, Trial>,
    resolver: Option<Resolver>,
    lookups: FuturesUnordered<Lookup>,
    /// Events that are returned before anything else happens, so these are what one event of the Swarm has led to.
    events: VecDeque<NetEvent<G::Peer>>,
    listening: Listening,
    /// A closed connection whose frames have not all been fetched; nothing else happens until they have.
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    connection: ConnectionId,
    /// The number of its buffers in the channel.
    owed: u64,
    reason: String,
}

impl<G: Gatekeeper> Network<G> {
    /// Creates a network over a transport whose key is that of `local`. Listening and dialling begin with the first
    /// poll. `seed` feeds the jitter of dials; `ids` gives the numbers of links.
    pub fn new(
        transport: Transport,
        local: PeerId,
        executor: Executor,
        gatekeeper: Arc<G>,
        config: &NetConfig,
        seed: [u8; 32],
        ids: &LinkIds,
    ) -> Self {
        let (counters, clocks) = (Arc::new(Counters::default()), Arc::new(Clocks::default()));
        let (desk, requests) = Desk::new(counters.clone());
        let admitted = Admitted::new();
        let permits = Permits::new(Limits {
            inbound: config.inbound_permits,
            per_source: config.permits_per_source,
            outbound: MAX_DIALS as u32,
        });
        let sorter = Arc::new(Sorter::new(config.bearers.clone()));
        let links = Links::new(local, config.max_links, ids.clone());
        let shaping = config.shaping.then(|| Arc::new(Shaping::new(seed)));
        let gate = Gate {
            local,
            gatekeeper: gatekeeper.clone(),
            permits,
            setup_time: config.setup_time,
            sorter: sorter.clone(),
            room: links.room(),
            turnstile: Turnstile::new(config.admissions),
            admitted: admitted.clone(),
            desk,
            counters: counters.clone(),
            clocks: clocks.clone(),
            shaping: shaping.clone(),
        };
        let transport = Admission::new(transport, Arc::new(gate)).boxed();
        let (sender, frames) = mpsc::channel(BUFFERS);
        let behaviour = Behaviour::new(local, admitted, config, &sorter, sender);
        let swarm_config = swarm::Config::with_executor(executor)
            .with_idle_connection_timeout(NEVER)
            .with_max_negotiating_inbound_streams(NEGOTIATING);
        let mut this = Self {
            gatekeeper,
            swarm: Attended::new(Swarm::new(transport, behaviour, local, swarm_config)),
            links,
            discovery: Discovery::new(&config.bootstrap, &config.met, config.target_links, sorter.clone(), seed)
                .beginning_within(config.start_within),
            sorter,
            requests,
            counters,
            clocks,
            shaping,
            frames,
            reading: true,
            dials: BTreeMap::new(),
            resolver: None,
            lookups: FuturesUnordered::new(),
            events: VecDeque::new(),
            listening: Listening::default(),
            closed: None,
        };
        for address in &config.listen {
            match this.swarm.listen_on(address.clone()) {
                Ok(listener) => this.listening.begin(listener, address),
                Err(error) => {
                    let reason = format!("{address}: {}", cause(&error));
                    this.events.push_back(NetEvent::ListenFailed { reason });
                }
            }
        }
        this
    }

    /// Sets the resolver for addresses that begin with a name. Without one, dials of these addresses fail.
    pub fn set_resolver(&mut self, resolver: Resolver) {
        self.resolver = Some(resolver);
    }

    /// Returns the next event.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent<G::Peer>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if self.closed.is_some() {
                match self.frames.poll_next_unpin(cx) {
                    Poll::Ready(Some(received)) => self.handle_received(received),
                    Poll::Ready(None) | Poll::Pending => self.settle(),
                }
                continue;
            }
            if let Poll::Ready(Some(event)) = self.swarm.poll_next(cx) {
                self.handle_swarm(event);
                continue;
            }
            if let Poll::Ready(event) = self.requests.poll(cx) {
                return Poll::Ready(event);
            }
            if let Poll::Ready((item, count)) = self.counters.poll(cx) {
                return Poll::Ready(match item {
                    Item::Refused(reason) => NetEvent::Refused { reason, count },
                    Item::Cut => NetEvent::Cut { count },
                    Item::Dropped(counter) => NetEvent::Dropped { counter, count },
                });
            }
            if let Poll::Ready((address, skew)) = self.clocks.poll(cx) {
                return Poll::Ready(NetEvent::Skewed { address, skew });
            }
            let gatekeeper = &self.gatekeeper;
            if let Poll::Ready(address) = self.discovery.poll(self.links.neighbours(), &|| gatekeeper.clock(), cx) {
                self.dial(address);
                continue;
            }
            if let Poll::Ready(Some((name, found))) = self.lookups.poll_next_unpin(cx) {
                self.handle_found(name, found);
                continue;
            }
            if self.reading
                && let Poll::Ready(Some(received)) = self.frames.poll_next_unpin(cx)
            {
                self.handle_received(received);
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Whether a call has left work for [`Network::poll`].
    pub fn wants_poll(&self) -> bool {
        self.swarm.is_wanted() || !self.events.is_empty()
    }

    /// Ready once every listener has its addresses or one has failed. Returns all addresses, those that others can use
    /// first. Does not dial, and loses no event for [`Network::poll`].
    ///
    /// # Errors
    /// Returns the reason if a listener has failed.
    pub fn poll_listening(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Multiaddr>, String>> {
        while self.listening.poll(cx).is_pending() {
            match ready!(self.swarm.poll_next(cx)) {
                Some(event) => self.handle_swarm(event),
                None => break,
            }
        }
        let failed = self.events.iter().find_map(|event| match event {
            NetEvent::ListenFailed { reason } => Some(reason.clone()),
            _ => None,
        });
        Poll::Ready(match failed {
            Some(reason) => Err(reason),
            None => Ok(self.listening.addresses().to_vec()),
        })
    }

    /// Queues one whole frame. Its kind decides the lane and, on the data lane, `class` decides the queue.
    ///
    /// # Errors
    /// Fails if the queue is full, the link is down, or `frame` is not exactly one frame.
    pub fn try_send(&self, link: LinkId, class: Class, frame: &OutFrame) -> Result<(), SendError> {
        let lane = lane_of(frame).ok_or(SendError::NotAFrame)?;
        let pipe = self.links.get(link).and_then(|link| link.pipe()).ok_or(SendError::Gone)?;
        pipe.try_send(lane, class, frame)
    }

    /// Sets whether frames are fetched from connections. While they are not, connections read only until the bounded
    /// channel is full, which holds senders back; links stay up and sending goes on.
    pub fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// Adds addresses of members, to be dialled while there are too few links.
    pub fn add_addresses(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        // One of them may be due for dialling at once.
        self.swarm.attend();
        for address in addresses {
            if !self.discovery.handle_heard(&address) {
                self.counters.count(Item::Dropped(Counter::AddressesRefused), 1);
            }
        }
    }

    /// Adds addresses of members on a neighbour's word, which are dialled as far as its share allows.
    pub fn add_told_addresses(&mut self, link: LinkId, addresses: impl IntoIterator<Item = Multiaddr>) {
        self.swarm.attend();
        for address in addresses {
            if !self.discovery.handle_told(link, &address) {
                self.counters.count(Item::Dropped(Counter::AddressesRefused), 1);
            }
        }
    }

    /// Sets the addresses that a neighbour announces as its own: they are not dialled while its link is up.
    pub fn set_neighbour_addresses(&mut self, link: LinkId, addresses: impl IntoIterator<Item = Multiaddr>) {
        if self.links.get(link).is_none() {
            return;
        }
        for address in addresses {
            if !self.discovery.handle_neighbour(link, &address) {
                self.counters.count(Item::Dropped(Counter::AddressesRefused), 1);
            }
        }
    }

    /// Leaves the addresses of a member alone for so long; for no time, dials them again.
    pub fn shun(&mut self, peer: PeerId, rest: Duration) {
        self.swarm.attend();
        self.discovery.shun(peer, rest);
    }

    /// The device falls asleep, or wakes: while it sleeps nothing is dialled.
    pub fn sleep(&mut self, asleep: bool) {
        self.swarm.attend();
        self.discovery.sleep(asleep);
    }

    /// Closes a link at once; `LinkDown` with this reason follows.
    pub fn close(&mut self, link: LinkId, reason: &str) {
        let Some(link) = self.links.get(link) else { return };
        for connection in &link.connections {
            connection.pipe.close();
            self.swarm.behaviour_mut().streams.close(link.peer, connection.id, reason.to_owned());
        }
    }

    /// Returns the counters of a link, or `None` if it is down.
    pub fn counters(&self, link: LinkId) -> Option<LinkCounters> {
        let mut counters = LinkCounters::default();
        for connection in &self.links.get(link)?.connections {
            connection.pipe.add_to(&mut counters);
            counters.connections += u32::from(!connection.ending);
        }
        Some(counters)
    }

    /// Whether a link is one of this network's.
    pub fn has(&self, link: LinkId) -> bool {
        self.links.get(link).is_some()
    }

    /// Returns the links that are up.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter()
    }

    /// Returns the peers of which two live processes are linked, and the addresses of these.
    pub fn twins(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.links.twins()
    }

    /// Returns the addresses on which the network listens, those that others can use first.
    pub fn listening(&self) -> impl Iterator<Item = &Multiaddr> {
        self.listening.addresses().iter()
    }

    /// Returns the addresses at which members were met, the latest first: the value of [`NetConfig::met`] for the next
    /// network.
    pub fn met(&self) -> impl Iterator<Item = &Multiaddr> {
        self.discovery.met()
    }

    /// Whether the access windows of its bearer allow an address to be dialled now.
    pub fn may_dial(&self, address: &Multiaddr) -> bool {
        self.sorter.is_open(address, self.gatekeeper.clock())
    }

    /// Sets the access windows of a bearer for the days ahead.
    pub fn set_windows(&mut self, bearer: u8, windows: Windows) {
        self.discovery.set_windows(bearer, windows);
        self.swarm.attend();
    }

    /// Seeks a member under that key at these addresses, the best first, however many neighbours there are: a network that this one replaces
    /// has a link to it.
    pub fn seek(&mut self, peer: &Pseudonym, addresses: &[Multiaddr]) {
        let Some(peer) = super::peer_id(peer) else { return };
        if !self.discovery.seek(peer, addresses) {
            self.counters.count(Item::Dropped(Counter::AddressesRefused), 1);
        }
        self.swarm.attend();
    }

    fn handle_swarm(&mut self, event: SwarmEvent<BehaviourEvent<G::Peer>>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.handle_streams(event),
            SwarmEvent::Behaviour(
                BehaviourEvent::Mdns(mdns::Event::Discovered(found))
                | BehaviourEvent::Mdns6(mdns::Event::Discovered(found)),
            ) => {
                for (_, address) in found {
                    if !self.discovery.handle_multicast(&address) {
                        self.counters.count(Item::Dropped(Counter::AddressesRefused), 1);
                    }
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.handle_dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { address, listener_id } => {
                self.discovery.handle_listening(&address);
                if self.listening.handle_address(listener_id, &address) {
                    self.events.push_back(NetEvent::Listening(address));
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.handle_gone(address),
            SwarmEvent::ListenerClosed { reason, listener_id, addresses } => {
                self.listening.handle_closed(listener_id);
                addresses.into_iter().for_each(|address| self.handle_gone(address));
                if let Err(error) = reason {
                    self.events.push_back(NetEvent::ListenFailed { reason: cause(&error) });
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr: address, .. } => {
                tracing::debug!(%address, %error, "connection failed");
                if met_by(&error) == Some(Reason::Twin) {
                    self.meet_itself(address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            _ => {}
        }
    }

    /// Handles an address at which the node no longer listens.
    fn handle_gone(&mut self, address: Multiaddr) {
        self.discovery.handle_not_listening(&address);
        if self.listening.handle_gone(&address) {
            self.events.push_back(NetEvent::NotListening(address));
        }
    }

    fn handle_received(&mut self, received: Received) {
        let Received { connection, lane, buffer } = received;
        let link = self.links.of_connection(connection);
        if let Some(known) = self.links.connection_mut(connection) {
            known.fetched += 1;
        }
        if let Some(link) = link {
            self.events.push_back(NetEvent::Frames { link, lane, buffer });
        }
        if let Some(closed) = &mut self.closed
            && closed.connection == connection
        {
            closed.owed -= 1;
            if closed.owed == 0 {
                self.settle();
            }
        }
    }
}

/// The maximum number of buffers, of up to 64 KiB each, that wait for the node, besides one for each connection.
const BUFFERS: usize = 16;
/// The maximum number of substreams of one connection whose protocol is being negotiated.
const NEGOTIATING: usize = 16;
/// Longer than any connection: this node ends links, not libp2p. Ten years.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
