//! Put-off: messages that the receiver had no room for, which are offered again soon, a few at first.
//!
//! A receiver whose inbox is full says so for each message, and does not settle its number. These messages are set
//! aside for a pause, then the first few of them are offered again. While there is no room for those, the pause
//! doubles, up to [`LONGEST`]; when one is taken, the others follow at once, twice as many for each message that is
//! taken. So an inbox that is being emptied fills again within a moment, and one that is not costs a few messages every
//! two seconds.
//!
//! Invariants
//! 1. Numbers come out in ascending order.
//! - A message that is set aside is neither queued nor in flight.

use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeSet;

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// The number of messages offered at first.
const PROBE: usize = 16;
/// The most messages offered at a time.
const MOST: usize = 4_096;

/// The numbers of one stream's messages that are set aside. Bounded by the stream's window.
#[derive(Debug)]
pub(super) struct PutOff {
    waiting: BTreeSet<u64>,
    due: Option<Time>,
    pause: Duration,
    allowance: usize,
    /// Since when the receiver has had no room.
    since: Option<Time>,
}

impl Default for PutOff {
    fn default() -> Self {
        Self { waiting: BTreeSet::new(), due: None, pause: SHORTEST, allowance: PROBE, since: None }
    }
}

impl PutOff {
    /// Sets a message aside, because the receiver has no room for it.
    pub(super) fn insert(&mut self, sequence: u64, now: Time) {
        self.waiting.insert(sequence);
        self.since = self.since.or(Some(now));
        self.allowance = PROBE;
        self.due = self.due.or(Some(now + self.pause));
    }

    /// Notes that the receiver has taken a message: there is room.
    pub(super) fn taken(&mut self, now: Time) {
        (self.pause, self.since) = (SHORTEST, None);
        if !self.waiting.is_empty() {
            self.allowance = (self.allowance * 2).min(MOST);
            self.due = Some(now);
        }
    }

    /// Since when the receiver has had no room, as far as is known; `None` if it has.
    pub(super) fn since(&self) -> Option<Time> {
        self.since
    }

    /// When [`Self::poll`] is due.
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.due
    }

    /// Returns the numbers that are to be offered again.
    pub(super) fn poll(&mut self, now: Time) -> Vec<u64> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let offered: Vec<u64> = self.waiting.iter().take(self.allowance).copied().collect();
        match offered.last() {
            Some(last) => self.waiting = self.waiting.split_off(&(last + 1)),
            None => return offered,
        }
        self.pause = (self.pause * 2).min(LONGEST);
        self.due = (!self.waiting.is_empty()).then(|| now + self.pause);
        offered
    }

    /// Forgets the messages that have ended.
    pub(super) fn retain(&mut self, open: impl Fn(u64) -> bool) {
        self.waiting.retain(|sequence| open(*sequence));
        if self.waiting.is_empty() {
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn a_few_are_offered_while_there_is_no_room_and_all_once_there_is() {
        let (mut aside, mut now) = (PutOff::default(), Time(0));
        (0..1_000).for_each(|sequence| aside.insert(sequence, now));
        assert!(aside.poll(now).is_empty());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let due = aside.next_wake().expect("something stands aside");
            pauses.push(due.since(now).as_millis());
            now = due;
            let offered = aside.poll(now);
            assert_eq!(offered, (0..PROBE as u64).collect::<Vec<_>>());
            assert_eq!(aside.since(), Some(Time(0)));
            offered.into_iter().for_each(|sequence| aside.insert(sequence, now));
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 2_000, 2_000]);
        let mut offered = 0;
        for rounds in 1.. {
            aside.taken(now);
            assert_eq!(aside.since(), None);
            offered += aside.poll(now).len();
            if offered == 1_000 {
                assert!(rounds < 8, "{rounds}");
                break;
            }
        }
        assert_eq!(aside.next_wake(), None);
    }
}
