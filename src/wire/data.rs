//! Data frame: `length:u16 | Header | length:u16 | Path | sealed`.
//!
//! The header never changes on the way and is the seal's associated data. The path is what relays write. The
//! sealed part is forwarded as it came: a relay decodes header and path only.
//!
//! Sealed part by [`Form`]: a *session record* is `session:8 | counter:8 (big endian) | ciphertext | tag:16`; before one there
//! is an opener or an answer, with its length. Relays treat all alike.

use super::opener::MAX_OPENER;
use crate::id::{CredentialPrefix, Handle, OuterId, SessionId, Tag};
use crate::time::Day;
use serde::{Deserialize, Serialize};

/// Longest encoded header, in bytes.
pub const MAX_HEADER: usize = 256;
/// Longest encoded path, in bytes.
pub const MAX_PATH: usize = 1_280;
/// Most hops.
pub const MAX_HOPS: usize = 64;
/// Bytes of a session record besides the plaintext.
pub const RECORD_OVERHEAD: usize = 8 + 8 + 16;

/// What stays as it is from end to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Receiver.
    pub to: Handle,
    /// Urgency.
    pub class: Class,
    /// What the sealed part is.
    pub form: Form,
    /// Unix microseconds after which it is dropped.
    pub expiry: u64,
    /// What it wants of its path.
    pub policy: Policy,
    /// The segment that it is of, by its bit: whoever makes it, hands it on or takes it is in it or reaches it.
    pub segment: u8,
    /// Of mail alone: where mailboxes keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailBox>,
}

/// Where mail lies until its receiver wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailBox {
    /// Day of the prekey that it is sealed to.
    pub day: Day,
    /// The receiver's box of that day.
    pub tag: Tag,
}

/// How urgent: the order in which links serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Now.
    Alarm,
    /// Keeps the mesh and its applications running.
    Control,
    /// The usual.
    #[default]
    Telemetry,
    /// When nothing else is there.
    Bulk,
}

impl Class {
    /// All of them, most urgent first.
    pub const ALL: [Self; 4] = [Self::Alarm, Self::Control, Self::Telemetry, Self::Bulk];
}

/// What the sealed part of a data frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A session record.
    Session,
    /// An opener and a session record.
    Opener,
    /// [`Mail`](super::mail::Mail).
    Mail,
    /// The answer to an opener and a session record.
    Answer,
}

/// Limits of a message's policy that relays must know to repair its path. Absent limits do not bind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Weights of cost, delay, failures and energy, 0 to 255 each.
    #[serde(with = "serde_bytes")]
    pub weights: [u8; 4],
    /// Most to spend, in micro-units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Least chance of arrival, in parts of 65,535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<u16>,
    /// Bearers to avoid, as a bit map by bearer class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<u16>,
    /// Copies over disjoint paths, 2 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u8>,
}

/// What relays write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// This transmission attempt: new whenever the same header and sealed part leave again, by their sender or a custodian.
    pub outer: OuterId,
    /// Whom it goes to, one after the other, by credential, the receiver last. Empty to a neighbour, and from a leaf: its
    /// router finds the way.
    pub hops: Vec<CredentialPrefix>,
    /// Which of them this frame is on its way to.
    pub next: u8,
    /// Relays that have handed it on.
    pub visited: Vec<CredentialPrefix>,
    /// Spent so far, in micro-units.
    pub spent: u64,
    /// Microseconds on the way so far, by the relays' own clocks.
    pub age: u64,
}

/// A data frame's parts, as a relay sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFrame<'a> {
    /// Decoded header.
    pub header: Header,
    /// The header's bytes: associated data of the seal.
    pub header_bytes: &'a [u8],
    /// Decoded path.
    pub path: Path,
    /// Untouched.
    pub sealed: &'a [u8],
}

impl<'a> DataFrame<'a> {
    /// Splits and decodes a frame's body.
    pub fn parse(body: &'a [u8]) -> Result<Self, super::DecodeError> {
        let (header_bytes, rest) = prefixed(body, MAX_HEADER)?;
        let (path_bytes, sealed) = prefixed(rest, MAX_PATH)?;
        let header = super::decode(header_bytes)?;
        let path: Path = super::decode(path_bytes)?;
        if path.hops.len() > MAX_HOPS || path.visited.len() > MAX_HOPS {
            return Err(super::DecodeError::Shape(format!("a path of more than {MAX_HOPS} hops")));
        }
        Ok(Self { header, header_bytes, path, sealed })
    }

    /// The session that its record names, if it has one.
    pub fn session(&self) -> Option<SessionId> {
        let (_, record) = split_record(self.header.form, self.sealed)?;
        record.get(..SessionId::LEN).and_then(SessionId::from_slice)
    }
}

/// What stands before the record in a sealed part of this form, and the record.
pub fn split_record(form: Form, sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    match form {
        Form::Session => Some((&[], sealed)),
        Form::Opener | Form::Answer => prefixed(sealed, MAX_OPENER).ok(),
        Form::Mail => None,
    }
}

/// Takes `length:u16 | bytes` off the front.
pub fn prefixed(bytes: &[u8], limit: usize) -> Result<(&[u8], &[u8]), super::DecodeError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(super::DecodeError::Truncated { at: 0 });
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > limit {
        return Err(super::DecodeError::TooLong { found: length, limit });
    }
    rest.split_at_checked(length).ok_or(super::DecodeError::Truncated { at: 2 })
}

/// Appends `length:u16 | bytes`.
pub fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
