//! The route about mail that is kept for others.

use super::Context;
use super::dto::MailboxView;
use super::error::{ApiError, ErrorBody};
use crate::client::{Command, Reply};
use axum::Json;
use axum::extract::State;

/// Returns what this node keeps for whom.
#[utoipa::path(get, path = "/v1/mailbox", responses(
    (status = 200, description = "The boxes in which something lies, and those of the devices whose parent this one is", body = [MailboxView]),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn mailbox<R>(State(context): State<Context<R>>) -> Result<Json<Vec<MailboxView>>, ApiError> {
    match context.caller.ask(Command::Mailbox).await? {
        Reply::Mailbox(boxes) => Ok(Json(boxes.into_iter().map(MailboxView::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}
