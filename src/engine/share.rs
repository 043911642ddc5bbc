//! Shares: who fills a bounded table over one link crowds out only itself; and how often a link may have something done.
//!
//! **Mechanism.** [`Shares`] keeps the keys of a table by the link that each came over. When one more than the bound is
//! entered, the oldest of the link that has most goes: a link that has fewer than its part of the table never loses
//! anything, whatever others do. [`Rates`] gives each link a bucket of turns that fills with time.
//!
//! Invariants
//! 1. Never more than `most` keys, and a rate only for links that have asked and stand.
//! 2. What goes is the oldest of whoever has most, of several that of the one that enters; the caller counts it.

use crate::id::LinkId;
use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// Keys of a bounded table by the link that they came over.
#[derive(Debug)]
pub(super) struct Shares<K> {
    most: usize,
    last: u64,
    owners: BTreeMap<K, (LinkId, u64)>,
    by_link: BTreeMap<LinkId, BTreeMap<u64, K>>,
}

impl<K: Clone + Ord> Shares<K> {
    /// None yet, and never more than that.
    pub(super) fn new(most: usize) -> Self {
        Self { most, last: 0, owners: BTreeMap::new(), by_link: BTreeMap::new() }
    }

    /// Enters a key; answers which has to go for it, if one has.
    pub(super) fn enter(&mut self, link: LinkId, key: K) -> Option<K> {
        self.leave(&key);
        self.last += 1;
        self.owners.insert(key.clone(), (link, self.last));
        self.by_link.entry(link).or_default().insert(self.last, key);
        if self.owners.len() <= self.most {
            return None;
        }
        let greediest = self.by_link.iter().max_by_key(|(of, keys)| (keys.len(), **of == link))?;
        let oldest = greediest.1.values().next().cloned()?;
        self.leave(&oldest);
        Some(oldest)
    }

    /// A key is in the table no more.
    pub(super) fn leave(&mut self, key: &K) {
        let Some((link, number)) = self.owners.remove(key) else { return };
        if let Some(keys) = self.by_link.get_mut(&link) {
            keys.remove(&number);
            if keys.is_empty() {
                self.by_link.remove(&link);
            }
        }
    }
}

/// So many turns at once, and one more in each span after that, for each link.
#[derive(Debug)]
pub(super) struct Rates {
    burst: u32,
    every: Duration,
    left: BTreeMap<LinkId, (u32, Time)>,
}

impl Rates {
    /// All of them unused.
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, left: BTreeMap::new() }
    }

    /// Whether a link has a turn now; it is spent.
    pub(super) fn take(&mut self, link: LinkId, now: Time) -> bool {
        let (left, since) = self.left.entry(link).or_insert((self.burst, now));
        let earned = u32::try_from(now.since(*since).as_micros() / self.every.as_micros().max(1)).unwrap_or(u32::MAX);
        if earned > 0 {
            *left = left.saturating_add(earned).min(self.burst);
            *since = now;
        }
        let has = *left > 0;
        *left = left.saturating_sub(1);
        has
    }

    /// A link is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.left.remove(&link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_enters_much_crowds_out_itself_alone() {
        let mut shares = Shares::new(10);
        let (modest, greedy) = (LinkId(1), LinkId(2));
        for key in 0..3 {
            assert_eq!(shares.enter(modest, key), None);
        }
        let gone: Vec<u32> = (10..40).filter_map(|key| shares.enter(greedy, key)).collect();
        assert_eq!(gone, (10..33).collect::<Vec<_>>());
        // Up to half of it is the other's for the asking.
        let gone: Vec<u32> = (3..9).filter_map(|key| shares.enter(modest, key)).collect();
        assert_eq!(gone, [33, 34, 0, 1, 2, 3]);
        shares.leave(&39);
        assert_eq!(shares.enter(LinkId(3), 100), None);
    }

    #[test]
    fn turns_come_back_with_time_up_to_a_burst() {
        let mut rates = Rates::new(3, Duration::from_secs(1));
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let taken = |rates: &mut Rates, link: u64, at: Time| (0..10).filter(|_| rates.take(LinkId(link), at)).count();
        assert_eq!((taken(&mut rates, 1, at(1)), taken(&mut rates, 2, at(1))), (3, 3));
        assert_eq!((taken(&mut rates, 1, at(3)), taken(&mut rates, 1, at(100))), (2, 3));
    }
}
