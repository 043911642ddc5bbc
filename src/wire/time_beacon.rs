//! Time beacon: the time by a stable member's clock, for devices whose own clock is not set.

use crate::id::CredentialHash;
use serde::{Deserialize, Serialize};

/// Signature context of a beacon, which the member's pseudonym signs.
pub const CONTEXT: &str = "m2mesh/1 time";
/// Bytes of a nonce.
pub const NONCE: usize = 16;
/// What a member admits as its largest error that does not know the time itself.
pub const UNKNOWN: u64 = u64::MAX;

/// Asks a neighbour for the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRequest {
    /// Random, another in each request and on each link.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; NONCE],
}

/// The body of a time beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBeacon {
    /// Hash of the credential of the member whose clock it is.
    pub origin: CredentialHash,
    /// That clock at the time of signing, in unix microseconds.
    pub time: u64,
    /// The largest error that the member admits, in microseconds.
    pub error: u64,
    /// That of the request.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; NONCE],
}
