//! Handle: how a device is found by its contacts and by nobody else.
//!
//! A device has a chain of *resolution keys*, one a day, RK(0), RK(1), …, counted from the realm's founding. Each
//! follows from the one before, and none from the one after. The handle of an epoch is a tag of the epoch's number
//! under the key of the day that the epoch begins in. Whoever is given RK(d) finds the device from day d on, never
//! before: a contact card holds such a key, and a revocation publishes one.
//!
//! Invariants
//! 1. From RK(d) follow RK(d+1), RK(d+2), …; RK(d−1) does not.
//! - Only a holder of the resolution key of that day or an earlier one can tell a handle from random bytes.

use crate::id::{DeviceId, Handle};
use crate::identity::kdf::{self, Secret, label};
use crate::time::{Day, Epoch, EpochLength};

/// A device's resolution key of one day.
#[derive(Clone)]
pub struct DayKey {
    day: Day,
    key: Secret,
}

impl DayKey {
    /// Derives RK(0) of a device; only the operator and the issuers have the secret `resolve`.
    pub fn first(resolve: &Secret, device: DeviceId, generation: u32) -> Self {
        let key = kdf::derive(resolve.as_slice(), label::RESOLUTION, &[&device.0, &generation.to_be_bytes()]);
        Self { day: Day(0), key }
    }

    /// Takes RK(day) as it was handed out.
    pub fn of(day: Day, key: [u8; 32]) -> Self {
        Self { day, key: Secret::new(key) }
    }

    /// Returns the key of a later day; `None` for an earlier day, or one more than [`MAX_DAYS`] further on.
    pub fn at(&self, day: Day) -> Option<Self> {
        let steps = day.0.checked_sub(self.day.0).filter(|steps| *steps <= MAX_DAYS)?;
        let mut key = self.key.clone();
        for _ in 0..steps {
            key = kdf::derive(key.as_slice(), label::DAY, &[]);
        }
        Some(Self { day, key })
    }

    /// Returns the device's handle in an epoch, for a realm founded at `founded` (unix seconds); `None` before the
    /// key's day.
    pub fn handle(&self, epoch: Epoch, length: EpochLength, founded: u64) -> Option<Handle> {
        let key = self.at(day_of(epoch, length, founded))?.key;
        Some(Handle(kdf::tag(key.as_slice(), label::HANDLE, &[&epoch.0.to_be_bytes()])))
    }

    /// The day that the key is of.
    pub fn day(&self) -> Day {
        self.day
    }

    /// The key itself.
    pub fn key(&self) -> &Secret {
        &self.key
    }
}

impl core::fmt::Debug for DayKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DayKey").field("day", &self.day).finish_non_exhaustive()
    }
}

/// The day that an epoch begins in, counted from the realm's founding (unix seconds).
pub fn day_of(epoch: Epoch, length: EpochLength, founded: u64) -> Day {
    length.start(epoch).day_since(founded)
}

/// Longest stretch of a resolution-key chain that is computed at once, in days: a hundred years. It bounds the cost of
/// a clock that is far off.
pub const MAX_DAYS: u32 = 36_600;

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    /// Invariant 1.
    #[test]
    fn the_chain_goes_on_from_any_day_and_never_back() {
        let first = DayKey::first(&Zeroizing::new([1; 32]), DeviceId([2; 16]), 0);
        let third = first.at(Day(3)).expect("a later day");
        let fifth = first.at(Day(5)).expect("a later day");
        assert_eq!(third.at(Day(5)).expect("a later day").key(), fifth.key());
        assert!(fifth.at(Day(4)).is_none());
        assert!(first.at(Day(MAX_DAYS + 1)).is_none());
    }

    #[test]
    fn every_input_changes_the_output() {
        let resolve = Zeroizing::new([1; 32]);
        let keys = [
            DayKey::first(&resolve, DeviceId([2; 16]), 0),
            DayKey::first(&resolve, DeviceId([2; 16]), 1),
            DayKey::first(&resolve, DeviceId([3; 16]), 0),
            DayKey::first(&Zeroizing::new([4; 32]), DeviceId([2; 16]), 0),
        ];
        let handles: std::collections::BTreeSet<_> = keys
            .iter()
            .flat_map(|key| [7, 8, 30].map(|epoch| key.handle(Epoch(epoch), EpochLength::HOUR, 0)))
            .collect();
        assert_eq!(handles.len(), 12);
    }

    /// Invariant 1.
    #[test]
    fn a_later_key_computes_the_same_handles_from_its_day_on() {
        let first = DayKey::first(&Zeroizing::new([1; 32]), DeviceId([2; 16]), 0);
        let second = first.at(Day(1)).expect("a later day");
        assert_eq!(second.handle(Epoch(24), EpochLength::HOUR, 0), first.handle(Epoch(24), EpochLength::HOUR, 0));
        assert_eq!(second.handle(Epoch(23), EpochLength::HOUR, 0), None);
    }
}
