//! Network: links to neighbours over libp2p.
//!
//! **Mechanism.** A [`Network`] owns one libp2p Swarm with one key. Every connection, whichever end dialled it, first
//! passes [`admission`], a wrapper around the transport: both ends exchange their credentials on a raw substream, and
//! the connection is closed before the Swarm hears of the peer if either end fails the check. An admitted connection
//! carries two long-lived streams of frames ([`streams`]): *control* and *data*, each with a bounded [`outbox`] that is
//! written in chunks of up to 64 KiB ([`lane`]). All connections to the same neighbour over the same bearer
//! ([`sorter`]) form one *link* ([`links`]); duplicate connections are resolved without the node noticing.
//! [`discovery`] decides which address is dialled and when.
//!
//! The node polls [`Network::poll`], which yields one [`NetEvent`] at a time. It sends with [`Network::try_send`],
//! which refuses a frame rather than let a queue grow beyond its bound. This module does not know a realm's rules: a
//! [`Gatekeeper`] decides who is a member. Two networks with different keys may run in one process: no state here is
//! process-wide, and the owner of both networks supplies the link numbers ([`LinkIds`]). Timers come from
//! `futures_timer` and tasks go to the executor that the caller passes in, so that a simulator can run everything
//! except [`transport`] and mDNS. In a lab, each admitted connection is wrapped once more and behaves as a shape
//! prescribes ([`emulation`]).
//!
//! Invariants
//! 1. A connection that admission has not let in reaches no behaviour: it opens no stream and causes no link event.
//! 2. Every queue is bounded. What is refused or dropped at a bound is counted and reported as [`NetEvent::Refused`] or
//!    [`NetEvent::Dropped`].
//! 3. A neighbour has at most one link over each bearer; a link has at most [`links::MAX_CONNECTIONS`] connections.
//! - `LinkUp` is the first event of a link and `LinkDown` the last.

use crate::counter::Counter;
use crate::id::{LinkId, Pseudonym};
use crate::link::bearer::Bearers;
use crate::wire::hello::{EnrolHello, EnrolReply};
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use libp2p::core::muxing::StreamMuxerBox;
pub use libp2p::core::transport::Boxed;
pub use libp2p::{Multiaddr, PeerId};

mod admission;
mod admitted;
mod behaviour;
pub mod clocks;
mod counters;
mod discovery;
pub mod emulation;
pub mod enrol;
mod handler;
mod handshake;
mod lane;
mod link_ids;
pub mod links;
mod listening;
mod liveness;
pub mod names;
mod outbox;
mod pacing;
mod permits;
mod pipe;
mod queue_limit;
pub mod reach;
pub mod serial;
mod sorter;
mod streams;
mod swarm;
mod tokens;
pub mod transport;
mod turnstile;
mod wake_gate;

pub use admission::Gatekeeper;
pub use clocks::Skew;
pub use enrol::{EnrolError, Reach, Unhelpful, Why, ask_around, enrol};
pub use link_ids::LinkIds;
pub use sorter::transport as transport_of;
pub use swarm::Network;
pub use transport::TransportError;

/// The kind of transport that [`Network::new`] and [`enrol()`] take: authenticated and multiplexed, but without
/// admission.
pub type Transport = Boxed<(PeerId, StreamMuxerBox)>;
/// Spawns the task of a connection.
pub type Executor = Box<dyn Fn(BoxFuture<'static, ()>) + Send>;

/// Settings of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetConfig {
    /// Multiaddresses to listen on: `/ip4/…/tcp/PORT` or `/ip4/…/udp/PORT/quic-v1`, and the same with `/ip6`. By
    /// default the node listens on all interfaces, at port [`PORT`] if it is free.
    pub listen: Vec<Multiaddr>,
    /// Multiaddresses of members to stay connected with; a `/p2p/…` at the end is ignored. An address may begin with a
    /// name: `/dns4/…`, `/dns6/…`, `/dns/…` or `/dnsaddr/…`.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for members in the local network by multicast DNS.
    pub mdns: bool,
    /// The maximum number of links.
    pub max_links: u32,
    /// The number of neighbours at which addresses other than `bootstrap` are no longer dialled.
    pub target_links: u32,
    /// The maximum number of inbound connections in set-up at a time.
    pub inbound_permits: u32,
    /// The maximum number of inbound connections in set-up from one source: an IPv4 address, or an IPv6 network of 64
    /// bits.
    pub permits_per_source: u32,
    /// How many members may get a link in a second, after a burst; others are told when their turn is.
    pub admissions: u32,
    /// Within which time after its start a node begins to dial, at a random moment: `5s` where many devices get their power
    /// at once; at once without.
    #[serde(with = "duration")]
    pub start_within: Duration,
    /// How long each half of a connection's set-up may take, unless its bearer needs longer.
    #[serde(with = "duration")]
    pub setup_time: Duration,
    /// A link that has received nothing for this long is pinged, if that costs no money.
    #[serde(with = "duration")]
    pub ping_after: Duration,
    /// A link that has received nothing for this long, and for the time of three pings on its bearer, is closed.
    #[serde(with = "duration")]
    pub dead_after: Duration,
    /// The maximum number of bytes of frames that wait for a link, for each class.
    pub outbox_bytes: usize,
    /// How a link is watched while traffic is sent over it. Not a setting.
    #[serde(skip)]
    pub probing: Probing,
    /// Addresses at which members were met, the latest first. Not a setting: the owner passes on what an earlier
    /// network has met.
    #[serde(skip)]
    pub met: Vec<Multiaddr>,
    /// The bearers that carry links. Derived from other settings, not set here.
    #[serde(skip)]
    pub bearers: Bearers,
    /// Whether links can be shaped ([`Network::set_shape`]). Not a setting: it is true for the nodes of a lab.
    #[serde(skip)]
    pub shaping: bool,
}

/// How a link is watched while something is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// The shortest time between two pings that follow sent frames.
    pub every: Duration,
    /// Frames that were sent without a ping are followed by one if nothing is received for this long.
    pub after: Duration,
    /// A link is silent if nothing is received for this long after a ping, or for longer where round trips take longer.
    pub silent_after: Duration,
}

impl Default for Probing {
    /// A ping a second costs 60 bytes. If a link fails while frames are sent over it, this is known within a second and
    /// a quarter.
    fn default() -> Self {
        Self { every: Duration::from_secs(1), after: Duration::from_millis(250), silent_after: Duration::from_secs(1) }
    }
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            listen: everywhere(PORT),
            bootstrap: Vec::new(),
            mdns: true,
            max_links: 128,
            target_links: 8,
            inbound_permits: 64,
            permits_per_source: 16,
            admissions: 20,
            start_within: Duration::ZERO,
            setup_time: Duration::from_secs(10),
            ping_after: Duration::from_secs(30),
            dead_after: Duration::from_secs(90),
            outbox_bytes: 256 * 1024,
            probing: Probing::default(),
            met: Vec::new(),
            bearers: Bearers::default(),
            shaping: false,
        }
    }
}

/// One of the two streams of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Frames that keep the mesh running.
    Control,
    /// Frames that carry messages of applications.
    Data,
}

/// An event that the network reports to the node. `P` is what the [`Gatekeeper`] says of an admitted peer.
#[derive(Debug)]
pub enum NetEvent<P> {
    /// The network listens at this address.
    Listening(Multiaddr),
    /// The network no longer listens at this address.
    NotListening(Multiaddr),
    /// A member was met at a new address: [`Network::met`] has changed.
    Met,
    /// A listener has ended, or could not start.
    ListenFailed {
        /// The cause.
        reason: String,
    },
    /// A link to a neighbour is up.
    LinkUp {
        /// The number of the link.
        link: LinkId,
        /// The neighbour's key.
        peer: Pseudonym,
        /// What admission found out about the neighbour.
        admitted: P,
        /// The address that was dialled, or from which the connection came.
        address: Multiaddr,
        /// Whether this end dialled.
        outbound: bool,
        /// The bearer of the link: its index in [`NetConfig::bearers`].
        bearer: u8,
        /// The time since the connection's set-up began: an upper bound of the age of the neighbour's hello.
        age: Duration,
    },
    /// A link is down.
    LinkDown {
        /// The number of the link, which is not used again.
        link: LinkId,
        /// The cause.
        reason: String,
    },
    /// A ping was answered.
    Measured {
        /// The link that was measured.
        link: LinkId,
        /// The time from the ping to its answer.
        round_trip: Duration,
    },
    /// Frames and a ping were sent over a link, and nothing has been received since. The link stays up.
    Silent {
        /// The silent link.
        link: LinkId,
    },
    /// Something was received on a silent link.
    Heard {
        /// The link that is no longer silent.
        link: LinkId,
    },
    /// One of several connections of a link broke: frames under way on it may be lost. The link stays up.
    Broken {
        /// The link that lost a connection.
        link: LinkId,
    },
    /// Two live processes have the same identity: somebody has copied a device's directory.
    Twins {
        /// A link to one of the two; `None` if the identity is that of this node.
        link: Option<LinkId>,
        /// The addresses of both processes, or of the other process alone if the identity is that of this node.
        addresses: Vec<Multiaddr>,
    },
    /// Whole frames, in the order in which they were sent; see [`crate::wire::frame::Frames`].
    Frames {
        /// The link on which the frames arrived.
        link: LinkId,
        /// The stream on which the frames arrived.
        lane: Lane,
        /// At least one frame; pings are left out.
        buffer: Bytes,
    },
    /// A queue for which [`Network::try_send`] returned `Full` may have space again.
    Writable {
        /// The link whose queue it is.
        link: LinkId,
    },
    /// A device asks for enrolment. The connection is closed if no answer comes in time.
    Enrol {
        /// The request.
        hello: EnrolHello,
        /// Takes the answer.
        respond: oneshot::Sender<EnrolReply>,
    },
    /// Connections were refused at admission since this reason was last reported.
    Refused {
        /// The reason code, in kebab case.
        reason: &'static str,
        /// The number of connections.
        count: u64,
    },
    /// A connection was not admitted only because the clocks of its two ends differ.
    Skewed {
        /// The address of the other end.
        address: Multiaddr,
        /// The time on both clocks. The other end has not proved who it is: its time is a hint.
        skew: Skew,
    },
    /// Connections to or from members that the [`Gatekeeper`] bars, since they were last reported. These are not
    /// faults.
    Cut {
        /// The number of connections.
        count: u64,
    },
    /// Items were dropped at a bound since this counter was last reported.
    Dropped {
        /// The counter of the bound.
        counter: Counter,
        /// The number of items.
        count: u64,
    },
}

/// The reason why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; [`NetEvent::Writable`] follows.
    #[error("the link's queue is full")]
    Full,
    /// The link is down, or about to go down.
    #[error("the link is down")]
    Gone,
    /// The bytes are not exactly one frame.
    #[error("not one whole frame")]
    NotAFrame,
}

/// Counters and the round-trip time of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Frames received, without pings.
    pub frames_in: u64,
    /// Frames sent, without pings.
    pub frames_out: u64,
    /// Connections that take frames: one, or more while duplicates are being resolved.
    pub connections: u32,
    /// The smoothed round-trip time of pings; `None` before the first answer.
    pub round_trip: Option<Duration>,
}

/// The default port. It is the same at each start, so that other nodes find this one again.
pub const PORT: u16 = 7707;

/// Returns the addresses that listen on all interfaces: TCP and QUIC over IPv4 and IPv6, at one port.
pub fn everywhere(port: u16) -> Vec<Multiaddr> {
    let hosts = ["/ip4/0.0.0.0", "/ip6/::"];
    let of = |host| [format!("{host}/tcp/{port}"), format!("{host}/udp/{port}/quic-v1")];
    hosts.into_iter().flat_map(of).map(|address| address.parse().expect("a multiaddress")).collect()
}

/// Returns an address to listen on with any free port in place of its own.
pub fn at_any_port(address: &Multiaddr) -> Multiaddr {
    use libp2p::multiaddr::Protocol;
    let free = |part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(0),
        Protocol::Udp(_) => Protocol::Udp(0),
        other => other,
    };
    address.iter().map(free).collect()
}

/// Returns the libp2p key pair of an Ed25519 seed.
pub fn keypair(seed: &[u8; 32]) -> Keypair {
    let mut seed = zeroize::Zeroizing::new(*seed);
    let secret = ed25519::SecretKey::try_from_bytes(seed.as_mut()).expect("32 bytes are an Ed25519 seed");
    Keypair::from(ed25519::Keypair::from(secret))
}

/// Returns the PeerId of a pseudonym; `None` if its bytes are not an Ed25519 key.
pub fn peer_id(pseudonym: &Pseudonym) -> Option<PeerId> {
    Some(PublicKey::from(ed25519::PublicKey::try_from_bytes(&pseudonym.0).ok()?).to_peer_id())
}

/// Returns the pseudonym of a PeerId; `None` if the key is not an Ed25519 key. A PeerId contains an Ed25519 key whole,
/// after 6 bytes of multihash and protobuf.
pub fn pseudonym(peer: &PeerId) -> Option<Pseudonym> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    Pseudonym::from_slice(key)
}

/// Durations in settings, as text: `30s`, `250ms`.
mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_found_in_its_peer_id() {
        let key = keypair(&[7; 32]);
        let peer = key.public().to_peer_id();
        let pseudonym = pseudonym(&peer).expect("an Ed25519 PeerId");
        assert_eq!(peer_id(&pseudonym), Some(peer));
    }
}
