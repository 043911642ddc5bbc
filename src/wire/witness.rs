//! Witness: a blinded head of the sender's event log, kept by neighbours so that a cut tail shows.

use serde::{Deserialize, Serialize};

/// SHA-256(head ‖ nonce): shows nothing, links nothing, until the owner reveals both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The blinded head.
    #[serde(with = "serde_bytes")]
    pub commitment: [u8; 32],
}
