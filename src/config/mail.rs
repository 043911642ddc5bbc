//! `[mail]` and `[sleep]`: whether a device takes mail, how much it keeps for others, and when it is awake.

use super::bearer::{self, OpenWindow};
use super::quantity;
use crate::delivery::mailbox;
use crate::engine::SleepSettings;
use crate::id::Name;
use crate::link::windows::Windows;
use serde::{Deserialize, Serialize};

/// `[mail]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// Whether the device takes mail: what is sent while it is away is kept for it by mailboxes. A device that sleeps always does.
    pub receive: bool,
    /// Most bytes of mail that are kept for one receiver, as `4MB`, if the operator has made the device a mailbox; 0 to keep none.
    pub quota: quantity::Bytes,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self { receive: false, quota: quantity::Bytes(mailbox::QUOTA) }
    }
}

/// `[sleep]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SleepConfig {
    /// Contacts that keep its mail while it sleeps: mailboxes that are its neighbours when it is awake.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Name>,
    /// When it is awake, as the `windows` of a bearer; always, if there are none.
    #[serde(deserialize_with = "bearer::few", skip_serializing_if = "Vec::is_empty")]
    pub awake: Vec<OpenWindow>,
}

impl SleepConfig {
    /// Whether the device sleeps, or has parents.
    pub fn is_none(&self) -> bool {
        self.parents.is_empty() && self.awake.is_empty()
    }

    /// The times at which it is awake, as far as they do not depend on time zones; at the others it is asleep until it is told.
    pub(super) fn windows(&self) -> Windows {
        bearer::windows_of(&self.awake)
    }

    pub(super) fn settings(&self) -> Option<SleepSettings> {
        (!self.is_none()).then(|| SleepSettings { parents: self.parents.clone(), awake: self.windows() })
    }
}
