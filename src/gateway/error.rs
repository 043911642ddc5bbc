//! Errors of the local API: `{"error": what went wrong, "hint": what to do next}` with a suitable HTTP status.

use super::pages::PageError;
use crate::client::{AskError, Denied, LabRefused};
use crate::engine::api::Refused;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::{Deserialize, Serialize};
use std::io;
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: String,
    /// What to do next.
    pub hint: String,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The node did not accept the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The client lacks the right to it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node did not accept the orders for a lab.
    #[error(transparent)]
    Lab(#[from] LabRefused),
    /// The request is malformed.
    #[error("{0}")]
    Request(String),
    /// The store could not be read.
    #[error(transparent)]
    Page(#[from] PageError),
    /// There is no such route.
    #[error("there is no {0}")]
    NoRoute(String),
    /// The node stopped before it answered.
    #[error("the node is stopping")]
    Stopping,
    /// As many requests are under way as may be.
    #[error("{limit} requests to this node's API are under way, and no more are served at a time")]
    Crowded {
        /// How many requests of that kind are served at a time.
        limit: usize,
    },
    /// The request did not arrive completely in time.
    #[error("the request did not come whole within {seconds} s")]
    Slow {
        /// The time that it may take, in seconds.
        seconds: u64,
    },
    /// The node stopped before it learned the outcome of what was asked. The connection is broken off, as it would be
    /// if the process were killed.
    #[error("the node is stopping")]
    BrokenOff,
    /// The node's reply does not fit the question.
    #[error("the node gave an answer that does not fit the question")]
    Unexpected,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(
                Refused::UnknownContact { .. }
                | Refused::UnknownPolicy { .. }
                | Refused::NoSuchCall(_)
                | Refused::NoSuchConsumer(_),
            )
            | Self::Lab(LabRefused::NoLab)
            | Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::Refused(Refused::Revoked(_)) => StatusCode::GONE,
            Self::Refused(Refused::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(
                Refused::Topic(_)
                | Refused::Filter(_)
                | Refused::Service(_)
                | Refused::NoPath { .. }
                | Refused::NeverInTime { .. }
                | Refused::PathPolicy { .. }
                | Refused::Bulletin(_)
                | Refused::Blob(_)
                | Refused::Oneself(_)
                | Refused::AtOnce(_)
                | Refused::Pusher(_)
                | Refused::PushOnly(_)
                | Refused::Latest,
            ) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused(Refused::Full(_) | Refused::Consumers { .. })
            | Self::Stopping
            | Self::BrokenOff
            | Self::Crowded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Denied(_) | Self::Refused(Refused::NoRight(_) | Refused::NoBroadcast) => StatusCode::FORBIDDEN,
            Self::Lab(LabRefused::NotKept(_)) | Self::Page(_) | Self::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Refused(Refused::UnknownContact { .. }) => {
                "`m2mesh contacts` lists the names this device can address"
            }
            Self::Refused(Refused::Revoked(_)) => {
                "what it has sent before is in the inbox; if it is to come back, invite it anew with `m2mesh realm invite`"
            }
            Self::Refused(Refused::Pusher(_)) => {
                "where it is to take messages, remove `push_only` from its config.toml and start it again"
            }
            Self::Refused(Refused::PushOnly(_)) => {
                "use another device for that, or remove `push_only` and start the node again"
            }
            Self::Refused(Refused::Bulletin(_)) => {
                "take the file that `m2mesh realm bulletin DIR` writes for the realm of this node"
            }
            Self::Refused(Refused::Blob(_)) => "`m2mesh blob list` shows the blobs of this node and what they take",
            Self::Refused(Refused::Oneself(_)) => "name another device: `m2mesh contacts` lists those it can address",
            Self::Refused(Refused::UnknownPolicy { .. }) => {
                "cheap, fast, sure, frugal and balanced are always there; others stand in config.toml"
            }
            Self::Refused(Refused::NoPath { .. }) => "`m2mesh route DEST --explain` shows the ways and their limits",
            Self::Refused(Refused::PathPolicy { .. }) => "publish under a policy that weighs, or avoids bearers",
            Self::Refused(Refused::NeverInTime { .. }) => {
                "its deadline counts from now on: `--deadline 12h` for --not-before 10h"
            }
            Self::Refused(Refused::Latest) => "ask for a confirmation, or leave `latest` out",
            Self::Refused(Refused::TooLarge { .. }) => "send less at a time",
            Self::Refused(Refused::Topic(_)) => "a topic looks like plant/line-1/temperature, without wildcards",
            Self::Refused(Refused::NoRight(_)) => "`m2mesh realm group DIR list` shows who may publish to which group",
            Self::Refused(Refused::NoBroadcast) => "publish to a topic instead, which takes no role",
            Self::Refused(Refused::AtOnce(_)) => "leave the time out, or name one device",
            Self::Refused(Refused::Filter(_)) => "a filter looks like plant/+/temperature or plant/#",
            Self::Refused(Refused::Service(_)) => {
                "choose another service name, or stop the other offer of it on this device"
            }
            Self::Refused(Refused::NoSuchConsumer(_)) => {
                "`m2mesh receive --consumer NAME` makes one, as does POST /v1/inbox/consumers"
            }
            Self::Refused(Refused::Consumers { .. }) => "`m2mesh receive --consumer NAME --forget` frees one",
            Self::Refused(Refused::NoSuchCall(_)) => "answer a call once, and before its caller's time-out",
            Self::Refused(Refused::Full(_)) => "wait until something of it has ended, then try again",
            Self::Lab(LabRefused::NoLab) => "`m2mesh lab` starts a lab; its verbs act on the nodes of one",
            Self::Lab(LabRefused::NotKept(_)) => "free some space on the node's disk, then try again",
            Self::Denied(_) => "have whoever runs this node give the right, or ask under a name that has it",
            Self::Request(_) | Self::NoRoute(_) => "GET /openapi.json describes every route and its fields",
            Self::Page(_) => "look at the node's diagnostics; `m2mesh log verify` checks the event log",
            Self::Crowded { .. } => {
                "end programs that follow streams or wait for messages of this node, then try again"
            }
            Self::Slow { .. } => "send a request's head and body at once",
            Self::Stopping | Self::BrokenOff => "start the node again with `m2mesh run`",
            Self::Unexpected => "this is a defect of m2mesh; please report it with the node's diagnostics",
        }
    }

    /// For requests that end in an outcome: replaces [`Self::Stopping`], since a node that stops has no outcome to
    /// report.
    pub(super) fn break_off(self) -> Self {
        if matches!(self, Self::Stopping) { Self::BrokenOff } else { self }
    }

    /// The body of the answer.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.to_string(), hint: self.hint().to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if matches!(self, Self::BrokenOff) {
            return Body::from_stream(stream::iter([Err::<Bytes, _>(broken_off())])).into_response();
        }
        (self.status(), Json(self.body())).into_response()
    }
}

/// An error for a body, so that its connection is closed before the body's end.
pub(super) fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the node is stopping")
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Denied(denied) => Self::Denied(denied),
            AskError::Refused(refused) => Self::Refused(refused),
            AskError::Lab(refused) => Self::Lab(refused),
            AskError::Stopped => Self::Stopping,
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}
