//! Verify: checks a chain, and names the first bad record.
//!
//! A record is confirmed by the next one, which carries its hash, and the last record by the head. If two neighbouring
//! records disagree, either may be the altered one: the later one if it is not confirmed itself, otherwise the earlier
//! one. So a verdict on a disagreement needs one more record.

use super::chain::{self, Hash, Head, Logged, Record};
use super::event::{Chain, Event};
use crate::time::Unix;
use crate::wire::codec::DecodeError;

/// The summary of a chain that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of records.
    pub records: u64,
    /// The number of the first record kept; 0 if there is none.
    pub first: u64,
    /// The number of the newest record; 0 if there is none.
    pub last: u64,
    /// When the first record was written.
    pub since: Unix,
    /// When the newest record was written.
    pub until: Unix,
    /// The hash of the newest record.
    pub head: Hash,
    /// The number of records with events of a later version.
    pub unknown: u64,
    /// The chain before this one, if it was set aside and its end is not trimmed yet.
    pub older: Option<Older>,
}

/// An older chain. No head confirms its remaining records any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// The number of its records that are still kept.
    pub kept: u64,
    /// The number of records that it had.
    pub records: u64,
    /// The hash of its newest record.
    pub head: Hash,
    /// Where the store that held it was set aside.
    pub place: String,
}

/// The first bad record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} {what}")]
pub struct Broken {
    /// Its number; 0 if the head itself cannot be read.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: Damage,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its hash is not the one that the next record, or the head, carries.
    #[error("was changed: its hash is not the one that was kept for it")]
    Changed,
    /// The record is intact, but the record before it is not the one that was trimmed.
    #[error("does not follow on what was trimmed before it")]
    Anchor,
    /// No record has this number, although later ones exist or the head counts it.
    #[error("is missing")]
    Missing,
    /// The newest records are missing: the head has a greater number.
    #[error("and all after it up to {last} are missing: the end was cut off")]
    Cut {
        /// The last number of the head.
        last: u64,
    },
    /// It carries another number than the one that it is stored under.
    #[error("is out of order: inside it is number {found}")]
    Misplaced {
        /// The number that it carries.
        found: u64,
    },
    /// It comes again, or after a later one.
    #[error("comes again, or after a later one")]
    OutOfOrder,
    /// It is stored outside the range of the head.
    #[error("is not part of the log: the head spans {first} to {last}")]
    Foreign {
        /// The first number of the head.
        first: u64,
        /// The last number of the head.
        last: u64,
    },
    /// The bytes are not a record.
    #[error("cannot be decoded: {0}")]
    Undecodable(DecodeError),
    /// The key is not the key of a record.
    #[error("is followed by a key that is no record number")]
    Key,
    /// There are records, but no head.
    #[error("has no head: the head is missing")]
    NoHead,
    /// The head cannot be read.
    #[error("is the head, which cannot be decoded: {0}")]
    Head(DecodeError),
}

/// Verifies records in the order of their keys against a head, both as they are stored.
///
/// # Errors
/// [`Broken`] with the first bad record.
pub fn verify<Key: AsRef<[u8]>, Value: AsRef<[u8]>>(
    records: impl IntoIterator<Item = (Key, Value)>,
    head: Option<&[u8]>,
) -> Result<Summary, Broken> {
    let mut verifier = Verifier::new(head);
    for (key, value) in records {
        if !verifier.record(key.as_ref(), value.as_ref()) {
            break;
        }
    }
    verifier.finish()
}

/// Verifies a log that is being written at the same time. `head` reads the head; `scan` calls its argument for every
/// record in the order of keys until it returns `false`. If the log changed during a scan, it is scanned again.
///
/// # Errors
/// The outer error is that of `head` or `scan`; the inner one is [`Broken`] with the first bad record.
pub fn verify_live<Error>(
    mut head: impl FnMut() -> Result<Option<Vec<u8>>, Error>,
    mut scan: impl FnMut(&mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error>,
) -> Result<Result<Summary, Broken>, Error> {
    let mut attempt = 0;
    loop {
        let before = head()?;
        let mut verifier = Verifier::new(before.as_deref());
        scan(&mut |key, value| verifier.record(key, value))?;
        let verdict = verifier.finish();
        attempt += 1;
        if verdict.is_ok() || attempt == MAX_SCANS || head()? == before {
            return Ok(verdict);
        }
    }
}

/// What the first record of a chain states of an older one.
fn older(event: &Logged) -> Option<Older> {
    match event {
        Logged::Known(Event::Quarantined { place, chain: Some(Chain { records, head }), .. }) => {
            Some(Older { kept: 0, records: *records, head: *head, place: place.clone() })
        }
        _ => None,
    }
}

/// The most scans of a log that changes while it is read. Records come at intervals far longer than a scan.
const MAX_SCANS: usize = 8;

/// Verification, one record at a time.
#[derive(Debug)]
pub struct Verifier {
    head: Option<Head>,
    broken: Option<Broken>,
    /// The number and hash of the record before the next one. At first, those of the anchor.
    before: (u64, Hash),
    /// If two neighbouring records disagree: the number of the earlier one.
    suspect: Option<u64>,
    records: u64,
    since: Unix,
    until: Unix,
    unknown: u64,
    /// The number of records from before the chain began.
    kept: u64,
    older: Option<Older>,
}

impl Verifier {
    /// Creates a verifier for a head as it is stored.
    pub fn new(head: Option<&[u8]>) -> Self {
        let (head, broken) = match head.map(Head::decode) {
            None => (None, None),
            Some(Ok(head)) => (Some(head), None),
            Some(Err(error)) => (None, Some(Broken { sequence: 0, what: Damage::Head(error) })),
        };
        let before = head.as_ref().map_or((0, [0; 32]), |head| match &head.begin {
            Some(begin) => (begin.sequence.saturating_sub(1), begin.before),
            None => (head.first.saturating_sub(1), head.anchor),
        });
        let (since, until) = (Unix(0), Unix(0));
        Self { head, broken, before, suspect: None, records: 0, since, until, unknown: 0, kept: 0, older: None }
    }

    /// Takes the next record. Returns `false` if the chain is broken; further records do not change that.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> bool {
        if self.broken.is_none()
            && let Err(broken) = self.check(key, value)
        {
            self.broken = Some(broken);
        }
        self.broken.is_none()
    }

    /// Returns the verdict, once all records were taken.
    ///
    /// # Errors
    /// [`Broken`] with the first bad record.
    pub fn finish(mut self) -> Result<Summary, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Some(head) = self.head.take() else {
            // Without a head, `record` has refused every record.
            return Ok(self.summary());
        };
        if self.before.0 < head.last {
            return Err(self
                .doubt()
                .unwrap_or(Broken { sequence: self.before.0 + 1, what: Damage::Cut { last: head.last } }));
        }
        self.link(&head.hash, head.last.saturating_add(1))?;
        // Nothing confirms the head, so a disagreement between it and the last record is attributed to the record.
        match self.suspect {
            Some(sequence) => Err(Broken { sequence, what: Damage::Changed }),
            None => Ok(self.summary()),
        }
    }

    fn summary(&self) -> Summary {
        let last = if self.records == 0 { 0 } else { self.before.0 };
        Summary {
            records: self.records,
            first: if self.records == 0 { 0 } else { last + 1 - self.records },
            last,
            since: self.since,
            until: self.until,
            head: self.before.1,
            unknown: self.unknown,
            older: self.older.clone().map(|older| Older { kept: self.kept, ..older }),
        }
    }

    fn check(&mut self, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        let Ok(key) = <[u8; 8]>::try_from(key) else {
            return Err(self.doubt().unwrap_or(Broken { sequence: self.before.0, what: Damage::Key }));
        };
        let sequence = u64::from_be_bytes(key);
        let Some(head) = &self.head else { return Err(Broken { sequence, what: Damage::NoHead }) };
        if head.begin.as_ref().is_some_and(|begin| sequence < begin.sequence) && self.records == 0 {
            self.kept += 1;
            return Ok(());
        }
        let (first, last) = (head.first, head.last);
        let what = if sequence < first || sequence > last {
            Some((sequence, Damage::Foreign { first, last }))
        } else if sequence <= self.before.0 {
            Some((sequence, Damage::OutOfOrder))
        } else if sequence > self.before.0 + 1 {
            Some((self.before.0 + 1, Damage::Missing))
        } else {
            None
        };
        if let Some((sequence, what)) = what {
            return Err(self.doubt().unwrap_or(Broken { sequence, what }));
        }
        let record = match Record::decode(value) {
            Ok(record) if record.sequence == sequence => record,
            Ok(Record { sequence: found, .. }) => {
                return Err(self.doubt().unwrap_or(Broken { sequence, what: Damage::Misplaced { found } }));
            }
            Err(error) => {
                return Err(self.doubt().unwrap_or(Broken { sequence, what: Damage::Undecodable(error) }));
            }
        };
        self.link(&record.previous, sequence)?;
        if self.records == 0 {
            self.since = record.at;
            self.older = older(&record.event);
        }
        self.until = record.at;
        self.unknown += u64::from(matches!(record.event, Logged::Unknown(_)));
        self.records += 1;
        self.before = (sequence, chain::hash(value));
        Ok(())
    }

    /// Compares the hash that record `by` carries with that of the record before it.
    fn link(&mut self, previous: &Hash, by: u64) -> Result<(), Broken> {
        let agree = *previous == self.before.1;
        match (self.suspect, agree) {
            (None, true) => Ok(()),
            (None, false) => {
                self.suspect = Some(by - 1);
                Ok(())
            }
            // The later of the two is confirmed: the earlier one was altered, or the anchor if there is no record
            // before.
            (Some(earlier), true) => Err(match self.records {
                0 | 1 => Broken { sequence: by - 1, what: Damage::Anchor },
                _ => Broken { sequence: earlier, what: Damage::Changed },
            }),
            (Some(_), false) => Err(Broken { sequence: by - 1, what: Damage::Changed }),
        }
    }

    /// The verdict on a disagreement that no further record can settle: the earlier record is named.
    fn doubt(&self) -> Option<Broken> {
        self.suspect.map(|earlier| match self.records {
            0 | 1 => Broken { sequence: earlier.saturating_add(1), what: Damage::Anchor },
            _ => Broken { sequence: earlier, what: Damage::Changed },
        })
    }
}
