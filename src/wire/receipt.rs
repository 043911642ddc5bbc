//! Receipts, and the two answers that are no receipts: a hop's acknowledgement, and "I do not know that session".

use crate::id::{CredentialHash, CredentialPrefix, OuterId, SessionId, StreamId};
use serde::{Deserialize, Serialize};

/// Signature context of [`SessionNack`], signed by the pseudonym.
pub const NACK_CONTEXT: &str = "m2mesh/1 session nack";
/// Most ranges in one receipt.
pub const MAX_RANGES: usize = 256;

/// Sealed plaintext: what has become of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts {
    /// One for each stream and verdict.
    pub receipts: Vec<Receipt>,
}

/// The fate of ranges of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The sender's stream.
    pub stream: StreamId,
    /// What became of them.
    pub verdict: Verdict,
    /// First and last sequence numbers, in pairs, ascending.
    pub ranges: Vec<u64>,
    /// Hops that the data took, as the receiver saw it.
    pub visited: Vec<CredentialPrefix>,
    /// Unix microseconds at the receiver.
    pub at: u64,
}

/// What a receiver says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Durable in the inbox.
    Delivered,
    /// It came after its deadline and was dropped.
    Expired,
    /// There is no room at the moment: no end, the sender sends it again soon.
    InboxFull,
    /// Nobody offers that service here.
    NoService,
    /// The service has too many requests waiting.
    ServiceBusy,
    /// The receiver does not let this sender do that.
    Forbidden,
    /// The receiver's disk cannot take it.
    NotStored,
}

/// "I do not know this session": the sender opens a new one and sends again. Signed, so that nobody else can say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionNack {
    /// Which session.
    pub session: SessionId,
    /// Credential of the one who does not know it.
    pub by: CredentialHash,
    /// Its unix microseconds: an old one is no use to anybody.
    pub at: u64,
}

/// The next hop has these frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopAck {
    /// Outer ids, at most 256.
    pub frames: Vec<OuterId>,
}
