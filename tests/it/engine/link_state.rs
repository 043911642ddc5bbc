//! Link state that is sent again, or too often, harms nobody but who sends it.

use super::mesh::Mesh;
use ed25519_dalek::SigningKey;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Outcome, Reply};
use m2mesh::id::CredentialHash;
use m2mesh::identity::sign::sign_document;
use m2mesh::wire;
use m2mesh::wire::Signed;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::lsa::{CONTEXT, Lsa, LsaLink};
use std::ops::Range;
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// b – a – c, whose frames to a are the test's.
fn relay() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(0, 2);
    mesh.run(ms(20_000));
    mesh.vanish.extend([(1, 0), (2, 0)]);
    mesh
}

/// What a node tells under a number, as a frame: that it has no links, far beyond the numbers it has used.
fn told(mesh: &mut Mesh, by: usize, number: u64) -> Vec<u8> {
    told_with(mesh, by, number, 0..0)
}

/// The same with so many links to routers that nobody knows.
fn told_with(mesh: &mut Mesh, by: usize, number: u64, links: Range<u16>) -> Vec<u8> {
    let made_up = |n: u16| {
        let mut to = [0xee; CredentialHash::LEN];
        to[..2].copy_from_slice(&n.to_be_bytes());
        LsaLink {
            to: CredentialHash(to),
            bearer: 0,
            price: 0,
            delay: 1_000,
            deviation: 0,
            success: u16::MAX,
            energy: 0,
            rate: 0,
            mtu: 1_400,
        }
    };
    let unix = mesh.now.unix;
    let member = mesh.nodes[by].engine.membership();
    let key = SigningKey::from_bytes(&member.libp2p_seed(m2mesh::time::Unix::from_seconds(1_800_000_000)));
    let lsa = Lsa {
        origin: member.credential(unix).expect("a credential").hash,
        sequence: (1 << 40) + number,
        area: 0,
        leaving: false,
        links: links.map(made_up).collect(),
        leaves: Vec::new(),
        groups: Vec::new(),
        services: Vec::new(),
        borders: Vec::new(),
        accesses: Vec::new(),
    };
    frame::raw(Kind::Lsa, &sign_document(&key, CONTEXT, &wire::encode(&lsa)))
}

/// Numbers of the LSAs that a node has sent since the last look, by origin.
fn sent(mesh: &mut Mesh, at: usize) -> Vec<(CredentialHash, u64)> {
    let frames = std::mem::take(&mut mesh.nodes[at].sent);
    let lsa = |frame: &Vec<u8>| {
        let signed: Signed<'_> = wire::decode(&frame[6..]).expect("signed");
        let lsa: Lsa = wire::decode(signed.body).expect("link state");
        (lsa.origin, lsa.sequence & ((1 << 40) - 1))
    };
    frames.iter().filter(|frame| frame[4] == Kind::Lsa as u8).map(lsa).collect()
}

fn origin(mesh: &mut Mesh, of: usize) -> CredentialHash {
    let unix = mesh.now.unix;
    mesh.nodes[of].engine.membership().credential(unix).expect("a credential").hash
}

/// Invariant 3 of engine::routing::link_state.
#[test]
fn old_lsas_sent_again_neither_cost_their_origin_its_turn_nor_are_answered_each() {
    let mut mesh = relay();
    let origin = origin(&mut mesh, 2);
    let first = told(&mut mesh, 2, 1_000);
    mesh.hand(0, 2, &first);
    sent(&mut mesh, 0);
    // A neighbour has kept what c told before, and sends it again, 150 a second for two seconds.
    for number in 0..300 {
        let old = told(&mut mesh, 2, number);
        mesh.hand(0, 1, &old);
        mesh.run(Duration::from_micros(6_666));
    }
    let answers = sent(&mut mesh, 0).iter().filter(|(of, _)| *of == origin).count();
    assert!((1..=3).contains(&answers), "{answers} answers in two seconds");
    assert_eq!(mesh.counted(0, Counter::LsasTooOften), 0);
    assert_eq!(mesh.counted(0, Counter::LsasOutdated), 300);
    let news = told(&mut mesh, 2, 1_001);
    mesh.hand(0, 2, &news);
    mesh.run(ms(100));
    assert!(sent(&mut mesh, 0).contains(&(origin, 1_001)), "c's own is taken");
}

#[test]
fn who_lags_in_many_things_is_told_of_all_of_them() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"]);
    (1..5).for_each(|other| mesh.connect(0, other));
    mesh.run(ms(20_000));
    mesh.vanish.extend([(1, 0), (2, 0), (3, 0), (4, 0)]);
    let origins: Vec<CredentialHash> = (2..5).map(|of| origin(&mut mesh, of)).collect();
    for of in 2..5 {
        let news = told(&mut mesh, of, 10);
        mesh.hand(0, of, &news);
    }
    mesh.run(ms(1_000));
    sent(&mut mesh, 0);
    for of in 2..5 {
        let old = told(&mut mesh, of, 9);
        mesh.hand(0, 1, &old);
    }
    assert_eq!(sent(&mut mesh, 0), [(origins[0], 10)], "the first is answered at once");
    mesh.run(ms(999));
    let named = |mesh: &Mesh| {
        let digests = mesh.nodes[0].sent.iter().filter(|frame| frame[4] == Kind::LsaDigest as u8);
        let digests = digests.map(|frame| wire::decode::<m2mesh::wire::lsa::LsaDigest>(&frame[6..]).expect("a digest"));
        digests.flat_map(|digest| digest.entries.unwrap_or_default()).map(|key| key.origin).collect::<Vec<_>>()
    };
    assert_eq!(named(&mesh), []);
    mesh.run(ms(2));
    let mut expected = origins[1..].to_vec();
    expected.sort_unstable();
    assert_eq!(named(&mesh), expected, "the others are named within a second");
}

#[test]
fn the_last_of_what_comes_too_fast_is_taken_in_the_end() {
    let mut mesh = relay();
    let origin = origin(&mut mesh, 2);
    for number in 0..200 {
        let next = told(&mut mesh, 2, number);
        mesh.hand(0, 2, &next);
    }
    assert!(mesh.counted(0, Counter::LsasTooOften) > 150);
    sent(&mut mesh, 0);
    mesh.run(ms(150));
    let told = sent(&mut mesh, 0);
    assert!(told.iter().any(|(of, number)| (*of, *number) == (origin, 199)), "{told:?}");
}

/// Others name routers by what they were called before the turn of an epoch, for up to a minute.
#[test]
fn who_is_started_after_the_turn_of_an_epoch_has_ways_at_once() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    (0..3).for_each(|at| mesh.connect(at, at + 1));
    mesh.run(Duration::from_secs(3_605));
    mesh.restart(0);
    mesh.run(ms(100));
    mesh.connect(0, 1);
    let token = mesh.send(0, "d", b"hello", Ack::End, 10);
    mesh.run(Duration::from_secs(3));
    assert!(matches!(mesh.reply(0, token), Some(Reply::Outcome(Outcome::Delivered { hops: 3, .. }))));
}

/// An insider names, in what it tells at the turn of an epoch, credentials that nobody has.
/// Invariants 1 and 2 of engine::routing::link_state::names.
#[test]
fn names_that_nobody_has_cost_a_router_few_frames() {
    let mut mesh = relay();
    mesh.vanish.clear();
    mesh.run(Duration::from_secs(3_600));
    mesh.vanish.insert((2, 0));
    let asked = |mesh: &mut Mesh| {
        let frames = std::mem::take(&mut mesh.nodes[0].sent);
        frames.iter().filter(|frame| frame[4] == Kind::CredentialRequest as u8).count()
    };
    asked(&mut mesh);
    let news = told_with(&mut mesh, 2, 1, 0..200);
    mesh.hand(0, 1, &news);
    mesh.run(ms(1_500));
    assert_eq!(asked(&mut mesh), 16, "a share at once");
    mesh.run(Duration::from_secs(600));
    let all = asked(&mut mesh);
    assert_eq!(all, 200 * 4 - 16, "each four times");
    let news = told_with(&mut mesh, 2, 2, 0..201);
    mesh.hand(0, 1, &news);
    mesh.run(Duration::from_secs(60));
    assert_eq!(asked(&mut mesh), 0, "the epoch is no longer young");
}

/// Several insiders name more than a router remembers to have asked for.
/// Invariant 3 of engine::routing::link_state::names.
#[test]
fn names_beyond_what_is_remembered_are_not_asked_for_and_counted() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e", "f", "g"]);
    (1..7).for_each(|other| mesh.connect(0, other));
    mesh.run(Duration::from_secs(3_605));
    mesh.vanish.extend((2..7).map(|other| (other, 0)));
    for by in 2..7 {
        let news = told_with(&mut mesh, by, 1, 256 * (by as u16 - 2)..256 * (by as u16 - 1));
        mesh.hand(0, 1, &news);
    }
    mesh.run(Duration::from_secs(120));
    assert!(mesh.counted(0, Counter::NamesNotAsked) > 0);
}
