//! Which segments a device is in, durably.

use super::LedgerDir;
use crate::id::Name;
use crate::identity::ledger::{DeviceRecord, LedgerError};

impl LedgerDir {
    /// As [`Book::assign_segments`](crate::identity::ledger::Book::assign_segments); written when it returns.
    ///
    /// # Errors
    /// There is no such device, or the disk takes no write.
    pub fn assign_segments(&mut self, name: &Name, segments: u64) -> Result<(bool, DeviceRecord), LedgerError> {
        self.locked(|book, entries| {
            let (changed, record) = book.assign_segments(name, segments)?;
            if changed {
                entries.put_device(&record);
            }
            Ok((changed, record))
        })
    }
}
