//! Load: resumes the log at boot from what is on disk.

use super::chain::{self, Begin, Checkpoint, Hash, Head, Record};
use super::event::Chain;
use super::verify::{Broken, Verifier};
use super::{Config, Event, EventLog, starts_chunk};
use crate::time::{Now, Unix};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Walks the records once: verifies the chain and finds where chunks begin.
///
/// After damage the log continues under the next free number. The first new record carries the hash that the head had,
/// never that of a record that the head does not cover, so altered records remain detectable.
///
/// If the store itself has found damage and set it aside, a new chain begins instead. Its first record states where the
/// old chain is, how many records it had, and its head. The head then covers the new chain alone, and what is left of
/// the old chain can still be read.
#[derive(Debug)]
pub struct Loader {
    config: Config,
    head: Option<Head>,
    verifier: Verifier,
    checkpoints: VecDeque<Checkpoint>,
    first: Option<Found>,
    newest: Option<Found>,
    set_aside: Option<SetAside>,
}

/// What the store has set aside since the log was last resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Where it is, relative to the node's directory.
    pub place: String,
    /// What was wrong with it.
    pub reason: String,
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
    /// Creates a loader for a head as it is stored; `None` if the store has none.
    pub fn new(config: Config, head: Option<&[u8]>) -> Self {
        let verifier = Verifier::new(head);
        let head = head.and_then(|head| Head::decode(head).ok());
        Self { config, head, verifier, checkpoints: VecDeque::new(), first: None, newest: None, set_aside: None }
    }

    /// Notes that the store has set something aside.
    pub fn set_aside(&mut self, what: SetAside) {
        self.set_aside = Some(what);
    }

    /// Takes the next entry of the log's table, in the order of keys. All entries must be passed.
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

    /// Returns the resumed log, and the damage if there is any that was not set aside. Damage that was not reported
    /// before has been recorded as an event.
    pub fn finish(self, now: Now) -> (EventLog, Option<Broken>) {
        let mut broken = self.verifier.finish().err();
        let mut head = self.head.unwrap_or_else(|| Head {
            last: self.newest.map_or(0, |newest| newest.sequence),
            hash: self.newest.map_or([0; 32], |newest| newest.hash),
            first: self.first.map_or(1, |first| first.sequence),
            anchor: self.first.map_or([0; 32], |first| first.previous),
            begin: None,
            reported: None,
        });
        let old = Chain { records: head.kept(), head: head.hash };
        if broken.is_some() {
            // Records outside the range of the head are included, so that no number is used twice and all of them are
            // trimmed in the end.
            head.first = self.first.map_or(head.first, |first| head.first.min(first.sequence));
            head.last = self.newest.map_or(head.last, |newest| head.last.max(newest.sequence));
        }
        let report = broken.as_ref().filter(|broken| head.reported != Some(broken.sequence));
        let event =
            report.map(|Broken { sequence, what }| Event::LogBroken { record: *sequence, reason: what.to_string() });
        let event = match self.set_aside {
            Some(SetAside { place, reason }) => {
                let chain = broken.is_some().then_some(old);
                if broken.take().is_some() {
                    head.begin = Some(Begin { sequence: head.last.saturating_add(1), before: head.hash });
                }
                Some(Event::Quarantined { place, reason, chain })
            }
            None => event,
        };
        head.reported = broken.as_ref().map(|broken| broken.sequence);
        let mut log = EventLog::resumed(self.config, head, self.checkpoints);
        if let Some(event) = event {
            log.append(event, now);
        }
        (log, broken)
    }
}
