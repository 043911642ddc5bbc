//! Restores the order of a group stream whose frames came by gossip.
//!
//! A frame covers consecutive sequence numbers. One that is early is held until the missing ones have come, or
//! [`HOLD`] has passed, or the buffer is full; then the stream goes on and the gap is counted as lost. Numbers
//! below the expected one are duplicates.
//!
//! Invariants
//! 1. Items leave in ascending order, each at most once.
//! 2. At most [`MAX_HELD`] frames are held. Drop policy: the gap before the oldest is given up, nothing held is
//!    dropped.

use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// Most frames held back in one stream.
pub const MAX_HELD: usize = 64;
/// How long a frame is held for those before it: a few gossip hops.
pub const HOLD: Duration = Duration::from_millis(400);

/// What leaves the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// Messages known to be lost before this frame.
    pub lost: u64,
    /// How many of the frame's first messages have been released before.
    pub skip: u64,
    /// The frame.
    pub item: T,
}

#[derive(Clone, Debug)]
struct Held<T> {
    count: u64,
    since: Time,
    item: T,
}

/// One stream's buffer.
#[derive(Clone, Debug)]
pub struct Reorder<T> {
    /// Next sequence number to leave. Streams begin at 1: whoever comes late waits [`HOLD`] for what it missed.
    next: u64,
    held: BTreeMap<u64, Held<T>>,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { next: 1, held: BTreeMap::new() }
    }
}

impl<T> Reorder<T> {
    /// Whether the numbers from `first` on, `count` of them, are all behind us or held.
    pub fn is_duplicate(&self, first: u64, count: u64) -> bool {
        first.saturating_add(count) <= self.next || self.held.get(&first).is_some_and(|held| held.count >= count)
    }

    /// Takes a frame with `count` messages from `first` on.
    pub fn insert(&mut self, first: u64, count: u64, item: T, now: Time) {
        if count == 0 || self.is_duplicate(first, count) {
            return;
        }
        self.held.insert(first, Held { count, since: now, item });
    }

    /// What may leave now.
    pub fn poll(&mut self, now: Time) -> Option<Released<T>> {
        loop {
            let (&first, held) = self.held.first_key_value()?;
            let end = first.saturating_add(held.count);
            if end <= self.next {
                self.held.pop_first();
                continue;
            }
            let due = first <= self.next || self.held.len() > MAX_HELD || held.since + HOLD <= now;
            if !due {
                return None;
            }
            let (_, held) = self.held.pop_first()?;
            let released = Released {
                lost: first.saturating_sub(self.next),
                skip: self.next.saturating_sub(first),
                item: held.item,
            };
            self.next = end;
            return Some(released);
        }
    }

    /// When [`Self::poll`] has to be asked again, if nothing comes.
    pub fn next_wake(&self) -> Option<Time> {
        self.held.first_key_value().map(|(_, held)| held.since + HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buffer: &mut Reorder<&'static str>, now: Time) -> Vec<(&'static str, u64)> {
        std::iter::from_fn(|| buffer.poll(now)).map(|released| (released.item, released.lost)).collect()
    }

    #[test]
    fn early_frames_wait_for_the_missing() {
        let mut buffer = Reorder::default();
        let start = Time(0);
        buffer.insert(3, 1, "c", start);
        assert!(drain(&mut buffer, start).is_empty());
        buffer.insert(1, 2, "ab", start);
        assert_eq!(drain(&mut buffer, start), [("ab", 0), ("c", 0)]);
        buffer.insert(1, 2, "ab", start);
        assert!(drain(&mut buffer, start).is_empty());
    }

    #[test]
    fn a_gap_is_given_up_in_time_and_counted() {
        let mut buffer = Reorder::default();
        buffer.insert(5, 1, "e", Time(0));
        assert_eq!(buffer.next_wake(), Some(Time(0) + HOLD));
        assert_eq!(drain(&mut buffer, Time(0) + HOLD), [("e", 4)]);
        assert!(buffer.is_duplicate(4, 1));
    }

    #[test]
    fn a_full_buffer_gives_up_the_gap() {
        let mut buffer = Reorder::default();
        for number in 0..=MAX_HELD as u64 {
            buffer.insert(2 + number, 1, "x", Time(0));
        }
        assert_eq!(drain(&mut buffer, Time(0)).len(), MAX_HELD + 1);
    }
}
