//! Ticket: a one-time invitation for one device.
//!
//! As text it is `m2m1` followed by lower-case, unpadded RFC 4648 base32 of the encoded [`Ticket`] and a checksum, the
//! first 4 bytes of its SHA-256. It holds a private key: whoever has it can enrol, once, until it expires.

use crate::id::{AgreementKey, IssuerId, RealmId};
use serde::{Deserialize, Serialize};

/// The beginning of a ticket's text.
pub const PREFIX: &str = "m2m1";
/// Longest encoded ticket, in bytes.
pub const MAX_TICKET: usize = 2_048;
/// Most addresses in a ticket.
pub const MAX_ADDRESSES: usize = 16;

/// An invitation for one device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Version of the ticket: 1.
    pub version: u8,
    /// The realm that the ticket is for.
    pub realm: RealmId,
    /// The issuer that made the ticket; only this issuer honours it.
    pub issuer: IssuerId,
    /// X25519 key to which the enrolment request is sealed.
    pub seal: AgreementKey,
    /// Seed of the ticket's Ed25519 key.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 32],
    /// Unix seconds after which the ticket is void.
    pub expires: u64,
    /// Multiaddresses, in their text form, of members that relay enrolment.
    pub addresses: Vec<String>,
}

impl core::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ticket")
            .field("realm", &self.realm)
            .field("expires", &self.expires)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
