//! The OpenAPI description of the API, generated from the handlers and the JSON types.

use super::{api, blobs, calls, dto, error, groups, identity, mailbox, offers, stream};
use axum::Json;
use utoipa::OpenApi;

/// The OpenAPI 3 description of every route.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "m2mesh local API",
        description = "What applications on this machine ask of their m2mesh node, over its unix socket. \
            Streams are server-sent events (`text/event-stream`) whose data is JSON, or lines of JSON \
            (`application/x-ndjson`)."
    ),
    servers((url = "http://localhost", description = "The unix socket `api.sock` in the node's directory, over which \
        HTTP is spoken: with curl, `--unix-socket DIR/api.sock`. The name of the host is not looked at.")),
    paths(
        api::send,
        stream::send_lines,
        calls::request,
        api::publish,
        stream::publish_lines,
        stream::subscribe,
        stream::offer,
        offers::offers,
        groups::ask_group,
        groups::answer_publication,
        calls::answer,
        api::inbox,
        stream::follow_inbox,
        api::make_consumer,
        api::consume,
        api::forget,
        blobs::put_blob,
        blobs::list_blobs,
        blobs::read_blob,
        blobs::remove_blob,
        blobs::fetch_blob,
        blobs::send_blob,
        api::lift_quarantine,
        api::log,
        stream::follow_log,
        api::verify_log,
        api::status,
        api::metrics,
        api::peers,
        identity::identity,
        identity::rotate,
        mailbox::mailbox,
        api::links,
        api::routes_view,
        api::way,
        api::contacts,
        api::bulletin,
        api::lab,
        api::set_lab,
        describe,
    ),
    components(schemas(
        dto::BlobLine,
        dto::Missed,
        dto::Published,
        dto::ServiceCall,
        dto::InboxMessage,
        dto::LogRecord,
        dto::LineOutcome,
        dto::BlobLine,
        error::ErrorBody
    ))
)]
pub struct Description;

/// Returns this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3", body = Object)))]
pub(super) async fn describe() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::store::{ReadError, Table};
    use std::collections::BTreeSet;

    #[derive(Clone)]
    struct Nothing;

    impl crate::engine::store::Read for Nothing {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
            Ok(None)
        }
        fn scan(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
            Ok(())
        }
        fn last(&self, _: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
            Ok(None)
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes: BTreeSet<(String, String)> = api::routes::<Nothing>()
            .into_iter()
            .map(|(method, path, _)| (method.as_str().to_lowercase(), path.to_owned()))
            .collect();
        let description = serde_json::to_value(Description::openapi()).expect("the description is JSON");
        let described: BTreeSet<(String, String)> = description["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, methods)| {
                methods
                    .as_object()
                    .expect("methods")
                    .keys()
                    .map(|method| (method.clone(), path.clone()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(described, routes);
    }
}
