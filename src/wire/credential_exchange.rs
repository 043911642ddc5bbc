//! Credential exchange: asking a neighbour for a credential that is known by its hash only.

use crate::id::CredentialHash;
use serde::{Deserialize, Serialize};

/// Asks the neighbour that forwarded something signed under this credential. The neighbour answers with a
/// [`Kind::Credential`](super::frame::Kind::Credential) frame, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// The hash of the credential asked for.
    pub hash: CredentialHash,
}
