//! Devices that were suspended: they wake in another epoch, with links that are dead or without any.

use super::{identity, rotating, row, seconds};
use m2mesh::engine::Input;
use m2mesh::engine::api::Command;
use m2mesh::id::Pseudonym;

/// How many seconds the device is suspended: to the third epoch after the one in which it fell asleep.
const SUSPENDED: i64 = 3 * 3_600;

/// The pseudonym in force, and that of the epoch in which the device wakes.
fn pseudonyms(mesh: &mut super::Mesh) -> (Pseudonym, Pseudonym) {
    let woken = mesh.now.unix + seconds(SUSPENDED.unsigned_abs());
    let engine = &mut mesh.nodes[1].engine;
    (engine.pseudonym(), engine.membership().pseudonym(woken))
}

/// Invariant 2 of engine::membership::rotation. The links seem to stand at first, and are found dead one after the other: before the network of the
/// new pseudonym has been asked for, or while that waits for links. With the last of them the pseudonym is that of the present.
#[test]
fn a_device_that_wakes_with_dead_links_is_under_the_pseudonym_of_the_present_when_the_last_has_gone() {
    for found_dead in [1, 200] {
        let mut mesh = rotating(&["a", "b", "c"], |_| true);
        row(&mut mesh, 3);
        mesh.vanish.extend([(0, 1), (1, 0), (1, 2), (2, 1)]);
        mesh.skew.insert(1, SUSPENDED);
        mesh.handle(1, Input::Timeout);
        mesh.run(seconds(found_dead));
        let (own, present) = pseudonyms(&mut mesh);
        assert_ne!(own, present, "after {found_dead} s: links are not given up by a clock alone");
        mesh.disconnect(0, 1);
        mesh.run(seconds(1));
        assert_eq!(pseudonyms(&mut mesh).0, own, "after {found_dead} s: one is left");
        mesh.disconnect(1, 2);
        mesh.run(seconds(1));
        assert_eq!(pseudonyms(&mut mesh).0, present, "after {found_dead} s");
        mesh.run(seconds(10));
        let told = identity(&mut mesh, 1, Command::Identity);
        assert_eq!((told.former, told.changing), (None, false), "after {found_dead} s");
    }
}

/// Nobody has confirmed another time to a device without a link: it judges by its own clock.
#[test]
fn a_device_that_wakes_without_links_is_under_the_pseudonym_of_the_present_at_once() {
    let mut mesh = rotating(&["a", "b"], |_| true);
    row(&mut mesh, 2);
    mesh.disconnect(0, 1);
    mesh.skew.insert(1, SUSPENDED);
    mesh.handle(1, Input::Timeout);
    mesh.run(seconds(1));
    let (own, present) = pseudonyms(&mut mesh);
    assert_eq!(own, present);
}
