//! Document: how neighbours ask each other, piece by piece, for the documents that the bulletin names by their hash.
//!
//! A document proves itself by its hash, which the operator has signed in the bulletin. Each request is for one piece,
//! so that a request is never answered with more than a frame.

use serde::{Deserialize, Serialize};

/// SHA-256 of a document's encoding.
pub type DocumentHash = [u8; 32];

/// Asks a neighbour for one piece of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// Hash of the document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
    /// Number of the piece, from 0.
    pub piece: u16,
}

/// One piece of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentPiece<'a> {
    /// Hash of the document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
    /// Number of the piece, from 0.
    pub piece: u16,
    /// Number of pieces of the document, at most [`MAX_PIECES`].
    pub pieces: u16,
    /// The bytes of the piece, [`PIECE`] of them except in the last.
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: &'a [u8],
}

/// Bytes of a piece, except the last.
pub const PIECE: usize = 32 * 1024;
/// Most pieces of a document: they cover [`MAX_DOCUMENT`](super::codec::MAX_DOCUMENT).
pub const MAX_PIECES: u16 = 16;
