//! Fragment: a piece of a data frame, over a link whose largest frame is smaller.
//!
//! The pieces of one frame follow each other in order on their link and class; pieces of frames of other classes may
//! come between them, so that an alarm does not wait for a bulk frame that takes a minute.

use serde::{Deserialize, Serialize};

/// Most pieces of one frame.
pub const MAX_FRAGMENTS: u16 = 1_024;
/// Bytes of a piece's frame besides its part of the whole frame.
pub const OVERHEAD: usize = 32;

/// One piece of a frame. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment<'a> {
    /// Number of the fragmented frame, among those of its sender on the link.
    pub frame: u32,
    /// Number of the piece, from 0.
    pub piece: u16,
    /// Number of pieces of the frame, 2 to [`MAX_FRAGMENTS`].
    pub pieces: u16,
    /// The piece's part of the whole frame, header included.
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: &'a [u8],
}
