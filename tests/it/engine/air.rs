//! Time on air: duty cycles and the ends of access windows, kept by senders and by relays; and links that take only what
//! is urgent.

use super::mesh::{FRAME, Mesh, message};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Send, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::link::bearer::Profile;
use m2mesh::link::duty::Limit;
use m2mesh::link::windows::{EVERY_DAY, Window, Windows};
use m2mesh::time::Time;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::time::Duration;

/// A radio of 50 kbit/s that may be on air for so long in an hour.
fn radio(budget: Duration) -> Profile {
    let duty = Some(Limit { budget, over: seconds(3_600), preamble: Duration::from_millis(5) });
    Profile { name: "srd".into(), rate: 50, duty, metered: true, ..Profile::default() }
}

fn over(bearer: &Profile) -> impl Fn(usize) -> Settings + use<> {
    let bearer = bearer.clone();
    move |_| Settings { bearers: vec![bearer.clone()], ..Settings::default() }
}

fn send(mesh: &mut Mesh, from: usize, to: &str, class: Class, bytes: usize, lifetime_s: u64) -> Token {
    let send = Send { class, ..message(to, &vec![class as u8; bytes], Ack::End, lifetime_s) };
    mesh.command(from, Command::Send(send))
}

fn delivered(mesh: &Mesh, tokens: &[Token]) -> usize {
    tokens.iter().filter(|token| matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. }))).count()
}

/// The most time that a node was on air in any hour, in seconds, as somebody with a receiver would count it: frames follow each other,
/// in pieces of 512 bytes with 70 of headers and 5 ms of preamble each.
fn worst_hour(mesh: &Mesh, node: usize) -> f64 {
    let mut free = 0.0f64;
    let given = mesh.given.iter().filter(|(_, at, _)| *at == node);
    let aired: Vec<(f64, f64)> = given
        .map(|(at, _, bytes)| {
            let pieces = bytes.div_ceil(512).max(1) as f64;
            let begins = free.max(at.0 as f64 / 1e6);
            free = begins + (*bytes as f64 + pieces * 70.0) * 8.0 / 50_000.0 + pieces * 0.005;
            (begins, free)
        })
        .collect();
    let within = |from: f64, until: f64| -> f64 {
        aired.iter().map(|(begins, ends)| (ends.min(until) - begins.max(from)).max(0.0)).sum()
    };
    aired.iter().map(|(_, ends)| within(ends - 3_600.0, *ends)).fold(0.0, f64::max)
}

/// Invariant 1 of link::duty.
#[test]
fn no_hour_has_more_air_time_than_the_band_allows_and_alarms_always_have_some() {
    let mut mesh = Mesh::with(&["a", "relay", "b"], over(&radio(seconds(36))));
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(30));
    let (mut alarms, mut bulk) = (Vec::new(), Vec::new());
    for minute in 0..180 {
        for _ in 0..6 {
            bulk.push(send(&mut mesh, 0, "b", Class::Bulk, 800, 3_600));
            mesh.run(seconds(10));
        }
        if minute % 10 == 9 {
            alarms.push(send(&mut mesh, 0, "b", Class::Alarm, 60, 20));
        }
        if minute == 100 {
            for node in [0, 1] {
                mesh.restart(node);
            }
            mesh.connect(0, 1);
            mesh.connect(1, 2);
        }
    }
    mesh.run(seconds(30));
    for node in 0..3 {
        let worst = worst_hour(&mesh, node);
        assert!(worst <= 36.0, "{node}: {worst} s in an hour");
    }
    assert!(worst_hour(&mesh, 0) > 12.0, "bulk uses what it may");
    assert_eq!(delivered(&mesh, &alarms), alarms.len(), "alarms have air time of their own");
    let through = delivered(&mesh, &bulk);
    assert!((60..bulk.len() / 2).contains(&through), "{through} of {}", bulk.len());
    let told = bulk.iter().filter_map(|token| mesh.ended.get(token)).find_map(|outcome| match outcome {
        Outcome::Unreachable { reason } => Some(reason.clone()),
        _ => None,
    });
    let told = told.expect("some never left");
    assert!(told.contains("srd may carry nothing of class bulk now") && told.contains("it may again in"), "{told}");
}

/// Invariant 2 of engine::neighbours::air.
#[test]
fn a_frame_that_would_be_on_air_when_the_window_closes_waits_for_the_next() {
    // The mesh begins at 08:00.
    let windows = Windows::new(
        [(480, 481), (485, 490)].map(|(from, until)| Window::new(from, until, EVERY_DAY).expect("a window")),
    );
    let bearer = Profile { name: "vhf".into(), rate: 10, windows, ..Profile::default() };
    let mut mesh = Mesh::with(&["a", "b"], over(&bearer));
    mesh.connect(0, 1);
    mesh.run(seconds(55));
    let long = send(&mut mesh, 0, "b", Class::Telemetry, 6_000, 900);
    let short = send(&mut mesh, 0, "b", Class::Alarm, 50, 900);
    mesh.run(seconds(4));
    assert!(mesh.ended.contains_key(&short) && !mesh.ended.contains_key(&long));
    let before: usize = mesh.given.iter().filter(|(_, at, _)| *at == 0).map(|(_, _, bytes)| bytes).sum();
    mesh.run(seconds(235));
    let meanwhile: usize = mesh.given.iter().filter(|(_, at, _)| *at == 0).map(|(_, _, bytes)| bytes).sum();
    assert!(meanwhile - before < 6_000, "it stays off the air: {before} and {meanwhile} bytes");
    mesh.run(seconds(10));
    assert_eq!(delivered(&mesh, &[long, short]), 2);
}

/// Invariant 3 of engine::neighbours::air.
#[test]
fn what_a_relay_may_not_send_yet_is_held_and_bounded_by_class() {
    let settings = |budget| {
        move |at| {
            let bearer = if at == 1 { radio(budget) } else { Profile { rate: 50, ..Profile::default() } };
            Settings { bearers: vec![bearer], ..Settings::default() }
        }
    };
    for (class, counter) in [
        (Class::Bulk, Counter::AirDroppedBulk),
        (Class::Telemetry, Counter::AirDroppedTelemetry),
        (Class::Control, Counter::AirDroppedControl),
        (Class::Alarm, Counter::AirDroppedAlarm),
    ] {
        let mut mesh = Mesh::with(&["a", "relay", "b"], settings(seconds(20)));
        mesh.connect(0, 1);
        mesh.connect(1, 2);
        mesh.run(seconds(30));
        for _ in 0..300 {
            let send = Send { class, ..message("b", &[0; 900], Ack::None, 3_000) };
            mesh.command(0, Command::Send(send));
            mesh.run(Duration::from_millis(300));
        }
        let (arrived, dropped) = (mesh.inbox(2).len(), mesh.counted(1, counter));
        assert!(arrived > 10 && dropped > 10, "{class:?}: {arrived} arrived, {dropped} dropped");
        mesh.run(seconds(2_900));
        assert!(worst_hour(&mesh, 1) <= 20.0, "{class:?}: {} s", worst_hour(&mesh, 1));
    }
}

#[test]
fn the_mesh_itself_is_held_to_its_part() {
    let settings = |at| {
        let bearer = if at == 1 { radio(seconds(12)) } else { Profile { rate: 50, ..Profile::default() } };
        Settings { bearers: vec![bearer], ..Settings::default() }
    };
    let mut mesh = Mesh::with(&["a", "relay", "b"], settings);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(30));
    // Each of these is answered by the relay with a control frame.
    for _ in 0..400 {
        let send = Send { class: Class::Alarm, ..message("relay", &[0; 10], Ack::Hop, 3_000) };
        mesh.command(0, Command::Send(send));
        mesh.run(Duration::from_millis(200));
    }
    assert!(worst_hour(&mesh, 1) <= 12.0, "{} s", worst_hour(&mesh, 1));
    assert!(mesh.counted(1, Counter::AirDroppedMesh) > 0);
}

#[test]
fn a_link_that_takes_no_bulk_still_takes_alarms() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    let link = mesh.link(0, 1).expect("a link");
    mesh.handle(0, Input::Blocked(link, Class::Telemetry));
    let waiting = [Class::Bulk, Class::Telemetry].map(|class| send(&mut mesh, 0, "b", class, 10, 60));
    let urgent = [Class::Control, Class::Alarm].map(|class| send(&mut mesh, 0, "b", class, 10, 60));
    mesh.run(seconds(1));
    assert_eq!((delivered(&mesh, &urgent), delivered(&mesh, &waiting)), (2, 0));
    mesh.handle(0, Input::Blocked(link, Class::Bulk));
    mesh.run(seconds(1));
    assert_eq!((delivered(&mesh, &waiting[1..]), delivered(&mesh, &waiting[..1])), (1, 0), "telemetry may leave again");
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, &waiting), 2);
}

/// Invariant 1 of engine::neighbours::air.
#[test]
fn nothing_is_on_air_before_its_lease_is_on_disk() {
    let mut mesh = Mesh::with(&["a", "b"], over(&radio(seconds(36))));
    mesh.stuck.insert(0);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    assert!(!mesh.given.iter().any(|(_, at, _)| *at == 0), "the first lease is not durable");
    mesh.stuck.remove(&0);
    mesh.run(seconds(5));
    let first = mesh.given.iter().find(|(_, at, _)| *at == 0).map(|(at, ..)| *at);
    assert!(first.is_some_and(|at| at >= Time(1_000_000) + seconds(5) - FRAME), "{first:?}");
}

#[test]
fn no_more_is_sealed_than_a_slow_link_carries_soon_and_the_link_never_stands_idle() {
    let slow = Profile { name: "vhf".into(), rate: 10, overhead: 0, ..Profile::default() };
    let mut mesh = Mesh::with(&["a", "b"], over(&slow));
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    let given = |mesh: &Mesh| mesh.given.iter().filter(|(_, at, _)| *at == 0).map(|(_, _, bytes)| bytes).sum::<usize>();
    let before = given(&mesh);
    let bulk: Vec<Token> = (0..500).map(|_| send(&mut mesh, 0, "b", Class::Bulk, 400, 600)).collect();
    mesh.run(Duration::from_millis(100));
    let at_once = given(&mesh) - before;
    assert!((1_000..6_000).contains(&at_once), "a frame, and not all that waits: {at_once} bytes");
    let alarm = send(&mut mesh, 0, "b", Class::Alarm, 40, 10);
    mesh.run(Duration::from_millis(100));
    assert_eq!(delivered(&mesh, &[alarm]), 1);
    mesh.run(seconds(60));
    let rate = (given(&mesh) - before) as f64 / 60.2;
    assert!((1_150.0..1_400.0).contains(&rate), "{rate} bytes a second of 1,250");
    assert!(delivered(&mesh, &bulk) >= 140, "{}", delivered(&mesh, &bulk));
}
