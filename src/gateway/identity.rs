//! Routes about the device's pseudonym.

use super::Context;
use super::dto::{Identity, RotateBody};
use super::error::{ApiError, ErrorBody};
use crate::client::{Command, Reply};
use crate::engine::store::Read;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

/// Returns under which pseudonym the device takes part, and until when.
#[utoipa::path(get, path = "/v1/identity", responses(
    (status = 200, description = "The pseudonym", body = Identity),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn identity<R>(State(context): State<Context<R>>) -> Result<Json<Identity>, ApiError> {
    told(context.caller.ask(Command::Identity).await?)
}

/// Takes the next pseudonym now, if its epoch has begun, or sets for how long the device is to be known by one.
#[utoipa::path(post, path = "/v1/identity/rotate", request_body = RotateBody, responses(
    (status = 200, description = "The pseudonym afterwards; `changing` tells whether it is being changed", body = Identity),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn rotate<R: Read>(
    State(context): State<Context<R>>,
    body: Result<Json<RotateBody>, JsonRejection>,
) -> Result<Json<Identity>, ApiError> {
    let Json(body) = body?;
    let anonymity = body.mode().map_err(ApiError::Request)?;
    told(context.caller.ask(Command::Rotate { anonymity }).await?)
}

fn told(reply: Reply) -> Result<Json<Identity>, ApiError> {
    match reply {
        Reply::Identity(identity) => Ok(Json((*identity).into())),
        _ => Err(ApiError::Unexpected),
    }
}
