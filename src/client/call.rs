//! What clients ask and hear, and which right each question needs.
//!
//! Most of it is the engine's business and is handed on ([`Command::for_engine`], [`Reply::from`]); the rest the node answers
//! itself, since only it knows the network's part, the process and the lab.
//!
//! Invariants
//! 1. Every command names one right, whatever is in it ([`Command::right`]).
//! 2. A command ends with one final reply, or is a *stream* (subscribe, offer, receive, follow) that goes on until its listener
//!    goes.

use super::principal::Right;
use crate::engine::api::{self, Contact, InboxRecord, Load, Missed, Outcome, Past, Published, Refused, Send};
use crate::engine::view::{LinkView, RouteView, RoutesView};
use crate::id::Name;
use crate::metrics::Gauges;
use crate::net::emulation::{Lab, Shape};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a client asks. What is not explained here is what the engine's [command](api::Command) of the same name does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A message to one device's inbox. Ends with [`Reply::Outcome`].
    Send(Send),
    /// Messages to one device's inbox that ask for no confirmation. Ends with [`Reply::Outcome`], for all of them.
    SendLoad(Load),
    /// A request to a service of a device. Ends with [`Reply::Response`], or [`Reply::Outcome`] if none came.
    Request {
        /// As for a message; its `ack` is ignored.
        send: Send,
        /// Which service; `None` where the device offers exactly one.
        service: Option<String>,
    },
    /// A message to all who listen to a topic. Ends with [`Reply::Outcome`].
    Publish {
        /// `group/…`, without wildcards.
        topic: String,
        /// The bytes.
        payload: Vec<u8>,
        /// Name of its policy; without one the settings say.
        policy: Option<String>,
        /// Of no use after this long.
        lifetime: Duration,
        /// How many devices are to confirm it, if any.
        confirm: Option<u32>,
    },
    /// Stream of [`Reply::Published`] and [`Reply::Missed`], first [`Reply::Ready`].
    Subscribe {
        /// MQTT filter.
        filter: String,
        /// What it wants of what was published before.
        past: Past,
    },
    /// Stream of [`Reply::Call`], first [`Reply::Ready`].
    Offer {
        /// Name of the service.
        service: String,
    },
    /// Answers a call of an offer. Ends with [`Reply::Ready`].
    Respond {
        /// The call's number.
        call: u64,
        /// The answer, or why there is none.
        answer: Result<Vec<u8>, String>,
    },
    /// Stream of [`Reply::Inbox`].
    Receive {
        /// Who reads. Empty: the one without a name.
        consumer: String,
        /// Whether to hand over what asks for no confirmation from memory, as [`Reply::Live`].
        live: bool,
    },
    /// A consumer with a name of its own. Ends with [`Reply::Ready`] once it is durable.
    MakeConsumer {
        /// Its name.
        consumer: String,
    },
    /// A consumer has taken all inbox messages up to this number. Ends with [`Reply::Ready`].
    Consume {
        /// Which one; empty: the one without a name.
        consumer: String,
        /// The last one taken.
        up_to: u64,
        /// Whether to answer only once that is durable.
        durable: bool,
    },
    /// A consumer is no more. Ends with [`Reply::Ready`] once that is durable.
    Forget {
        /// Which one.
        consumer: String,
    },
    /// Stream of [`Reply::Log`].
    FollowLog,
    /// What the node is. Ends with [`Reply::Status`].
    Status,
    /// Its neighbours. Ends with [`Reply::Peers`].
    Peers,
    /// Links as the router sees them. Ends with [`Reply::Links`].
    Links,
    /// What the router holds. Ends with [`Reply::Routes`].
    Routes,
    /// The way to a device, and why. Ends with [`Reply::Route`].
    Route {
        /// Which device.
        to: Name,
        /// Under which policy; `None` for that of a message that names none.
        policy: Option<String>,
    },
    /// Whom this device can address. Ends with [`Reply::Contacts`].
    Contacts,
    /// How this node of a lab links. Ends with [`Reply::Lab`].
    Lab,
    /// Tells it how to link, all of it anew. Ends with [`Reply::Lab`] once it is written down.
    SetLab(Box<Lab>),
}

impl Command {
    /// A subscription to what is published from now on.
    pub fn subscribe(filter: impl Into<String>) -> Self {
        Self::Subscribe { filter: filter.into(), past: Past::default() }
    }

    /// What it takes to ask this.
    pub fn right(&self) -> Right {
        match self {
            Self::Send(_) | Self::SendLoad(_) | Self::Request { .. } => Right::Send,
            Self::Publish { .. } => Right::Publish,
            Self::Subscribe { .. } => Right::Subscribe,
            Self::Offer { .. } | Self::Respond { .. } | Self::Receive { .. } | Self::Consume { .. } => Right::Receive,
            // One that nobody reads holds the inbox for everybody, and who forgets one takes away what another has not read.
            Self::MakeConsumer { .. } | Self::Forget { .. } => Right::Administer,
            Self::FollowLog
            | Self::Status
            | Self::Peers
            | Self::Links
            | Self::Routes
            | Self::Route { .. }
            | Self::Contacts
            | Self::Lab => Right::Inspect,
            Self::SetLab(_) => Right::Lab,
        }
    }

    /// Whether it can be answered without room for anything.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Status
            | Self::Peers
            | Self::Links
            | Self::Routes
            | Self::Route { .. }
            | Self::Contacts
            | Self::Lab
            | Self::SetLab(_)
            | Self::FollowLog
            | Self::Receive { .. } => true,
            Self::Send(_)
            | Self::SendLoad(_)
            | Self::Request { .. }
            | Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Offer { .. }
            | Self::Respond { .. }
            | Self::MakeConsumer { .. }
            | Self::Consume { .. }
            | Self::Forget { .. } => false,
        }
    }

    /// Whether its conversation goes on until the client goes.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Subscribe { .. } | Self::Offer { .. } | Self::Receive { .. } | Self::FollowLog)
    }

    /// The same for the engine; `None` for what the node answers itself.
    pub fn for_engine(self) -> Option<api::Command> {
        Some(match self {
            Self::Send(send) => api::Command::Send(send),
            Self::SendLoad(load) => api::Command::SendLoad(load),
            Self::Request { send, service } => api::Command::Request { send, service },
            Self::Publish { topic, payload, policy, lifetime, confirm } => {
                api::Command::Publish { topic, payload, policy, lifetime, confirm }
            }
            Self::Subscribe { filter, past } => api::Command::Subscribe { filter, past },
            Self::Offer { service } => api::Command::Offer { service },
            Self::Respond { call, answer } => api::Command::Respond { call, answer },
            Self::Receive { consumer, live } => api::Command::Receive { consumer, live },
            Self::MakeConsumer { consumer } => api::Command::MakeConsumer { consumer },
            Self::Consume { consumer, up_to, durable } => api::Command::Consume { consumer, up_to, durable },
            Self::Forget { consumer } => api::Command::Forget { consumer },
            Self::FollowLog => api::Command::FollowLog,
            Self::Links => api::Command::Links,
            Self::Routes => api::Command::Routes,
            Self::Route { to, policy } => api::Command::Route { to, policy },
            Self::Status | Self::Peers | Self::Contacts | Self::Lab | Self::SetLab(_) => return None,
        })
    }
}

/// What is read from the store directly, and not asked of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Messages of the inbox.
    Inbox,
    /// The event log.
    Log,
}

impl Reading {
    /// What it takes to read this.
    pub fn right(self) -> Right {
        match self {
            Self::Inbox => Right::Receive,
            Self::Log => Right::Inspect,
        }
    }
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done, or: the stream stands.
    Ready,
    /// How a send ended.
    Outcome(Outcome),
    /// A service's response.
    Response {
        /// Who answered.
        from: Name,
        /// The bytes.
        payload: Vec<u8>,
        /// From command to reply.
        latency: Duration,
    },
    /// A message to a topic that the filter matches.
    Published(Published),
    /// Messages to such a topic that are missing, after which none comes.
    Missed(Missed),
    /// Somebody calls the service.
    Call(api::Call),
    /// The inbox holds durable messages with these numbers, both included; `first > last` when it is empty.
    Inbox {
        /// Oldest not yet consumed.
        first: u64,
        /// Newest.
        last: u64,
    },
    /// Messages that asked for no confirmation, as they came.
    Live(Arc<InboxRecord<'static>>),
    /// The event log is durable up to this record.
    Log {
        /// Newest.
        last: u64,
    },
    /// What the node is.
    Status(Box<Status>),
    /// Its neighbours.
    Peers(Vec<Peer>),
    /// Its links.
    Links(Vec<LinkView>),
    /// What the router holds.
    Routes(Box<RoutesView>),
    /// A way.
    Route(Box<RouteView>),
    /// Whom it can address.
    Contacts(Vec<Contact>),
    /// How this node of a lab links.
    Lab(Box<Lab>),
    /// The command was not accepted.
    Refused(Refused),
    /// Orders for a lab were not.
    LabRefused(LabRefused),
}

impl From<api::Reply> for Reply {
    fn from(reply: api::Reply) -> Self {
        match reply {
            api::Reply::Ready => Self::Ready,
            api::Reply::Outcome(outcome) => Self::Outcome(outcome),
            api::Reply::Response { from, payload, latency } => Self::Response { from, payload, latency },
            api::Reply::Published(published) => Self::Published(published),
            api::Reply::Missed(missed) => Self::Missed(missed),
            api::Reply::Call(call) => Self::Call(call),
            api::Reply::Inbox { first, last } => Self::Inbox { first, last },
            api::Reply::Live(record) => Self::Live(record),
            api::Reply::Log { last } => Self::Log { last },
            api::Reply::Links(links) => Self::Links(links),
            api::Reply::Routes(routes) => Self::Routes(routes),
            api::Reply::Route(way) => Self::Route(way),
            api::Reply::Contacts(contacts) => Self::Contacts(contacts),
            api::Reply::Refused(refused) => Self::Refused(refused),
        }
    }
}

/// Why orders for a lab are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabRefused {
    /// Only a lab's nodes can be told with whom and how to link.
    #[error("this node is not in a lab")]
    NoLab,
    /// What it was told is in force, and not written down.
    #[error("{0}")]
    NotKept(String),
}

/// What the node is.
#[derive(Clone, Debug, PartialEq)]
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
    /// What is wrong with the credentials by this machine's clock, if something is.
    pub credentials_failure: Option<String>,
    /// What a member's clock says and what this machine's, if they differ by more than is allowed.
    pub clock_difference: Option<String>,
    /// RFC 3339: since when the bulletin's successor is overdue, if it is.
    pub bulletin_overdue: Option<String>,
    /// Addresses listened on.
    pub listen: Vec<String>,
    /// What it measures of itself.
    pub gauges: Gauges,
    /// Why the disk takes no writes at present, if it takes none.
    pub store_failure: Option<String>,
    /// Identities that two processes have at once, as far as this node sees it: a sentence each.
    pub twins: Vec<String>,
    /// Counters of everything dropped or refused, by name, without those at zero.
    pub counters: BTreeMap<String, u64>,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq)]
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
    /// Bytes sent and received over it.
    pub sent: u64,
    /// Bytes received over it.
    pub received: u64,
    /// How the link is shaped, if it is.
    pub shape: Option<Shape>,
    /// Its signed credential, as it travels.
    pub credential: Vec<u8>,
}
