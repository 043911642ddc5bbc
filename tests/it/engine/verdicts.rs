//! What a sender is told of a message, and what lies in the inbox, agree: one verdict for each message, whatever copies come.

use super::mesh::{Mesh, message};
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Send, Token};
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::lsa::Bearer;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// a – b – c, whose clock is 15 s ahead.
fn skewed_line() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.skew.insert(2, 15);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    // The session stands, and the sender knows how long a receipt takes.
    for _ in 0..5 {
        let token = mesh.send(0, "c", b"warm", Ack::End, 60);
        mesh.run(seconds(1));
        assert!(mesh.ended[&token].is_success());
    }
    mesh
}

fn consistent(mesh: &Mesh, tokens: &[(Token, &[u8])]) {
    let there: Vec<Vec<u8>> = mesh.inbox(2).into_iter().map(|message| message.payload).collect();
    for (token, payload) in tokens {
        let copies = there.iter().filter(|found| found == payload).count();
        match mesh.ended.get(token) {
            Some(Outcome::Delivered { .. }) => assert_eq!(copies, 1, "{payload:?} was told delivered"),
            Some(Outcome::Refused { reason }) => assert_eq!(copies, 0, "{payload:?} was refused: {reason}"),
            Some(_) => assert!(copies <= 1, "{payload:?} lies there {copies} times"),
            None => unreachable!("{payload:?} has not ended"),
        }
    }
}

/// Invariant 1 of engine::messages::intake.
#[test]
fn a_message_that_came_too_late_is_not_told_delivered_by_its_copies() {
    for restart in [false, true] {
        let mut mesh = skewed_line();
        // Both in one frame: nothing is drained between.
        let now = mesh.now;
        mesh.stop(2);
        let (short, long) = (Token(1_000), Token(1_001));
        for (token, payload, lifetime) in [(short, &b"short"[..], 8), (long, &b"long"[..], 60)] {
            let command = Command::Send(message("c", payload, Ack::End, lifetime));
            mesh.nodes[0].engine.handle(m2mesh::engine::Input::Command { token, command }, now);
        }
        mesh.handle(0, m2mesh::engine::Input::Timeout);
        mesh.run(Duration::from_millis(3_500));
        mesh.go_on(2);
        if restart {
            // The verdict outlives the process: the receipts are lost with it, and the copies come to the next one.
            mesh.run(Duration::from_millis(5));
            mesh.restart(2);
            mesh.connect(1, 2);
        }
        mesh.run(seconds(90));
        consistent(&mesh, &[(short, b"short"), (long, b"long")]);
        assert!(matches!(mesh.ended[&long], Outcome::Delivered { .. }));
        assert!(matches!(mesh.ended[&short], Outcome::Expired { .. }), "{:?}", mesh.ended[&short]);
        assert!(restart || mesh.counted(2, Counter::MessagesLate) == 1);
    }
}

/// Invariant 1 of engine::messages::intake.
#[test]
fn a_call_that_was_turned_down_is_turned_down_in_every_copy() {
    let mut mesh = skewed_line();
    mesh.stop(2);
    let request =
        |lifetime| Command::Request { send: message("c", b"?", Ack::End, lifetime), service: Some("none".into()) };
    let token = mesh.command(0, request(60));
    // A copy leaves while the receiver stands still.
    mesh.run(Duration::from_millis(3_500));
    mesh.go_on(2);
    mesh.run(seconds(5));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Refused { reason }) if reason.contains("service")));
    assert!(mesh.counted(2, Counter::MessagesDuplicate) > 0, "no copy came");
}

/// The receipt lies in the socket of a sender that stands still for longer than its message lasts. Whichever of its clock and its
/// socket it looks at first, whoever asks is told one end, and whoever asks again the same.
/// Invariant 1 of engine::messages::endings.
#[test]
fn a_sender_that_stood_still_past_the_end_of_a_message_tells_one_outcome_to_all_who_ask() {
    for clock_first in [false, true] {
        let mut mesh = Mesh::new(&["a", "b", "c"]);
        mesh.connect(0, 1);
        mesh.connect(1, 2);
        mesh.run(seconds(3));
        let named = || {
            Command::Send(m2mesh::engine::api::Send {
                id: Some(m2mesh::id::SendId([1; 16])),
                ..message("c", b"once", Ack::End, 5)
            })
        };
        let first = mesh.command(0, named());
        for _ in 0..1_000 {
            if !mesh.inbox(2).is_empty() {
                break;
            }
            mesh.run(Duration::from_millis(1));
        }
        assert_eq!((mesh.inbox(2).len(), mesh.ended.get(&first)), (1, None), "its receipt is under way");
        mesh.stop(0);
        mesh.run(seconds(20));
        if clock_first {
            mesh.handle(0, m2mesh::engine::Input::Timeout);
        }
        // Somebody asks again by name as soon as the process goes on.
        let again = mesh.command(0, named());
        mesh.go_on(0);
        mesh.run(seconds(60));
        let later = mesh.command(0, named());
        mesh.run(seconds(1));
        let kinds = [first, again, later].map(|token| std::mem::discriminant(&mesh.ended[&token]));
        assert!(kinds.iter().all(|kind| *kind == kinds[0]), "{:?}", mesh.ended);
        assert_eq!(mesh.inbox(2).len(), 1);
    }
}

#[test]
fn what_arrives_while_an_earlier_message_has_no_way_is_confirmed_when_it_comes_the_first_time() {
    let nowhere = NamedPolicy { name: "nowhere".into(), avoid: vec![Bearer::Ethernet], ..NamedPolicy::default() };
    let settings = move |_| Settings { policies: vec![nowhere.clone()], ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c"], settings);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let waits = Send { policy: Some("nowhere".into()), ..message("c", b"waits", Ack::End, 600) };
    let waits = mesh.command(0, Command::Send(waits));
    for number in 0..20 {
        let token = mesh.send(0, "c", &[number], Ack::End, 60);
        mesh.run(seconds(1));
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{number}: {:?}", mesh.ended);
    }
    assert_eq!((mesh.ended.get(&waits), mesh.inbox(2).len()), (None, 20));
    assert_eq!(mesh.counted(2, Counter::MessagesDuplicate), 0, "nothing had to come again");
}
