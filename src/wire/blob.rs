//! Blob: what two devices say to each other about large payloads, in sealed plaintexts of a type of their own.
//!
//! A plaintext of type [`PLAIN_BLOB`] goes on with the kind of what follows. Nothing of it is visible to relays, to which
//! it is a data frame like any other. A chunk brings the proof that it belongs to the blob (`blob::tree`), so that what is
//! received needs nothing else to be verified.
//!
//! Invariants
//! 1. [`Said::parse`] accepts a chunk of at most [`CHUNK`] bytes with at most [`MAX_PROOF`] hashes, a want of at least one
//!    and at most [`MAX_WANTED`] chunks, and a name of at most [`MAX_NAME`] bytes.

use super::codec::{DecodeError, decode, encode};
use super::data::{prefixed, put_prefixed};
use crate::id::{BlobHash, OfferId};
use serde::{Deserialize, Serialize};

/// Type of a plaintext about blobs.
pub const PLAIN_BLOB: u8 = 3;
/// Bytes of a chunk: each but the last of a blob has exactly as many.
pub const CHUNK: usize = 32 * 1024;
/// Longest blob, in bytes.
pub const MAX_LENGTH: u64 = 1024 * 1024 * 1024;
/// Most hashes of a proof: the tree over the chunks of the longest blob has so many levels above its leaves.
pub const MAX_PROOF: usize = 15;
/// Most chunks that one want names.
pub const MAX_WANTED: usize = 32;
/// Longest name of a blob that is sent, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest head of a chunk, in bytes.
const MAX_HEAD: usize = 1_024;

/// A hash of the tree over a blob's chunks.
pub type Node = [u8; 32];

/// Asks whether the receiver has a blob that the asker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The blob.
    pub hash: BlobHash,
}

/// The sender has the blob, or it has not, or it does not give it to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes; `None` if the receiver gets nothing of it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// Asks for chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The blob.
    pub hash: BlobHash,
    /// The chunks by number, counted from 0.
    pub chunks: Vec<u32>,
}

/// What precedes the bytes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkHead {
    /// The blob.
    pub hash: BlobHash,
    /// The blob's length in bytes.
    pub length: u64,
    /// The number of the chunk.
    pub chunk: u32,
    /// The hashes beside its way to the root, from the leaves up, one after the other.
    #[serde(with = "serde_bytes")]
    pub proof: Vec<u8>,
}

/// What a request or a response is that consists of a blob of the device that says it: the payload of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub length: u64,
}

impl Reference {
    /// Bytes of it.
    pub const LEN: usize = BlobHash::LEN + 8;

    /// Its bytes: the hash, and the length in 64 bits, big endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..BlobHash::LEN].copy_from_slice(self.hash.as_bytes());
        bytes[BlobHash::LEN..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads it; `None` if it is none, or names a blob that is longer than any may be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (hash, length) = bytes.split_at_checked(BlobHash::LEN)?;
        let length = u64::from_be_bytes(length.try_into().ok()?);
        Some(Self { hash: BlobHash::from_slice(hash)?, length }).filter(|of| of.length <= MAX_LENGTH)
    }
}

/// Offers a blob that is sent to the receiver; repeated until the sender is told that the receiver has it, or the time is
/// over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The sending: an offer under the same id is the same.
    pub id: OfferId,
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub length: u64,
    /// The name that its sender gives it; empty if it gives none.
    pub name: String,
    /// When it was sent: the sender's clock, in unix microseconds.
    pub sent: u64,
    /// Until when it is of use: the sender's clock, in unix microseconds.
    pub expiry: u64,
    /// By how many microseconds `sent` is wrong at most, as far as the sender knows; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
}

/// What has become of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The sending.
    pub id: OfferId,
    /// How far it is.
    pub state: State,
    /// Bytes of the blob that the receiver has.
    pub bytes: u64,
}

/// How far the receiver of an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// It fetches the blob.
    Fetching,
    /// The blob is whole, verified and durable, and in the inbox.
    Taken,
    /// The blob is larger than what is left of the receiver's quota for the sender.
    OverQuota,
    /// The offer's time is over.
    Expired,
    /// The receiver has too many offers open, or no room in its inbox: the offer is to be repeated.
    Busy,
    /// The receiver's disk takes no blobs.
    NotStored,
    /// What came is not the blob.
    Damaged,
    /// The receiver only pushes: it takes nothing.
    PushOnly,
}

/// What is said, with its parts borrowed from the plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// See [`Ask`].
    Ask(Ask),
    /// See [`Holds`].
    Holds(Holds),
    /// See [`Want`].
    Want(Want),
    /// A chunk: its head and its bytes.
    Chunk(ChunkHead, &'a [u8]),
    /// See [`Offer`].
    Offer(Offer),
    /// See [`Told`].
    Told(Told),
}

impl<'a> Said<'a> {
    /// Parses what follows the type byte.
    ///
    /// # Errors
    /// The kind is not known, the body does not decode, or something is beyond its bound.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((kind, body)) = bytes.split_first() else { return Err(DecodeError::Truncated { at: 0 }) };
        let said = match kind {
            0 => Self::Ask(decode(body)?),
            1 => Self::Holds(decode(body)?),
            2 => Self::Want(decode(body)?),
            3 => {
                let (head, bytes) = prefixed(body, MAX_HEAD)?;
                Self::Chunk(decode(head)?, bytes)
            }
            4 => Self::Offer(decode(body)?),
            5 => Self::Told(decode(body)?),
            _ => return Err(DecodeError::Shape(format!("kind {kind} of what is said about blobs"))),
        };
        said.check().map(|()| said)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let most = |found: usize, limit: usize| match found <= limit {
            true => Ok(()),
            false => Err(DecodeError::TooLong { found, limit }),
        };
        match self {
            Self::Want(want) if want.chunks.is_empty() => Err(DecodeError::Shape("a want of no chunk".into())),
            Self::Want(want) => most(want.chunks.len(), MAX_WANTED),
            Self::Chunk(head, bytes) => {
                most(head.proof.len(), MAX_PROOF * size_of::<Node>())?;
                match head.proof.len() % size_of::<Node>() {
                    0 => most(bytes.len(), CHUNK),
                    _ => Err(DecodeError::Shape("a proof that is not whole hashes".into())),
                }
            }
            Self::Offer(offer) => most(offer.name.len(), MAX_NAME),
            Self::Ask(_) | Self::Holds(_) | Self::Told(_) => Ok(()),
        }
    }

    /// Appends the plaintext, type byte and all.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, body) = match self {
            Self::Ask(ask) => (0, encode(ask)),
            Self::Holds(holds) => (1, encode(holds)),
            Self::Want(want) => (2, encode(want)),
            Self::Chunk(head, _) => (3, encode(head)),
            Self::Offer(offer) => (4, encode(offer)),
            Self::Told(told) => (5, encode(told)),
        };
        out.extend_from_slice(&[PLAIN_BLOB, kind]);
        match self {
            Self::Chunk(_, bytes) => {
                put_prefixed(out, &body);
                out.extend_from_slice(bytes);
            }
            _ => out.extend_from_slice(&body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: BlobHash = BlobHash([7; BlobHash::LEN]);

    fn plain(said: &Said<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        said.put(&mut out);
        out
    }

    fn head(hashes: usize) -> ChunkHead {
        ChunkHead { hash: HASH, length: 70_000, chunk: 1, proof: vec![1; hashes * 32] }
    }

    #[test]
    fn what_is_said_is_heard() {
        let offer = Offer {
            id: OfferId([1; 16]),
            hash: HASH,
            length: 9,
            name: "a.bin".into(),
            sent: 1,
            expiry: 2,
            error: Some(3),
        };
        let all = [
            Said::Ask(Ask { hash: HASH }),
            Said::Holds(Holds { hash: HASH, length: None }),
            Said::Holds(Holds { hash: HASH, length: Some(3) }),
            Said::Want(Want { hash: HASH, chunks: vec![0, 4] }),
            Said::Chunk(head(2), &[9; 100]),
            Said::Chunk(head(MAX_PROOF), &[9; CHUNK]),
            Said::Offer(offer),
            Said::Told(Told { id: OfferId([1; 16]), state: State::Damaged, bytes: 7 }),
        ];
        for said in all {
            let plain = plain(&said);
            assert!(plain.len() <= super::super::batch::MAX_PLAIN && plain[0] == PLAIN_BLOB);
            assert_eq!(Said::parse(&plain[1..]).as_ref(), Ok(&said));
            assert!(matches!(said, Said::Chunk(..)) || Said::parse(&plain[1..plain.len() - 1]).is_err());
        }
        assert!(Said::parse(&[]).is_err() && Said::parse(&[6]).is_err());
    }

    #[test]
    fn a_reference_is_read_as_it_was_written_and_nothing_else_is_one() {
        let reference = Reference { hash: HASH, length: MAX_LENGTH };
        let bytes = reference.to_bytes();
        assert_eq!(Reference::parse(&bytes), Some(reference));
        assert_eq!(Reference::parse(&Reference { hash: HASH, length: MAX_LENGTH + 1 }.to_bytes()), None);
        assert!(Reference::parse(&bytes[1..]).is_none() && Reference::parse(&[&bytes[..], &[0]].concat()).is_none());
    }

    /// Invariant 1.
    #[test]
    fn what_is_beyond_its_bound_is_refused() {
        let long = vec![0; CHUNK + 1];
        let name = "x".repeat(MAX_NAME + 1);
        let offer = Offer { id: OfferId([1; 16]), hash: HASH, length: 9, name, sent: 1, expiry: 2, error: None };
        let cut = ChunkHead { proof: vec![1; 33], ..head(0) };
        let bad = [
            Said::Chunk(head(1), &long),
            Said::Chunk(head(MAX_PROOF + 1), &[]),
            Said::Chunk(cut, &[]),
            Said::Want(Want { hash: HASH, chunks: vec![] }),
            Said::Want(Want { hash: HASH, chunks: vec![0; MAX_WANTED + 1] }),
            Said::Offer(offer),
        ];
        for said in bad {
            assert!(Said::parse(&plain(&said)[1..]).is_err(), "{said:?}");
        }
    }
}
