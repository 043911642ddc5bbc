//! The JSON that clients see, one value of each type, byte for byte: it changes only with the version in the path.

use super::*;
use crate::client;
use crate::engine::{api, view};
use crate::event_log::{Event, Filter, Record};
use crate::gateway::error::ApiError;
use crate::id::{InnerId, Name, Pseudonym, StreamId};
use crate::identity::anonymity::Anonymity;
use crate::metrics::Gauges;
use crate::net::emulation;
use crate::net::serial::LineState;
use crate::time::Unix;
use serde::Serialize;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[track_caller]
fn pinned(value: &impl Serialize, json: &str) {
    assert_eq!(serde_json::to_string(value).expect("JSON"), json);
}

#[test]
fn outcomes_are_as_clients_know_them() {
    let reason = || "why".to_owned();
    for (outcome, json) in [
        (
            api::Outcome::Delivered { latency_us: 700, hops: 2, price: 1_500_000 },
            r#"{"outcome":"delivered","latency_us":700,"hops":2,"price":1.5}"#,
        ),
        (api::Outcome::Sent { latency_us: 5, neighbours: 3 }, r#"{"outcome":"sent","latency_us":5,"neighbours":3}"#),
        (
            api::Outcome::Heard { latency_us: 5, subscribers: 4, neighbours: 3 },
            r#"{"outcome":"heard","latency_us":5,"subscribers":4,"neighbours":3}"#,
        ),
        (api::Outcome::Expired { reason: reason() }, r#"{"outcome":"expired","reason":"why"}"#),
        (api::Outcome::Refused { reason: reason() }, r#"{"outcome":"refused","reason":"why"}"#),
        (api::Outcome::Unreachable { reason: reason() }, r#"{"outcome":"unreachable","reason":"why"}"#),
        (api::Outcome::Superseded { reason: reason() }, r#"{"outcome":"superseded","reason":"why"}"#),
    ] {
        pinned(&Outcome::from(outcome), json);
    }
    let replied =
        Outcome::Replied { from: "adder".into(), latency_us: 9, payload: Payload::new(b"4".to_vec()), blob: None };
    pinned(&replied, r#"{"outcome":"replied","from":"adder","latency_us":9,"payload":"4"}"#);
    let line = LineOutcome { line: 7, outcome: api::Outcome::Sent { latency_us: 5, neighbours: 3 }.into() };
    pinned(&line, r#"{"line":7,"outcome":"sent","latency_us":5,"neighbours":3}"#);
    pinned(&Done {}, "{}");
    let refused = ApiError::from(api::Refused::TooLarge { found: 9, limit: 8 });
    pinned(
        &refused.body(),
        r#"{"error":"a message has at most 8 bytes, this one has 9; send large data in pieces","hint":"send less at a time"}"#,
    );
}

#[test]
fn what_comes_by_streams_and_pages_is_as_clients_know_it() {
    let id = InnerId { stream: StreamId([7; 16]), sequence: 3 };
    let published = api::Published {
        topic: "plant/a".into(),
        payload: vec![0xff],
        from: Some(name("meter")),
        sent: Unix::from_seconds(1),
        sent_error: Some(1_500),
        lost: 2,
        request: None,
    };
    pinned(
        &Published::new(published, 1),
        r#"{"topic":"plant/a","from":"meter","sent":"1970-01-01T00:00:01.000Z","sent_error_us":1500,"lost":2,"skipped":1,"payload_base64":"/w=="}"#,
    );
    let missed = api::Missed { topic: "plant/a".into(), from: None, lost: 2, uncertain: true };
    pinned(&Missed::new(missed, 0), r#"{"topic":"plant/a","lost":2,"uncertain":true}"#);
    let call =
        api::Call { call: 5, service: "adder".into(), from: name("meter"), id, payload: b"2".to_vec(), blob: None };
    pinned(
        &ServiceCall::from(call),
        r#"{"call":5,"service":"adder","from":"meter","id":"07070707070707070707070707070707/3","payload":"2"}"#,
    );
    let message = api::InboxMessage {
        number: 9,
        from: name("meter"),
        id,
        sent: Unix::from_seconds(1),
        received: Unix::from_seconds(2),
        payload: b"21.5".to_vec(),
        blob: None,
        sent_error: Some(1_500),
    };
    pinned(
        &InboxPage { messages: vec![message.into()], next: 10, more: false },
        r#"{"messages":[{"number":9,"from":"meter","id":"07070707070707070707070707070707/3","sent":"1970-01-01T00:00:01.000Z","sent_error_us":1500,"received":"1970-01-01T00:00:02.000Z","payload":"21.5"}],"next":10,"more":false}"#,
    );
    let raw = Record::encode(1, Unix::from_seconds(1), &[0; 32], Event::StoreRecovered);
    let entry = crate::event_log::Entry::select(&raw, &Filter::default()).expect("it reads").expect("it is wanted");
    let record = LogRecord { hash: "00".into(), ..LogRecord::from(entry) };
    pinned(
        &LogPage { records: vec![record], after: 1, more: true },
        r#"{"records":[{"sequence":1,"at":"1970-01-01T00:00:01.000Z","kind":"store-recovered","text":"the disk takes writes again","details":{},"hash":"00"}],"after":1,"more":true}"#,
    );
    let verdict = LogVerdict {
        intact: true,
        records: 1,
        first: 1,
        last: 1,
        head: Some("00".into()),
        first_bad: None,
        reason: None,
        older: None,
    };
    pinned(&verdict, r#"{"intact":true,"records":1,"first":1,"last":1,"head":"00"}"#);
}

#[test]
fn what_the_node_says_of_itself_is_as_clients_know_it() {
    let status = client::Status {
        name: "hub".into(),
        realm: "ab".into(),
        version: "1".into(),
        pid: 2,
        peer_id: "12D3".into(),
        anonymity: "rotating".into(),
        next_change: Some("n".into()),
        epoch_ends: "e".into(),
        credentials_until: "u".into(),
        credentials_failure: None,
        clock: "machine".into(),
        clock_difference: None,
        bulletin_overdue: None,
        listen: vec!["/ip4/192.0.2.1/tcp/7".into()],
        gauges: Gauges {
            epoch: 3,
            bulletin: 4,
            links: 5,
            routers: 6,
            contacts: 7,
            inbox: 8,
            outgoing: 9,
            held: 1,
            log_records: 10,
            uptime_s: 11,
            ..Gauges::default()
        },
        store_failure: None,
        serial: vec![LineState { device: "/dev/ttyUSB0".into(), baud: 9_600, links: 0, failure: Some("f".into()) }],
        twins: vec![],
        quarantined: vec![client::Quarantined {
            name: None,
            peer_id: "12D3".into(),
            left_s: 60,
            offences: 2,
            reason: "r".into(),
        }],
        waiting: vec![view::WaitingView { to: "pump".into(), messages: 3, reason: "full".into() }],
        held: vec![view::HeldView {
            to: "meter".into(),
            class: crate::wire::data::Class::Bulk,
            bytes: 3,
            leaves: Unix::from_seconds(1),
            expires: Unix::from_seconds(2),
        }],
        counters: [("busy".to_owned(), 2)].into(),
    };
    pinned(
        &Status::from(status),
        r#"{"name":"hub","realm":"ab","version":"1","pid":2,"peer_id":"12D3","anonymity":"rotating","next_change":"n","epoch_ends":"e","credentials_until":"u","credentials_failure":null,"clock":"machine","clock_difference":null,"listen":["/ip4/192.0.2.1/tcp/7"],"epoch":3,"bulletin":4,"links":5,"routers":6,"contacts":7,"inbox":8,"outgoing":9,"held":1,"log_records":10,"uptime_s":11,"credentials_left_s":0,"bulletin_late_s":0,"credentials_failing":0,"clock_differs":0,"store_failing":0,"twin_identities":0,"quarantined_neighbours":0,"memory":0,"store_failure":null,"serial":[{"device":"/dev/ttyUSB0","baud":9600,"links":0,"failure":"f"}],"twins":[],"quarantined":[{"name":null,"peer_id":"12D3","left_s":60,"offences":2,"reason":"r"}],"waiting":[{"to":"pump","messages":3,"reason":"full"}],"held_messages":[{"to":"meter","class":"bulk","bytes":3,"leaves":"1970-01-01T00:00:01.000Z","expires":"1970-01-01T00:00:02.000Z"}],"counters":{"busy":2}}"#,
    );
    let identity = view::IdentityView {
        pseudonym: Pseudonym([1; 32]),
        former: None,
        anonymity: Anonymity::Strict,
        in_force_from: Unix::from_seconds(0),
        epoch: 1,
        epoch_ends: Unix::from_seconds(1),
        next_change: Some(Unix::from_seconds(2)),
        changing: true,
    };
    let peer_id = crate::net::peer_id(&identity.pseudonym).map_or_else(String::new, |peer| peer.to_string());
    pinned(
        &Identity::from(identity),
        &format!(
            r#"{{"peer_id":"{peer_id}","anonymity":"strict","in_force_from":"1970-01-01T00:00:00.000Z","epoch":1,"epoch_ends":"1970-01-01T00:00:01.000Z","next_change":"1970-01-01T00:00:02.000Z","changing":true}}"#
        ),
    );
    let kept = view::MailboxView { mails: 2, bytes: 3, parent: true, ..view::MailboxView::default() };
    pinned(&MailboxView::from(kept), r#"{"to":null,"parent":true,"mails":2,"bytes":3,"under_way":0}"#);
    pinned(&RotateBody { anonymity: Some("stable".into()) }, r#"{"anonymity":"stable"}"#);
    let peer = client::Peer {
        name: Some("meter".into()),
        peer_id: "12D3".into(),
        address: "/ip4/192.0.2.1/tcp/7".into(),
        transport: "tcp".into(),
        direction: "out".into(),
        silent: false,
        rtt_us: Some(90),
        up_s: 1,
        sent: 2,
        received: 3,
        shape: None,
        credential: vec![0xa2, 0],
    };
    pinned(
        &Peer::from(peer),
        r#"{"name":"meter","peer_id":"12D3","address":"/ip4/192.0.2.1/tcp/7","transport":"tcp","direction":"out","silent":false,"rtt_us":90,"up_s":1,"sent":2,"received":3,"credential":"a200"}"#,
    );
    let bulletin =
        BulletinBody { bulletin_base64: BASE64.encode(b"signed"), documents_base64: vec![BASE64.encode(b"one")] };
    pinned(&bulletin, r#"{"bulletin_base64":"c2lnbmVk","documents_base64":["b25l"]}"#);
    pinned(&BulletinTaken { version: 3, newer: true }, r#"{"version":3,"newer":true}"#);
    let contact = api::Contact { name: "meter".into(), neighbour: true, changed: None };
    pinned(&Contact::from(contact), r#"{"name":"meter","neighbour":true}"#);
    let shape = emulation::Shape { delay: Duration::from_millis(20), loss: 10_000, ..emulation::Shape::default() };
    let lab =
        emulation::Lab { cut: [name("pump")].into(), shapes: [(name("meter"), shape)].into(), ..Default::default() };
    pinned(&Lab::from(lab), r#"{"cut":["pump"],"shape":{"meter":{"delay":"20ms","loss":0.01}}}"#);
}

#[test]
fn links_routes_and_ways_are_as_clients_know_them() {
    let link = view::LinkView {
        to: "meter".into(),
        bearer: "lan".into(),
        class: "ethernet".into(),
        role: "router".into(),
        state: "up".into(),
        delay_ms: 1.5,
        deviation_ms: 0.25,
        success: 0.5,
        price: 0.0,
        energy_mj: 3,
        left: Some(4),
        air_ms: Some(5),
    };
    pinned(
        &LinkView::from(link),
        r#"{"to":"meter","bearer":"lan","class":"ethernet","role":"router","state":"up","delay_ms":1.5,"deviation_ms":0.25,"success":0.5,"price":0.0,"energy_mj":3,"left":4,"air_ms":5}"#,
    );
    let path = || view::PathView {
        hops: vec![view::HopView { to: "pump".into(), bearer: None }],
        price: 1.0,
        delay_ms: 2.0,
        success: 0.5,
        energy_mj: 3,
    };
    const PATH: &str =
        r#"{"hops":[{"to":"pump","bearer":null}],"price":1.0,"delay_ms":2.0,"success":0.5,"energy_mj":3}"#;
    let routes = view::RoutesView {
        area: 1,
        forwarding: true,
        links: 2,
        forwarded: 3,
        routers: vec![view::RouterView {
            name: "hub".into(),
            sequence: 4,
            age_s: 5,
            neighbours: vec!["pump".into()],
            leaves: 6,
            groups: 7,
        }],
        routes: vec![view::RouteInUse {
            to: "pump".into(),
            policy: "fast".into(),
            hurried: false,
            path: path(),
            since_s: 8,
        }],
        doubts: vec![view::DoubtView { from: "hub".into(), to: "pump".into(), works: 0.5, shunned: true }],
    };
    pinned(
        &RoutesView::from(routes),
        &format!(
            r#"{{"area":1,"forwarding":true,"links":2,"forwarded":3,"routers":[{{"name":"hub","sequence":4,"age_s":5,"neighbours":["pump"],"leaves":6,"groups":7}}],"routes":[{{"to":"pump","policy":"fast","hurried":false,"path":{PATH},"since_s":8}}],"doubts":[{{"from":"hub","to":"pump","works":0.5,"shunned":true}}]}}"#
        ),
    );
    let route = view::RouteView {
        to: "pump".into(),
        policy: "fast".into(),
        weights: vec![1, 2, 3, 4],
        path: Some(path()),
        alternate: None,
        no_route: None,
        candidates: vec![view::CandidateView {
            best_at: vec!["delay".into()],
            path: path(),
            chosen: true,
            weight: 9,
            cut_by: None,
        }],
        why: vec!["it is".into()],
    };
    pinned(
        &RouteView::from(route),
        &format!(
            r#"{{"to":"pump","policy":"fast","weights":[1,2,3,4],"path":{PATH},"alternate":null,"no_way":null,"candidates":[{{"best_at":["delay"],"path":{PATH},"chosen":true,"weight":9,"cut_by":null}}],"why":["it is"]}}"#
        ),
    );
}
