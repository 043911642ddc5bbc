//! Failure history: for which hops end-to-end receipts give evidence of success, and for which of failure.
//!
//! A relay that acknowledges frames and drops them looks like a perfect neighbour; only the missing receipt shows it. A
//! path that was not confirmed in time adds one failure, shared out among its hops; a path that was confirmed adds a
//! success to each of its hops. Payment channel networks learn in the same manner about channels that they cannot
//! observe.
//!
//! **Sharing.** Each hop of a failed path takes a part of the failure in proportion to its present failure rate plus a
//! tenth. Without history, each of k hops takes 1/k; a hop that has lately succeeded, on whatever path, takes less. So
//! the blame gathers where the failing paths meet.
//!
//! **Counting.** Successes and failures of a hop are counted in a sliding window of [`WINDOW`] of them: as much of the
//! older counts fades as is added. So two successes clear a hop of most of its blame, and a long good past does not
//! hide that a relay has begun to drop. Both counts also fade with time, by a half in [`HALF_LIFE`].
//!
//! **Doubt** is the share of messages that a hop lets through, with [`BELIEF`] successes to begin with. A hop is
//! shunned when this share is below [`SHUNNED`] and more than [`LEAST_BLAME`] failures are counted against it: a relay
//! that drops everything is shunned after four messages over three hops, or after ten if all hops were good before. A
//! single failed message makes no hop shunned.
//!
//! Invariants
//! 1. At most [`MAX_PAIRS`] hops are kept. Drop policy: the hop that was not updated for the longest time is forgotten,
//!    counted.
//! 2. Without new evidence no hop stays shunned, and every hop becomes free of doubt.

use super::fade::{faded, steps};
use crate::id::Pseudonym;
use crate::time::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most hops remembered.
pub const MAX_PAIRS: usize = 4_096;
/// The time in which the counts fade to a half.
pub const HALF_LIFE: Duration = Duration::from_secs(60);
/// One success or failure, in the unit of the counts.
const ONE: u64 = 1 << 20;
/// The number of successes and failures of a hop that the window holds.
const WINDOW: u64 = 2;
/// The successes that every hop is credited with.
const BELIEF: u64 = ONE * 3 / 10;
/// A hop with a share of successes below this, in parts of 65,535, is shunned,
const SHUNNED: u16 = 19_660;
/// if more failures than this are counted against it.
const LEAST_BLAME: u64 = ONE;
/// The part of a failure that a hop without doubt takes, compared with one that always fails: a tenth, in parts of
/// 65,535.
const UNDOUBTED: u64 = 6_554;
/// The time for which another success of a hop is not counted, if the hop has just succeeded and has no failures.
const TRUSTED: Duration = Duration::from_secs(1);
/// A count below this is treated as zero.
const NOTHING: u64 = ONE / 64;

/// A hop, by its two ends.
pub type Pair = (Pseudonym, Pseudonym);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct History {
    pairs: BTreeMap<Pair, Record>,
    /// The hops, ordered by the time of their last update.
    order: BTreeSet<(Time, Pair)>,
    forgotten: u64,
}

/// The counts of one hop.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    successes: u64,
    failures: u64,
    /// The time up to which the counts have been faded.
    at: Time,
    touched: Time,
}

/// The counts of one hop, for the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The start of the hop.
    pub from: Pseudonym,
    /// The end of the hop.
    pub to: Pseudonym,
    /// The successes, in parts of 2²⁰.
    pub successes: u64,
    /// The failures, in parts of 2²⁰.
    pub failures: u64,
}

impl History {
    /// Notes that a path was not confirmed in time. Returns whether this made any hop shunned.
    pub fn failed(&mut self, path: &[Pair], now: Time) -> bool {
        let doubt = |pair: &Pair| u64::from(u16::MAX - self.doubt(pair, now)) + UNDOUBTED;
        let doubts: Vec<u64> = path.iter().map(doubt).collect();
        let all = doubts.iter().sum::<u64>().max(1);
        path.iter()
            .zip(doubts)
            .fold(false, |changed, (pair, doubt)| changed | self.count(pair, ONE * doubt / all, 0, now))
    }

    /// Notes that a path was confirmed. Returns whether this cleared any shunned hop.
    pub fn succeeded(&mut self, path: &[Pair], now: Time) -> bool {
        path.iter().fold(false, |changed, pair| {
            // Most hops succeed all the time, and one more success adds no information.
            let trusted = self.pairs.get(pair).is_some_and(|record| record.is_trusted(now));
            changed | (!trusted && self.count(pair, 0, ONE, now))
        })
    }

    /// A node has another pseudonym from now on: what is known of hops from and to it holds of that as well, unless something is known already.
    pub fn inherit(&mut self, from: &Pseudonym, to: Pseudonym) {
        let renamed = |key: Pseudonym| if key == *from { to } else { key };
        let known = self.pairs.iter().filter(|((a, b), _)| a == from || b == from);
        let known: Vec<(Pair, Record)> = known.map(|((a, b), record)| ((renamed(*a), renamed(*b)), *record)).collect();
        for (pair, record) in known {
            if !self.pairs.contains_key(&pair) {
                self.put(pair, record);
            }
        }
    }

    /// The share of messages that a hop lets through, in parts of 65,535; 65,535 for a hop without doubt.
    pub fn doubt(&self, pair: &Pair, now: Time) -> u16 {
        self.pairs.get(pair).map_or(u16::MAX, |record| record.faded(now).doubt())
    }

    /// Whether a hop is to be used only where there is no other.
    pub fn shunned(&self, pair: &Pair, now: Time) -> bool {
        self.pairs.get(pair).is_some_and(|record| record.faded(now).is_shunned())
    }

    /// The hops in doubt, ascending, each with its share of successes in parts of 65,535 and whether it is shunned.
    pub fn doubts(&self, now: Time) -> impl Iterator<Item = (Pair, u16, bool)> {
        self.pairs.iter().filter_map(move |(pair, record)| {
            let record = record.faded(now);
            (record.failures >= NOTHING).then(|| (*pair, record.doubt(), record.is_shunned()))
        })
    }

    /// The number of hops remembered.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no hop is remembered.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The number of hops that were forgotten for want of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets the hops whose counts have faded to nothing.
    pub fn tidy(&mut self, now: Time) {
        self.pairs.retain(|_, record| {
            let left = record.faded(now);
            left.successes + left.failures >= NOTHING
        });
        self.order.retain(|(_, pair)| self.pairs.contains_key(pair));
    }

    /// The present counts of the hops in doubt, for the store.
    pub fn keep(&self, now: Time) -> Vec<Kept> {
        let known = self.pairs.iter().map(|(pair, record)| (pair, record.faded(now)));
        let known = known.filter(|(_, record)| record.failures >= NOTHING);
        known
            .map(|((from, to), Record { successes, failures, .. })| Kept { from: *from, to: *to, successes, failures })
            .collect()
    }

    /// Restores the counts that were stored `age` ago.
    pub fn restore(&mut self, kept: &[Kept], age: Duration, now: Time) {
        for Kept { from, to, successes, failures } in kept.iter().take(MAX_PAIRS) {
            let fade = |parts: u64| faded(parts.min(WINDOW * ONE), steps(&mut Time(0), Time(0) + age, HALF_LIFE));
            let record = Record { successes: fade(*successes), failures: fade(*failures), at: now, touched: now };
            self.put((*from, *to), record);
        }
        self.tidy(now);
    }

    /// Adds to the counts of a hop. Returns whether this changed whether the hop is shunned.
    fn count(&mut self, pair: &Pair, failures: u64, successes: u64, now: Time) -> bool {
        let known = self.pairs.get(pair).copied().unwrap_or(Record { at: now, ..Record::default() }).faded(now);
        let older = |parts: u64| parts - parts * (failures + successes) / (WINDOW * ONE);
        let record = Record {
            successes: older(known.successes) + successes,
            failures: older(known.failures) + failures,
            at: known.at,
            touched: now,
        };
        self.put(*pair, record);
        known.is_shunned() != record.is_shunned()
    }

    fn put(&mut self, pair: Pair, record: Record) {
        if let Some(before) = self.pairs.insert(pair, record) {
            self.order.remove(&(before.touched, pair));
        } else if self.pairs.len() > MAX_PAIRS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.pairs.remove(&oldest);
            self.forgotten += 1;
        }
        self.order.insert((record.touched, pair));
    }
}

impl Record {
    fn faded(mut self, now: Time) -> Self {
        let steps = steps(&mut self.at, now, HALF_LIFE);
        self.successes = faded(self.successes, steps);
        self.failures = faded(self.failures, steps);
        self
    }

    fn doubt(&self) -> u16 {
        if self.failures < NOTHING {
            return u16::MAX;
        }
        let good = self.successes + BELIEF;
        u16::try_from(good * u64::from(u16::MAX) / (good + self.failures)).unwrap_or(u16::MAX)
    }

    /// Whether the hop has only succeeded lately.
    fn is_trusted(&self, now: Time) -> bool {
        self.failures < NOTHING && self.successes > WINDOW * ONE * 9 / 10 && now.since(self.touched) < TRUSTED
    }

    fn is_shunned(&self) -> bool {
        self.failures > LEAST_BLAME && self.doubt() < SHUNNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn path(nodes: &[u8]) -> Vec<Pair> {
        nodes.windows(2).map(|pair| hop(pair[0], pair[1])).collect()
    }

    fn hop(from: u8, to: u8) -> Pair {
        (Pseudonym([from; 32]), Pseudonym([to; 32]))
    }

    fn second(at: u64) -> Time {
        Time(at * 1_000_000)
    }

    /// The number of failed messages, one every `every` seconds, after which a hop is shunned.
    fn until_shunned(history: &mut History, nodes: &[u8], hop: Pair, every: u64) -> u64 {
        for message in 1..=100 {
            let now = second(1_000 + message * every);
            let news = history.failed(&path(nodes), now);
            if history.shunned(&hop, now) {
                assert!(news, "the last failure has done it");
                return message;
            }
        }
        panic!("never shunned");
    }

    #[test]
    fn a_node_under_another_pseudonym_is_as_shunned_as_before() {
        let mut history = History::default();
        until_shunned(&mut history, &[1, 9, 3], hop(9, 3), 0);
        let now = second(1_100);
        history.succeeded(&path(&[1, 2]), now);
        history.inherit(&Pseudonym([9; 32]), Pseudonym([8; 32]));
        assert_eq!(history.doubt(&hop(8, 3), now), history.doubt(&hop(9, 3), now));
        assert_eq!(history.doubt(&hop(1, 8), now), history.doubt(&hop(1, 9), now));
        assert_eq!((history.len(), history.doubt(&hop(1, 2), now)), (5, u16::MAX));
        // What is known of the new pseudonym itself stays.
        history.succeeded(&path(&[8, 3]), now);
        let of_its_own = history.doubt(&hop(8, 3), now);
        history.inherit(&Pseudonym([9; 32]), Pseudonym([8; 32]));
        assert_eq!(history.doubt(&hop(8, 3), now), of_its_own);
    }

    #[test]
    fn a_relay_that_drops_is_shunned_within_ten_messages() {
        for (nodes, every) in [(&[1, 9, 3][..], 0), (&[1, 2, 9, 3], 0), (&[1, 2, 9, 3], 5), (&[1, 2, 9, 3], 10)] {
            assert!((2..=10).contains(&until_shunned(&mut History::default(), nodes, hop(9, 3), every)));
        }
        // The same if every message succeeded before.
        for nodes in [&[1, 9, 3][..], &[1, 2, 9, 3]] {
            let mut history = History::default();
            for _ in 0..1_000 {
                history.succeeded(&path(nodes), second(1_000));
            }
            assert!((5..=10).contains(&until_shunned(&mut history, nodes, hop(9, 3), 1)));
        }
    }

    #[test]
    fn a_single_failure_shuns_nobody() {
        let mut history = History::default();
        assert!(!history.failed(&path(&[1, 2]), second(1)));
        assert!(!history.shunned(&hop(1, 2), second(1)));
        assert!(history.doubt(&hop(1, 2), second(1)) < 20_000);
        assert_eq!(history.doubt(&hop(2, 1), second(1)), u16::MAX, "the other direction is another hop");
    }

    #[test]
    fn an_honest_neighbour_of_a_bad_relay_is_cleared_by_what_succeeds_elsewhere() {
        let mut history = History::default();
        let now = second(1_000);
        for _ in 0..8 {
            history.failed(&path(&[1, 2, 9, 4]), now);
        }
        assert!(history.shunned(&hop(1, 2), now), "nothing tells them apart yet");
        assert!(history.succeeded(&path(&[1, 2, 3, 4]), now), "that clears it");
        assert!(!history.shunned(&hop(1, 2), now));
        history.succeeded(&path(&[1, 2, 3, 4]), now);
        assert!(history.doubt(&hop(1, 2), now) > 50_000);
        assert!(history.shunned(&hop(2, 9), now));
        // From now on hop 1-2 takes little of the blame: a third of a failure would leave 56,000.
        for _ in 0..3 {
            history.succeeded(&path(&[1, 2, 3, 4]), now);
        }
        history.failed(&path(&[1, 2, 9, 4]), now);
        assert!(history.doubt(&hop(1, 2), now) > 62_000, "{}", history.doubt(&hop(1, 2), now));
        for _ in 0..3 {
            history.failed(&path(&[1, 2, 9, 4]), now);
            history.succeeded(&path(&[1, 2, 3, 4]), now);
        }
        assert!(history.doubt(&hop(1, 2), now) > 55_000);
        assert!(history.shunned(&hop(2, 9), now) && history.shunned(&hop(9, 4), now));
    }

    #[test]
    fn a_relay_that_drops_every_second_message_stands_in_doubt() {
        let mut history = History::default();
        let now = second(1_000);
        for _ in 0..50 {
            history.failed(&path(&[1, 9, 3]), now);
            history.succeeded(&path(&[1, 9, 3]), now);
        }
        // Two hops: together they let about half of the messages through.
        let doubt = u64::from(history.doubt(&hop(1, 9), now));
        assert!((45_000..58_000).contains(&doubt), "{doubt}");
        // A relay that loses one message in fifty is hardly in doubt.
        let mut history = History::default();
        for message in 0..500 {
            match message % 50 {
                25 => history.failed(&path(&[1, 9, 3]), now),
                _ => history.succeeded(&path(&[1, 9, 3]), now),
            };
        }
        assert!(history.doubt(&hop(1, 9), now) > 65_000);
    }

    /// Invariant 2.
    #[test]
    fn nobody_is_shunned_for_good() {
        let mut history = History::default();
        for at in 0..1_000 {
            history.failed(&path(&[1, 2, 3]), second(at));
        }
        assert!(history.shunned(&hop(1, 2), second(1_000)));
        assert!(!history.shunned(&hop(1, 2), second(1_090)));
        assert!(
            history.doubts(second(1_090)).any(|(pair, doubt, shunned)| pair == hop(1, 2) && doubt < 30_000 && !shunned)
        );
        assert_eq!(history.doubts(second(1_000 + 600)).count(), 0);
        history.tidy(second(1_000 + 600));
        assert!(history.is_empty() && history.order.is_empty());
    }

    /// Invariant 1.
    #[test]
    fn the_hop_longest_untouched_is_forgotten() {
        let mut history = History::default();
        let far = |n: u64| {
            let mut far = [0; 32];
            far[..8].copy_from_slice(&n.to_be_bytes());
            (Pseudonym([0; 32]), Pseudonym(far))
        };
        for at in 0..MAX_PAIRS as u64 {
            history.failed(&[far(at)], second(at));
        }
        history.succeeded(&[far(0)], second(5_000));
        history.failed(&[far(9_999)], second(5_000));
        assert_eq!((history.len(), history.forgotten()), (MAX_PAIRS, 1));
        assert!(history.pairs.contains_key(&far(0)) && !history.pairs.contains_key(&far(1)));
    }

    #[test]
    fn it_is_stored_and_taken_up() {
        let mut history = History::default();
        for at in 0..10 {
            history.failed(&path(&[1, 2, 3]), second(at));
        }
        let kept: Vec<Kept> = wire::decode(&wire::encode(&history.keep(second(10)))).expect("our own");
        let mut back = History::default();
        back.restore(&kept, Duration::ZERO, second(0));
        assert_eq!(back.doubt(&hop(1, 2), second(0)), history.doubt(&hop(1, 2), second(10)));
        let mut later = History::default();
        later.restore(&kept, Duration::from_secs(3_600), second(0));
        assert!(later.is_empty());
        // Whatever the store holds, no hop has more failures than the window.
        back.restore(&[Kept { successes: u64::MAX, failures: u64::MAX, ..kept[0].clone() }], Duration::ZERO, second(0));
        assert!(back.succeeded(&path(&[1, 2]), second(0)) || !back.shunned(&hop(1, 2), second(0)));
    }
}
