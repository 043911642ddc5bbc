//! API: the commands that the engine takes for users of the node, and its replies.
//!
//! The engine does not know who the user is or which rights they have: the node checks commands before it hands them
//! in. A command comes in under a [`Token`]; every reply to it carries the same token. A command either ends with one
//! final reply, or is a *stream* (subscribe, offer, receive, follow) that goes on until [`Command::Cancel`].
//!
//! Invariants
//! 1. Every `Send`, `SendLoad`, `Request` and `Publish` gets exactly one [`Reply::Outcome`], [`Reply::Response`] or
//!    [`Reply::Refused`].
//! 2. A reply never comes before what it reports is durable.

mod anycast;
mod blobs;
mod inbox;
mod mail;
mod refused;

pub use crate::delivery::held::Start;
pub use anycast::{Anycast, AnycastKind, Broadcast, GroupRequest, OfferView};
pub use blobs::{Attached, BlobCommand, BlobProgress, BlobRequest, BlobSend, BlobView};
pub use inbox::{InboxMessage, InboxRecord};
pub use mail::MailRecord;
pub use refused::Refused;

use super::view::{IdentityView, LinkView, MailboxView, RouteView, RoutesView};
use crate::id::{InnerId, Name, SendId};
use crate::identity::anonymity::Anonymity;
use crate::time::Unix;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One conversation of the local application with the engine. The node numbers them; no number is used again in a
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A command of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sends a message to one device's inbox. Ends with [`Reply::Outcome`].
    Send(Send),
    /// Sends messages that ask for no confirmation to one device's inbox. Ends with [`Reply::Outcome`], for all of
    /// them.
    SendLoad(Load),
    /// Sends a request to a service of a device. Ends with [`Reply::Response`], or [`Reply::Outcome`] if none came.
    Request {
        /// The request, as for a message; its `ack` is ignored, since the response is the receipt.
        send: Send,
        /// The service; `None` if the device offers exactly one.
        service: Option<String>,
    },
    /// Sends a message or a request to one of the devices that offer a service. Ends as [`Self::Send`] or
    /// [`Self::Request`] does.
    Anycast(Anycast),
    /// Sends a message to the inbox of every device of the area. Ends with [`Reply::Outcome`]. Takes the role `broadcast`.
    Broadcast(Broadcast),
    /// Publishes a request to a topic. Stream of [`Reply::Response`], one from each device at most, which ends with [`Reply::Outcome`].
    GroupRequest(GroupRequest),
    /// Answers a publication that is a request. Ends with [`Reply::Ready`].
    Answer {
        /// Its publisher.
        to: Name,
        /// The request, as the subscription has told it.
        request: InnerId,
        /// The answer.
        answer: Vec<u8>,
    },
    /// Asks who offers a service. Ends with [`Reply::Offers`].
    Offers(String),
    /// Carries out a command that sends, later: the message is held until it may leave, and is durable meanwhile unless
    /// it is a request. Ends as that command does. The latency of its outcome counts from when it was let go.
    Later {
        /// When it may leave.
        timing: Timing,
        /// What is sent: [`Self::Send`], [`Self::SendLoad`], [`Self::Request`] or [`Self::Publish`].
        command: Box<Command>,
    },
    /// Publishes a message to all devices that listen to a topic. Ends with [`Reply::Outcome`].
    Publish {
        /// The topic: `group/…`, without wildcards.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
        /// The name of its policy; `None` for the one that the settings assign to the topic.
        policy: Option<String>,
        /// The lifetime, after which it is of no use.
        lifetime: Duration,
        /// How many devices have to confirm that they have handed it to a subscriber: it ends when so many have, or at
        /// its deadline. If `None`, it ends when it has left.
        confirm: Option<u32>,
        /// Whether it takes the place of those that wait and are of the same topic: these end as
        /// [`Outcome::Superseded`].
        latest: bool,
    },
    /// Subscribes to topics. Stream of [`Reply::Published`] and [`Reply::Missed`], first [`Reply::Ready`].
    Subscribe {
        /// An MQTT filter: `+` matches one level, `#` the rest; the first level names the group and is no wildcard.
        filter: String,
        /// Which earlier publications it asks for.
        past: Past,
    },
    /// Offers a service. Stream of [`Reply::Call`], first [`Reply::Ready`].
    Offer {
        /// The name of the service.
        service: String,
        /// How many requests the program answers at a time: requests to any device that offers the service go elsewhere
        /// while so many wait here. `None` for as many as a device takes.
        capacity: Option<u32>,
    },
    /// Answers a call of an offered service: `Ok` with the response, or `Err` with the reason why there is none. Ends
    /// with [`Reply::Ready`].
    Respond {
        /// The call's number.
        call: u64,
        /// The response, or the reason why there is none.
        answer: Result<Vec<u8>, String>,
    },
    /// Reads the inbox. Stream of [`Reply::Inbox`]: one at once, then one whenever the durable inbox grows.
    Receive {
        /// The consumer that reads. The empty name is the consumer without a name; any other has been made by
        /// [`Command::MakeConsumer`].
        consumer: String,
        /// Whether to hand over messages that ask for no confirmation from memory, as [`Reply::Live`].
        live: bool,
    },
    /// Makes a named consumer: the messages in the inbox, and those that come, stay until it has consumed them. A
    /// consumer that exists stays unchanged. Ends with [`Reply::Ready`] once it is durable.
    MakeConsumer {
        /// Its name.
        consumer: String,
    },
    /// Consumes all inbox messages up to a number for a consumer; what all consumers have consumed is removed. Ends
    /// with [`Reply::Ready`], at once unless `durable`: a crash before the change is durable brings the messages again.
    Consume {
        /// The consumer; empty for the one without a name.
        consumer: String,
        /// The number of the last message taken.
        up_to: u64,
        /// Whether to reply only once the change is durable.
        durable: bool,
    },
    /// Removes a named consumer: no messages stay for it. Ends with [`Reply::Ready`] once that is durable.
    Forget {
        /// The name of the consumer.
        consumer: String,
    },
    /// Does something with blobs; each says how it ends.
    Blob(BlobCommand),
    /// Lets neighbours in quarantine come back: [`Reply::Ready`].
    LiftQuarantine,
    /// Follows the event log. Stream of [`Reply::Log`]: one at once, then one whenever the durable event log grows.
    FollowLog,
    /// A bulletin of the operator's, which is judged as one that a neighbour sends. Ends with [`Reply::Bulletin`]: by then it holds
    /// and is on its way to all neighbours; it is kept soon after.
    Bulletin {
        /// As the operator has signed it.
        signed: Vec<u8>,
        /// Documents that it names.
        documents: Vec<Vec<u8>>,
    },
    /// Asks under which pseudonym the device takes part, and until when. Ends with [`Reply::Identity`].
    Identity,
    /// Takes the next pseudonym now, if it is time for it, or sets for how long the device is to be known by one. Ends with [`Reply::Identity`].
    Rotate {
        /// The mode from now on; `None` to take the next pseudonym.
        anonymity: Option<Anonymity>,
    },
    /// What is kept for devices that are away. Ends with [`Reply::Mailbox`].
    Mailbox,
    /// Links as the router sees them.
    Links,
    /// Asks for the link-state database and the routes in use. Ends with [`Reply::Routes`].
    Routes,
    /// Asks for the route to a device, and why it was chosen. Ends with [`Reply::Route`].
    Route {
        /// The destination.
        to: Name,
        /// The policy; `None` for that of a message that names none.
        policy: Option<String>,
    },
    /// Ends the stream of its token, which gives no more replies.
    Cancel,
}

/// A message to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The receiver's name.
    pub to: Name,
    /// At most [`MAX_PAYLOAD`](crate::wire::batch::MAX_PAYLOAD) bytes.
    pub payload: Vec<u8>,
    /// The confirmation that is wanted.
    pub ack: Ack,
    /// The traffic class.
    pub class: Class,
    /// The name of its policy; `None` for the one that the settings choose.
    pub policy: Option<String>,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
    /// The application's name for this message. A send under a name that is known is told the outcome of the first, and
    /// no message is sent twice: so an application can ask again, also after the node was restarted. A message that asks
    /// for no confirmation is not kept, and its name is not remembered.
    pub id: Option<SendId>,
    /// A key: of the messages to this device with the same key only the newest waits. The one before it ends as
    /// [`Outcome::Superseded`], unless it is under way. Only of messages that are to be confirmed.
    pub latest: Option<String>,
}

/// When a message may leave. Its deadline counts from when it is accepted, whatever its timing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// It does not leave earlier. A time that is not before the message's deadline is refused.
    pub start: Option<Start>,
    /// It leaves at a random moment within this span, as far as its deadline leaves time for the way; `None` for what
    /// its policy says.
    pub spread: Option<Duration>,
    /// For how long it waits for a cheaper way, if one will be there in time; `None` for what its policy says. It means
    /// nothing for publications, which have no path.
    pub wait: Option<Duration>,
}

impl Timing {
    /// Whether a message may have to be held.
    pub fn holds(&self) -> bool {
        self.start.is_some() || self.spread.is_some()
    }
}

/// Many messages to one device, packed as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The receiver's name.
    pub to: Name,
    /// Records of [`wire::parcel`](crate::wire::parcel), at most
    /// [`MAX_LOAD`](crate::delivery::unconfirmed::MAX_LOAD) bytes.
    pub records: Vec<u8>,
    /// The traffic class.
    pub class: Class,
    /// The name of their policy; `None` for the one that the settings choose.
    pub policy: Option<String>,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
}

/// A reply to the application.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The command is done, or the stream has begun.
    Ready,
    /// How a send ended.
    Outcome(Outcome),
    /// A service's response.
    Response {
        /// The device that answered.
        from: Name,
        /// The payload.
        payload: Vec<u8>,
        /// The time from command to reply.
        latency: Duration,
    },
    /// A service's response that is a blob, which is whole here.
    BlobResponse {
        /// The device that answered.
        from: Name,
        /// The response.
        blob: Attached,
        /// The time from command to reply.
        latency: Duration,
    },
    /// A message to a topic that the subscription's filter matches.
    Published(Published),
    /// Messages of a publisher to a topic that the filter matches are missing, and none comes after them, or it is
    /// uncertain whether any are missing.
    Missed(Missed),
    /// A device calls the offered service.
    Call(Call),
    /// The inbox holds durable messages with these numbers, both included; `first > last` when it is empty.
    Inbox {
        /// The oldest that is not yet consumed.
        first: u64,
        /// The number of the newest.
        last: u64,
    },
    /// Messages that asked for no confirmation, handed over as they came; they are not in the inbox, and their numbers
    /// are 0.
    Live(Arc<InboxRecord<'static>>),
    /// How far the transfer of a blob is.
    Blob(BlobProgress),
    /// Answer to [`BlobCommand::List`].
    Blobs(Vec<BlobView>),
    /// The event log is durable up to this record.
    Log {
        /// The sequence number of the newest durable record.
        last: u64,
    },
    /// Answer to [`Command::Bulletin`].
    Bulletin {
        /// Version of the bulletin that holds here.
        version: u64,
        /// Whether that is the one handed over, and was not here.
        newer: bool,
    },
    /// Answer to [`Command::Identity`] and [`Command::Rotate`].
    Identity(Box<IdentityView>),
    /// Answer to [`Command::Mailbox`].
    Mailbox(Vec<MailboxView>),
    /// Answer to [`Command::Links`].
    Links(Vec<LinkView>),
    /// The reply to [`Command::Routes`].
    Routes(Box<RoutesView>),
    /// The reply to [`Command::Route`].
    Route(Box<RouteView>),
    /// Answer to [`Command::Offers`].
    Offers(Vec<OfferView>),
    /// The contacts of this device, which [`Engine::contacts`](super::Engine::contacts) returns.
    Contacts(Vec<Contact>),
    /// The command was not accepted.
    Refused(Refused),
}

/// How a send ended. The store keeps it in this form for messages that the application may ask about again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Certainly delivered: durable in the receiver's inbox.
    Delivered {
        /// The time from command to receipt, in microseconds.
        latency_us: u64,
        /// The hops that the data took.
        hops: u32,
        /// The price in micro-units of money.
        price: u64,
    },
    /// Sent without a receipt: handed to the link (`ack = none`), confirmed by the next hop (`hop`), or, for a
    /// publication, pushed to this many neighbours.
    Sent {
        /// The time from command to hand-over, in microseconds.
        latency_us: u64,
        /// The number of neighbours that it was sent to.
        neighbours: u32,
    },
    /// A publication that was to be confirmed has been: at least so many devices have handed it to a subscriber.
    Heard {
        /// The time from command to the last confirmation, in microseconds.
        latency_us: u64,
        /// The number of devices that have confirmed it, not counting this one.
        subscribers: u32,
        /// The number of neighbours that it was sent to.
        neighbours: u32,
    },
    /// Not known to be delivered by its deadline.
    Expired {
        /// The last that is known about it.
        reason: String,
    },
    /// The receiver or this node did not take it; it is not delivered.
    Refused {
        /// The reason.
        reason: String,
    },
    /// No route leads to the receiver; it is not known to be delivered.
    Unreachable {
        /// The reason.
        reason: String,
    },
    /// A newer message took its place while it waited, as its sender wished; it is not known to be delivered.
    Superseded {
        /// The reason.
        reason: String,
    },
}

impl Outcome {
    /// Whether the send did what was asked.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Sent { .. } | Self::Heard { .. })
    }
}

/// A publication, as a subscription gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The whole topic, with its group.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The sender's name; `None` if it is no contact.
    pub from: Option<Name>,
    /// When it was published, by the sender's clock.
    pub sent: Unix,
    /// By how many microseconds that is wrong at most, as the sender says; `None` if it does not know.
    pub sent_error: Option<u64>,
    /// The number of messages of its publisher to this topic that this subscription has missed just before it.
    pub lost: u64,
    /// What to name in an [answer](Command::Answer), if it is a request.
    pub request: Option<InnerId>,
}

/// Which earlier publications a subscription asks for: among those that have not expired and are kept by this device or
/// its neighbours. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Those that came to the mesh within this time before the subscription; `None` for no such limit.
    pub since: Option<Duration>,
    /// At most the last so many, and at most 1,000; `None` for no such limit.
    pub last: Option<u32>,
}

impl Command {
    /// Returns a subscription to publications from now on.
    pub fn subscribe(filter: impl Into<String>) -> Self {
        Self::Subscribe { filter: filter.into(), past: Past::default() }
    }
}

/// Messages of a publisher that a subscription has missed and that no later message reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The topic, or the group alone if it is `uncertain` and the topics are not known.
    pub topic: String,
    /// The publisher's name; `None` if it is no contact.
    pub from: Option<Name>,
    /// The number of messages that are known to be missing.
    pub lost: u64,
    /// Whether more may be missing: the publisher went on in another epoch or was restarted, and how far it had got
    /// before was not heard; or the subscription began within a gap.
    pub uncertain: bool,
}

/// A call of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The call's number, for [`Command::Respond`].
    pub call: u64,
    /// The name of the service.
    pub service: String,
    /// The device that calls.
    pub from: Name,
    /// The lasting identity of the call's message: a repeated call has the same.
    pub id: InnerId,
    /// The payload; empty if it is a blob.
    pub payload: Vec<u8>,
    /// The blob that the question consists of, which is whole here.
    pub blob: Option<Box<Attached>>,
}

/// A device that this device can address.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// Its name.
    pub name: String,
    /// Whether it is a neighbour now.
    pub neighbour: bool,
    /// The change that the issuer has made to it, or tried to make; `None` if there is none.
    pub changed: Option<String>,
}
