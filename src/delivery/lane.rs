//! Lanes: the messages to one destination that may share a frame, because they have the same urgency and the same send
//! policy.
//!
//! Lanes are served in order of urgency. A lane that has no route at the moment does not hold up the others.

use crate::wire::data::{Class, Policy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a message asks of its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SendPolicy {
    /// The weights and limits of the path. The default leaves the choice to the node.
    pub policy: Policy,
    /// Whether the budget may be exceeded when the deadline comes near: a late and expensive delivery is better than
    /// none.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub yields: bool,
    /// For how long after its submission a message waits for a cheaper way that will be there in time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// For how long after its submission a message waits for others that share its frame, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather: Option<u64>,
}

impl SendPolicy {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The urgency.
    pub class: Class,
    /// What the messages ask of their path.
    pub send_policy: Arc<SendPolicy>,
}
