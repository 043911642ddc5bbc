//! Locate: finding a device whose key no link state names: a leaf, or a device of another area.
//!
//! A question goes from router to router towards those that list the handle, or from border to border, and the answer
//! goes back by the same hops.

use crate::id::{CredentialHash, Handle, OuterId};
use serde::{Deserialize, Serialize};

/// Most areas that a question crosses.
pub const MAX_AREAS: u8 = 8;
/// Most border nodes in an answer.
pub const MAX_VIA: usize = 8;

/// The question which router has a handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locate {
    /// A random id, to match the answer and to stop loops.
    pub id: OuterId,
    /// The handle of the device sought.
    pub handle: Handle,
    /// Number of areas that the question may still cross.
    pub ttl: u8,
    /// Segments, as a bit map of 8 bytes, big endian, that the asker and every node that forwarded the question are in
    /// or reach: an answer is for a device that one of them leads to.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
}

/// The answer to a [`Locate`], valid for the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Id of the question.
    pub id: OuterId,
    /// The area that has the device.
    pub area: u32,
    /// Border nodes on the path to the device, nearest first, at most [`MAX_VIA`].
    pub via: Vec<CredentialHash>,
    /// Cost of the path in micro-units per MB.
    pub cost: u64,
    /// Delay of the path in microseconds.
    pub delay: u64,
    /// The device's signed credential, with which messages can be sealed to it.
    pub credential: serde_bytes::ByteBuf,
}
