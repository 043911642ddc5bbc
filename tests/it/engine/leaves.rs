//! Leaves behind metered links take part in groups all the same.

mod push_only;

use super::mesh::Mesh;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::link::bearer::Profile;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Routers a and b; leaf x at a and leaf y at b, over metered links alone.
fn metered() -> Mesh {
    let metered = Profile { name: "modem".into(), metered: true, ..Profile::default() };
    let settings = move |at| Settings {
        forwarding: at < 2,
        bearers: vec![Profile::default(), metered.clone()],
        ..Settings::default()
    };
    let mut mesh = Mesh::with(&["a", "b", "x", "y"], settings);
    mesh.connect(0, 1);
    mesh.connect_beside(0, 2, 1);
    mesh.connect_beside(1, 3, 1);
    mesh.run(seconds(3));
    mesh
}

fn heard(mesh: &Mesh, at: usize, listens: Token) -> usize {
    let heard = |(of, reply): &&(Token, Reply)| *of == listens && matches!(reply, Reply::Published(_));
    mesh.nodes[at].replies.iter().filter(heard).count()
}

fn publish(mesh: &mut Mesh, at: usize) -> Token {
    let (topic, payload) = ("plant/a".to_owned(), b"21".to_vec());
    let token = mesh.command(
        at,
        Command::Publish { topic, payload, policy: None, lifetime: seconds(30), confirm: None, latest: false },
    );
    mesh.run(seconds(2));
    token
}

#[test]
fn a_leaf_hears_what_is_published_and_is_heard() {
    let mut mesh = metered();
    let subscribe = || Command::subscribe("plant/#");
    let (x, y, b) = (mesh.command(2, subscribe()), mesh.command(3, subscribe()), mesh.command(1, subscribe()));
    mesh.run(seconds(3));
    publish(&mut mesh, 0);
    assert_eq!((heard(&mesh, 2, x), heard(&mesh, 3, y), heard(&mesh, 1, b)), (1, 1, 1));
    let token = publish(&mut mesh, 2);
    assert!(
        matches!(mesh.ended.get(&token), Some(Outcome::Sent { neighbours: 1, .. })),
        "{:?}",
        mesh.ended.get(&token)
    );
    assert_eq!((heard(&mesh, 2, x), heard(&mesh, 3, y), heard(&mesh, 1, b)), (2, 2, 2));
}
