//! Shares: fair parts of a bounded table, so that an owner that fills it pushes out its own entries alone; and rates of
//! members.
//!
//! **Mechanism.** [`Shares`] keeps the keys of a table by owner: the link that each came over, or its sender. When one
//! more than the bound is entered, the oldest key of the owner that has most goes: an owner with less than an equal
//! part of the table never loses a key, whatever others do. [`Rates`] gives each owner a token bucket. The owner of a rate
//! is a neighbour's pseudonym and not a link, so that a neighbour earns nothing by a second link, or by a new one. A device
//! under the pseudonym of another epoch is another owner: it has at most two that are accepted at a time.
//!
//! Invariants
//! 1. There are never more than `most` keys.
//! 2. The key that goes is the oldest of the owner that has most; if several have equally many, that is the owner that
//!    enters the new one. The caller counts it.
//! 3. At most [`MAX_OWNERS`] owners of a rate are remembered. Drop policy: those that have all turns again are forgotten,
//!    which changes nothing; if there are none, the one that has most turns left, which gains the rest of a burst. Neither
//!    is counted.

use crate::id::{LinkId, Pseudonym};
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

/// A token bucket for each owner: `burst` turns at once, and one more each `every` after that.
#[derive(Debug)]
pub struct Rates<Owner = Pseudonym> {
    burst: u32,
    every: Duration,
    left: BTreeMap<Owner, (u32, Time)>,
}

impl<Owner: Clone + Ord> Rates<Owner> {
    /// Creates full buckets.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, left: BTreeMap::new() }
    }

    /// Spends a turn of an owner. Returns whether it had one.
    pub fn take(&mut self, owner: &Owner, now: Time) -> bool {
        self.take_all(owner, 1, now) == 1
    }

    /// Spends as many turns of an owner as it has, at most `wanted`. Returns how many.
    pub fn take_all(&mut self, owner: &Owner, wanted: u32, now: Time) -> u32 {
        let left = self.left(owner, now);
        let taken = wanted.min(*left);
        *left -= taken;
        taken
    }

    /// An owner goes on under another name: what it has used up, it has used up there too. Of two names the one with
    /// fewer turns counts.
    pub fn inherit(&mut self, from: &Owner, to: Owner, now: Time) {
        if self.left.contains_key(from) {
            let left = *self.left(from, now);
            let known = self.left(&to, now);
            *known = left.min(*known);
        }
    }

    /// Whether an owner has a turn now.
    pub fn has(&mut self, owner: &Owner, now: Time) -> bool {
        *self.left(owner, now) > 0
    }

    fn left(&mut self, owner: &Owner, now: Time) -> &mut u32 {
        if !self.left.contains_key(owner) && self.left.len() >= MAX_OWNERS {
            self.make_room(now);
        }
        let (left, since) = self.left.entry(owner.clone()).or_insert((self.burst, now));
        let earned = earned(self.every, *since, now);
        if earned > 0 {
            *left = left.saturating_add(earned).min(self.burst);
            *since = now;
        }
        left
    }

    /// Forgets the owners that have all turns again; if there are none, the one that has most.
    fn make_room(&mut self, now: Time) {
        let (burst, every) = (self.burst, self.every);
        let turns = |left: u32, since: Time| left.saturating_add(earned(every, since, now)).min(burst);
        self.left.retain(|_, (left, since)| turns(*left, *since) < burst);
        if self.left.len() >= MAX_OWNERS {
            let richest = self.left.iter().max_by_key(|(_, (left, since))| turns(*left, *since));
            if let Some(richest) = richest.map(|(owner, _)| owner.clone()) {
                self.left.remove(&richest);
            }
        }
    }
}

/// The turns that have been earned since then.
fn earned(every: Duration, since: Time, now: Time) -> u32 {
    u32::try_from(now.since(since).as_micros() / every.as_micros().max(1)).unwrap_or(u32::MAX)
}

/// Most owners whose turns are remembered: the routers of an area, each of which has had a link.
const MAX_OWNERS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_on_under_another_name_has_no_more_turns_than_before() {
        let mut rates = Rates::new(3, Duration::from_secs(1));
        let now = Time(5_000_000);
        assert_eq!(rates.take_all(&"old", 2, now), 2);
        rates.inherit(&"old", "new", now);
        rates.inherit(&"unknown", "other", now);
        assert_eq!((rates.take_all(&"new", 9, now), rates.take_all(&"other", 9, now)), (1, 3));
        rates.inherit(&"old", "new", now);
        assert!(!rates.has(&"new", now), "of two the fewer");
    }

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
        let taken = |rates: &mut Rates<u64>, owner: u64, at: Time| (0..10).filter(|_| rates.take(&owner, at)).count();
        assert_eq!((taken(&mut rates, 1, at(1)), taken(&mut rates, 2, at(1))), (3, 3));
        assert!(!rates.has(&1, at(1)));
        assert!(rates.has(&1, at(3)));
        assert_eq!((taken(&mut rates, 1, at(3)), taken(&mut rates, 1, at(100))), (2, 3));
        assert_eq!((rates.take_all(&2, 9, at(3)), rates.take_all(&2, 9, at(3))), (2, 0));
    }

    /// Invariant 3.
    #[test]
    fn no_more_owners_are_remembered_than_may_be_and_those_that_have_spent_most_stay() {
        let mut rates = Rates::new(4, Duration::from_secs(1));
        for owner in 0..3 * MAX_OWNERS {
            let spent = if owner == 7 { 4 } else { 1 };
            rates.take_all(&owner, spent, Time(0));
            assert!(rates.left.len() <= MAX_OWNERS);
        }
        assert!(!rates.has(&7, Time(0)), "the one that has none left is not forgotten");
        assert!(!rates.has(&7, Time(999_999)));
        rates.take(&usize::MAX, Time(2_000_000));
        assert!(rates.left.len() <= 2, "all others have their turns again");
    }
}
