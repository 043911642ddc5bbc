//! The JSON types that cross the socket. They are the contract with applications: they change only with the version in
//! the path, whatever becomes of the engine's own types. `contract` pins one of each, byte for byte.
//!
//! Payloads are bytes. In an answer they are in `payload` if they are valid UTF-8, otherwise in `payload_base64`; a
//! request may use either. Durations are written as `250ms`, `30s`, `6h`; times are RFC 3339 in UTC.

mod blobs;
mod bulletin;
#[cfg(test)]
mod contract;
mod groups;
mod identity;
mod lab;
mod mailbox;
mod node;
mod outcome;
mod records;
mod routing;
mod timing;
mod traffic;

pub(in crate::gateway) use blobs::blob_hash;
pub use blobs::{AttachedBlob, Blob, BlobFetchQuery, BlobLine, BlobProgress, BlobPutQuery, BlobSendQuery, BlobTaken};
pub use bulletin::{BulletinBody, BulletinTaken};
pub use groups::{GroupAnswer, GroupAnswers, GroupRequestBody, PublicationAnswerBody};
pub use identity::{Identity, RotateBody};
pub use lab::{Lab, Shape};
pub use mailbox::MailboxView;
pub use node::{Contact, Peer, Quarantined, RouteQuery, SerialLine, Status, Waiting};
pub use outcome::Outcome;
pub use records::{
    ConsumeBody, ConsumerBody, ForgetBody, InboxFollowQuery, InboxMessage, InboxPage, InboxQuery, LogPage, LogQuery,
    LogRecord, LogVerdict, OlderLog,
};
pub use routing::{
    CandidateView, DoubtView, HopView, LinkView, PathView, RouteInUse, RouteView, RouterView, RoutesView,
};
pub(super) use timing::timing;
pub use timing::{Held, Start};
pub use traffic::{
    AnswerBody, LineOutcome, Missed, Offer, OfferQuery, PublishBody, PublishLinesQuery, Published, RequestBody,
    SendBody, SendLinesQuery, ServiceCall, SubscribeQuery,
};

use crate::time::Unix;
use crate::wire::{batch, data};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;
use utoipa::ToSchema;

/// Bytes, as text if they are valid UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payload {
    /// The bytes, if they are valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The bytes in base64 (RFC 4648), if they are not valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl Payload {
    /// Wraps bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { payload: Some(text), payload_base64: None },
            Err(error) => Self { payload: None, payload_base64: Some(BASE64.encode(error.as_bytes())) },
        }
    }

    /// Returns the bytes. The payload is empty if neither field is present.
    ///
    /// # Errors
    /// Fails if both fields are present, or if the base64 is invalid.
    pub fn into_bytes(self) -> Result<Vec<u8>, String> {
        match (self.payload, self.payload_base64) {
            (Some(_), Some(_)) => Err("give either payload or payload_base64, not both".into()),
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(base64)) => {
                BASE64.decode(base64.as_bytes()).map_err(|error| format!("payload_base64 is not base64: {error}"))
            }
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// A duration, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "30s")]
pub struct Span(pub Duration);

impl Default for Span {
    /// How long a message is of use by default: 30 s.
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("{text:?} is not a duration like 250ms or 30s: {error}")))
    }
}

/// The confirmation that a message asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// None: the message is sent and forgotten.
    None,
    /// The next hop has received the message.
    Hop,
    /// The message is durable in the receiver's inbox.
    #[default]
    End,
}

impl From<Ack> for batch::Ack {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::None => Self::None,
            Ack::Hop => Self::Hop,
            Ack::End => Self::End,
        }
    }
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Most urgent.
    Alarm,
    /// Keeps the mesh and its applications running.
    Control,
    /// The default.
    #[default]
    Telemetry,
    /// Least urgent: it is sent when nothing else waits.
    Bulk,
}

impl From<Class> for data::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Alarm => Self::Alarm,
            Class::Control => Self::Control,
            Class::Telemetry => Self::Telemetry,
            Class::Bulk => Self::Bulk,
        }
    }
}

/// A time, as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "2026-01-31T12:00:00Z")]
pub struct Moment(pub Unix);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Moment {
    /// Parses a time as RFC 3339. A space may take the place of the `T`, and the `Z` may be missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let time = humantime::parse_rfc3339_weak(text)
            .map_err(|error| format!("{text:?} is not a time like 2026-01-31T12:00:00Z: {error}"))?;
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Self(Unix(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))))
    }
}

/// An answer that only confirms that the request was carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Done {}

/// A body of lines. A line may hold any bytes, and is one message.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "its description is used, it never is")]
pub(super) struct LinesBody(Vec<u8>);

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_text_where_they_can_be() {
        for bytes in [b"".to_vec(), b"21.5".to_vec(), vec![0xff, 0, 1]] {
            let payload = Payload::new(bytes.clone());
            assert_eq!(payload.payload.is_some(), std::str::from_utf8(&bytes).is_ok());
            assert_eq!(payload.into_bytes(), Ok(bytes));
        }
        let both = Payload { payload: Some("a".into()), payload_base64: Some("YQ==".into()) };
        assert!(both.into_bytes().is_err());
    }

    #[test]
    fn durations_and_times_are_written_as_people_write_them() {
        let body: SendBody = serde_json::from_str(r#"{"to":"a","payload":"x","deadline":"250ms"}"#).expect("a body");
        assert_eq!(body.deadline, Span(Duration::from_millis(250)));
        assert_eq!(body.ack, Ack::End);
        assert!(serde_json::from_str::<SendBody>(r#"{"to":"a","deadline":"soon"}"#).is_err());
        assert!(serde_json::from_str::<SendBody>(r#"{"to":"a","urgent":true}"#).is_err());
        assert_eq!(Moment::parse("1970-01-01T00:00:01Z"), Ok(Moment(Unix::from_seconds(1))));
        assert!(Moment::parse("yesterday").is_err());
    }
}
