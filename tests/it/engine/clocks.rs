//! Clocks that are set while links stand: what is on time is heard, and what is late is not.

use super::mesh::Mesh;
use super::multicast::{all, heard, missed, publish, row, seconds, subscribe};
use m2mesh::engine::Input;
use m2mesh::engine::api::Outcome;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;

#[test]
fn what_is_on_time_arrives_though_a_clock_was_set_while_the_link_stands() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    for ahead in [100, 0, -100, 0] {
        mesh.skew.insert(1, ahead);
        mesh.run(seconds(1));
        for (from, to) in [(0, "b"), (1, "a")] {
            let token = mesh.send(from, to, b"of use for ten seconds", Ack::End, 10);
            mesh.run(seconds(2));
            let ended = mesh.ended.get(&token);
            assert!(ended.is_some_and(Outcome::is_success), "{ahead} s, to {to}: {ended:?}");
        }
    }
}

#[test]
fn a_publisher_whose_clock_goes_back_at_a_restart_is_heard_on() {
    let (mut mesh, listens) = row();
    mesh.run(seconds(900));
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(2));
    mesh.restart(0);
    mesh.skew.insert(0, -120);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    for number in 1..5 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(seconds(1));
    }
    assert_eq!(heard(&mesh, 2, listens), all(0..5));
}

#[test]
fn a_relay_whose_clock_was_set_back_keeps_no_publication_from_anybody() {
    let (mut mesh, listens) = row();
    mesh.run(seconds(900));
    publish(&mut mesh, 0, "plant/x", 0, seconds(20));
    mesh.run(seconds(2));
    mesh.skew.insert(1, -90);
    for number in 1..8 {
        publish(&mut mesh, 0, "plant/x", number, seconds(20));
        mesh.run(seconds(1));
    }
    assert_eq!(heard(&mesh, 2, listens), all(0..8));
}

#[test]
fn publications_are_heard_in_time_whoever_s_clock_is_set_on_the_way() {
    for device in 0..3 {
        let (mut mesh, listens) = row();
        mesh.run(seconds(900));
        let mut number = 0;
        for ahead in [0, 20, 0, -20, 0] {
            mesh.skew.insert(device, ahead);
            mesh.run(seconds(1));
            for _ in 0..3 {
                publish(&mut mesh, 0, "plant/x", number, seconds(5));
                number += 1;
                mesh.run(seconds(1));
            }
            assert_eq!(heard(&mesh, 2, listens), all(0..number), "the clock of {device} is {ahead} s ahead");
        }
    }
}

/// Invariant 1 of engine::groups::lag.
#[test]
fn a_publication_that_is_late_is_not_handed_over_whoever_s_clock_was_set() {
    for (device, ahead) in (0..3).flat_map(|device| [(device, 20), (device, -20)]) {
        let (mut mesh, listens) = row();
        mesh.run(seconds(900));
        publish(&mut mesh, 0, "plant/x", 0, seconds(5));
        mesh.run(seconds(1));
        mesh.skew.insert(device, ahead);
        mesh.run(seconds(1));
        mesh.stop(1);
        publish(&mut mesh, 0, "plant/x", 1, seconds(5));
        publish(&mut mesh, 0, "plant/x", 2, seconds(60));
        mesh.run(seconds(9));
        mesh.go_on(1);
        // What follows a gap waits for ten seconds for it.
        mesh.run(seconds(15));
        assert_eq!(heard(&mesh, 2, listens), [(0, 0), (2, 1)], "the clock of {device} is {ahead} s ahead");
    }
}

/// Invariant 1 of engine::groups::missing.
#[test]
fn who_comes_after_the_beginning_of_a_stream_misses_nothing_though_its_publisher_s_clock_was_set() {
    for ahead in [20, -20] {
        let (mut mesh, _) = row();
        mesh.run(seconds(900));
        // Only another group is listened to.
        mesh.skew.insert(0, ahead);
        mesh.run(seconds(1));
        for number in 0..3 {
            publish(&mut mesh, 0, "mill/x", number, seconds(5));
            mesh.run(seconds(1));
        }
        mesh.skew.insert(0, 0);
        mesh.run(seconds(9));
        let listens = subscribe(&mut mesh, 2, "mill/x");
        mesh.run(seconds(5));
        publish(&mut mesh, 0, "mill/x", 3, seconds(5));
        mesh.run(seconds(15));
        assert_eq!(heard(&mesh, 2, listens), [(3, 0)], "the clock was {ahead} s ahead");
        assert!(missed(&mesh, 2, listens).is_empty(), "the clock was {ahead} s ahead");
    }
}

#[test]
fn what_waits_to_be_published_keeps_its_deadline_when_the_clock_is_set() {
    for ahead in [-20, 20] {
        let (mut mesh, listens) = row();
        mesh.run(seconds(900));
        publish(&mut mesh, 0, "plant/x", 0, seconds(5));
        mesh.run(seconds(1));
        let link = mesh.link(0, 1).expect("a link");
        mesh.handle(0, Input::Blocked(link, Class::Alarm));
        publish(&mut mesh, 0, "plant/x", 1, seconds(8));
        mesh.skew.insert(0, ahead);
        mesh.run(seconds(2));
        mesh.stop(2);
        mesh.handle(0, Input::Writable(link));
        mesh.run(seconds(3));
        mesh.go_on(2);
        mesh.run(seconds(1));
        assert_eq!(heard(&mesh, 2, listens), all(0..2), "in time, though the clock is {ahead} s ahead");
    }
}
