//! What becomes of messages, calls and their answers other than was wished is counted by what it was.

use super::mesh::{Mesh, message};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Refused, Reply, Send, Token};
use m2mesh::engine::store::Table;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::time::Duration;

const CLASSES: [Class; 4] = [Class::Alarm, Class::Control, Class::Telemetry, Class::Bulk];

fn pair() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    mesh
}

fn send(mesh: &mut Mesh, class: Class, payload: &[u8], lifetime: u64) -> Token {
    mesh.command(0, Command::Send(Send { class, ..message("b", payload, Ack::End, lifetime) }))
}

#[test]
fn messages_that_fail_are_counted_by_class() {
    let mut mesh = pair();
    mesh.disconnect(0, 1);
    for (times, class) in (1..).zip(CLASSES) {
        for _ in 0..times {
            send(&mut mesh, class, b"in vain", 2);
        }
    }
    mesh.run(seconds(5));
    let failed = [Counter::FailedAlarm, Counter::FailedControl, Counter::FailedTelemetry, Counter::FailedBulk];
    assert_eq!(failed.map(|counter| mesh.counted(0, counter)), [1, 2, 3, 4]);
}

#[test]
fn messages_for_which_there_is_no_room_are_counted_by_class() {
    let mut mesh = pair();
    mesh.disconnect(0, 1);
    let refused = |mesh: &Mesh, token| matches!(mesh.reply(0, token), Some(Reply::Refused(Refused::Full(_))));
    let large = vec![0; 50_000];
    let mut filled = 0;
    loop {
        let token = send(&mut mesh, Class::Telemetry, &large, 3_600);
        if refused(&mesh, token) {
            break;
        }
        filled += 1;
        assert!(filled < 2_000, "there is room for ever");
    }
    for (times, class) in (1..).zip(CLASSES) {
        for _ in 0..times {
            let token = send(&mut mesh, class, &large, 60);
            assert!(refused(&mesh, token), "{:?}", mesh.reply(0, token));
        }
    }
    let full = [
        Counter::RefusedFullAlarm,
        Counter::RefusedFullControl,
        Counter::RefusedFullTelemetry,
        Counter::RefusedFullBulk,
    ];
    assert_eq!(full.map(|counter| mesh.counted(0, counter)), [1, 2, 3 + 1, 4]);
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_counted() {
    let mut mesh = pair();
    let offer = mesh.command(1, Command::Offer { service: "slow".into(), capacity: None });
    let send = message("b", b"?", Ack::End, 60);
    mesh.command(0, Command::Request { send, service: Some("slow".into()) });
    mesh.run(seconds(1));
    let call = mesh.nodes[1].replies.iter().find_map(|(token, reply)| match reply {
        Reply::Call(call) if *token == offer => Some(call.call),
        _ => None,
    });
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    mesh.command(1, Command::Respond { call: call.expect("it is called"), answer: Ok(b"!".to_vec()) });
    mesh.run(seconds(5));
    assert_eq!(mesh.counted(0, Counter::ResponsesUnasked), 1);
}

#[test]
fn what_of_the_outbox_cannot_be_read_after_a_restart_is_counted_and_the_rest_is_sent() {
    let mut mesh = pair();
    mesh.disconnect(0, 1);
    for number in 0..3 {
        send(&mut mesh, Class::Telemetry, &[number], 3_600);
    }
    mesh.run(seconds(1));
    let outbox = |(table, _): &&(u8, Vec<u8>)| *table == Table::Outbox as u8;
    let key = mesh.nodes[0].disk.0.keys().find(outbox).cloned().expect("they are kept");
    let kept = mesh.nodes[0].disk.0.keys().filter(outbox).count() as u64;
    mesh.nodes[0].disk.0.insert(key, b"torn".to_vec());
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    assert_eq!(mesh.counted(0, Counter::OutgoingDamaged), 1);
    assert_eq!(mesh.inbox(1).len() as u64, kept - 1);
}

/// Invariant 1 of engine::messages::strangers.
#[test]
fn messages_to_names_without_a_card_wait_for_one_as_far_as_there_is_room() {
    let mut mesh = pair();
    // Nobody who could have cards answers.
    mesh.disconnect(0, 1);
    let tokens: Vec<Token> = (0..300).map(|_| mesh.send(0, "nobody", b"?", Ack::End, 60)).collect();
    // The first one's place may be free again: nobody can be asked.
    assert!((43..=44).contains(&mesh.counted(0, Counter::MessagesToStrangersRefused)));
    mesh.run(Duration::from_secs(120));
    let told = |token: &&Token| {
        let refused = matches!(mesh.reply(0, **token), Some(Reply::Refused(_)));
        refused || matches!(mesh.ended.get(token), Some(Outcome::Unreachable { .. } | Outcome::Refused { .. }))
    };
    assert_eq!(tokens.iter().filter(told).count(), 300, "each is told in the end");
}
