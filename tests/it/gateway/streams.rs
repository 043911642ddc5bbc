//! Routes that go on: subscriptions, offers, the inbox followed, lines.

use super::{http, name, receive, send_command};
use crate::support::fake_node::Rig;
use axum::body::{Body, Bytes};
use futures::StreamExt;
use m2mesh::client::{Command, Reply};
use m2mesh::engine::api::{Call, Outcome, Published, Refused};
use m2mesh::gateway::client::ClientError;
use m2mesh::gateway::dto;
use m2mesh::id::{InnerId, StreamId};
use m2mesh::time::Unix;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

fn delivered() -> Outcome {
    Outcome::Delivered { latency_us: 700, hops: 1, price: 0 }
}

fn published(text: &str) -> Reply {
    Reply::Published(Published {
        topic: "plant/a".into(),
        payload: text.into(),
        from: Some(name("meter")),
        sent: Unix::from_seconds(1),
        sent_error: None,
        lost: 0,
        request: None,
    })
}

#[tokio::test]
async fn a_subscription_stands_brings_messages_and_ends_with_its_reader() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let query = dto::SubscribeQuery { filter: "plant/+/#".into(), since: None, last: None, latest: false };
    let asked = tokio::spawn(async move { client.events("/v1/subscribe", &query).await });
    let call = rig.call().await;
    assert_eq!(call.command, Command::subscribe("plant/+/#"));
    call.replies.push(Reply::Ready).expect("heard");
    let mut events = asked.await.expect("no panic").expect("it stands");
    call.replies.push(published("one")).expect("heard");
    let message: dto::Published = events.next().await.expect("a stream").expect("an event");
    assert_eq!((message.topic.as_str(), message.payload.payload.as_deref()), ("plant/a", Some("one")));
    drop(events);
    poll_fn(|cx| call.replies.poll_gone(cx)).await;
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let query = dto::SubscribeQuery { filter: "plant/#".into(), since: None, last: None, latest: false };
    let asked = tokio::spawn(async move { client.events("/v1/subscribe", &query).await });
    let call = rig.call().await;
    call.replies.push(Reply::Ready).expect("heard");
    let mut events = asked.await.expect("no panic").expect("it stands");
    // Far more than the socket's buffers and the queue take while nobody reads.
    let text = "x".repeat(50_000);
    let sent = 1_000u64;
    for _ in 0..sent {
        call.replies.push(published(&text)).expect("heard");
        tokio::task::yield_now().await;
    }
    drop(call);
    let (mut seen, mut skipped) = (0, 0);
    while let Some(message) = events.next::<dto::Published>().await.expect("a stream") {
        seen += 1;
        skipped += message.skipped;
    }
    assert_eq!(seen + skipped, sent);
    assert!(skipped > 0 && seen > 0, "{seen} seen, {skipped} skipped");
}

#[tokio::test]
async fn what_is_refused_is_no_stream() {
    let mut rig = Rig::new();
    let directory = rig.directory.path().to_owned();
    let asked = tokio::spawn(http(directory, "GET", "/v1/subscribe?filter=%2B", ""));
    let refused = Refused::Filter("the first level names the group".into());
    rig.answer(Command::subscribe("+"), Reply::Refused(refused)).await;
    assert_eq!(asked.await.expect("no panic").0, 422);
}

#[tokio::test]
async fn an_offer_brings_calls_and_takes_their_answers() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.events("/v1/offers/adder", &()).await });
    let offer = rig.call().await;
    assert_eq!(offer.command, Command::Offer { service: "adder".into(), capacity: None });
    offer.replies.push(Reply::Ready).expect("heard");
    let mut calls = asked.await.expect("no panic").expect("it stands");
    let id = InnerId { stream: StreamId([1; 16]), sequence: 9 };
    let call = Call { call: 4, service: "adder".into(), from: name("meter"), id, payload: b"1 2".to_vec(), blob: None };
    offer.replies.push(Reply::Call(call)).expect("heard");
    let call: dto::ServiceCall = calls.next().await.expect("a stream").expect("a call");
    assert_eq!((call.call, call.from.as_str()), (4, "meter"));
    assert!(call.id.ends_with("/9"));

    for (body, answer) in
        [(json!({"payload": "3"}), Ok(b"3".to_vec())), (json!({"failure": "no numbers"}), Err("no numbers".to_owned()))]
    {
        let client = rig.client.clone();
        let asked = tokio::spawn(async move { client.post::<dto::Done>("/v1/calls/4", &body).await });
        rig.answer(Command::Respond { call: 4, answer }, Reply::Ready).await;
        asked.await.expect("no panic").expect("it is taken");
    }
    drop(calls);
    poll_fn(|cx| offer.replies.poll_gone(cx)).await;
}

#[tokio::test]
async fn the_inbox_is_followed_as_it_grows() {
    let mut rig = Rig::new();
    rig.shelf.put_inbox(1, &[b"1", b"2"]);
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.events("/v1/inbox/follow", &()).await });
    let call = rig.call().await;
    assert_eq!(call.command, receive(""));
    call.replies.push(Reply::Inbox { first: 2, last: 2 }).expect("heard");
    let mut events = asked.await.expect("no panic").expect("it stands");
    let next = events.next::<dto::InboxMessage>().await.expect("a stream").expect("a message");
    assert_eq!(next.number, 2);
    rig.shelf.put_inbox(3, &[b"3"]);
    rig.shelf.put_inbox(4, &[b"4"]);
    call.replies.push(Reply::Inbox { first: 3, last: 4 }).expect("heard");
    for number in [3, 4] {
        let next = events.next::<dto::InboxMessage>().await.expect("a stream").expect("a message");
        assert_eq!(next.number, number);
    }
    drop(call);
    assert!(events.next::<dto::InboxMessage>().await.expect("a stream").is_none());
}

#[tokio::test]
async fn lines_go_in_order_and_their_outcomes_come_as_they_end() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let query = dto::SendLinesQuery {
        to: "meter".into(),
        ack: dto::Ack::End,
        class: dto::Class::Telemetry,
        policy: None,
        deadline: dto::Span(Duration::from_secs(30)),
        id: None,
        latest: None,
        first: 1,
    };
    let asked =
        tokio::spawn(async move { client.lines("/v1/send-lines", &query, Body::from("one\ntwo\n\nfour")).await });
    let mut replies = Vec::new();
    for payload in ["one", "two", "", "four"] {
        let call = rig.call().await;
        assert_eq!(call.command, send_command("meter", payload.as_bytes()));
        replies.push(call.replies);
    }
    let mut answers = asked.await.expect("no panic").expect("it answers before all have ended");
    replies[3].push(Reply::Outcome(delivered())).expect("heard");
    let first: dto::LineOutcome = answers.next().await.expect("a stream").expect("a line");
    assert_eq!(first, dto::LineOutcome { line: 4, outcome: delivered().into() });
    let full = Refused::Full("as many messages wait as may".into());
    replies[1].push(Reply::Refused(full.clone())).expect("heard");
    let second: dto::LineOutcome = answers.next().await.expect("a stream").expect("a line");
    assert_eq!(second, dto::LineOutcome { line: 2, outcome: dto::Outcome::Refused { reason: full.to_string() } });
    // The node stops: nobody knows how the others end, and nothing is made up.
    drop(replies);
    assert!(matches!(answers.next::<dto::LineOutcome>().await, Err(ClientError::Broken(_))));
}

/// Invariant 3 of gateway.
#[tokio::test]
async fn lines_under_way_are_bounded_and_hold_the_sender_back() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let query = dto::PublishLinesQuery {
        topic: "plant/a".into(),
        policy: Some("fast".into()),
        deadline: dto::Span::default(),
        confirm: Some(2),
        latest: false,
    };
    let body = futures::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from("line\n".repeat(1_000)))).take(20);
    let body = Body::from_stream(body);
    let asked = tokio::spawn(async move {
        let mut answers = client.lines("/v1/publish-lines", &query, body).await?;
        let mut count = 0;
        while answers.next::<dto::LineOutcome>().await?.is_some() {
            count += 1;
        }
        Ok::<_, ClientError>(count)
    });
    let mut under_way = Vec::new();
    for _ in 0..4_096 {
        under_way.push(rig.call().await.replies);
    }
    // Whatever else the gateway would hand over comes before what is asked now.
    let client = rig.client.clone();
    let contacts = tokio::spawn(async move { client.get::<Value>("/v1/contacts", &()).await });
    rig.answer(Command::Contacts, Reply::Contacts(vec![])).await;
    contacts.await.expect("no panic").expect("an answer");
    let sent = || Reply::Outcome(Outcome::Sent { latency_us: 1, neighbours: 1 });
    for replies in under_way {
        replies.push(sent()).expect("heard");
    }
    for _ in 4_096..20_000 {
        rig.call().await.replies.push(sent()).expect("heard");
    }
    assert_eq!(asked.await.expect("no panic").expect("all answered"), 20_000);
}

#[tokio::test]
async fn streams_do_not_keep_the_gateway_from_stopping() {
    let mut rig = Rig::new();
    let client = rig.client.clone();
    let asked = tokio::spawn(async move { client.events("/v1/inbox/follow", &()).await });
    let call = rig.call().await;
    let mut events = asked.await.expect("no panic").expect("it stands");
    let stopped = tokio::spawn(rig.stop());
    assert!(events.next::<dto::InboxMessage>().await.expect("a stream").is_none());
    stopped.await.expect("no panic");
    assert!(call.replies.is_gone());
}
