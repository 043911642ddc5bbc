//! Versions of group keys: the issuer seals them, for the operator to name in the bulletin.

use super::Issuer;
use crate::id::Tag;
use crate::identity::group_tree::Reached;
use crate::identity::kdf::Secret;
use crate::identity::ledger::DeviceRecord;
use crate::identity::ledger::leaves::{self, SealTo};
use crate::wire::bulletin::GroupVersion;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

impl Issuer {
    /// Makes the version of a group's key after `last`, for those of these devices whom that reached and who are in force.
    pub fn seal_next(
        &self,
        rng: &mut ChaCha20Rng,
        (last, key): (&GroupVersion, &Secret),
        devices: &[&DeviceRecord],
        to: SealTo,
    ) -> GroupVersion {
        let reached = Reached::of(last);
        let version = (last.group, last.version.saturating_add(1));
        let stay = devices.iter().filter(|device| !device.revoked && device.may_have(&reached)).copied();
        let held = leaves::leaves_of(stay, to);
        if reached.is_for_readers() {
            return self.seal_group_to(rng, version, key, &held);
        }
        let given = leaves::given(devices.iter().copied());
        let excluded = (0..given).filter(|leaf| !held.contains(leaf)).collect();
        self.seal_group(rng, version, key, given, &excluded)
    }

    /// Makes a version of a group's key that reaches all of the first `leaves` devices except the excluded ones, for
    /// the operator to name in the bulletin.
    pub fn seal_group(
        &self,
        rng: &mut ChaCha20Rng,
        version: (Option<Tag>, u32),
        key: &Secret,
        leaves: u32,
        excluded: &BTreeSet<u32>,
    ) -> GroupVersion {
        self.tree.seal_version(rng, version, key, leaves, excluded)
    }

    /// Makes a version of a group's key that reaches these leaves, and none that is assigned later, for the operator to name in the
    /// bulletin.
    pub fn seal_group_to(
        &self,
        rng: &mut ChaCha20Rng,
        version: (Option<Tag>, u32),
        key: &Secret,
        readers: &BTreeSet<u32>,
    ) -> GroupVersion {
        self.tree.seal_version_to(rng, version, key, readers)
    }

    /// Lets only those publish to whom a permit of this generation is given, under a version of a group's key that was sealed here.
    pub fn restrict_group(&self, version: &mut GroupVersion, key: &Secret, generation: u32) {
        self.tree.restrict(version, key, generation);
    }
}
