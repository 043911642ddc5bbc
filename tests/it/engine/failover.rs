//! Relays whose links stand and who drop what they are given: only receipts that do not come tell of them.

use super::mesh::Mesh;
use m2mesh::engine::api::{Command, Outcome, Send};
use m2mesh::wire::batch::Ack;
use std::time::Duration;

/// a – b – c and a – d – e – c, warm: a and c have each other's messages in 20 ms or so.
fn ring() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"]);
    for (one, other) in [(0, 1), (1, 2), (0, 3), (3, 4), (4, 2)] {
        mesh.connect(one, other);
    }
    mesh.run(Duration::from_secs(3));
    assert_eq!(late(&mut mesh, "balanced", 5), 0);
    mesh
}

/// Sends that many messages from a to c, one a second, and says how many were not confirmed within a tenth of one.
fn late(mesh: &mut Mesh, policy: &str, messages: u32) -> usize {
    let sent: Vec<_> = (0..messages)
        .map(|_| {
            let message = super::mesh::message("c", b"reading", Ack::End, 600);
            let send = Send { policy: Some(policy.to_owned()), ..message };
            let token = mesh.command(0, Command::Send(send));
            mesh.run(Duration::from_secs(1));
            token
        })
        .collect();
    mesh.run(Duration::from_secs(10));
    sent.iter()
        .filter(|token| {
            let outcome = mesh.ended.get(token);
            let Some(Outcome::Delivered { latency_us, .. }) = outcome else {
                unreachable!("not confirmed: {outcome:?}")
            };
            *latency_us > 100_000
        })
        .count()
}

#[test]
fn a_relay_that_drops_all_delays_few_messages_and_seldom() {
    for policy in ["balanced", "fast", "cheap", "sure"] {
        let mut mesh = ring();
        mesh.vanish.insert((1, 2));
        let first = late(&mut mesh, policy, 10);
        assert!((1..=3).contains(&first), "{policy}: {first}");
        // It is tried again, ever more seldom.
        let then = late(&mut mesh, policy, 600);
        assert!(then <= 12, "{policy}: {then}");
        assert_eq!(mesh.inbox(2).len(), 615);
    }
}

#[test]
fn a_relay_that_dropped_is_used_again_when_it_does_not_any_more() {
    let mut mesh = ring();
    mesh.vanish.insert((1, 2));
    late(&mut mesh, "balanced", 60);
    mesh.vanish.clear();
    mesh.run(Duration::from_secs(600));
    late(&mut mesh, "balanced", 5);
    mesh.carried.clear();
    assert_eq!(late(&mut mesh, "balanced", 5), 0);
    assert_eq!(mesh.carried.get(&(1, 2)), Some(&5), "{:?}", mesh.carried);
}

#[test]
fn lost_receipts_take_another_way_and_the_messages_stay_on_theirs() {
    let mut mesh = ring();
    // b hands on what goes to c, and nothing that comes back.
    mesh.vanish.insert((1, 0));
    let first = late(&mut mesh, "balanced", 10);
    assert!((1..=4).contains(&first), "{first}");
    let then = late(&mut mesh, "balanced", 600);
    assert!(then <= 12, "{then}");
    assert_eq!(mesh.inbox(2).len(), 615);
}

#[test]
fn a_relay_that_drops_in_both_directions_is_left_by_receipts_too() {
    let mut mesh = ring();
    mesh.vanish.extend([(1, 0), (1, 2)]);
    let first = late(&mut mesh, "balanced", 10);
    assert!((1..=5).contains(&first), "{first}");
    let then = late(&mut mesh, "balanced", 600);
    assert!(then <= 12, "{then}");
    assert_eq!(mesh.inbox(2).len(), 615);
}
