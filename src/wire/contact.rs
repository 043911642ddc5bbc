//! Contact: the contact card, which lets its holder find a device from a day on, and encrypt to it.

use crate::id::{AgreementKey, DeviceId, Name, Pseudonym, Signature};
use crate::time::{Day, EpochLength};
use serde::{Deserialize, Serialize};

/// Signature context of a mail prekey, signed with the device's renewal key.
pub const PREKEY_CONTEXT: &str = "m2mesh/1 mail prekey";

/// A contact card. It is granted for each pair of contacts and never travels unsealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactCard {
    /// The device's human name.
    pub name: Name,
    /// The device's lasting id.
    pub device: DeviceId,
    /// Generation of its resolution-key chain; a re-issued card has a higher one.
    pub generation: u32,
    /// The day from which the holder can resolve the device's handles.
    pub day: Day,
    /// RK(day), the device's resolution key of that day.
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// The device's static X25519 contact key, mixed into every seal.
    pub contact_key: AgreementKey,
    /// Length of the device's epochs.
    pub epoch_length: EpochLength,
    /// The device's renewal key, Ed25519, which also signs its mail prekeys.
    pub signer: Pseudonym,
    /// The key to which mail for the device is sealed, once it has published one.
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
    /// The day that the key is for.
    pub day: Day,
    /// The X25519 public key.
    pub key: AgreementKey,
    /// Signature by [`ContactCard::signer`] over context, day (4 bytes, big endian) and key.
    pub signature: Signature,
}
