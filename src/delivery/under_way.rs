//! Under way: messages and flights that have left, in the order of departure, until they end or have been waited for
//! long enough.
//!
//! How long is enough follows from earlier receipts ([`retry`](super::retry)), and these measure the paths that were
//! used then. A path that is known to be slower than that wait, such as a satellite beside a cable, is given extra
//! time, its *allowance*. There is a queue for each allowance; allowances are powers of two of milliseconds, so there
//! are few.
//!
//! Invariants
//! - Within a queue, departure times never decrease.

use crate::time::Time;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// The time that is waited besides what receipts suggest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Allowance(Duration);

impl Allowance {
    /// The allowance of a path with an expected round trip of `expected`, where a path is usually suspected after
    /// `usual`.
    pub(super) fn of(expected: Duration, usual: Duration) -> Self {
        if expected <= usual {
            return Self::default();
        }
        let millis = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX).max(1);
        Self(Duration::from_millis(millis.checked_next_power_of_two().unwrap_or(u64::MAX / 2)))
    }

    /// Whether the path needs no extra time.
    pub(super) fn is_none(self) -> bool {
        self.0.is_zero()
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct UnderWay(BTreeMap<Allowance, Queue>);

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Time, u64)>,
    /// Flights that have not been judged yet: departure time, number of the flight, and one of its messages.
    unjudged: VecDeque<(Time, u64, u64)>,
}

impl UnderWay {
    /// Adds messages that leave in a flight. If `judged`, the path is suspected when no receipt comes.
    pub(super) fn depart(&mut self, messages: &[u64], flight: u64, judged: bool, allowance: Allowance, now: Time) {
        let queue = self.0.entry(allowance).or_default();
        queue.messages.extend(messages.iter().map(|sequence| (now, *sequence)));
        if let Some(last) = messages.last().filter(|_| judged) {
            queue.unjudged.push_back((now, flight, *last));
        }
    }

    /// Takes out all messages; none is under way afterwards.
    pub(super) fn take_all(&mut self) -> Vec<u64> {
        let queues = core::mem::take(&mut self.0);
        queues.into_values().flat_map(|queue| queue.messages).map(|(_, sequence)| sequence).collect()
    }

    /// Notes that the path of a flight has delivered it, so that it is not suspected.
    pub(super) fn acquit(&mut self, flight: u64) {
        self.0.values_mut().for_each(|queue| queue.unjudged.retain(|(_, of, _)| *of != flight));
    }

    /// Returns the flights without a receipt for `after` plus their allowance. Each is returned once.
    pub(super) fn poll_suspicious(&mut self, now: Time, after: Duration) -> Vec<u64> {
        let mut found = Vec::new();
        for (allowance, queue) in &mut self.0 {
            let after = after + allowance.0;
            while let Some((_, flight, _)) = queue.unjudged.pop_front_if(|(at, ..)| *at + after <= now) {
                found.push(flight);
            }
        }
        found
    }

    /// Returns the messages that have been under way for `after` plus their allowance, with their departure times.
    pub(super) fn poll_overdue(&mut self, now: Time, after: Duration) -> Vec<(Time, u64)> {
        let mut found = Vec::new();
        for (allowance, queue) in &mut self.0 {
            let after = after + allowance.0;
            while let Some(overdue) = queue.messages.pop_front_if(|(at, _)| *at + after <= now) {
                found.push(overdue);
            }
        }
        found
    }

    /// When [`Self::poll_suspicious`] or [`Self::poll_overdue`] next returns something.
    pub(super) fn next_wake(&self, suspicious: Duration, overdue: Duration) -> Option<Time> {
        let first = self.0.iter().flat_map(|(allowance, queue)| {
            let judged = queue.unjudged.front().map(|(at, ..)| *at + suspicious + allowance.0);
            [judged, queue.messages.front().map(|(at, _)| *at + overdue + allowance.0)]
        });
        first.flatten().min()
    }

    /// Drops messages that are no longer open, as far as they lie in front.
    pub(super) fn forget(&mut self, open: impl Fn(u64) -> bool) {
        self.0.retain(|allowance, queue| {
            while queue.messages.pop_front_if(|(_, sequence)| !open(*sequence)).is_some() {}
            while queue.unjudged.pop_front_if(|(.., sequence)| !open(*sequence)).is_some() {}
            // The queue without an allowance is kept, because it is soon used again.
            allowance.is_none() || !queue.messages.is_empty() || !queue.unjudged.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn what_goes_a_longer_way_is_waited_for_longer_and_the_rest_is_not() {
        let seconds = Duration::from_secs;
        let far = Allowance::of(seconds(4), seconds(1));
        assert!(Allowance::of(seconds(1), seconds(1)).is_none() && !far.is_none());
        let mut under_way = UnderWay::default();
        under_way.depart(&[1, 2], 7, true, far, at(0));
        under_way.depart(&[3], 8, true, Allowance::default(), at(1));
        assert_eq!(under_way.next_wake(seconds(1), seconds(2)), Some(at(2)));
        assert_eq!(under_way.poll_suspicious(at(2), seconds(1)), [8]);
        assert!(under_way.poll_overdue(at(2), seconds(2)).is_empty());
        assert_eq!(under_way.poll_overdue(at(3), seconds(2)), [(at(1), 3)]);
        // The allowance is 4.096 seconds.
        assert!(under_way.poll_suspicious(at(5), seconds(1)).is_empty());
        assert_eq!(under_way.poll_suspicious(at(6), seconds(1)), [7]);
        assert_eq!(under_way.poll_overdue(at(7), seconds(2)), [(at(0), 1), (at(0), 2)]);
        under_way.forget(|_| true);
        assert_eq!(under_way.next_wake(seconds(1), seconds(2)), None);
    }

    #[test]
    fn what_has_ended_or_is_queued_again_is_let_go_of() {
        let mut under_way = UnderWay::default();
        under_way.depart(&[1, 2], 7, true, Allowance::default(), at(0));
        under_way.depart(&[3], 8, true, Allowance::of(Duration::from_secs(9), Duration::from_secs(1)), at(0));
        under_way.forget(|sequence| sequence > 1);
        under_way.acquit(8);
        assert_eq!(under_way.poll_suspicious(at(60), Duration::from_secs(1)), [7]);
        assert_eq!(under_way.take_all(), [2, 3]);
        assert_eq!(under_way.next_wake(Duration::ZERO, Duration::ZERO), None);
    }
}
