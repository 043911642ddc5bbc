//! Which messages of a stream have been accepted: a watermark, and runs above it.
//!
//! Everything below the watermark is settled: accepted, or ended at the sender. Above it lie disjoint, ascending
//! runs of accepted numbers, normally none, since links keep order.
//!
//! Invariants
//! 1. A number is accepted at most once.
//! 2. Runs are ascending, disjoint, not adjacent, and lie above the watermark.
//! 3. There are at most [`MAX_RUNS`] runs and nothing lies further than [`WINDOW`] above the watermark; what would
//!    exceed either is not accepted (and so not confirmed: the sender sends it again, later).

use serde::{Deserialize, Serialize};

/// Most runs kept above a stream's watermark. Drop policy: refuse the newest.
pub const MAX_RUNS: usize = 256;
/// How far above the watermark a number may lie; the sender keeps at most as many messages open.
pub const WINDOW: u64 = 65_536;

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first time: deliver it.
    New,
    /// Accepted before, or settled: confirm it, do not deliver it.
    Duplicate,
    /// Outside the bounds: neither.
    Refused,
}

/// Dedupe state of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedupe {
    /// Lowest number that is not settled.
    next: u64,
    /// First and last numbers of the runs, in pairs.
    runs: Vec<u64>,
}

impl Default for Dedupe {
    fn default() -> Self {
        Self { next: 1, runs: Vec::new() }
    }
}

impl Dedupe {
    /// Accepts a number, if it may be.
    pub fn accept(&mut self, sequence: u64) -> Verdict {
        if sequence < self.next {
            return Verdict::Duplicate;
        }
        // No number follows it, so it could not be told from those accepted.
        if sequence == u64::MAX {
            return Verdict::Refused;
        }
        if sequence == self.next {
            self.next += 1;
            self.absorb();
            return Verdict::New;
        }
        if sequence - self.next >= WINDOW {
            return Verdict::Refused;
        }
        // Index of the first run that ends at or after the number just before it.
        let at = self.runs.chunks_exact(2).take_while(|run| run[1] + 1 < sequence).count() * 2;
        let (first, last) = match self.runs.get(at..at + 2) {
            Some(run) => (run[0], run[1]),
            None => (u64::MAX, u64::MAX),
        };
        if first <= sequence && sequence <= last {
            return Verdict::Duplicate;
        }
        if first != u64::MAX && last + 1 == sequence {
            self.runs[at + 1] = sequence;
            if self.runs.get(at + 2) == Some(&(sequence + 1)) {
                self.runs[at + 1] = self.runs[at + 3];
                self.runs.drain(at + 2..at + 4);
            }
        } else if first != u64::MAX && first == sequence + 1 {
            self.runs[at] = sequence;
        } else {
            if self.runs.len() >= 2 * MAX_RUNS {
                return Verdict::Refused;
            }
            self.runs.splice(at..at, [sequence, sequence]);
        }
        Verdict::New
    }

    /// Whether a number is settled: accepted, or ended at the sender.
    pub fn knows(&self, sequence: u64) -> bool {
        sequence < self.next || self.runs.chunks_exact(2).any(|run| (run[0]..=run[1]).contains(&sequence))
    }

    /// Accepts `count` numbers from `first` on if they are the next in order, which is what normally comes. Answers
    /// whether it did; if not, nothing has changed.
    pub fn accept_next(&mut self, first: u64, count: u64) -> bool {
        let Some(end) = first.checked_add(count) else { return false };
        if first != self.next || self.runs.first().is_some_and(|run| *run < end) {
            return false;
        }
        self.next = end;
        self.absorb();
        true
    }

    /// Everything below `floor` has ended at the sender. Answers whether anything changed.
    pub fn settle(&mut self, floor: u64) -> bool {
        if floor <= self.next {
            return false;
        }
        self.next = floor;
        self.absorb();
        true
    }

    /// Lowest number that is not settled.
    pub fn watermark(&self) -> u64 {
        self.next
    }

    /// Runs that now lie at or below the watermark become part of it.
    fn absorb(&mut self) {
        let mut taken = 0;
        for run in self.runs.chunks_exact(2) {
            if run[0] > self.next {
                break;
            }
            self.next = self.next.max(run[1] + 1);
            taken += 2;
        }
        self.runs.drain(..taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn accepts_each_number_once(steps in proptest::collection::vec((0u8..10, 1u64..400), 1..600)) {
            let (mut dedupe, mut seen, mut floor) = (Dedupe::default(), BTreeSet::new(), 1);
            for (kind, number) in steps {
                if kind == 0 {
                    dedupe.settle(number / 4);
                    floor = floor.max(number / 4);
                    continue;
                }
                if kind == 1 {
                    let first = if number % 2 == 0 { dedupe.watermark() } else { number };
                    let count = number % 7 + 1;
                    if dedupe.accept_next(first, count) {
                        for number in first..first + count {
                            prop_assert!(number >= floor && seen.insert(number));
                        }
                    }
                    continue;
                }
                let known = number < floor || seen.contains(&number);
                prop_assert_eq!(dedupe.knows(number), known);
                let verdict = dedupe.accept(number);
                if known {
                    prop_assert_eq!(verdict, Verdict::Duplicate);
                } else if verdict == Verdict::New {
                    seen.insert(number);
                } else {
                    prop_assert_eq!(verdict, Verdict::Refused);
                    prop_assert!(dedupe.runs.len() == 2 * MAX_RUNS);
                }
                prop_assert!(dedupe.runs.windows(2).all(|pair| pair[0] <= pair[1]));
                prop_assert!(dedupe.runs.chunks_exact(2).all(|run| run[0] > dedupe.next));
            }
        }
    }

    #[test]
    fn the_end_of_all_numbers_is_refused() {
        let mut dedupe = Dedupe::default();
        assert!(dedupe.settle(u64::MAX));
        assert_eq!(dedupe.accept(u64::MAX), Verdict::Refused);
        assert!(!dedupe.accept_next(u64::MAX, 2));
    }

    #[test]
    fn bounds_refuse_and_recover() {
        let mut dedupe = Dedupe::default();
        assert_eq!(dedupe.accept(WINDOW + 1), Verdict::Refused);
        for odd in 0..MAX_RUNS as u64 {
            assert_eq!(dedupe.accept(3 + 2 * odd), Verdict::New);
        }
        assert_eq!(dedupe.accept(5_000), Verdict::Refused);
        assert!(dedupe.settle(4_000));
        assert_eq!(dedupe.accept(5_000), Verdict::New);
    }
}
