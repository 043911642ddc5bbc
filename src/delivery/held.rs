//! Held: messages that are not to leave yet.
//!
//! **Mechanism.** A message is held until a time of the wall clock, or for a span of time. A time of the wall clock is
//! compared with the node's own clock whenever that is asked: if the clock is set, the message leaves at the time that
//! was named. A span is measured by the monotonic clock, which no step moves; only after a restart, which ends the
//! monotonic clock, does it become a time of the wall clock. A deadline is measured by the monotonic clock as well.
//!
//! A message has no place in a stream while it is held: a stream's window is not taken up by what does not leave.
//!
//! Invariants
//! 1. A message is let go no earlier than it is due, and is let go or ends at its deadline, whichever comes first.
//! 2. At most [`MAX_HELD`] messages are held, with at most [`MAX_BYTES`] in all. Drop policy: `hold` refuses.

use crate::time::{Now, Time, Unix};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The most messages that are held.
pub const MAX_HELD: usize = 8_192;
/// The most bytes that are held.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// From when on a message may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From this time on, by the node's clock.
    At(Unix),
    /// After this span of time.
    After(Duration),
}

impl Start {
    /// The time that is left until then.
    pub fn left(self, now: Now) -> Duration {
        match self {
            Self::At(at) => at.since(now.unix),
            Self::After(span) => span,
        }
    }
}

/// A message that is held.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// The message.
    pub what: T,
    /// The bytes that it takes.
    pub bytes: usize,
    /// From when on it may leave, by the wall clock.
    pub due: Unix,
    /// The time from which on it is of no use, by the wall clock.
    pub expiry: Unix,
    /// From when on it may leave by the monotonic clock, if that decides.
    timer: Option<Time>,
    /// Its deadline by the monotonic clock.
    deadline: Time,
}

/// There is no room for another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_HELD} messages, or {MAX_BYTES} bytes of them, wait for their time already")]
pub struct Full;

/// All messages that are held, by number.
#[derive(Debug)]
pub struct Held<T> {
    items: BTreeMap<u64, Item<T>>,
    /// What leaves at a time of the wall clock.
    by_clock: BTreeSet<(Unix, u64)>,
    /// What leaves at a time of the monotonic clock, and all deadlines.
    by_timer: BTreeSet<(Time, u64)>,
    bytes: usize,
    last: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), by_clock: BTreeSet::new(), by_timer: BTreeSet::new(), bytes: 0, last: 0 }
    }
}

impl<T> Item<T> {
    /// A message that may leave from `start` on and is of use for `lifetime` from now on.
    pub fn new(what: T, bytes: usize, start: Start, lifetime: Duration, now: Now) -> Self {
        let timer = match start {
            Start::At(_) => None,
            Start::After(span) => Some(now.time + span),
        };
        let due = now.unix + start.left(now);
        Self { what, bytes, due, expiry: now.unix + lifetime, timer, deadline: now.time + lifetime }
    }

    /// The time until its deadline.
    pub fn left(&self, now: Now) -> Duration {
        self.deadline.since(now.time)
    }
}

impl<T> Held<T> {
    /// Holds a message under a new number.
    ///
    /// # Errors
    /// [`Full`] if a bound is reached.
    pub fn hold(&mut self, item: Item<T>) -> Result<u64, Full> {
        if self.items.len() >= MAX_HELD || self.bytes + item.bytes > MAX_BYTES {
            return Err(Full);
        }
        self.put(self.last + 1, item);
        Ok(self.last)
    }

    /// Takes up a message that an earlier process held under this number.
    pub fn restore(&mut self, number: u64, item: Item<T>) {
        self.put(number, item);
    }

    /// Holds a message that was let go for a little longer, because it cannot be taken yet.
    pub fn keep(&mut self, number: u64, mut item: Item<T>, until: Time) {
        item.timer = Some(until);
        self.put(number, item);
    }

    fn put(&mut self, number: u64, item: Item<T>) {
        self.remove(number);
        self.bytes += item.bytes;
        self.last = self.last.max(number);
        match item.timer {
            Some(timer) => self.by_timer.insert((timer, number)),
            None => self.by_clock.insert((item.due, number)),
        };
        self.by_timer.insert((item.deadline, number));
        self.items.insert(number, item);
    }

    /// Removes a message.
    pub fn remove(&mut self, number: u64) -> Option<Item<T>> {
        let item = self.items.remove(&number)?;
        self.bytes -= item.bytes;
        self.by_clock.remove(&(item.due, number));
        self.by_timer.remove(&(item.deadline, number));
        self.by_timer.remove(&(item.timer.unwrap_or(item.deadline), number));
        Some(item)
    }

    /// Returns the messages that are due or past their deadline, in the order in which they were due.
    pub fn take_due(&mut self, now: Now) -> Vec<(u64, Item<T>)> {
        let by_clock = self.by_clock.iter().take_while(|(due, _)| *due <= now.unix).map(|(_, number)| *number);
        let by_timer = self.by_timer.iter().take_while(|(due, _)| *due <= now.time).map(|(_, number)| *number);
        let due: BTreeSet<u64> = by_clock.chain(by_timer).collect();
        let mut due: Vec<_> = due.into_iter().filter_map(|number| Some((number, self.remove(number)?))).collect();
        due.sort_by_key(|(number, item)| (item.due, *number));
        due
    }

    /// When [`Self::take_due`] next returns something. It changes when the wall clock is set.
    pub fn next_wake(&self, now: Now) -> Option<Time> {
        let by_clock = self.by_clock.first().map(|(due, _)| now.time + due.since(now.unix));
        [by_clock, self.by_timer.first().map(|(due, _)| *due)].into_iter().flatten().min()
    }

    /// The messages that are held, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Item<T>)> {
        self.items.iter().map(|(number, item)| (*number, item))
    }

    /// The number of messages that are held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// The time for which a message that is spread over `spread` is held, so that it still has time to get there: `random`
/// is uniform over all numbers. At least a quarter of what is left of its lifetime remains for the way.
pub fn part_of(spread: Duration, left: Duration, random: u64) -> Duration {
    let within = spread.min(left / 4 * 3).as_micros();
    let part = (within * u128::from(random)) >> 64;
    Duration::from_micros(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u64) -> Now {
        Now { time: Time(second * 1_000_000), unix: Unix::from_seconds(1_800_000_000 + second) }
    }

    fn numbers(due: Vec<(u64, Item<u8>)>) -> Vec<u8> {
        due.into_iter().map(|(_, item)| item.what).collect()
    }

    /// Invariant 1.
    #[test]
    fn what_is_held_leaves_when_it_is_due_and_ends_at_its_deadline() {
        let mut held = Held::default();
        let item = |what, start, lifetime| Item::new(what, 10, start, lifetime, at(0));
        held.hold(item(1, Start::At(at(20).unix), 60 * SECOND)).expect("room");
        held.hold(item(2, Start::After(10 * SECOND), 60 * SECOND)).expect("room");
        held.hold(item(3, Start::After(100 * SECOND), 30 * SECOND)).expect("room");
        assert_eq!(held.next_wake(at(0)), Some(at(10).time));
        assert!(held.take_due(at(9)).is_empty());
        assert_eq!(numbers(held.take_due(at(25))), [2, 1]);
        assert_eq!((held.next_wake(at(25)), numbers(held.take_due(at(30)))), (Some(at(30).time), vec![3]));
        assert!(held.is_empty() && held.next_wake(at(30)).is_none());
    }

    /// Invariant 1.
    #[test]
    fn a_step_of_the_clock_moves_what_was_named_by_it_and_nothing_else() {
        let mut held = Held::default();
        held.hold(Item::new(1, 1, Start::At(at(20).unix), 100 * SECOND, at(0))).expect("room");
        held.hold(Item::new(2, 1, Start::After(20 * SECOND), 100 * SECOND, at(0))).expect("room");
        let ahead = |second| Now { unix: at(second + 15).unix, ..at(second) };
        assert_eq!(held.next_wake(ahead(1)), Some(at(5).time));
        assert_eq!(numbers(held.take_due(ahead(5))), [1]);
        assert_eq!(held.next_wake(ahead(6)), Some(at(20).time));
        let behind = Now { unix: Unix(0), ..at(20) };
        assert_eq!(numbers(held.take_due(behind)), [2]);
    }

    /// Invariant 2.
    #[test]
    fn there_is_a_bound_on_messages_and_one_on_bytes() {
        let mut held = Held::default();
        let item = |bytes| Item::new((), bytes, Start::After(SECOND), SECOND, at(0));
        for number in 1..=MAX_HELD as u64 {
            assert_eq!(held.hold(item(1)), Ok(number));
        }
        assert_eq!(held.hold(item(1)), Err(Full));
        assert_eq!(held.take_due(at(1)).len(), MAX_HELD);
        assert!(held.hold(item(MAX_BYTES)).is_ok());
        assert_eq!(held.hold(item(1)), Err(Full));
        assert_eq!(held.remove(held.last).map(|item| item.bytes), Some(MAX_BYTES));
        assert!(held.hold(item(1)).is_ok());
    }

    #[test]
    fn a_spread_leaves_time_for_the_way() {
        let minute = 60 * SECOND;
        assert_eq!(part_of(minute, 10 * minute, 0), Duration::ZERO);
        assert_eq!(part_of(minute, 10 * minute, 1 << 63), minute / 2);
        assert!(part_of(minute, 10 * minute, u64::MAX) < minute);
        assert!(part_of(10 * minute, minute, u64::MAX) < minute / 4 * 3);
    }
}
