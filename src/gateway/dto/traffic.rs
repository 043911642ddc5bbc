//! Messages: what is sent, how it ended, and what arrives through subscriptions and offers.

use super::{Ack, AttachedBlob, Class, Outcome, Payload, Span, Start, is_zero};
use crate::engine::api;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Body of `POST /v1/send`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendBody {
    /// Name of the receiver, `any:SERVICE` for one of the devices that offer a service, or `all` for all devices.
    #[schema(example = "meter-17")]
    pub to: String,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The confirmation that is wanted.
    #[serde(default)]
    pub ack: Ack,
    /// How urgent the message is.
    #[serde(default)]
    pub class: Class,
    /// Name of its policy. If absent, the node's settings decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How long the message is of use; after this long it expires.
    #[serde(default)]
    pub deadline: Span,
    /// It does not leave earlier: a time, or a duration from now. The message is durable while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Start>,
    /// It leaves at a random moment within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Span>,
    /// For how long it waits for a cheaper way, if one will be there in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// The application's name for this message, up to 128 bytes. A message that is sent again under the same name is
    /// not sent twice: the outcome of the first is returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A key: of the messages to this receiver with this key only the newest waits, and takes the place of the one before
    /// it, which ends as `superseded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
}

/// Query of `POST /v1/send-lines`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SendLinesQuery {
    /// Name of the receiver.
    pub to: String,
    /// The confirmation that is wanted: `none`, `hop` or `end`.
    #[serde(default)]
    #[param(inline)]
    pub ack: Ack,
    /// How urgent the messages are.
    #[serde(default)]
    #[param(inline)]
    pub class: Class,
    /// Name of their policy. If absent, the node's settings decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How long each message is of use; after this long it expires.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "30s")]
    pub deadline: Span,
    /// The application's name for these lines, up to 100 bytes: line N is sent under the id `ID/N`, see `SendBody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A key: of the messages to this receiver with this key only the newest waits, and takes the place of the one before
    /// it, which ends as `superseded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// Number of the first line.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[param(value_type = Option<u64>, example = 1)]
    pub first: u64,
}

fn one() -> u64 {
    1
}

fn is_one(number: &u64) -> bool {
    *number == 1
}

/// Body of `POST /v1/request`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestBody {
    /// Name of the device that offers the service, or `any:SERVICE` for one of the devices that do.
    pub to: String,
    /// Name of the service. It may be left out if the device offers exactly one, and is with `any:SERVICE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// How urgent the request is.
    #[serde(default)]
    pub class: Class,
    /// Name of its policy. If absent, the node's settings decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The application's name for this request, up to 128 bytes. A request that is made again under the same name is not made twice: the
    /// response to the first is returned, for ten minutes after its deadline, or its outcome. A named request outlives a restart of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// It does not leave earlier: a time, or a duration from now. Until it leaves, the request does not outlive a restart of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Start>,
    /// It leaves at a random moment within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Span>,
    /// For how long it waits for a cheaper way, if one will be there in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// How long to wait for the response.
    #[serde(default)]
    pub timeout: Span,
    /// Hash of a blob of this node that is the request, in place of a payload; to one device, and without `not_before`, `spread`, `wait` and `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// With `any:SERVICE`: whether another device may be given the request although one before may have executed it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub repeat: bool,
}

/// Body of `POST /v1/publish`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBody {
    /// The topic, without wildcards; its first level names the group.
    #[schema(example = "plant/line-1/temperature")]
    pub topic: String,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Name of its policy. If absent, the node's settings decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How long the message is of use; after this long it expires.
    #[serde(default)]
    pub deadline: Span,
    /// It does not leave earlier: a time, or a duration from now. The message is durable while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Start>,
    /// It leaves at a random moment within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Span>,
    /// How many devices are to confirm that they have handed it to a subscriber. The answer comes when this many have,
    /// or at the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
    /// Whether it takes the place of those of the same topic that wait, which end as `superseded`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub latest: bool,
}

/// Query of `POST /v1/publish-lines`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PublishLinesQuery {
    /// The topic, without wildcards.
    pub topic: String,
    /// Name of their policy. If absent, the node's settings decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How long each message is of use; after this long it expires.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "30s")]
    pub deadline: Span,
    /// How many devices are to confirm that they have handed each message to a subscriber. It ends when this many have,
    /// or at its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
    /// Whether it takes the place of those of the same topic that wait, which end as `superseded`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    #[param(value_type = Option<bool>)]
    pub latest: bool,
}

/// One line of the answer to `send-lines` and `publish-lines`. The lines come in the order in which the messages end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineOutcome {
    /// Number of the line of the request.
    pub line: u64,
    /// The outcome of the message.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Query of `GET /v1/subscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscribeQuery {
    /// The topics, as in MQTT: `+` matches one level, `#` all that follow. The first level names the group and cannot
    /// be a wildcard.
    #[param(example = "plant/+/temperature")]
    pub filter: String,
    /// Also delivers what was published within this time and has not expired, from devices within reach that have kept
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "10m")]
    pub since: Option<Span>,
    /// Delivers at most this many of the earlier publications, the latest ones; without `since`, from any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub last: Option<u32>,
    /// Whether only the newest publication of each topic and publisher waits while the client does not read: those whose place
    /// it takes count as `skipped`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub latest: bool,
}

/// Query of `GET /v1/offers/{service}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfferQuery {
    /// How many requests the program answers at a time. While so many wait, requests to any device that offers the
    /// service go to another one. If absent, as many as a device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub capacity: Option<u32>,
}

/// An offer of a service by another device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// Name of the device.
    pub from: String,
    /// How many requests it answers at a time.
    pub capacity: u32,
    /// How many wait there for their answers, or have a place kept free.
    pub load: u32,
    /// How long ago it said so, in microseconds.
    pub age_us: u64,
}

impl From<api::OfferView> for Offer {
    fn from(offer: api::OfferView) -> Self {
        let api::OfferView { from, capacity, load, awake: _, age } = offer;
        Self { from: from.to_string(), capacity, load, age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX) }
    }
}

/// Event `message` of `GET /v1/subscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The whole topic.
    pub topic: String,
    /// Name of the sender, if it is a contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When it was published by the sender's clock, as RFC 3339.
    pub sent: String,
    /// By how many microseconds that is wrong at most, as the sender says; absent if it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_error_us: Option<u64>,
    /// Messages of this sender to this topic that were lost in the mesh before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Messages that this stream dropped before this one, the oldest first, because they were not read in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// The number of the request, if it is one, to be named in `POST /v1/answers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The payload.
    #[serde(flatten)]
    pub payload: Payload,
}

impl Published {
    pub(in crate::gateway) fn new(published: api::Published, skipped: u64) -> Self {
        let api::Published { topic, payload, from, sent, sent_error, lost, request } = published;
        Self {
            topic,
            from: from.map(|name| name.to_string()),
            sent: sent.to_string(),
            sent_error_us: sent_error,
            lost,
            skipped,
            request: request.map(|id| format!("{}/{}", id.stream, id.sequence)),
            payload: Payload::new(payload),
        }
    }
}

/// Event `missed` of `GET /v1/subscribe`: messages that were lost, and after which no message of the same stream
/// follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Missed {
    /// The whole topic; only the group if the event is `uncertain` and the topic is unknown.
    pub topic: String,
    /// Name of the sender, if it is a contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Number of messages known to be missing.
    pub lost: u64,
    /// Whether more may be missing. This is so if the sender went on in another epoch or was restarted, and it was not
    /// heard how far it had got before; and if the subscription began within the gap.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub uncertain: bool,
    /// Messages that this stream dropped before this event, because they were not read in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

impl Missed {
    pub(in crate::gateway) fn new(missed: api::Missed, skipped: u64) -> Self {
        let api::Missed { topic, from, lost, uncertain } = missed;
        Self { topic, from: from.map(|name| name.to_string()), lost, uncertain, skipped }
    }
}

/// Event `call` of `GET /v1/offers/{service}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceCall {
    /// Number of the call, for `POST /v1/calls/{id}`.
    pub call: u64,
    /// Name of the service that is called.
    pub service: String,
    /// Name of the device that calls.
    pub from: String,
    /// The message's lasting id. A repeated call has the same one.
    pub id: String,
    /// The payload; empty if it is a blob.
    #[serde(flatten)]
    pub payload: Payload,
    /// The blob that the request consists of, to be read at `/v1/blobs/{hash}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<AttachedBlob>,
}

impl From<api::Call> for ServiceCall {
    fn from(call: api::Call) -> Self {
        let api::Call { call, service, from, id, payload, blob } = call;
        Self {
            call,
            service,
            from: from.to_string(),
            id: format!("{}/{}", id.stream, id.sequence),
            payload: Payload::new(payload),
            blob: blob.map(|blob| AttachedBlob::from(*blob)),
        }
    }
}

/// Body of `POST /v1/calls/{id}`: a payload, a blob, or a failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// Why there is no response. If present, there must be no payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The response as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The response in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Hash of a blob of this node that is the response. If present, there must be no payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}
