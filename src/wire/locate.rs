//! Finding a device that no link state names by its key: a leaf, or a device of another area.
//!
//! A question goes from router to router towards those that list the handle, or from border to border, and the answer
//! goes back the way it came.

use crate::id::{CredentialHash, Handle, OuterId};
use serde::{Deserialize, Serialize};

/// Most areas that a question crosses.
pub const MAX_AREAS: u8 = 8;
/// Most border nodes in an answer.
pub const MAX_VIA: usize = 8;

/// Who has this handle?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locate {
    /// Random, to match the answer and to stop loops.
    pub id: OuterId,
    /// The device sought.
    pub handle: Handle,
    /// Areas still to cross.
    pub ttl: u8,
    /// Segments, as a bit map, that all who have asked or handed it on are in or reach: an answer is for a device that one of
    /// them leads to.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
}

/// An answer; it holds for the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Of which question.
    pub id: OuterId,
    /// Area that has it.
    pub area: u32,
    /// Border nodes on the way there, nearest first, at most [`MAX_VIA`].
    pub via: Vec<CredentialHash>,
    /// Cost of the way in micro-units per MB.
    pub cost: u64,
    /// Delay of the way in microseconds.
    pub delay: u64,
    /// The device's signed credential, so that one can speak to it.
    pub credential: serde_bytes::ByteBuf,
}
