//! Which segments a device is in, as the ledger says it to the issuer.

use super::{Book, DeviceRecord, LedgerError};
use crate::id::Name;

impl Book {
    /// Puts a device in force into these segments (as in credentials) and no others; returns whether they were others, and the record.
    ///
    /// # Errors
    /// [`LedgerError::NoName`].
    pub fn assign_segments(&mut self, name: &Name, segments: u64) -> Result<(bool, DeviceRecord), LedgerError> {
        let no_name = || LedgerError::NoName(name.clone());
        let device = self.named(name).ok_or_else(no_name)?.device;
        let record = self.devices.get_mut(&device).ok_or_else(no_name)?;
        let changed = record.segments != segments;
        record.segments = segments;
        Ok((changed, record.clone()))
    }
}
