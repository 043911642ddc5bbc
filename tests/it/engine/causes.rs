//! Why a route gave way to another: the event log names the one thing that changed.

use super::mesh::{Mesh, message};
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Send};
use m2mesh::event_log::{Event, Logged};
use m2mesh::wire::batch::Ack;
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// a – b – c is quicker and cheaper than a – d – c, and a message under that policy goes over b.
fn over_b(policy: &str) -> Mesh {
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], |_| Settings::default());
    for (one, other) in [(0, 1), (1, 2), (0, 3), (3, 2)] {
        mesh.connect(one, other);
    }
    for (one, other) in [(0, 1), (1, 2)] {
        mesh.assess(one, other, 1_000, millis(10));
    }
    for (one, other) in [(0, 3), (3, 2)] {
        mesh.assess(one, other, 8_000, millis(16));
    }
    mesh.run(millis(10_000));
    send(&mut mesh, policy);
    assert!(mesh.carried.contains_key(&(0, 1)), "{:?}", mesh.carried);
    mesh
}

fn send(mesh: &mut Mesh, policy: &str) {
    mesh.carried.clear();
    let send = Send { policy: Some(policy.into()), ..message("c", b"one of a few", Ack::End, 30) };
    mesh.command(0, Command::Send(send));
    mesh.run(millis(10_000));
}

/// Probes over a – b come back after these times, then a message goes over d: what the log of a names as the cause.
fn cause(mesh: &mut Mesh, policy: &str, probes: impl IntoIterator<Item = u64>) -> String {
    for took in probes {
        mesh.measure(0, 1, millis(took));
        mesh.run(millis(1_000));
    }
    send(mesh, policy);
    assert!(mesh.carried.contains_key(&(0, 3)), "the route was not left: {:?}", mesh.carried);
    let cause_of = |event| match event {
        Logged::Known(Event::RouteChanged { cause, .. }) => Some(cause),
        _ => None,
    };
    let causes: Vec<String> = mesh.log(0).into_iter().filter_map(cause_of).collect();
    assert_eq!(causes.len(), 1, "{causes:?}");
    causes.concat()
}

/// One in five is sent again below.
fn lossy() -> impl Iterator<Item = u64> {
    (0..40).map(|at| if at % 5 == 2 { 210 } else { 10 })
}

#[test]
fn delay_alone_is_named_as_delay() {
    for policy in ["fast", "balanced"] {
        let cause = cause(&mut over_b(policy), policy, [120; 20]);
        assert!(cause.starts_with("delay rose from 10.0 ms to "), "{policy}: {cause}");
    }
}

#[test]
fn loss_alone_is_named_as_loss_though_it_is_the_delay_that_weighs() {
    let cause = cause(&mut over_b("fast"), "fast", lossy());
    assert!(cause.starts_with("loss rose from 1.9"), "{cause}");
    assert!(cause.contains(" %, and with it the delay from 10.0 ms to "), "{cause}");
}

#[test]
fn loss_alone_is_named_as_failures_where_these_weigh_most() {
    let cause = cause(&mut over_b("sure"), "sure", lossy());
    assert!(cause.starts_with("failures rose from "), "{cause}");
}

#[test]
fn price_alone_is_named_as_price() {
    let mut mesh = over_b("cheap");
    mesh.assess(0, 1, 50_000, millis(10));
    let cause = cause(&mut mesh, "cheap", [10; 5]);
    assert!(cause.starts_with("price rose from "), "{cause}");
}

#[test]
fn a_link_that_is_silent_is_named_as_that() {
    let mut mesh = over_b("balanced");
    mesh.silence(0, 1, true);
    let cause = cause(&mut mesh, "balanced", []);
    assert_eq!(cause, "failures: the link a → b is silent");
}
