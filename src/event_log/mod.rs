//! The event log: what happened on this device, in a chain of hashes, so that a change to the past is detected.
//!
//! **Mechanism.** Every [`Event`] becomes a [`Record`]: sequence number, wall time, the hash of the previous record,
//! the event. A record's hash is SHA-256 over its raw bytes, so the newest hash commits to the whole past. That hash is
//! in the [`Head`], next to the number of the first record kept and the hash of the record before it (the *anchor*):
//! old records may be removed, and what is left still verifies. Records and head are written in one commit. This core
//! only says what to write ([`Changes`]); the engine puts it into a commit of its own.
//!
//! Some events come in floods: refusals at admission, drops at a bound, failed messages. These are counted (see
//! [`notes`]). The first after a quiet time is recorded at once; the following ones are recorded once per interval,
//! with their count.
//!
//! At boot, [`Loader`] walks the records on disk. A broken chain is reported by an event of its own, once, and
//! continued: the damage stays visible to [`verify()`] until it is trimmed away. If the store itself has found the
//! damage and set it aside, a new chain begins, and its first record says so ([`load`]).
//!
//! Invariants
//! 1. Records are numbered from 1 without gaps; a number is never used twice, not even after damage.
//! 2. Records are trimmed from the old end only, in whole chunks, and each trimming is itself logged.
//! 3. After any number of appends and trims, the kept records of the present chain verify from the anchor to the head.
//! 4. No byte of a kept record of the present chain, or of the head except its note of reported damage, can change
//!    without [`verify()`] reporting it; for a record it names the record.

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
use notes::{Custody, Notes};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The bounds of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most records kept; the oldest are removed first. At least [`LEAST_RECORDS`].
    pub records: u64,
    /// Records older than this many days are removed.
    pub days: u32,
    /// Frequent events are counted and recorded at most once in this many milliseconds.
    pub interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { records: 100_000, days: 90, interval_ms: 1_000 }
    }
}

/// What is to be written in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new records: sequence number and raw bytes. The key in the log's table is [`chain::key`].
    pub records: Vec<(u64, Vec<u8>)>,
    /// The sequence numbers of the records to be removed.
    pub trimmed: Vec<u64>,
    /// The new head, to be kept in the table of small facts under [`HEAD_KEY`].
    pub head: Vec<u8>,
}

/// The core of the log: it takes events and says what to write.
#[derive(Debug)]
pub struct EventLog {
    config: Config,
    head: Head,
    /// The starts of the kept chunks, oldest first. The front one is the first record kept, with the anchor.
    checkpoints: VecDeque<Checkpoint>,
    notes: Notes,
    records: Vec<(u64, Vec<u8>)>,
    trimmed: Vec<u64>,
    next_age_trim: Time,
}

impl EventLog {
    /// Creates an empty log. If the store may hold one, use [`Loader`].
    pub fn new(config: Config) -> Self {
        Self::resumed(config, Head::default(), VecDeque::new())
    }

    fn resumed(config: Config, head: Head, checkpoints: VecDeque<Checkpoint>) -> Self {
        let notes = Notes::new(Duration::from_millis(config.interval_ms));
        Self { config, head, checkpoints, notes, records: Vec::new(), trimmed: Vec::new(), next_age_trim: Time(0) }
    }

    /// Records an event; returns its sequence number. Old records are removed when the bound is reached.
    pub fn append(&mut self, event: Event, now: Now) -> u64 {
        self.trim_by_count(now.unix);
        self.push(event, now.unix)
    }

    /// Counts connections refused at admission.
    pub fn note_refused(&mut self, reason: &str, count: u64) {
        self.notes.refused.note(reason.to_owned(), count);
    }

    /// Counts what was dropped at a bound.
    pub fn note_dropped(&mut self, counter: &str, count: u64) {
        self.notes.dropped.note(counter.to_owned(), count);
    }

    /// Counts a message that ended without being delivered.
    pub fn note_failed(&mut self, to: &str, outcome: &str, reason: &str) {
        self.notes.failed.note((to.to_owned(), outcome.to_owned(), reason.to_owned()), 1);
    }

    /// Counts mail that a custodian keeps, or does not, and why.
    pub fn note_custody(&mut self, to: &str, by: &str, refused: Option<&str>) {
        let refused = refused.map(str::to_owned);
        self.notes.custody.note(Custody { to: to.to_owned(), by: by.to_owned(), refused }, 1);
    }

    /// Records what was counted and is due, and removes records that are too old. To be called after notes and at
    /// [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(event) = self.notes.poll(now.time) {
            self.append(event, now);
        }
        if now.time >= self.next_age_trim {
            self.next_age_trim = now.time + if self.trim_by_age(now.unix) { AGE_TRIM_PACE } else { AGE_TRIM_CHECK };
        }
    }

    /// Records everything counted, due or not: for an orderly stop.
    pub fn flush_notes(&mut self, now: Now) {
        while let Some(event) = self.notes.take() {
            self.append(event, now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Time {
        self.notes.poll_timeout().map_or(self.next_age_trim, |due| due.min(self.next_age_trim))
    }

    /// Returns what is to be written since the last call, or `None` if nothing is.
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

    /// The number of records kept.
    pub fn len(&self) -> u64 {
        self.head.kept()
    }

    /// Whether no record is kept.
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

    /// Makes room for one event and for the record of the trimming itself.
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

    /// Removes the oldest chunk if it is too old; returns whether it was removed. Only one at a time: a clock that is
    /// wrong for a minute must not cost the whole log.
    fn trim_by_age(&mut self, at: Unix) -> bool {
        let limit = Duration::from_secs(u64::from(self.config.days) * crate::time::DAY_SECONDS);
        let old = self.checkpoints.get(1).is_some_and(|next| at.since(next.at) > limit);
        old && self.trim_chunk(at)
    }

    /// Removes the oldest chunk, unless it is the only one, and records that. Returns whether a chunk was removed.
    fn trim_chunk(&mut self, at: Unix) -> bool {
        let Some(next) = self.checkpoints.get(1) else { return false };
        let (first, last) = (self.head.first, next.sequence - 1);
        // After damage there may be a gap of any length between two chunks, in which no record is kept.
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

/// Whether a record starts a chunk. Chunks are aligned to multiples of their size, so that a later boot finds the same
/// ones.
fn starts_chunk(back: Option<&Checkpoint>, sequence: u64, config: &Config) -> bool {
    back.is_none_or(|back| back.sequence / chunk(config) != sequence / chunk(config))
}

/// The records in a chunk: the unit of trimming, and the distance of the checkpoints kept in memory.
fn chunk(config: &Config) -> u64 {
    (config.records.max(LEAST_RECORDS) / 16).min(MAX_CHUNK)
}

/// The least bound on records: below this, the records of trimming would crowd out the others.
pub const LEAST_RECORDS: u64 = 64;

/// The most records in a chunk; it bounds the removals that one commit carries for one trim.
const MAX_CHUNK: u64 = 256;

/// The most chunks trimmed at one append, for a bound that was lowered: the rest is trimmed with the next appends.
const MAX_CHUNKS_PER_APPEND: usize = 8;

/// The time between two chunks trimmed for their age.
const AGE_TRIM_PACE: Duration = Duration::from_secs(60);

/// The time between two checks for records that are too old.
const AGE_TRIM_CHECK: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
