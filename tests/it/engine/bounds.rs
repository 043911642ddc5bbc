//! What is kept has a bound, and what is dropped at it is counted under its name, and does no harm.

use super::mesh::{Mesh, message};
use ed25519_dalek::SigningKey;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Send};
use m2mesh::id::{CredentialHash, Handle, OuterId, SessionId, Signature};
use m2mesh::identity::sign::sign_document;
use m2mesh::link::bearer::{Profile, Quota};
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::wire;
use m2mesh::wire::Signed;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::{Class, DataFrame, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::locate::Locate;
use m2mesh::wire::lsa::{CONTEXT, Lsa};
use m2mesh::wire::receipt::{HopAck, SessionNack};
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// b – a – c.
fn relay() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(0, 2);
    mesh.run(seconds(3));
    mesh
}

fn numbered<const N: usize>(number: u64) -> [u8; N] {
    let mut id = [0; N];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

/// Frames of a kind among those that a node has sent.
fn sent(mesh: &Mesh, at: usize, kind: Kind) -> usize {
    mesh.nodes[at].sent.iter().filter(|frame| frame[4] == kind as u8).count()
}

/// Invariant 1 of engine::routing::link_state::pace.
#[test]
fn an_origin_that_tells_too_often_is_not_flooded() {
    let mut mesh = relay();
    let unix = mesh.now.unix;
    let b = mesh.nodes[1].engine.membership();
    let key = SigningKey::from_bytes(&b.libp2p_seed(m2mesh::time::Unix::from_seconds(1_800_000_000)));
    let origin = b.credential(unix).expect("a credential").hash;
    let told = |sequence| {
        let lsa = Lsa {
            origin,
            sequence,
            area: 0,
            leaving: false,
            links: Vec::new(),
            leaves: Vec::new(),
            groups: Vec::new(),
            services: Vec::new(),
            borders: Vec::new(),
            accesses: Vec::new(),
        };
        frame::raw(Kind::Lsa, &sign_document(&key, CONTEXT, &wire::encode(&lsa)))
    };
    let before = sent(&mesh, 0, Kind::Lsa);
    for sequence in 0..40 {
        mesh.hand(0, 1, &told((1 << 40) + sequence));
    }
    let (flooded, dropped) = (sent(&mesh, 0, Kind::Lsa) - before, mesh.counted(0, Counter::LsasTooOften));
    assert!((30..=32).contains(&flooded), "{flooded}");
    assert_eq!(flooded as u64 + dropped, 40);
    // After a second, ten more, of which the last of those before takes one.
    mesh.vanish.extend([(1, 0), (0, 1)]);
    mesh.run(seconds(1));
    let before = sent(&mesh, 0, Kind::Lsa);
    for sequence in 100..120 {
        mesh.hand(0, 1, &told((1 << 40) + sequence));
    }
    assert_eq!(mesh.counted(0, Counter::LsasTooOften) - dropped, 11);
    assert_eq!(sent(&mesh, 0, Kind::Lsa) - before, 9);
}

#[test]
fn of_too_many_sessions_that_pass_through_the_first_are_forgotten() {
    const BEYOND: u64 = 4_096 + 3;
    let mut mesh = relay();
    mesh.vanish.insert((0, 2));
    let unix = mesh.now.unix;
    let to = mesh.nodes[2].engine.membership().credential(unix).expect("a credential").body.handle;
    for number in 0..BEYOND {
        mesh.hand(0, 1, &data(to, number, unix.0 + 30_000_000));
    }
    assert_eq!(sent(&mesh, 0, Kind::Data) as u64, BEYOND, "all are handed on");
    assert_eq!(mesh.counted(0, Counter::FlowsForgotten), 3);
    // c knows none of them, and says so: that gets back to b for those which are remembered.
    for (number, back) in [(2, 0), (3, 1), (BEYOND - 1, 2)] {
        mesh.hand(0, 2, &nack(number));
        assert_eq!(sent(&mesh, 0, Kind::SessionNack), back, "{number}");
    }
    assert_eq!(mesh.counted(0, Counter::NacksRefused), 1);
}

/// A record of a session, to whom a relay has to find the way.
fn data(to: Handle, session: u64, expiry: u64) -> Vec<u8> {
    data_of(0, to, session, expiry)
}

fn data_of(segment: u8, to: Handle, session: u64, expiry: u64) -> Vec<u8> {
    let outer = OuterId(numbered(session));
    let (class, form) = (Class::Telemetry, Form::Session);
    let header = Header { to, class, form, expiry, policy: Policy::default(), segment, mail: None };
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&Path { outer, ..Path::default() }));
    body.extend_from_slice(&numbered::<{ SessionId::LEN }>(session));
    body.extend_from_slice(&[7; 40]);
    frame::raw(Kind::Data, &body)
}

/// Relays hand it on unseen.
fn nack(session: u64) -> Vec<u8> {
    let by = CredentialHash(numbered(1));
    let body = wire::encode(&SessionNack { session: SessionId(numbered(session)), by, at: 0 });
    frame::of(Kind::SessionNack, &Signed { body: &body, signature: Signature([0; 64]) })
}

#[test]
fn of_too_many_frames_under_way_the_first_tell_nothing_of_their_path() {
    const BEYOND: u64 = 16_384 + 2;
    let mut mesh = relay();
    mesh.vanish.insert((0, 1));
    for number in 0..BEYOND {
        mesh.send(0, "b", &number.to_be_bytes(), Ack::End, 3_600);
        mesh.nodes[0].sent.clear();
    }
    assert_eq!(mesh.counted(0, Counter::FlightsForgotten), 2);
}

/// Invariant 1 of routing::locating.
#[test]
fn questions_come_no_faster_than_a_link_may_ask() {
    let mut mesh = relay();
    let ask = |mesh: &mut Mesh, from: u64, to: u64| {
        for number in from..to {
            let question =
                Locate { id: OuterId(numbered(number)), handle: Handle(numbered(number)), ttl: 1, segments: [0xff; 8] };
            mesh.hand(0, 1, &frame::of(Kind::Locate, &question));
        }
    };
    ask(&mut mesh, 0, 256);
    assert_eq!(mesh.counted(0, Counter::LocateTooOften), 0);
    ask(&mut mesh, 1_024, 1_030);
    assert_eq!(mesh.counted(0, Counter::LocateTooOften), 6);
    mesh.run(seconds(1));
    ask(&mut mesh, 2_000, 2_045);
    assert_eq!(mesh.counted(0, Counter::LocateTooOften), 11);
}

/// Invariant 3 of routing::locating.
#[test]
fn who_asks_much_keeps_nobody_else_from_asking() {
    let settings = |at| Settings { forwarding: at != 4, ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "d", "leaf", "e"], settings);
    for (one, other) in [(1, 0), (0, 2), (2, 3), (3, 4), (0, 5)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    for moment in 0..30 {
        for number in 0..100 {
            let number = moment * 100 + number;
            let question =
                Locate { id: OuterId(numbered(number)), handle: Handle(numbered(number)), ttl: 8, segments: [0xff; 8] };
            mesh.hand(0, 1, &frame::of(Kind::Locate, &question));
        }
        mesh.run(Duration::from_millis(100));
    }
    // The node that is flooded asks where the leaf is, and so does another neighbour, by way of it.
    for asker in [0, 5] {
        let token = mesh.send(asker, "leaf", b"found", Ack::End, 30);
        mesh.run(seconds(1));
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
    }
}

/// Invariant 2 of routing::locating.
#[test]
fn frames_to_nobody_make_few_questions() {
    // a and b are in one area, c is in another, and would be asked.
    let mut mesh = Mesh::with(&["a", "b", "c"], |at| Settings { area: u32::from(at == 2), ..Settings::default() });
    mesh.connect(0, 1);
    mesh.connect(0, 2);
    mesh.run(seconds(3));
    let expiry = mesh.now.unix.0 + 600_000_000;
    for number in 0..2_000 {
        mesh.hand(0, 1, &data(Handle(numbered(number + 1)), number, expiry));
        mesh.run(Duration::from_millis(5));
    }
    // Some at once, then four a second for ten seconds.
    let asked = sent(&mesh, 0, Kind::Locate);
    assert!((60..=80).contains(&asked), "{asked}");
    assert_eq!(asked as u64 + mesh.counted(0, Counter::LocateTooOften), 2_000);
    // For one and the same nobody ever fewer.
    mesh.run(seconds(20));
    for number in 0..600 {
        mesh.hand(0, 1, &data(Handle([9; 16]), 10_000 + number, expiry));
        mesh.run(Duration::from_millis(100));
    }
    let again = sent(&mesh, 0, Kind::Locate) - asked;
    assert!((5..=9).contains(&again), "{again} in a minute");
}

#[test]
fn a_second_copy_without_a_way_of_its_own_is_counted_and_the_first_arrives() {
    let twice = NamedPolicy { name: "twice".into(), copies: Some(2), ..NamedPolicy::default() };
    let settings = move |_| Settings { policies: vec![twice.clone()], ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], settings);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(3));
    let send = |mesh: &mut Mesh| {
        let send = Send { policy: Some("twice".into()), ..message("c", b"at least once", Ack::End, 30) };
        let token = mesh.command(0, Command::Send(send));
        mesh.run(seconds(1));
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
    };
    send(&mut mesh);
    assert_eq!(mesh.counted(0, Counter::CopiesWithoutWay), 1);
    // Where there is a second way, it is taken.
    mesh.connect(0, 3);
    mesh.connect(3, 2);
    mesh.run(seconds(10));
    send(&mut mesh);
    assert_eq!(mesh.counted(0, Counter::CopiesWithoutWay), 1);
    assert_eq!(mesh.inbox(2).len(), 2);
}

/// Invariant 1 of engine::routing::flights.
#[test]
fn that_a_hop_has_a_frame_is_believed_from_where_it_went() {
    let mut mesh = relay();
    mesh.vanish.insert((0, 1));
    let token = mesh.send(0, "b", b"to b alone", Ack::Hop, 30);
    mesh.run(seconds(1));
    let frame = mesh.nodes[0].sent.iter().rev().find(|frame| frame[4] == Kind::Data as u8).expect("it left");
    let outer = DataFrame::parse(&frame[frame::HEADER..]).expect("our own").path.outer;
    let ack = frame::of(Kind::HopAck, &HopAck { frames: vec![outer] });
    mesh.hand(0, 2, &ack);
    assert_eq!(mesh.ended.get(&token), None, "c never had it");
    assert_eq!(mesh.counted(0, Counter::HopAcksRefused), 1);
    mesh.hand(0, 1, &ack);
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Sent { .. })));
    mesh.hand(0, 1, &ack);
    assert_eq!(mesh.counted(0, Counter::HopAcksRefused), 2);
}

/// Invariant 1 of engine::neighbours::link_metrics.
#[test]
fn what_was_spent_of_a_quota_is_spent_after_a_restart() {
    let plan = Profile {
        name: "plan".into(),
        quota: Some(Quota { bytes: 5_000, every: seconds(86_400) }),
        ..Profile::default()
    };
    let settings = move |_| Settings { bearers: vec![plan.clone()], ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b"], settings);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    let send = |mesh: &mut Mesh| {
        let token = mesh.send(0, "b", &[0; 500], Ack::End, 5);
        mesh.run(seconds(6));
        matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. }))
    };
    let delivered = (0..20).filter(|_| send(&mut mesh)).count();
    assert!((2..=10).contains(&delivered), "{delivered}");
    mesh.run(seconds(60));
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    assert!(!send(&mut mesh), "a restart brings nothing back");
}

#[test]
fn publications_that_are_asked_for_all_at_once_stay_within_a_quota() {
    const QUOTA: usize = 28_000;
    let plan = Profile {
        name: "plan".into(),
        quota: Some(Quota { bytes: QUOTA as u64, every: seconds(86_400) }),
        ..Profile::default()
    };
    let settings = move |_| Settings { bearers: vec![plan.clone()], ..Settings::default() };
    // c hears all of it at once, b when it is back.
    let mut mesh = Mesh::with(&["a", "b", "c"], settings);
    for at in [1, 2] {
        mesh.connect(0, at);
        mesh.command(at, Command::subscribe("plant/x"));
    }
    mesh.run(seconds(3));
    mesh.disconnect(0, 1);
    for number in 0..30 {
        let (topic, payload) = ("plant/x".to_owned(), vec![number; 500]);
        let publish =
            Command::Publish { topic, payload, policy: None, lifetime: seconds(300), confirm: None, latest: false };
        mesh.command(0, publish);
        mesh.run(Duration::from_millis(100));
    }
    let given = |mesh: &Mesh| {
        let frames = mesh.nodes[0].sent.iter();
        let frames = frames.filter(|frame| [Kind::Group as u8, Kind::GroupAgain as u8].contains(&frame[4]));
        frames.fold((0, 0), |(count, bytes), frame| (count + 1, bytes + frame.len()))
    };
    let (pushed, before) = given(&mesh);
    assert!(pushed >= 30 && before < QUOTA, "{pushed} frames, {before} bytes");
    mesh.connect(0, 1);
    mesh.run(seconds(20));
    let (count, bytes) = given(&mesh);
    assert!(count > pushed && count < pushed + 30, "a part of what was asked for: {}", count - pushed);
    assert!(bytes <= QUOTA + before / pushed, "{bytes} bytes");
}
