//! Finding a device outside one's own area: border nodes ask each other.

use crate::id::{CredentialHash, Handle, OuterId};
use serde::{Deserialize, Serialize};

/// Who has this handle?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locate {
    /// Random, to match the answer and to stop loops.
    pub id: OuterId,
    /// The device sought.
    pub handle: Handle,
    /// Areas still to cross.
    pub ttl: u8,
}

/// An answer; it holds for the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Of which question.
    pub id: OuterId,
    /// Area that has it.
    pub area: u32,
    /// Border nodes on the way there, nearest first, at most 8.
    pub via: Vec<CredentialHash>,
    /// Cost of the way in micro-units per MB.
    pub cost: u64,
    /// Delay of the way in microseconds.
    pub delay: u64,
}
