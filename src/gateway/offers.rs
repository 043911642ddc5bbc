//! The route about offers of other devices.

use super::Context;
use super::dto::Offer;
use super::error::{ApiError, ErrorBody};
use crate::client::{Command, Reply};
use axum::Json;
use axum::extract::{Path, State};

/// Returns which devices offer a service, and how busy they are.
///
/// They are asked anew; who does not answer within a retransmission time-out is left out.
#[utoipa::path(get, path = "/v1/services/{service}",
    params(("service" = String, Path, description = "Name of the service")),
    responses(
        (status = 200, description = "The offers", body = Vec<Offer>),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn offers<R>(
    State(context): State<Context<R>>,
    Path(service): Path<String>,
) -> Result<Json<Vec<Offer>>, ApiError> {
    match context.caller.ask(Command::Offers(service)).await? {
        Reply::Offers(offers) => Ok(Json(offers.into_iter().map(Offer::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}
