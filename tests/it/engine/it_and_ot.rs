//! A realm of two segments with a border between them: what is of one is not written, called or heard in the other but as the policy says.

use super::mesh::{Mesh, message};
use super::multicast::{all, heard, publish, seconds, subscribe};
use super::outcome;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Reply};
use m2mesh::id::StreamId;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::bulletin::Segment;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::{GroupBatch, GroupMessage};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::Duration;

const IT: u64 = 0b010;
const OT: u64 = 0b100;
/// Places of the nodes: `office – desk – border – pump – meter`.
const OFFICE: usize = 0;
const BORDER: usize = 2;
const PUMP: usize = 3;
const METER: usize = 4;

/// The border is in both segments; `reaches` is what the policy lets the office's segment reach.
fn plant(reaches: u64) -> Mesh {
    let nodes = [("office", IT), ("desk", IT), ("border", IT | OT), ("pump", OT), ("meter", OT)];
    let segments = vec![
        Segment { bit: 1, name: "it".into(), reaches: reaches.to_be_bytes() },
        Segment { bit: 2, name: "ot".into(), reaches: [0; 8] },
    ];
    let mut mesh = Mesh::in_segments(&nodes, segments, |_| Settings::default());
    for (one, other) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(5));
    mesh
}

fn called(mesh: &Mesh, at: usize) -> usize {
    mesh.nodes[at].replies.iter().filter(|(_, reply)| matches!(reply, Reply::Call(_))).count()
}

fn ask(mesh: &mut Mesh, from: usize, to: &str) -> m2mesh::engine::api::Token {
    let send = message(to, b"open", Ack::End, 10);
    mesh.command(from, Command::Request { send, service: Some("valve".into()) })
}

#[test]
fn without_a_policy_nothing_crosses() {
    let mut mesh = plant(0);
    let listening = [OFFICE, PUMP, METER].map(|at| (at, subscribe(&mut mesh, at, "plant/#")));
    mesh.command(PUMP, Command::Offer { service: "valve".into(), capacity: None });
    mesh.run(seconds(3));
    for number in 0..5 {
        publish(&mut mesh, OFFICE, "plant/valve", number, seconds(30));
        publish(&mut mesh, METER, "plant/flow", 100 + number, seconds(30));
        mesh.run(seconds(1));
    }
    mesh.run(seconds(30));
    assert_eq!(heard(&mesh, OFFICE, listening[0].1), all(0..5), "what is of its own segment");
    assert_eq!(heard(&mesh, PUMP, listening[1].1), all(100..105), "nothing that the office has published");
    assert_eq!(heard(&mesh, METER, listening[2].1), all(100..105));

    let refused = ask(&mut mesh, OFFICE, "pump");
    let sent = mesh.send(OFFICE, "meter", b"open", Ack::End, 10);
    ask(&mut mesh, METER, "pump");
    mesh.run(seconds(15));
    assert!(matches!(outcome(&mesh, OFFICE, refused), Outcome::Unreachable { .. } | Outcome::Expired { .. }));
    assert!(matches!(outcome(&mesh, OFFICE, sent), Outcome::Unreachable { .. } | Outcome::Expired { .. }));
    assert_eq!(called(&mesh, PUMP), 1, "by the meter alone");
    assert_eq!(mesh.inbox(METER).len(), 0);
}

/// A tree for all members of the group would reach the first border over the desk alone, which hands on nothing of the plant.
#[test]
fn publications_go_along_a_tree_within_their_segment() {
    let nodes = [("desk", IT), ("border", IT | OT), ("gate", IT | OT), ("meter", OT)];
    let segment = |bit, name: &str| Segment { bit, name: name.into(), reaches: [0; 8] };
    let mut mesh = Mesh::in_segments(&nodes, vec![segment(1, "it"), segment(2, "ot")], |_| Settings::default());
    let (desk, border, gate, meter) = (0, 1, 2, 3);
    for (one, other, round_trip) in [(desk, border, 2), (desk, gate, 2), (gate, meter, 2), (border, meter, 400)] {
        mesh.connect(one, other);
        mesh.assess(one, other, 0, Duration::from_millis(round_trip));
    }
    let listening = [desk, border, gate].map(|at| (at, subscribe(&mut mesh, at, "plant/#")));
    mesh.run(seconds(10));
    for number in 0..5 {
        publish(&mut mesh, meter, "plant/flow", number, seconds(30));
        // Before what is named beside the tree could be fetched.
        mesh.run(Duration::from_millis(240));
        assert_eq!(heard(&mesh, border, listening[1].1), all(0..number + 1), "{number}");
    }
    mesh.run(seconds(5));
    assert_eq!(heard(&mesh, gate, listening[2].1), all(0..5));
    assert_eq!(heard(&mesh, desk, listening[0].1), all(0..0));
    publish(&mut mesh, border, "plant/order", 9, seconds(30));
    mesh.run(seconds(2));
    assert_eq!(heard(&mesh, desk, listening[0].1), all(9..10), "of the office's segment, over the link to it");
}

#[test]
fn what_the_policy_names_crosses_and_no_more() {
    let mut mesh = plant(OT);
    let office = subscribe(&mut mesh, OFFICE, "plant/#");
    let pump = subscribe(&mut mesh, PUMP, "plant/#");
    mesh.command(PUMP, Command::Offer { service: "valve".into(), capacity: None });
    mesh.run(seconds(3));
    for number in 0..5 {
        publish(&mut mesh, OFFICE, "plant/valve", number, seconds(30));
        publish(&mut mesh, METER, "plant/flow", 100 + number, seconds(30));
        mesh.run(seconds(1));
    }
    mesh.run(seconds(30));
    let mut hears: Vec<_> = heard(&mesh, OFFICE, office).into_iter().map(|(number, _)| number).collect();
    hears.sort_unstable();
    assert_eq!(hears, (0..5).chain(100..105).collect::<Vec<_>>(), "the office reads what the plant publishes");
    assert_eq!(heard(&mesh, PUMP, pump), all(100..105), "and writes nothing there");
    ask(&mut mesh, OFFICE, "pump");
    mesh.run(seconds(5));
    assert_eq!(called(&mesh, PUMP), 1, "a call is answered, since its answer has to come back");
}

/// A device of the office that does not keep to the rule: it has the group's key, and marks its frame as one of the plant's segment.
#[test]
fn a_forged_segment_does_not_pass_the_border() {
    let mut mesh = plant(0);
    let pump = subscribe(&mut mesh, PUMP, "plant/#");
    let border = subscribe(&mut mesh, BORDER, "plant/#");
    mesh.run(seconds(3));
    let unix = mesh.now.unix;
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let frames = [1, 2].map(|segment| {
        let member = mesh.nodes[1].engine.membership();
        let epoch = member.bulletin().epoch_length().epoch_at(unix);
        let own = member.credential(unix).expect("a credential").clone();
        let mut sender = member.groups().sender(&mut rng, ("plant", segment), epoch, own).expect("a key");
        let payload = u32::from(segment).to_be_bytes();
        let messages = vec![GroupMessage { topic: "plant/valve", number: 1, payload: &payload, request: false }];
        let stream = StreamId([segment; 16]);
        let batch = GroupBatch {
            stream,
            first: 1,
            began: unix.0,
            ends: false,
            messages,
            pause: 0,
            asks: false,
            rests: false,
            error: None,
        };
        frame::raw(Kind::Group, &sender.seal(&batch, unix, unix + Duration::from_secs(30)))
    });
    let counted = mesh.counted(BORDER, Counter::GroupFramesOfOtherSegments);
    for bytes in &frames {
        mesh.hand(BORDER, 1, bytes);
        mesh.run(seconds(2));
    }
    mesh.run(seconds(30));
    assert_eq!(heard(&mesh, PUMP, pump), [], "neither frame");
    assert_eq!(
        heard(&mesh, BORDER, border),
        [(1, 0)],
        "the border is of the office's segment too, and hears what is of it"
    );
    assert_eq!(mesh.counted(BORDER, Counter::GroupFramesOfOtherSegments) - counted, 1);
    // Handed in at the pump itself, as by a link that should not be there, it is judged by who made it.
    mesh.hand(PUMP, BORDER, &frames[1]);
    mesh.run(seconds(5));
    assert_eq!(heard(&mesh, PUMP, pump), []);
}

fn sent(mesh: &Mesh, at: usize, kind: Kind) -> usize {
    mesh.nodes[at].sent.iter().filter(|frame| frame[4] == kind as u8).count()
}

/// The office is a neighbour of the border beside the tree too, and would be told there of what is new.
#[test]
fn nobody_is_told_of_publications_of_a_segment_that_is_not_its_own() {
    let mut mesh = plant(0);
    mesh.connect(OFFICE, BORDER);
    for (one, other, took) in [(0, 1, 2), (1, 2, 2), (2, 3, 2), (3, 4, 2), (0, 2, 400)] {
        for _ in 0..20 {
            mesh.measure(one, other, Duration::from_millis(took));
            mesh.measure(other, one, Duration::from_millis(took));
        }
    }
    for at in 0..5 {
        subscribe(&mut mesh, at, "plant/#");
    }
    mesh.run(seconds(60));
    let (told, asked) = (sent(&mesh, BORDER, Kind::GroupHave), sent(&mesh, OFFICE, Kind::GroupWant));
    publish(&mut mesh, OFFICE, "plant/valve", 1, seconds(30));
    mesh.run(seconds(2));
    assert!(sent(&mesh, BORDER, Kind::GroupHave) > told, "what is of the office's segment is named beside the tree");
    let told = sent(&mesh, BORDER, Kind::GroupHave);
    publish(&mut mesh, METER, "plant/flow", 2, seconds(30));
    mesh.run(seconds(10));
    assert_eq!(sent(&mesh, BORDER, Kind::GroupHave), told, "what is of the plant's is not");
    assert_eq!(sent(&mesh, OFFICE, Kind::GroupWant), asked);
}
