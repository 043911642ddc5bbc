//! Requests to groups: what is asked, and what was answered.

use super::{Outcome, Payload, Span};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/group-requests`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRequestBody {
    /// The topic, without wildcards; its first level names the group.
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
    /// How long answers are waited for.
    #[serde(default)]
    pub timeout: Span,
    /// The most answers that are wanted: it ends when so many have come. If absent, as many as a request takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// The application's name for this request, up to 128 bytes. A request that is made again under the same name is not published twice: all the answers to the
    /// first are returned, and its outcome, for ten minutes after its deadline. A named request outlives a restart of the node once it has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The answers to a request to a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupAnswers {
    /// The answers, in the order in which they came; one of a device at most.
    pub answers: Vec<GroupAnswer>,
    /// How the request ended: `heard` with the number of answers, or `expired` without any.
    pub outcome: Outcome,
}

/// An answer to a request to a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupAnswer {
    /// Name of the device that answered.
    pub from: String,
    /// Time from request to answer, in microseconds.
    pub latency_us: u64,
    /// The answer.
    #[serde(flatten)]
    pub payload: Payload,
}

/// Body of `POST /v1/answers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicationAnswerBody {
    /// Name of the device that asks: `from` of the publication.
    pub to: String,
    /// The request, as the publication says.
    pub request: String,
    /// The answer as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The answer in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}
