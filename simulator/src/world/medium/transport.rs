//! Transport: the medium as libp2p sees it, which yields a peer and a multiplexer directly.
//!
//! Encryption and multiplexing are not simulated, but their round trips and bytes are: a dial takes the packets that
//! TCP and Noise would exchange before there is a connection. If the process of a listener is paused, only its system's
//! part of the set-up takes place: the listener answers when the process resumes, so that everything sent on a
//! connection is sent after the listener has begun with it. Addresses look like those of a real network,
//! `/ip4/10.BEARER.HIGH.LOW/tcp/7707`, so that code which goes by sources and transports works as on devices.

use super::connection::{Connection, Muxer, NEVER};
use super::purpose::Purpose;
use super::{Listener, Medium, NANOS, Verdict, now};
use crate::world::executor::{self, Owner};
use futures::FutureExt;
use futures::future::{BoxFuture, Ready, ready};
use futures_timer::Delay;
use ipnet::IpNet;
use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Returns the address of a device over a bearer.
pub fn address(device: usize, bearer: usize) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Ip4(ip(device, bearer))).with(Protocol::Tcp(PORT))
}

/// Returns the IP address of a device on a bearer.
pub(super) fn ip(device: usize, bearer: usize) -> Ipv4Addr {
    let [_, _, high, low] = u32::try_from(device).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(10, u8::try_from(bearer).unwrap_or(u8::MAX), high, low)
}

/// Returns the network that contains a bearer's addresses.
pub fn network(bearer: usize) -> IpNet {
    let ip = Ipv4Addr::new(10, u8::try_from(bearer).unwrap_or(u8::MAX), 0, 0);
    IpNet::new_assert(ip.into(), 16)
}

/// Returns the device and the bearer of an address.
pub fn place(address: &Multiaddr) -> Option<(usize, usize)> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) if ip.octets()[0] == 10 => {
            let [_, bearer, high, low] = ip.octets();
            Some((usize::from(u16::from_be_bytes([high, low])), usize::from(bearer)))
        }
        _ => None,
    }
}

/// The transport of one device over the medium.
pub struct SimTransport {
    medium: Medium,
    device: usize,
    peer: PeerId,
    listening: Vec<Listening>,
    dials: u64,
    owner: Option<Owner>,
}

struct Listening {
    id: ListenerId,
    bearer: usize,
    listener: Arc<Listener>,
    told: bool,
}

impl SimTransport {
    /// Returns the transport of a device with the key of `peer`.
    pub fn new(medium: Medium, device: usize, peer: PeerId) -> Self {
        Self { medium, device, peer, listening: Vec::new(), dials: 0, owner: None }
    }

    /// Sets the process that accepts its connections.
    pub fn of(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        let mut state = self.medium.lock();
        for listening in &self.listening {
            let there = &mut state.devices[self.device].listening;
            if there.get(&listening.bearer).is_some_and(|known| Arc::ptr_eq(known, &listening.listener)) {
                there.remove(&listening.bearer);
            }
        }
        drop(state);
        // A transport that only dials is not that of a network.
        if !self.listening.is_empty() {
            self.medium.note_left(self.device, self.peer);
        }
    }
}

type Connected = (PeerId, StreamMuxerBox);

impl Transport for SimTransport {
    type Output = Connected;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Connected>>;
    type Dial = BoxFuture<'static, io::Result<Connected>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let Some((_, bearer)) = place(&address).filter(|(device, _)| *device == self.device) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let listener = Arc::new(Listener { peer: self.peer, owner: self.owner, queue: Mutex::default() });
        {
            let there = &mut self.medium.lock().devices[self.device];
            there.left.remove(&self.peer);
            there.listening.insert(bearer, listener.clone());
        }
        self.medium.onlook(|onlooker| onlooker.note_network(self.device, &self.peer));
        self.listening.push(Listening { id, bearer, listener, told: false });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let before = self.listening.len();
        self.listening.retain(|listening| listening.id != id);
        before != self.listening.len()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some((to, bearer)) = place(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.dials += 1;
        let mut state = self.medium.lock();
        let from = &mut state.devices[self.device];
        from.misdeeds += u64::from(from.foreign && from.dark == 0);
        drop(state);
        let dial = Dial { medium: self.medium.clone(), from: self.device, peer: self.peer, to, bearer };
        Ok(dial.run(self.dials).boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let device = self.device;
        for listening in &mut self.listening {
            let (listener_id, local) = (listening.id, address(device, listening.bearer));
            if !std::mem::replace(&mut listening.told, true) {
                return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: local });
            }
            let mut queue = listening.listener.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((from, peer, connection)) = queue.connections.pop_front() {
                let muxer = StreamMuxerBox::new(Muxer::new(connection, 1));
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id,
                    local_addr: local,
                    send_back_addr: address(from, listening.bearer),
                    upgrade: ready(Ok((peer, muxer))),
                });
            }
            queue.taker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// An attempt at a connection.
struct Dial {
    medium: Medium,
    from: usize,
    peer: PeerId,
    to: usize,
    bearer: usize,
}

impl Dial {
    async fn run(self, number: u64) -> io::Result<Connected> {
        let found = self.medium.lock().ends.get(&(self.from, self.to, self.bearer)).copied();
        let edge = found.ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable))?;
        self.medium.witness(|witness| {
            witness.note_dial(self.from, self.bearer);
            witness.note_call(self.from, self.to);
        });
        let (verdict, a, seed) = {
            let mut state = self.medium.lock();
            if state.is_cut(edge) {
                state.edges[edge].struck += 1;
            }
            (state.verdict(edge), state.edges[edge].a, state.seed)
        };
        match verdict {
            Verdict::Open => {}
            Verdict::Closed => return Err(io::ErrorKind::NetworkUnreachable.into()),
            Verdict::Silent => {
                Delay::new(DIAL_TIME).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let connection = Connection::new(self.medium.clone(), edge, a == self.from, seed_of(seed, edge, number, now()));
        let muxer = Muxer::new(connection.clone(), 0);
        let (began, mut answered) = (now(), 0);
        for (step, (end, bytes)) in PACKETS.into_iter().enumerate() {
            if step == ANSWER
                && let Some(owner) = self.listener().and_then(|listener| listener.owner)
            {
                executor::runs(owner).await;
            }
            let at = connection.send(end, &[0; 512][..bytes], Purpose::Admission).at;
            if at == NEVER {
                Delay::new(DIAL_TIME).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
            Delay::new(Duration::from_nanos(at.saturating_sub(now()))).await;
            if step == 1 {
                answered = now();
            }
            if step == 0 && self.listener().is_none() {
                let at = connection.send(1, &[], Purpose::Admission).at;
                Delay::new(Duration::from_nanos(at.saturating_sub(now()).min(5 * NANOS))).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        // The last packet has reached the listener.
        let listener = self.listener().ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        connection.set_peers([self.peer, listener.peer]);
        let waker = {
            let mut queue = listener.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.connections.len() >= BACKLOG {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            queue.connections.push_back((self.from, self.peer, connection.clone()));
            queue.taker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        let (number, peers) = (connection.number(), [&self.peer, &listener.peer]);
        self.medium.onlook(|onlooker| onlooker.note_connection(number, peers, self.bearer, began, answered - began));
        Ok((listener.peer, StreamMuxerBox::new(muxer)))
    }

    fn listener(&self) -> Option<Arc<Listener>> {
        self.medium.lock().devices[self.to].listening.get(&self.bearer).cloned()
    }
}

/// Derives a connection's own seed.
fn seed_of(seed: u64, edge: usize, number: u64, at: u64) -> [u8; 32] {
    let mut state = seed ^ (edge as u64).rotate_left(32) ^ number.rotate_left(17) ^ at;
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&crate::virtual_os::splitmix(&mut state).to_le_bytes());
    }
    bytes
}

/// The packets that are exchanged before there is a connection, by end and bytes without headers: SYN, SYN-ACK, then
/// Noise XX with the names of the protocols, and Yamux.
const PACKETS: [(usize, usize); 5] = [(0, 0), (1, 0), (0, 60), (1, 260), (0, 220)];
/// The index of the first of these packets that the listener's process makes; those before it are its system's.
const ANSWER: usize = 3;
pub(super) const PORT: u16 = 7707;
/// The time after which a dial over a silent edge ends, if the dialer has not given up before.
const DIAL_TIME: Duration = Duration::from_secs(20);
/// The number of connections that may wait to be accepted.
const BACKLOG: usize = 128;
