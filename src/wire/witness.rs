//! Witness: a blinded head of the sender's event log, which neighbours keep so that a truncated log is noticed.

use serde::{Deserialize, Serialize};

/// A commitment, SHA-256(head ‖ nonce): it reveals nothing and links nothing until the owner reveals both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The blinded head.
    #[serde(with = "serde_bytes")]
    pub commitment: [u8; 32],
}
