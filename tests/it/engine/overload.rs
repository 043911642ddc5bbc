//! More than there is time for: what cannot be there by its deadline does not keep what can from leaving.

use super::mesh::Mesh;
use m2mesh::engine::Input;
use m2mesh::engine::api::Outcome;
use m2mesh::wire::batch::Ack;
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
