//! Spending: how much of a bearer's quota is left in its period.
//!
//! Periods are counted from 1970-01-01 UTC, so that a restart finds the one it is in.
//!
//! Invariants
//! 1. What is spent in a period only grows, and is gone with the period.

use super::bearer::Quota;
use crate::time::Unix;
use serde::{Deserialize, Serialize};

/// What has gone over a bearer in its present period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    quota: Option<Quota>,
    spent: Spent,
}

/// What the store keeps of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Which period.
    pub period: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Spend {
    /// Nothing spent.
    pub fn new(quota: Option<Quota>) -> Self {
        Self { quota, spent: Spent::default() }
    }

    /// Takes up what the store kept.
    pub fn restore(&mut self, spent: Spent) {
        self.spent = spent;
    }

    /// For the store.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Bytes have gone. Answers whether that was the last of the quota.
    pub fn spend(&mut self, bytes: u64, now: Unix) -> bool {
        let Some(quota) = self.quota else { return false };
        let period = quota.period(now);
        if period != self.spent.period {
            self.spent = Spent { period, bytes: 0 };
        }
        let before = self.spent.bytes;
        self.spent.bytes = before.saturating_add(bytes);
        before < quota.bytes && self.spent.bytes >= quota.bytes
    }

    /// Bytes that are left in the period; `None` without a quota.
    pub fn left(&self, now: Unix) -> Option<u64> {
        let quota = self.quota?;
        let spent = if quota.period(now) == self.spent.period { self.spent.bytes } else { 0 };
        Some(quota.bytes.saturating_sub(spent))
    }

    /// Whether nothing is left.
    pub fn is_exhausted(&self, now: Unix) -> bool {
        self.left(now) == Some(0)
    }

    /// When a period ends of which nothing is left.
    pub fn next_change(&self, now: Unix) -> Option<Unix> {
        let quota = self.quota.filter(|_| self.is_exhausted(now))?;
        Some(quota.end(quota.period(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_quota_ends_once_and_is_there_again_in_the_next_period() {
        let mut spend = Spend::new(Some(Quota { bytes: 100, every: Duration::from_secs(60) }));
        let at = Unix::from_seconds;
        assert!(!spend.spend(60, at(0)));
        assert!(spend.spend(60, at(10)));
        assert!(!spend.spend(1, at(20)));
        assert_eq!((spend.left(at(30)), spend.next_change(at(30))), (Some(0), Some(at(60))));
        assert_eq!((spend.left(at(60)), spend.next_change(at(60))), (Some(100), None));
        let mut other = Spend::new(Some(Quota { bytes: 100, every: Duration::from_secs(60) }));
        other.restore(spend.spent());
        assert!(other.is_exhausted(at(59)));
        assert!(!Spend::new(None).spend(u64::MAX, at(0)));
    }
}
