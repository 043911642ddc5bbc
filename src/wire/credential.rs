//! Credential: the issuer's statement that a pseudonym of one epoch is a device of the realm.
//!
//! It travels as [`Signed`](super::Signed) with context [`CONTEXT`]. Fields whose integers would vary in width are byte
//! strings, so that all credentials of a realm have one length.

use crate::id::{AgreementKey, Handle, IssuerId, Pseudonym, RealmId};
use crate::time::Epoch;
use serde::{Deserialize, Serialize};

/// Signature context of a credential.
pub const CONTEXT: &str = "m2mesh/1 credential";
/// Longest signed credential, in bytes.
pub const MAX_CREDENTIAL: usize = 512;
/// Bytes of a sealed identity: an X25519 key, 16 + 8 bytes of device id and epoch, a tag.
pub const SEALED_ID: usize = 32 + 24 + 16;

/// The body of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Version of the credential: 1.
    pub version: u8,
    /// The realm that the credential is of.
    pub realm: RealmId,
    /// The issuer that signed it; the bulletin has the issuer's key.
    pub issuer: IssuerId,
    /// The one epoch that the credential is for, numbered in `epoch_length`.
    pub epoch: Epoch,
    /// Length of that epoch in seconds, 4 bytes big endian; devices may differ in it.
    #[serde(with = "serde_bytes")]
    pub epoch_length: [u8; 4],
    /// Segments as a bit map, 8 bytes big endian; bit 0 is the realm's default segment.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
    /// Roles as a bit map, 2 bytes big endian; see [`Role`].
    #[serde(with = "serde_bytes")]
    pub roles: [u8; 2],
    /// The device's Ed25519 key of the epoch, which is its libp2p identity.
    pub key: Pseudonym,
    /// The device's X25519 key of the epoch, for session openers.
    pub agreement: AgreementKey,
    /// The device's handle in this epoch.
    pub handle: Handle,
    /// Device id and epoch, sealed to the auditor, [`SEALED_ID`] bytes.
    #[serde(with = "serde_bytes")]
    pub sealed_id: Vec<u8>,
}

/// A role of a device, beyond exchanging messages: one bit in [`Credential::roles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Role {
    /// Holds an issuer key and answers enrolment requests.
    Issuer = 1,
    /// May broadcast to all.
    Broadcast = 2,
    /// May read other devices' logs and settings.
    Observer = 4,
    /// Keeps mail for others.
    Mailbox = 8,
    /// Joins areas, and answers `locate`.
    Border = 16,
}

impl Role {
    /// Every role with the name it has on the command line.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Issuer, "issuer"),
        (Self::Broadcast, "broadcast"),
        (Self::Observer, "observer"),
        (Self::Mailbox, "mailbox"),
        (Self::Border, "border"),
    ];
}

impl Credential {
    /// The segments as a number.
    pub fn segments(&self) -> u64 {
        u64::from_be_bytes(self.segments)
    }

    /// Whether the credential grants a role.
    pub fn has_role(&self, role: Role) -> bool {
        u16::from_be_bytes(self.roles) & role as u16 != 0
    }
}
