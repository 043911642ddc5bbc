//! Time beacon: what a stable member's clock says, for devices whose own is not set.

use crate::id::CredentialHash;
use serde::{Deserialize, Serialize};

/// Signature context; signed by the pseudonym.
pub const CONTEXT: &str = "m2mesh/1 time";

/// The body of a beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBeacon {
    /// Whose clock.
    pub origin: CredentialHash,
    /// Unix microseconds at signing.
    pub time: u64,
    /// Largest error it admits, in microseconds.
    pub error: u64,
}
