//! Credential: the issuer's word that a pseudonym of one epoch is a device of the realm.
//!
//! Travels as [`Signed`](super::Signed) with context [`CONTEXT`]. Fields whose integers would vary in width are
//! byte strings, so that all credentials of a realm have one length.

use crate::id::{AgreementKey, Handle, IssuerId, Pseudonym, RealmId};
use crate::time::Epoch;
use serde::{Deserialize, Serialize};

/// Signature context.
pub const CONTEXT: &str = "m2mesh/1 credential";
/// Longest signed credential, in bytes.
pub const MAX_CREDENTIAL: usize = 512;
/// Length of a sealed identity: an X25519 key, 16 + 8 bytes of device id and epoch, a tag.
pub const SEALED_ID: usize = 32 + 24 + 16;

/// The body of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// 1.
    pub version: u8,
    /// Whose.
    pub realm: RealmId,
    /// Who signed it; the bulletin has the key.
    pub issuer: IssuerId,
    /// The one epoch it is for, numbered in `epoch_length`.
    pub epoch: Epoch,
    /// Length of that epoch in seconds, 4 bytes big endian: classes of devices may differ.
    #[serde(with = "serde_bytes")]
    pub epoch_length: [u8; 4],
    /// Segments as a bit map, 8 bytes big endian; bit 0 is the realm's default segment.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
    /// Roles as a bit map, 2 bytes big endian; see [`Role`].
    #[serde(with = "serde_bytes")]
    pub roles: [u8; 2],
    /// Ed25519 key of the epoch: the libp2p identity.
    pub key: Pseudonym,
    /// X25519 key of the epoch, for session openers.
    pub agreement: AgreementKey,
    /// The device's handle in this epoch.
    pub handle: Handle,
    /// (device id, epoch) sealed to the auditor, [`SEALED_ID`] bytes.
    #[serde(with = "serde_bytes")]
    pub sealed_id: Vec<u8>,
}

/// What a device may do beyond exchanging messages: one bit each in [`Credential::roles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Role {
    /// Holds an issuer key and answers enrolment.
    Issuer = 1,
    /// May broadcast to all.
    Broadcast = 2,
    /// May read other devices' logs and settings.
    Observer = 4,
    /// Keeps mail for others.
    Mailbox = 8,
    /// Joins areas: answers `locate`.
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

    /// Whether it grants a role.
    pub fn has_role(&self, role: Role) -> bool {
        u16::from_be_bytes(self.roles) & role as u16 != 0
    }
}
