//! What is kept: pages of the inbox and of the event log.

use super::{Moment, Payload};
use crate::engine::api;
use crate::event_log::{Entry, verify};
use crate::wire::DecodeError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /v1/inbox`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxQuery {
    /// The first number wanted; without it, the oldest message not consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<u64>,
    /// Most messages wanted, up to 1,000; 100 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Messages of this sender only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who reads. A consumer with a name has a cursor of its own, and what it has not consumed stays.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
}

/// Query of `GET /v1/inbox/follow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxFollowQuery {
    /// The first number wanted; without it, the oldest message not consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<u64>,
    /// Messages of this sender only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who reads. A consumer with a name has a cursor of its own, and what it has not consumed stays.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
}

/// A message of the inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InboxMessage {
    /// Its number here.
    pub number: u64,
    /// Who sent it.
    pub from: String,
    /// Its lasting identity.
    pub id: String,
    /// RFC 3339: the sender's clock.
    pub sent: String,
    /// RFC 3339: this node's clock.
    pub received: String,
    /// The payload.
    #[serde(flatten)]
    pub payload: Payload,
}

impl From<api::InboxMessage> for InboxMessage {
    fn from(message: api::InboxMessage) -> Self {
        let api::InboxMessage { number, from, id, sent, received, payload } = message;
        Self {
            number,
            from: from.to_string(),
            id: format!("{}/{}", id.stream, id.sequence),
            sent: sent.to_string(),
            received: received.to_string(),
            payload: Payload::new(payload),
        }
    }
}

/// Answer of `GET /v1/inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InboxPage {
    /// In order.
    pub messages: Vec<InboxMessage>,
    /// Where the next page starts.
    pub next: u64,
    /// Whether there was more when this page was made.
    pub more: bool,
}

/// Body of `POST /v1/inbox/consume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumeBody {
    /// Messages up to this number, included, have been taken and may go.
    pub up_to: u64,
    /// By whom; the consumer without a name when nothing is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
    /// Whether to answer only once that is durable, so that they come again under no circumstances.
    #[serde(default)]
    pub durable: bool,
}

/// Body of `POST /v1/inbox/consumers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerBody {
    /// Its name.
    pub consumer: String,
}

/// Body of `POST /v1/inbox/forget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetBody {
    /// The consumer that is no more; the one without a name stays.
    pub consumer: String,
}

/// Query of `GET /v1/log` and `GET /v1/log/follow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// This kind only, as `link-up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "2026-01-31T12:00:00Z")]
    pub since: Option<Moment>,
    /// Up to this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub until: Option<Moment>,
    /// After this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most records wanted, up to 1,000; 100 when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A record of the event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// Its number.
    pub sequence: u64,
    /// RFC 3339: this node's clock.
    pub at: String,
    /// What kind of event, as `link-up`.
    pub kind: String,
    /// What happened, in a line.
    pub text: String,
    /// What happened, in fields by kind.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
    /// The record's hash, hexadecimal.
    pub hash: String,
}

impl From<Entry> for LogRecord {
    fn from(entry: Entry) -> Self {
        let Entry { sequence, at, kind, text, details, hash } = entry;
        let details = serde_json::to_value(details).unwrap_or_default();
        Self { sequence, at, kind: kind.to_owned(), text, details, hash }
    }
}

impl LogRecord {
    /// Stands for a record that cannot be read.
    pub(in crate::gateway) fn damaged(sequence: u64, error: &DecodeError) -> Self {
        let text = format!("this record cannot be read: {error}; `m2mesh log verify` says more");
        Self {
            sequence,
            at: String::new(),
            kind: "damaged".to_owned(),
            text,
            details: serde_json::json!({}),
            hash: String::new(),
        }
    }
}

/// Answer of `GET /v1/log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// In order.
    pub records: Vec<LogRecord>,
    /// What to give as `after` for the next page.
    pub after: u64,
    /// Whether there was more when this page was made.
    pub more: bool,
}

/// Answer of `GET /v1/log/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogVerdict {
    /// Whether every record is whole and in its place.
    pub intact: bool,
    /// Records kept, when it is intact.
    pub records: u64,
    /// Number of the oldest; 0 if there is none.
    pub first: u64,
    /// Number of the newest; 0 if there is none.
    pub last: u64,
    /// Hash of the newest, hexadecimal: who knows it knows the whole past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Number of the first bad record; 0 when it is the head that is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<u64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The log before it, if that was set aside with a damaged store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<OlderLog>,
}

/// A log of which nothing vouches any more for what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OlderLog {
    /// Records of it that can still be read with `log`.
    pub kept: u64,
    /// Records that it had.
    pub records: u64,
    /// Its head: hash of its newest record, hexadecimal.
    pub head: String,
    /// Where the damaged store is, below the node's directory.
    pub place: String,
}

impl From<verify::Older> for OlderLog {
    fn from(older: verify::Older) -> Self {
        let verify::Older { kept, records, head, place } = older;
        Self { kept, records, head: data_encoding::HEXLOWER.encode(&head), place }
    }
}
