//! Permits: by which a device publishes to the restricted groups that the ledger names for it.
//!
//! A permit names a pseudonym and an epoch of the realm's default length; a device's own epochs may have another length. There
//! is one for each pair of them that meet in time, from the epoch before the present one on, since the device's clock may be behind.
//!
//! Invariants
//! 1. No permit is given for a key that is not certified for the device, nor for a group that the ledger does not name for it.
//! - Permits are of the generation in the newest version that the bulletin names.

use super::{Issuer, unavailable};
use crate::id::{Pseudonym, Tag};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::ledger::{DeviceRecord, Ledger};
use crate::identity::permit::{Allowed, MAX_PERMITS, entry};
use crate::time::{Epoch, Unix};
use crate::wire::enrolment::{Permits, Refusal};
use core::time::Duration;
use std::collections::BTreeSet;

impl Issuer {
    /// The permits of a device, for the keys that are certified for it by now.
    pub(super) fn permits(
        &self,
        device: &DeviceRecord,
        ledger: &mut dyn Ledger,
        bulletin: &VerifiedBulletin,
        now: Unix,
    ) -> Result<Vec<Permits>, Refusal> {
        if device.publishes.is_empty() {
            return Ok(Vec::new());
        }
        let device = ledger.device(&device.renewal).map_err(unavailable)?.ok_or(Refusal::UnknownDevice)?;
        let pairs = pairs(&device, bulletin, now);
        let groups: Vec<(Tag, u32)> = device
            .publishes
            .iter()
            .filter_map(|group| Some((*group, publishing_generation(bulletin, *group)?)))
            .collect();
        let most = MAX_PERMITS / groups.len().max(1);
        let permits = |(group, generation): (Tag, u32)| {
            let key = self.tree.publishing_key(group, generation);
            let permit = |(epoch, publisher): &(Epoch, Pseudonym)| {
                let allowed = Allowed { epoch: *epoch, publisher, group: key.tag(*epoch) };
                entry(*epoch, &allowed.sign(self.realm, &self.signing))
            };
            Permits { group, generation, permits: pairs.iter().take(most).flat_map(permit).collect() }
        };
        Ok(groups.into_iter().map(permits).collect())
    }
}

/// The epochs of the realm's default length, each with the pseudonyms that the device has in it.
fn pairs(device: &DeviceRecord, bulletin: &VerifiedBulletin, now: Unix) -> BTreeSet<(Epoch, Pseudonym)> {
    let (own, common) = (device.epoch_length, bulletin.epoch_length());
    let first = common.epoch_at(now).0.saturating_sub(1);
    let certified = device.certified.epochs().flat_map(|(epoch, publisher)| {
        let last = common.epoch_at(own.end(epoch) - Duration::from_micros(1));
        (common.epoch_at(own.start(epoch)).0.max(first)..=last.0).map(move |epoch| (Epoch(epoch), publisher))
    });
    certified.collect()
}

/// The generation of a restricted group, by the tag of its name, in the newest version that the bulletin names; `None` if the group is
/// not restricted, or the version's document is not at hand.
pub fn publishing_generation(bulletin: &VerifiedBulletin, group: Tag) -> Option<u32> {
    let versions = bulletin.group_versions().filter(|(named, _)| named.group == Some(group));
    let (_, newest) = versions.max_by_key(|(named, _)| named.version)?;
    Some(newest?.restriction.as_ref()?.generation)
}

#[cfg(test)]
mod tests;
