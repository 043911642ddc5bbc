//! Hello: the first exchange on a connection, before libp2p's Swarm learns of it.
//!
//! On the admission substream a message is `kind:u8 | length:u16 (big endian) | body`. The dialer sends [`Hello`], the
//! listener answers with its own, and the dialer closes with [`Kind::Ok`] and an empty body. Either sends
//! [`Kind::Clock`] instead if the time alone speaks against the other. An enrolling device sends [`EnrolHello`] instead
//! and gets one [`EnrolReply`], whose length has four bytes.

use crate::id::{IssuerId, RealmId};
use crate::wire::enrolment::Refusal;
use serde::{Deserialize, Serialize};

/// Longest body of a member's [`Hello`], in bytes.
pub const MAX_HELLO: usize = 1_024;

/// Bytes of the body of a [`Kind::Clock`].
pub const CLOCK: usize = 8;
/// Bytes of the time until a turn.
pub const WAIT: usize = 4;

/// The kind of a message on the admission substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`Hello`].
    Member = 1,
    /// An [`EnrolHello`].
    Enrol = 2,
    /// An empty body: the dialer has verified the listener.
    Ok = 3,
    /// An [`EnrolReply`].
    EnrolReply = 4,
    /// The sender's clock in unix seconds, big endian, of [`CLOCK`] bytes: the other's credential is good but for the
    /// time.
    Clock = 5,
    /// An empty body: the listener has verified the dialer, and has no room for another link.
    Full = 6,
    /// The milliseconds until the dialer's turn, big endian, of [`WAIT`] bytes: the listener has verified the dialer, and
    /// too many come in at once.
    Later = 7,
}

/// The hello of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest protocol version that the member speaks.
    pub lowest: u8,
    /// Highest protocol version that the member speaks.
    pub highest: u8,
    /// The member's signed credential of the present epoch.
    #[serde(with = "serde_bytes")]
    pub credential: Vec<u8>,
    /// Version of the bulletin that the member has.
    pub bulletin: u64,
    /// The member's clock, in whole unix seconds.
    pub seconds: u64,
    /// A random number, another in each process: two processes that run at once with one credential are copies of one
    /// device.
    pub process: u64,
}

/// The hello of a device that is not a member yet, or no longer, and asks for credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolHello {
    /// The realm that the request is for.
    pub realm: RealmId,
    /// The issuer that is to answer.
    pub issuer: IssuerId,
    /// A [`SignedRequest`](super::enrolment::SignedRequest), sealed to the issuer.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
}

/// What the relay returns: exactly one of its fields is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolReply {
    /// An [`Answer`](super::enrolment::Answer), sealed to the request's answer key.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub sealed: Option<Vec<u8>>,
    /// The reason, if the relay itself refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}
