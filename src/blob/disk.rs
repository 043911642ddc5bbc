//! Disk: what is asked of the disk that keeps blobs, and what it answers.
//!
//! Orders are carried out in the order in which they are given, and each is answered, except [`Order::Keep`] and
//! [`Order::Remove`]. An answer that something was stored comes once it would survive a loss of power.

use super::bits::Bits;
use crate::id::BlobHash;

/// What is asked of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep these blobs, and remove the files of all others.
    Keep(Vec<BlobHash>),
    /// Begin a blob, or go on with one: answered by [`Done::Opened`].
    Open {
        /// The blob.
        hash: BlobHash,
        /// Its length.
        length: u64,
    },
    /// Write a chunk that was verified: answered by [`Done::Stored`].
    Store {
        /// The blob.
        hash: BlobHash,
        /// The number of the chunk.
        chunk: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// All chunks are there: make the whole blob of them. Answered by [`Done::Finished`].
    Finish {
        /// The blob.
        hash: BlobHash,
    },
    /// Read a chunk of a whole blob, with its proof: answered by [`Done::Loaded`].
    Load {
        /// The blob.
        hash: BlobHash,
        /// The number of the chunk.
        chunk: u32,
    },
    /// Remove a blob, whole or not.
    Remove {
        /// The blob.
        hash: BlobHash,
    },
}

impl Order {
    /// Whether it is answered.
    pub fn is_answered(&self) -> bool {
        !matches!(self, Self::Keep(_) | Self::Remove { .. })
    }

    /// The blob that it is about; `None` if it is about all.
    pub fn hash(&self) -> Option<BlobHash> {
        match self {
            Self::Keep(_) => None,
            Self::Open { hash, .. }
            | Self::Store { hash, .. }
            | Self::Finish { hash }
            | Self::Load { hash, .. }
            | Self::Remove { hash } => Some(*hash),
        }
    }
}

/// What the disk answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// These chunks of a blob are there, and are what they were when they were verified.
    Opened {
        /// The blob.
        hash: BlobHash,
        /// The chunks that are there.
        have: Bits,
    },
    /// A chunk is durable, and will be there after a restart.
    Stored {
        /// The blob.
        hash: BlobHash,
        /// The number of the chunk.
        chunk: u32,
    },
    /// A blob is whole and durable.
    Finished {
        /// The blob.
        hash: BlobHash,
    },
    /// A chunk was read; without bytes where it is not what it was.
    Loaded {
        /// The blob.
        hash: BlobHash,
        /// The number of the chunk.
        chunk: u32,
        /// The chunk's bytes and its proof.
        found: Option<(Vec<u8>, Vec<u8>)>,
    },
    /// Something about a blob failed: nothing of it can be relied on until it is opened again.
    Failed {
        /// The blob.
        hash: BlobHash,
        /// Why.
        reason: String,
    },
}
