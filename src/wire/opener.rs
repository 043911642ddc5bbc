//! Opener: sets up a sealing session and carries its first record, in the manner of the Noise X pattern
//! (Noise Protocol Framework, revision 34, §7.4): e, es, s, ss, with both contact keys mixed in.
//!
//! In a data frame of form [`Form::Opener`](super::data::Form): `length:u16 | Opener | session record`.

use crate::id::{AgreementKey, SessionId};
use serde::{Deserialize, Serialize};

/// Longest encoded opener, in bytes.
pub const MAX_OPENER: usize = 1_024;

/// What the receiver needs to derive the session's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opener {
    /// The id under which both ends keep the session.
    pub session: SessionId,
    /// e: fresh X25519 key.
    pub ephemeral: AgreementKey,
    /// s: the sender's signed credential, sealed under e and es.
    #[serde(with = "serde_bytes")]
    pub credential: Vec<u8>,
    /// An empty seal under all keys: the sender holds its agreement key and contact key.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 16],
}
