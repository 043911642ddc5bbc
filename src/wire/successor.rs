//! Successor: a neighbour says, over its old link, which pseudonym it goes on as.
//!
//! It is no signed document: what is signed could be shown to others, and would prove for good that two pseudonyms are one
//! device. The proof is made under keys that the neighbour could have computed as well, so it convinces nobody else.

use serde::{Deserialize, Serialize};

/// Says so to one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// Credential from now on, encoded and signed.
    #[serde(with = "serde_bytes")]
    pub new: Vec<u8>,
    /// Under the agreement keys of the old and of the new credential with that of the neighbour, over all three credentials.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 16],
}
