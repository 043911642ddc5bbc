//! Frames stay in their segment: with everybody who makes them, hands them on, or takes them.

use super::mesh::Mesh;
use super::outcome;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome};
use m2mesh::id::{Handle, OuterId, StreamId};
use m2mesh::wire;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::bulletin::Segment;
use m2mesh::wire::data::{Class, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::{GroupBatch, GroupMessage};
use m2mesh::wire::locate::Locate;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::Duration;

/// b – a – c, all in the default segment.
fn relay() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(0, 2);
    mesh.run(Duration::from_secs(3));
    mesh
}

fn sent(mesh: &Mesh, at: usize, kind: Kind) -> usize {
    mesh.nodes[at].sent.iter().filter(|frame| frame[4] == kind as u8).count()
}

fn data(to: Handle, segment: u8, expiry: u64) -> Vec<u8> {
    let policy = Policy::default();
    let header = Header { to, class: Class::Telemetry, form: Form::Session, expiry, policy, segment, mail: None };
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&Path::default()));
    body.extend_from_slice(&[7; 48]);
    frame::raw(Kind::Data, &body)
}

/// Invariant 1 of engine::neighbours::segments.
#[test]
fn a_data_frame_of_another_segment_is_neither_handed_on_nor_opened() {
    let mut mesh = relay();
    let (unix, expiry) = (mesh.now.unix, mesh.now.unix.0 + 30_000_000);
    let handle = |mesh: &mut Mesh, of: usize| {
        mesh.nodes[of].engine.membership().credential(unix).expect("a credential").body.handle
    };
    for (to, handed_on) in [(2, 1), (0, 0)] {
        let to = handle(&mut mesh, to);
        let (before, counted) = (sent(&mesh, 0, Kind::Data), mesh.counted(0, Counter::DataOfOtherSegments));
        mesh.hand(0, 1, &data(to, 5, expiry));
        mesh.hand(0, 1, &data(to, 64, expiry));
        mesh.hand(0, 1, &data(to, 255, expiry));
        assert_eq!(sent(&mesh, 0, Kind::Data), before);
        assert_eq!(mesh.counted(0, Counter::DataOfOtherSegments) - counted, 3);
        mesh.hand(0, 1, &data(to, 0, expiry));
        assert_eq!(sent(&mesh, 0, Kind::Data) - before, handed_on);
        assert_eq!(mesh.counted(0, Counter::DataOfOtherSegments) - counted, 3);
    }
    assert_eq!(mesh.counted(0, Counter::SessionsUnknown), 1, "the last was for a itself");
}

/// Invariant 1 of engine::neighbours::segments.
#[test]
fn where_a_device_is_is_told_to_whoever_shares_a_segment() {
    let mut mesh = relay();
    let unix = mesh.now.unix;
    let handle = mesh.nodes[2].engine.membership().credential(unix).expect("a credential").body.handle;
    for (number, segments, answers) in [(1, 0b10_0000u64, 0), (2, 0, 0), (3, 0b10_0001, 1)] {
        let question = Locate { id: OuterId([number; 8]), handle, ttl: 1, segments: segments.to_be_bytes() };
        mesh.hand(0, 1, &frame::of(Kind::Locate, &question));
        assert_eq!(sent(&mesh, 0, Kind::Located), answers, "{segments:b}");
    }
    assert_eq!(mesh.counted(0, Counter::LocateOfOtherSegments), 2);
}

/// Invariant 1 of engine::neighbours::segments.
#[test]
fn a_group_frame_of_another_segment_is_not_taken() {
    let mut mesh = relay();
    mesh.command(0, Command::subscribe("plant/#"));
    mesh.run(Duration::from_secs(1));
    let unix = mesh.now.unix;
    let member = mesh.nodes[1].engine.membership();
    let epoch = member.bulletin().epoch_length().epoch_at(unix);
    let own = member.credential(unix).expect("a credential").clone();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let frames = [5, 0].map(|segment| {
        let mut sender = member.groups().sender(&mut rng, ("plant", segment), epoch, own.clone()).expect("a key");
        let messages = vec![GroupMessage { topic: "plant/x", number: 1, payload: b"x", request: false }];
        let batch = GroupBatch {
            stream: StreamId([segment; 16]),
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
    let heard = |mesh: &Mesh| mesh.nodes[0].replies.len();
    let before = heard(&mesh);
    for (frame, counted, more) in [(&frames[0], 1, 0), (&frames[1], 1, 1)] {
        mesh.hand(0, 1, frame);
        mesh.run(Duration::from_secs(1));
        assert_eq!((mesh.counted(0, Counter::GroupFramesOfOtherSegments), heard(&mesh) - before), (counted, more));
    }
}

/// The segment of the plant, and one that reaches nothing else, whose devices take links from the plant all the same.
const PLANT: u64 = 0b1;
const GUESTS: u64 = 0b10;

/// a – guest – c, and the longer a – d – e – c.
fn past_a_guest(long: bool) -> Mesh {
    let nodes = [("a", PLANT), ("guest", GUESTS), ("c", PLANT), ("d", PLANT), ("e", PLANT)];
    let reach = Segment { bit: 0, name: "plant".into(), reaches: GUESTS.to_be_bytes() };
    let mut mesh = Mesh::in_segments(&nodes, vec![reach], |_| Settings::default());
    let long: &[(usize, usize)] = if long { &[(0, 3), (3, 4), (4, 2)] } else { &[] };
    for (one, other) in [(0, 1), (1, 2)].iter().chain(long) {
        mesh.connect(*one, *other);
    }
    mesh.run(Duration::from_secs(5));
    mesh
}

/// Invariant 1 of engine::routing::pathfinding.
#[test]
fn a_route_leads_past_routers_outside_the_segment() {
    let mut mesh = past_a_guest(true);
    let token = mesh.send(0, "c", b"past the guest", Ack::End, 20);
    mesh.run(Duration::from_secs(5));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Delivered { hops: 3, .. }), "{:?}", outcome(&mesh, 0, token));
    assert_eq!(mesh.counted(1, Counter::DataOfOtherSegments), 0, "nothing was sent to whoever would not hand it on");
    let to_guest = mesh.send(0, "guest", b"to the guest", Ack::End, 20);
    mesh.run(Duration::from_secs(5));
    assert!(outcome(&mesh, 0, to_guest).is_success(), "what is of its own segment reaches it");
}

/// Invariant 1 of engine::routing::pathfinding.
#[test]
fn a_relay_finds_its_way_past_routers_outside_the_segment() {
    // d has lost its link to e: what a sent by it goes back, and not by the guest.
    let mut mesh = past_a_guest(true);
    mesh.connect(3, 1);
    mesh.run(Duration::from_secs(5));
    mesh.disconnect(3, 4);
    let token = mesh.send(0, "c", b"by d", Ack::End, 20);
    mesh.connect(3, 4);
    mesh.run(Duration::from_secs(10));
    assert!(outcome(&mesh, 0, token).is_success(), "{:?}", outcome(&mesh, 0, token));
    assert_eq!(mesh.counted(1, Counter::DataOfOtherSegments), 0);
}

#[test]
fn where_every_way_leads_through_another_segment_the_sender_is_told_so() {
    let mut mesh = past_a_guest(false);
    let token = mesh.send(0, "c", b"through the guest", Ack::End, 5);
    mesh.run(Duration::from_secs(10));
    let Outcome::Unreachable { reason } = outcome(&mesh, 0, token) else { panic!("{:?}", outcome(&mesh, 0, token)) };
    assert!(reason.contains("hands on no frames of segment 0"), "{reason}");
    assert_eq!(mesh.counted(1, Counter::DataOfOtherSegments), 0);
}
