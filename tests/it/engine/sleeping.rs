//! Sleeping devices: their parents are found by the boxes that they advertise, and nobody disturbs their sleep.

use super::mesh::{Mesh, message, name};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::Command;
use m2mesh::engine::{Input, Settings, SleepSettings};
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::link::windows::Windows;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;

/// The sender, a mailbox beside it, another one behind that, which is the parent, and the sleeper.
const A: usize = 1;
const N: usize = 2;
const M: usize = 3;
const B: usize = 4;
/// When virtual time begins.
const START: u64 = 1_800_000_000;

/// Awake for the first two minutes of every hour.
fn hourly() -> Windows {
    Windows::default().with_spans((0..48).map(|hour| (START + hour * 3_600, START + hour * 3_600 + 120)).collect())
}

fn mesh_of(parent: &str) -> Mesh {
    let nodes = ["issuer", "a", "n", "m", "b"].map(|name| (name, DEFAULT_SEGMENT));
    let roles = |at| if at == M || at == N { Role::Mailbox as u16 } else { 0 };
    let sleep = SleepSettings { parents: vec![name(parent)], awake: hourly() };
    let settings = |at| match at {
        B => Settings { mail: true, forwarding: false, sleep: Some(sleep.clone()), ..Settings::default() },
        _ => Settings::default(),
    };
    let mut mesh = Mesh::of_roles(7, &nodes, Vec::new(), roles, settings);
    for at in 0..nodes.len() {
        mesh.handle(at, Input::Timeout);
    }
    mesh.connect(A, N);
    mesh.connect(N, M);
    mesh.connect(M, B);
    mesh.run(seconds(60));
    mesh
}

/// Until the next full hour.
fn next_hour(mesh: &mut Mesh) {
    let left = 3_600 - mesh.now.unix.seconds() % 3_600;
    mesh.run(seconds(left + 1));
}

/// Invariant 2 of engine::neighbours::sleepers.
/// Invariant 1 of engine::neighbours::sleep.
#[test]
fn who_sleeps_has_no_link_is_not_dialled_and_leaves_as_it_came() {
    let mut mesh = mesh_of("m");
    assert!(mesh.link(M, B).is_some());
    let own = mesh.nodes[B].own;
    mesh.run(seconds(65));
    assert!(mesh.link(M, B).is_none(), "its window has closed");
    assert_eq!(mesh.counted(M, Counter::NeighboursAtRest), 1);
    let (peer, rest) = *mesh.nodes[M].shunned.last().expect("it is left alone");
    let left = 3_600 - mesh.now.unix.seconds() % 3_600;
    assert!(peer == own && rest.as_secs().abs_diff(left) < 10, "{rest:?}, {left}");
    // A link that comes up all the same does not stay.
    mesh.connect(M, B);
    mesh.run(seconds(1));
    assert!(mesh.link(M, B).is_none());
    next_hour(&mut mesh);
    mesh.connect(M, B);
    mesh.run(seconds(10));
    assert!(mesh.link(M, B).is_some(), "it is awake");
}

/// Invariant 1 of engine::neighbours::sleepers.
#[test]
fn mail_goes_to_the_parent_which_knows_its_children_after_a_restart_and_a_turn_of_the_epoch() {
    let mut mesh = mesh_of("m");
    // The sender has the sleeper's card with its prekey after the first message.
    mesh.run(seconds(70));
    assert!(mesh.link(M, B).is_none());
    assert!(mesh.counted(B, Counter::MailPrekeysTold) > 0);
    mesh.restart(M);
    mesh.connect(N, M);
    mesh.run(seconds(10));
    let first = mesh.command(A, Command::Send(message("b", b"1", Ack::End, 7_200)));
    mesh.run(seconds(5));
    assert_eq!((mesh.mails(N), mesh.mails(M)), (0, 1), "the nearer mailbox is not its parent");
    mesh.disconnect(A, N);
    next_hour(&mut mesh);
    mesh.restart(M);
    mesh.connect(M, B);
    mesh.connect(N, M);
    mesh.run(seconds(30));
    assert_eq!((mesh.inbox(B).len(), mesh.mails(M)), (1, 0));
    mesh.connect(A, N);
    mesh.run(seconds(3_600));
    assert!(
        mesh.ended.get(&first).is_none_or(|outcome| !matches!(outcome, m2mesh::engine::api::Outcome::Refused { .. }))
    );
    assert_eq!(mesh.inbox(B).len(), 1, "it comes once");
}

/// A mailbox that has taken mail before it knew the parent hands it on, and a device that is no mailbox takes no children.
#[test]
fn a_parent_has_to_be_a_mailbox() {
    let mut mesh = mesh_of("a");
    mesh.connect(A, B);
    mesh.run(seconds(5));
    assert_eq!(mesh.counted(A, Counter::SleepersRefused), 1);
    mesh.disconnect(A, B);
    mesh.run(seconds(70));
    mesh.command(A, Command::Send(message("b", b"1", Ack::End, 7_200)));
    mesh.run(seconds(20));
    assert_eq!(mesh.mails(N), 1, "the nearest mailbox keeps it");
    next_hour(&mut mesh);
    mesh.connect(M, B);
    mesh.run(seconds(60));
    assert_eq!((mesh.inbox(B).len(), mesh.mails(N)), (1, 0));
}
