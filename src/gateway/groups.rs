//! Routes about requests to groups.

use super::Context;
use super::api::{done, name, send_id};
use super::dto::{Done, GroupAnswer, GroupAnswers, GroupRequestBody, Payload, PublicationAnswerBody};
use super::error::{ApiError, ErrorBody};
use crate::client::{Command, Reply, hear};
use crate::engine::api::GroupRequest;
use crate::id::{InnerId, StreamId};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

/// Publishes a request to a topic, and waits for the answers of those who listen.
#[utoipa::path(post, path = "/v1/group-requests", request_body = GroupRequestBody, responses(
    (status = 200, description = "The answers", body = GroupAnswers),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn ask_group<R>(
    State(mut context): State<Context<R>>,
    body: Result<Json<GroupRequestBody>, JsonRejection>,
) -> Result<Json<GroupAnswers>, ApiError> {
    let Json(GroupRequestBody { topic, payload, payload_base64, policy, timeout, most, id }) = body?;
    let payload = Payload { payload, payload_base64 }.into_bytes().map_err(ApiError::Request)?;
    let (lifetime, most) = (timeout.0, most.unwrap_or(u32::MAX));
    let id = id.as_deref().map(send_id).transpose()?;
    let request = GroupRequest { topic, payload, policy, lifetime, most, id };
    let mut listener = context.caller.start(Command::GroupRequest(request)).await?;
    let mut answers = Vec::new();
    loop {
        match hear(&mut listener).await? {
            Reply::Response { from, payload, latency } => answers.push(GroupAnswer {
                from: from.to_string(),
                latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
                payload: Payload::new(payload),
            }),
            Reply::Outcome(outcome) => return Ok(Json(GroupAnswers { answers, outcome: outcome.into() })),
            _ => return Err(ApiError::Unexpected),
        }
    }
}

/// Answers a publication that is a request.
#[utoipa::path(post, path = "/v1/answers", request_body = PublicationAnswerBody, responses(
    (status = 200, description = "Taken", body = Done),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn answer_publication<R>(
    State(context): State<Context<R>>,
    body: Result<Json<PublicationAnswerBody>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Json(PublicationAnswerBody { to, request, payload, payload_base64 }) = body?;
    let answer = Payload { payload, payload_base64 }.into_bytes().map_err(ApiError::Request)?;
    let unknown = || ApiError::Request(format!("{request:?} names no request; take it from the publication"));
    let request = id(&request).ok_or_else(unknown)?;
    done(context.caller.ask(Command::Answer { to: name(&to)?, request, answer }).await?)
}

/// Reads the identity of a message: its stream in hexadecimal, a slash, and its number.
fn id(text: &str) -> Option<InnerId> {
    let (stream, sequence) = text.split_once('/')?;
    let stream = data_encoding::HEXLOWER.decode(stream.as_bytes()).ok()?;
    Some(InnerId { stream: StreamId(stream.try_into().ok()?), sequence: sequence.parse().ok()? })
}
