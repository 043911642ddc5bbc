//! Custody: a relay or mailbox says that it keeps a frame durably from here on.

use crate::id::{OuterId, Tag};
use serde::{Deserialize, Serialize};

/// Passed back to the one who had custody before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// The frame.
    pub frame: OuterId,
    /// Whether it is kept, or why not.
    pub verdict: CustodyVerdict,
    /// The box it lies in: HMAC(RK(day), "box").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<Tag>,
}

/// What the next custodian says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CustodyVerdict {
    /// Durable here.
    Kept,
    /// The device's quota is used up.
    OverQuota,
    /// The disk cannot take it.
    NotStored,
    /// It keeps no mail for that box.
    NoSuchBox,
}
