//! An enrolment request on its way to an issuer, from member to member, and the answer on its way back.
//!
//! Every member forwards a request once to each neighbour but the one it came from, to those that cost least first, until
//! the issuer has answered; the answer retraces the steps. Each piece of it is signed by the issuer, so that what somebody else says in its place
//! goes no further than the first member that hears it.

use crate::id::{IssuerId, OuterId};
use serde::{Deserialize, Serialize};

/// Most hops a request travels.
pub const MAX_HOPS: u8 = 16;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRelay<'a> {
    /// Random, chosen by the member that the device connected to.
    pub id: OuterId,
    /// Hops so far.
    pub hops: u8,
    /// Who is to answer.
    pub issuer: IssuerId,
    /// As in the hello.
    #[serde(borrow, with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// Signature context of a piece.
pub const CONTEXT: &str = "m2mesh/1 enrolment piece";

/// One piece of an encoded [`EnrolReply`](super::hello::EnrolReply), which may be longer than a frame. It travels as
/// [`Signed`](super::Signed) by the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolAnswer<'a> {
    /// Of which request.
    pub id: OuterId,
    /// SHA-256 of the sealed request: the answer is for these bytes, whoever chose the same id.
    #[serde(with = "serde_bytes")]
    pub request: [u8; 32],
    /// Which piece, from 0.
    pub piece: u16,
    /// How many there are, at most [`MAX_PIECES`].
    pub pieces: u16,
    /// Its bytes, at most [`PIECE`].
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: &'a [u8],
}

/// Bytes in a piece.
pub const PIECE: usize = 32 * 1024;
/// Most pieces: covers [`MAX_ANSWER`](super::enrolment::MAX_ANSWER).
pub const MAX_PIECES: u16 = 13;
