//! Messages to all devices: who may send them, who gets them, and what they cost.

use super::mesh::Mesh;
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Broadcast, Command, Outcome, Refused, Reply, Token};
use m2mesh::event_log::Event;
use m2mesh::id::StreamId;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::{GroupBatch, GroupMessage};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fn broadcast(mesh: &mut Mesh, from: usize, payload: &[u8], ack: Ack) -> Token {
    let (payload, lifetime) = (payload.to_vec(), seconds(30));
    mesh.command(from, Command::Broadcast(Broadcast { payload, ack, policy: None, lifetime }))
}

/// Sixteen devices, the first of which may broadcast, each linked to the next four in a ring.
fn dense() -> Mesh {
    let names: Vec<String> = (0..16).map(|at| if at == 0 { "caster".to_owned() } else { format!("d{at}") }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut mesh = Mesh::new(&names);
    for at in 0..16 {
        for over in 1..=4 {
            mesh.connect(at, (at + over) % 16);
        }
    }
    mesh.run(seconds(10));
    mesh
}

/// Frames of publications that all have sent.
fn transmissions(mesh: &mut Mesh) -> usize {
    let sent = mesh.nodes.iter_mut().flat_map(|node| std::mem::take(&mut node.sent));
    sent.filter(|frame| frame[4] == Kind::Group as u8 || frame[4] == Kind::GroupAgain as u8).count()
}

/// What the event log says of the broadcasts: how each went, and the transmissions that it takes and a flood would take.
fn narrowed(mesh: &Mesh, at: usize) -> Vec<(String, u64, u64)> {
    let events = mesh.events(at).into_iter();
    let of = |event| match event {
        Event::BroadcastNarrowed { to, transmissions, flood, .. } => Some((to, transmissions, flood)),
        _ => None,
    };
    events.filter_map(of).collect()
}

#[test]
fn a_broadcast_reaches_every_inbox_once_at_a_third_of_what_a_flood_takes() {
    let mut mesh = dense();
    transmissions(&mut mesh);
    let token = broadcast(&mut mesh, 0, b"noon", Ack::End);
    mesh.run(seconds(3));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 15, .. }), "{:?}", mesh.reply(0, token));
    let took = transmissions(&mut mesh);
    // 64 links: a flood goes over each of them both ways, but not back to where it came from.
    assert_eq!((took, narrowed(&mesh, 0)), (15, vec![("multicast".to_owned(), 15, 113)]));
    assert!(took * 3 <= 113);
    for at in 1..16 {
        let inbox = mesh.inbox(at);
        assert_eq!((inbox.len(), inbox[0].payload.as_slice(), inbox[0].from.as_str()), (1, &b"noon"[..], "caster"));
    }
    assert!(mesh.inbox(0).is_empty());
    // Later ones too, also after a restart, and each once.
    mesh.restart(3);
    for over in 1..=4 {
        mesh.connect(3, (3 + over) % 16);
        mesh.connect((3 + 16 - over) % 16, 3);
    }
    mesh.run(seconds(10));
    broadcast(&mut mesh, 0, b"one", Ack::None);
    mesh.run(seconds(5));
    assert_eq!(mesh.inbox(3).iter().map(|message| message.payload.clone()).collect::<Vec<_>>(), [&b"noon"[..], b"one"]);
    assert!((1..16).all(|at| mesh.inbox(at).len() == 2));
}

#[test]
fn a_broadcast_for_one_device_is_sent_to_it() {
    let mut mesh = Mesh::new(&["caster", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    transmissions(&mut mesh);
    let token = broadcast(&mut mesh, 0, b"you", Ack::End);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Delivered { hops: 1, .. }));
    assert_eq!((transmissions(&mut mesh), mesh.inbox(1).len()), (0, 1));
    assert_eq!(narrowed(&mesh, 0), [("unicast".to_owned(), 1, 1)]);
}

#[test]
fn leaves_are_among_all() {
    let settings = |at| m2mesh::engine::Settings { forwarding: at < 3, ..m2mesh::engine::Settings::default() };
    let mut mesh = Mesh::with(&["caster", "relay", "router", "leaf", "caster-leaf"], settings);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (1, 4)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(5));
    let token = broadcast(&mut mesh, 0, b"1", Ack::End);
    mesh.run(seconds(3));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 4, .. }), "{:?}", mesh.reply(0, token));
    broadcast(&mut mesh, 4, b"2", Ack::None);
    mesh.run(seconds(2));
    let counts: Vec<usize> = (0..5).map(|at| mesh.inbox(at).len()).collect();
    assert_eq!(counts, [1, 2, 2, 2, 1]);
}

/// A frame to all that a device has sealed by itself.
fn sealed(mesh: &mut Mesh, by: usize, number: u8, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let unix = mesh.now.unix;
    let member = mesh.nodes[by].engine.membership();
    let epoch = member.bulletin().epoch_length().epoch_at(unix);
    let own = member.credential(unix).expect("a credential").clone();
    let mut sender = member.groups().sender(rng, ("$all", 0), epoch, own).expect("a key");
    let messages = vec![GroupMessage { topic: "$all/message", number: 1, payload: b"forged", request: false }];
    let (stream, began) = (StreamId([0, 0, 0, number, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), unix.0 - 1_000_000);
    let batch =
        GroupBatch { stream, first: 1, began, ends: false, messages, pause: 0, asks: false, rests: false, error: None };
    frame::raw(Kind::Group, &sender.seal(&batch, unix, unix + seconds(60)))
}

/// Invariant 1 of engine::groups::broadcast.
/// Invariant 2 of engine::groups::broadcast.
#[test]
fn a_relay_hands_on_no_broadcast_without_the_role_or_beyond_the_rate() {
    let mut mesh = Mesh::new(&["caster", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let forged = sealed(&mut mesh, 2, 0, &mut rng);
    mesh.hand(1, 2, &forged);
    mesh.run(seconds(1));
    assert_eq!((mesh.counted(1, Counter::BroadcastsForbidden), mesh.inbox(1).len(), mesh.inbox(0).len()), (1, 0, 0));
    for number in 1..=20 {
        let frame = sealed(&mut mesh, 0, number, &mut rng);
        mesh.hand(1, 0, &frame);
    }
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(1, Counter::BroadcastsRefused), 12);
    assert!(mesh.inbox(1).len() <= 8 && mesh.inbox(2).len() <= 8);
    assert_eq!(mesh.counted(2, Counter::BroadcastsRefused), 0, "they do not come that far");
}

#[test]
fn who_has_not_the_role_broadcasts_to_nobody() {
    let mut mesh = Mesh::new(&["caster", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let token = broadcast(&mut mesh, 1, b"no", Ack::None);
    assert_eq!(mesh.reply(1, token), Some(&Reply::Refused(Refused::NoBroadcast)));
    let publish = |topic: &str| Command::Publish {
        topic: topic.to_owned(),
        payload: b"no".to_vec(),
        policy: None,
        lifetime: seconds(30),
        confirm: None,
        latest: false,
    };
    let token = mesh.command(1, publish("$all/message"));
    assert!(matches!(mesh.reply(1, token), Some(Reply::Refused(Refused::Topic(_)))));
}

#[test]
fn a_device_broadcasts_no_more_than_its_rate() {
    let mut mesh = Mesh::new(&["caster", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let tokens: Vec<Token> = (0..6).map(|n| broadcast(&mut mesh, 0, &[n], Ack::None)).collect();
    mesh.run(seconds(2));
    let refused =
        tokens.iter().filter(|token| matches!(mesh.reply(0, **token), Some(Reply::Refused(Refused::Full(_)))));
    assert_eq!((refused.count(), mesh.inbox(2).len()), (2, 4));
    assert_eq!(mesh.nodes[0].engine.counters().get(&Counter::BroadcastsRefused), Some(&2));
    mesh.run(seconds(10));
    broadcast(&mut mesh, 0, b"again", Ack::None);
    mesh.run(seconds(2));
    assert_eq!(mesh.inbox(2).len(), 5);
}
