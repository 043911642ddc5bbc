//! Data frame: `length:u16 | Header | length:u16 | Path | sealed`.
//!
//! The header does not change on the path and is the seal's associated data. The path is written by relays. The sealed
//! part is forwarded as it came: a relay decodes header and path only.
//!
//! The sealed part depends on the [`Form`]: a *session record* is
//! `session:8 | counter:8 (big endian) | ciphertext | tag:16`; an opener or an answer may precede it, with its length.
//! Relays treat all forms alike.

use super::opener::MAX_OPENER;
use crate::id::{CredentialPrefix, Handle, OuterId, SessionId, Tag};
use crate::time::Day;
use serde::{Deserialize, Serialize};

/// Longest encoded header, in bytes.
pub const MAX_HEADER: usize = 256;
/// Longest encoded path, in bytes.
pub const MAX_PATH: usize = 1_280;
/// Most hops of a path, and most relays visited.
pub const MAX_HOPS: usize = 64;
/// Bytes of a session record besides the plaintext.
pub const RECORD_OVERHEAD: usize = 8 + 8 + 16;

/// The part of a data frame that does not change from end to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The receiver's handle.
    pub to: Handle,
    /// The class, which is the frame's urgency.
    pub class: Class,
    /// The form of the sealed part.
    pub form: Form,
    /// Unix microseconds after which the frame is dropped.
    pub expiry: u64,
    /// The policy that a path of the frame has to keep.
    pub policy: Policy,
    /// The segment that the frame belongs to, by its bit: its sender, every relay and its receiver are in that segment
    /// or reach it.
    pub segment: u8,
    /// Where mailboxes keep the frame, if it is mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailBox>,
}

/// Where mail is kept until its receiver wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailBox {
    /// The day of the prekey that the mail is sealed to.
    pub day: Day,
    /// The receiver's box of that day.
    pub tag: Tag,
}

/// The urgency of a frame: the order in which links serve frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// What cannot wait.
    Alarm,
    /// What keeps the mesh and its applications running.
    Control,
    /// The usual class.
    #[default]
    Telemetry,
    /// What is sent when nothing else waits.
    Bulk,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Alarm, Self::Control, Self::Telemetry, Self::Bulk];
}

/// The form of a data frame's sealed part.
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

/// The parts of a message's policy that relays must know to repair its path. Absent limits do not bind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Weights of cost, delay, failures and energy, 0 to 255 each.
    #[serde(with = "serde_bytes")]
    pub weights: [u8; 4],
    /// The most that the path may cost, in micro-units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// The least probability of arrival, in parts of 65,535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<u16>,
    /// Bearers to avoid, as a bit map by bearer class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<u16>,
    /// Number of copies over disjoint paths, 2 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u8>,
}

/// The part of a data frame that relays write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The id of this transmission attempt: a new one whenever the same header and sealed part leave again, from their
    /// sender or a custodian.
    pub outer: OuterId,
    /// The hops, by credential, the receiver last. Empty if the frame goes to a neighbour, or comes from a leaf: then
    /// the leaf's router finds the path.
    pub hops: Vec<CredentialPrefix>,
    /// The place in `hops` of the next hop.
    pub next: u8,
    /// The relays that have forwarded the frame.
    pub visited: Vec<CredentialPrefix>,
    /// The cost so far, in micro-units.
    pub spent: u64,
    /// Microseconds under way so far, by the relays' own clocks.
    pub age: u64,
}

/// The parts of a data frame, as a relay sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFrame<'a> {
    /// The decoded header.
    pub header: Header,
    /// The header's bytes, which are the associated data of the seal.
    pub header_bytes: &'a [u8],
    /// The decoded path.
    pub path: Path,
    /// The sealed part, as it came.
    pub sealed: &'a [u8],
}

impl<'a> DataFrame<'a> {
    /// Splits a frame's body, and decodes header and path.
    ///
    /// # Errors
    /// The body is cut off, header or path do not decode or are too long, or the path has too many hops.
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

    /// The session that the frame's record names; `None` if it has no record.
    pub fn session(&self) -> Option<SessionId> {
        let (_, record) = split_record(self.header.form, self.sealed)?;
        record.get(..SessionId::LEN).and_then(SessionId::from_slice)
    }
}

/// Splits a sealed part of this form into what precedes the record, and the record; `None` if there is no record.
pub fn split_record(form: Form, sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    match form {
        Form::Session => Some((&[], sealed)),
        Form::Opener | Form::Answer => prefixed(sealed, MAX_OPENER).ok(),
        Form::Mail => None,
    }
}

/// Splits `length:u16 | bytes` off the front. Returns the bytes and the rest.
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
