//! Batch: calls of one sender to one receiver with equal class, policy and ack, under one seal: requests to services,
//! and what services answer. What is for the inbox travels as a [`Parcel`](super::parcel::Parcel).
//!
//! The plaintext of a seal begins with its type: [`PLAIN_BATCH`] and a [`Batch`], [`PLAIN_RECEIPTS`] and
//! [`Receipts`](super::receipt::Receipts), [`PLAIN_PARCEL`](super::parcel::PLAIN_PARCEL) and a parcel.

use crate::id::{Handle, InnerId, StreamId};
use serde::{Deserialize, Serialize};

/// The plaintext is a [`Batch`].
pub const PLAIN_BATCH: u8 = 0;
/// The plaintext is [`Receipts`](super::receipt::Receipts).
pub const PLAIN_RECEIPTS: u8 = 1;
/// Longest plaintext of one seal, in bytes.
pub const MAX_PLAIN: usize = 64 * 1024;
/// Longest payload of one message, in bytes; what is larger goes as chunks.
pub const MAX_PAYLOAD: usize = 60 * 1024;
/// Most messages in a batch or a parcel.
pub const MAX_MESSAGES: usize = 4_096;
/// Most handles for receipts: one for each epoch up to the deadline.
pub const MAX_REPLY_HANDLES: usize = 8;

/// Some messages of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// The sender's stream to this receiver.
    pub stream: StreamId,
    /// Sequence numbers below this have ended at the sender: the receiver need not wait for them.
    pub floor: u64,
    /// Sequence number to which the messages' offsets are added.
    pub base: u64,
    /// Unix microseconds at the sender.
    pub sent: u64,
    /// What the sender wants to hear: see [`Ack`].
    pub ack: Ack,
    /// Handles under which a receipt finds the sender until the deadline; none with [`Ack::None`].
    pub reply: Vec<Handle>,
    /// The messages, in order.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
}

/// What confirmation a message asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ack {
    /// Nothing: it is sent and forgotten.
    None,
    /// The next hop has it.
    Hop,
    /// It is durable in the receiver's inbox.
    #[default]
    End,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Added to the batch's base: its place in the stream.
    pub offset: u32,
    /// What to do with it.
    pub purpose: Purpose,
    /// The application's bytes, at most [`MAX_PAYLOAD`].
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
    /// The service called; without one, the only one there.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// The request that this replies to, or the publication that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies_to: Option<InnerId>,
    /// Microseconds after `sent` until which it is of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// For a service, which replies.
    Request,
    /// A service's reply.
    Reply,
    /// A service's refusal; the payload says why, as text.
    Failure,
    /// Publications that asked for it have been handed to a subscriber; `replies_to` names the stream of the first and its number
    /// there, the payload how many there are from it on (32 bits, big endian).
    Heard,
}
