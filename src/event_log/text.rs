//! Text: how the fields of events are shown, in the line that an operator reads and as JSON for machines.
//!
//! Each type that a field may have implements [`Value`], which defines both and how the field is bounded.

use super::event::{Chain, Count, MAX_COUNTS, MAX_TEXT};
use crate::id::{CredentialPrefix, Name};
use crate::time::Unix;
use core::fmt;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::collections::BTreeMap;

/// A field of an event in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Counts by name.
    Counts(BTreeMap<String, u64>),
    /// The value is not known.
    Absent(()),
}

/// A type that a field may have.
pub(super) trait Value {
    /// The JSON form, in words.
    const FORM: &'static str;

    /// The value in JSON.
    fn field(&self) -> Field;

    /// Formats the value for people, on one line.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Cuts the value to its bound.
    fn bound(&mut self) {}

    /// Adds the value to the fields of an event, under its name.
    fn put(&self, name: &'static str, fields: &mut BTreeMap<&'static str, Field>) {
        fields.insert(name, self.field());
    }

    /// The names and forms of what [`put`](Self::put) adds.
    fn described(name: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![(name, Self::FORM)]
    }
}

/// Formats a value as part of a line.
pub(super) struct Shown<'a, V>(pub &'a V);

impl<V: Value> fmt::Display for Shown<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

impl Value for u64 {
    const FORM: &'static str = "number";

    fn field(&self) -> Field {
        Field::Number(*self)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Value for i64 {
    const FORM: &'static str = "number";

    fn field(&self) -> Field {
        Field::Signed(*self)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A time in Unix seconds, shown as RFC 3339 in UTC.
pub(super) struct Seconds(pub u64);

impl Value for Seconds {
    const FORM: &'static str = "time";

    fn field(&self) -> Field {
        Field::Text(Unix::from_seconds(self.0).to_string())
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Unix::from_seconds(self.0))
    }
}

impl Value for String {
    const FORM: &'static str = "text";

    fn field(&self) -> Field {
        Field::Text(self.clone())
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(self, f)
    }

    fn bound(&mut self) {
        if self.len() > MAX_TEXT {
            self.truncate(self.floor_char_boundary(MAX_TEXT));
        }
    }
}

impl Value for Name {
    const FORM: &'static str = "text";

    fn field(&self) -> Field {
        Field::Text(self.to_string())
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name of a neighbour; `None` if it is no contact.
impl Value for Option<Name> {
    const FORM: &'static str = "text or null";

    fn field(&self) -> Field {
        self.as_ref().map_or(Field::Absent(()), Name::field)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(name) => name.show(f),
            None => write!(f, "a neighbour that is no contact"),
        }
    }
}

impl Value for CredentialPrefix {
    const FORM: &'static str = "hexadecimal";

    fn field(&self) -> Field {
        Field::Text(self.to_string())
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Shown as `expired 3, wrong-peer 1`.
impl Value for Vec<Count> {
    const FORM: &'static str = "counts by name";

    fn field(&self) -> Field {
        let mut by_name = BTreeMap::new();
        for Count { name, count } in self {
            *by_name.entry(name.clone()).or_insert(0) += count;
        }
        Field::Counts(by_name)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Count { name, count }) in self.iter().enumerate() {
            write!(f, "{}{} {count}", if at == 0 { "" } else { ", " }, Shown(name))?;
        }
        Ok(())
    }

    fn bound(&mut self) {
        self.truncate(MAX_COUNTS);
        self.iter_mut().for_each(|count| count.name.bound());
    }
}

/// Shown as `mast → gate`.
impl Value for Vec<String> {
    const FORM: &'static str = "texts";

    fn field(&self) -> Field {
        Field::Texts(self.clone())
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Joined(self, " → "))
    }

    fn bound(&mut self) {
        self.truncate(MAX_COUNTS);
        self.iter_mut().for_each(Value::bound);
    }
}

/// `None` shows nothing; otherwise the end of a sentence, with a JSON field for each of the chain's fields.
impl Value for Option<Chain> {
    const FORM: &'static str = "number, hexadecimal";

    fn field(&self) -> Field {
        self.as_ref().map_or(Field::Absent(()), |chain| Field::Text(HEXLOWER.encode(&chain.head)))
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Chain { records, head }) = self else { return Ok(()) };
        let head = HEXLOWER.encode(head);
        write!(f, "; this log begins a new chain, the one before had {records} records and the head {head}")
    }

    fn put(&self, _: &'static str, fields: &mut BTreeMap<&'static str, Field>) {
        if let Some(Chain { records, .. }) = self {
            fields.extend([("records", Field::Number(*records)), ("head", self.field())]);
        }
    }

    fn described(_: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![("records", "number, or not there"), ("head", "hexadecimal, or not there")]
    }
}

/// The sum of the counts; saturates.
pub(super) fn total(counts: &[Count]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(count.count))
}

/// Writes a text on one line: control characters are escaped.
fn line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        match c.is_control() {
            true => write!(f, "{}", c.escape_default())?,
            false => write!(f, "{c}")?,
        }
    }
    Ok(())
}

/// A number with its noun, in the singular or plural.
pub(super) struct Plural(pub u64, pub &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// Texts with a separator between them.
pub(super) struct Joined<'a>(pub &'a [String], pub &'static str);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, text) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { self.1 }, Shown(text))?;
        }
        Ok(())
    }
}

/// The milliseconds that a clock was set by, shown as `back by 1.250 s`.
pub(super) struct Step(pub i64);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.0 < 0 { "back" } else { "forward" };
        let by = self.0.unsigned_abs();
        write!(f, "{direction} by {}.{:03} s", by / 1_000, by % 1_000)
    }
}
