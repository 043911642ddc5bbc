//! Enrol relay: an enrolment request on its way to an issuer, from member to member, and the answer on its way back.
//!
//! Every member forwards a request once to each neighbour except the one that it came from, the cheapest first, until
//! the issuer has answered; the answer goes back by the same hops. The issuer signs each piece of it, so that a forged
//! answer goes no further than the first member that receives it.

use crate::id::{IssuerId, OuterId};
use serde::{Deserialize, Serialize};

/// Most hops that a request travels.
pub const MAX_HOPS: u8 = 16;

/// An enrolment request under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRelay<'a> {
    /// A random id, chosen by the member that the device connected to.
    pub id: OuterId,
    /// Number of hops so far.
    pub hops: u8,
    /// The issuer that is to answer.
    pub issuer: IssuerId,
    /// The sealed request, as in the hello.
    #[serde(borrow, with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// Signature context of a piece of an answer.
pub const CONTEXT: &str = "m2mesh/1 enrolment piece";

/// One piece of an encoded [`EnrolReply`](super::hello::EnrolReply), which may be longer than a frame. It travels as
/// [`Signed`](super::Signed) by the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolAnswer<'a> {
    /// Id of the request that is answered.
    pub id: OuterId,
    /// SHA-256 of the sealed request: the answer is for these bytes, even if another request has the same id.
    #[serde(with = "serde_bytes")]
    pub request: [u8; 32],
    /// Number of the piece, from 0.
    pub piece: u16,
    /// Number of pieces of the answer, at most [`MAX_PIECES`].
    pub pieces: u16,
    /// The bytes of the piece, at most [`PIECE`].
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: &'a [u8],
}

/// Most bytes of a piece.
pub const PIECE: usize = 32 * 1024;
/// Most pieces of an answer: they cover [`MAX_ANSWER`](super::enrolment::MAX_ANSWER).
pub const MAX_PIECES: u16 = 13;
