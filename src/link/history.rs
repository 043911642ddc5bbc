//! Failure history: which hops end-to-end receipts speak for, and which they speak against.
//!
//! A relay that acknowledges and drops looks like a perfect neighbour; only the receiver's silence tells. A path of k hops
//! that was not confirmed lays 1/k of a failure on each of them, one that was confirmed a success on each: hops that
//! also lie on good paths are soon cleared, and one that is common to the bad ones is not. Both fade, so that nobody is
//! shunned for good: with little left against it a hop is tried again, and one more failure is enough then.
//!
//! The idea is that of probabilistic payments over channels whose state is not known.
//!
//! Invariants
//! 1. At most [`MAX_PAIRS`] hops; drop policy: the one longest untouched is forgotten.
//! 2. Without news every hop comes to be free of doubt.

use crate::id::Pseudonym;
use crate::time::Time;
use std::collections::BTreeMap;

/// Most hops remembered.
pub const MAX_PAIRS: usize = 4_096;
/// What is known fades to a half in this time.
const HALF_LIFE: u64 = 60 * 1_000_000;
/// One failure or success, in parts.
const ONE: u64 = 1 << 16;
/// Successes that every hop is believed to have to begin with.
const BELIEF: u64 = ONE;
/// A hop that succeeds less often than this is shunned, in percent.
const SHUNNED: u64 = 45;
/// Less blame than this, in parts, shuns nobody.
const LEAST_BLAME: u64 = ONE;
/// Blame and praise that count at most.
const MOST: u64 = 8 * ONE;

/// A hop, by its two ends.
pub type Pair = (Pseudonym, Pseudonym);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct History {
    pairs: BTreeMap<Pair, Record>,
    forgotten: u64,
}

/// What is known of one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    blame: u64,
    praise: u64,
    at: Time,
}

impl Record {
    fn faded(self, now: Time) -> Self {
        let passed = now.0.saturating_sub(self.at.0);
        let (halvings, rest) = (passed / HALF_LIFE, passed % HALF_LIFE);
        let fade = |amount: u64| {
            let amount = amount.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
            amount - amount / 2 * rest / HALF_LIFE
        };
        Self { blame: fade(self.blame), praise: fade(self.praise), at: now }
    }

    /// Part of 65,535 in which it succeeds.
    fn doubt(self) -> u16 {
        let good = self.praise + BELIEF;
        u16::try_from(good * 65_535 / (good + self.blame)).unwrap_or(u16::MAX)
    }

    fn is_shunned(self) -> bool {
        self.blame >= LEAST_BLAME && u64::from(self.doubt()) * 100 < SHUNNED * 65_535
    }
}

impl History {
    /// A path was not confirmed in time. Answers whether that shuns a hop that was not shunned before.
    pub fn failed(&mut self, path: &[Pair], now: Time) -> bool {
        let share = ONE / (path.len().max(1) as u64);
        path.iter().fold(false, |changed, pair| {
            changed
                | self.touch(*pair, now, |record| {
                    record.blame = (record.blame + share).min(MOST);
                    record.praise = record.praise.saturating_sub(share);
                })
        })
    }

    /// A path was confirmed. Answers whether a hop that was shunned is no more.
    pub fn succeeded(&mut self, path: &[Pair], now: Time) -> bool {
        let mut changed = false;
        for pair in path {
            // A hop without blame needs no praise: it is trusted anyway.
            if self.pairs.contains_key(pair) {
                changed |= self.touch(*pair, now, |record| {
                    record.praise = (record.praise + ONE).min(MOST);
                    record.blame /= 2;
                });
            }
        }
        changed
    }

    fn touch(&mut self, pair: Pair, now: Time, change: impl FnOnce(&mut Record)) -> bool {
        if self.pairs.len() >= MAX_PAIRS
            && !self.pairs.contains_key(&pair)
            && let Some(oldest) = self.pairs.iter().min_by_key(|(_, record)| record.at).map(|(pair, _)| *pair)
        {
            self.pairs.remove(&oldest);
            self.forgotten += 1;
        }
        let record = self.pairs.entry(pair).or_insert(Record { blame: 0, praise: 0, at: now });
        let mut news = record.faded(now);
        let before = news.is_shunned();
        change(&mut news);
        *record = news;
        if news.blame < ONE / 64 {
            self.pairs.remove(&pair);
        }
        before != news.is_shunned()
    }

    /// Hops that are in doubt: part of 65,535 in which each succeeds, and whether it is shunned.
    pub fn doubts(&self, now: Time) -> impl Iterator<Item = (Pair, u16, bool)> {
        self.pairs.iter().filter_map(move |(pair, record)| {
            let record = record.faded(now);
            (record.blame >= ONE / 16).then(|| (*pair, record.doubt(), record.is_shunned()))
        })
    }

    /// How many hops have been forgotten for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn hop(from: u8, to: u8) -> Pair {
        (Pseudonym([from; 32]), Pseudonym([to; 32]))
    }

    fn shunned(history: &History, pair: Pair, now: Time) -> bool {
        history.doubts(now).any(|(known, _, shunned)| known == pair && shunned)
    }

    fn second(n: u64) -> Time {
        Time(n * 1_000_000)
    }

    #[test]
    fn a_black_hole_is_found_and_its_neighbours_are_cleared() {
        let mut history = History::default();
        // 1 → 2 → 9 → 4 fails, since 9 drops; 1 → 2 → 3 → 4 works.
        let bad = [hop(1, 2), hop(2, 9), hop(9, 4)];
        let good = [hop(1, 2), hop(2, 3), hop(3, 4)];
        let mut now = second(1);
        let mut failures = 0;
        while !shunned(&history, hop(2, 9), now) {
            history.failed(&bad, now);
            failures += 1;
            now = now + Duration::from_secs(2);
            assert!(failures <= 10);
        }
        history.succeeded(&good, now);
        history.succeeded(&good, now);
        assert!(!shunned(&history, hop(1, 2), now));
        assert!(shunned(&history, hop(2, 9), now));
    }

    #[test]
    fn nobody_is_shunned_for_good() {
        let mut history = History::default();
        for at in 0..100 {
            history.failed(&[hop(1, 2), hop(2, 3)], second(at));
        }
        assert!(shunned(&history, hop(1, 2), second(100)));
        assert!(!shunned(&history, hop(1, 2), second(100 + 6 * 60)));
        assert!(!history.doubts(second(3_600)).any(|_| true));
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for at in 0..u64::try_from(MAX_PAIRS).unwrap_or(0) + 10 {
            let mut far = [0; 32];
            far[..8].copy_from_slice(&at.to_be_bytes());
            history.failed(&[(Pseudonym([0; 32]), Pseudonym(far))], second(at));
        }
        assert_eq!((history.pairs.len(), history.forgotten()), (MAX_PAIRS, 10));
    }
}
