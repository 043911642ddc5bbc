//! Mail for others, as the store of a mailbox has it.

use crate::id::Name;
use crate::identity::kdf;
use crate::time::Unix;
use crate::wire::data::Class;
use serde::{Deserialize, Serialize};

/// A mail that is kept for another device, by its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct MailRecord {
    /// Its receiver, if that is a contact.
    pub owner: Option<Name>,
    /// The neighbour that handed it in, if that is a contact.
    pub from: Option<Name>,
    /// Its class.
    pub class: Class,
    /// When it is let go of at the latest.
    pub until: Unix,
    /// When it was taken.
    pub since: Unix,
    /// The encoded header of its frame.
    #[serde(with = "serde_bytes")]
    pub header: Vec<u8>,
    /// The sealed part of its frame.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
}

impl MailRecord {
    /// The hash of the sealed part, by which statements of custody name it.
    pub fn seal(&self) -> [u8; 32] {
        kdf::sha256(&[&self.sealed])
    }
}
