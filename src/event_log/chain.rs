//! Records and the head as they lie on disk.
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

/// Key of the [`Head`] in the table of small facts.
pub const HEAD_KEY: &[u8] = b"event-log-head";

/// Longest record, in bytes: an event with its texts at their bound fits well.
pub const MAX_RECORD: usize = 64 * 1024;

/// A record's key in its table: the sequence number, big endian, so that order of keys is order of records.
pub fn key(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

/// A record's hash.
pub fn hash(raw: &[u8]) -> Hash {
    Sha256::digest(raw).into()
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1.
    pub sequence: u64,
    /// When, by this device's clock.
    pub at: Unix,
    /// Hash of the record before; zeros before the first.
    pub previous: Hash,
    /// What happened.
    pub event: Logged,
}

/// An event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// One that this version knows.
    Known(Event),
    /// One of a later version: its number.
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

    /// Reads raw bytes. An event that this version does not know is no error.
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

/// Number of the variant in an encoded event that passed the gate: the integer itself for one without fields,
/// else the key of a map of one entry.
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

/// Where the log stands. An empty log has `last = 0` and `first = 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the newest record.
    pub last: u64,
    /// Its hash.
    #[serde(with = "serde_bytes")]
    pub hash: Hash,
    /// Number of the oldest record kept.
    pub first: u64,
    /// Hash of the record before that one.
    #[serde(with = "serde_bytes")]
    pub anchor: Hash,
    /// Where the chain begins that the head vouches for, if it is a later one than the log's first.
    #[serde(default)]
    pub begin: Option<Begin>,
    /// First bad record found at a boot and reported by an event, so that the next boot does not report it again.
    pub reported: Option<u64>,
}

/// Where a chain begins after an older one was set aside with the store that it lay in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Number of its first record, which says what was set aside.
    pub sequence: u64,
    /// Head of the older chain, which that record carries.
    #[serde(with = "serde_bytes")]
    pub before: Hash,
}

impl Default for Head {
    fn default() -> Self {
        Self { last: 0, hash: [0; 32], first: 1, anchor: [0; 32], begin: None, reported: None }
    }
}

impl Head {
    /// For the store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// From the store.
    pub fn decode(raw: &[u8]) -> Result<Self, DecodeError> {
        let head: Self = codec::decode_within(raw, MAX_HEAD)?;
        match head.first {
            0 => Err(DecodeError::Shape("records are numbered from 1".into())),
            _ => Ok(head),
        }
    }

    /// How many records it spans.
    pub fn kept(&self) -> u64 {
        self.last.saturating_add(1).saturating_sub(self.first)
    }
}

/// Longest head, in bytes.
const MAX_HEAD: usize = 256;

/// Where a chunk of records begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Its first record.
    pub sequence: u64,
    /// Hash of the record before.
    pub before: Hash,
    /// Time of its first record.
    pub at: Unix,
}
