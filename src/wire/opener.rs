//! Opener: the first message of a session's handshake, `Noise_KKpsk0_25519_ChaChaPoly_SHA256` (Noise Protocol
//! Framework, revision 34), with what the receiver needs to read it.
//!
//! A data frame of form [`Form::Opener`](super::data::Form) holds `length:u16 | Opener | early record`. The second
//! message is the *answer*, of [`ANSWER`] bytes; a data frame of form `Answer` holds `length:u16 | answer | record`.

use crate::id::SessionId;
use serde::{Deserialize, Serialize};

/// Longest encoded opener, in bytes.
pub const MAX_OPENER: usize = 1_024;
/// Bytes of the handshake's first message: ephemeral key and tag.
pub const MESSAGE: usize = 32 + 16;
/// Bytes of the answer: ephemeral key, chosen suite, the id under which the responder receives, and tag.
pub const ANSWER: usize = 32 + 1 + SessionId::LEN + 16;

/// What the receiver of an opener needs to derive the session's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opener {
    /// The id under which the initiator receives.
    pub session: SessionId,
    /// AEAD suites that the initiator has, as a bit map: 1 is ChaCha20-Poly1305, which is always present, 2 is
    /// AES-256-GCM.
    pub suites: u8,
    /// The initiator's signed credential, sealed to the responder's agreement key.
    #[serde(with = "serde_bytes")]
    pub credential: Vec<u8>,
    /// The handshake's first message, around an empty payload.
    #[serde(with = "serde_bytes")]
    pub message: [u8; MESSAGE],
}
