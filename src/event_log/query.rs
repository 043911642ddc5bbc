//! Reading the log: which records are wanted, and how one is shown.

use super::chain::{self, Logged, Record};
use super::text::Field;
use crate::time::Unix;
use crate::wire::codec::DecodeError;
use core::fmt;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which records are wanted. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind only, as [`Event::kind`](super::Event::kind) names it; `unknown` for those of a later version.
    pub kind: Option<String>,
    /// Not before.
    pub since: Option<Unix>,
    /// Not after.
    pub until: Option<Unix>,
}

impl Filter {
    /// Whether a record is wanted.
    pub fn matches(&self, record: &Record) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == record.event.kind())
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}

/// A record as it is shown: for JSON by `Serialize`, for people by `Display`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// What kind.
    pub kind: &'static str,
    /// What happened, in a line.
    pub text: String,
    /// What happened, in fields.
    pub details: BTreeMap<&'static str, Field>,
    /// The record's hash, hexadecimal.
    pub hash: String,
}

impl Entry {
    /// From the raw bytes of a record: `None` if the filter does not want it.
    pub fn select(raw: &[u8], filter: &Filter) -> Result<Option<Self>, DecodeError> {
        let record = Record::decode(raw)?;
        Ok(filter.matches(&record).then(|| Self::new(&record, raw)))
    }

    fn new(record: &Record, raw: &[u8]) -> Self {
        let (text, details) = match &record.event {
            Logged::Known(event) => (event.to_string(), event.fields()),
            Logged::Unknown(number) => (
                format!("an event of a later version of m2mesh (number {number})"),
                BTreeMap::from([("number", Field::Number(*number))]),
            ),
        };
        Self {
            sequence: record.sequence,
            at: record.at.to_string(),
            kind: record.event.kind(),
            text,
            details,
            hash: data_encoding::HEXLOWER.encode(&chain::hash(raw)),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:>6} {:<17} {}", self.at, self.sequence, self.kind, self.text)
    }
}

impl Logged {
    /// The kind; `unknown` for one of a later version.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Known(event) => event.kind(),
            Self::Unknown(_) => "unknown",
        }
    }
}
