//! What is asked of the engine for somebody who uses the node, and what it makes of it.
//!
//! Who that is and what they may, the engine does not know: what comes here has been let in by the node. A command comes in
//! under a [`Token`]; every answer to it carries the same token. A command either ends with one
//! final reply, or is a *stream* (subscribe, offer, receive, follow) that goes on until [`Command::Cancel`].
//!
//! Invariants
//! 1. Every `Send`, `SendLoad`, `Request` and `Publish` gets exactly one [`Reply::Outcome`] or [`Reply::Response`].
//! 2. A reply never comes before what it reports is durable.

mod refused;

pub use refused::Refused;

use super::view::{LinkView, RouteView, RoutesView};
use crate::id::{InnerId, Name, SendId, StreamId};
use crate::time::Unix;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use crate::wire::parcel::Records;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// One conversation of the local application with the engine. The node numbers them; never reused in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What the application asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A message to one device's inbox. Ends with [`Reply::Outcome`].
    Send(Send),
    /// Messages to one device's inbox that ask for no confirmation. Ends with [`Reply::Outcome`], for all of them.
    SendLoad(Load),
    /// A request to a service of a device. Ends with [`Reply::Response`], or [`Reply::Outcome`] if none came.
    Request {
        /// As for a message; its `ack` is ignored, since the response is the receipt.
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
        /// Whether those devices are to confirm it that hand it to a subscriber: it ends when so many have, or at its deadline.
        /// Without it, it ends when it has left.
        confirm: Option<u32>,
    },
    /// Stream of [`Reply::Published`] and [`Reply::Missed`], first [`Reply::Ready`].
    Subscribe {
        /// MQTT filter: `+` one level, `#` the rest; the first level names the group and is no wildcard.
        filter: String,
        /// What it wants of what was published before.
        past: Past,
    },
    /// Stream of [`Reply::Call`], first [`Reply::Ready`].
    Offer {
        /// Name of the service.
        service: String,
    },
    /// Answers a call of an offer: `Ok` the reply, `Err` why there is none. Ends with [`Reply::Ready`].
    Respond {
        /// The call's number.
        call: u64,
        /// The answer.
        answer: Result<Vec<u8>, String>,
    },
    /// Stream of [`Reply::Inbox`]: once at once, then whenever the durable inbox grows.
    Receive {
        /// Who reads. Empty: the one without a name; any other has been made by [`Command::MakeConsumer`].
        consumer: String,
        /// Whether to hand over what asks for no confirmation from memory, as [`Reply::Live`].
        live: bool,
    },
    /// A consumer with a name of its own: what lies in the inbox and what comes stays until it has consumed it. Nothing
    /// changes if there is one. Ends with [`Reply::Ready`] once it is durable.
    MakeConsumer {
        /// Its name.
        consumer: String,
    },
    /// A consumer has taken all inbox messages up to this number: they may go. Ends with [`Reply::Ready`], at once unless
    /// told otherwise: a crash before that is durable brings them again.
    Consume {
        /// Which one; empty: the one without a name.
        consumer: String,
        /// The last one taken.
        up_to: u64,
        /// Whether to answer only once that is durable.
        durable: bool,
    },
    /// A consumer is no more: nothing stays for it. Ends with [`Reply::Ready`] once that is durable.
    Forget {
        /// Which one.
        consumer: String,
    },
    /// Stream of [`Reply::Log`]: once at once, then whenever the durable event log grows.
    FollowLog,
    /// A bulletin of the operator's, which is judged as one that a neighbour sends. Ends with [`Reply::Bulletin`]: by then it holds
    /// and is on its way to all neighbours; it is kept soon after.
    Bulletin {
        /// As the operator has signed it.
        signed: Vec<u8>,
        /// Documents that it names.
        documents: Vec<Vec<u8>>,
    },
    /// Links as the router sees them.
    Links,
    /// What the router holds.
    Routes,
    /// The way to a device, and why.
    Route {
        /// Which device.
        to: Name,
        /// Under which policy; `None` for that of a message that names none.
        policy: Option<String>,
    },
    /// Ends the stream of that token; nothing more comes from it.
    Cancel,
}

/// A message to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The receiver's name.
    pub to: Name,
    /// At most [`MAX_PAYLOAD`](crate::wire::batch::MAX_PAYLOAD) bytes.
    pub payload: Vec<u8>,
    /// What confirmation is wanted.
    pub ack: Ack,
    /// How urgent.
    pub class: Class,
    /// Name of its policy; `None` leaves that to the settings.
    pub policy: Option<String>,
    /// Of no use after this long.
    pub lifetime: Duration,
    /// The application's name for this message. Whoever sends again under a name that is known is told what became of
    /// the first, and nothing is sent twice: so an application can ask again, also after the node was restarted.
    pub id: Option<SendId>,
}

/// Many messages to one device, packed as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The receiver's name.
    pub to: Name,
    /// Records of [`wire::parcel`](crate::wire::parcel), at most
    /// [`MAX_LOAD`](crate::delivery::unconfirmed::MAX_LOAD) bytes.
    pub records: Vec<u8>,
    /// How urgent.
    pub class: Class,
    /// Name of their policy; `None` leaves that to the settings.
    pub policy: Option<String>,
    /// Of no use after this long.
    pub lifetime: Duration,
}

/// What the application hears.
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
    /// Messages of a publisher to a topic that the filter matches are missing, and none comes after them: its stream has ended.
    Missed(Missed),
    /// Somebody calls the service.
    Call(Call),
    /// The inbox holds durable messages with these numbers, both included; `first > last` when it is empty.
    Inbox {
        /// Oldest not yet consumed.
        first: u64,
        /// Newest.
        last: u64,
    },
    /// Messages that asked for no confirmation, as they came; they are not in the inbox, and their numbers are 0.
    Live(Arc<InboxRecord<'static>>),
    /// The event log is durable up to this record.
    Log {
        /// Newest.
        last: u64,
    },
    /// Answer to [`Command::Bulletin`].
    Bulletin {
        /// Version of the bulletin that holds here.
        version: u64,
        /// Whether that is the one handed over, and was not here.
        newer: bool,
    },
    /// Answer to [`Command::Links`].
    Links(Vec<LinkView>),
    /// Answer to [`Command::Routes`].
    Routes(Box<RoutesView>),
    /// Answer to [`Command::Route`].
    Route(Box<RouteView>),
    /// Whom it can address: what [`Engine::contacts`](super::Engine::contacts) answers.
    Contacts(Vec<Contact>),
    /// The command was not accepted.
    Refused(Refused),
}

/// How a send ended. In this form the store keeps it of messages that the application may ask about again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Certain: durable in the receiver's inbox.
    Delivered {
        /// From command to receipt, in microseconds.
        latency_us: u64,
        /// Hops of the data.
        hops: u32,
        /// Price in micro-units.
        price: u64,
    },
    /// Asked for no receipt: handed to the link (`ack = none`), to the next hop (`hop`), or to this many
    /// neighbours that listen to the topic.
    Sent {
        /// From command to hand-over, in microseconds.
        latency_us: u64,
        /// Neighbours that got it.
        neighbours: u32,
    },
    /// A publication that was to be confirmed: so many devices have handed it to a subscriber, and perhaps more.
    Heard {
        /// From command to the last confirmation, in microseconds.
        latency_us: u64,
        /// Devices that have confirmed it, this one not among them.
        subscribers: u32,
        /// Neighbours that got it.
        neighbours: u32,
    },
    /// Not known delivered by its deadline.
    Expired {
        /// The last that is known of it.
        reason: String,
    },
    /// The receiver or this node did not take it; it is not delivered.
    Refused {
        /// Why.
        reason: String,
    },
    /// No way to the receiver; not known delivered.
    Unreachable {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Whether the send did what was asked.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Sent { .. } | Self::Heard { .. })
    }
}

/// A message that came by a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The whole topic.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The sender's name, if it is a contact.
    pub from: Option<Name>,
    /// The sender's clock at publishing.
    pub sent: Unix,
    /// Messages of that publisher to this topic that this subscription has missed before this one.
    pub lost: u64,
}

/// What a subscription wants of what was published before it: of that, whatever is still of use and kept by this device or its neighbours.
/// The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// What came to the mesh within this time.
    pub since: Option<Duration>,
    /// No more than the last so many, at most 1,000.
    pub last: Option<u32>,
}

impl Command {
    /// A subscription to what is published from now on.
    pub fn subscribe(filter: impl Into<String>) -> Self {
        Self::Subscribe { filter: filter.into(), past: Past::default() }
    }
}

/// Messages of a publisher that a subscription has missed, and after which none comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The topic, or the group alone where it is `uncertain` and nobody knows which.
    pub topic: String,
    /// The publisher's name, if it is a contact.
    pub from: Option<Name>,
    /// How many are known to be missing.
    pub lost: u64,
    /// Whether there may be others: the publisher went on in another epoch, or was restarted, and how far it had got before
    /// was not heard; or the subscription has begun within what was missed.
    pub uncertain: bool,
}

/// A call of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number for [`Command::Respond`].
    pub call: u64,
    /// The service called.
    pub service: String,
    /// Who calls.
    pub from: Name,
    /// The message's lasting identity: a repeated call has the same.
    pub id: InnerId,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// Messages as they lie in the inbox: what the store keeps under [`Table::Inbox`](crate::engine::store::Table).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRecord<'a> {
    /// Number of the first of them here, from 1; the others follow without gaps.
    pub first: u64,
    /// Who sent them.
    pub from: Name,
    /// In which stream.
    pub stream: StreamId,
    /// Sequence number of the first of them there.
    pub base: u64,
    /// The sender's clock.
    pub sent: Unix,
    /// This node's clock.
    pub received: Unix,
    /// The messages, as [`wire::parcel`](crate::wire::parcel) packs them.
    #[serde(borrow, with = "serde_bytes")]
    pub records: Cow<'a, [u8]>,
}

/// A message of the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its number here, from 1, without gaps as they were received.
    pub number: u64,
    /// Who sent it.
    pub from: Name,
    /// Its lasting identity.
    pub id: InnerId,
    /// The sender's clock.
    pub sent: Unix,
    /// This node's clock.
    pub received: Unix,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl InboxRecord<'_> {
    /// Number of the last of them here.
    pub fn last(&self) -> u64 {
        self.first.saturating_add(Records(&self.records).count() as u64).saturating_sub(1)
    }

    /// Payloads, in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        Records(&self.records).map(|record| record.payload)
    }

    /// The messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = InboxMessage> {
        (0..).zip(self.payloads()).map(|(index, payload)| InboxMessage {
            number: self.first.saturating_add(index),
            from: self.from.clone(),
            id: InnerId { stream: self.stream, sequence: self.base.saturating_add(index) },
            sent: self.sent,
            received: self.received,
            payload: payload.to_vec(),
        })
    }
}

/// Someone this device can address.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// Name.
    pub name: String,
    /// Whether it is a neighbour now.
    pub neighbour: bool,
    /// What the issuer has changed about it, or tried to.
    pub changed: Option<String>,
}
