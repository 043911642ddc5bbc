//! Receipt: receipts, and two answers that are no receipts: the acknowledgement of a hop, and the answer that a session
//! is unknown.

use crate::id::{CredentialHash, CredentialPrefix, OuterId, SessionId, StreamId};
use serde::{Deserialize, Serialize};

/// Signature context of [`SessionNack`], which the answering device's pseudonym signs.
pub const NACK_CONTEXT: &str = "m2mesh/1 session nack";
/// Most ranges in one receipt.
pub const MAX_RANGES: usize = 256;

/// A sealed plaintext: what has become of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts {
    /// The receipts, one for each stream and verdict.
    pub receipts: Vec<Receipt>,
}

/// What has become of ranges of messages of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The sender's stream.
    pub stream: StreamId,
    /// The verdict on all messages of the ranges.
    pub verdict: Verdict,
    /// First and last sequence numbers of the ranges, in pairs, ascending.
    pub ranges: Vec<u64>,
    /// The relays that the data passed, as the receiver saw it.
    pub visited: Vec<CredentialPrefix>,
    /// The receiver's clock at the receipt, in unix microseconds.
    pub at: u64,
}

/// The receiver's verdict on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The message is durable in the inbox.
    Delivered,
    /// The message came after its deadline and was dropped.
    Expired,
    /// The inbox has no room at the moment: this is not final, the sender sends the message again soon.
    InboxFull,
    /// The receiver offers no such service.
    NoService,
    /// The service has too many requests waiting.
    ServiceBusy,
    /// The receiver does not let this sender do that.
    Forbidden,
    /// The receiver's disk cannot take the message.
    NotStored,
    /// The receiver only pushes: it takes nothing.
    PushOnly,
}

/// The answer that a session is unknown: the sender opens a new one and sends again. It is signed, so that nobody else
/// can give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionNack {
    /// The id of the unknown session.
    pub session: SessionId,
    /// Hash of the credential of the device that does not know the session.
    pub by: CredentialHash,
    /// That device's clock, in unix microseconds: an old answer has no effect.
    pub at: u64,
}

/// The acknowledgement of frames by the next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopAck {
    /// Outer ids of the frames, at most 256.
    pub frames: Vec<OuterId>,
}
