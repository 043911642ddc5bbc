//! Messages over several hops: found, repaired, exactly once; to leaves; to groups.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::link::bearer::Profile;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::MAX_HOPS;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn delivered(mesh: &Mesh, token: Token) -> Option<u32> {
    match mesh.ended.get(&token) {
        Some(Outcome::Delivered { hops, .. }) => Some(*hops),
        _ => None,
    }
}

/// a – b – c – d.
fn line() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    mesh
}

/// a – b – c and a – d – e – c.
fn ring() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"]);
    for (one, other) in [(0, 1), (1, 2), (0, 3), (3, 4), (4, 2)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    mesh
}

#[test]
fn a_message_finds_its_way_over_three_hops_and_its_receipt_back() {
    let mut mesh = line();
    let token = mesh.send(0, "d", b"far", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, token), Some(3));
    assert_eq!(mesh.inbox(3).len(), 1);
    let back = mesh.send(3, "a", b"and back", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, back), Some(3));
}

/// Invariant 2 of engine::routing::routes.
#[test]
fn a_cut_link_is_routed_around_and_what_was_under_way_is_not_lost() {
    let mut mesh = ring();
    let token = mesh.send(0, "c", b"short way", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, token), Some(2));
    let token = mesh.send(0, "c", b"on its way", Ack::End, 30);
    mesh.disconnect(1, 2);
    mesh.run(Duration::from_millis(300));
    assert_eq!(delivered(&mesh, token), Some(3));
    assert_eq!(mesh.inbox(2).len(), 2);
}

#[test]
fn a_relay_that_loses_its_next_hop_finds_another_way_itself() {
    let mut mesh = ring();
    mesh.connect(1, 4);
    mesh.run(seconds(3));
    let token = mesh.send(0, "c", b"warm", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(delivered(&mesh, token).is_some());
    // The frame has left a when b loses c: b itself goes over e.
    let token = mesh.send(0, "c", b"under way", Ack::End, 30);
    mesh.disconnect(1, 2);
    mesh.carried.clear();
    mesh.run(Duration::from_millis(12));
    assert_eq!(mesh.inbox(2).len(), 2);
    assert!(mesh.carried.contains_key(&(1, 4)), "{:?}", mesh.carried);
    assert_eq!(mesh.counted(1, Counter::DataRepaired), 1);
    mesh.run(seconds(1));
    assert!(delivered(&mesh, token).is_some());
}

/// Invariant 1 of engine::routing::forward.
#[test]
fn a_frame_that_comes_back_to_its_sender_goes_no_further() {
    // a – b – c – d and a – e – c; the other way to d is a long one: a – x – y – z – d.
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e", "x", "y", "z"]);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (0, 4), (4, 2), (0, 5), (5, 6), (6, 7), (7, 3)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    let token = mesh.send(0, "d", b"on its way", Ack::End, 30);
    // c finds no way but by a, which it does not know to be the sender.
    mesh.disconnect(2, 3);
    mesh.carried.clear();
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(0, Counter::DataLooped), 1);
    assert_eq!((delivered(&mesh, token), mesh.inbox(3).len()), (Some(4), 1));
}

#[test]
fn a_black_hole_is_left_after_a_few_messages() {
    let mut mesh = ring();
    // b takes everything and hands nothing on.
    mesh.vanish.insert((1, 2));
    let mut lost = 0;
    for at in 0..10_u8 {
        let token = mesh.send(0, "c", &[at], Ack::End, 60);
        mesh.run(seconds(3));
        lost += usize::from(delivered(&mesh, token).is_none());
    }
    assert!(lost < 10, "none of ten got through");
    mesh.run(seconds(60));
    assert_eq!(mesh.inbox(2).len(), 10);
    let token = mesh.send(0, "c", b"clean", Ack::End, 30);
    mesh.run(Duration::from_millis(100));
    assert_eq!(delivered(&mesh, token), Some(3));
}

#[test]
fn a_receiver_that_was_restarted_is_reached_again_over_relays() {
    let mut mesh = line();
    let token = mesh.send(0, "d", b"one", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(delivered(&mesh, token).is_some());
    mesh.restart(3);
    mesh.connect(2, 3);
    mesh.run(seconds(3));
    let token = mesh.send(0, "d", b"two", Ack::End, 30);
    mesh.run(seconds(2));
    assert_eq!(delivered(&mesh, token), Some(3));
    let payloads: Vec<_> = mesh.inbox(3).into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, [b"one", b"two"]);
}

#[test]
fn a_relay_whose_restart_one_end_did_not_notice_is_a_relay_again() {
    let mut mesh = line();
    let token = mesh.send(0, "d", b"one", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(delivered(&mesh, token).is_some());
    mesh.restart_unseen(1, 0);
    mesh.run(seconds(8));
    assert_eq!([0, 2].map(|at| mesh.counted(at, Counter::NeighboursRestarted)), [1, 0]);
    let token = mesh.send(0, "d", b"two", Ack::End, 30);
    mesh.run(seconds(2));
    assert_eq!(delivered(&mesh, token), Some(3));
    assert_eq!(mesh.inbox(3).len(), 2);
}

#[test]
fn leaves_reach_each_other_and_move() {
    // leaf x at b, leaf y at d; later x at c.
    let settings = |at| Settings { forwarding: at < 4, ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "d", "x", "y"], settings);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (1, 4), (3, 5)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    let token = mesh.send(4, "y", b"from leaf to leaf", Ack::End, 30);
    mesh.run(seconds(3));
    assert!(delivered(&mesh, token).is_some(), "{:?}", mesh.ended.get(&token));
    let token = mesh.send(0, "x", b"to a leaf", Ack::End, 30);
    mesh.run(seconds(3));
    assert_eq!(delivered(&mesh, token), Some(2));
    mesh.disconnect(1, 4);
    mesh.connect(2, 4);
    let token = mesh.send(0, "x", b"after it moved", Ack::End, 30);
    mesh.run(seconds(3));
    assert_eq!(delivered(&mesh, token), Some(3));
    assert_eq!(mesh.inbox(4).len(), 2);
    assert_eq!(mesh.inbox(5).len(), 1);
}

/// Invariant 2 of engine::routing::routes.
#[test]
fn what_is_under_way_to_a_leaf_follows_it_at_once() {
    // Leaf x leaves the reach of b while a message is on its way, and comes into that of c.
    let settings = |at| Settings { forwarding: at < 3, ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "x"], settings);
    for (one, other) in [(0, 1), (0, 2), (1, 3)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    let token = mesh.send(0, "x", b"warm", Ack::End, 30);
    mesh.run(seconds(3));
    assert_eq!(delivered(&mesh, token), Some(2));
    mesh.vanish.extend([(1, 3), (3, 1)]);
    let token = mesh.send(0, "x", b"on its way", Ack::End, 30);
    mesh.run(Duration::from_millis(100));
    mesh.connect(2, 3);
    mesh.disconnect(1, 3);
    mesh.run(Duration::from_millis(400));
    assert_eq!(delivered(&mesh, token), Some(2));
    assert_eq!(mesh.inbox(3).len(), 2);
}

#[test]
fn a_leaf_and_its_router_that_hear_each_other_no_more_go_over_another() {
    // x has links to a and b; the one to a falls silent, but stands.
    let settings = |at| Settings { forwarding: at < 2, ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "x"], settings);
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    mesh.silence(2, 0, true);
    mesh.silence(0, 2, true);
    mesh.run(seconds(1));
    let there = mesh.send(2, "a", b"to the router", Ack::End, 30);
    let back = mesh.send(0, "x", b"to the leaf", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!((delivered(&mesh, there), delivered(&mesh, back)), (Some(2), Some(2)));
}

#[test]
fn a_question_that_nobody_is_left_to_be_asked_waits_for_somebody() {
    let settings = |at| Settings { forwarding: at < 2, ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "x", "y"], settings);
    for (one, other) in [(0, 1), (0, 2)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    // Nobody has y yet, and then x hears nobody either: whoever looked again at once, forever, would not end here.
    let token = mesh.send(2, "y", b"wherever it is", Ack::End, 600);
    mesh.run(seconds(1));
    mesh.disconnect(0, 2);
    mesh.run(seconds(120));
    assert_eq!(delivered(&mesh, token), None);
    mesh.connect(1, 3);
    mesh.connect(0, 2);
    mesh.run(seconds(2));
    assert_eq!(delivered(&mesh, token), Some(3));
}

#[test]
fn a_publication_crosses_routers_that_do_not_listen() {
    let mut mesh = line();
    let listens = mesh.command(3, Command::subscribe("plant/#"));
    mesh.run(seconds(2));
    let publish = Command::Publish {
        topic: "plant/a".into(),
        payload: b"21".to_vec(),
        policy: None,
        lifetime: seconds(30),
        confirm: None,
        latest: false,
    };
    let token = mesh.command(0, publish.clone());
    mesh.run(seconds(3));
    assert!(
        matches!(mesh.ended.get(&token), Some(Outcome::Sent { neighbours: 1.., .. })),
        "{:?}",
        mesh.ended.get(&token)
    );
    mesh.command(0, publish);
    mesh.run(seconds(1));
    let heard =
        mesh.nodes[3].replies.iter().filter(|(of, reply)| *of == listens && matches!(reply, Reply::Published(_)));
    assert_eq!(heard.count(), 2);
}

#[test]
fn a_narrow_link_carries_long_messages_in_pieces() {
    let narrow = Profile { name: "radio".into(), mtu: 400, ..Profile::default() };
    let settings = move |_| Settings { bearers: vec![narrow.clone()], ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c"], settings);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let long: Vec<u8> = (0..20_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for node in &mut mesh.nodes {
        node.sent.clear();
    }
    let token = mesh.send(0, "c", &long, Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, token), Some(2));
    assert_eq!(mesh.inbox(2)[0].payload, long);
    let longest = mesh.nodes.iter().flat_map(|node| &node.sent).map(Vec::len).max();
    assert!(longest.is_some_and(|longest| (100..=400).contains(&longest)), "{longest:?}");
}

#[test]
fn areas_are_joined_at_their_borders() {
    // a – b in area 0, c – d in area 1, b – c between them.
    let settings = |at| Settings { area: u32::from(at > 1), ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], settings);
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    let token = mesh.send(0, "d", b"into the other area", Ack::End, 30);
    mesh.run(seconds(5));
    assert_eq!(delivered(&mesh, token), Some(3), "{:?}", mesh.ended.get(&token));
    let token = mesh.send(3, "a", b"and back", Ack::End, 30);
    mesh.run(seconds(5));
    assert_eq!(delivered(&mesh, token), Some(3), "{:?}", mesh.ended.get(&token));
}

#[test]
fn a_neighbour_that_does_not_answer_is_left_and_taken_up_again() {
    let mut mesh = ring();
    let token = mesh.send(0, "c", b"short way", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(delivered(&mesh, token), Some(2));
    mesh.silence(0, 1, true);
    let token = mesh.send(0, "c", b"the long way", Ack::End, 30);
    mesh.run(Duration::from_millis(200));
    assert_eq!(delivered(&mesh, token), Some(3));
    mesh.silence(0, 1, false);
    mesh.run(seconds(5));
    mesh.silence(0, 3, true);
    let token = mesh.send(0, "c", b"the short way", Ack::End, 30);
    mesh.run(Duration::from_millis(200));
    assert_eq!(delivered(&mesh, token), Some(2));
}

#[test]
fn nobody_is_reached_where_nothing_leads() {
    let mut mesh = line();
    mesh.disconnect(1, 2);
    mesh.run(seconds(2));
    let token = mesh.send(0, "d", b"apart", Ack::End, 5);
    mesh.run(seconds(6));
    let Some(Outcome::Unreachable { reason }) = mesh.ended.get(&token) else {
        panic!("{:?}", mesh.ended.get(&token));
    };
    assert!(reason.contains("no links lead there"), "{reason}");
    assert_eq!(mesh.nodes[0].engine.outgoing_open(), 0);
}

#[test]
fn what_was_lost_with_a_connection_is_told_again() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    mesh.connect(0, 1);
    mesh.connect(2, 3);
    // Of two connections between b and c one broke, and what c had said over it is lost.
    mesh.vanish.insert((2, 1));
    mesh.connect(1, 2);
    mesh.run(seconds(20));
    mesh.vanish.clear();
    mesh.run(seconds(20));
    let token = mesh.send(0, "d", b"lost", Ack::End, 5);
    mesh.run(seconds(6));
    assert_eq!(delivered(&mesh, token), None, "b does not know that c is a router");
    mesh.breaks(1, 2);
    assert_eq!([1, 2].map(|at| mesh.counted(at, Counter::ConnectionsBroken)), [1, 1]);
    mesh.run(seconds(2));
    let token = mesh.send(0, "d", b"found", Ack::End, 5);
    mesh.run(seconds(2));
    assert_eq!(delivered(&mesh, token), Some(3));
}

#[test]
fn routes_are_shown_while_they_stand() {
    let mut mesh = line();
    let shown = |mesh: &mut Mesh| {
        let token = mesh.command(0, Command::Routes);
        let Some(Reply::Routes(view)) = mesh.reply(0, token) else { unreachable!("an answer") };
        view.routes.iter().map(|route| route.to.clone()).collect::<Vec<_>>()
    };
    for to in ["b", "d"] {
        mesh.send(0, to, b"x", Ack::End, 30);
    }
    mesh.run(seconds(1));
    assert_eq!(shown(&mut mesh), ["b", "d"]);
    mesh.disconnect(2, 3);
    mesh.run(seconds(1));
    assert_eq!(shown(&mut mesh), ["b"], "a link far away is gone");
    mesh.disconnect(0, 1);
    mesh.run(seconds(1));
    assert_eq!(shown(&mut mesh), Vec::<String>::new());
    mesh.connect(0, 1);
    mesh.run(seconds(1));
    mesh.send(0, "b", b"x", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(shown(&mut mesh), ["b"]);
}

#[test]
fn a_message_crosses_as_many_hops_as_its_frame_has_room_for() {
    let names: Vec<String> = (0..=MAX_HOPS + 1).map(|at| format!("n{at}")).collect();
    let mut mesh = Mesh::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (0..=MAX_HOPS).for_each(|at| mesh.connect(at, at + 1));
    mesh.run(seconds(30));
    let there = mesh.send(0, &names[MAX_HOPS], b"far", Ack::End, 30);
    let back = mesh.send(MAX_HOPS, "n0", b"and back", Ack::End, 30);
    let beyond = mesh.send(0, &names[MAX_HOPS + 1], b"too far", Ack::End, 5);
    mesh.run(seconds(6));
    let hops = u32::try_from(MAX_HOPS).expect("few");
    assert_eq!((delivered(&mesh, there), delivered(&mesh, back)), (Some(hops), Some(hops)));
    let Some(Outcome::Unreachable { reason }) = mesh.ended.get(&beyond) else {
        panic!("{:?}", mesh.ended.get(&beyond));
    };
    assert!(reason.contains("hops"), "{reason}");
}
