//! Chain: records and the head as they are stored on disk.
//!
//! The event inside a record is a byte string of its own, so that a version that does not know an event still
//! reads the record around it and verifies the chain.

use super::event::Event;
use crate::time::Unix;
use crate::wire::codec::{self, DecodeError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a record's raw bytes.
pub type Hash = [u8; 32];

/// The key of the [`Head`] in the table of small facts.
pub const HEAD_KEY: &[u8] = b"event-log-head";

/// The longest record, in bytes: an event with its texts at their bound fits easily.
pub const MAX_RECORD: usize = 64 * 1024;

/// The key of a record in its table: the sequence number, big endian, so that keys sort in the order of records.
pub fn key(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

/// The hash of a record.
pub fn hash(raw: &[u8]) -> Hash {
    Sha256::digest(raw).into()
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence number, from 1.
    pub sequence: u64,
    /// The time at which it was written, by this device's clock.
    pub at: Unix,
    /// The hash of the previous record; zeros for the first record.
    pub previous: Hash,
    /// What happened.
    pub event: Logged,
}

/// An event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// An event that this version knows.
    Known(Event),
    /// The number of an event of a later version.
    Unknown(u64),
}

#[derive(Serialize, Deserialize)]
struct Raw<'a> {
    sequence: u64,
    at: Unix,
    #[serde(with = "serde_bytes")]
    previous: Hash,
    #[serde(borrow, with = "serde_bytes")]
    event: &'a [u8],
}

impl Record {
    /// The raw bytes of a record.
    pub fn encode(sequence: u64, at: Unix, previous: &Hash, event: Event) -> Vec<u8> {
        let event = codec::encode(&event);
        codec::encode(&Raw { sequence, at, previous: *previous, event: &event })
    }

    /// Decodes raw bytes. An event that this version does not know is no error.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no record in canonical form, or longer than [`MAX_RECORD`].
    pub fn decode(raw: &[u8]) -> Result<Self, DecodeError> {
        let Raw { sequence, at, previous, event } = codec::decode_within(raw, MAX_RECORD)?;
        codec::gate(event)?;
        let number = variant(event).ok_or(DecodeError::NotCanonical { what: "an event without a number", at: 0 })?;
        let event = match number < Event::KINDS {
            true => Logged::Known(codec::decode(event)?),
            false => Logged::Unknown(number),
        };
        Ok(Self { sequence, at, previous, event })
    }
}

/// The variant's number in an encoded event that passed the gate: the integer itself for a variant without fields,
/// otherwise the key of a map with one entry.
fn variant(event: &[u8]) -> Option<u64> {
    let rest = match event.first()? {
        0xa1 => event.get(1..)?,
        0x00..=0x1b => event,
        _ => return None,
    };
    let width = match rest.first()? {
        low @ 0x00..=0x17 => return Some(u64::from(*low)),
        0x18 => 1,
        0x19 => 2,
        0x1a => 4,
        0x1b => 8,
        _ => return None,
    };
    Some(rest.get(1..1 + width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The state of the log. An empty log has `last = 0` and `first = 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the newest record.
    pub last: u64,
    /// The hash of the newest record.
    #[serde(with = "serde_bytes")]
    pub hash: Hash,
    /// The number of the oldest record kept.
    pub first: u64,
    /// The hash of the record before the oldest one.
    #[serde(with = "serde_bytes")]
    pub anchor: Hash,
    /// Where the chain begins that the head covers, if that is not the log's first chain.
    #[serde(default)]
    pub begin: Option<Begin>,
    /// The first bad record that was found at a boot and reported by an event, so that the next boot does not report it
    /// again.
    pub reported: Option<u64>,
}

/// The beginning of a chain, after an older chain was set aside together with the store that held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The number of the chain's first record, which says what was set aside.
    pub sequence: u64,
    /// The hash of the older chain's newest record, which the first record carries.
    #[serde(with = "serde_bytes")]
    pub before: Hash,
}

impl Default for Head {
    fn default() -> Self {
        Self { last: 0, hash: [0; 32], first: 1, anchor: [0; 32], begin: None, reported: None }
    }
}

impl Head {
    /// Encodes the head for the store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes the head from the store.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no head in canonical form, or if its first record has the number 0.
    pub fn decode(raw: &[u8]) -> Result<Self, DecodeError> {
        let head: Self = codec::decode_within(raw, MAX_HEAD)?;
        match head.first {
            0 => Err(DecodeError::Shape("records are numbered from 1".into())),
            _ => Ok(head),
        }
    }

    /// The number of records from the first to the last.
    pub fn kept(&self) -> u64 {
        self.last.saturating_add(1).saturating_sub(self.first)
    }
}

/// The longest head, in bytes.
const MAX_HEAD: usize = 256;

/// The beginning of a chunk of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The number of its first record.
    pub sequence: u64,
    /// The hash of the record before it.
    pub before: Hash,
    /// The time of its first record.
    pub at: Unix,
}
