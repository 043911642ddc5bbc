//! Contact card: what lets its holder find a device from a day on, and encrypt to it.

use crate::id::{AgreementKey, DeviceId, Name, Pseudonym, Signature};
use crate::time::{Day, EpochLength};
use serde::{Deserialize, Serialize};

/// Signature context of a mail prekey, signed with the device's renewal key.
pub const PREKEY_CONTEXT: &str = "m2mesh/1 mail prekey";

/// A contact card. It is granted per relation and never travels unsealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactCard {
    /// The device's human name.
    pub name: Name,
    /// Its lasting id.
    pub device: DeviceId,
    /// Generation of its resolution-key chain; a re-issued card has a higher one.
    pub generation: u32,
    /// The day from which the holder can resolve it.
    pub day: Day,
    /// RK(day).
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// Static X25519 key, mixed into every seal.
    pub contact_key: AgreementKey,
    /// Length of its epochs.
    pub epoch_length: EpochLength,
    /// Ed25519 key that signs its mail prekeys: its renewal key.
    pub signer: Pseudonym,
    /// Where mail for it is sealed to, once it has published one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey: Option<MailPrekey>,
}

impl core::fmt::Debug for ContactCard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ContactCard")
            .field("generation", &self.generation)
            .field("day", &self.day)
            .finish_non_exhaustive()
    }
}

/// A day's X25519 key for mail, signed by the device: its private half is erased after the maximum age of mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailPrekey {
    /// The day it is for.
    pub day: Day,
    /// X25519.
    pub key: AgreementKey,
    /// By [`ContactCard::signer`], over context, day (4 bytes, big endian) and key.
    pub signature: Signature,
}
