//! Successor: a neighbour says, under its old key, which pseudonym it goes on as.

use crate::id::{CredentialHash, Signature};
use serde::{Deserialize, Serialize};

/// Signature context, for both signatures.
pub const CONTEXT: &str = "m2mesh/1 successor";

/// Signed by the old pseudonym as a document; the new one signs inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// Credential until now.
    pub old: CredentialHash,
    /// Credential from now on, encoded and signed.
    #[serde(with = "serde_bytes")]
    pub new: Vec<u8>,
    /// By the new pseudonym, over context and the old credential's hash.
    pub consent: Signature,
}
