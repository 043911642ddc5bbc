//! Commands and replies: what clients ask and hear, and the right that each command needs.
//!
//! Most commands are the engine's business and are handed on ([`Command::for_engine`], [`Reply::from`]). The node
//! answers the others itself, since the engine does not know the network, the process or the lab.
//!
//! Invariants
//! 1. Every command needs exactly one right, which depends on its kind alone ([`Command::right`]).
//! - A command ends with one final reply, or is a *stream* (subscribe, offer, receive, follow) that goes on until its
//!   listener is dropped.

use super::principal::Right;
use super::state::{Peer, Status};
use crate::engine::api::{
    self, Anycast, Attached, BlobCommand, BlobProgress, BlobView, Broadcast, Contact, GroupRequest, InboxRecord, Load,
    Missed, OfferView, Outcome, Past, Published, Refused, Send, Timing,
};
use crate::engine::view::{IdentityView, LinkView, MailboxView, RouteView, RoutesView};
use crate::id::{InnerId, Name};
use crate::identity::anonymity::Anonymity;
use crate::net::emulation::Lab;
use core::time::Duration;
use std::sync::Arc;

/// A command of a client. What is not explained here is as for the engine's [command](api::Command) of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sends a message to one device's inbox. Ends with [`Reply::Outcome`].
    Send(Send),
    /// Sends messages to one device's inbox without asking for confirmation. Ends with one [`Reply::Outcome`] for all
    /// of them.
    SendLoad(Load),
    /// Sends a request to a service of a device. Ends with [`Reply::Response`], or with [`Reply::Outcome`] if no
    /// response came.
    Request {
        /// The message; its `ack` is ignored.
        send: Send,
        /// Name of the service; `None` where the device offers exactly one.
        service: Option<String>,
    },
    /// Sends a message or a request to one of the devices that offer a service. Ends as [`Self::Send`] or [`Self::Request`]
    /// does.
    Anycast(Anycast),
    /// Sends a message to the inbox of every device of the area. Ends with [`Reply::Outcome`].
    Broadcast(Broadcast),
    /// Publishes a request to a topic: a stream of [`Reply::Response`], which ends with [`Reply::Outcome`].
    GroupRequest(GroupRequest),
    /// Answers a publication that is a request. Ends with [`Reply::Ready`].
    Answer {
        /// Its publisher.
        to: Name,
        /// The request.
        request: InnerId,
        /// The answer.
        answer: Vec<u8>,
    },
    /// Asks who offers a service. Ends with [`Reply::Offers`].
    Offers(String),
    /// Carries out a command that sends at a time of its own. Ends as that command does.
    Later {
        /// When the message may leave.
        timing: Timing,
        /// The command.
        command: Box<Command>,
    },
    /// Publishes a message to everybody who subscribes to a topic. Ends with [`Reply::Outcome`].
    Publish {
        /// The topic, `group/…`, without wildcards.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
        /// Name of its policy; `None` for the default of the settings.
        policy: Option<String>,
        /// How long it is of use; after this long it expires.
        lifetime: Duration,
        /// How many devices are asked to confirm it; `None` to ask for no confirmation.
        confirm: Option<u32>,
        /// Whether it takes the place of those of the same topic that wait.
        latest: bool,
    },
    /// Subscribes to topics: [`Reply::Ready`], then a stream of [`Reply::Published`] and [`Reply::Missed`].
    Subscribe {
        /// The topics, as an MQTT filter.
        filter: String,
        /// Which earlier publications to deliver as well.
        past: Past,
        /// Whether only the newest of each topic and publisher waits for a client that does not take them in time.
        latest: bool,
    },
    /// Offers a service: [`Reply::Ready`], then a stream of [`Reply::Call`].
    Offer {
        /// Name of the service.
        service: String,
        /// How many requests the program answers at a time; `None` for as many as a device takes.
        capacity: Option<u32>,
    },
    /// Answers a call to a service offered here. Ends with [`Reply::Ready`].
    Respond {
        /// The call's number.
        call: u64,
        /// The response, or the reason why there is none.
        answer: Result<Vec<u8>, String>,
    },
    /// Follows the inbox: a stream of [`Reply::Inbox`].
    Receive {
        /// Name of the consumer; empty for the one without a name.
        consumer: String,
        /// Whether to deliver unconfirmed messages from memory as well, as [`Reply::Live`].
        live: bool,
    },
    /// Creates a named consumer. Ends with [`Reply::Ready`] once it is durable.
    MakeConsumer {
        /// Name of the consumer.
        consumer: String,
    },
    /// Records that a consumer has taken all inbox messages up to a number. Ends with [`Reply::Ready`].
    Consume {
        /// Name of the consumer; empty for the one without a name.
        consumer: String,
        /// Number of the last message taken.
        up_to: u64,
        /// Whether to reply only once that is durable.
        durable: bool,
    },
    /// Removes a consumer. Ends with [`Reply::Ready`] once that is durable.
    Forget {
        /// Name of the consumer.
        consumer: String,
    },
    /// Does something with blobs.
    Blob(BlobCommand),
    /// Lets neighbours in quarantine come back. Ends with [`Reply::Ready`].
    LiftQuarantine,
    /// Follows the event log: a stream of [`Reply::Log`].
    FollowLog,
    /// A bulletin of the operator's. Ends with [`Reply::Bulletin`].
    Bulletin {
        /// As the operator has signed it.
        signed: Vec<u8>,
        /// Documents that it names.
        documents: Vec<Vec<u8>>,
    },
    /// What the node is. Ends with [`Reply::Status`].
    Status,
    /// Asks for the neighbours. Ends with [`Reply::Peers`].
    Peers,
    /// What is kept for devices that are away. Ends with [`Reply::Mailbox`].
    Mailbox,
    /// Asks under which pseudonym the device takes part, and until when. Ends with [`Reply::Identity`].
    Identity,
    /// Takes the next pseudonym now, if its epoch has begun, or sets for how long the device is to be known by one. Ends with [`Reply::Identity`].
    Rotate {
        /// The mode from now on; `None` to take the next pseudonym.
        anonymity: Option<Anonymity>,
    },
    /// Asks for the links as the router sees them. Ends with [`Reply::Links`].
    Links,
    /// Asks for what the router knows. Ends with [`Reply::Routes`].
    Routes,
    /// Asks for the route to a device, and why it was chosen. Ends with [`Reply::Route`].
    Route {
        /// Name of the device.
        to: Name,
        /// Name of the policy; `None` for that of a message that names none.
        policy: Option<String>,
    },
    /// Asks for the devices that this device can address. Ends with [`Reply::Contacts`].
    Contacts,
    /// Asks for the orders of this node in a lab. Ends with [`Reply::Lab`].
    Lab,
    /// Replaces the orders of this node in a lab. Ends with [`Reply::Lab`] once they are written down.
    SetLab(Box<Lab>),
}

impl Command {
    /// A subscription to future publications only.
    pub fn subscribe(filter: impl Into<String>) -> Self {
        Self::Subscribe { filter: filter.into(), past: Past::default(), latest: false }
    }

    /// The command with a timing; the command itself if the timing says nothing.
    pub fn at(self, timing: Timing) -> Self {
        match timing == Timing::default() {
            true => self,
            false => Self::Later { timing, command: Box::new(self) },
        }
    }

    /// The right that the command needs.
    pub fn right(&self) -> Right {
        match self {
            Self::Later { command, .. } => command.right(),
            Self::Send(_)
            | Self::SendLoad(_)
            | Self::Request { .. }
            | Self::Anycast(_)
            | Self::Broadcast(_)
            | Self::Offers(_) => Right::Send,
            Self::Publish { .. } | Self::GroupRequest(_) => Right::Publish,
            Self::Subscribe { .. } => Right::Subscribe,
            Self::Offer { .. }
            | Self::Respond { .. }
            | Self::Answer { .. }
            | Self::Receive { .. }
            | Self::Consume { .. } => Right::Receive,
            // One that nobody reads holds the inbox for everybody, and who forgets one takes away what another has not read.
            // A bulletin proves itself, and changes what everybody does.
            Self::MakeConsumer { .. }
            | Self::Forget { .. }
            | Self::LiftQuarantine
            | Self::Bulletin { .. }
            | Self::Rotate { .. } => Right::Administer,
            Self::Blob(BlobCommand::Put { .. } | BlobCommand::Send(_) | BlobCommand::Request(_)) => Right::Send,
            Self::Blob(BlobCommand::Get { .. } | BlobCommand::Respond { .. }) => Right::Receive,
            Self::Blob(BlobCommand::Remove { .. }) => Right::Administer,
            Self::Blob(BlobCommand::List)
            | Self::FollowLog
            | Self::Status
            | Self::Peers
            | Self::Identity
            | Self::Mailbox
            | Self::Links
            | Self::Routes
            | Self::Route { .. }
            | Self::Contacts
            | Self::Lab => Right::Inspect,
            Self::SetLab(_) => Right::Lab,
        }
    }

    /// Whether the node can answer at any time, even without room for more messages.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Later { command, .. } => command.is_question(),
            Self::Status
            | Self::Peers
            | Self::Identity
            | Self::Mailbox
            | Self::Rotate { .. }
            | Self::Links
            | Self::Routes
            | Self::Route { .. }
            | Self::Contacts
            | Self::Lab
            | Self::SetLab(_)
            | Self::LiftQuarantine
            | Self::Bulletin { .. }
            | Self::FollowLog
            | Self::Blob(BlobCommand::List)
            | Self::Receive { .. } => true,
            Self::Send(_)
            | Self::SendLoad(_)
            | Self::Request { .. }
            | Self::Anycast(_)
            | Self::Broadcast(_)
            | Self::Offers(_)
            | Self::GroupRequest(_)
            | Self::Answer { .. }
            | Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Offer { .. }
            | Self::Respond { .. }
            | Self::MakeConsumer { .. }
            | Self::Consume { .. }
            | Self::Blob(_)
            | Self::Forget { .. } => false,
        }
    }

    /// Whether its conversation goes on until the client ends it.
    pub fn is_stream(&self) -> bool {
        let transfer = matches!(self, Self::Blob(BlobCommand::Get { .. } | BlobCommand::Send(_)));
        let follows = matches!(
            self,
            Self::Subscribe { .. }
                | Self::GroupRequest(_)
                | Self::Offer { .. }
                | Self::Receive { .. }
                | Self::FollowLog
        );
        transfer || follows
    }

    /// Converts it to the engine's command; `None` if the node answers it itself.
    pub fn for_engine(self) -> Option<api::Command> {
        Some(match self {
            Self::Later { timing, command } => {
                api::Command::Later { timing, command: Box::new((*command).for_engine()?) }
            }
            Self::Send(send) => api::Command::Send(send),
            Self::SendLoad(load) => api::Command::SendLoad(load),
            Self::Request { send, service } => api::Command::Request { send, service },
            Self::Anycast(anycast) => api::Command::Anycast(anycast),
            Self::Broadcast(broadcast) => api::Command::Broadcast(broadcast),
            Self::Offers(service) => api::Command::Offers(service),
            Self::GroupRequest(request) => api::Command::GroupRequest(request),
            Self::Answer { to, request, answer } => api::Command::Answer { to, request, answer },
            Self::Publish { topic, payload, policy, lifetime, confirm, latest } => {
                api::Command::Publish { topic, payload, policy, lifetime, confirm, latest }
            }
            Self::Subscribe { filter, past, latest: _ } => api::Command::Subscribe { filter, past },
            Self::Offer { service, capacity } => api::Command::Offer { service, capacity },
            Self::Respond { call, answer } => api::Command::Respond { call, answer },
            Self::Receive { consumer, live } => api::Command::Receive { consumer, live },
            Self::MakeConsumer { consumer } => api::Command::MakeConsumer { consumer },
            Self::Consume { consumer, up_to, durable } => api::Command::Consume { consumer, up_to, durable },
            Self::Forget { consumer } => api::Command::Forget { consumer },
            Self::Blob(command) => api::Command::Blob(command),
            Self::LiftQuarantine => api::Command::LiftQuarantine,
            Self::FollowLog => api::Command::FollowLog,
            Self::Bulletin { signed, documents } => api::Command::Bulletin { signed, documents },
            Self::Identity => api::Command::Identity,
            Self::Rotate { anonymity } => api::Command::Rotate { anonymity },
            Self::Mailbox => api::Command::Mailbox,
            Self::Links => api::Command::Links,
            Self::Routes => api::Command::Routes,
            Self::Route { to, policy } => api::Command::Route { to, policy },
            Self::Status | Self::Peers | Self::Contacts | Self::Lab | Self::SetLab(_) => return None,
        })
    }
}

/// A part of the store that clients read directly, without asking the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Messages of the inbox.
    Inbox,
    /// The event log.
    Log,
}

impl Reading {
    /// The right that reading it needs.
    pub fn right(self) -> Right {
        match self {
            Self::Inbox => Right::Receive,
            Self::Log => Right::Inspect,
        }
    }
}

/// How a client uses the disk that keeps blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filing {
    /// It hands one in.
    In,
    /// It reads one.
    Out,
}

impl Filing {
    /// The right that it needs.
    pub fn right(self) -> Right {
        match self {
            Self::In => Right::Send,
            Self::Out => Right::Receive,
        }
    }
}

/// A reply to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The command was carried out, or the stream has begun.
    Ready,
    /// The outcome of a message.
    Outcome(Outcome),
    /// The response of a service.
    Response {
        /// Who answered.
        from: Name,
        /// The payload.
        payload: Vec<u8>,
        /// Time from command to reply.
        latency: Duration,
    },
    /// The response of a service that is a blob, which is whole here.
    BlobResponse {
        /// Who answered.
        from: Name,
        /// The response.
        blob: Attached,
        /// Time from command to reply.
        latency: Duration,
    },
    /// A publication to a topic that the filter matches.
    Published(Published),
    /// Publications to a topic that the filter matches that were missed at the end of a publisher's stream.
    Missed(Missed),
    /// A call to the service.
    Call(api::Call),
    /// The inbox holds durable messages with the numbers from `first` to `last`; it is empty if `first > last`.
    Inbox {
        /// Number of the oldest message that is not consumed.
        first: u64,
        /// Number of the newest message.
        last: u64,
    },
    /// How far the transfer of a blob is.
    Blob(BlobProgress),
    /// The blobs that are here.
    Blobs(Vec<BlobView>),
    /// Unconfirmed messages, as they came.
    Live(Arc<InboxRecord<'static>>),
    /// The event log is durable up to this record.
    Log {
        /// Number of the newest durable record.
        last: u64,
    },
    /// What has become of a bulletin that was handed over.
    Bulletin {
        /// Version of the one that holds now.
        version: u64,
        /// Whether it was not here.
        newer: bool,
    },
    /// What the node is.
    Status(Box<Status>),
    /// The neighbours.
    Peers(Vec<Peer>),
    /// The pseudonym and what becomes of it.
    Identity(Box<IdentityView>),
    /// What is kept for devices that are away.
    Mailbox(Vec<MailboxView>),
    /// The links.
    Links(Vec<LinkView>),
    /// What the router knows.
    Routes(Box<RoutesView>),
    /// The route to a device.
    Route(Box<RouteView>),
    /// Answer to [`Command::Offers`].
    Offers(Vec<OfferView>),
    /// The devices that this device can address.
    Contacts(Vec<Contact>),
    /// The orders of this node in a lab.
    Lab(Box<Lab>),
    /// The command was not accepted.
    Refused(Refused),
    /// The orders for a lab were not accepted.
    LabRefused(LabRefused),
}

impl From<api::Reply> for Reply {
    fn from(reply: api::Reply) -> Self {
        match reply {
            api::Reply::Ready => Self::Ready,
            api::Reply::Outcome(outcome) => Self::Outcome(outcome),
            api::Reply::Response { from, payload, latency } => Self::Response { from, payload, latency },
            api::Reply::BlobResponse { from, blob, latency } => Self::BlobResponse { from, blob, latency },
            api::Reply::Published(published) => Self::Published(published),
            api::Reply::Missed(missed) => Self::Missed(missed),
            api::Reply::Call(call) => Self::Call(call),
            api::Reply::Inbox { first, last } => Self::Inbox { first, last },
            api::Reply::Live(record) => Self::Live(record),
            api::Reply::Blob(progress) => Self::Blob(progress),
            api::Reply::Blobs(blobs) => Self::Blobs(blobs),
            api::Reply::Log { last } => Self::Log { last },
            api::Reply::Bulletin { version, newer } => Self::Bulletin { version, newer },
            api::Reply::Identity(identity) => Self::Identity(identity),
            api::Reply::Mailbox(boxes) => Self::Mailbox(boxes),
            api::Reply::Links(links) => Self::Links(links),
            api::Reply::Routes(routes) => Self::Routes(routes),
            api::Reply::Route(way) => Self::Route(way),
            api::Reply::Offers(offers) => Self::Offers(offers),
            api::Reply::Contacts(contacts) => Self::Contacts(contacts),
            api::Reply::Refused(refused) => Self::Refused(refused),
        }
    }
}

/// Why orders for a lab are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabRefused {
    /// The node is not in a lab: only a lab's nodes take orders about their links.
    #[error("this node is not in a lab")]
    NoLab,
    /// The orders are in force, but could not be written down.
    #[error("{0}")]
    NotKept(String),
}
