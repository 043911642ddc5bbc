//! Messages and requests to any device that offers a service: who gets them, and how often.

mod kills;
mod restarts;

use super::mesh::Mesh;
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Anycast, AnycastKind, Call, Command, Outcome, Refused, Reply, Timing, Token};
use m2mesh::id::SendId;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::time::Duration;

/// The places of the devices in the mesh of [`hall`].
const CLIENT: usize = 0;
const RELAY: usize = 1;
const NEAR: usize = 2;
const FAR: usize = 3;
const END: usize = 4;

fn any(service: &str, payload: &[u8], lifetime_s: u64, kind: AnycastKind) -> Command {
    Command::Anycast(Anycast {
        service: service.to_owned(),
        payload: payload.to_vec(),
        class: Class::Telemetry,
        policy: None,
        lifetime: seconds(lifetime_s),
        kind,
    })
}

fn request(payload: &[u8], lifetime_s: u64) -> Command {
    any("count", payload, lifetime_s, AnycastKind::Request { repeat: false, id: None })
}

fn offer(mesh: &mut Mesh, at: usize, capacity: Option<u32>) -> Token {
    mesh.command(at, Command::Offer { service: "count".to_owned(), capacity })
}

/// A client, a relay, a device beside the relay, and two behind that one in a line.
fn hall() -> Mesh {
    let mut mesh = Mesh::new(&["client", "relay", "near", "far", "end"]);
    mesh.connect(CLIENT, RELAY);
    mesh.connect(RELAY, NEAR);
    mesh.connect(NEAR, FAR);
    mesh.connect(FAR, END);
    mesh.run(seconds(5));
    mesh
}

/// The calls that have come under an offer.
fn calls(mesh: &Mesh, at: usize, offer: Token) -> Vec<Call> {
    let call = |(token, reply): &(Token, Reply)| match reply {
        Reply::Call(call) if *token == offer => Some(call.clone()),
        _ => None,
    };
    mesh.nodes[at].replies.iter().filter_map(call).collect()
}

fn answer(mesh: &mut Mesh, at: usize, call: &Call) {
    mesh.command(at, Command::Respond { call: call.call, answer: Ok(name_of(at).to_vec()) });
}

fn name_of(at: usize) -> &'static [u8] {
    [&b"client"[..], b"relay", b"near", b"far", b"end"][at]
}

/// Answers all calls of the offers, and returns who has got them.
fn answer_all(mesh: &mut Mesh, offers: &[(usize, Token)], done: &mut usize) -> Vec<usize> {
    let mut got = Vec::new();
    for (at, offer) in offers {
        for call in calls(mesh, *at, *offer).into_iter().skip(*done) {
            answer(mesh, *at, &call);
            got.push(*at);
        }
    }
    got
}

fn responder(mesh: &Mesh, token: Token) -> &str {
    match mesh.reply(CLIENT, token) {
        Some(Reply::Response { from, .. }) => from.as_str(),
        other => unreachable!("no response but {other:?}"),
    }
}

#[test]
fn a_request_goes_to_the_nearest_device_that_offers_the_service() {
    let mut mesh = hall();
    let offers = [(FAR, offer(&mut mesh, FAR, None)), (END, offer(&mut mesh, END, None))];
    mesh.run(seconds(5));
    let token = mesh.command(CLIENT, request(b"1", 30));
    mesh.run(seconds(1));
    assert_eq!(answer_all(&mut mesh, &offers, &mut 0), [FAR]);
    mesh.run(seconds(1));
    assert_eq!(responder(&mesh, token), "far");
    assert!(mesh.nodes[CLIENT].finished.contains(&token));
}

/// Invariant 1 of engine::messages::anycast::places.
#[test]
fn a_device_with_as_many_requests_as_it_takes_is_passed_over() {
    let mut mesh = hall();
    let offers = [(FAR, offer(&mut mesh, FAR, Some(1))), (END, offer(&mut mesh, END, Some(1)))];
    mesh.run(seconds(5));
    let tokens: Vec<Token> = (0..3).map(|n| mesh.command(CLIENT, request(&[n], 60))).collect();
    mesh.run(seconds(3));
    let waiting: Vec<usize> = offers.iter().map(|(at, offer)| calls(&mesh, *at, *offer).len()).collect();
    assert_eq!(waiting, [1, 1], "the third waits for one of them");
    let first = calls(&mesh, END, offers[1].1).remove(0);
    answer(&mut mesh, END, &first);
    mesh.run(seconds(4));
    assert_eq!(calls(&mesh, END, offers[1].1).len(), 2, "a place has become free");
    for (at, offer) in offers {
        for call in calls(&mesh, at, offer) {
            answer(&mut mesh, at, &call);
        }
    }
    mesh.run(seconds(5));
    assert!(tokens.iter().all(|token| matches!(mesh.reply(CLIENT, *token), Some(Reply::Response { .. }))));
}

#[test]
fn the_next_is_tried_within_a_retransmission_time_out_of_silence() {
    let mut mesh = hall();
    let offers = [(FAR, offer(&mut mesh, FAR, None)), (END, offer(&mut mesh, END, None))];
    mesh.disconnect(FAR, END);
    mesh.connect(RELAY, END);
    mesh.run(seconds(5));
    // Both are known, and receipts of both have been measured.
    for _ in 0..3 {
        for to in ["far", "end"] {
            mesh.send(CLIENT, to, b"hello", Ack::End, 30);
            mesh.run(seconds(1));
        }
    }
    let token = mesh.command(CLIENT, request(b"1", 30));
    mesh.run(Duration::from_millis(100));
    let served = answer_all(&mut mesh, &offers, &mut 0)[0];
    mesh.run(seconds(1));
    assert!(mesh.nodes[CLIENT].finished.contains(&token));
    // It stands still, and nobody knows.
    mesh.stop(served);
    let token = mesh.command(CLIENT, request(b"2", 30));
    mesh.run(Duration::from_millis(1_100));
    let other = if served == FAR { END } else { FAR };
    let offer = offers.iter().find(|(at, _)| *at == other).expect("it offers").1;
    let call = calls(&mesh, other, offer).pop().expect("called within a second and the way");
    assert_eq!(call.payload, b"2");
    answer(&mut mesh, other, &call);
    mesh.go_on(served);
    mesh.run(seconds(5));
    assert_eq!(responder(&mesh, token).as_bytes(), name_of(other));
    let first = offers.iter().find(|(at, _)| *at == served).expect("it offers").1;
    assert_eq!(calls(&mesh, served, first).len(), 1, "the one that stood still has not got it");
}

/// Invariant 1 of engine::messages::anycast.
#[test]
fn a_request_that_was_ordered_goes_to_no_other_device() {
    let mut mesh = hall();
    let offers = [(FAR, offer(&mut mesh, FAR, None)), (END, offer(&mut mesh, END, None))];
    mesh.run(seconds(5));
    let token = mesh.command(CLIENT, request(b"1", 20));
    mesh.run(seconds(1));
    assert_eq!(calls(&mesh, FAR, offers[0].1).len(), 1);
    mesh.stop(FAR);
    mesh.run(seconds(20));
    let Outcome::Expired { reason } = outcome(&mesh, CLIENT, token) else { unreachable!("nobody knows") };
    assert!(reason.contains("far"), "{reason}");
    assert!(calls(&mesh, END, offers[1].1).is_empty());
}

#[test]
fn where_repetition_is_allowed_an_interrupted_request_goes_on() {
    for (repeat, other) in [(false, 0), (true, 1)] {
        let mut mesh = hall();
        let far = offer(&mut mesh, FAR, None);
        let near = offer(&mut mesh, NEAR, None);
        mesh.run(seconds(5));
        let token = mesh.command(CLIENT, any("count", b"1", 60, AnycastKind::Request { repeat, id: None }));
        mesh.run(seconds(1));
        assert_eq!(calls(&mesh, NEAR, near).len(), 1);
        mesh.handle(NEAR, Input::Command { token: near, command: Command::Cancel });
        mesh.run(seconds(5));
        let called = calls(&mesh, FAR, far);
        assert_eq!(called.len(), other);
        match called.first() {
            Some(call) => {
                answer(&mut mesh, FAR, call);
                mesh.run(seconds(1));
                assert_eq!(responder(&mesh, token), "far");
            }
            None => assert!(
                matches!(outcome(&mesh, CLIENT, token), Outcome::Refused { reason } if reason.contains("ended"))
            ),
        }
    }
}

/// Invariant 3 of engine::messages::anycast.
#[test]
fn a_service_that_nobody_offers_or_answers_for_ends_by_the_deadline() {
    let mut mesh = hall();
    let none = mesh.command(CLIENT, request(b"1", 5));
    mesh.run(Duration::from_millis(5_001));
    let Outcome::Unreachable { reason } = outcome(&mesh, CLIENT, none) else { unreachable!("nobody offers it") };
    assert!(reason.contains("no device within reach offers count"), "{reason}");

    let full = offer(&mut mesh, NEAR, Some(1));
    mesh.run(seconds(5));
    mesh.command(RELAY, request(b"first", 60));
    mesh.run(seconds(1));
    assert_eq!(calls(&mesh, NEAR, full).len(), 1);
    let token = mesh.command(CLIENT, request(b"2", 7));
    mesh.run(Duration::from_millis(7_001));
    let Outcome::Unreachable { reason } = outcome(&mesh, CLIENT, token) else { unreachable!("it is full") };
    assert!(reason.contains("near") && reason.contains("as many"), "{reason}");

    mesh.stop(NEAR);
    let token = mesh.command(CLIENT, request(b"3", 7));
    mesh.run(Duration::from_millis(7_001));
    let Outcome::Unreachable { reason } = outcome(&mesh, CLIENT, token) else { unreachable!("it is silent") };
    assert!(reason.contains("near"), "{reason}");
}

/// Invariant 2 of engine::messages::anycast.
#[test]
fn a_message_goes_to_the_inbox_of_one_device_also_under_its_name() {
    let mut mesh = hall();
    offer(&mut mesh, FAR, Some(1));
    offer(&mut mesh, END, Some(1));
    mesh.run(seconds(5));
    let id = Some(SendId([9; 16]));
    let kind = AnycastKind::Message { ack: Ack::End, id };
    let tokens = [(); 2].map(|()| mesh.command(CLIENT, any("count", b"once", 30, kind)));
    mesh.run(seconds(2));
    for token in tokens {
        assert!(matches!(outcome(&mesh, CLIENT, token), Outcome::Delivered { hops: 3, .. }));
    }
    mesh.restart(CLIENT);
    mesh.connect(CLIENT, RELAY);
    mesh.run(seconds(5));
    let again = mesh.command(CLIENT, any("count", b"once", 30, kind));
    mesh.run(seconds(5));
    assert!(matches!(outcome(&mesh, CLIENT, again), Outcome::Delivered { .. }));
    assert_eq!((mesh.inbox(FAR).len(), mesh.inbox(END).len()), (1, 0));
}

#[test]
fn an_offer_is_found_under_the_tags_of_every_epoch_and_not_after_it_is_withdrawn() {
    let mut mesh = hall();
    let offered = offer(&mut mesh, FAR, None);
    let left = 3_600 - mesh.now.unix.seconds() % 3_600;
    mesh.run(seconds(left - 20));
    let mut seen = 0;
    for _ in 0..12 {
        let token = mesh.command(CLIENT, request(b"1", 30));
        mesh.run(seconds(2));
        seen += 1;
        let call = calls(&mesh, FAR, offered).pop().expect("called");
        assert_eq!(calls(&mesh, FAR, offered).len(), seen);
        answer(&mut mesh, FAR, &call);
        mesh.run(seconds(60));
        assert_eq!(responder(&mesh, token), "far");
    }
    mesh.handle(FAR, Input::Command { token: offered, command: Command::Cancel });
    mesh.run(seconds(20));
    let token = mesh.command(CLIENT, request(b"1", 5));
    mesh.run(seconds(6));
    assert!(matches!(outcome(&mesh, CLIENT, token), Outcome::Unreachable { .. }));
}

#[test]
fn a_leaf_that_offers_a_service_is_found_at_its_router() {
    let leaf = |at| m2mesh::engine::Settings { forwarding: at != 3, ..m2mesh::engine::Settings::default() };
    let mut mesh = Mesh::with(&["client", "relay", "near", "leaf"], leaf);
    for at in 1..4 {
        mesh.connect(at - 1, at);
    }
    mesh.run(seconds(5));
    let offered = offer(&mut mesh, 3, None);
    mesh.run(seconds(5));
    let token = mesh.command(CLIENT, request(b"1", 30));
    // The router itself may be what offers it, and is asked too.
    mesh.run(seconds(2));
    let call = calls(&mesh, 3, offered).pop().expect("called");
    answer(&mut mesh, 3, &call);
    mesh.run(seconds(1));
    assert_eq!(responder(&mesh, token), "leaf");
    // A leaf asks as well.
    let near = offer(&mut mesh, 2, None);
    mesh.run(seconds(5));
    let token = mesh.command(3, request(b"2", 30));
    mesh.run(seconds(2));
    let call = calls(&mesh, 2, near).pop().expect("called");
    mesh.command(2, Command::Respond { call: call.call, answer: Ok(b"yes".to_vec()) });
    mesh.run(seconds(1));
    assert!(matches!(mesh.reply(3, token), Some(Reply::Response { .. })));
}

#[test]
fn an_answer_that_nobody_waits_for_is_not_taken() {
    let mut mesh = hall();
    offer(&mut mesh, NEAR, None);
    mesh.run(seconds(5));
    let known = |mesh: &Mesh| {
        let tables = mesh.nodes[CLIENT].engine.tables();
        tables.iter().find(|table| table.name == "offers of others").map(|table| table.entries)
    };
    let token = mesh.command(CLIENT, request(b"1", 30));
    mesh.handle(CLIENT, Input::Command { token, command: Command::Cancel });
    mesh.run(seconds(1));
    assert_eq!((known(&mesh), count(&mesh, Counter::OffersUnasked)), (Some(0), 1));
    mesh.command(CLIENT, request(b"1", 30));
    mesh.run(seconds(1));
    assert_eq!((known(&mesh), count(&mesh, Counter::OffersUnasked)), (Some(1), 1));
}

fn count(mesh: &Mesh, counter: Counter) -> u64 {
    mesh.nodes[CLIENT].engine.counters().get(&counter).copied().unwrap_or(0)
}

#[test]
fn sends_beyond_the_bound_are_refused() {
    let mut mesh = hall();
    let tokens: Vec<Token> = (0..1_025).map(|_| mesh.command(CLIENT, request(b"1", 5))).collect();
    assert!(matches!(mesh.reply(CLIENT, tokens[1_024]), Some(Reply::Refused(Refused::Full(_)))));
    assert_eq!(count(&mesh, Counter::AnycastsRefused), 1);
    mesh.run(seconds(6));
    assert!(tokens.iter().all(|token| mesh.nodes[CLIENT].finished.contains(token)));
}

#[test]
fn a_request_to_any_device_does_not_wait_for_a_time() {
    let mut mesh = hall();
    let timing = Timing { spread: Some(seconds(5)), ..Timing::default() };
    let token = mesh.command(CLIENT, Command::Later { timing, command: Box::new(request(b"1", 30)) });
    assert!(matches!(mesh.reply(CLIENT, token), Some(Reply::Refused(Refused::AtOnce(_)))));
}

#[test]
fn who_offers_a_service_is_listed_with_its_load() {
    let mut mesh = hall();
    let listed = |mesh: &mut Mesh| {
        let token = mesh.command(CLIENT, Command::Offers("count".to_owned()));
        mesh.run(seconds(5));
        match mesh.reply(CLIENT, token) {
            Some(Reply::Offers(offers)) => {
                offers.iter().map(|offer| (offer.from.to_string(), offer.load, offer.capacity)).collect::<Vec<_>>()
            }
            other => unreachable!("no list but {other:?}"),
        }
    };
    assert!(listed(&mut mesh).is_empty());
    offer(&mut mesh, FAR, Some(2));
    offer(&mut mesh, END, Some(7));
    mesh.run(seconds(5));
    mesh.command(RELAY, request(b"1", 60));
    mesh.run(seconds(1));
    assert_eq!(listed(&mut mesh), [("end".to_owned(), 0, 7), ("far".to_owned(), 1, 2)]);
    mesh.stop(END);
    assert_eq!(listed(&mut mesh), [("far".to_owned(), 1, 2)]);
}
