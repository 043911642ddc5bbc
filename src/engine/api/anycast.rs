//! Anycast and broadcast: what goes to any device that offers a service, and what goes to all.

use crate::id::{Name, SendId};
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use core::time::Duration;

/// A message or request to any device that offers a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anycast {
    /// The service.
    pub service: String,
    /// At most [`MAX_PAYLOAD`](crate::wire::batch::MAX_PAYLOAD) bytes.
    pub payload: Vec<u8>,
    /// The traffic class.
    pub class: Class,
    /// The name of the policy by which offers are ranked and paths are chosen; `None` for the one that the settings
    /// choose.
    pub policy: Option<String>,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
    /// What it is.
    pub kind: AnycastKind,
}

/// What goes to any device that offers a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnycastKind {
    /// A message to the device's inbox. The latency of its outcome counts from when the device was chosen.
    Message {
        /// The confirmation that is wanted.
        ack: Ack,
        /// The application's name for it; see [`Send::id`](super::Send::id).
        id: Option<SendId>,
    },
    /// A request to the service.
    Request {
        /// Whether another device may be given it although one before may have executed it.
        repeat: bool,
        /// The application's name for it: who asks under a name that is known is told the response or the outcome of the first. A
        /// named request outlives a restart from when a device has been ordered to execute it.
        id: Option<SendId>,
    },
}

impl AnycastKind {
    /// The application's name for it.
    pub(in crate::engine) fn id(&self) -> Option<SendId> {
        match self {
            Self::Message { id, .. } | Self::Request { id, .. } => *id,
        }
    }
}

/// A message to the inbox of every device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// At most [`MAX_PAYLOAD`](crate::wire::group::MAX_PAYLOAD) bytes.
    pub payload: Vec<u8>,
    /// The confirmation that is wanted. With [`Ack::End`] it ends once all devices that are known to be within reach have
    /// confirmed it, or at its deadline, and says how many have; otherwise it ends when it has left.
    pub ack: Ack,
    /// The name of its policy; `None` for the one that the settings choose.
    pub policy: Option<String>,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
}

/// An offer of a service by another device, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferView {
    /// The device.
    pub from: Name,
    /// How many requests it answers at a time.
    pub capacity: u32,
    /// How many wait there for their answers, or have a place kept free.
    pub load: u32,
    /// From when to when it is awake next, in unix microseconds; `None` if it does not sleep.
    pub awake: Option<[u64; 2]>,
    /// How long ago it said so.
    pub age: Duration,
}

/// A request to all who listen to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// The topic: `group/…`, without wildcards.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The name of its policy; `None` for the one that the settings assign to the topic.
    pub policy: Option<String>,
    /// How long answers are waited for.
    pub lifetime: Duration,
    /// The most answers that are wanted, 1 to 4,096: it ends when so many have come.
    pub most: u32,
    /// The application's name for it: who asks under a name that is known is told all the answers to the first, and its outcome. A named request
    /// outlives a restart from when it has left.
    pub id: Option<SendId>,
}
