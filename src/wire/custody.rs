//! Custody: the statement of a relay or mailbox that it keeps a frame durably from here on.
//!
//! A node that gives up its own copy of a frame because of this statement may have to prove it. So the statement is
//! signed, by a device that the operator has made a mailbox, and names the attempt and what was sealed in it.

use crate::id::{CredentialHash, OuterId, Tag};
use serde::{Deserialize, Serialize};

/// Signature context of [`Custody`], signed by the custodian's pseudonym.
pub const CONTEXT: &str = "m2mesh/1 custody";

/// The statement, passed back to the node that had custody before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// The transmission attempt that brought the frame.
    pub frame: OuterId,
    /// SHA-256 of the frame's sealed part.
    #[serde(with = "serde_bytes")]
    pub sealed: [u8; 32],
    /// The hash of the custodian's credential, which has the role mailbox.
    pub by: CredentialHash,
    /// Whether the frame is kept, or why not.
    pub verdict: CustodyVerdict,
    /// The box that keeps the frame, as in the frame's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<Tag>,
}

/// Whether the next custodian keeps a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CustodyVerdict {
    /// The frame is durable at the custodian.
    Kept,
    /// The device's quota is used up.
    OverQuota,
    /// The custodian's disk cannot take the frame.
    NotStored,
    /// The custodian keeps no mail for that box.
    NoSuchBox,
}
