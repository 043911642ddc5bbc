//! What a link carries whole.

use super::mesh::{Mesh, message};
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Token};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::Kind;
use std::time::Duration;

#[test]
fn a_full_seal_goes_whole_where_a_bearer_sets_no_limit() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(Duration::from_secs(3));
    let now = mesh.now;
    // In one turn, so that they share seals; more than fit one.
    for number in 0..250 {
        let send = message("c", &[number; 294], Ack::End, 30);
        mesh.nodes[0]
            .engine
            .handle(Input::Command { token: Token(1_000 + u64::from(number)), command: Command::Send(send) }, now);
    }
    mesh.handle(0, Input::Timeout);
    mesh.run(Duration::from_secs(1));
    let messages: usize = mesh.inbox(2).len();
    assert_eq!(messages, 250);
    for node in &mesh.nodes[..2] {
        let longest = node.sent.iter().map(Vec::len).max();
        assert!(longest.is_some_and(|longest| longest > 64 * 1024), "{longest:?}");
        assert!(node.sent.iter().all(|frame| frame[4] != Kind::Fragment as u8));
    }
}
