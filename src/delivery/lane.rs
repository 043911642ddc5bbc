//! Lanes: messages to one destination that may share a frame, since they are as urgent and want the same of their way.
//!
//! Lanes are served most urgent first. One for which there is no way at the moment does not hold up the others.

use crate::wire::data::{Class, Policy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a message asks of its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SendPolicy {
    /// What its path is to be good at, and its limits. The default leaves the choice to the node.
    pub policy: Policy,
    /// Whether the budget gives way when the deadline comes near: better late and dear than never.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub yields: bool,
}

impl SendPolicy {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// How urgent.
    pub class: Class,
    /// What of the way.
    pub send_policy: Arc<SendPolicy>,
}
