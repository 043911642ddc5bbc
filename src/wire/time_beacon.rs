//! Time: a device whose clock is not set asks a neighbour, which answers with a beacon.
//!
//! The beacon names the nonce that it was asked with, and is signed: an old one, or another's, tells nobody the time. This is
//! the exchange of Roughtime (RFC draft `ietf-ntp-roughtime`) over a link that is there already.

use crate::id::CredentialHash;
use serde::{Deserialize, Serialize};

/// Signature context; signed by the pseudonym.
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

/// The body of a beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBeacon {
    /// Whose clock.
    pub origin: CredentialHash,
    /// Unix microseconds at signing.
    pub time: u64,
    /// Largest error it admits, in microseconds; [`UNKNOWN`] where its clock is not set.
    pub error: u64,
    /// That of the request.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; NONCE],
}
