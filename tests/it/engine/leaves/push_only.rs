//! Devices that only push: what they send arrives, they take nothing, and others know.

use crate::engine::mesh::{Mesh, message, name};
use crate::engine::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Load, Outcome, Refused, Reply, Token};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::parcel::put_record;

/// A device that only pushes behind a router, and another device behind that.
fn row() -> Mesh {
    let settings = |push_only| Settings { push_only, forwarding: !push_only, ..Settings::default() };
    let mut mesh = Mesh::with(&["meter", "router", "office", "issuer"], |at| settings(at == 0));
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    mesh
}

fn refused(mesh: &Mesh, at: usize, token: Token) -> Option<&Refused> {
    match mesh.reply(at, token) {
        Some(Reply::Refused(refused)) => Some(refused),
        _ => None,
    }
}

/// Invariant 1 of engine::messages::push_only.
#[test]
fn what_it_sends_arrives_and_it_waits_for_nobody() {
    let mut mesh = row();
    let hop = mesh.send(0, "office", b"21.5", Ack::Hop, 30);
    let mut records = Vec::new();
    put_record(&mut records, 0, b"21.6");
    let load = Load { to: name("office"), records, class: Class::Telemetry, policy: None, lifetime: seconds(30) };
    let load = mesh.command(0, Command::SendLoad(load));
    mesh.run(seconds(2));
    for token in [hop, load] {
        assert!(matches!(outcome(&mesh, 0, token), Outcome::Sent { .. }));
    }
    assert_eq!(mesh.inbox(2).len(), 2);
    let end = mesh.send(0, "office", b"21.7", Ack::End, 30);
    assert!(matches!(refused(&mesh, 0, end), Some(Refused::PushOnly(why)) if why.contains("--ack hop")));
    let receives = [
        Command::Receive { consumer: String::new(), live: false },
        Command::subscribe("plant/#"),
        Command::Offer { service: "clock".into(), capacity: None },
        Command::Request { send: message("office", b"?", Ack::End, 30), service: None },
    ];
    for command in receives {
        let token = mesh.command(0, command);
        assert!(matches!(refused(&mesh, 0, token), Some(Refused::PushOnly(_))));
    }
}

/// Invariant 1 of engine::messages::push_only.
/// Invariant 2 of engine::messages::push_only.
#[test]
fn what_is_for_it_is_refused_at_once_by_who_has_heard_its_word() {
    let mut mesh = row();
    // Nobody has heard of it: it says so itself.
    let first = mesh.send(2, "meter", b"set 20", Ack::End, 30);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 2, first), Outcome::Refused { reason } if reason.contains("only pushes")));
    let again = mesh.send(2, "meter", b"set 20", Ack::End, 30);
    assert_eq!(refused(&mesh, 2, again), Some(&Refused::Pusher(name("meter"))));
    // After a restart it has to be told again, and a message of the device tells it.
    mesh.restart(2);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let pushed = mesh.send(0, "office", b"21.5", Ack::Hop, 30);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 0, pushed), Outcome::Sent { .. }));
    let told = mesh.send(2, "meter", b"set 20", Ack::End, 30);
    assert_eq!(refused(&mesh, 2, told), Some(&Refused::Pusher(name("meter"))));
    let request = Command::Request { send: message("meter", b"?", Ack::End, 30), service: None };
    let request = mesh.command(2, request);
    assert_eq!(refused(&mesh, 2, request), Some(&Refused::Pusher(name("meter"))));
    // A blob is offered by one who has not heard of it.
    let hash = mesh.put_blob(1, b"firmware", false, false);
    let blob = mesh.send_blob(1, hash, "meter", seconds(30));
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 1, blob), Outcome::Refused { reason } if reason.contains("only pushes")));
    assert!(mesh.inbox(0).is_empty());
    assert!(mesh.nodes[0].engine.counters().get(&Counter::PushOnlyTurnedDown).is_some_and(|count| *count >= 2));
}
