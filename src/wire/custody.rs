//! Custody: a relay or mailbox says that it keeps a frame durably from here on.
//!
//! Whoever lets go of a frame for the sake of this word may be asked why: so it is signed, by a device that the operator
//! has made a mailbox, and names the attempt and what was sealed in it.

use crate::id::{CredentialHash, OuterId, Tag};
use serde::{Deserialize, Serialize};

/// Signature context of [`Custody`], signed by the custodian's pseudonym.
pub const CONTEXT: &str = "m2mesh/1 custody";

/// Passed back to the one who had custody before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// The attempt by which it came.
    pub frame: OuterId,
    /// SHA-256 of its sealed part.
    #[serde(with = "serde_bytes")]
    pub sealed: [u8; 32],
    /// The custodian's credential, which has the role mailbox.
    pub by: CredentialHash,
    /// Whether it is kept, or why not.
    pub verdict: CustodyVerdict,
    /// The box it lies in, as in the frame's header.
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
