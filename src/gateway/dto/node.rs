//! What the node is, who is near, whom it can address.

use super::Shape;
use crate::client;
use crate::engine::api;
use crate::metrics::{self, Gauges, Sample};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// What the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// This device's name.
    pub name: String,
    /// Realm id, hexadecimal.
    pub realm: String,
    /// Version of m2mesh.
    pub version: String,
    /// Number of the node's process.
    pub pid: u32,
    /// Pseudonym as a PeerId.
    pub peer_id: String,
    /// RFC 3339: when the present epoch ends.
    pub epoch_ends: String,
    /// RFC 3339: when the last credential of the batch runs out.
    pub credentials_until: String,
    /// What is wrong with the credentials by this machine's clock, if something is: no member talks to it meanwhile.
    pub credentials_failure: Option<String>,
    /// What a member's clock says and what this machine's, if they differ by more than is allowed.
    pub clock_difference: Option<String>,
    /// RFC 3339: since when the bulletin's successor is overdue, if it is; the node goes on with the one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulletin_overdue: Option<String>,
    /// Addresses listened on.
    pub listen: Vec<String>,
    /// What it measures of itself.
    #[serde(flatten)]
    pub gauges: Gauges,
    /// Why the disk takes no writes at present, if it takes none: nothing is acknowledged meanwhile.
    pub store_failure: Option<String>,
    /// Identities that two processes have at once, a sentence each: somebody has copied a device's directory.
    #[serde(default)]
    pub twins: Vec<String>,
    /// Counters of everything dropped or refused, by name, without those at zero.
    pub counters: BTreeMap<String, u64>,
}

impl From<client::Status> for Status {
    fn from(status: client::Status) -> Self {
        let client::Status {
            name,
            realm,
            version,
            pid,
            peer_id,
            epoch_ends,
            credentials_until,
            credentials_failure,
            clock_difference,
            bulletin_overdue,
            listen,
            gauges,
            store_failure,
            twins,
            counters,
        } = status;
        Self {
            name,
            realm,
            version,
            pid,
            peer_id,
            epoch_ends,
            credentials_until,
            credentials_failure,
            clock_difference,
            bulletin_overdue,
            listen,
            gauges,
            store_failure,
            twins,
            counters,
        }
    }
}

impl Status {
    /// All that is measured and counted, as data.
    pub fn samples(&self) -> Vec<Sample> {
        let about = [("name", &self.name), ("realm", &self.realm), ("version", &self.version)];
        metrics::samples(about.map(|(label, text)| (label, text.clone())), &self.gauges, &self.counters)
    }
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its name, if it is a contact.
    pub name: Option<String>,
    /// Its PeerId.
    pub peer_id: String,
    /// Address of the link.
    pub address: String,
    /// What carries it: `tcp`, `quic`.
    pub transport: String,
    /// Who dialled: `in` or `out`.
    pub direction: String,
    /// It was asked and does not answer; nothing goes there for now.
    pub silent: bool,
    /// Smoothed round trip in microseconds, once measured.
    pub rtt_us: Option<u64>,
    /// Seconds since the link came up.
    pub up_s: u64,
    /// Bytes sent over it.
    pub sent: u64,
    /// Bytes received over it.
    pub received: u64,
    /// How it is shaped in the direction away from this node, if it is: only in a lab.
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
    /// The device's name.
    pub to: String,
    /// Name of the policy; without one that of a message which names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Someone this device can address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// Name.
    pub name: String,
    /// Whether it is a neighbour now.
    pub neighbour: bool,
    /// What the realm's issuer has changed about it, or tried to: whose messages the name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl From<api::Contact> for Contact {
    fn from(contact: api::Contact) -> Self {
        let api::Contact { name, neighbour, changed } = contact;
        Self { name, neighbour, changed }
    }
}
