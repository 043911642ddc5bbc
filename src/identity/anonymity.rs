//! Anonymity: for how long a device is known by one pseudonym.
//!
//! | mode | its Ed25519 keys | what neighbours are told at the turn of an epoch |
//! |-|-|-|
//! | stable | one for as long as the device lives | the credential of the new epoch |
//! | rotating | one an epoch | that the new pseudonym succeeds the old one; nobody else can be shown that |
//! | strict | one an epoch | nothing |
//!
//! An epoch whose keys an issuer has certified keeps them. So another mode is in force from the first epoch on for which the device has
//! asked for no credential yet; [`Membership::rotates_from`](super::membership::Membership::rotates_from) says which.

use serde::{Deserialize, Serialize};

/// For how long a device is known by one pseudonym. See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymity {
    /// One pseudonym for the device's life: for devices that others are told an address of.
    #[default]
    Stable,
    /// A pseudonym an epoch; neighbours are told of the successor.
    Rotating,
    /// A pseudonym an epoch; nobody is told of the successor.
    Strict,
}

impl Anonymity {
    /// Whether there is a pseudonym for each epoch.
    pub fn rotates(self) -> bool {
        self != Self::Stable
    }

    /// The mode of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Stable, Self::Rotating, Self::Strict].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Rotating => "rotating",
            Self::Strict => "strict",
        }
    }
}
