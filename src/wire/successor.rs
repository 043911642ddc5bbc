//! Successor: a neighbour tells, over its old link, the pseudonym that it continues as.
//!
//! It is no signed document: a signature could be shown to others, and would prove for good that two pseudonyms are one
//! device. The proof is made under keys that the receiving neighbour could have computed as well, so it convinces
//! nobody else.

use serde::{Deserialize, Serialize};

/// The message to one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// The sender's new credential, encoded and signed.
    #[serde(with = "serde_bytes")]
    pub new: Vec<u8>,
    /// A tag over all three credentials, under the agreement keys of the old and of the new credential with that of the
    /// neighbour.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 16],
}
