//! Hello: the first thing said on a connection, before libp2p's Swarm sees it.
//!
//! On the admission substream: `kind:u8 | length:u16 (big endian) | body`. The dialer says [`Hello`], the listener
//! answers with its own, the dialer closes with [`Kind::Ok`] and an empty body. Either says [`Kind::Clock`] instead when
//! nothing but the time speaks against the other. An enrolling device says
//! [`EnrolHello`] instead and gets one [`EnrolReply`], whose length has four bytes.

use crate::id::{IssuerId, RealmId};
use crate::wire::enrolment::Refusal;
use serde::{Deserialize, Serialize};

/// Longest member Hello body, in bytes.
pub const MAX_HELLO: usize = 1_024;

/// Bytes of a [`Kind::Clock`].
pub const CLOCK: usize = 8;

/// What follows on the admission substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Hello`].
    Member = 1,
    /// [`EnrolHello`].
    Enrol = 2,
    /// Nothing: the dialer has verified the listener.
    Ok = 3,
    /// [`EnrolReply`].
    EnrolReply = 4,
    /// Own clock, unix seconds, big endian, of [`CLOCK`] bytes: the other's credential is good but for the time.
    Clock = 5,
    /// Nothing: the listener has verified the dialer, and has no room for another link.
    Full = 6,
}

/// A member introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest protocol version it speaks.
    pub lowest: u8,
    /// Highest protocol version it speaks.
    pub highest: u8,
    /// Its signed credential of the present epoch.
    #[serde(with = "serde_bytes")]
    pub credential: Vec<u8>,
    /// Version of its bulletin.
    pub bulletin: u64,
    /// Its clock, in whole unix seconds.
    pub seconds: u64,
    /// Random, another in each process: two that live at once with one credential are copies of one device.
    pub process: u64,
}

/// A device that is not a member yet, or no longer, asks for credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolHello {
    /// Of which realm.
    pub realm: RealmId,
    /// Who is to answer.
    pub issuer: IssuerId,
    /// A [`SignedRequest`](super::enrolment::SignedRequest), sealed to the issuer.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
}

/// What the relay hands back: exactly one of its fields is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolReply {
    /// An [`Answer`](super::enrolment::Answer), sealed to the request's answer key.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub sealed: Option<Vec<u8>>,
    /// The relay itself refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}
