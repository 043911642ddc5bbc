//! Announce: what a node tells a neighbour of itself, in the first frame on a control stream and again when it changes.

use crate::id::Tag;
use serde::{Deserialize, Serialize};

/// Most own addresses in an announcement.
pub const MAX_ADDRESSES: usize = 16;
/// Most addresses of other members in an announcement.
pub const MAX_OTHERS: usize = 32;
/// Most services in an announcement.
pub const MAX_SERVICES: usize = 64;
/// Most groups in an announcement.
pub const MAX_GROUPS: usize = 2_048;

/// A neighbour's self-description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Whether the neighbour forwards for others (a router) or only attaches (a leaf).
    pub forwarding: bool,
    /// Multiaddresses that the neighbour listens on, in binary form, without a PeerId.
    pub addresses: Vec<serde_bytes::ByteBuf>,
    /// Addresses of the members that it has links to, in the same form: a newcomer finds more neighbours by them.
    pub others: Vec<serde_bytes::ByteBuf>,
    /// Tags of the services that it offers.
    pub services: Vec<Tag>,
    /// Tags of the groups that it listens to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Tag>,
    /// The area that it is in; 0 unless configured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub area: u32,
    /// A random number, another in each process: when it changes the neighbour was restarted, and is greeted anew.
    #[serde(default, skip_serializing_if = "is_none")]
    pub process: u64,
    /// Milliseconds by which its clock was set forward, in all, since the hello of this connection.
    #[serde(default, skip_serializing_if = "is_unmoved")]
    pub set_forward: i64,
    /// Whether it only pushes: it takes nothing, and is not to be looked for when it has gone.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub push_only: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_unmoved(by: &i64) -> bool {
    *by == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(area: &u32) -> bool {
    *area == 0
}
