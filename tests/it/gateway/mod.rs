//! The local API over a real unix socket, with a test in the node's place.

mod crowd;
mod metrics;
mod streams;

use crate::support::fake_node::Rig;
use m2mesh::client::{Command, LabRefused, Peer, Reply, Status};
use m2mesh::engine::api::{Contact, Outcome, Refused, Send as SendCommand};
use m2mesh::engine::store::Table;
use m2mesh::event_log::{Event, chain};
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::{BindError, Gateway, dto};
use m2mesh::id::Name;
use m2mesh::metrics::Gauges;
use m2mesh::net::emulation::{Lab, Shape};
use m2mesh::time::Unix;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn send_command(to: &str, payload: &[u8]) -> Command {
    Command::Send(SendCommand {
        to: name(to),
        payload: payload.to_vec(),
        ack: Ack::End,
        class: Class::Telemetry,
        policy: None,
        lifetime: Duration::from_secs(30),
        id: None,
        latest: None,
    })
}

fn receive(consumer: &str) -> Command {
    Command::Receive { consumer: consumer.to_owned(), live: false }
}

/// Status and JSON of a request as any HTTP client would make it.
async fn http(directory: PathBuf, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(directory.join("api.sock")).await.expect("it listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

/// Invariant 1 of gateway.
#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_with_the_gateway() {
    let rig = Rig::new();
    let path = rig.directory.path().join("api.sock");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(Gateway::bind(rig.directory.path()), Err(BindError::Running(_))));
    let left: Vec<_> = std::fs::read_dir(rig.directory.path()).expect("a directory").collect();
    assert_eq!(left.len(), 1, "nothing but the socket: {left:?}");
    let directory = rig.stop().await;
    assert!(!path.exists());
    drop(directory);
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it binds"));
    assert!(path.exists());
    assert!(matches!(
        Client::new(directory.path()).get::<Value>("/v1/status", &()).await,
        Err(ClientError::NotRunning(_))
    ));
    Gateway::bind(directory.path()).expect("it takes the place over");
}

#[tokio::test]
async fn a_message_is_sent_with_what_the_request_says() {
    let mut rig = Rig::new();
    let body = json!({
        "to": "meter", "payload_base64": "/wA=", "ack": "hop", "class": "alarm", "deadline": "250ms",
    });
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.post::<dto::Outcome>("/v1/send", &body).await });
    let expected = Command::Send(SendCommand {
        to: name("meter"),
        payload: vec![0xff, 0],
        ack: Ack::Hop,
        class: Class::Alarm,
        policy: None,
        lifetime: Duration::from_millis(250),
        id: None,
        latest: None,
    });
    rig.answer(expected, Reply::Outcome(Outcome::Sent { latency_us: 5, neighbours: 1 })).await;
    let outcome = asked.await.expect("no panic").expect("an outcome");
    assert_eq!(outcome, dto::Outcome::Sent { latency_us: 5, neighbours: 1 });
}

#[tokio::test]
async fn each_failure_has_a_status_what_is_wrong_and_what_to_do() {
    let mut rig = Rig::new();
    for (method, path, body, expected) in [
        ("POST", "/v1/send", "{", 400),
        ("POST", "/v1/send", r#"{"to":"a","urgent":1}"#, 400),
        ("POST", "/v1/send", r#"{"to":"a","payload":"x","payload_base64":"eA=="}"#, 400),
        ("POST", "/v1/send", r#"{"to":"a","deadline":"soon"}"#, 400),
        ("POST", "/v1/send", r#"{"to":"a/b"}"#, 404),
        ("POST", "/v1/calls/seven", "{}", 400),
        ("GET", "/v1/log?since=yesterday", "", 400),
        ("GET", "/v1/nothing", "", 404),
        ("DELETE", "/v1/status", "", 404),
        ("PUT", "/v1/lab", r#"{"cuts":[]}"#, 400),
        ("PUT", "/v1/lab", r#"{"shape":{"meter":{"loss":1.5}}}"#, 400),
    ] {
        let (status, answer) = http(rig.directory.path().into(), method, path, body).await;
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        for field in ["error", "hint"] {
            assert!(answer[field].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {answer}");
        }
    }
    let unknown = Refused::UnknownContact { name: "mter".into(), nearest: Some("meter".into()) };
    for (refused, expected) in [
        (unknown, 404),
        (Refused::TooLarge { found: 70_000, limit: 60_000 }, 413),
        (Refused::Full("as many messages wait as may".into()), 503),
        (Refused::Oneself(Name::new("meter").expect("a name")), 422),
    ] {
        let asked = tokio::spawn(http(rig.directory.path().into(), "POST", "/v1/send", r#"{"to":"mter"}"#));
        rig.answer(send_command("mter", b""), Reply::Refused(refused.clone())).await;
        let (status, answer) = asked.await.expect("no panic");
        assert_eq!(status, expected, "{answer}");
        assert_eq!(answer["error"], refused.to_string());
    }
    for (refused, expected) in [(LabRefused::NoLab, 404), (LabRefused::NotKept("no space".into()), 500)] {
        let asked = tokio::spawn(http(rig.directory.path().into(), "GET", "/v1/lab", ""));
        rig.answer(Command::Lab, Reply::LabRefused(refused.clone())).await;
        let (status, answer) = asked.await.expect("no panic");
        assert_eq!(status, expected, "{answer}");
        assert_eq!(answer["error"], refused.to_string());
    }
}

#[tokio::test]
async fn requests_publications_and_questions_get_their_answers() {
    let mut rig = Rig::new();

    let client = rig.client.clone();
    let body = json!({"to": "meter", "service": "clock", "payload": "now", "timeout": "2s"});
    let asked = tokio::spawn(async move { client.post::<Value>("/v1/request", &body).await });
    let call = rig.call().await;
    assert!(matches!(&call.command, Command::Request { send, service: Some(service) }
        if service == "clock" && send.payload == b"now" && send.lifetime == Duration::from_secs(2)));
    let latency = Duration::from_micros(1_500);
    call.replies.push(Reply::Response { from: name("meter"), payload: b"12:00".to_vec(), latency }).expect("heard");
    assert_eq!(
        asked.await.expect("no panic").expect("an answer"),
        json!({"outcome": "replied", "from": "meter", "latency_us": 1_500, "payload": "12:00"})
    );

    let client = rig.client.clone();
    let body = json!({"topic": "plant/a", "payload": "21", "policy": "fast"});
    let asked = tokio::spawn(async move { client.post::<Value>("/v1/publish", &body).await });
    let publish = Command::Publish {
        topic: "plant/a".into(),
        payload: b"21".to_vec(),
        policy: Some("fast".into()),
        lifetime: Duration::from_secs(30),
        confirm: None,
        latest: false,
    };
    rig.answer(publish, Reply::Outcome(Outcome::Unreachable { reason: "nobody listens".into() })).await;
    assert_eq!(asked.await.expect("no panic").expect("an answer")["outcome"], "unreachable");

    let client = rig.client.clone();
    let body = json!({"topic": "plant/stop", "payload": "now", "deadline": "5s", "confirm": 9});
    let asked = tokio::spawn(async move { client.post::<Value>("/v1/publish", &body).await });
    let publish = Command::Publish {
        topic: "plant/stop".into(),
        payload: b"now".to_vec(),
        policy: None,
        lifetime: Duration::from_secs(5),
        confirm: Some(9),
        latest: false,
    };
    let heard = Outcome::Heard { latency_us: 70, subscribers: 3, neighbours: 2 };
    rig.answer(publish, Reply::Outcome(heard)).await;
    assert_eq!(
        asked.await.expect("no panic").expect("an answer"),
        json!({"outcome": "heard", "latency_us": 70, "subscribers": 3, "neighbours": 2})
    );

    let peer = Peer {
        name: None,
        peer_id: "12D3".into(),
        address: "/ip4/127.0.0.1/tcp/1".into(),
        transport: "tcp".into(),
        direction: "out".into(),
        silent: true,
        rtt_us: Some(90),
        up_s: 7,
        sent: 1,
        received: 2,
        shape: None,
        credential: vec![0xa2, 0],
    };
    let status = Status {
        name: "hub".into(),
        realm: "00".into(),
        version: "0".into(),
        pid: 7,
        peer_id: "12D3".into(),
        anonymity: "rotating".into(),
        next_change: None,
        epoch_ends: String::new(),
        credentials_until: String::new(),
        credentials_failure: None,
        clock: "machine".into(),
        clock_difference: None,
        bulletin_overdue: None,
        listen: vec![],
        gauges: Gauges { links: 4, routers: 3, contacts: 4, log_records: 2, uptime_s: 3, ..Gauges::default() },
        store_failure: None,
        serial: vec![],
        twins: vec![],
        quarantined: Vec::new(),
        held: Vec::new(),
        waiting: Vec::new(),
        counters: [("busy".to_owned(), 2)].into(),
    };
    let contact = Contact { name: "meter".into(), neighbour: true, changed: None };
    let shape = Shape { delay: Duration::from_millis(20), loss: 10_000, ..Shape::default() };
    let lab = Lab { cut: [name("pump")].into(), shapes: [(name("meter"), shape)].into(), ..Lab::default() };
    for (path, command, reply, field) in [
        (
            "/v1/peers",
            Command::Peers,
            Reply::Peers(vec![peer]),
            json!([{"rtt_us": 90, "silent": true, "credential": "a200"}]),
        ),
        ("/v1/status", Command::Status, Reply::Status(Box::new(status)), json!({"links": 4, "counters": {"busy": 2}})),
        ("/v1/contacts", Command::Contacts, Reply::Contacts(vec![contact]), json!([{"neighbour": true}])),
        ("/v1/lab", Command::Lab, Reply::Lab(Box::new(lab.clone())), json!({"cut": ["pump"]})),
    ] {
        let client = rig.client.clone();
        let asked = tokio::spawn(async move { client.get::<Value>(path, &()).await });
        rig.answer(command, reply).await;
        let answer = asked.await.expect("no panic").expect("an answer");
        assert!(contains(&answer, &field), "{answer} has no {field}");
    }

    // Orders go the same way, and come back as they are then.
    let client = rig.client.clone();
    let orders = json!({"cut": ["pump"], "shape": {"meter": {"delay": "20ms", "loss": 0.01}}});
    let body = orders.clone();
    let asked = tokio::spawn(async move { client.put::<Value>("/v1/lab", &body).await });
    rig.answer(Command::SetLab(Box::new(lab.clone())), Reply::Lab(Box::new(lab))).await;
    assert_eq!(asked.await.expect("no panic").expect("an answer"), orders);
}

/// Whether all of `part` is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| contains(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

#[tokio::test]
async fn the_inbox_is_paged_from_within_a_batch_and_only_as_far_as_it_is_durable() {
    let mut rig = Rig::new();
    rig.shelf.put_inbox(1, &[b"1", b"2", b"3"]);
    rig.shelf.put_inbox(4, &[b"4", b"\xff", b"6", b"not durable yet"]);
    let mut pages = Vec::new();
    for query in [
        dto::InboxQuery { limit: Some(3), ..Default::default() },
        dto::InboxQuery { from_number: Some(5), ..Default::default() },
        dto::InboxQuery { from: Some("odd".into()), ..Default::default() },
    ] {
        let (client, of_one) = (rig.client.clone(), query.from.is_some());
        let asked = tokio::spawn(async move { client.get::<dto::InboxPage>("/v1/inbox", &query).await });
        if of_one {
            let odd = Contact { name: "odd".into(), neighbour: false, changed: None };
            rig.answer(Command::Contacts, Reply::Contacts(vec![odd])).await;
        }
        rig.answer(receive(""), Reply::Inbox { first: 2, last: 6 }).await;
        pages.push(asked.await.expect("no panic").expect("a page"));
    }
    let numbers = |page: &dto::InboxPage| page.messages.iter().map(|message| message.number).collect::<Vec<_>>();
    assert_eq!(numbers(&pages[0]), [2, 3, 4]);
    assert_eq!((pages[0].next, pages[0].more), (5, true));
    assert_eq!(numbers(&pages[1]), [5, 6]);
    assert_eq!(pages[1].messages[0].payload.payload_base64.as_deref(), Some("/w=="));
    assert!(!pages[1].more);
    assert_eq!(numbers(&pages[2]), [3, 5]);

    // Nobody of that name can have sent anything.
    let client = rig.client.clone();
    let query = dto::InboxQuery { from: Some("od".into()), ..Default::default() };
    let asked = tokio::spawn(async move { client.get::<dto::InboxPage>("/v1/inbox", &query).await });
    let odd = Contact { name: "odd".into(), neighbour: false, changed: None };
    rig.answer(Command::Contacts, Reply::Contacts(vec![odd])).await;
    let refused = asked.await.expect("no panic").expect_err("there is none").to_string();
    assert_eq!(refused, "no contact is called od; did you mean odd?");

    let client = rig.client.clone();
    let body = json!({"up_to": 5, "consumer": "logger"});
    let asked = tokio::spawn(async move { client.post::<dto::Done>("/v1/inbox/consume", &body).await });
    rig.answer(Command::Consume { consumer: "logger".into(), up_to: 5, durable: false }, Reply::Ready).await;
    asked.await.expect("no panic").expect("it is done");
}

#[tokio::test]
async fn the_log_is_paged_filtered_followed_and_verified() {
    let mut rig = Rig::new();
    let changed = |epoch| Event::EpochChanged { epoch };
    let events = vec![Event::Started { version: "0".into() }, changed(1), Event::StoreRecovered, changed(2)];
    rig.shelf.put_log(events.clone());
    let query = dto::LogQuery { kind: Some("epoch-changed".into()), limit: Some(1), ..Default::default() };
    let page: dto::LogPage = rig.client.get("/v1/log", &query).await.expect("a page");
    assert_eq!(page.records.len(), 1);
    assert_eq!((page.records[0].sequence, page.records[0].kind.as_str()), (2, "epoch-changed"));
    assert_eq!(page.records[0].details["epoch"], 1);
    assert!(page.more);
    let query = dto::LogQuery { after: Some(page.after), ..query };
    let page: dto::LogPage = rig.client.get("/v1/log", &query).await.expect("a page");
    assert_eq!(page.records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [4]);
    let since = dto::Moment(Unix::from_seconds(1_000_002));
    let query = dto::LogQuery { since: Some(since), until: Some(since), ..Default::default() };
    let page: dto::LogPage = rig.client.get("/v1/log", &query).await.expect("a page");
    assert_eq!(page.records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [3]);

    let verdict: dto::LogVerdict = rig.client.get("/v1/log/verify", &()).await.expect("a verdict");
    assert!(verdict.intact);
    assert_eq!((verdict.records, verdict.first_bad), (4, None));

    let client = rig.client.clone();
    let query = dto::LogQuery { after: Some(3), ..Default::default() };
    let asked = tokio::spawn(async move { client.events("/v1/log/follow", &query).await });
    let call = rig.call().await;
    assert_eq!(call.command, Command::FollowLog);
    let mut followed = asked.await.expect("no panic").expect("it stands");
    call.replies.push(Reply::Log { last: 4 }).expect("heard");
    let next = followed.next::<dto::LogRecord>().await.expect("a stream").expect("a record");
    assert_eq!(next.sequence, 4);
    rig.shelf.put_log(events.into_iter().chain([Event::Stopped]).collect());
    call.replies.push(Reply::Log { last: 5 }).expect("heard");
    let next = followed.next::<dto::LogRecord>().await.expect("a stream").expect("a record");
    assert_eq!((next.sequence, next.kind.as_str()), (5, "stopped"));

    rig.shelf.put(Table::Log, &chain::key(3), b"something else".to_vec());
    let verdict: dto::LogVerdict = rig.client.get("/v1/log/verify", &()).await.expect("a verdict");
    assert_eq!((verdict.intact, verdict.first_bad), (false, Some(3)));
    let page: dto::LogPage = rig.client.get("/v1/log", &dto::LogQuery::default()).await.expect("a page");
    let kinds: Vec<_> = page.records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["started", "epoch-changed", "damaged", "epoch-changed", "stopped"]);
}

/// Invariant 2 of gateway.
#[tokio::test]
async fn a_request_that_is_cut_off_is_cancelled() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.post::<Value>("/v1/send", &json!({"to": "meter"})).await });
    let call = rig.call().await;
    asked.abort();
    poll_fn(|cx| call.replies.poll_gone(cx)).await;
}

#[tokio::test]
async fn the_api_describes_itself() {
    let rig = Rig::new();
    let description: Value = rig.client.get("/openapi.json", &()).await.expect("a description");
    assert!(description["paths"]["/v1/subscribe"]["get"].is_object());
    assert!(description["components"]["schemas"]["Outcome"].is_object());
}
