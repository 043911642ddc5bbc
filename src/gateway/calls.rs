//! Routes about services: requests to those of other devices, and answers to the calls of one's own.

use super::Context;
use super::api::{ANY, broken, bytes, done, name, outcome, send_id};
use super::dto::{AnswerBody, Done, Outcome, RequestBody, blob_hash, timing};
use super::error::{ApiError, ErrorBody};
use crate::client::Command;
use crate::engine::api::{Anycast, AnycastKind, BlobCommand, BlobRequest, Send};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};

/// Calls a service of a device and waits for the response.
#[utoipa::path(post, path = "/v1/request", tag = "api", request_body = RequestBody, responses(
    (status = 200, description = "The response, or how it ended without", body = Outcome),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn request<R>(
    State(context): State<Context<R>>,
    body: Result<Json<RequestBody>, JsonRejection>,
) -> Result<Json<Outcome>, ApiError> {
    let Json(body) = body?;
    let RequestBody { to, service, payload, payload_base64, class, policy, timeout, repeat, .. } = body;
    let RequestBody { not_before, spread, wait, id, blob, .. } = body;
    let id = id.as_deref().map(send_id).transpose()?;
    let (payload, class, lifetime) = (bytes(payload, payload_base64)?, class.into(), timeout.0);
    if let Some(hash) = blob {
        let hash = blob_hash(&hash).map_err(ApiError::Request)?;
        if to.starts_with(ANY)
            || repeat
            || !payload.is_empty()
            || not_before.is_some()
            || spread.is_some()
            || wait.is_some()
            || id.is_some()
        {
            let reason = "a request that is a blob goes to one device, at once, and has neither a payload nor a name";
            return Err(ApiError::Request(reason.into()));
        }
        let request = BlobRequest { hash, to: name(&to)?, service, class, policy, lifetime };
        let asked = context.caller.ask(Command::Blob(BlobCommand::Request(request)));
        return outcome(asked.await.map_err(broken)?).map(Json);
    }
    let command = match to.strip_prefix(ANY) {
        Some(_) if service.is_some() => return Err(ApiError::Request(format!("{to} names the service already"))),
        Some(any) => {
            let (service, kind) = (any.to_owned(), AnycastKind::Request { repeat, id });
            Command::Anycast(Anycast { service, payload, class, policy, lifetime, kind })
        }
        None if repeat => return Err(ApiError::Request("`repeat` is for requests to any:SERVICE".into())),
        None => {
            let (to, ack) = (name(&to)?, Default::default());
            let send = Send { to, payload, ack, class, policy, lifetime, id, latest: None };
            Command::Request { send, service }
        }
    };
    outcome(context.caller.ask(command.at(timing(not_before, spread, wait))).await.map_err(broken)?).map(Json)
}

/// Answers a call to a service offered here, once.
#[utoipa::path(post, path = "/v1/calls/{id}", tag = "api", request_body = AnswerBody,
    params(("id" = u64, Path, description = "The call's number")),
    responses(
        (status = 200, description = "Taken", body = Done),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn answer<R>(
    State(context): State<Context<R>>,
    call: Result<Path<u64>, PathRejection>,
    body: Result<Json<AnswerBody>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let (Path(call), Json(AnswerBody { failure, payload, payload_base64, blob })) = (call?, body?);
    if let (Some(hash), None) = (&blob, &failure) {
        let hash = blob_hash(hash).map_err(ApiError::Request)?;
        if payload.is_some() || payload_base64.is_some() {
            return Err(ApiError::Request("give either a payload or a blob, not both".into()));
        }
        return done(context.caller.ask(Command::Blob(BlobCommand::Respond { call, hash })).await?);
    }
    let answer = match failure {
        Some(_) if payload.is_some() || payload_base64.is_some() || blob.is_some() => {
            return Err(ApiError::Request("give either a response or a failure, not both".into()));
        }
        Some(reason) => Err(reason),
        None => Ok(bytes(payload, payload_base64)?),
    };
    done(context.caller.ask(Command::Respond { call, answer }).await?)
}
