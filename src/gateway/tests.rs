//! The answer to a client without rights, on every route: 403 with the right that is missing, and no effect.

use super::api::{router, routes};
use super::{Context, error::ErrorBody};
use crate::client::{Door, Principal, Right, Rights};
use crate::engine::store::{Read, ReadError, Table};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use futures::{FutureExt, StreamExt};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// A store that must not be read.
#[derive(Clone)]
struct Untouched;

impl Read for Untouched {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        panic!("the store was read")
    }

    fn scan(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        panic!("the store was read")
    }

    fn last(&self, _: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        panic!("the store was read")
    }
}

/// A request to a route by a client that lacks one right only, and that right; `None` if the route needs none.
fn request(method: &Method, path: &str) -> Option<(String, &'static str, Right)> {
    let (query, body, right) = match (method.as_str(), path) {
        ("POST", "/v1/send") => ("", r#"{"to":"a","payload":"x"}"#, Right::Send),
        ("POST", "/v1/send-lines") => ("?to=a", "one\n", Right::Send),
        ("POST", "/v1/request") => ("", r#"{"to":"a","payload":"x"}"#, Right::Send),
        ("POST", "/v1/publish") => ("", r#"{"topic":"a/b","payload":"x"}"#, Right::Publish),
        ("POST", "/v1/publish-lines") => ("?topic=a/b", "one\n", Right::Publish),
        ("GET", "/v1/subscribe") => ("?filter=a/b", "", Right::Subscribe),
        ("POST", "/v1/group-requests") => ("", r#"{"topic":"a/b","payload":"x"}"#, Right::Publish),
        ("POST", "/v1/answers") => {
            ("", r#"{"to":"pump","request":"01010101010101010101010101010101/1"}"#, Right::Receive)
        }
        ("GET", "/v1/services/{service}") => ("", "", Right::Send),
        ("GET", "/v1/offers/{service}") => ("", "", Right::Receive),
        ("POST", "/v1/calls/{id}") => ("", r#"{"payload":"x"}"#, Right::Receive),
        ("GET", "/v1/inbox" | "/v1/inbox/follow") => ("", "", Right::Receive),
        ("POST", "/v1/inbox/consumers") => ("", r#"{"consumer":"a"}"#, Right::Administer),
        ("POST", "/v1/inbox/consume") => ("", r#"{"up_to":1}"#, Right::Receive),
        ("POST", "/v1/inbox/forget") => ("", r#"{"consumer":"a"}"#, Right::Administer),
        ("PUT", "/v1/blobs") => ("", "x", Right::Send),
        ("GET", "/v1/blobs/{hash}") => ("", "", Right::Receive),
        ("DELETE", "/v1/blobs/{hash}") => ("", "", Right::Administer),
        ("POST", "/v1/blobs/{hash}/fetch") => ("", "", Right::Receive),
        ("POST", "/v1/blobs/{hash}/send") => ("?to=a", "", Right::Send),
        ("POST", "/v1/quarantine/lift") => ("", "", Right::Administer),
        ("GET", "/v1/route") => ("?to=a", "", Right::Inspect),
        ("POST", "/v1/bulletin") => ("", r#"{"bulletin_base64":"AA=="}"#, Right::Administer),
        ("POST", "/v1/identity/rotate") => ("", "{}", Right::Administer),
        ("PUT", "/v1/lab") => ("", "{}", Right::Lab),
        ("GET", "/openapi.json") => return None,
        ("GET", _) => ("", "", Right::Inspect),
        _ => panic!("{method} {path} has no request here; say what right it takes"),
    };
    let path = path.replace("{service}", "adder").replace("{id}", "1").replace("{hash}", &"0".repeat(64));
    Some((format!("{path}{query}"), body, right))
}

/// Invariant 1 of client.
#[tokio::test]
async fn every_route_denies_who_has_no_right_to_it_and_says_which() {
    let (door, mut arriving) = Door::new(Untouched);
    let (_stopping, stopped) = watch::channel(false);
    let mut asked = 0;
    for (method, path, _) in routes::<Untouched>() {
        let Some((path, body, needed)) = request(&method, path) else { continue };
        let rights: Vec<Right> = Right::ALL.into_iter().filter(|right| *right != needed).collect();
        let caller = door.admit(Principal::client("stranger", Rights::of(&rights)));
        let service = TowerToHyperService::new(router(Context { caller, stopping: stopped.clone() }));
        let request = Request::builder()
            .method(&method)
            .uri(&path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .expect("a request");
        // A client that was admitted by mistake would wait for a node that does not exist.
        let answered = timeout(Duration::from_secs(10), service.call(request)).await;
        let answer = answered.expect("it is denied at once").expect("it answers");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
        let body = to_bytes(answer.into_body(), 10_000).await.expect("a body");
        let said: ErrorBody = serde_json::from_slice(&body).expect("an error");
        assert_eq!(said.error, format!("client \"stranger\" has no right to {}", needed.name()), "{method} {path}");
        assert!(arriving.orders.next().now_or_never().is_none(), "{method} {path}");
        assert!(arriving.questions.next().now_or_never().is_none(), "{method} {path}");
        asked += 1;
    }
    assert_eq!(asked, routes::<Untouched>().len() - 1, "all but the description");
}
