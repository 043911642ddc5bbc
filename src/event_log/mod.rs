//! The event log: what happened on this device, in a chain of hashes, so that a change to the past shows.
//!
//! **Mechanism.** Every [`Event`] becomes a [`Record`]: sequence number, wall time, the hash of the record before,
//! the event. A record's hash is SHA-256 over its raw bytes, so whoever holds the newest hash holds the whole
//! past. That hash is in the [`Head`], next to the first record kept and the hash before it (the *anchor*): old
//! records may go, and what is left still verifies. Records and head are written in one commit; this core only
//! says what to write ([`Changes`]), the engine puts it into a commit of its own.
//!
//! Some events come in floods: refusals at admission, drops at a bound, failed messages. These are counted
//! (see [`notes`]) and recorded at once when it was quiet, else once an interval, with their count.
//!
//! At boot, [`Loader`] walks what the disk has. A chain that is broken is reported by an event of its own, once,
//! and continued: the damage stays for [`verify()`] to name until it is trimmed away. Where the store itself has found the
//! damage and set it aside, a new chain begins, and its first record says so ([`load`]).
//!
//! Invariants
//! 1. Records are numbered from 1 without gaps; a number is never used twice, not even after damage.
//! 2. Whatever is trimmed is trimmed from the old end, in whole chunks, and is itself logged.
//! 3. After any number of appends and trims, the kept records of the present chain verify from the anchor to the head.
//! 4. No byte of a kept record of the present chain, or of the head, can change without [`verify()`] naming the record.

pub mod chain;
pub mod declared;
pub mod event;
pub mod load;
pub mod notes;
pub mod query;
pub mod text;
pub mod verify;

pub use chain::{HEAD_KEY, Hash, Head, Logged, Record};
pub use event::Event;
pub use load::{Loader, SetAside};
pub use query::{Entry, Filter};
pub use verify::{Broken, Damage, Older, Summary, Verifier, verify, verify_live};

use crate::time::{Now, Time, Unix};
use chain::Checkpoint;
use core::time::Duration;
use notes::Notes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bounds of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most records kept; the oldest go first. At least [`LEAST_RECORDS`].
    pub records: u64,
    /// Records older than this many days go.
    pub days: u32,
    /// Frequent events are counted and recorded at most once in this many milliseconds.
    pub interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { records: 100_000, days: 90, interval_ms: 1_000 }
    }
}

/// What is to be written, in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New records: sequence number and raw bytes. Key in the log's table: [`chain::key`].
    pub records: Vec<(u64, Vec<u8>)>,
    /// Sequence numbers of records to be removed.
    pub trimmed: Vec<u64>,
    /// The new head, to be kept among small facts under [`HEAD_KEY`].
    pub head: Vec<u8>,
}

/// The log's core: takes events, says what to write.
#[derive(Debug)]
pub struct EventLog {
    config: Config,
    head: Head,
    /// Starts of the kept chunks, oldest first; the front is the first record kept, with the anchor.
    checkpoints: VecDeque<Checkpoint>,
    notes: Notes,
    records: Vec<(u64, Vec<u8>)>,
    trimmed: Vec<u64>,
    next_age_trim: Time,
}

impl EventLog {
    /// An empty log. With a store that may hold one, use [`Loader`].
    pub fn new(config: Config) -> Self {
        Self::resumed(config, Head::default(), VecDeque::new())
    }

    fn resumed(config: Config, head: Head, checkpoints: VecDeque<Checkpoint>) -> Self {
        let notes = Notes::new(Duration::from_millis(config.interval_ms));
        Self { config, head, checkpoints, notes, records: Vec::new(), trimmed: Vec::new(), next_age_trim: Time(0) }
    }

    /// Records an event; answers its sequence number. Old records go when the bound is reached.
    pub fn append(&mut self, event: Event, now: Now) -> u64 {
        self.trim_by_count(now.unix);
        self.push(event, now.unix)
    }

    /// Counts a connection refused at admission.
    pub fn note_refused(&mut self, reason: &str, count: u64) {
        self.notes.refused.note(reason.to_owned(), count);
    }

    /// Counts what was dropped at a bound.
    pub fn note_dropped(&mut self, counter: &str, count: u64) {
        self.notes.dropped.note(counter.to_owned(), count);
    }

    /// Counts a message that ended without delivery.
    pub fn note_failed(&mut self, to: &str, outcome: &str, reason: &str) {
        self.notes.failed.note((to.to_owned(), outcome.to_owned(), reason.to_owned()), 1);
    }

    /// Records what was counted and is due, and trims what is too old. To be called after notes and at
    /// [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(event) = self.notes.poll(now.time) {
            self.append(event, now);
        }
        if now.time >= self.next_age_trim {
            self.next_age_trim = now.time + if self.trim_by_age(now.unix) { AGE_TRIM_PACE } else { AGE_TRIM_CHECK };
        }
    }

    /// Records everything counted, due or not: for a stop in good order.
    pub fn flush_notes(&mut self, now: Now) {
        while let Some(event) = self.notes.take() {
            self.append(event, now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Time {
        self.notes.poll_timeout().map_or(self.next_age_trim, |due| due.min(self.next_age_trim))
    }

    /// What is to be written since the last call, if anything.
    pub fn poll_changes(&mut self) -> Option<Changes> {
        if self.records.is_empty() && self.trimmed.is_empty() {
            return None;
        }
        let records = core::mem::take(&mut self.records);
        let trimmed = core::mem::take(&mut self.trimmed);
        Some(Changes { records, trimmed, head: self.head.encode() })
    }

    /// The head as it will be once all changes are written.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many records are kept.
    pub fn len(&self) -> u64 {
        self.head.kept()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, event: Event, at: Unix) -> u64 {
        let sequence = self.head.last.saturating_add(1);
        if starts_chunk(self.checkpoints.back(), sequence, &self.config) {
            self.checkpoints.push_back(Checkpoint { sequence, before: self.head.hash, at });
        }
        let bytes = Record::encode(sequence, at, &self.head.hash, event.bounded());
        self.head.last = sequence;
        self.head.hash = chain::hash(&bytes);
        self.records.push((sequence, bytes));
        sequence
    }

    /// Makes room for one event and the note of the trimming itself.
    fn trim_by_count(&mut self, at: Unix) {
        let most = self.config.records.max(LEAST_RECORDS);
        for _ in 0..MAX_CHUNKS_PER_APPEND {
            if self.head.kept() < most {
                return;
            }
            if !self.trim_chunk(at) {
                return;
            }
        }
    }

    /// Whether a chunk went. One at a time: a clock that is wrong for a minute must not cost the whole log.
    fn trim_by_age(&mut self, at: Unix) -> bool {
        let limit = Duration::from_secs(u64::from(self.config.days) * crate::time::DAY_SECONDS);
        let old = self.checkpoints.get(1).is_some_and(|next| at.since(next.at) > limit);
        old && self.trim_chunk(at)
    }

    /// Drops the oldest chunk, unless it is the only one, and records that.
    fn trim_chunk(&mut self, at: Unix) -> bool {
        let Some(next) = self.checkpoints.get(1) else { return false };
        let (first, last) = (self.head.first, next.sequence - 1);
        // After damage there may be a gap between two chunks, of any length: nothing is kept there.
        let chunk = chunk(&self.config);
        let end = (first / chunk).saturating_add(1).saturating_mul(chunk) - 1;
        self.head.first = next.sequence;
        self.head.anchor = next.before;
        self.head.begin.take_if(|begin| begin.sequence < next.sequence);
        self.checkpoints.pop_front();
        self.trimmed.extend(first..=last.min(end));
        self.records.retain(|(sequence, _)| *sequence > last);
        self.push(Event::LogTrimmed { first, last }, at);
        true
    }
}

/// Whether a record starts a chunk: chunks are aligned, so that a later boot finds the same ones.
fn starts_chunk(back: Option<&Checkpoint>, sequence: u64, config: &Config) -> bool {
    back.is_none_or(|back| back.sequence / chunk(config) != sequence / chunk(config))
}

/// Records in a chunk: the unit of trimming, and how far apart checkpoints are kept in memory.
fn chunk(config: &Config) -> u64 {
    (config.records.max(LEAST_RECORDS) / 16).min(MAX_CHUNK)
}

/// Least bound on records: below this, the notes of trimming would crowd out what they are about.
pub const LEAST_RECORDS: u64 = 64;

/// Most records in a chunk: bounds the removals that one commit carries for one trim.
const MAX_CHUNK: u64 = 256;

/// Most chunks trimmed at one append, for when the bound was lowered: the rest goes with the next appends.
const MAX_CHUNKS_PER_APPEND: usize = 8;

/// Between two chunks trimmed for their age.
const AGE_TRIM_PACE: Duration = Duration::from_secs(60);

/// Between two looks for records that are too old.
const AGE_TRIM_CHECK: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
