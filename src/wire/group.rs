//! Group frame: messages of one sender to all members of a group.
//!
//! The sender's pseudonym signs it with context [`CONTEXT`]; a node verifies the signature once, after dedupe and
//! before forwarding. The topic's name is inside the seal; outside is the group's tag of the epoch. Salt and counter
//! number a sender's frames, so that nodes can tell each other which they have
//! ([`GroupHave`](super::group_repair::GroupHave)).

use crate::id::{CredentialHash, Permit, StreamId, Tag};
use crate::time::Epoch;
use serde::{Deserialize, Serialize};

/// Signature context of a group frame.
pub const CONTEXT: &str = "m2mesh/1 group";
/// Longest signed group frame, in bytes.
pub const MAX_GROUP_FRAME: usize = 60 * 1024;
/// Longest payload of a publication, in bytes.
pub const MAX_PAYLOAD: usize = 56 * 1024;
/// Longest topic, in bytes.
pub const MAX_TOPIC: usize = 256;
/// Most messages in a group frame.
pub const MAX_MESSAGES: usize = 1_024;
/// Topics of a stream beyond which its publisher begins another stream; a receiver accepts the topics of one more
/// frame.
pub const MAX_TOPICS: usize = 256;

/// The body of a group frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFrame<'a> {
    /// Epoch of the sender's credential, counted in the realm's default length.
    pub epoch: Epoch,
    /// Hash of the sender's credential.
    pub sender: CredentialHash,
    /// Tag of the group in this epoch.
    pub group: Tag,
    /// The segment that the frame belongs to, by its bit: its sender, every relay and every receiver are in that
    /// segment or reach it.
    pub segment: u8,
    /// Version of the group's key.
    pub version: u32,
    /// The sender's clock when the frame was sealed, in unix microseconds.
    pub sent: u64,
    /// Unix microseconds after which the frame is dropped.
    pub expiry: u64,
    /// Random for each sender, group and epoch: part of the input of the sender's key.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// Counter of the frame under that key, which is the nonce.
    pub counter: u64,
    /// The sealed [`GroupBatch`].
    #[serde(borrow, with = "serde_bytes")]
    pub sealed: &'a [u8],
    /// By which the sender may publish to a restricted group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Permit>,
}

/// The sealed part of a group frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupBatch<'a> {
    /// The sender's stream to this group.
    pub stream: StreamId,
    /// Sequence number of the first message; the others follow.
    pub first: u64,
    /// The sender's clock when the stream began, in unix microseconds.
    pub began: u64,
    /// Whether the stream ends here: then the messages name its topics, each with the number of the last message to it,
    /// have no payload, and take no sequence numbers.
    pub ends: bool,
    /// The messages, which are consecutive in the stream.
    #[serde(borrow)]
    pub messages: Vec<GroupMessage<'a>>,
    /// Milliseconds since the stream's batch before this one was sealed; 0 for the first, and at most 2^32 - 1.
    pub pause: u32,
    /// Whether every device that hands one of the messages to a subscriber is to confirm that to the publisher.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub asks: bool,
    /// Of a batch that ends the stream: whether the stream may go on behind it in this epoch.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub rests: bool,
    /// By how many microseconds the sender's clock is wrong at most, as far as the sender knows; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
}

/// One message to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMessage<'a> {
    /// The whole topic, whose first level is the group.
    pub topic: &'a str,
    /// Number of the message among those of the stream to this topic, from 1.
    pub number: u64,
    /// The application's bytes.
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
    /// Whether it is a request, which each subscriber's program may answer.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub request: bool,
}
