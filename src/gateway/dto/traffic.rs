//! Messages on their way: what is asked, how it ended, and what comes in by subscriptions and offers.

use super::{Ack, Class, Outcome, Payload, Span, is_zero};
use crate::engine::api;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Body of `POST /v1/send`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendBody {
    /// The receiver's name.
    #[schema(example = "meter-17")]
    pub to: String,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What confirmation is wanted.
    #[serde(default)]
    pub ack: Ack,
    /// How urgent it is.
    #[serde(default)]
    pub class: Class,
    /// Name of its policy; without one the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Of no use after this long.
    #[serde(default)]
    pub deadline: Span,
    /// The application's name for this message, up to 128 bytes. Whoever sends again under the same name is told what
    /// became of the first, and nothing is sent twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Query of `POST /v1/send-lines`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SendLinesQuery {
    /// The receiver's name.
    pub to: String,
    /// What confirmation is wanted: `none`, `hop`, `end`.
    #[serde(default)]
    #[param(inline)]
    pub ack: Ack,
    /// How urgent they are.
    #[serde(default)]
    #[param(inline)]
    pub class: Class,
    /// Name of its policy; without one the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Each is of no use after this long.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "30s")]
    pub deadline: Span,
    /// The application's name for these lines, up to 100 bytes: line N is sent under the id `ID/N`, see `SendBody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
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
    /// The name of the device that offers the service.
    pub to: String,
    /// Which service; may be left out where the device offers exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The payload as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// How urgent it is.
    #[serde(default)]
    pub class: Class,
    /// Name of its policy; without one the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How long to wait for the response.
    #[serde(default)]
    pub timeout: Span,
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
    /// Name of its policy; without one the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Of no use after this long.
    #[serde(default)]
    pub deadline: Span,
    /// Whether devices are to confirm it that hand it to a subscriber: the answer comes when so many have, or at the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
}

/// Query of `POST /v1/publish-lines`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PublishLinesQuery {
    /// The topic, without wildcards.
    pub topic: String,
    /// Name of its policy; without one the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Each is of no use after this long.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "30s")]
    pub deadline: Span,
    /// Whether devices are to confirm each that hand it to a subscriber: it ends when so many have, or at its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u32>,
}

/// One line of the answer to `send-lines` and `publish-lines`: in the order in which they end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineOutcome {
    /// Which line of the request, from 1.
    pub line: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Query of `GET /v1/subscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscribeQuery {
    /// As in MQTT: `+` one level, `#` the rest; the first level names the group and is no wildcard.
    #[param(example = "plant/+/temperature")]
    pub filter: String,
    /// Also what was published within this time and is still of use, from whoever within reach has kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "10m")]
    pub since: Option<Span>,
    /// Of what was published before, no more than the last so many; what was published within any time, if `since` is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub last: Option<u32>,
}

/// Event `message` of `GET /v1/subscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The whole topic.
    pub topic: String,
    /// The sender's name, if it is a contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// RFC 3339: the sender's clock at publishing.
    pub sent: String,
    /// Messages of this sender to this topic that were lost on the mesh before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Messages that this stream dropped before this one, the oldest first, because they were not read in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// The payload.
    #[serde(flatten)]
    pub payload: Payload,
}

impl Published {
    pub(in crate::gateway) fn new(published: api::Published, skipped: u64) -> Self {
        let api::Published { topic, payload, from, sent, lost } = published;
        Self {
            topic,
            from: from.map(|name| name.to_string()),
            sent: sent.to_string(),
            lost,
            skipped,
            payload: Payload::new(payload),
        }
    }
}

/// Event `missed` of `GET /v1/subscribe`: messages that were lost, after which none of the same stream comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Missed {
    /// The whole topic, or the group alone where it is `uncertain` and nobody knows which.
    pub topic: String,
    /// The sender's name, if it is a contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How many are known to be missing.
    pub lost: u64,
    /// Whether there may be others: the sender went on in another epoch, or was restarted, and how far it had got before was not heard; or
    /// the subscription has begun within what was missed.
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
    /// Number for `POST /v1/calls/{id}`.
    pub call: u64,
    /// The service called.
    pub service: String,
    /// Who calls.
    pub from: String,
    /// The message's lasting identity: a repeated call has the same.
    pub id: String,
    /// The payload.
    #[serde(flatten)]
    pub payload: Payload,
}

impl From<api::Call> for ServiceCall {
    fn from(call: api::Call) -> Self {
        let api::Call { call, service, from, id, payload } = call;
        Self {
            call,
            service,
            from: from.to_string(),
            id: format!("{}/{}", id.stream, id.sequence),
            payload: Payload::new(payload),
        }
    }
}

/// Body of `POST /v1/calls/{id}`: a payload, or a failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// Why there is no response; then no payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The response as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The response in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}
