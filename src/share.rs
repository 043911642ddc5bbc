//! Shares: fair parts of a bounded table, so that an owner that fills it pushes out its own entries alone; and rates of
//! links.
//!
//! **Mechanism.** [`Shares`] keeps the keys of a table by owner: the link that each came over, or its sender. When one
//! more than the bound is entered, the oldest key of the owner that has most goes: an owner with less than an equal
//! part of the table never loses a key, whatever others do. [`Rates`] gives each link a token bucket.
//!
//! Invariants
//! 1. There are never more than `most` keys.
//! 2. The key that goes is the oldest of the owner that has most; if several have equally many, that is the owner that
//!    enters the new one. The caller counts it.
//! - A rate is kept only for links that have asked and are up.

use crate::id::LinkId;
use crate::time::Time;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The keys of a bounded table by owner.
#[derive(Debug)]
pub struct Shares<K, Owner = LinkId> {
    most: usize,
    last: u64,
    owners: BTreeMap<K, (Owner, u64)>,
    by_owner: BTreeMap<Owner, BTreeMap<u64, K>>,
    /// The owners by how many keys each has, so that they need not be counted.
    sizes: BTreeSet<(usize, Owner)>,
}

impl<K: Clone + Ord, Owner: Clone + Ord> Shares<K, Owner> {
    /// Creates an empty table for at most `most` keys.
    pub fn new(most: usize) -> Self {
        Self { most, last: 0, owners: BTreeMap::new(), by_owner: BTreeMap::new(), sizes: BTreeSet::new() }
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Enters a key, or makes it the newest of its owner. Returns the key that has to go for it, if one has.
    pub fn enter(&mut self, owner: Owner, key: K) -> Option<K> {
        self.leave(&key);
        self.last += 1;
        self.owners.insert(key.clone(), (owner.clone(), self.last));
        let keys = self.by_owner.entry(owner.clone()).or_default();
        self.sizes.remove(&(keys.len(), owner.clone()));
        keys.insert(self.last, key);
        let own = (keys.len(), owner);
        self.sizes.insert(own.clone());
        if self.owners.len() <= self.most {
            return None;
        }
        let most = self.sizes.last()?;
        let greediest = if most.0 == own.0 { &own.1 } else { &most.1 };
        let oldest = self.by_owner.get(greediest)?.values().next().cloned()?;
        self.leave(&oldest);
        Some(oldest)
    }

    /// Removes an owner and its keys. Returns these keys.
    pub fn forget(&mut self, owner: &Owner) -> Vec<K> {
        let keys: Vec<K> = self.by_owner.get(owner).into_iter().flat_map(|keys| keys.values().cloned()).collect();
        keys.iter().for_each(|key| self.leave(key));
        keys
    }

    /// Removes a key.
    pub fn leave(&mut self, key: &K) {
        let Some((owner, number)) = self.owners.remove(key) else { return };
        let Some(keys) = self.by_owner.get_mut(&owner) else { return };
        self.sizes.remove(&(keys.len(), owner.clone()));
        keys.remove(&number);
        if keys.is_empty() {
            self.by_owner.remove(&owner);
        } else {
            self.sizes.insert((keys.len(), owner));
        }
    }
}

/// A token bucket for each link: `burst` turns at once, and one more each `every` after that.
#[derive(Debug)]
pub struct Rates {
    burst: u32,
    every: Duration,
    left: BTreeMap<LinkId, (u32, Time)>,
}

impl Rates {
    /// Creates full buckets.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, left: BTreeMap::new() }
    }

    /// Spends a turn of a link. Returns whether it had one.
    pub fn take(&mut self, link: LinkId, now: Time) -> bool {
        let left = self.left(link, now);
        let has = *left > 0;
        *left = left.saturating_sub(1);
        has
    }

    /// Whether a link has a turn now.
    pub fn has(&mut self, link: LinkId, now: Time) -> bool {
        *self.left(link, now) > 0
    }

    fn left(&mut self, link: LinkId, now: Time) -> &mut u32 {
        let (left, since) = self.left.entry(link).or_insert((self.burst, now));
        let earned = u32::try_from(now.since(*since).as_micros() / self.every.as_micros().max(1)).unwrap_or(u32::MAX);
        if earned > 0 {
            *left = left.saturating_add(earned).min(self.burst);
            *since = now;
        }
        left
    }

    /// Forgets a link that is gone.
    pub fn forget(&mut self, link: LinkId) {
        self.left.remove(&link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2.
    #[test]
    fn who_enters_much_crowds_out_itself_alone() {
        let mut shares = Shares::new(10);
        let (modest, greedy) = (LinkId(1), LinkId(2));
        for key in 0..3 {
            assert_eq!(shares.enter(modest, key), None);
        }
        let gone: Vec<u32> = (10..40).filter_map(|key| shares.enter(greedy, key)).collect();
        assert_eq!(gone, (10..33).collect::<Vec<_>>());
        // The other owner may take up to half of the table.
        let gone: Vec<u32> = (3..9).filter_map(|key| shares.enter(modest, key)).collect();
        assert_eq!(gone, [33, 34, 0, 1, 2, 3]);
        shares.leave(&39);
        assert_eq!(shares.enter(LinkId(3), 100), None);
        assert_eq!((shares.forget(&LinkId(3)), shares.forget(&LinkId(3)), shares.len()), (vec![100], vec![], 9));
    }

    #[test]
    fn turns_come_back_with_time_up_to_a_burst() {
        let mut rates = Rates::new(3, Duration::from_secs(1));
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let taken = |rates: &mut Rates, link: u64, at: Time| (0..10).filter(|_| rates.take(LinkId(link), at)).count();
        assert_eq!((taken(&mut rates, 1, at(1)), taken(&mut rates, 2, at(1))), (3, 3));
        assert!(!rates.has(LinkId(1), at(1)));
        assert!(rates.has(LinkId(1), at(3)));
        assert_eq!((taken(&mut rates, 1, at(3)), taken(&mut rates, 1, at(100))), (2, 3));
    }
}
