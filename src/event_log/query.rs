//! Query: which records are wanted, and how a record is shown.

use super::chain::{self, Logged, Record};
use super::text::Field;
use crate::time::Unix;
use crate::wire::codec::DecodeError;
use core::fmt;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which records are wanted. An empty filter selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this kind, as named by [`Event::kind`](super::Event::kind); `unknown` selects events of a later version.
    pub kind: Option<String>,
    /// Only records written at or after this time.
    pub since: Option<Unix>,
    /// Only records written at or before this time.
    pub until: Option<Unix>,
}

impl Filter {
    /// Whether the filter selects a record.
    pub fn matches(&self, record: &Record) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == record.event.kind())
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}

/// A record as it is shown: in JSON by `Serialize`, for people by `Display`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its sequence number.
    pub sequence: u64,
    /// The time at which it was written, as RFC 3339 in UTC.
    pub at: String,
    /// The kind of event.
    pub kind: &'static str,
    /// The event as one line of text.
    pub text: String,
    /// The fields of the event.
    pub details: BTreeMap<&'static str, Field>,
    /// The hash of the record, hexadecimal.
    pub hash: String,
}

impl Entry {
    /// Makes an entry from the raw bytes of a record; `None` if the filter does not select it.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no record.
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
    /// The kind of the event; `unknown` for one of a later version.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Known(event) => event.kind(),
            Self::Unknown(_) => "unknown",
        }
    }
}
