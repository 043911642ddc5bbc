//! The node, its neighbours, and the devices that it can address.

use super::{Held, Shape};
use crate::client;
use crate::engine::api;
use crate::engine::view::WaitingView;
use crate::metrics::{self, Gauges, Sample};
use crate::net::serial::LineState;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Name of this device.
    pub name: String,
    /// Id of the realm, in hexadecimal.
    pub realm: String,
    /// Version of m2mesh.
    pub version: String,
    /// Id of the node's process.
    pub pid: u32,
    /// Pseudonym of this device, as a libp2p PeerId.
    pub peer_id: String,
    /// For how long the device is to be known by one pseudonym: `stable` (its life), `rotating` or `strict` (an epoch).
    #[serde(default)]
    pub anonymity: String,
    /// The beginning of the next epoch with another pseudonym, as RFC 3339; absent if no further epoch has one. The change comes a little later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<String>,
    /// When the present epoch ends, as RFC 3339.
    pub epoch_ends: String,
    /// When the last credential of the batch expires, as RFC 3339.
    pub credentials_until: String,
    /// What is wrong with the credentials by this machine's clock. While this is present, no member talks to the node.
    pub credentials_failure: Option<String>,
    /// Whose time the node goes by: `machine`, its machine's; `learnt`, what members or the issuer have told, since its machine's clock
    /// says less than must have passed; `unset` while nobody has told it.
    #[serde(default)]
    pub clock: String,
    /// What a member's clock says and what this machine's, if they differ by more than is allowed.
    pub clock_difference: Option<String>,
    /// Since when the next bulletin has been overdue, as RFC 3339. The node goes on with the bulletin it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulletin_overdue: Option<String>,
    /// Multiaddresses that the node listens on.
    pub listen: Vec<String>,
    /// What the node measures of itself.
    #[serde(flatten)]
    pub gauges: Gauges,
    /// Why the disk accepts no writes. While this is present, nothing is acknowledged.
    pub store_failure: Option<String>,
    /// Serial lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serial: Vec<SerialLine>,
    /// Identities that two processes use at once, one sentence each: somebody has copied a device's directory.
    #[serde(default)]
    pub twins: Vec<String>,
    /// Neighbours in quarantine.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
    /// The devices for which messages wait for long, and why.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// Messages that are not to leave yet, the first to leave first: 32 of them at most. `held` among the gauges is their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_messages: Vec<Held>,
    /// Counters of everything dropped or refused, by name. Those at zero are left out.
    pub counters: BTreeMap<String, u64>,
}

/// A device for which messages wait, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// Its name.
    pub to: String,
    /// How many messages to it have not ended.
    pub messages: u64,
    /// Why they wait.
    pub reason: String,
}

impl From<WaitingView> for Waiting {
    fn from(WaitingView { to, messages, reason }: WaitingView) -> Self {
        Self { to, messages, reason }
    }
}

impl From<client::Status> for Status {
    fn from(status: client::Status) -> Self {
        let client::Status {
            name,
            realm,
            version,
            pid,
            peer_id,
            anonymity,
            next_change,
            epoch_ends,
            credentials_until,
            credentials_failure,
            clock,
            clock_difference,
            bulletin_overdue,
            listen,
            gauges,
            store_failure,
            serial,
            twins,
            quarantined,
            waiting,
            held,
            counters,
        } = status;
        Self {
            name,
            realm,
            version,
            pid,
            peer_id,
            anonymity,
            next_change,
            epoch_ends,
            credentials_until,
            credentials_failure,
            clock,
            clock_difference,
            bulletin_overdue,
            listen,
            gauges,
            store_failure,
            serial: serial.into_iter().map(SerialLine::from).collect(),
            twins,
            quarantined: quarantined.into_iter().map(Quarantined::from).collect(),
            waiting: waiting.into_iter().map(Waiting::from).collect(),
            held_messages: held.into_iter().map(Held::from).collect(),
            counters,
        }
    }
}

impl Status {
    /// Returns all gauges and counters as samples.
    pub fn samples(&self) -> Vec<Sample> {
        let about = [("name", &self.name), ("realm", &self.realm), ("version", &self.version)];
        metrics::samples(about.map(|(label, text)| (label, text.clone())), &self.gauges, &self.counters)
    }
}

/// A serial line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SerialLine {
    /// Its device.
    pub device: String,
    /// Its bits a second.
    pub baud: u32,
    /// The number of links over it.
    pub links: usize,
    /// Why it is not open, and what to do; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl From<LineState> for SerialLine {
    fn from(line: LineState) -> Self {
        let LineState { device, baud, links, failure } = line;
        Self { device, baud, links, failure }
    }
}

/// A neighbour in quarantine: it is neither dialled nor admitted for a while, for what it has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quarantined {
    /// Its name, if it is a contact.
    pub name: Option<String>,
    /// The libp2p PeerId that it had.
    pub peer_id: String,
    /// How much longer, in seconds.
    pub left_s: u64,
    /// How often its links were closed for what it had sent. One is forgiven for every hour without another.
    pub offences: u32,
    /// For what they were closed the last time.
    pub reason: String,
}

impl From<client::Quarantined> for Quarantined {
    fn from(held: client::Quarantined) -> Self {
        let client::Quarantined { name, peer_id, left_s, offences, reason } = held;
        Self { name, peer_id, left_s, offences, reason }
    }
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its name, if it is a contact.
    pub name: Option<String>,
    /// Its libp2p PeerId.
    pub peer_id: String,
    /// Multiaddress of the link.
    pub address: String,
    /// Transport of the link: `tcp` or `quic`.
    pub transport: String,
    /// Who dialled: `out` if this node did, `in` if the neighbour did.
    pub direction: String,
    /// Whether the link is silent: the neighbour does not answer, and no data is sent there.
    pub silent: bool,
    /// Smoothed round-trip time in microseconds, once it is measured.
    pub rtt_us: Option<u64>,
    /// Time since the link came up, in seconds.
    pub up_s: u64,
    /// Bytes sent over the link.
    pub sent: u64,
    /// Bytes received over the link.
    pub received: u64,
    /// How the link is shaped in the direction away from this node; only in a lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Its signed credential in hexadecimal: what an auditor opens to tell the device.
    #[serde(default)]
    pub credential: String,
}

impl From<client::Peer> for Peer {
    fn from(peer: client::Peer) -> Self {
        Self {
            name: peer.name,
            peer_id: peer.peer_id,
            address: peer.address,
            transport: peer.transport,
            direction: peer.direction,
            silent: peer.silent,
            rtt_us: peer.rtt_us,
            up_s: peer.up_s,
            sent: peer.sent,
            received: peer.received,
            shape: peer.shape.map(Shape::from),
            credential: HEXLOWER.encode(&peer.credential),
        }
    }
}

/// Query of `GET /v1/route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RouteQuery {
    /// Name of the device.
    pub to: String,
    /// Name of the policy. If absent, that of a message which names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A device that this device can address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// Its name.
    pub name: String,
    /// Whether it is a neighbour now.
    pub neighbour: bool,
    /// What the realm's issuer has changed about this contact, or tried to change: its device or its keys. device
    /// since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl From<api::Contact> for Contact {
    fn from(contact: api::Contact) -> Self {
        let api::Contact { name, neighbour, changed } = contact;
        Self { name, neighbour, changed }
    }
}
