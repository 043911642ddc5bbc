//! Which restricted groups a device may publish to, as the ledger says it to the issuer.

use super::{Book, LedgerError};
use crate::id::{DeviceId, Tag};
use crate::identity::permit::MAX_GROUPS;
use std::collections::BTreeSet;

impl Book {
    /// The devices in force that may publish to a group, by the tag of its name.
    pub fn publishers(&self, group: Tag) -> BTreeSet<DeviceId> {
        let may = self.devices().into_iter().filter(|device| !device.revoked && device.publishes.contains(&group));
        may.map(|device| device.device).collect()
    }

    /// Lets these devices publish to a group and no others; the issuer grants them permits from then on.
    ///
    /// # Errors
    /// One of them would publish to more restricted groups than a device may; nothing is changed then.
    pub fn assign_publishers(&mut self, group: Tag, publishers: &BTreeSet<DeviceId>) -> Result<(), LedgerError> {
        for device in publishers.iter().filter_map(|id| self.devices.get(id)) {
            if device.publishes.iter().filter(|other| **other != group).count() >= MAX_GROUPS {
                return Err(LedgerError::TooManyGroups(device.name.clone()));
            }
        }
        for device in self.devices.values_mut() {
            device.publishes.retain(|other| *other != group);
            if publishers.contains(&device.device) {
                device.publishes.push(group);
            }
        }
        Ok(())
    }
}
