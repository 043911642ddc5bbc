//! State: what a node tells its clients of itself and of its neighbours.

use crate::engine::view::{HeldView, WaitingView};
use crate::metrics::Gauges;
use crate::net::emulation::Shape;
use crate::net::serial::LineState;
use std::collections::BTreeMap;

/// The most messages that a status lists of those that are not to leave yet; a gauge has their number.
pub const MOST_HELD: usize = 32;

/// The state of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// This device's name.
    pub name: String,
    /// The realm's id, in hexadecimal.
    pub realm: String,
    /// Version of m2mesh.
    pub version: String,
    /// Id of the node's process.
    pub pid: u32,
    /// The device's pseudonym, as a libp2p PeerId.
    pub peer_id: String,
    /// For how long the device is to be known by one pseudonym: `stable`, `rotating` or `strict`.
    pub anonymity: String,
    /// The beginning of the next epoch with another pseudonym, as RFC 3339; `None` if no further epoch has one.
    pub next_change: Option<String>,
    /// When the present epoch ends, as RFC 3339.
    pub epoch_ends: String,
    /// When the last credential of the batch expires, as RFC 3339.
    pub credentials_until: String,
    /// What is wrong with the credentials by this machine's clock; `None` if they are valid.
    pub credentials_failure: Option<String>,
    /// Whose time the node goes by: `machine`, `learnt` from others, or `unset`.
    pub clock: String,
    /// What a member's clock says and what this machine's, if they differ by more than is allowed.
    pub clock_difference: Option<String>,
    /// Since when the next bulletin has been due, as RFC 3339; `None` if it is not due yet.
    pub bulletin_overdue: Option<String>,
    /// The multiaddresses that the node listens on.
    pub listen: Vec<String>,
    /// The gauges: what the node measures of itself.
    pub gauges: Gauges,
    /// Why the disk accepts no writes; `None` while it does.
    pub store_failure: Option<String>,
    /// The serial lines.
    pub serial: Vec<LineState>,
    /// Identities that two processes use at once, as far as this node has seen: one sentence each.
    pub twins: Vec<String>,
    /// The neighbours in quarantine.
    pub quarantined: Vec<Quarantined>,
    /// The messages that are not to leave yet, the first to leave first, and no more than [`MOST_HELD`].
    pub held: Vec<HeldView>,
    /// The devices for which messages wait for long, and why.
    pub waiting: Vec<WaitingView>,
    /// Counters of everything dropped or refused, by name; those at zero are left out.
    pub counters: BTreeMap<String, u64>,
}

/// A neighbour in quarantine: it is neither dialled nor admitted for a while, for what it has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its name; `None` if it is no contact.
    pub name: Option<String>,
    /// The PeerId that it had.
    pub peer_id: String,
    /// How much longer, in seconds.
    pub left_s: u64,
    /// How often its links were closed for what it had sent, what has been forgiven left out.
    pub offences: u32,
    /// For what they were closed the last time.
    pub reason: String,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its name; `None` if it is no contact.
    pub name: Option<String>,
    /// Its PeerId.
    pub peer_id: String,
    /// The multiaddress of the link.
    pub address: String,
    /// The transport of the link: `tcp` or `quic`.
    pub transport: String,
    /// `out` if this node dialled, `in` if the neighbour did.
    pub direction: String,
    /// Whether the link is silent: the neighbour does not answer, and no data is sent there.
    pub silent: bool,
    /// Smoothed round-trip time in microseconds; `None` until it is measured.
    pub rtt_us: Option<u64>,
    /// Time since the link came up, in seconds.
    pub up_s: u64,
    /// Bytes sent over the link.
    pub sent: u64,
    /// Bytes received over the link.
    pub received: u64,
    /// How the link is shaped; `None` unless it is.
    pub shape: Option<Shape>,
    /// Its signed credential, as it travels.
    pub credential: Vec<u8>,
}
