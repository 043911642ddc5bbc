//! Leaves: which leaves of the group key tree a device holds, and how all are numbered anew.
//!
//! Leaves are given in order and never again, so those of devices that were revoked, or that do not read a group, come to lie between
//! those of the others, and the document of a key grows with them. Once one is too long, every device in force is given another leaf: the
//! next free ones, in the order of those before. The old ones are then one stretch that nobody holds, which takes at most as many seals as the
//! tree is deep.
//!
//! ```text
//!  numbered anew ─▶ a device holds both leaves: keys are sealed to either ─▶ it holds the new one alone
//!       └ each grant from here on brings the path to the new leaf    └ all credentials of before have run out
//! ```
//!
//! A device whose credentials of before have run out has been granted others since, with the path to its new leaf; or it has none and
//! gets that path with the next.
//!
//! Invariants
//! 1. A version of a key that is made while a device may know the path to its former leaf alone is sealed to both. Where its document would be
//!    longer than one can be, it is sealed to the new ones alone, and a device has the key from its next grant.
//! 2. Who was kept from a version of a key is not let in by another leaf, and who was let in is not kept out.
//! 3. A device holds two leaves at most: devices are not numbered anew while one of them holds two.
//! - Which leaves a device has had is kept, since a version of a key holds until there is another, however often leaves were numbered anew
//!   meanwhile. That a document is long takes hundreds of devices, so that is a few thousand times in the life of a realm.

use super::{Book, DeviceRecord, Ledger, LedgerError};
use crate::identity::group_tree::{LEAVES, LONG_DOCUMENT, Reached};
use crate::time::Unix;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The leaves that a device had before it was numbered anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerLeaves {
    /// The leaves, the earliest first.
    pub leaves: Vec<u32>,
    /// Unix seconds until which the device may know no later one than the last of them.
    pub until: u64,
}

impl FormerLeaves {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

/// To which leaves of a device a version of a key is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealTo {
    /// Those by which a version that is made at that time reaches it.
    At(Unix),
    /// The last one alone. A device that has not heard of that opens the version once it is granted its key.
    Last,
}

impl DeviceRecord {
    /// The leaves by which a version that is made at `now` reaches it.
    pub fn leaves_at(&self, now: Unix) -> impl Iterator<Item = u32> {
        let last = self.former.leaves.last().filter(|_| self.former.until >= now.seconds());
        last.copied().into_iter().chain([self.leaf])
    }

    /// Whether it may have a version that reaches these leaves.
    pub fn may_have(&self, reached: &Reached) -> bool {
        let mut leaves = self.former.leaves.iter().copied().chain([self.leaf]);
        let first = self.former.leaves.first().copied().unwrap_or(self.leaf);
        reached.is_before(first) || leaves.any(|leaf| reached.holds(leaf))
    }
}

/// The leaves of these devices, for who makes a version of a key.
pub fn leaves_of<'a>(devices: impl IntoIterator<Item = &'a DeviceRecord>, to: SealTo) -> BTreeSet<u32> {
    let devices = devices.into_iter();
    match to {
        SealTo::At(now) => devices.flat_map(|device| device.leaves_at(now)).collect(),
        SealTo::Last => devices.map(|device| device.leaf).collect(),
    }
}

/// Numbers the leaves of all devices in force anew if a document of `bytes` bytes, which was made just now, is a long one. Returns until when
/// devices hold two leaves, if that has begun now. Where too few leaves are left documents stay long.
///
/// # Errors
/// The ledger cannot be read or written.
pub fn shorten(ledger: &mut dyn Ledger, bytes: usize, now: Unix) -> Result<Option<Unix>, LedgerError> {
    if bytes <= LONG_DOCUMENT {
        return Ok(None);
    }
    match ledger.number_anew(now) {
        Err(LedgerError::Full) => Ok(None),
        numbered => Ok(numbered?.map(Unix::from_seconds)),
    }
}

/// How many leaves have been given, at least one.
pub fn given<'a>(devices: impl IntoIterator<Item = &'a DeviceRecord>) -> u32 {
    devices.into_iter().map(|device| device.leaf.saturating_add(1)).max().unwrap_or(0).max(1)
}

impl Book {
    /// Gives every device in force another leaf, unless one still holds two. Returns until when they hold both (unix seconds), if they
    /// have been given others.
    pub(super) fn give_other_leaves(&mut self, now: Unix) -> Result<Option<u64>, LedgerError> {
        let in_force: Vec<&DeviceRecord> = self.devices().into_iter().filter(|device| !device.revoked).collect();
        if in_force.iter().any(|device| device.leaves_at(now).count() > 1) {
            return Ok(None);
        }
        let many = u32::try_from(in_force.len()).unwrap_or(u32::MAX);
        if self.next_leaf.checked_add(many).is_none_or(|end| end > LEAVES) {
            return Err(LedgerError::Full);
        }
        let ids: Vec<_> = in_force.iter().map(|device| device.device).collect();
        let mut last = None;
        for id in ids {
            let Some(record) = self.devices.get_mut(&id) else { continue };
            // Longer than any clock accepts the credentials that it has now.
            let until = record.until.max(now.seconds()).saturating_add(ACCEPTED.as_secs());
            record.former.leaves.push(core::mem::replace(&mut record.leaf, self.next_leaf));
            record.former.until = until;
            self.next_leaf += 1;
            last = last.max(Some(until));
        }
        Ok(last)
    }
}

/// How long after its end a credential may be accepted by somebody's clock, and a grant that was made before be under way.
const ACCEPTED: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests;
