//! Reorder: restores the order of a group stream.
//!
//! A frame covers consecutive sequence numbers. An early frame is held until the missing ones have arrived, [`HOLD`]
//! has passed, its own deadline comes, or the buffer is full; then the stream goes on without them. Numbers below the
//! expected one are duplicates, or arrive too late to be in order.
//!
//! A subscriber that hears a stream from its beginning expects number 1. A subscriber that joins later begins with the
//! first frame that it gets. That frame is held for [`BEGIN`], so that a frame that was sent before it may still
//! overtake it; if an earlier frame is known to belong to the subscriber, it is held for [`HOLD`].
//!
//! Invariants
//! 1. Items leave in ascending order, each at most once.
//! 2. At most as many frames are held as the owner allows. Drop policy: the gap before the oldest frame is given up; no
//!    held frame is dropped.

use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// How long a frame is held for those before it: as long as asking a few neighbours for them may take.
pub const HOLD: Duration = Duration::from_secs(10);
/// How long the first frame of a stream is held if the stream's beginning was not heard.
pub const BEGIN: Duration = Duration::from_millis(300);

/// A frame that leaves the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// The number of messages known to be missing before this frame.
    pub lost: u64,
    /// The number of messages at the frame's beginning that have been released before.
    pub skip: u64,
    /// Whether the frame is the first of a stream whose beginning was not heard.
    pub joins: bool,
    /// The frame.
    pub item: T,
}

#[derive(Clone, Debug)]
struct Held<T> {
    count: u64,
    /// When the frame leaves, whatever is missing before it.
    until: Time,
    item: T,
}

/// The buffer of one stream.
#[derive(Clone, Debug)]
pub struct Reorder<T> {
    /// The next sequence number to leave; `None` while it is not known where the stream begins.
    next: Option<u64>,
    /// When it is decided where the stream begins.
    begins: Option<Time>,
    held: BTreeMap<u64, Held<T>>,
}

impl<T> Reorder<T> {
    /// Creates the buffer of a stream that is heard from its beginning.
    pub fn whole() -> Self {
        Self { next: Some(1), begins: None, held: BTreeMap::new() }
    }

    /// Creates the buffer of a stream that began before it was heard.
    pub fn joined() -> Self {
        Self { next: None, begins: None, held: BTreeMap::new() }
    }

    /// Whether a frame that begins with number `first` would leave at once.
    pub fn is_next(&self, first: u64) -> bool {
        self.next.is_some_and(|next| first <= next)
    }

    /// Whether any frame is held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the `count` numbers from `first` on have all left or are held.
    pub fn is_duplicate(&self, first: u64, count: u64) -> bool {
        self.has_passed(first, count) || self.held.get(&first).is_some_and(|held| held.count >= count)
    }

    /// Notes that other frames before the held frame `first` belong to this subscriber. If the stream's beginning is
    /// not known, they are waited for like any gap.
    pub fn hold_beginning(&mut self, first: u64, now: Time) {
        if self.next.is_none() && self.held.first_key_value().is_some_and(|(lowest, _)| *lowest == first) {
            self.begins = Some(now + HOLD);
        }
    }

    /// Whether the `count` numbers from `first` on have all left.
    pub fn has_passed(&self, first: u64, count: u64) -> bool {
        self.next.is_some_and(|next| first.saturating_add(count) <= next)
    }

    /// Takes a frame with `count` messages from `first` on, which is of use until `deadline`.
    pub fn insert(&mut self, first: u64, count: u64, item: T, now: Time, deadline: Time) {
        if count == 0 || self.is_duplicate(first, count) {
            return;
        }
        let lowest = self.held.first_key_value().is_none_or(|(lowest, _)| first < *lowest);
        if self.next.is_none() && lowest {
            let begins = now + BEGIN;
            self.begins = Some(self.begins.map_or(begins, |at| at.min(begins)));
        }
        self.held.insert(first, Held { count, until: deadline.min(now + HOLD), item });
    }

    /// Whether more than `most` frames are held.
    pub fn is_over(&self, most: usize) -> bool {
        self.held.len() > most
    }

    /// Returns the next frame that may leave now, if at most `most` frames may be held.
    pub fn poll(&mut self, now: Time, most: usize) -> Option<Released<T>> {
        loop {
            let (&first, held) = self.held.first_key_value()?;
            let next = match self.next {
                Some(next) => next,
                None if self.begins.is_none_or(|at| at <= now) || held.until <= now => first,
                None => return None,
            };
            let end = first.saturating_add(held.count);
            if end <= next {
                self.held.pop_first();
                continue;
            }
            let due = first <= next || self.is_over(most) || held.until <= now;
            if !due {
                return None;
            }
            let (_, held) = self.held.pop_first()?;
            let (lost, skip) = (first.saturating_sub(next), next.saturating_sub(first));
            let joins = self.next.replace(end).is_none();
            return Some(Released { lost, skip, joins, item: held.item });
        }
    }

    /// When the first held frame leaves, whatever is missing: at its deadline, or after it has waited for [`HOLD`].
    pub fn due(&self) -> Option<Time> {
        self.held.first_key_value().map(|(_, held)| held.until)
    }

    /// Releases all held frames from waiting for what is missing before them.
    pub fn give_up(&mut self, now: Time) {
        self.held.values_mut().for_each(|held| held.until = held.until.min(now));
    }

    /// When [`Self::poll`] must be called again if no frame arrives.
    pub fn next_wake(&self) -> Option<Time> {
        let until = self.held.first_key_value().map(|(_, held)| held.until)?;
        Some(if self.next.is_none() { self.begins.map_or(until, |at| at.min(until)) } else { until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_HELD: usize = 256;
    const LATER: Time = Time(3_600_000_000);

    fn drain(buffer: &mut Reorder<&'static str>, now: Time) -> Vec<(&'static str, u64)> {
        std::iter::from_fn(|| buffer.poll(now, MAX_HELD)).map(|released| (released.item, released.lost)).collect()
    }

    /// Invariant 1.
    #[test]
    fn early_frames_wait_for_the_missing() {
        let mut buffer = Reorder::whole();
        let start = Time(0);
        buffer.insert(3, 1, "c", start, LATER);
        assert!(drain(&mut buffer, start).is_empty());
        buffer.insert(1, 2, "ab", start, LATER);
        assert_eq!(drain(&mut buffer, start), [("ab", 0), ("c", 0)]);
        buffer.insert(1, 2, "ab", start, LATER);
        assert!(drain(&mut buffer, start).is_empty());
    }

    #[test]
    fn a_gap_is_given_up_in_time_and_counted() {
        let mut buffer = Reorder::whole();
        buffer.insert(5, 1, "e", Time(0), LATER);
        assert_eq!(buffer.next_wake(), Some(Time(0) + HOLD));
        assert_eq!(drain(&mut buffer, Time(0) + HOLD), [("e", 4)]);
        assert!(buffer.is_duplicate(4, 1));
    }

    #[test]
    fn nothing_is_held_beyond_its_own_deadline() {
        let mut buffer = Reorder::whole();
        let deadline = Time(0) + Duration::from_millis(700);
        buffer.insert(2, 1, "b", Time(0), deadline);
        assert_eq!(buffer.next_wake(), Some(deadline));
        assert_eq!(drain(&mut buffer, deadline), [("b", 1)]);
    }

    #[test]
    fn who_comes_late_begins_with_what_it_gets_first() {
        let mut buffer = Reorder::joined();
        buffer.insert(502, 1, "second", Time(0), LATER);
        buffer.insert(501, 1, "first", Time(1), LATER);
        assert_eq!(buffer.next_wake(), Some(Time(0) + BEGIN));
        assert!(drain(&mut buffer, Time(2)).is_empty());
        assert_eq!(drain(&mut buffer, Time(0) + BEGIN), [("first", 0), ("second", 0)]);
        buffer.insert(504, 1, "fourth", Time(0) + BEGIN, LATER);
        assert_eq!(drain(&mut buffer, Time(0) + BEGIN + HOLD), [("fourth", 1)]);
    }

    #[test]
    fn who_has_missed_the_first_waits_for_it_as_for_any_gap() {
        let mut buffer = Reorder::joined();
        buffer.insert(503, 1, "third", Time(0), LATER);
        buffer.hold_beginning(503, Time(0));
        let later = Time(0) + BEGIN * 2;
        assert!(drain(&mut buffer, later).is_empty());
        buffer.insert(502, 1, "second", later, LATER);
        buffer.hold_beginning(502, later);
        assert!(drain(&mut buffer, later + BEGIN).is_empty());
        // No frame before this one is waited for.
        buffer.insert(501, 1, "first", later, LATER);
        assert_eq!(drain(&mut buffer, later + BEGIN), [("first", 0), ("second", 0), ("third", 0)]);
        let mut alone = Reorder::joined();
        alone.insert(503, 1, "third", Time(0), LATER);
        alone.hold_beginning(503, Time(0));
        assert_eq!((alone.next_wake(), drain(&mut alone, Time(0) + HOLD).len()), (Some(Time(0) + HOLD), 1));
    }

    /// Invariant 2.
    #[test]
    fn a_full_buffer_gives_up_the_gap() {
        let mut buffer = Reorder::whole();
        for number in 0..=MAX_HELD as u64 {
            buffer.insert(2 + number, 1, "x", Time(0), LATER);
        }
        assert_eq!(drain(&mut buffer, Time(0)).len(), MAX_HELD + 1);
    }
}
