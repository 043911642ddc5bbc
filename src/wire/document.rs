//! Documents that the bulletin names by their hash: how neighbours ask each other for them, piece by piece.
//!
//! A document proves itself by its hash, which the operator has signed in the bulletin. Whoever asks gets one piece at a
//! time, so that a request is never answered with more than a frame.

use serde::{Deserialize, Serialize};

/// SHA-256 of a document's encoding.
pub type DocumentHash = [u8; 32];

/// Asks a neighbour for a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// Of which document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
    /// Which piece, from 0.
    pub piece: u16,
}

/// One piece of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentPiece<'a> {
    /// Of which document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
    /// Which piece, from 0.
    pub piece: u16,
    /// How many there are, at most [`MAX_PIECES`].
    pub pieces: u16,
    /// Its bytes, [`PIECE`] but in the last.
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: &'a [u8],
}

/// Bytes in a piece.
pub const PIECE: usize = 32 * 1024;
/// Most pieces: covers [`MAX_DOCUMENT`](super::codec::MAX_DOCUMENT).
pub const MAX_PIECES: u16 = 16;
