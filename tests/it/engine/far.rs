//! Paths that take tens of seconds one way: what is under way is waited for.

use super::mesh::Mesh;
use m2mesh::wire::batch::Ack;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_message_to_a_far_neighbour_leaves_once() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(1));
    mesh.assess(0, 1, 5_000_000, seconds(40));
    mesh.run(seconds(1));
    mesh.carried.clear();
    // Its receipt is under way for half a minute.
    mesh.vanish.insert((1, 0));
    mesh.send(0, "b", b"report", Ack::End, 300);
    mesh.run(seconds(45));
    assert_eq!((mesh.inbox(1).len(), mesh.carried.get(&(0, 1))), (1, Some(&1)));
    // One that has been lost goes again.
    mesh.run(seconds(60));
    assert_eq!(mesh.carried.get(&(0, 1)), Some(&2));
}
