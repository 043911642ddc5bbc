//! What subscribers are promised of publications: all of them, in order, once, in time, and told of what they missed.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Missed, Outcome, Refused, Reply, Token};
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::{Frames, Kind};
use std::time::Duration;

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn publish(mesh: &mut Mesh, at: usize, topic: &str, number: u32, lifetime: Duration) -> Token {
    let payload = number.to_be_bytes().to_vec();
    mesh.command(
        at,
        Command::Publish { topic: topic.into(), payload, policy: None, lifetime, confirm: None, latest: false },
    )
}

pub fn subscribe(mesh: &mut Mesh, at: usize, filter: &str) -> Token {
    mesh.command(at, Command::subscribe(filter))
}

/// What a subscription has heard: each number, with how many were told to be missing before it.
pub fn heard(mesh: &Mesh, at: usize, of: Token) -> Vec<(u32, u64)> {
    let message = |(token, reply): &(Token, Reply)| match reply {
        Reply::Published(published) if *token == of => {
            Some((u32::from_be_bytes(published.payload.as_slice().try_into().expect("four bytes")), published.lost))
        }
        _ => None,
    };
    mesh.nodes[at].replies.iter().filter_map(message).collect()
}

/// What it has been told to be missing at the end of a stream.
pub fn missed(mesh: &Mesh, at: usize, of: Token) -> Vec<Missed> {
    let told = |(token, reply): &(Token, Reply)| match reply {
        Reply::Missed(missed) if *token == of => Some(missed.clone()),
        _ => None,
    };
    mesh.nodes[at].replies.iter().filter_map(told).collect()
}

pub fn all(numbers: std::ops::Range<u32>) -> Vec<(u32, u64)> {
    numbers.map(|number| (number, 0)).collect()
}

/// a, b and c in a row, where c listens.
pub fn row() -> (Mesh, Token) {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let listens = subscribe(&mut mesh, 2, "plant/#");
    mesh.run(seconds(3));
    (mesh, listens)
}

#[test]
fn around_a_hub_everybody_hears_everybody() {
    let names: Vec<String> = (0..17).map(|number| format!("n{number}")).collect();
    let mut mesh = Mesh::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (1..17).for_each(|at| mesh.connect(0, at));
    mesh.run(seconds(3));
    let listens: Vec<Token> = (0..17).map(|at| subscribe(&mut mesh, at, "plant/#")).collect();
    mesh.run(seconds(3));
    for number in 0..5 {
        for at in 0..17 {
            publish(&mut mesh, at, &format!("plant/{at}"), number, seconds(30));
        }
        mesh.run(millis(100));
    }
    mesh.run(seconds(2));
    for (at, listens) in listens.into_iter().enumerate() {
        assert_eq!(heard(&mesh, at, listens).len(), 5 * 17, "at {at}");
    }
}

#[test]
fn what_is_published_one_by_one_in_a_hurry_shares_frames() {
    let (mut mesh, listens) = row();
    mesh.forget_past();
    for number in 0..100 {
        publish(&mut mesh, 0, "plant/x", number, seconds(30));
        mesh.run(Duration::from_micros(100));
    }
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, listens), all(0..100));
    let frames = |sent: &&Vec<u8>| {
        Frames(sent).next().is_some_and(|frame| frame.is_ok_and(|frame| frame.kind == Kind::Group as u8))
    };
    let frames = mesh.nodes[0].sent.iter().filter(frames).count();
    assert!((10..=11).contains(&frames), "{frames} frames in ten milliseconds");
    // Who publishes now and then waits for nothing.
    for number in 0..5 {
        let token = publish(&mut mesh, 0, "plant/x", number, seconds(30));
        assert_eq!(mesh.ended.get(&token), Some(&Outcome::Sent { latency_us: 0, neighbours: 1 }));
        mesh.run(millis(2));
    }
}

/// Invariant 1 of engine::groups::confirmations.
#[test]
fn devices_that_hand_a_publication_to_a_subscriber_confirm_it_where_that_is_asked_for() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    (1..4).for_each(|at| mesh.connect(0, at));
    mesh.run(seconds(3));
    let ask = |mesh: &mut Mesh, devices, lifetime| {
        let (topic, payload) = ("plant/stop".to_owned(), 7_u32.to_be_bytes().to_vec());
        mesh.command(
            1,
            Command::Publish { topic, payload, policy: None, lifetime, confirm: Some(devices), latest: false },
        )
    };
    let outcome = |mesh: &Mesh, token: Token| mesh.ended.get(&token).cloned();
    // Nobody listens.
    let alone = ask(&mut mesh, 2, seconds(5));
    mesh.run(seconds(4));
    assert_eq!(outcome(&mesh, alone), None);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, alone), Some(Outcome::Expired { .. })));
    // Two subscriptions of one device are one; the publisher's own is none, nor is one to another topic.
    for (at, filter) in [(0, "plant/go"), (1, "plant/#"), (2, "plant/#"), (2, "plant/stop"), (3, "plant/+")] {
        subscribe(&mut mesh, at, filter);
    }
    mesh.run(seconds(3));
    let enough = ask(&mut mesh, 2, seconds(60));
    mesh.run(seconds(1));
    assert!(
        matches!(outcome(&mesh, enough), Some(Outcome::Heard { subscribers: 2, neighbours: 1, latency_us: 1.. })),
        "{:?}",
        outcome(&mesh, enough)
    );
    let all = ask(&mut mesh, u32::MAX, seconds(5));
    mesh.run(seconds(4));
    assert_eq!(outcome(&mesh, all), None, "there may be more");
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, all), Some(Outcome::Heard { subscribers: 2, .. })));
    // A confirmation that is lost is sent again, and one that comes late is not waited for.
    mesh.vanish.insert((3, 0));
    let late = ask(&mut mesh, 2, seconds(20));
    mesh.run(seconds(10));
    assert_eq!(outcome(&mesh, late), None);
    mesh.vanish.clear();
    mesh.run(seconds(9));
    assert!(matches!(outcome(&mesh, late), Some(Outcome::Heard { subscribers: 2, .. })), "{:?}", outcome(&mesh, late));
    assert_eq!(mesh.counted(1, Counter::ConfirmationsUnasked), 0);
    let first = ask(&mut mesh, 1, seconds(60));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, first), Some(Outcome::Heard { subscribers: 1, .. })));
    assert_eq!(mesh.counted(1, Counter::ConfirmationsUnasked), 1, "the other one's");
    // Those of a frame are confirmed together, and each of them ends.
    mesh.forget_past();
    let many: Vec<Token> = (0..100).map(|_| ask(&mut mesh, 2, seconds(60))).collect();
    mesh.run(seconds(1));
    let all = |token: &Token| matches!(outcome(&mesh, *token), Some(Outcome::Heard { subscribers: 2, .. }));
    assert!(many.iter().all(all));
    let frames = mesh.nodes[2].sent.iter().filter(|frame| frame[4] == Kind::Data as u8).count();
    assert!(frames < 10, "{frames} frames of one subscriber");
}

/// Invariant 2 of engine::groups::confirmations.
#[test]
fn so_many_publications_wait_to_be_confirmed_whether_they_have_left_or_not() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    subscribe(&mut mesh, 1, "plant/#");
    mesh.run(seconds(3));
    let ask = |mesh: &mut Mesh| {
        let (topic, payload, lifetime) = ("plant/x".to_owned(), vec![0; 4], seconds(5));
        mesh.command(
            0,
            Command::Publish { topic, payload, policy: None, lifetime, confirm: Some(u32::MAX), latest: false },
        )
    };
    let refused = |mesh: &Mesh, token| matches!(mesh.reply(0, token), Some(Reply::Refused(Refused::Full(_))));
    let tokens: Vec<Token> = (0..5_000).map(|_| ask(&mut mesh)).collect();
    assert_eq!(tokens.iter().filter(|token| refused(&mesh, **token)).count(), 5_000 - 4_096);
    mesh.run(seconds(6));
    assert_eq!(tokens.iter().filter(|token| mesh.ended.contains_key(token)).count(), 4_096);
    // All their places are free again, also of those that could not leave.
    mesh.disconnect(0, 1);
    mesh.run(seconds(10));
    for _ in 0..2 {
        let tokens: Vec<Token> = (0..4_096).map(|_| ask(&mut mesh)).collect();
        assert!(!tokens.iter().any(|token| refused(&mesh, *token)));
        mesh.run(seconds(10));
    }
}

#[test]
fn what_was_published_while_a_link_was_cut_comes_when_it_is_mended() {
    let (mut mesh, listens) = row();
    for number in 0..60 {
        if number == 20 {
            mesh.disconnect(1, 2);
        }
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(100));
    }
    assert_eq!(heard(&mesh, 2, listens), all(0..20));
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    assert_eq!(heard(&mesh, 2, listens), all(0..60));
}

#[test]
fn a_relay_that_crashes_takes_nothing_with_it() {
    let (mut mesh, listens) = row();
    for number in 0..60 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(20));
        if number == 30 {
            mesh.restart(1);
            mesh.connect(1, 2);
        }
        if number == 40 {
            mesh.connect(0, 1);
        }
    }
    mesh.run(seconds(8));
    assert_eq!(heard(&mesh, 2, listens), all(0..60));
}

#[test]
fn what_is_published_before_there_is_a_link_leaves_when_there_is_one() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(1));
    mesh.restart(0);
    mesh.run(millis(20));
    publish(&mut mesh, 0, "plant/x", 1, seconds(60));
    mesh.run(millis(80));
    mesh.connect(0, 1);
    publish(&mut mesh, 0, "plant/x", 2, seconds(60));
    mesh.run(seconds(20));
    assert_eq!(heard(&mesh, 2, listens), all(0..3));
    assert!(mesh.counted(0, Counter::GroupFramesOwn) > 0, "what it published before comes back to it");
}

#[test]
fn a_burst_to_a_topic_of_its_own_arrives_whole() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/calm", 0, seconds(60));
    mesh.run(seconds(3));
    let now = mesh.now;
    for number in 1..2_001_u32 {
        let (topic, mut payload) = ("plant/flood".to_owned(), number.to_be_bytes().to_vec());
        payload.resize(200, 0);
        let command =
            Command::Publish { topic, payload, policy: None, lifetime: seconds(60), confirm: None, latest: false };
        mesh.nodes[0].engine.handle(Input::Command { token: Token(1_000_000 + u64::from(number)), command }, now);
    }
    mesh.handle(0, Input::Timeout);
    mesh.run(seconds(20));
    let count = |reply: &&(Token, Reply)| reply.0 == listens && matches!(reply.1, Reply::Published(_));
    assert_eq!(mesh.nodes[2].replies.iter().filter(count).count(), 2_001);
}

/// Invariant 1 of engine::groups::missing.
#[test]
fn what_came_too_late_is_told_to_those_whom_it_concerns() {
    let (mut mesh, all_of_it) = row();
    let (one, other) = (subscribe(&mut mesh, 2, "plant/x"), subscribe(&mut mesh, 2, "plant/y"));
    mesh.run(seconds(2));
    publish(&mut mesh, 0, "plant/x", 0, seconds(30));
    publish(&mut mesh, 0, "plant/y", 0, seconds(30));
    mesh.run(seconds(1));
    mesh.disconnect(1, 2);
    for number in 1..6 {
        publish(&mut mesh, 0, "plant/x", number, seconds(1));
    }
    mesh.run(seconds(3));
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "plant/y", 1, seconds(30));
    mesh.run(seconds(12));
    assert_eq!(heard(&mesh, 2, other), all(0..2));
    publish(&mut mesh, 0, "plant/x", 6, seconds(30));
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, one), [(0, 0), (6, 5)]);
    assert_eq!(heard(&mesh, 2, all_of_it), [(0, 0), (0, 0), (1, 0), (6, 5)]);
    assert_eq!(heard(&mesh, 2, other), all(0..2));
}

/// Invariant 2 of engine::groups::missing.
#[test]
fn what_was_missed_last_is_told_when_the_stream_ends() {
    let (mut mesh, listens) = row();
    let other = subscribe(&mut mesh, 2, "plant/y");
    mesh.run(seconds(2));
    for topic in ["plant/x", "plant/y"] {
        publish(&mut mesh, 0, topic, 0, seconds(30));
    }
    mesh.run(seconds(1));
    mesh.disconnect(1, 2);
    for number in 1..4 {
        publish(&mut mesh, 0, "plant/x", number, seconds(1));
    }
    mesh.run(seconds(3));
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    assert_eq!(missed(&mesh, 2, listens), []);
    // Nothing is published for ten minutes.
    mesh.run(seconds(620));
    let told = missed(&mesh, 2, listens);
    assert_eq!(told.iter().map(|missed| (missed.topic.as_str(), missed.lost)).collect::<Vec<_>>(), [("plant/x", 3)]);
    assert_eq!(missed(&mesh, 2, other), []);
    publish(&mut mesh, 0, "plant/x", 4, seconds(30));
    mesh.run(seconds(4));
    assert_eq!(heard(&mesh, 2, listens), [(0, 0), (0, 0), (4, 0)]);
}

#[test]
fn who_comes_later_hears_what_comes_later_and_misses_nothing() {
    let (mut mesh, _) = row();
    for number in 0..50 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(50));
    }
    let late = subscribe(&mut mesh, 2, "plant/#");
    let elsewhere = subscribe(&mut mesh, 1, "plant/+");
    mesh.run(seconds(3));
    for number in 50..55 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
    }
    mesh.run(seconds(3));
    assert_eq!(heard(&mesh, 2, late), all(50..55));
    assert_eq!(heard(&mesh, 1, elsewhere), all(50..55));
}

#[test]
fn streams_follow_each_other_across_epochs_and_restarts() {
    let (mut mesh, listens) = row();
    let mut number = 0;
    // An epoch is an hour; a minute and a half around its turn.
    let turn = seconds(3_600 - 45 - 9);
    mesh.run(turn);
    for _ in 0..900 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        number += 1;
        mesh.run(millis(100));
    }
    mesh.run(seconds(2));
    let (before, heard_so_far) = (number, heard(&mesh, 2, listens));
    assert_eq!(heard_so_far, all(0..before));
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    for _ in 0..20 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        number += 1;
        mesh.run(millis(100));
    }
    mesh.run(seconds(2));
    let told = heard(&mesh, 2, listens);
    assert_eq!(told[before as usize..], all(before..number));
}

/// Invariant 2 of engine::groups::tree.
#[test]
fn a_neighbour_that_takes_nothing_holds_publishers_up_for_a_moment_and_fetches_what_it_missed() {
    let (mut mesh, listens) = row();
    let link = mesh.link(0, 1).expect("a link");
    mesh.handle(0, Input::Blocked(link, Class::Alarm));
    let token = publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(millis(1_500));
    assert_eq!(mesh.ended.get(&token), None, "it waits");
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Sent { neighbours: 0, .. })), "and not for ever");
    for number in 1..10 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(10));
    }
    assert_eq!((heard(&mesh, 2, listens).len(), mesh.counted(0, Counter::GroupFramesPutOff)), (0, 10));
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(2));
    assert_eq!(heard(&mesh, 2, listens), all(0..10));
    assert_eq!(mesh.counted(0, Counter::GroupFramesRepaired), 10);
}

#[test]
fn what_a_neighbour_that_stood_still_was_not_asked_for_in_time_is_asked_for_later() {
    let (mut mesh, listens) = row();
    let link = mesh.link(1, 2).expect("a link");
    mesh.handle(1, Input::Blocked(link, Class::Alarm));
    for number in 0..600 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(2));
    }
    let asked = |mesh: &Mesh| mesh.nodes[2].sent.iter().filter(|frame| frame[4] == Kind::GroupWant as u8).count();
    let before = asked(&mesh);
    mesh.handle(1, Input::Writable(link));
    while asked(&mesh) == before {
        mesh.run(millis(1));
    }
    // It has been asked for as many as may be asked for at a time, and finds that when it goes on.
    mesh.stop(1);
    mesh.run(seconds(4));
    mesh.go_on(1);
    mesh.run(seconds(20));
    assert_eq!(heard(&mesh, 2, listens), all(0..600));
    assert!(mesh.counted(2, Counter::GroupRepairsFailed) > 0, "some were given up");
}

/// Invariant 2 of engine::groups::multicast.
#[test]
fn a_thousand_groups_are_heard_and_one_more_is_refused() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let listens: Vec<Token> = (0..1_024).map(|group| subscribe(&mut mesh, 2, &format!("g{group}/#"))).collect();
    let beyond = subscribe(&mut mesh, 2, "more/#");
    assert!(matches!(mesh.reply(2, beyond), Some(Reply::Refused(Refused::Full(_)))));
    mesh.run(seconds(3));
    for group in 0..1_024 {
        publish(&mut mesh, 0, &format!("g{group}/x"), group, seconds(60));
    }
    let refused = publish(&mut mesh, 0, "more/x", 0, seconds(60));
    assert!(matches!(mesh.reply(0, refused), Some(Reply::Refused(Refused::Full(_)))));
    mesh.run(seconds(5));
    for (group, listens) in (0..).zip(listens) {
        assert_eq!(heard(&mesh, 2, listens), [(group, 0)], "of group {group}");
    }
}

/// Invariant 1 of engine::groups::publishing.
#[test]
fn a_publication_has_its_own_deadline_whatever_leaves_with_it() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(2));
    let link = mesh.link(0, 1).expect("a link");
    mesh.handle(0, Input::Blocked(link, Class::Alarm));
    let long = publish(&mut mesh, 0, "plant/x", 1, seconds(60));
    let short = publish(&mut mesh, 0, "plant/x", 2, seconds(1));
    mesh.run(millis(1_500));
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&long), Some(Outcome::Sent { neighbours: 1, .. })));
    assert!(matches!(mesh.ended.get(&short), Some(Outcome::Expired { .. })), "{:?}", mesh.ended.get(&short));
    assert_eq!(heard(&mesh, 2, listens), all(0..2));
}
