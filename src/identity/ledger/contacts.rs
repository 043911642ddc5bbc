//! Whose cards a device gets, and who gets its card.

use crate::id::DeviceId;
use serde::{Deserialize, Serialize};

/// The devices that a device was invited to be a contact of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredContacts", into = "StoredContacts")]
pub enum Contacts {
    /// All devices, present and future.
    All,
    /// These devices only.
    Some(Vec<DeviceId>),
}

/// [`Contacts`] as they are written: the codec takes no map whose key is a name. Without a list it means everybody.
#[derive(Serialize, Deserialize)]
struct StoredContacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceId>>,
}

impl From<Contacts> for StoredContacts {
    fn from(contacts: Contacts) -> Self {
        match contacts {
            Contacts::All => Self { devices: None },
            Contacts::Some(devices) => Self { devices: Some(devices) },
        }
    }
}

impl From<StoredContacts> for Contacts {
    fn from(stored: StoredContacts) -> Self {
        stored.devices.map_or(Self::All, Self::Some)
    }
}
