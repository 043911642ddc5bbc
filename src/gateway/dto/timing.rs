//! Timing: when a message may leave.

use super::{Class, Moment, Span};
use crate::engine::api;
use crate::engine::view::HeldView;
use crate::wire::data;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::time::Duration;
use utoipa::ToSchema;

/// From when on a message may leave: an RFC 3339 time, or a duration from now such as `10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "2026-01-31T12:00:00Z")]
pub struct Start(pub api::Start);

impl Start {
    /// Reads a time in one of the two forms.
    ///
    /// # Errors
    /// Fails with a sentence if the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(span) = humantime::parse_duration(text) {
            return Ok(Self(api::Start::After(span)));
        }
        let wrong = |error| format!("{error}; or write how long from now, as 10m");
        Moment::parse(text).map(|Moment(at)| Self(api::Start::At(at))).map_err(wrong)
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            api::Start::At(at) => Moment(at).serialize(serializer),
            api::Start::After(span) => Span(span).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The engine's timing of a message.
pub(in crate::gateway) fn timing(start: Option<Start>, spread: Option<Span>, wait: Option<Span>) -> api::Timing {
    let span = |span: Option<Span>| span.map(|Span(span)| span).filter(|span| *span > Duration::ZERO);
    api::Timing { start: start.map(|Start(start)| start), spread: span(spread), wait: span(wait) }
}

/// A message that is not to leave yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Name of the receiver, or the topic.
    pub to: String,
    /// How urgent it is.
    pub class: Class,
    /// Bytes of its payload.
    pub bytes: usize,
    /// From when on it may leave, as RFC 3339.
    pub leaves: String,
    /// Its deadline, as RFC 3339.
    pub expires: String,
}

impl From<HeldView> for Held {
    fn from(held: HeldView) -> Self {
        let HeldView { to, class, bytes, leaves, expires } = held;
        let class = match class {
            data::Class::Alarm => Class::Alarm,
            data::Class::Control => Class::Control,
            data::Class::Telemetry => Class::Telemetry,
            data::Class::Bulk => Class::Bulk,
        };
        Self { to, class, bytes, leaves: leaves.to_string(), expires: expires.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Unix;

    #[test]
    fn a_start_is_a_time_or_a_span() {
        assert_eq!(Start::parse("10m"), Ok(Start(api::Start::After(Duration::from_secs(600)))));
        assert_eq!(Start::parse("1970-01-01T00:00:01Z"), Ok(Start(api::Start::At(Unix::from_seconds(1)))));
        assert!(Start::parse("noon").is_err_and(|error| error.contains("10m")));
        for text in [r#""10m""#, r#""1970-01-01T00:00:01.000Z""#] {
            let start: Start = serde_json::from_str(text).expect("a start");
            assert_eq!(serde_json::to_string(&start).expect("JSON"), text);
        }
    }
}
