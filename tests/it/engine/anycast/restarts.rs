//! Requests that are named outlive the process that asks: whenever it is killed, who asks again is told the response, and no device executes the
//! request twice.

use super::{CLIENT, END, FAR, NEAR, RELAY, answer, any, calls, hall, offer, responder, seconds};
use crate::engine::mesh::{Mesh, message};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{AnycastKind, Command, Outcome, Reply, Send, Token};
use m2mesh::id::SendId;
use m2mesh::wire::batch::Ack;
use std::time::Duration;

fn id(number: u8) -> SendId {
    SendId([number; SendId::LEN])
}

fn ask(mesh: &mut Mesh, number: u8, lifetime: u64) -> Token {
    let kind = AnycastKind::Request { repeat: false, id: Some(id(number)) };
    mesh.command(CLIENT, any("count", &[number], lifetime, kind))
}

/// A request to one device.
fn ask_far(mesh: &mut Mesh, number: u8, lifetime: u64) -> Token {
    let send = Send { id: Some(id(number)), ..message("far", &[number], Ack::End, lifetime) };
    mesh.command(CLIENT, Command::Request { send, service: Some("count".to_owned()) })
}

fn kill(mesh: &mut Mesh) {
    mesh.restart(CLIENT);
    mesh.connect(CLIENT, RELAY);
}

fn outcome(mesh: &Mesh, token: Token) -> &Outcome {
    match mesh.reply(CLIENT, token) {
        Some(Reply::Outcome(outcome)) => outcome,
        other => unreachable!("no outcome but {other:?}"),
    }
}

/// Invariants 1 and 2 of engine::messages::named_requests.
#[test]
fn whenever_the_caller_is_killed_a_named_request_is_executed_once_and_answered_to_who_asks_again() {
    for ask in [ask, ask_far] {
        let mut mesh = hall();
        let offers = [(FAR, offer(&mut mesh, FAR, None)), (END, offer(&mut mesh, END, None))];
        mesh.run(seconds(5));
        for number in 0..24 {
            ask(&mut mesh, number, 60);
            mesh.run(Duration::from_millis(u64::from(number) * 2));
            kill(&mut mesh);
            mesh.run(Duration::from_millis(500));
            // It is asked for twice, by two who do not know of each other.
            let again = [ask(&mut mesh, number, 60), ask(&mut mesh, number, 60)];
            mesh.run(seconds(10));
            let called = |mesh: &Mesh| {
                let of = |(at, offer): &(usize, Token)| {
                    let calls = calls(mesh, *at, *offer).into_iter();
                    calls.filter(|call| call.payload == [number]).map(|call| (*at, call)).collect::<Vec<_>>()
                };
                offers.iter().flat_map(of).collect::<Vec<_>>()
            };
            let [(at, call)] = &called(&mesh)[..] else { unreachable!("request {number}: {:?}", called(&mesh)) };
            answer(&mut mesh, *at, call);
            mesh.run(seconds(1));
            let by = again.map(|token| responder(&mesh, token).to_owned());
            assert_eq!(by[0], by[1]);
            // The response is written.
            kill(&mut mesh);
            mesh.run(seconds(1));
            let token = ask(&mut mesh, number, 60);
            mesh.run(seconds(1));
            assert_eq!((responder(&mesh, token), called(&mesh).len()), (&*by[0], 1), "request {number}");
        }
    }
}

#[test]
fn a_named_request_that_nobody_answers_has_one_outcome_through_restarts() {
    let mut mesh = hall();
    let near = offer(&mut mesh, NEAR, None);
    mesh.run(seconds(5));
    ask(&mut mesh, 1, 60);
    mesh.run(seconds(1));
    assert_eq!(calls(&mesh, NEAR, near).len(), 1);
    kill(&mut mesh);
    mesh.run(seconds(70));
    for _ in 0..2 {
        let token = ask(&mut mesh, 1, 60);
        mesh.run(seconds(1));
        let Outcome::Expired { reason } = outcome(&mesh, token) else { unreachable!("nobody knows") };
        assert!(reason.contains("near"), "{reason}");
        kill(&mut mesh);
        mesh.run(seconds(5));
    }
    assert_eq!(calls(&mesh, NEAR, near).len(), 1);
}

#[test]
fn a_response_is_kept_for_a_while_and_its_request_is_never_made_again() {
    let mut mesh = hall();
    let near = offer(&mut mesh, NEAR, None);
    mesh.run(seconds(5));
    let asked = |mesh: &mut Mesh, number: u8| {
        let token = ask(mesh, number, 60);
        mesh.run(Duration::from_millis(300));
        if let Some(call) = calls(mesh, NEAR, near).into_iter().find(|call| call.payload == [number]) {
            mesh.command(NEAR, Command::Respond { call: call.call, answer: Ok(vec![number; 60_000]) });
        }
        mesh.run(Duration::from_millis(300));
        token
    };
    // More than are kept.
    for number in 0..75 {
        asked(&mut mesh, number);
    }
    assert!(mesh.counted(CLIENT, Counter::ResponsesForgotten) > 0);
    let token = asked(&mut mesh, 0);
    let Outcome::Expired { reason } = outcome(&mesh, token) else { unreachable!("it is forgotten") };
    assert!(reason.contains("near has answered"), "{reason}");
    let token = asked(&mut mesh, 74);
    assert_eq!(responder(&mesh, token), "near");
    mesh.run(seconds(700));
    let token = asked(&mut mesh, 74);
    assert!(matches!(outcome(&mesh, token), Outcome::Expired { .. }));
    assert_eq!(calls(&mesh, NEAR, near).len(), 75, "each was made once");
}
