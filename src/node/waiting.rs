//! Outputs that wait for the disk: each leaves once the commit it depends on is durable.
//!
//! Each output waits for a commit of its own, and a later output may wait for an earlier commit: a publication waits
//! for the commit that holds its publisher's mark, a receipt for the commit of its message. So outputs leave in the
//! order of their commits, not in the order in which they came. The replies of one conversation, however, never
//! overtake each other: one that could leave earlier than the reply before it waits as long as that one.
//!
//! Invariants
//! 1. No output leaves before its commit is durable.
//! 2. The replies of one conversation leave in the order in which they came.
//!
//! The store bounds the number of waiting outputs, since it accepts only so much that is not durable yet. Publications
//! and reports of missed ones need few commits, so they have a bound of their own, [`MAX_PUBLISHED`].

use super::Held;
use crate::engine::api::{Reply, Token};
use crate::id::Lsn;
use std::collections::BTreeMap;

/// Most bytes of publications and of reports of missed ones that wait for the disk. Drop policy: beyond the bound the
/// newest is dropped (`publications_dropped`).
pub(super) const MAX_PUBLISHED: usize = 16 * 1024 * 1024;

/// The outputs that wait for the disk. See the module's documentation.
#[derive(Default)]
pub(super) struct Waiting {
    /// Outputs by the commit that each waits for, then in the order in which they came.
    held: BTreeMap<(Lsn, u64), Held>,
    /// The number of outputs that have come so far.
    came: u64,
    /// For each conversation with waiting replies, the key of its last one in `held`.
    last: BTreeMap<Token, (Lsn, u64)>,
    /// Bytes of waiting publications and of reports of missed ones.
    published: usize,
}

impl Waiting {
    /// Returns the commit that an output has to wait for: `after`, or that of the last reply of its conversation if
    /// that is later.
    pub(super) fn commit_for(&self, held: &Held, after: Lsn) -> Lsn {
        let last = held.token().and_then(|token| self.last.get(&token));
        last.map_or(after, |(last, _)| after.max(*last))
    }

    /// Takes an output that waits for the commit [`Self::commit_for`] it. Returns the output if there is no room for
    /// its bytes.
    pub(super) fn push(&mut self, after: Lsn, held: Held) -> Result<(), Box<Held>> {
        let bytes = held.published().unwrap_or(0);
        if bytes > 0 && self.published + bytes > MAX_PUBLISHED {
            return Err(Box::new(held));
        }
        self.published += bytes;
        self.came += 1;
        let place = (after, self.came);
        if let Some(token) = held.token() {
            self.last.insert(token, place);
        }
        self.held.insert(place, held);
        Ok(())
    }

    /// Removes and returns the next output that may leave once the commit `durable` is durable.
    pub(super) fn pop(&mut self, durable: Lsn) -> Option<Held> {
        let entry = self.held.first_entry().filter(|entry| entry.key().0 <= durable)?;
        let (place, held) = entry.remove_entry();
        self.forget(place, &held);
        Some(held)
    }

    /// Removes and returns all publications and reports of missed ones, in their order: they wait no longer.
    pub(super) fn take_publications(&mut self) -> Vec<Held> {
        let of_topics = |_: &(Lsn, u64), held: &mut Held| held.published().is_some();
        let taken: Vec<_> = self.held.extract_if(.., of_topics).collect();
        taken.iter().for_each(|(place, held)| self.forget(*place, held));
        taken.into_iter().map(|(_, held)| held).collect()
    }

    fn forget(&mut self, place: (Lsn, u64), held: &Held) {
        self.published -= held.published().unwrap_or(0);
        if let Some(token) = held.token().filter(|token| self.last.get(token) == Some(&place)) {
            self.last.remove(&token);
        }
    }
}

impl Held {
    /// The conversation that the output belongs to; `None` if it is not a reply.
    fn token(&self) -> Option<Token> {
        match self {
            Self::Reply { token, .. } => Some(*token),
            Self::Frame { .. } => None,
        }
    }

    /// The bytes of a publication or of a report of missed ones; `None` for any other output.
    pub(super) fn published(&self) -> Option<usize> {
        match self {
            Self::Reply { reply: Reply::Published(published), .. } => {
                Some(published.topic.len() + published.payload.len())
            }
            Self::Reply { reply: Reply::Missed(missed), .. } => Some(size_of_val(missed) + missed.topic.len()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::api::Missed;
    use proptest::prelude::*;

    fn reply(token: u64, number: u64) -> Held {
        Held::Reply { token: Token(token), reply: Reply::Log { last: number }, last: false }
    }

    fn numbers(of: Vec<Held>) -> Vec<(u64, u64)> {
        let number = |held| match held {
            Held::Reply { token, reply: Reply::Log { last }, .. } => (token.0, last),
            _ => (0, 0),
        };
        of.into_iter().map(number).collect()
    }

    fn drain(waiting: &mut Waiting, durable: u64) -> Vec<(u64, u64)> {
        numbers(std::iter::from_fn(|| waiting.pop(Lsn(durable))).collect())
    }

    /// Invariant 1.
    /// Invariant 1 of node.
    #[test]
    fn what_may_leave_is_not_held_up_by_what_may_not() {
        let mut waiting = Waiting::default();
        for (after, held) in [(20, reply(1, 1)), (18, reply(2, 1)), (18, reply(2, 2))] {
            assert_eq!(waiting.commit_for(&held, Lsn(after)), Lsn(after));
            assert!(waiting.push(Lsn(after), held).is_ok());
        }
        assert_eq!(drain(&mut waiting, 17), []);
        assert_eq!(drain(&mut waiting, 18), [(2, 1), (2, 2)]);
        assert_eq!(drain(&mut waiting, 20), [(1, 1)]);
        assert!(waiting.last.is_empty());
    }

    /// Invariant 2.
    #[test]
    fn who_comes_for_an_earlier_commit_does_not_overtake_its_conversation() {
        let mut waiting = Waiting::default();
        assert!(waiting.push(Lsn(7), reply(1, 1)).is_ok());
        let next = reply(1, 2);
        let after = waiting.commit_for(&next, Lsn(0));
        assert_eq!(after, Lsn(7));
        assert!(waiting.push(after, next).is_ok());
        assert_eq!(waiting.commit_for(&reply(2, 1), Lsn(0)), Lsn(0));
        assert_eq!(drain(&mut waiting, 7), [(1, 1), (1, 2)]);
        assert_eq!(waiting.commit_for(&reply(1, 3), Lsn(0)), Lsn(0));
    }

    #[test]
    fn what_is_told_of_missed_publications_has_a_bound_as_they_have() {
        let missed = || {
            let missed = Missed { topic: "x".repeat(100_000), from: None, lost: 1, uncertain: false };
            Held::Reply { token: Token(1), reply: Reply::Missed(missed), last: false }
        };
        let mut waiting = Waiting::default();
        let taken = (0..).take_while(|_| waiting.push(Lsn(1), missed()).is_ok()).count();
        assert_eq!(taken, MAX_PUBLISHED / (100_000 + size_of::<Missed>()));
        assert_eq!(waiting.take_publications().len(), taken);
        assert_eq!((waiting.published, waiting.last.len()), (0, 0));
        assert!(waiting.push(Lsn(1), missed()).is_ok());
    }

    proptest! {
        /// Invariants 1 and 2.
        /// Invariant 1 of node.
        #[test]
        fn replies_keep_their_order_and_wait_for_their_commits(
            steps in prop::collection::vec((0u64..4, 0u64..30, prop::bool::ANY), 1..80),
        ) {
            let (mut waiting, mut durable, mut counts) = (Waiting::default(), 0, [0u64; 4]);
            let mut wanted = BTreeMap::new();
            let mut left = Vec::new();
            for (token, commit, advance) in steps {
                counts[token as usize] += 1;
                let held = reply(token, counts[token as usize]);
                wanted.insert((token, counts[token as usize]), commit);
                let after = waiting.commit_for(&held, Lsn(commit));
                if after.0 > durable {
                    prop_assert!(waiting.push(after, held).is_ok());
                } else {
                    left.push((token, counts[token as usize]));
                }
                if advance {
                    durable += 1;
                    let now = drain(&mut waiting, durable);
                    prop_assert!(now.iter().all(|one| wanted[one] <= durable));
                    left.extend(now);
                }
            }
            left.extend(drain(&mut waiting, u64::MAX));
            for token in 0..4 {
                let of: Vec<u64> = left.iter().filter(|(of, _)| *of == token).map(|(_, number)| *number).collect();
                prop_assert_eq!(of, (1..=counts[token as usize]).collect::<Vec<_>>());
            }
        }
    }
}
