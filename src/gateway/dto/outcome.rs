//! The outcome of a message, in JSON: one object with a word for the outcome, and the fields that belong to the word.
//!
//! The description of the API shows one flat object with all possible fields, since client generators do not agree on
//! how to read a choice of objects distinguished by a field. A test compares the two.

use super::{AttachedBlob, Payload};
use crate::engine::api;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The outcome of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The message is certainly durable in the receiver's inbox.
    Delivered {
        /// Time from command to receipt, in microseconds.
        latency_us: u64,
        /// Number of hops that it took.
        hops: u32,
        /// Its price in units of money.
        price: f64,
    },
    /// The message was handed over as far as was asked; no receipt was wanted.
    Sent {
        /// Time from command to hand-over, in microseconds.
        latency_us: u64,
        /// Number of neighbours that got it.
        neighbours: u32,
    },
    /// A publication that was to be confirmed: devices have handed it to their subscribers.
    Heard {
        /// Time from command to the last confirmation, in microseconds.
        latency_us: u64,
        /// Number of devices that have confirmed it.
        subscribers: u32,
        /// Number of neighbours that got it.
        neighbours: u32,
    },
    /// The response of a service to a request.
    Replied {
        /// Name of the device that answered.
        from: String,
        /// Time from command to response, in microseconds.
        latency_us: u64,
        /// The response; empty if it is a blob.
        #[serde(flatten)]
        payload: Payload,
        /// The blob that the response consists of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blob: Option<AttachedBlob>,
    },
    /// The deadline has passed, and it is not known whether the message was delivered.
    Expired {
        /// The last that is known about the message.
        reason: String,
    },
    /// The receiver or this node refused the message; it is not delivered.
    Refused {
        /// The reason.
        reason: String,
    },
    /// There was no route to the receiver; it is not known whether the message was delivered.
    Unreachable {
        /// The reason.
        reason: String,
    },
    /// A newer message took its place while it waited, as was asked for.
    Superseded {
        /// The reason.
        reason: String,
    },
}

impl Outcome {
    /// Whether the message did what was asked.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Sent { .. } | Self::Heard { .. } | Self::Replied { .. })
    }

    /// The latency in microseconds; `None` unless the message succeeded.
    pub fn latency_us(&self) -> Option<u64> {
        match self {
            Self::Delivered { latency_us, .. }
            | Self::Sent { latency_us, .. }
            | Self::Heard { latency_us, .. }
            | Self::Replied { latency_us, .. } => Some(*latency_us),
            Self::Expired { .. } | Self::Refused { .. } | Self::Unreachable { .. } | Self::Superseded { .. } => None,
        }
    }

    /// The word for the outcome.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Sent { .. } => "sent",
            Self::Heard { .. } => "heard",
            Self::Replied { .. } => "replied",
            Self::Expired { .. } => "expired",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Superseded { .. } => "superseded",
        }
    }
}

impl From<api::Outcome> for Outcome {
    fn from(outcome: api::Outcome) -> Self {
        match outcome {
            api::Outcome::Delivered { latency_us, hops, price } => {
                Self::Delivered { latency_us, hops, price: price as f64 / 1_000_000.0 }
            }
            api::Outcome::Sent { latency_us, neighbours } => Self::Sent { latency_us, neighbours },
            api::Outcome::Heard { latency_us, subscribers, neighbours } => {
                Self::Heard { latency_us, subscribers, neighbours }
            }
            api::Outcome::Expired { reason } => Self::Expired { reason },
            api::Outcome::Refused { reason } => Self::Refused { reason },
            api::Outcome::Unreachable { reason } => Self::Unreachable { reason },
            api::Outcome::Superseded { reason } => Self::Superseded { reason },
        }
    }
}

/// The outcome of a message.
#[derive(ToSchema)]
#[schema(as = Outcome)]
#[expect(dead_code, reason = "its description is used, it never is")]
struct Described {
    /// The word for the outcome. `delivered`: the message is certainly durable in the receiver's inbox. `sent`: it was
    /// handed over as far as was asked, and no receipt was wanted. `heard`: it is a publication, confirmed by
    /// `subscribers` devices. `replied`: the service has responded to a request. `expired`: the deadline has passed,
    /// and it is not known whether the message was delivered. `refused`: the receiver or this node refused it.
    /// `unreachable`: there was no route to the receiver, and it is not known whether the message was delivered.
    /// `superseded`: a newer message took its place while it waited.
    outcome: Word,
    /// `delivered`, `sent`, `heard`, `replied`: time from command to receipt, hand-over, last confirmation or response,
    /// in microseconds.
    latency_us: Option<u64>,
    /// `delivered`: number of hops that the message took.
    hops: Option<u32>,
    /// `delivered`: price of the message in units of money.
    price: Option<f64>,
    /// `sent`, `heard`: number of neighbours that got the message.
    neighbours: Option<u32>,
    /// `heard`: number of devices that have confirmed the message.
    subscribers: Option<u32>,
    /// `replied`: name of the device that answered.
    from: Option<String>,
    /// `replied`: the response, if it is valid UTF-8.
    payload: Option<String>,
    /// `replied`: the response in base64 (RFC 4648), if it is not valid UTF-8.
    payload_base64: Option<String>,
    /// `replied`: the blob that the response consists of, to be read at `/v1/blobs/{hash}`.
    blob: Option<AttachedBlob>,
    /// `expired`, `refused`, `unreachable`, `superseded`: the reason.
    reason: Option<String>,
}

/// The word for the outcome of a message.
#[derive(ToSchema)]
#[schema(as = OutcomeWord, rename_all = "lowercase")]
#[expect(dead_code, reason = "its description is used, it never is")]
enum Word {
    Delivered,
    Sent,
    Heard,
    Replied,
    Expired,
    Refused,
    Unreachable,
    Superseded,
}

impl PartialSchema for Outcome {
    fn schema() -> RefOr<Schema> {
        Described::schema()
    }
}

impl ToSchema for Outcome {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Outcome")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Described::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_each_word_and_field_that_is_told_and_no_other() {
        let reason = || "why".to_owned();
        let blob = AttachedBlob { hash: "00".into(), length: 1, name: String::new() };
        let replied = |payload| {
            let (payload, blob) = (Payload::new(payload), Some(blob.clone()));
            Outcome::Replied { from: "a".into(), latency_us: 1, payload, blob }
        };
        let told = [
            Outcome::Delivered { latency_us: 1, hops: 1, price: 0.0 },
            Outcome::Sent { latency_us: 1, neighbours: 1 },
            Outcome::Heard { latency_us: 1, subscribers: 1, neighbours: 1 },
            replied(b"text".to_vec()),
            replied(vec![0xff]),
            Outcome::Expired { reason: reason() },
            Outcome::Refused { reason: reason() },
            Outcome::Unreachable { reason: reason() },
            Outcome::Superseded { reason: reason() },
        ];
        let (mut words, mut fields) = (BTreeSet::new(), BTreeSet::new());
        for outcome in told {
            let json = serde_json::to_value(&outcome).expect("JSON");
            words.insert(json["outcome"].clone().to_string());
            fields.extend(json.as_object().expect("an object").keys().cloned());
        }
        let described = serde_json::to_value(Outcome::schema()).expect("JSON");
        let properties = described["properties"].as_object().expect("an object");
        assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), fields);
        let word = serde_json::to_value(Word::schema()).expect("JSON");
        let listed = word["enum"].as_array().expect("words");
        assert_eq!(listed.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), words, "{described}");
        assert_eq!(described["required"], serde_json::json!(["outcome"]));
    }
}
