//! Clients that connect and say nothing, or not enough, or never stop asking: others are served all the same.

use super::http;
use crate::support::fake_node::Rig;
use m2mesh::client::{Command, Reply};
use m2mesh::gateway::client::{Client, ClientError};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// More than have room.
const CROWD: usize = 300;

/// Connections that have said this and no more.
async fn crowd(directory: &Path, count: usize, said: &str) -> Vec<UnixStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let mut stream = UnixStream::connect(directory.join("api.sock")).await.expect("it listens");
        stream.write_all(said.as_bytes()).await.expect("it takes it");
        crowd.push(stream);
    }
    crowd
}

/// Whether a question is answered soon.
async fn is_answered(rig: &mut Rig) -> bool {
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.get::<Value>("/v1/contacts", &()).await });
    let answer = async {
        rig.answer(Command::Contacts, Reply::Contacts(vec![])).await;
        asked.await.expect("no panic").expect("an answer")
    };
    tokio::time::timeout(Duration::from_secs(5), answer).await.is_ok_and(|answer| answer == json!([]))
}

/// Invariant 4 of gateway.
/// Invariants 1 and 2 of gateway::serve.
#[tokio::test]
async fn who_connects_and_says_nothing_keeps_nobody_out() {
    for said in ["", "GET /v1/status HT", "POST /v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"] {
        let mut rig = Rig::new();
        let silent = crowd(rig.directory.path(), CROWD, said).await;
        assert!(is_answered(&mut rig).await, "behind {CROWD} that said {said:?}");
        drop(silent);
    }
}

#[tokio::test]
async fn a_head_and_a_body_have_to_come_in_time() {
    let rig = Rig::new();
    let began = Instant::now();
    let until_end = |said: &'static str| {
        let directory = rig.directory.path().to_owned();
        async move {
            let mut stream = crowd(&directory, 1, said).await.remove(0);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it ends in good order");
            answer
        }
    };
    let post = "POST /v1/inbox/consume HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
        content-length: 9\r\n\r\n{";
    let (nothing, half, body) = tokio::join!(until_end(""), until_end("GET /v1/status HT"), until_end(post));
    assert_eq!((nothing.as_str(), half.as_str()), ("", ""));
    assert!(body.starts_with("HTTP/1.1 408") && body.contains("did not come whole"), "{body}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Invariant 2 of gateway::serve.
#[tokio::test]
async fn streams_beyond_a_process_share_are_refused_at_once_and_questions_answered() {
    let mut rig = Rig::new();
    let mut standing = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let client = rig.client.clone();
        let asked = tokio::spawn(async move { client.events("/v1/log/follow", &()).await });
        // A stream stands at once, whether or not the node has said anything yet.
        match asked.await.expect("no panic") {
            Ok(events) => standing.push((rig.call().await, events)),
            Err(ClientError::Api(error)) => {
                assert!(error.error.contains("96") && error.hint.contains("end programs"), "{error:?}");
                refused += 1;
            }
            Err(error) => unreachable!("{error}"),
        }
    }
    assert_eq!((standing.len(), refused), (96, 4));
    let (status, answer) = http(rig.directory.path().into(), "GET", "/v1/subscribe?filter=a", "").await;
    assert_eq!(status, 503, "{answer}");
    assert!(is_answered(&mut rig).await);
    // Those that end make room.
    standing.clear();
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.events("/v1/log/follow", &()).await });
    assert_eq!(rig.call().await.command, Command::FollowLog);
    asked.await.expect("no panic").expect("it stands");
}

/// Invariants 3 and 4 of gateway.
#[tokio::test]
async fn when_all_have_a_request_under_way_a_newcomer_is_told() {
    let mut rig = Rig::new();
    let status = "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
    let asking = crowd(rig.directory.path(), 256, status).await;
    let mut calls = Vec::new();
    for _ in 0..256 {
        calls.push(rig.call().await);
    }
    let (status, answer) = http(rig.directory.path().into(), "GET", "/v1/status", "").await;
    assert_eq!((status, answer["error"].as_str().is_some_and(|error| error.contains("256"))), (503, true), "{answer}");
    drop((asking, calls));
}

#[tokio::test]
async fn a_node_that_is_stopped_is_not_waited_for_without_a_word() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _listener = UnixListener::bind(directory.path().join("api.sock")).expect("it binds");
    let asked = Client::new(directory.path()).get::<Value>("/v1/status", &()).await;
    assert!(matches!(&asked, Err(ClientError::Silent { .. })), "{asked:?}");
}
