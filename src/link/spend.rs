//! Spending: how many bytes have gone over a bearer in the present period of its quota, and how many are left.
//!
//! Periods are counted from 1970-01-01 UTC, so that a restart finds the one that it is in.
//!
//! Invariants
//! 1. The amount spent in a period only grows, and ends with the period.
//! 2. A clock that is set back returns nothing: what was spent counts in the period that the clock is set back to, and
//!    no longer.

use super::bearer::Quota;
use crate::time::Unix;
use serde::{Deserialize, Serialize};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    quota: Option<Quota>,
    spent: Spent,
}

/// The part of the state that the store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The number of the period.
    pub period: u64,
    /// The bytes spent in it.
    pub bytes: u64,
}

impl Spend {
    /// Creates a state with nothing spent; `None` means that there is no quota.
    pub fn new(quota: Option<Quota>) -> Self {
        Self { quota, spent: Spent::default() }
    }

    /// Restores what the store has kept.
    pub fn restore(&mut self, spent: Spent) {
        self.spent = spent;
    }

    /// Returns what the store is to keep.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Adds bytes that were sent or received. Returns whether they used up the quota.
    pub fn spend(&mut self, bytes: u64, now: Unix) -> bool {
        let Some(quota) = self.quota else { return false };
        self.spent = self.current(&quota, now);
        let before = self.spent.bytes;
        self.spent.bytes = before.saturating_add(bytes);
        before < quota.bytes && self.spent.bytes >= quota.bytes
    }

    /// The bytes that are left in the period; `None` without a quota.
    pub fn left(&self, now: Unix) -> Option<u64> {
        let quota = self.quota?;
        Some(quota.bytes.saturating_sub(self.current(&quota, now).bytes))
    }

    /// The part of the quota that is left, in parts of 65,535; `None` without a quota.
    pub fn fraction_left(&self, now: Unix) -> Option<u16> {
        let (quota, left) = (self.quota?, self.left(now)?);
        let parts = u128::from(left) * u128::from(u16::MAX) / u128::from(quota.bytes.max(1));
        Some(u16::try_from(parts).unwrap_or(u16::MAX))
    }

    /// Whether nothing is left of the quota.
    pub fn is_exhausted(&self, now: Unix) -> bool {
        self.left(now) == Some(0)
    }

    /// When the present period ends, if nothing is left of it; otherwise `None`.
    pub fn next_change(&self, now: Unix) -> Option<Unix> {
        let quota = self.quota.filter(|_| self.is_exhausted(now))?;
        Some(quota.end(self.current(&quota, now).period))
    }

    fn current(&self, quota: &Quota, now: Unix) -> Spent {
        let period = quota.period(now);
        Spent { period, bytes: if period > self.spent.period { 0 } else { self.spent.bytes } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use core::time::Duration;

    fn at(second: u64) -> Unix {
        Unix::from_seconds(1_800_000_000 + second)
    }

    fn spend() -> Spend {
        Spend::new(Some(Quota { bytes: 100, every: Duration::from_secs(60) }))
    }

    /// Invariant 1.
    #[test]
    fn a_quota_ends_once_and_is_there_again_in_the_next_period() {
        let mut spend = spend();
        assert_eq!((spend.left(at(0)), spend.fraction_left(at(0))), (Some(100), Some(u16::MAX)));
        assert!(!spend.spend(60, at(0)));
        assert_eq!((spend.left(at(5)), spend.fraction_left(at(5))), (Some(40), Some(26_214)));
        assert!(spend.spend(60, at(10)));
        assert!(!spend.spend(1, at(20)), "it was spent before");
        assert!(spend.is_exhausted(at(30)));
        assert_eq!((spend.fraction_left(at(30)), spend.next_change(at(30))), (Some(0), Some(at(60))));
        assert_eq!((spend.left(at(60)), spend.next_change(at(60))), (Some(100), None));
        assert!(!spend.spend(99, at(60)));
        assert_eq!(spend.left(at(61)), Some(1));
    }

    #[test]
    fn a_restart_finds_what_was_spent() {
        let mut before = spend();
        before.spend(70, at(0));
        let kept: Spent = wire::decode(&wire::encode(&before.spent())).expect("our own");
        let mut after = spend();
        after.restore(kept);
        assert_eq!((after.left(at(59)), after.left(at(60))), (Some(30), Some(100)));
    }

    /// Invariant 2.
    #[test]
    fn a_clock_that_goes_back_brings_nothing_back() {
        let mut spend = spend();
        spend.spend(100, at(0));
        assert_eq!((spend.left(at(60)), spend.spend(100, at(60))), (Some(100), true));
        assert!(spend.is_exhausted(at(0)));
        assert_eq!(spend.next_change(at(0)), Some(at(60)));
        // A clock that was years ahead does not block the bearer for years.
        spend.spend(1, at(0));
        assert_eq!((spend.left(at(59)), spend.left(at(60))), (Some(0), Some(100)));
    }

    #[test]
    fn without_a_quota_nothing_ends() {
        let mut spend = Spend::new(None);
        assert!(!spend.spend(u64::MAX, at(0)) && !spend.is_exhausted(at(0)));
        assert_eq!((spend.left(at(0)), spend.fraction_left(at(0)), spend.next_change(at(0))), (None, None, None));
    }
}
