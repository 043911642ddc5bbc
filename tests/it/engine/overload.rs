//! More than there is time for: what cannot be there by its deadline does not keep what can from leaving.

use super::mesh::Mesh;
use super::multicast::{publish, subscribe};
use m2mesh::engine::Input;
use m2mesh::engine::api::Outcome;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::Kind;
use std::time::Duration;

#[test]
fn what_has_too_little_time_left_does_not_hold_up_what_has_enough() {
    for ack in [Ack::End, Ack::None] {
        let mut mesh = Mesh::new(&["a", "b"]);
        let tenth = Duration::from_millis(100);
        let send = |mesh: &mut Mesh| {
            mesh.run(tenth);
            mesh.send(0, "b", b"of use for five seconds", ack, 5)
        };
        // A queue of five seconds, whose oldest message never has more than a tenth of one left.
        for _ in 0..80 {
            send(&mut mesh);
        }
        let (link, _) = mesh.connect_beside(0, 1, 0);
        for _ in 0..20 {
            mesh.handle(0, Input::Measured { link, round_trip: Duration::from_millis(800) });
        }
        let tokens: Vec<_> = (0..50).map(|_| send(&mut mesh)).collect();
        mesh.run(Duration::from_secs(6));
        let good = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. } | Outcome::Sent { .. });
        let delivered = tokens.iter().filter(|token| mesh.ended.get(token).is_some_and(good)).count();
        assert_eq!(delivered, 50, "{ack:?}");
        assert!(mesh.inbox(1).len() >= 90, "{ack:?}: most of those that waited had time: {}", mesh.inbox(1).len());
    }
}

/// A link that takes no more would else carry, once it does, what is over first.
#[test]
fn what_is_over_does_not_wait_for_a_link() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    (0..2).for_each(|at| mesh.connect(at, at + 1));
    mesh.run(Duration::from_secs(2));
    subscribe(&mut mesh, 2, "plant/#");
    mesh.run(Duration::from_secs(2));
    let long = Duration::from_secs(30);
    publish(&mut mesh, 0, "plant/x", 0, long);
    mesh.run(Duration::from_secs(2));
    mesh.patience.clear();
    publish(&mut mesh, 0, "plant/x", 1, long);
    mesh.send(0, "c", b"hello", Ack::End, 30);
    mesh.send(0, "c", b"hello", Ack::None, 30);
    mesh.run(Duration::from_secs(2));
    for (kind, most) in [(Kind::Group, long), (Kind::Data, Duration::from_secs(3_600))] {
        let of_kind: Vec<_> = mesh.patience.iter().filter(|(of, _)| *of == kind as u8).collect();
        assert!(of_kind.len() >= 2, "from a and from b");
        for (_, patience) in of_kind {
            assert!(patience.is_some_and(|patience| patience <= most), "{kind:?} {patience:?}");
        }
    }
    // What b missed meanwhile is fetched.
    mesh.patience.clear();
    mesh.disconnect(0, 1);
    publish(&mut mesh, 0, "plant/x", 2, long);
    mesh.run(Duration::from_secs(2));
    mesh.connect(0, 1);
    mesh.run(Duration::from_secs(5));
    let again: Vec<_> = mesh.patience.iter().filter(|(of, _)| *of == Kind::GroupAgain as u8).collect();
    assert!(
        !again.is_empty() && again.iter().all(|(_, patience)| patience.is_some_and(|one| one <= long)),
        "{again:?}"
    );
}
