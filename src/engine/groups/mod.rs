//! Groups: publications, pushed from their publisher along a tree to all subscribers, and fetched by whoever missed
//! them.

pub(super) mod answers;
pub(super) mod broadcast;
pub(super) mod confirmations;
pub(super) mod group_frames;
pub(super) mod heard;
pub(super) mod lag;
pub(super) mod missing;
pub(super) mod multicast;
pub(super) mod ordinals;
pub(super) mod out_streams;
pub(super) mod past;
pub(super) mod publishing;
pub(super) mod repair;
pub(super) mod rights;
pub(super) mod shelf;
pub(super) mod streams;
pub(super) mod succession;
pub(super) mod telling;
pub(super) mod tree;
pub(super) mod wanted;

use crate::engine::store::{Read, ReadError};
use crate::time::Now;

/// The state of the groups wing.
pub(super) struct Groups {
    pub(super) multicast: multicast::Multicast,
    pub(super) publishing: publishing::Publishing,
    pub(super) confirmations: confirmations::Confirmations,
    pub(super) shelf: shelf::Shelf,
    pub(super) repair: repair::Repair,
    pub(super) heard: heard::Heard,
    pub(super) tree: tree::GroupTrees,
    pub(super) broadcast: broadcast::Broadcasts,
    pub(super) answers: answers::Answers,
}

impl Groups {
    /// Loads the state that the store holds.
    pub(super) fn load(store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        Ok(Self {
            multicast: multicast::Multicast::new(),
            publishing: publishing::Publishing::load(store)?,
            confirmations: confirmations::Confirmations::default(),
            shelf: shelf::Shelf::new(shelf::MAX_BYTES),
            repair: repair::Repair::default(),
            heard: heard::Heard::load(store)?,
            tree: tree::GroupTrees::default(),
            broadcast: broadcast::Broadcasts::default(),
            answers: answers::Answers::load(store, now)?,
        })
    }
}
