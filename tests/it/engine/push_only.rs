//! Devices that only push: what they send arrives although nothing ever comes back to them.

use super::mesh::Mesh;
use super::seconds;
use m2mesh::engine::Settings;
use m2mesh::wire::batch::Ack;

/// The payloads in a node's inbox.
fn payloads(mesh: &Mesh, at: usize) -> Vec<u8> {
    mesh.inbox(at).iter().map(|message| message.payload[0]).collect()
}

/// A device pushes something once a minute, for forty minutes, and hears nothing from the moment that its link is up.
fn push(mesh: &mut Mesh, from: usize, to: &str) {
    for number in 0..40 {
        mesh.send(from, to, &[number], Ack::None, 30);
        mesh.run(seconds(60));
    }
}

#[test]
fn a_device_that_hears_nothing_delivers_each_push_to_its_neighbour() {
    let leaf = |at| Settings { forwarding: at != 0, ..Settings::default() };
    let mut mesh = Mesh::with(&["meter", "hub"], leaf);
    mesh.connect(0, 1);
    mesh.vanish.insert((1, 0));
    mesh.run(seconds(5));
    push(&mut mesh, 0, "hub");
    assert_eq!(payloads(&mesh, 1), (0..40).collect::<Vec<_>>());
}

#[test]
fn it_delivers_each_push_to_a_device_beyond_its_neighbour_once_it_knows_that_device() {
    let leaf = |at| Settings { forwarding: at != 0, ..Settings::default() };
    let mut mesh = Mesh::with(&["meter", "hub", "office"], leaf);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    // It has learnt once where the device is and what its key is.
    mesh.send(0, "office", &[255], Ack::None, 30);
    mesh.run(seconds(5));
    mesh.vanish.insert((1, 0));
    push(&mut mesh, 0, "office");
    assert_eq!(payloads(&mesh, 2)[1..], (0..40).collect::<Vec<_>>());
}
