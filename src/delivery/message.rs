//! Message: what is handed over to be sent and confirmed, and how it ends.

use super::lane::Lane;
use crate::id::{InnerId, SendId};
use crate::wire::batch::{Ack, Purpose};
use crate::wire::data::Class;
use crate::wire::receipt::Verdict;
use core::time::Duration;

/// A message to be sent. `T` is what the caller identifies it by.
#[derive(Clone, Debug)]
pub struct Submission<T> {
    /// The caller's token, handed back with the end.
    pub token: T,
    /// The payload.
    pub payload: Vec<u8>,
    /// What the message is for.
    pub content: Content,
    /// The confirmation that is wanted.
    pub ack: Ack,
    /// The lane: the urgency of the message and what it asks of its path. Only messages of one lane share a frame.
    pub lane: Lane,
    /// The time after which the message is of no use.
    pub lifetime: Duration,
    /// Whether the message is to outlive a restart.
    pub keep: bool,
    /// The application's name for the message.
    pub id: Option<SendId>,
    /// The key of which only the latest message is to wait: it takes the place of the one before it that has not left.
    pub latest: Option<String>,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The message goes to the receiver's inbox.
    Inbox,
    /// The message goes to a service, or to the device that called one.
    Call {
        /// The kind of message: request, reply, refusal, or confirmation of publications.
        purpose: Purpose,
        /// The service that is called.
        service: Option<String>,
        /// The message that is answered.
        replies_to: Option<InnerId>,
    },
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has the message durably.
    Delivered {
        /// The number of hops, as the receiver counted them.
        hops: u32,
    },
    /// The message was handed over, and no further confirmation was asked for.
    Sent,
    /// The receiver refused the message, with this verdict.
    Refused(Verdict),
    /// The message left, and no receipt came in time.
    Expired,
    /// The message left, and the receiver had no room for it until its deadline.
    NoRoom,
    /// The message never left: there was no route to the destination in time.
    Unreachable,
    /// A newer message of its key took its place before it was delivered.
    Superseded,
    /// The destination was revoked.
    Revoked {
        /// Whether it had left, as far as is known.
        left: bool,
    },
}

/// The end of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<T> {
    /// The token, as submitted.
    pub token: T,
    /// The application's name for the message.
    pub id: Option<SendId>,
    /// The urgency of the message.
    pub class: Class,
    /// How the message ended.
    pub fate: Fate,
    /// The time since the message was submitted.
    pub latency: Duration,
    /// The flight that the message was in last.
    pub flight: Option<u64>,
}
