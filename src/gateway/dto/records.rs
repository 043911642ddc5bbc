//! Records that the node keeps: pages of the inbox and of the event log.

use super::{AttachedBlob, Moment, Payload};
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
    /// Number of the first message wanted. If absent, the oldest message that is not consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<u64>,
    /// Most messages wanted, from 1 to 1,000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only messages of this sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Name of the consumer that reads. A named consumer has a read position of its own, and messages stay until it has
    /// consumed them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
}

/// Query of `GET /v1/inbox/follow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxFollowQuery {
    /// Number of the first message wanted. If absent, the oldest message that is not consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<u64>,
    /// Only messages of this sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Name of the consumer that reads. A named consumer has a read position of its own, and messages stay until it has
    /// consumed them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
}

/// A message of the inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InboxMessage {
    /// Number of the message in this inbox.
    pub number: u64,
    /// Name of the sender.
    pub from: String,
    /// The message's lasting id.
    pub id: String,
    /// When it was sent by the sender's clock, as RFC 3339.
    pub sent: String,
    /// By how many microseconds that is wrong at most, as the sender says; absent if it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_error_us: Option<u64>,
    /// When it was received by this node's clock, as RFC 3339.
    pub received: String,
    /// The payload.
    #[serde(flatten)]
    pub payload: Payload,
    /// The blob that it consists of instead; `GET /v1/blobs/{hash}` reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<AttachedBlob>,
}

impl From<api::InboxMessage> for InboxMessage {
    fn from(message: api::InboxMessage) -> Self {
        let api::InboxMessage { number, from, id, sent, received, payload, blob, sent_error } = message;
        Self {
            number,
            from: from.to_string(),
            id: format!("{}/{}", id.stream, id.sequence),
            sent: sent.to_string(),
            sent_error_us: sent_error,
            received: received.to_string(),
            payload: Payload::new(payload),
            blob: blob.map(AttachedBlob::from),
        }
    }
}

/// Answer of `GET /v1/inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InboxPage {
    /// The messages, in order.
    pub messages: Vec<InboxMessage>,
    /// Number at which the next page starts.
    pub next: u64,
    /// Whether there were more messages when this page was read.
    pub more: bool,
}

/// Body of `POST /v1/inbox/consume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumeBody {
    /// Number of the last message that has been consumed; this one and all before it may be removed.
    pub up_to: u64,
    /// Name of the consumer. If absent, the one without a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
    /// Whether to answer only once this is durable, so that the messages will never come again.
    #[serde(default)]
    pub durable: bool,
}

/// Body of `POST /v1/inbox/consumers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerBody {
    /// Name of the consumer.
    pub consumer: String,
}

/// Body of `POST /v1/inbox/forget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetBody {
    /// Name of the consumer to remove. The one without a name cannot be removed.
    pub consumer: String,
}

/// Query of `GET /v1/log` and `GET /v1/log/follow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only events of this kind, such as `link-up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only events from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "2026-01-31T12:00:00Z")]
    pub since: Option<Moment>,
    /// Only events up to this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub until: Option<Moment>,
    /// Only records after this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most records wanted, from 1 to 1,000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A record of the event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// Number of the record.
    pub sequence: u64,
    /// When it was written by this node's clock, as RFC 3339.
    pub at: String,
    /// The kind of event, such as `link-up`.
    pub kind: String,
    /// What happened, in one line.
    pub text: String,
    /// What happened, as fields that depend on the kind.
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
    /// An entry in place of a record that cannot be read.
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
    /// The records, in order.
    pub records: Vec<LogRecord>,
    /// The value of `after` for the next page.
    pub after: u64,
    /// Whether there were more records when this page was read.
    pub more: bool,
}

/// Answer of `GET /v1/log/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogVerdict {
    /// Whether every record is intact and in its place.
    pub intact: bool,
    /// Number of records kept, if the log is intact.
    pub records: u64,
    /// Number of the oldest record; 0 if there is none.
    pub first: u64,
    /// Number of the newest record; 0 if there is none.
    pub last: u64,
    /// Hash of the newest record, in hexadecimal. It covers all records before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Number of the first bad record; 0 if the head itself is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<u64>,
    /// What is wrong with the bad record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The log before this one, if it was set aside with a damaged store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<OlderLog>,
}

/// A log that was set aside: what is left of it is no longer verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OlderLog {
    /// Number of its records that can still be read with `log`.
    pub kept: u64,
    /// Number of records that it had.
    pub records: u64,
    /// Its head: the hash of its newest record, in hexadecimal.
    pub head: String,
    /// Path of the damaged store, relative to the node's directory.
    pub place: String,
}

impl From<verify::Older> for OlderLog {
    fn from(older: verify::Older) -> Self {
        let verify::Older { kept, records, head, place } = older;
        Self { kept, records, head: data_encoding::HEXLOWER.encode(&head), place }
    }
}
