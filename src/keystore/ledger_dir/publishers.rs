//! Which restricted groups a device may publish to, durably.

use super::LedgerDir;
use crate::id::{DeviceId, Tag};
use crate::identity::ledger::LedgerError;
use std::collections::BTreeSet;

impl LedgerDir {
    /// As [`Book::assign_publishers`](crate::identity::ledger::Book::assign_publishers); written when it returns.
    ///
    /// # Errors
    /// A device has too many rights, or the disk takes no write.
    pub fn assign_publishers(&mut self, group: Tag, publishers: &BTreeSet<DeviceId>) -> Result<(), LedgerError> {
        self.devices_changed(|book| book.assign_publishers(group, publishers))
    }
}
