//! Announce: the first frame on a control stream, and again when it changes: what a neighbour needs to know.

use crate::id::Tag;
use serde::{Deserialize, Serialize};

/// Most own addresses.
pub const MAX_ADDRESSES: usize = 16;
/// Most addresses of others.
pub const MAX_OTHERS: usize = 32;
/// Most services.
pub const MAX_SERVICES: usize = 64;
/// Most groups.
pub const MAX_GROUPS: usize = 2_048;

/// A neighbour's self-description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Whether it forwards for others (a router) or only attaches (a leaf).
    pub forwarding: bool,
    /// Multiaddresses it listens on, in binary form, without a PeerId.
    pub addresses: Vec<serde_bytes::ByteBuf>,
    /// Addresses of members it has links to, likewise: how a newcomer finds more neighbours.
    pub others: Vec<serde_bytes::ByteBuf>,
    /// Tags of the services it offers.
    pub services: Vec<Tag>,
    /// Tags of the groups that it listens to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Tag>,
    /// Area that it is in, 0 unless configured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub area: u32,
    /// Random, another in each process: who hears another one than before greets anew, since the neighbour was restarted.
    #[serde(default, skip_serializing_if = "is_none")]
    pub process: u64,
    /// By how many milliseconds its clock was set forward, in all, since the hello of this connection.
    #[serde(default, skip_serializing_if = "is_unmoved")]
    pub set_forward: i64,
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
