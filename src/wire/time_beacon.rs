//! Time beacon: the time by a stable member's clock, for devices whose own clock is not set.

use crate::id::CredentialHash;
use serde::{Deserialize, Serialize};

/// Signature context of a beacon, which the member's pseudonym signs.
pub const CONTEXT: &str = "m2mesh/1 time";

/// The body of a time beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBeacon {
    /// Hash of the credential of the member whose clock it is.
    pub origin: CredentialHash,
    /// That clock at the time of signing, in unix microseconds.
    pub time: u64,
    /// The largest error that the member admits, in microseconds.
    pub error: u64,
}
