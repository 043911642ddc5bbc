//! Counting events that come in floods.
//!
//! Each kind has a tally. The first note after a quiet time is due at once; after it was recorded, the next is due
//! an interval later, with the count of all that came meanwhile.
//!
//! Invariant: a tally holds at most [`MAX_NAMES`] names; what comes under further names is counted under
//! [`OTHERS`], so the sum is always right.

use super::event::{Count, Event};
use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// Most names that one tally tells apart within an interval.
pub const MAX_NAMES: usize = 64;

/// Stands for the names past that bound.
pub const OTHERS: &str = "others";

/// To whom, outcome, reason.
pub type Failure = (String, String, String);

/// The tallies.
#[derive(Debug)]
pub struct Notes {
    /// Refusals at admission, by reason.
    pub refused: Tally<String>,
    /// Drops at a bound, by counter.
    pub dropped: Tally<String>,
    /// Messages that failed.
    pub failed: Tally<Failure>,
    ready: Vec<Event>,
}

/// Counts by name since the last time they were recorded.
#[derive(Debug)]
pub struct Tally<Key> {
    counts: BTreeMap<Key, u64>,
    not_before: Time,
    interval: Duration,
}

/// What can be counted by.
pub trait Name: Ord {
    /// Itself without what tells it apart from others.
    fn blurred(self) -> Self;
}

impl Name for String {
    fn blurred(self) -> Self {
        OTHERS.to_owned()
    }
}

impl Name for Failure {
    fn blurred(self) -> Self {
        (OTHERS.to_owned(), self.1, "several reasons".to_owned())
    }
}

impl<Key: Name> Tally<Key> {
    fn new(interval: Duration) -> Self {
        Self { counts: BTreeMap::new(), not_before: Time(0), interval }
    }

    /// Counts.
    pub fn note(&mut self, name: Key, count: u64) {
        let name = match self.counts.len() < MAX_NAMES || self.counts.contains_key(&name) {
            true => name,
            false => name.blurred(),
        };
        let total = self.counts.entry(name).or_insert(0);
        *total = total.saturating_add(count);
    }

    /// When the counts are due, if there are any.
    fn due(&self) -> Option<Time> {
        (!self.counts.is_empty()).then_some(self.not_before)
    }

    fn take_due(&mut self, now: Time) -> BTreeMap<Key, u64> {
        if self.due().is_none_or(|due| due > now) {
            return BTreeMap::new();
        }
        self.not_before = now + self.interval;
        core::mem::take(&mut self.counts)
    }
}

impl Notes {
    /// Nothing counted yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            refused: Tally::new(interval),
            dropped: Tally::new(interval),
            failed: Tally::new(interval),
            ready: Vec::new(),
        }
    }

    /// The next event that is due.
    pub fn poll(&mut self, now: Time) -> Option<Event> {
        if self.ready.is_empty() {
            let refused = self.refused.take_due(now);
            let dropped = self.dropped.take_due(now);
            let failed = self.failed.take_due(now);
            self.ready = events(refused, dropped, failed);
        }
        self.ready.pop()
    }

    /// The next event, due or not.
    pub fn take(&mut self) -> Option<Event> {
        self.poll(Time(u64::MAX))
    }

    /// When [`poll`](Self::poll) has something next.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.refused.due(), self.dropped.due(), self.failed.due()].into_iter().flatten().min()
    }
}

/// Last first, as they are popped.
fn events(
    refused: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    failed: BTreeMap<Failure, u64>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for ((to, outcome, reason), count) in failed.into_iter().rev() {
        events.push(Event::MessageFailed { to, outcome, reason, count });
    }
    if !dropped.is_empty() {
        events.push(Event::Dropped { counts: counts(dropped) });
    }
    if !refused.is_empty() {
        events.push(Event::Refused { reasons: counts(refused) });
    }
    events
}

fn counts(tally: BTreeMap<String, u64>) -> Vec<Count> {
    tally.into_iter().map(|(name, count)| Count { name, count }).collect()
}
