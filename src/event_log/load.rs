//! Resuming the log at boot from what the disk has.

use super::chain::{self, Checkpoint, Hash, Head, Record};
use super::verify::{Broken, Verifier};
use super::{Config, Event, EventLog, starts_chunk};
use crate::time::{Now, Unix};
use std::collections::VecDeque;

/// Walks the records once: verifies the chain and finds where chunks begin.
///
/// After damage the log continues under the next free number, and the first new record carries the hash that the
/// head had, never that of a record it does not vouch for: what was altered stays visible as such.
#[derive(Debug)]
pub struct Loader {
    config: Config,
    head: Option<Head>,
    verifier: Verifier,
    checkpoints: VecDeque<Checkpoint>,
    first: Option<Found>,
    newest: Option<Found>,
}

/// What is known of a record on disk, readable or not.
#[derive(Clone, Copy, Debug)]
struct Found {
    sequence: u64,
    at: Unix,
    previous: Hash,
    hash: Hash,
}

impl Loader {
    /// Against the head as it lies in the store.
    pub fn new(config: Config, head: Option<&[u8]>) -> Self {
        let verifier = Verifier::new(head);
        let head = head.and_then(|head| Head::decode(head).ok());
        Self { config, head, verifier, checkpoints: VecDeque::new(), first: None, newest: None }
    }

    /// Takes the next entry of the log's table, in order of keys. All of them must be passed.
    pub fn record(&mut self, key: &[u8], value: &[u8]) {
        self.verifier.record(key, value);
        let Ok(key) = <[u8; 8]>::try_from(key) else { return };
        let sequence = u64::from_be_bytes(key);
        let (at, previous) = match Record::decode(value) {
            Ok(record) => (record.at, record.previous),
            Err(_) => (self.newest.map_or(Unix(0), |newest| newest.at), [0; 32]),
        };
        if starts_chunk(self.checkpoints.back(), sequence, &self.config) {
            let before = self.newest.map_or(previous, |newest| newest.hash);
            self.checkpoints.push_back(Checkpoint { sequence, before, at });
        }
        let found = Found { sequence, at, previous, hash: chain::hash(value) };
        self.first.get_or_insert(found);
        self.newest = Some(found);
    }

    /// The log, ready to go on, and the damage if there is any; a new one has been recorded as an event.
    pub fn finish(self, now: Now) -> (EventLog, Option<Broken>) {
        let broken = self.verifier.finish().err();
        let mut head = self.head.unwrap_or_else(|| Head {
            last: self.newest.map_or(0, |newest| newest.sequence),
            hash: self.newest.map_or([0; 32], |newest| newest.hash),
            first: self.first.map_or(1, |first| first.sequence),
            anchor: self.first.map_or([0; 32], |first| first.previous),
            reported: None,
        });
        if broken.is_some() {
            // Keys outside of what the head spans are taken in, so that no number is used twice and all is trimmed
            // in the end.
            head.first = self.first.map_or(head.first, |first| head.first.min(first.sequence));
            head.last = self.newest.map_or(head.last, |newest| head.last.max(newest.sequence));
        }
        let report = broken.as_ref().filter(|broken| head.reported != Some(broken.sequence));
        let event =
            report.map(|Broken { sequence, what }| Event::LogBroken { record: *sequence, reason: what.to_string() });
        head.reported = broken.as_ref().map(|broken| broken.sequence);
        let mut log = EventLog::resumed(self.config, head, self.checkpoints);
        if let Some(event) = event {
            log.append(event, now);
        }
        (log, broken)
    }
}
