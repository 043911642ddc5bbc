//! Batch: calls of one sender to one receiver with equal class, policy and acknowledgement, under one seal: requests to
//! services, and the services' replies. Messages for the inbox travel as a [`Parcel`](super::parcel::Parcel).
//!
//! The plaintext of a seal begins with its type: [`PLAIN_BATCH`] and a [`Batch`], [`PLAIN_RECEIPTS`] and
//! [`Receipts`](super::receipt::Receipts), or [`PLAIN_PARCEL`](super::parcel::PLAIN_PARCEL) and a parcel.

use crate::id::{Handle, InnerId, StreamId};
use serde::{Deserialize, Serialize};

/// Type of a plaintext that is a [`Batch`].
pub const PLAIN_BATCH: u8 = 0;
/// Type of a plaintext that is [`Receipts`](super::receipt::Receipts).
pub const PLAIN_RECEIPTS: u8 = 1;
/// Longest plaintext of one seal, in bytes.
pub const MAX_PLAIN: usize = 64 * 1024;
/// Longest payload of one message, in bytes; a larger one is refused.
pub const MAX_PAYLOAD: usize = 60 * 1024;
/// Most messages in a batch or a parcel.
pub const MAX_MESSAGES: usize = 4_096;
/// Most handles for receipts: one for each epoch up to the deadline.
pub const MAX_REPLY_HANDLES: usize = 8;

/// Messages of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// The sender's stream to this receiver.
    pub stream: StreamId,
    /// Messages with a lower sequence number have ended at the sender: the receiver need not wait for them.
    pub floor: u64,
    /// Sequence number to which the messages' offsets are added.
    pub base: u64,
    /// The sender's clock when the messages leave, in unix microseconds.
    pub sent: u64,
    /// The confirmation that the sender asks for.
    pub ack: Ack,
    /// Handles under which a receipt finds the sender until the deadline; empty with [`Ack::None`].
    pub reply: Vec<Handle>,
    /// The messages, in order.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
}

/// What confirmation a message asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ack {
    /// No confirmation: the message is sent and forgotten.
    None,
    /// The next hop has the message.
    Hop,
    /// The message is durable in the receiver's inbox.
    #[default]
    End,
}

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// The message's place in the stream, counted from the batch's base.
    pub offset: u32,
    /// What the message is for.
    pub purpose: Purpose,
    /// The application's bytes, at most [`MAX_PAYLOAD`].
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
    /// The service that is called; if `None`, the only one that the receiver offers.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// The request that the message replies to, the publication that was heard, or the reservation that a request was
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies_to: Option<InnerId>,
    /// Microseconds after `sent` until which the message is of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// A request to a service, which replies.
    Request,
    /// A service's reply.
    Reply,
    /// A service's refusal; the payload gives the reason, as text.
    Failure,
    /// Confirms that publications which asked for it have been handed to a subscriber; `replies_to` names the stream of
    /// the first and its number there, the payload how many there are from it on (32 bits, big endian).
    Heard,
    /// Asks a device whether it offers a service, and how busy it is, for a message to any device that does.
    Enquiry,
    /// Asks a device that offers a service to keep a place free for a request, which executes nothing. The request that
    /// follows names it in `replies_to`.
    Reservation,
    /// Answers an enquiry or a reservation; the payload is an [`Offer`](super::offer::Offer).
    Offer,
    /// A request was handed to a service which will not answer it: nobody knows how far it came. The payload gives the
    /// reason, as text.
    Interrupted,
    /// A request whose question is a blob of its sender's; the payload is a [`Reference`](super::blob::Reference).
    BlobRequest,
    /// A service's reply that is a blob of its sender's; the payload is a [`Reference`](super::blob::Reference).
    BlobReply,
}
