//! Group repair: which group frames a node keeps, which it wants, and those that are sent again.
//!
//! The frames of a publisher under one salt are numbered by their counter. Nodes name them by ranges of these numbers.

use crate::id::{CredentialHash, Tag};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Most flows in one digest or one request.
pub const MAX_FLOWS: usize = 256;
/// Most ranges of one flow.
pub const MAX_RANGES: usize = 32;
/// Most groups asked about at once.
pub const MAX_ASKED: usize = 4_096;

/// Ranges of frame numbers of one publisher in one group, under one salt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Tag of the group.
    pub group: Tag,
    /// Hash of the publisher's credential.
    pub sender: CredentialHash,
    /// The salt that the publisher seals under.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// Ranges of counters, ascending, each with both ends included.
    pub ranges: Vec<(u64, u64)>,
}

/// The group frames that a node keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHave {
    /// The frames kept, by publisher and salt; flows of which the node keeps nothing are left out.
    pub flows: Vec<Flow>,
    /// Groups for which the receiver is asked to tell, in turn, what it keeps.
    pub tell: Vec<Tag>,
}

/// The group frames that a node lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupWant {
    /// The frames wanted, by publisher and salt.
    pub flows: Vec<Flow>,
}

/// The head of a group frame that is sent again: 8 bytes, big endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Milliseconds for which the frame has been kept, by this device and those that it was fetched from.
    pub kept: u32,
    /// Milliseconds by which the publisher's clock seems to be behind the clock of the node that sends the frame again,
    /// as that was at that node's hello; 0 where this cannot be told from the time that frames take.
    pub behind: i32,
}

impl Again {
    /// Makes the head of a frame that was kept for the time `kept`, and whose publisher's clock is `behind`
    /// microseconds behind.
    pub fn of(kept: Duration, behind: i64) -> Self {
        let limits = (i32::MIN.into(), i32::MAX.into());
        Self {
            kept: u32::try_from(kept.as_millis()).unwrap_or(u32::MAX),
            behind: i32::try_from((behind / 1_000).clamp(limits.0, limits.1)).unwrap_or(0),
        }
    }

    /// Encodes the head.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.kept.to_be_bytes());
        bytes[4..].copy_from_slice(&self.behind.to_be_bytes());
        bytes
    }

    /// Splits a body into the head and the frame; `None` if it is too short.
    pub fn split(body: &[u8]) -> Option<(Self, &[u8])> {
        let (kept, rest) = body.split_first_chunk::<4>()?;
        let (behind, frame) = rest.split_first_chunk::<4>()?;
        Some((Self { kept: u32::from_be_bytes(*kept), behind: i32::from_be_bytes(*behind) }, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_frame_comes_back_as_it_was_within_its_limits() {
        for (kept, behind, read) in
            [(1_500, -120_000_000, -120_000), (0, 0, 0), (7, i64::MAX, i32::MAX), (7, i64::MIN, i32::MIN)]
        {
            let again = Again::of(Duration::from_millis(kept), behind);
            let body = [&again.to_bytes()[..], b"frame"].concat();
            assert_eq!(Again::split(&body), Some((Again { kept: kept as u32, behind: read }, &b"frame"[..])));
        }
        assert_eq!(Again::split(&[0; 7]), None);
    }
}
