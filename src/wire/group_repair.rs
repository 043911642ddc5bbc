//! Repair of groups: which frames a node keeps, which it wants, and those that come again.
//!
//! A publisher's frames under one salt are numbered by their counter. Nodes name them by that, in ranges.

use crate::id::{CredentialHash, Tag};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Most flows in one digest, or one request.
pub const MAX_FLOWS: usize = 256;
/// Most ranges of one flow.
pub const MAX_RANGES: usize = 32;
/// Most groups asked about at once.
pub const MAX_ASKED: usize = 4_096;

/// Numbers of frames of one publisher in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The group.
    pub group: Tag,
    /// Credential of the publisher.
    pub sender: CredentialHash,
    /// Under which salt it seals.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// Ranges of counters, both ends included, ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// What a node keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHave {
    /// By publisher and salt; those of which it keeps nothing are left out.
    pub flows: Vec<Flow>,
    /// Groups of which the receiver is to tell in turn what it keeps.
    pub tell: Vec<Tag>,
}

/// What a node lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupWant {
    /// By publisher and salt.
    pub flows: Vec<Flow>,
}

/// Before a frame that comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// For how long it has been kept, by this device and those that it was fetched from, in milliseconds.
    pub kept: u32,
}

impl Again {
    /// Of a frame kept for so long.
    pub fn of(kept: Duration) -> Self {
        Self { kept: u32::try_from(kept.as_millis()).unwrap_or(u32::MAX) }
    }

    /// As it stands before the frame.
    pub fn to_bytes(self) -> [u8; 4] {
        self.kept.to_be_bytes()
    }

    /// Splits a body; `None` if it is too short.
    pub fn split(body: &[u8]) -> Option<(Self, &[u8])> {
        let (kept, frame) = body.split_first_chunk::<4>()?;
        Some((Self { kept: u32::from_be_bytes(*kept) }, frame))
    }
}
