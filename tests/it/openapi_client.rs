//! A client in another language, made from the description of the API by a generator that knows nothing else of it, works.
//!
//! The generator is `openapi-python-client`, in `target/tools/openapi`, where `.ci/run` puts it; `M2MESH_OPENAPI` names
//! another directory that holds it in `bin`. Where there is none the test says so and does nothing, unless `M2MESH_CI` is
//! set.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers of tests")]

use crate::support::fake_node::{Background, Shelf};
use m2mesh::client::{Command, Reply, Status};
use m2mesh::engine::api::{Contact, Outcome};
use m2mesh::gateway::client::Client;
use m2mesh::id::Name;
use m2mesh::metrics::Gauges;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

/// Where the generator is, if it is.
fn generator() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let usual = target.parent().unwrap().join("tools/openapi");
    let tools = std::env::var_os("M2MESH_OPENAPI").map_or(usual, PathBuf::from);
    let tools = std::path::absolute(tools).unwrap();
    tools.join("bin/openapi-python-client").exists().then_some(tools)
}

fn status() -> Status {
    Status {
        name: "hub".into(),
        realm: "00ff".into(),
        version: "0.1.0".into(),
        pid: 7,
        peer_id: "12D3".into(),
        anonymity: "rotating".into(),
        next_change: None,
        epoch_ends: "2026-01-31T12:00:00.000Z".into(),
        credentials_until: "2026-02-07T12:00:00.000Z".into(),
        credentials_failure: None,
        clock: "machine".into(),
        clock_difference: None,
        bulletin_overdue: None,
        listen: vec![],
        gauges: Gauges { links: 4, ..Gauges::default() },
        store_failure: None,
        serial: vec![],
        twins: vec![],
        quarantined: Vec::new(),
        held: Vec::new(),
        waiting: Vec::new(),
        counters: [("data_looped".to_owned(), 2)].into(),
    }
}

#[test]
fn a_generated_client_sends_asks_and_reads() {
    let Some(tools) = generator() else {
        assert!(std::env::var_os("M2MESH_CI").is_none(), "openapi-python-client is not there: see .ci/run");
        eprintln!("SKIPPED: openapi-python-client is not in target/tools/openapi; .ci/run puts it there");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    shelf.put_inbox(1, &[b"21.5", b"\xff\x00"]);
    let _node = Background::new(place.path(), shelf, |call| {
        let delivered = Reply::Outcome(Outcome::Delivered { latency_us: 700, hops: 2, price: 1_500_000 });
        let reply = match &call.command {
            Command::Send(send) if send.payload == b"refuse" => {
                Reply::Outcome(Outcome::Refused { reason: "it does not want it".into() })
            }
            Command::Send(_) => delivered,
            Command::Request { .. } => Reply::Response {
                from: Name::new("meter").unwrap(),
                payload: b"12:00".to_vec(),
                latency: Duration::from_millis(1),
            },
            Command::Publish { .. } => Reply::Outcome(Outcome::Sent { latency_us: 5, neighbours: 3 }),
            Command::Contacts => {
                Reply::Contacts(vec![Contact { name: "meter".into(), neighbour: true, changed: None }])
            }
            Command::Receive { .. } => Reply::Inbox { first: 1, last: 2 },
            Command::Consume { .. } => Reply::Ready,
            Command::Status => Reply::Status(Box::new(status())),
            other => panic!("nobody asks for {other:?}"),
        };
        call.replies.push(reply).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let description: serde_json::Value = runtime.block_on(Client::new(place.path()).get("/openapi.json", &())).unwrap();
    let file = place.path().join("openapi.json");
    std::fs::write(&file, description.to_string()).unwrap();
    let generated = process::Command::new(tools.join("bin/openapi-python-client"))
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
        .arg(&file)
        .arg("--output-path")
        .arg(place.path().join("m2mesh_client"))
        // Its formatter is looked for there.
        .env("PATH", format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    let said = [generated.stdout, generated.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n");
    assert!(generated.status.success(), "{said}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/openapi_client/use.py");
    let used = process::Command::new(tools.join("bin/python"))
        .arg(script)
        .arg(place.path().join("api.sock"))
        .env("PYTHONPATH", place.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = [used.stdout, used.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n");
    assert!(used.status.success(), "{said}");
    assert!(said.contains("all of it"), "{said}");
}
