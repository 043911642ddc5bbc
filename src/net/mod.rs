//! The network: links to neighbours over libp2p.
//!
//! **Mechanism.** A [`Network`] owns one libp2p Swarm with one key. Every connection, whoever began it, first
//! passes [`admission`], a wrapper around the transport: both ends exchange their credentials on a raw substream,
//! and whoever fails is closed before the Swarm hears of a peer. An admitted connection carries two long-lived
//! streams of frames ([`streams`]): *control* and *data*, each with a bounded [`outbox`] that is written in chunks
//! of up to 64 KiB ([`lane`]). Connections to the same neighbour over the same bearer ([`sorter`]) are one *link* ([`links`]):
//! duplicates resolve without the node noticing.
//! [`discovery`] decides what is dialled and when.
//!
//! The node polls [`Network::poll`] and gets a [`NetEvent`] at a time; it sends with [`Network::try_send`], which refuses
//! rather than grow. A realm's rules are not known here: a
//! [`Gatekeeper`] says who is a member. Two networks may live in one process, with different keys: nothing here is
//! process-wide, and numbers of links are given by who runs both ([`LinkIds`]). Timers are `futures_timer`'s and tasks go to the executor that is passed in, so that a simulator
//! can run all of it but [`transport`] and mDNS. In a lab, admitted connections are wrapped once more, to behave as a
//! shape says ([`emulation`]).
//!
//! Invariants
//! 1. Nothing that admission has not let in reaches a behaviour: no stream, no link event.
//! 2. `LinkUp` comes before anything else of a link, `LinkDown` after everything else of it.
//! 3. Every queue is bounded; what is refused or dropped at a bound is counted and told as
//!    [`NetEvent::Refused`] or [`NetEvent::Dropped`].
//! 4. A neighbour has at most one link over each bearer; a link has at most [`links::MAX_CONNECTIONS`] connections.

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
mod permits;
mod pipe;
mod queue_limit;
pub mod reach;
mod sorter;
mod streams;
mod swarm;
mod tokens;
pub mod transport;
mod wake_gate;

pub use admission::Gatekeeper;
pub use clocks::Skew;
pub use enrol::{EnrolError, Reach, Unhelpful, Why, ask_around, enrol};
pub use link_ids::LinkIds;
pub use sorter::transport as transport_of;
pub use swarm::Network;
pub use transport::TransportError;

/// A transport as [`Network::new`] and [`enrol()`] take it: authenticated and multiplexed, but not admitted.
pub type Transport = Boxed<(PeerId, StreamMuxerBox)>;
/// Runs a connection's task.
pub type Executor = Box<dyn Fn(BoxFuture<'static, ()>) + Send>;

/// Settings of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetConfig {
    /// Multiaddresses to listen on: `/ip4/…/tcp/PORT` or `/ip4/…/udp/PORT/quic-v1`, and the same with `/ip6`. Unless told
    /// otherwise everywhere, at port [`PORT`] if it is free.
    pub listen: Vec<Multiaddr>,
    /// Multiaddresses of members to stay connected with; a `/p2p/…` at the end is ignored. They may begin with a name:
    /// `/dns4/…`, `/dns6/…`, `/dns/…` or `/dnsaddr/…`.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for members in the local network by multicast DNS.
    pub mdns: bool,
    /// Most links.
    pub max_links: u32,
    /// How many neighbours to have before addresses other than `bootstrap` are left alone.
    pub target_links: u32,
    /// Connections in set-up at a time, inbound.
    pub inbound_permits: u32,
    /// Of those, from one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub permits_per_source: u32,
    /// How long each half of a connection's set-up may take, where its bearer needs no more.
    #[serde(with = "duration")]
    pub setup_time: Duration,
    /// A link that has heard nothing for this long is pinged, where that costs nothing.
    #[serde(with = "duration")]
    pub ping_after: Duration,
    /// A link that has heard nothing for this long, and for three pings of its bearer, is closed.
    #[serde(with = "duration")]
    pub dead_after: Duration,
    /// Bytes of frames that wait for a link, of each class.
    pub outbox_bytes: usize,
    /// How links are watched that carry something. No setting.
    #[serde(skip)]
    pub probing: Probing,
    /// Addresses at which members were met, the last first. No setting: what a network before it has met.
    #[serde(skip)]
    pub met: Vec<Multiaddr>,
    /// What carries links. Set from other settings, not here.
    #[serde(skip)]
    pub bearers: Bearers,
    /// Whether links can be shaped ([`Network::set_shape`]). No setting: a lab's nodes have it.
    #[serde(skip)]
    pub shaping: bool,
}

/// How a link is watched while something is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Frames that are sent are followed by a ping, at most once in this time.
    pub every: Duration,
    /// Frames that have gone without one get one if nothing has been heard for this long.
    pub after: Duration,
    /// A link is silent if nothing is heard for this long after a ping; longer where round trips take longer.
    pub silent_after: Duration,
}

impl Default for Probing {
    /// A ping a second costs 60 bytes, and whatever is sent over a link that is gone is known not to arrive within a
    /// second and a quarter.
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

/// Which of a link's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Keeps the mesh running.
    Control,
    /// What the mesh is for.
    Data,
}

/// What the node hears. `P` is what the [`Gatekeeper`] says of an admitted peer.
#[derive(Debug)]
pub enum NetEvent<P> {
    /// The network can be reached there.
    Listening(Multiaddr),
    /// And there not any more.
    NotListening(Multiaddr),
    /// A member was met there for the first time: [`Network::met`] has changed.
    Met,
    /// A listener has ended, or could not begin.
    ListenFailed {
        /// Why.
        reason: String,
    },
    /// A neighbour is there, over this bearer.
    LinkUp {
        /// Its link from now on.
        link: LinkId,
        /// Its key.
        peer: Pseudonym,
        /// What admission found.
        admitted: P,
        /// Where it was dialled, or where it came from.
        address: Multiaddr,
        /// Whether this end dialled.
        outbound: bool,
        /// Over which bearer: its place among [`NetConfig::bearers`].
        bearer: u8,
        /// What has passed since its set-up began: its neighbour's hello is no older.
        age: Duration,
    },
    /// It is gone.
    LinkDown {
        /// Not used again.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// A ping was answered.
    Measured {
        /// On this link.
        link: LinkId,
        /// The time until it was.
        round_trip: Duration,
    },
    /// Something was sent and a ping has asked, and nothing is heard. The link stays up.
    Silent {
        /// This link.
        link: LinkId,
    },
    /// A silent link is heard again.
    Heard {
        /// This link.
        link: LinkId,
    },
    /// Of a link's connections one broke, while another stands: what was on its way over it may be lost.
    Broken {
        /// This link.
        link: LinkId,
    },
    /// Two processes that both live have one identity: somebody has copied a device's directory.
    Twins {
        /// Over which they are reached; none if it is this node's identity.
        link: Option<LinkId>,
        /// Where they are; where the other is, if it is this node's identity.
        addresses: Vec<Multiaddr>,
    },
    /// Whole frames, in the order in which they were sent; see [`crate::wire::frame::Frames`].
    Frames {
        /// From whom.
        link: LinkId,
        /// On which stream.
        lane: Lane,
        /// At least one frame; pings are not among them.
        buffer: Bytes,
    },
    /// A queue of which [`Network::try_send`] said `Full` may have space again.
    Writable {
        /// On this link.
        link: LinkId,
    },
    /// Somebody asks for enrolment; without an answer in time the connection is closed.
    Enrol {
        /// What was said.
        hello: EnrolHello,
        /// Takes the answer.
        respond: oneshot::Sender<EnrolReply>,
    },
    /// Connections refused at admission since this reason was last told.
    Refused {
        /// Reason code in kebab case.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// A connection did not come about for nothing but the time: what the clocks of both ends say.
    Skewed {
        /// Where the other end is.
        address: Multiaddr,
        /// Both clocks. What the other end said is a hint.
        skew: Skew,
    },
    /// Connections to or from members that the [`Gatekeeper`] bars, since last told: nobody's fault.
    Cut {
        /// How many.
        count: u64,
    },
    /// Things dropped at a bound since this counter was last told.
    Dropped {
        /// What was counted.
        counter: Counter,
        /// How many.
        count: u64,
    },
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Its queue is full; [`NetEvent::Writable`] follows.
    #[error("the link's queue is full")]
    Full,
    /// The link is down, or about to be.
    #[error("the link is down")]
    Gone,
    /// Not exactly one frame.
    #[error("not one whole frame")]
    NotAFrame,
}

/// A link's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Frames received, pings aside.
    pub frames_in: u64,
    /// Frames sent, pings aside.
    pub frames_out: u64,
    /// Connections that take frames: one, but while a duplicate is being resolved.
    pub connections: u32,
    /// Smoothed round-trip time of pings.
    pub round_trip: Option<Duration>,
}

/// The port of a node that is not told another: the same at each start, so that others find it again.
pub const PORT: u16 = 7707;

/// Addresses to listen on at all interfaces: TCP and QUIC, IPv4 and IPv6, at one port.
pub fn everywhere(port: u16) -> Vec<Multiaddr> {
    let hosts = ["/ip4/0.0.0.0", "/ip6/::"];
    let of = |host| [format!("{host}/tcp/{port}"), format!("{host}/udp/{port}/quic-v1")];
    hosts.into_iter().flat_map(of).map(|address| address.parse().expect("a multiaddress")).collect()
}

/// The libp2p key pair of an Ed25519 seed.
pub fn keypair(seed: &[u8; 32]) -> Keypair {
    let mut seed = zeroize::Zeroizing::new(*seed);
    let secret = ed25519::SecretKey::try_from_bytes(seed.as_mut()).expect("32 bytes are an Ed25519 seed");
    Keypair::from(ed25519::Keypair::from(secret))
}

/// The PeerId of a pseudonym; `None` when the bytes are no Ed25519 key.
pub fn peer_id(pseudonym: &Pseudonym) -> Option<PeerId> {
    Some(PublicKey::from(ed25519::PublicKey::try_from_bytes(&pseudonym.0).ok()?).to_peer_id())
}

/// The pseudonym behind a PeerId: Ed25519 keys stand in it whole, behind 6 bytes of multihash and protobuf.
/// `None` for a key of another kind.
pub fn pseudonym(peer: &PeerId) -> Option<Pseudonym> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    Pseudonym::from_slice(key)
}

/// Durations in settings: `30s`, `250ms`.
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
