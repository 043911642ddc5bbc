//! Dedupe: for each sequence number of a stream, the one verdict that its message has got.
//!
//! Every number below the watermark is *settled*: it was accepted, or settled *otherwise*, because its message came too
//! late, was refused, or ended at the sender before it arrived. Above the watermark lie disjoint, ascending runs of
//! settled numbers; normally there are none, since links keep the order. Numbers settled otherwise are kept in runs of
//! their own, normally also none.
//!
//! A copy of a message gets the verdict of the first one. A sender that was told that a message came too late, or will
//! be told so, must not learn from a copy that it was delivered, because the message lies in no inbox.
//!
//! Invariants
//! 1. A number is accepted at most once, and never after it was settled otherwise.
//! 2. A number that was not accepted is never reported as delivered.
//! 3. Runs ascend and lie above the watermark.
//! 4. There are at most [`MAX_RUNS`] runs, and no number is settled that lies [`WINDOW`] or more above the watermark. A
//!    number that would exceed either bound is not settled, and so not confirmed: the sender sends it again later.
//! 5. At most [`MAX_OTHERWISE`] runs of numbers settled otherwise are kept. Drop policy: the lowest run is forgotten
//!    together with the verdicts of all numbers below it; a forgotten number counts as expired, which means *not known
//!    to be delivered*.
//! - Runs are disjoint and not adjacent.

use crate::wire::receipt;
use serde::{Deserialize, Serialize};

/// The most runs kept above a stream's watermark. Drop policy: the newest number is refused.
pub const MAX_RUNS: usize = 256;
/// How far above the watermark a number may lie. The sender keeps at most this many messages open.
pub const WINDOW: u64 = 65_536;

/// The most runs kept of numbers that were settled otherwise than by being accepted.
pub const MAX_OTHERWISE: usize = 256;

/// What becomes of a sequence number that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The number is seen for the first time, and is settled now.
    New,
    /// The number was settled before: the caller repeats this verdict and does not deliver the message.
    Known(receipt::Verdict),
    /// The number lies outside the bounds and is not settled.
    Refused,
}

/// The dedupe state of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedupe {
    /// The lowest number that is not settled.
    next: u64,
    /// The first and last numbers of the runs, in pairs.
    runs: Vec<u64>,
    /// The first and last numbers of the runs settled otherwise, with their verdict; ascending and disjoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    otherwise: Vec<(u64, u64, receipt::Verdict)>,
    /// The verdicts of numbers below this one are forgotten.
    forgotten: u64,
}

impl Default for Dedupe {
    fn default() -> Self {
        Self { next: 1, runs: Vec::new(), otherwise: Vec::new(), forgotten: 0 }
    }
}

impl Dedupe {
    /// Accepts a number, if it is not settled and lies within the bounds.
    pub fn accept(&mut self, sequence: u64) -> Verdict {
        if let Some(verdict) = self.verdict(sequence) {
            return Verdict::Known(verdict);
        }
        if self.take(sequence) { Verdict::New } else { Verdict::Refused }
    }

    /// Settles a number with a verdict other than delivered, if it is not settled yet.
    pub fn turn_down(&mut self, sequence: u64, verdict: receipt::Verdict) -> Verdict {
        let answer = self.accept(sequence);
        if answer == Verdict::New {
            self.revoke(sequence, verdict);
        }
        answer
    }

    /// Replaces the verdict of a number that was accepted just now but whose message was not taken after all.
    pub fn revoke(&mut self, sequence: u64, verdict: receipt::Verdict) {
        self.note_otherwise(sequence, sequence, verdict);
    }

    /// Returns the verdict of a number, or `None` if it is not settled.
    pub fn verdict(&self, sequence: u64) -> Option<receipt::Verdict> {
        if !self.knows(sequence) {
            return None;
        }
        if sequence < self.forgotten {
            return Some(receipt::Verdict::Expired);
        }
        let at = self.otherwise.partition_point(|(_, last, _)| *last < sequence);
        let run = self.otherwise.get(at).filter(|(first, ..)| *first <= sequence);
        Some(run.map_or(receipt::Verdict::Delivered, |(.., verdict)| *verdict))
    }

    /// Adds a range of numbers to those settled otherwise. None of them may be there already.
    fn note_otherwise(&mut self, first: u64, last: u64, verdict: receipt::Verdict) {
        let at = self.otherwise.partition_point(|(_, end, _)| *end < first);
        let before = at.checked_sub(1).filter(|before| {
            self.otherwise[*before].1.checked_add(1) == Some(first) && self.otherwise[*before].2 == verdict
        });
        let follows =
            |(start, _, of): &(u64, u64, receipt::Verdict)| last.checked_add(1) == Some(*start) && *of == verdict;
        let joins = self.otherwise.get(at).is_some_and(follows);
        match (before, joins) {
            (Some(before), true) => {
                self.otherwise[before].1 = self.otherwise[at].1;
                self.otherwise.remove(at);
            }
            (Some(before), false) => self.otherwise[before].1 = last,
            (None, true) => self.otherwise[at].0 = first,
            (None, false) => self.otherwise.insert(at, (first, last, verdict)),
        }
        if self.otherwise.len() > MAX_OTHERWISE {
            let (_, last, _) = self.otherwise.remove(0);
            self.forgotten = self.forgotten.max(last.saturating_add(1));
        }
    }

    /// Settles a number that is not settled yet. Returns `false` if the number lies outside the bounds.
    fn take(&mut self, sequence: u64) -> bool {
        // No number follows the last one, so the watermark could not move past it.
        if sequence == u64::MAX {
            return false;
        }
        if sequence == self.next {
            self.next += 1;
            self.absorb();
            return true;
        }
        if sequence.saturating_sub(self.next) >= WINDOW {
            return false;
        }
        // The index of the first run that ends at or after the number just before this one.
        let at = self.runs.chunks_exact(2).take_while(|run| run[1] + 1 < sequence).count() * 2;
        let (first, last) = match self.runs.get(at..at + 2) {
            Some(run) => (run[0], run[1]),
            None => (u64::MAX, u64::MAX),
        };
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
                return false;
            }
            self.runs.splice(at..at, [sequence, sequence]);
        }
        true
    }

    /// Whether a number is settled.
    pub fn knows(&self, sequence: u64) -> bool {
        sequence < self.next || self.runs.chunks_exact(2).any(|run| (run[0]..=run[1]).contains(&sequence))
    }

    /// Accepts `count` numbers from `first` on if they are the next in order, which is the normal case. Returns whether
    /// they were accepted; if not, nothing has changed.
    pub fn accept_next(&mut self, first: u64, count: u64) -> bool {
        let Some(end) = first.checked_add(count) else { return false };
        if first != self.next || self.runs.first().is_some_and(|run| *run < end) {
            return false;
        }
        self.next = end;
        self.absorb();
        true
    }

    /// Settles all numbers below `floor`, which have ended at the sender: a message that has not arrived by now counts
    /// as expired. Returns whether anything changed.
    pub fn settle(&mut self, floor: u64) -> bool {
        if floor <= self.next {
            return false;
        }
        let mut missing = self.next;
        let mut gaps = Vec::new();
        for run in self.runs.chunks_exact(2).take_while(|run| run[0] < floor) {
            gaps.push((missing, run[0] - 1));
            missing = run[1] + 1;
        }
        if missing < floor {
            gaps.push((missing, floor - 1));
        }
        gaps.into_iter().for_each(|(first, last)| self.note_otherwise(first, last, receipt::Verdict::Expired));
        self.next = floor;
        self.absorb();
        // A sender has no open number further below the floor than the window.
        let old = self.next.saturating_sub(WINDOW);
        if self.otherwise.first().is_some_and(|(_, last, _)| *last < old) {
            self.otherwise.retain(|(_, last, _)| *last >= old);
            self.forgotten = self.forgotten.max(old);
        }
        true
    }

    /// The lowest number that is not settled.
    pub fn watermark(&self) -> u64 {
        self.next
    }

    /// Merges runs that now lie at or below the watermark into it.
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
    use std::collections::BTreeMap;

    proptest! {
        /// Invariants 1, 2 and 3.
        /// Invariant 2 of delivery.
        #[test]
        fn each_number_has_one_verdict_and_is_accepted_once(
            steps in proptest::collection::vec((0u8..12, 1u64..400), 1..600)
        ) {
            let mut dedupe = Dedupe::default();
            // The verdict that was given first for each number.
            let mut said: BTreeMap<u64, receipt::Verdict> = BTreeMap::new();
            for (kind, number) in steps {
                match kind {
                    0 => {
                        let floor = number / 4;
                        if dedupe.settle(floor) {
                            (1..floor).for_each(|n| { said.entry(n).or_insert(receipt::Verdict::Expired); });
                        }
                    }
                    1 => {
                        let first = if number % 2 == 0 { dedupe.watermark() } else { number };
                        let count = number % 7 + 1;
                        if dedupe.accept_next(first, count) {
                            for number in first..first + count {
                                prop_assert!(said.insert(number, receipt::Verdict::Delivered).is_none());
                            }
                        }
                    }
                    _ => {
                        let (verdict, answer) = match kind {
                            2 => (receipt::Verdict::Expired, dedupe.turn_down(number, receipt::Verdict::Expired)),
                            3 => (receipt::Verdict::NoService, dedupe.turn_down(number, receipt::Verdict::NoService)),
                            _ => (receipt::Verdict::Delivered, dedupe.accept(number)),
                        };
                        match (said.get(&number), answer) {
                            (Some(before), Verdict::Known(now)) => prop_assert_eq!(*before, now),
                            (None, Verdict::New) => drop(said.insert(number, verdict)),
                            (None, Verdict::Refused) => prop_assert!(dedupe.runs.len() == 2 * MAX_RUNS),
                            (before, answer) => prop_assert!(false, "{before:?} {answer:?}"),
                        }
                    }
                }
                prop_assert_eq!(dedupe.verdict(number), said.get(&number).copied());
                prop_assert!(dedupe.runs.windows(2).all(|pair| pair[0] <= pair[1]));
                prop_assert!(dedupe.runs.chunks_exact(2).all(|run| run[0] > dedupe.next));
                prop_assert!(dedupe.otherwise.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
            let stored: Dedupe = crate::wire::decode(&crate::wire::encode(&dedupe)).expect("its own state");
            prop_assert_eq!(stored, dedupe);
        }
    }

    /// Invariants 2 and 5.
    #[test]
    fn what_is_forgotten_is_never_said_to_be_delivered() {
        let mut dedupe = Dedupe::default();
        for number in 1..=2 * MAX_OTHERWISE as u64 + 2 {
            let verdict = if number % 2 == 1 { receipt::Verdict::Expired } else { receipt::Verdict::Delivered };
            let answer = if number % 2 == 1 { dedupe.turn_down(number, verdict) } else { dedupe.accept(number) };
            assert_eq!(answer, Verdict::New);
        }
        assert_eq!(dedupe.otherwise.len(), MAX_OTHERWISE);
        assert_eq!(dedupe.accept(1), Verdict::Known(receipt::Verdict::Expired), "forgotten");
        assert_eq!(dedupe.accept(3), Verdict::Known(receipt::Verdict::Expired));
        assert_eq!(dedupe.accept(4), Verdict::Known(receipt::Verdict::Delivered));
    }

    #[test]
    fn the_end_of_all_numbers_is_refused() {
        let mut dedupe = Dedupe::default();
        assert!(dedupe.settle(u64::MAX));
        assert_eq!(dedupe.accept(u64::MAX), Verdict::Refused);
        assert!(!dedupe.accept_next(u64::MAX, 2));
    }

    /// Invariant 4.
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
        assert_eq!(dedupe.accept(2), Verdict::Known(receipt::Verdict::Expired), "it never came");
        assert_eq!(dedupe.accept(3), Verdict::Known(receipt::Verdict::Delivered));
    }
}
