//! Notes: counts of events that come in floods.
//!
//! Each kind has a tally. The first note after a quiet time is due at once; after it was recorded, the next is due one
//! interval later, with the count of everything in between.
//!
//! Invariants
//! 1. A tally holds at most [`MAX_NAMES`] names besides those with [`OTHERS`]: what comes under further names is
//!    counted under [`OTHERS`], so the sum is always right.

use super::event::{Count, Event};
use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// The most names that one tally distinguishes within an interval.
pub const MAX_NAMES: usize = 64;

/// The name that stands for all names past that bound.
pub const OTHERS: &str = "others";

/// A failed message: destination, outcome, reason.
pub type Failure = (String, String, String);

/// What a custodian says of mail: the receiver, the custodian, and why it does not keep it; `None` if it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Custody {
    /// The receiver.
    pub to: String,
    /// The custodian.
    pub by: String,
    /// Why it does not keep it.
    pub refused: Option<String>,
}

/// The tallies.
#[derive(Debug)]
pub struct Notes {
    /// Refusals at admission, by reason.
    pub refused: Tally<String>,
    /// Drops at a bound, by counter.
    pub dropped: Tally<String>,
    /// Messages that failed.
    pub failed: Tally<Failure>,
    /// Mail of this device that custodians keep, or do not.
    pub custody: Tally<Custody>,
    ready: Vec<Event>,
}

/// Counts by name since they were last recorded.
#[derive(Debug)]
pub struct Tally<Key> {
    counts: BTreeMap<Key, u64>,
    not_before: Time,
    interval: Duration,
}

/// What can be counted in a tally.
pub trait Name: Ord {
    /// Returns the name under which all names past the bound are counted.
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

impl Name for Custody {
    fn blurred(self) -> Self {
        Self { to: OTHERS.to_owned(), by: OTHERS.to_owned(), refused: self.refused }
    }
}

impl<Key: Name> Tally<Key> {
    fn new(interval: Duration) -> Self {
        Self { counts: BTreeMap::new(), not_before: Time(0), interval }
    }

    /// Adds to the count of a name.
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
    /// Creates empty tallies, each recorded at most once per `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            refused: Tally::new(interval),
            dropped: Tally::new(interval),
            failed: Tally::new(interval),
            custody: Tally::new(interval),
            ready: Vec::new(),
        }
    }

    /// Returns the next event that is due at this time.
    pub fn poll(&mut self, now: Time) -> Option<Event> {
        if self.ready.is_empty() {
            let refused = self.refused.take_due(now);
            let dropped = self.dropped.take_due(now);
            let failed = self.failed.take_due(now);
            self.ready = custody_events(self.custody.take_due(now));
            self.ready.extend(events(refused, dropped, failed));
        }
        self.ready.pop()
    }

    /// Returns the next event, due or not.
    pub fn take(&mut self) -> Option<Event> {
        self.poll(Time(u64::MAX))
    }

    /// When [`poll`](Self::poll) next returns an event; `None` if nothing is counted.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.refused.due(), self.dropped.due(), self.failed.due(), self.custody.due()].into_iter().flatten().min()
    }
}

/// The events of these counts, in reverse order, because they are popped from the end.
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

/// The events of custody, in reverse order.
fn custody_events(custody: BTreeMap<Custody, u64>) -> Vec<Event> {
    let event = |(Custody { to, by, refused }, count)| match refused {
        None => Event::MailTaken { to, by, count },
        Some(reason) => Event::MailNotTaken { to, by, reason, count },
    };
    custody.into_iter().rev().map(event).collect()
}

fn counts(tally: BTreeMap<String, u64>) -> Vec<Count> {
    tally.into_iter().map(|(name, count)| Count { name, count }).collect()
}
