//! Streams of a publisher through restarts and turns of an epoch: their order, what is told as missed of them, and what a subscription
//! may ask for from before it.

use super::mesh::Mesh;
use super::multicast::{all, heard, millis, missed, publish, row, seconds, subscribe};
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Past, Token};
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group_repair::Again;
use std::time::Duration;

/// What a publisher that crashed in between has published before and after that, as frames that nobody has got yet.
fn frames_from_before_and_after_a_restart(mesh: &mut Mesh) -> [Vec<Vec<u8>>; 2] {
    [0..2, 2..4].map(|numbers| {
        mesh.run(seconds(5));
        mesh.vanish.insert((0, 1));
        for number in numbers {
            publish(mesh, 0, "plant/x", number, seconds(600));
        }
        mesh.run(seconds(4));
        let frames = mesh.nodes[0].sent.iter().filter(|frame| frame[4] == Kind::Group as u8).cloned().collect();
        mesh.vanish.clear();
        mesh.restart(0);
        mesh.connect(0, 1);
        frames
    })
}

#[test]
fn what_was_published_before_a_restart_is_heard_before_what_came_after_it() {
    let (mut mesh, listens) = row();
    let [before, after] = frames_from_before_and_after_a_restart(&mut mesh);
    assert!(!before.is_empty() && !after.is_empty());
    after.iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(millis(200));
    before.iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, listens), all(0..4));
}

/// Invariant 1 of engine::groups::streams.
#[test]
fn what_was_published_before_a_restart_and_comes_too_late_is_told_as_missed() {
    let (mut mesh, listens) = row();
    let [before, after] = frames_from_before_and_after_a_restart(&mut mesh);
    after.iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(seconds(2));
    assert_eq!(heard(&mesh, 2, listens), all(2..4), "nobody waits for long");
    before.iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(seconds(2));
    assert_eq!(heard(&mesh, 2, listens), all(2..4));
    assert_eq!(missed(&mesh, 2, listens).iter().map(|missed| missed.lost).sum::<u64>(), 2);
    assert!(mesh.counted(2, Counter::GroupFramesOutOfTurn) > 0);
}

#[test]
fn who_comes_after_a_restart_is_told_nothing_of_what_was_published_before_it() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let waiting = subscribe(&mut mesh, 2, "plant/y");
    mesh.run(seconds(3));
    let [before, after] = frames_from_before_and_after_a_restart(&mut mesh);
    let listens = subscribe(&mut mesh, 2, "plant/x");
    mesh.run(seconds(5));
    after.iter().chain(&before).for_each(|frame| {
        mesh.hand(2, 1, frame);
        mesh.run(seconds(1));
    });
    assert!(heard(&mesh, 2, listens).iter().all(|(number, lost)| *number >= 2 && *lost == 0));
    assert!(missed(&mesh, 2, listens).is_empty() && missed(&mesh, 2, waiting).is_empty());
}

/// Invariant 1 of engine::groups::missing.
#[test]
fn who_comes_while_the_beginning_of_a_stream_is_under_way_is_told_nothing_of_it() {
    let (mut mesh, _) = row();
    for (number, under_way) in [(0, 9_000), (2, 1_900)] {
        let group = format!("mill-{number}");
        let waiting = subscribe(&mut mesh, 2, &format!("{group}/y"));
        mesh.run(seconds(5));
        mesh.stop(1);
        // The first of them is of no use any more when b goes on.
        publish(&mut mesh, 0, &format!("{group}/x"), number, seconds(1));
        publish(&mut mesh, 0, &format!("{group}/x"), number + 1, seconds(60));
        mesh.run(millis(under_way - 1_400));
        let listens = subscribe(&mut mesh, 2, &format!("{group}/x"));
        mesh.run(millis(1_400));
        mesh.go_on(1);
        mesh.run(seconds(15));
        assert_eq!(heard(&mesh, 2, listens), [(number + 1, 0)], "{under_way} ms");
        // It may be told that there may be some: a frame that has come late does not say by how much.
        assert!(missed(&mesh, 2, listens).iter().all(|missed| missed.lost == 0), "{under_way} ms");
        assert!(missed(&mesh, 2, waiting).is_empty(), "{under_way} ms");
    }
}

/// A publisher that says something every quarter of an hour has one stream: what was published while the way was cut is heard in order once it is there.
#[test]
fn what_is_published_seldom_is_heard_in_order_after_a_time_without_a_link() {
    let (mut mesh, listens) = row();
    for number in 0..3 {
        publish(&mut mesh, 0, "plant/x", number, seconds(7_200));
        mesh.run(seconds(900));
    }
    assert_eq!(heard(&mesh, 2, listens), all(0..3));
    mesh.disconnect(1, 2);
    for number in 3..7 {
        publish(&mut mesh, 0, "plant/x", number, seconds(if number == 4 { 60 } else { 7_200 }));
        mesh.run(seconds(if number == 6 { 60 } else { 250 }));
    }
    mesh.connect(1, 2);
    mesh.run(seconds(20));
    // One is of no use any more.
    assert_eq!(heard(&mesh, 2, listens), [(0, 0), (1, 0), (2, 0), (3, 0), (5, 1), (6, 0)]);
    mesh.run(seconds(900));
    assert!(missed(&mesh, 2, listens).is_empty(), "and nothing is told twice");
}

fn subscribe_from(mesh: &mut Mesh, at: usize, filter: &str, past: Past) -> Token {
    mesh.command(at, Command::Subscribe { filter: filter.into(), past })
}

/// Invariant 1 of engine::groups::past.
#[test]
fn who_asks_for_the_past_hears_what_is_still_of_use_wherever_it_is_kept() {
    // c has listened all along, b has passed it on; d comes later, and asks b.
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    (0..3).for_each(|at| mesh.connect(at, at + 1));
    mesh.run(seconds(3));
    let listens = subscribe(&mut mesh, 2, "plant/#");
    mesh.run(seconds(3));
    for number in 0..30 {
        let (topic, lifetime) = (["plant/x", "plant/y"][number as usize % 2], [600, 5][usize::from(number < 10)]);
        publish(&mut mesh, 0, topic, number, seconds(lifetime));
        mesh.run(seconds(1));
    }
    assert_eq!(heard(&mesh, 2, listens), all(0..30));
    let even =
        |numbers: std::ops::Range<u32>| numbers.filter(|number| number % 2 == 0).map(|n| (n, 0)).collect::<Vec<_>>();
    let minute = Past { since: Some(seconds(600)), last: None };
    let asked = [0, 2, 3].map(|at| (at, subscribe_from(&mut mesh, at, "plant/x", minute)));
    mesh.run(seconds(5));
    for (at, of) in asked {
        assert_eq!(heard(&mesh, at, of), even(10..30), "at {at}: the first ten are of no use any more");
    }
    let part = subscribe_from(&mut mesh, 2, "plant/x", Past { since: Some(seconds(15)), last: None });
    let last = [0, 2, 3].map(|at| (at, subscribe_from(&mut mesh, at, "plant/x", Past { since: None, last: Some(3) })));
    publish(&mut mesh, 0, "plant/x", 30, seconds(600));
    mesh.run(seconds(5));
    assert_eq!(heard(&mesh, 2, part), even(20..32), "fifteen seconds, and what came since");
    for (at, of) in last {
        assert_eq!(heard(&mesh, at, of), even(24..32), "at {at}: three, and what came since");
    }
    // Nobody else hears anything again.
    assert_eq!(heard(&mesh, 2, listens), all(0..31));
    assert!(missed(&mesh, 3, last[2].1).is_empty());
}

/// How many a subscription was told to have missed besides those told with messages, and how often that there may be others.
fn told_apart(mesh: &Mesh, of: Token) -> (u64, usize) {
    let told = missed(mesh, 2, of);
    (told.iter().map(|missed| missed.lost).sum(), told.iter().filter(|missed| missed.uncertain).count())
}

/// Publishes five that are heard and, while the link between a and b is cut, five that nobody hears in time.
fn publish_half_of_it_to_nobody(mesh: &mut Mesh, number: &mut u32) {
    for cut in [false, true] {
        if cut {
            mesh.disconnect(0, 1);
        }
        for _ in 0..5 {
            publish(mesh, 0, "plant/x", *number, seconds(5));
            *number += 1;
            mesh.run(seconds(1));
        }
    }
    // Until the last has been given up, too.
    mesh.run(seconds(4));
}

#[test]
fn what_was_missed_before_the_turn_of_an_epoch_is_told_after_it_or_that_it_may_be_some() {
    // Who comes within reach within five minutes after the turn is told how many.
    for (apart, told) in [(200, (5, 0)), (900, (0, 1))] {
        let (mut mesh, listens) = row();
        let mut number = 0;
        mesh.run(seconds(3_600 - 60));
        publish_half_of_it_to_nobody(&mut mesh, &mut number);
        mesh.run(seconds(apart));
        mesh.connect(0, 1);
        mesh.run(seconds(5));
        publish(&mut mesh, 0, "plant/x", number, seconds(5));
        mesh.run(seconds(30));
        assert_eq!(heard(&mesh, 2, listens).len(), 6);
        assert_eq!(told_apart(&mesh, listens), told, "{apart} s apart");
    }
}

/// Invariant 2 of engine::groups::missing.
#[test]
fn who_hears_nothing_of_a_whole_epoch_is_told_that_it_may_have_missed_some() {
    let (mut mesh, listens) = row();
    let mut number = 0;
    let mut five = |mesh: &mut Mesh| {
        for _ in 0..5 {
            publish(mesh, 0, "plant/x", number, seconds(5));
            number += 1;
            mesh.run(seconds(1));
        }
    };
    five(&mut mesh);
    mesh.run(seconds(3_600));
    mesh.disconnect(0, 1);
    five(&mut mesh);
    // Longer than anybody takes frames of the epoch that is over.
    mesh.run(seconds(3_600 + 600));
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    let later = subscribe(&mut mesh, 2, "plant/#");
    five(&mut mesh);
    mesh.run(seconds(30));
    assert_eq!((heard(&mesh, 2, listens).len(), told_apart(&mesh, listens)), (10, (0, 1)));
    assert_eq!((heard(&mesh, 2, later).len(), told_apart(&mesh, later)), (5, (0, 0)), "it did not listen then");
    assert!(mesh.counted(2, Counter::GroupStreamsUnended) > 0);
}

/// Invariant 1 of engine::groups::out_streams.
#[test]
fn a_publisher_that_is_stopped_tells_where_it_was_when_it_is_back_and_one_that_crashed_cannot() {
    for (stops, told) in [(2, (5, 0)), (1, (5, 0)), (0, (0, 1))] {
        let (mut mesh, listens) = row();
        let mut number = 0;
        publish_half_of_it_to_nobody(&mut mesh, &mut number);
        for _ in 0..stops {
            let now = mesh.now;
            mesh.nodes[0].engine.stop(now);
            mesh.handle(0, Input::Timeout);
            mesh.run(seconds(1));
            mesh.restart(0);
        }
        if stops == 0 {
            mesh.restart(0);
        }
        mesh.connect(0, 1);
        mesh.run(seconds(5));
        publish(&mut mesh, 0, "plant/x", number, seconds(5));
        mesh.run(seconds(30));
        assert_eq!(heard(&mesh, 2, listens).len(), 6);
        assert_eq!(told_apart(&mesh, listens), told, "stopped in good order {stops} times");
    }
}

#[test]
fn what_is_fetched_late_is_handed_over_by_its_deadline_or_not_at_all_however_far_it_goes() {
    // a – b – c – d – e: the first link is cut while a publishes, so that b fetches what it kept, and the others get it from b.
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"]);
    (0..4).for_each(|at| mesh.connect(at, at + 1));
    mesh.run(seconds(3));
    let listens = [2, 3, 4].map(|at| (at, subscribe(&mut mesh, at, "plant/#")));
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "plant/y", 0, seconds(600));
    mesh.run(seconds(1));
    mesh.restart(3);
    mesh.connect(2, 3);
    mesh.connect(3, 4);
    let again = subscribe(&mut mesh, 3, "plant/#");
    mesh.run(seconds(3));
    mesh.disconnect(0, 1);
    mesh.disconnect(3, 4);
    publish(&mut mesh, 0, "plant/x", 1, seconds(30));
    mesh.run(seconds(12));
    mesh.connect(0, 1);
    mesh.run(seconds(10));
    assert_eq!(heard(&mesh, 3, again).last(), Some(&(1, 0)), "it came with eighteen seconds left");
    // To e it comes too late by far.
    mesh.run(seconds(12));
    mesh.connect(3, 4);
    mesh.run(seconds(5));
    assert_eq!(heard(&mesh, 4, listens[2].1).last(), Some(&(0, 0)));
}

/// a – b – c, where a publishes all the time to b, and c begins to listen while it is apart.
fn begin_to_listen_apart(lifetime: Duration) -> (Mesh, u32, Token) {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    subscribe(&mut mesh, 1, "plant/#");
    mesh.run(seconds(3));
    let mut number = 0;
    let mut publish_for = |mesh: &mut Mesh, tenths: u32| {
        for _ in 0..tenths {
            publish(mesh, 0, "plant/x", number, lifetime);
            number += 1;
            mesh.run(millis(100));
        }
        number
    };
    let from = publish_for(&mut mesh, 50);
    let listens = subscribe(&mut mesh, 2, "plant/#");
    publish_for(&mut mesh, 40);
    mesh.connect(1, 2);
    publish_for(&mut mesh, 100);
    mesh.run(seconds(20));
    (mesh, from, listens)
}

#[test]
fn who_listens_before_it_has_a_link_hears_what_was_published_meanwhile_or_that_it_missed_some() {
    let (mesh, from, listens) = begin_to_listen_apart(seconds(60));
    let told = heard(&mesh, 2, listens);
    assert!(
        told.first().is_some_and(|(first, _)| first.abs_diff(from) < 2),
        "from its beginning on: {:?}",
        told.first()
    );
    assert_eq!(told, all(told[0].0..from + 140));
    assert_eq!(told_apart(&mesh, listens), (0, 0));
    // What is of use for a second nobody has any more.
    let (mesh, from, listens) = begin_to_listen_apart(seconds(1));
    let told = heard(&mesh, 2, listens);
    assert!(told.first().is_some_and(|(first, _)| *first >= from + 28));
    assert_eq!(told, all(told[0].0..from + 140));
    assert_eq!(told_apart(&mesh, listens), (0, 1));
}

#[test]
fn a_stream_of_the_epoch_before_that_comes_late_does_not_end_the_one_that_follows_it() {
    for first in [0, 1] {
        let (mut mesh, listens) = row();
        let frames = frames_around_a_turn(&mut mesh, listens);
        // The one of before the turn is pushed late, when its link is there again, before or after the first of the others; these were
        // fetched of somebody who has had them for a while.
        let mut order = vec![1, 2, 3];
        order.insert(first, 0);
        for at in order {
            mesh.hand(2, 1, &frames[at]);
            mesh.run(seconds(1));
        }
        mesh.run(seconds(2));
        let told: Vec<u32> = heard(&mesh, 2, listens).into_iter().map(|(number, _)| number).collect();
        assert_eq!((told, told_apart(&mesh, listens)), ((first as u32..4).collect(), (first as u64, 0)));
    }
}

/// What a publisher that was restarted just before it publishes before the turn of an epoch, and three times after it.
fn frames_around_a_turn(mesh: &mut Mesh, listens: Token) -> Vec<Vec<u8>> {
    let turn = Duration::from_micros(3_600_000_000 - mesh.now.unix.0 % 3_600_000_000);
    mesh.run(turn - seconds(10));
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    mesh.vanish.insert((1, 2));
    let published = |mesh: &mut Mesh, number| -> Vec<u8> {
        publish(mesh, 0, "plant/x", number, seconds(600));
        mesh.run(seconds(1));
        mesh.nodes[0].sent.iter().rfind(|frame| frame[4] == Kind::Group as u8).expect("one is pushed").clone()
    };
    let mut frames = vec![published(mesh, 0)];
    mesh.run(seconds(10));
    for number in 1..4 {
        let frame = published(mesh, number);
        let mut again = Vec::new();
        let begun = frame::begin(&mut again, Kind::GroupAgain);
        again.extend_from_slice(&Again::of(seconds(3), 0).to_bytes());
        again.extend_from_slice(&frame[6..]);
        frame::finish(&mut again, begun);
        frames.push(again);
    }
    assert_eq!(heard(mesh, 2, listens), []);
    mesh.vanish.clear();
    frames
}

#[test]
fn what_was_published_just_after_a_subscription_began_is_waited_for() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    subscribe(&mut mesh, 1, "plant/#");
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(10));
    mesh.vanish.insert((1, 2));
    let before = mesh.nodes[0].sent.len();
    let listens = subscribe(&mut mesh, 2, "plant/#");
    for number in 1..6 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(100));
    }
    let frames: Vec<_> =
        mesh.nodes[0].sent[before..].iter().filter(|frame| frame[4] == Kind::Group as u8).cloned().collect();
    assert_eq!(frames.len(), 5);
    // The last one is pushed, and the others take a while to be fetched.
    mesh.hand(2, 1, &frames[4]);
    mesh.run(seconds(2));
    frames[..4].iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(millis(500));
    assert_eq!(heard(&mesh, 2, listens), all(1..6));
}

/// Invariant 1 of engine::groups::missing.
#[test]
fn who_begins_to_listen_within_a_gap_is_told_that_it_may_have_missed_some_if_there_were_any() {
    for after in [0, 2] {
        let (mut mesh, all_along) = row();
        publish(&mut mesh, 0, "plant/x", 0, seconds(60));
        publish(&mut mesh, 0, "plant/y", 0, seconds(60));
        mesh.run(seconds(1));
        mesh.disconnect(1, 2);
        let mut publish_apart = |number| {
            publish(&mut mesh, 0, "plant/x", number, seconds(1));
            mesh.run(seconds(3));
        };
        (1..4).for_each(&mut publish_apart);
        let [later, other] = ["plant/x", "plant/y"].map(|filter| subscribe(&mut mesh, 2, filter));
        mesh.run(seconds(3));
        for number in 4..4 + after {
            publish(&mut mesh, 0, "plant/x", number, seconds(1));
            mesh.run(seconds(3));
        }
        mesh.connect(1, 2);
        mesh.run(seconds(3));
        let next = 4 + after;
        publish(&mut mesh, 0, "plant/x", next, seconds(60));
        publish(&mut mesh, 0, "plant/y", 1, seconds(60));
        mesh.run(seconds(20));
        let gap = u64::from(next) - 1;
        assert_eq!(heard(&mesh, 2, all_along), [(0, 0), (0, 0), (next, gap), (1, 0)]);
        assert_eq!(heard(&mesh, 2, later), [(next, 0)]);
        assert_eq!(told_apart(&mesh, later), (0, usize::from(after > 0)), "{after} after it began");
        assert_eq!((heard(&mesh, 2, other), told_apart(&mesh, other)), (vec![(1, 0)], (0, 0)));
        assert_eq!(told_apart(&mesh, all_along), (0, 0));
    }
}

/// Invariant 1 of engine::groups::missing.
#[test]
fn what_lies_between_frames_from_before_a_subscription_is_not_told_to_it() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    subscribe(&mut mesh, 1, "plant/#");
    mesh.run(seconds(3));
    for number in 0..8 {
        // Every other one is gone when c comes, and those that are not come to it too, though they are not for it.
        publish(&mut mesh, 0, "plant/x", number, seconds([600, 1][number as usize % 2]));
        mesh.run(seconds(3));
    }
    let listens = subscribe(&mut mesh, 2, "plant/x");
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "plant/x", 8, seconds(600));
    mesh.connect(1, 2);
    mesh.run(seconds(30));
    publish(&mut mesh, 0, "plant/x", 9, seconds(600));
    mesh.run(seconds(3));
    assert_eq!(heard(&mesh, 2, listens), all(8..10));
    assert_eq!(told_apart(&mesh, listens), (0, 0));
}
