//! Transcript: what a relay reads of all that it is handed, and whether it recognises anybody by that in another epoch.

use super::mesh::Mesh;
use super::multicast::{seconds, subscribe};
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::batch::Ack;
use std::collections::BTreeSet;

const HOUR: u64 = 3_600;
const NAMES: [&str; 4] = ["pump-of-hall-7", "relay-east", "relay-west", "valve-of-hall-9"];
const SECRETS: [&[u8]; 7] = [
    b"pump-of-hall-7",
    b"relay-east",
    b"relay-west",
    b"valve-of-hall-9",
    b"close-the-valve",
    b"pressure-is-high",
    b"hall-of-pumps",
];

/// The number of bytes that are compared: as many as the shortest identifier of the protocol has.
const IDENTIFIER: usize = 8;
/// What another realm says in as many bytes in a row is structure, whatever stands before or behind it.
const STRUCTURE: usize = 6;

fn windows<'a>(frames: impl IntoIterator<Item = &'a [u8]>, length: usize) -> BTreeSet<&'a [u8]> {
    frames.into_iter().flat_map(|frame| frame.windows(length)).collect()
}

/// Messages and publications between the ends, over two relays. Returns all frames of all four devices since the last
/// time that the past was forgotten.
fn exchange(mesh: &mut Mesh) -> Vec<Vec<u8>> {
    for _ in 0..20 {
        let there = mesh.send(0, NAMES[3], b"close-the-valve", Ack::End, 60);
        let back = mesh.send(3, NAMES[0], b"pressure-is-high", Ack::End, 60);
        let (topic, payload) = ("hall-of-pumps/pressure-is-high".to_owned(), b"pressure-is-high".to_vec());
        mesh.command(
            0,
            Command::Publish { topic, payload, policy: None, lifetime: seconds(60), confirm: None, latest: false },
        );
        mesh.run(seconds(5));
        for token in [there, back] {
            assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
        }
    }
    mesh.nodes.iter().flat_map(|node| node.sent.iter().cloned()).collect()
}

/// What was exchanged in an epoch, and at the second turn after it and behind that.
fn two_epochs(seed: u64) -> (Mesh, [Vec<Vec<u8>>; 2]) {
    let nodes = NAMES.map(|name| (name, DEFAULT_SEGMENT));
    let mut mesh =
        Mesh::of_seed(seed, &nodes, Vec::new(), |_| Settings { anonymity: Anonymity::Rotating, ..Settings::default() });
    (1..NAMES.len()).for_each(|at| mesh.connect(at - 1, at));
    mesh.run(seconds(10));
    mesh.command(3, Command::Offer { service: "valve-of-hall-9".to_owned(), capacity: None });
    subscribe(&mut mesh, 3, "hall-of-pumps/#");
    mesh.run(seconds(10));
    let first = exchange(&mut mesh);
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left + HOUR - 100));
    mesh.forget_past();
    mesh.run(seconds(600));
    let second = exchange(&mut mesh);
    (mesh, [first, second])
}

fn bytes(frames: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    frames.iter().map(Vec::as_slice)
}

/// A relay that keeps everything that passes it reads no payload, topic, service or name in it, and finds nothing in the
/// frames of one epoch that it has seen in another, except what all devices of the realm say, and what any other realm
/// says too.
#[test]
fn a_relay_reads_no_name_and_recognises_nobody_in_another_epoch() {
    let (mut mesh, [first, second]) = two_epochs(7);
    for secret in SECRETS {
        let is_in = |frame: &[u8]| frame.windows(secret.len()).any(|window| window == secret);
        let told = bytes(&first).chain(bytes(&second)).filter(|frame| is_in(frame)).count();
        assert_eq!(told, 0, "{}", String::from_utf8_lossy(secret));
    }
    let (_, elsewhere) = two_epochs(8);
    let common = windows(elsewhere.iter().flat_map(|frames| bytes(frames)), STRUCTURE);
    let unix = mesh.now.unix;
    let relays =
        [1, 2].map(|at: usize| mesh.nodes[at].engine.membership().credential(unix).expect("one").signed.clone());
    let [one, other] = [&relays[0], &relays[1]].map(|credential| windows([&credential[..]], IDENTIFIER));
    let mut realm = windows([&mesh.realm.bulletin.signed()[..]], IDENTIFIER);
    realm.extend(one.intersection(&other));
    let (first, second) = (windows(bytes(&first), IDENTIFIER), windows(bytes(&second), IDENTIFIER));
    assert!(first.len() > 10_000 && second.len() > 10_000, "there is something to compare");
    let is_structure = |window: &[u8]| window.windows(STRUCTURE).any(|part| common.contains(part));
    let lasting: Vec<_> =
        first.intersection(&second).filter(|window| !realm.contains(*window) && !is_structure(window)).collect();
    assert!(lasting.is_empty(), "{} of {}: {:x?}", lasting.len(), first.len(), &lasting[..lasting.len().min(40)]);
}
