//! Group frame: messages of one sender to all members of a group.
//!
//! Signed by the sender's pseudonym with context [`CONTEXT`]: checked once, after dedupe, before forwarding. The
//! topic's name stands inside the seal; outside is the group's tag of the epoch. Salt and counter number a sender's frames, so
//! that nodes can tell each other which they have ([`GroupHave`](super::group_repair::GroupHave)).

use crate::id::{CredentialHash, StreamId, Tag};
use crate::time::Epoch;
use serde::{Deserialize, Serialize};

/// Signature context.
pub const CONTEXT: &str = "m2mesh/1 group";
/// Longest signed group frame, in bytes.
pub const MAX_GROUP_FRAME: usize = 60 * 1024;
/// Longest payload published, in bytes.
pub const MAX_PAYLOAD: usize = 56 * 1024;
/// Longest topic, in bytes.
pub const MAX_TOPIC: usize = 256;
/// Most messages in a frame.
pub const MAX_MESSAGES: usize = 1_024;
/// Topics in a stream, beyond which its publisher begins another; those of one frame more are taken.
pub const MAX_TOPICS: usize = 256;

/// The body of a group frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFrame<'a> {
    /// Epoch of the sender's credential, in the realm's default length.
    pub epoch: Epoch,
    /// Credential of the sender.
    pub sender: CredentialHash,
    /// The group in this epoch.
    pub group: Tag,
    /// The segment that it is of, by its bit: its sender, and whoever hands it on or takes it, are in it or reach it.
    pub segment: u8,
    /// Version of the group's key.
    pub version: u32,
    /// Unix microseconds at the sender when it was sealed.
    pub sent: u64,
    /// Unix microseconds after which it is dropped.
    pub expiry: u64,
    /// Random per sender, group and epoch: part of the sender's key.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// Counter under that key: the nonce.
    pub counter: u64,
    /// A [`GroupBatch`], sealed.
    #[serde(borrow, with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// What is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupBatch<'a> {
    /// The sender's stream to this group.
    pub stream: StreamId,
    /// Sequence number of the first message; the others follow.
    pub first: u64,
    /// Unix microseconds at the sender when the stream began.
    pub began: u64,
    /// Whether the stream ends here: then the messages are its topics with the number of the last in each, have no payload, and
    /// take no sequence numbers.
    pub ends: bool,
    /// Consecutive messages.
    #[serde(borrow)]
    pub messages: Vec<GroupMessage<'a>>,
    /// Milliseconds since the batch before this one of the stream was sealed; 0 for the first, and at most 2^32 - 1.
    pub pause: u32,
    /// Whether every device that hands one of its messages to a subscriber is to say so to the publisher.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub asks: bool,
}

/// One message to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMessage<'a> {
    /// The whole topic, its first level being the group.
    pub topic: &'a str,
    /// Which it is of the stream's messages to that topic, from 1.
    pub number: u64,
    /// The application's bytes.
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
}
