//! Allowances: what a neighbour asks for beyond its own is not done, and nobody else has less for it.

use super::mesh::Mesh;
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::Outcome;
use m2mesh::id::{CredentialHash, Handle, OuterId, SessionId, Tag};
use m2mesh::identity::session::early_id;
use m2mesh::wire;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::bulletin::BulletinRequest;
use m2mesh::wire::credential_exchange::CredentialRequest;
use m2mesh::wire::data::{Class, DataFrame, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::lsa::{LsaDigest, LsaRequest};
use m2mesh::wire::opener::{MESSAGE, Opener};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

const VICTIM: usize = 1;
const GREEDY: usize = 2;
const MODEST: usize = 3;

fn mesh() -> Mesh {
    let mut mesh = Mesh::new(&["issuer", "victim", "greedy", "modest"]);
    for other in [0, GREEDY, MODEST] {
        mesh.connect(VICTIM, other);
    }
    mesh.run(seconds(60));
    mesh
}

fn credential(mesh: &mut Mesh, of: usize) -> (CredentialHash, Handle) {
    let unix = mesh.now.unix;
    let own = mesh.nodes[of].engine.membership().credential(unix).expect("a credential");
    (own.hash, own.body.handle)
}

/// How many frames of a kind the victim answers when a neighbour hands in a frame so often, and how often it counts.
fn answered(mesh: &mut Mesh, from: usize, frame: &[u8], times: usize, kind: Kind, counter: Counter) -> (usize, u64) {
    let (before, counted) = (mesh.nodes[VICTIM].sent.len(), mesh.counted(VICTIM, counter));
    for _ in 0..times {
        mesh.hand(VICTIM, from, frame);
    }
    let sent = mesh.nodes[VICTIM].sent[before..].iter().filter(|frame| frame[4] == kind as u8).count();
    (sent, mesh.counted(VICTIM, counter) - counted)
}

/// Invariant 1 of engine::neighbours::allowances.
#[test]
fn what_a_neighbour_asks_for_beyond_its_allowance_is_not_given_whatever_links_it_has() {
    let mut mesh = mesh();
    let (hash, _) = credential(&mut mesh, VICTIM);
    let ask = frame::of(Kind::CredentialRequest, &CredentialRequest { hash });
    let asks = |mesh: &mut Mesh, from, times| {
        answered(mesh, from, &ask, times, Kind::Credential, Counter::CredentialRequestsTooOften)
    };
    let (given, dropped) = asks(&mut mesh, GREEDY, 2_100);
    assert!((2_040..=2_048).contains(&given) && given as u64 + dropped == 2_100, "{given} and {dropped}");
    // Neither a new link nor a second one brings more, and another neighbour has as much as before.
    mesh.disconnect(VICTIM, GREEDY);
    mesh.connect(VICTIM, GREEDY);
    assert_eq!(asks(&mut mesh, GREEDY, 10), (0, 10));
    mesh.connect_beside(VICTIM, GREEDY, 0);
    assert_eq!(asks(&mut mesh, GREEDY, 10), (0, 10));
    assert_eq!(asks(&mut mesh, MODEST, 100), (100, 0));
    mesh.run(seconds(1));
    assert_eq!(asks(&mut mesh, GREEDY, 200), (100, 100), "one in 10 ms");

    let (all, (more, hashes)) = (BulletinRequest { have: 0 }, (vec![hash; 2_048], 2_048));
    let (given, dropped) = answered(
        &mut mesh,
        GREEDY,
        &frame::of(Kind::BulletinRequest, &all),
        600,
        Kind::Bulletin,
        Counter::DocumentRequestsTooOften,
    );
    assert_eq!((given, dropped), (512, 88));
    let digest = frame::of(Kind::LsaDigest, &LsaDigest { summary: Tag([7; Tag::LEN]), entries: None });
    let compared = answered(&mut mesh, GREEDY, &digest, 50, Kind::LsaDigest, Counter::LsaDigestsTooOften);
    assert_eq!((compared.0 + compared.1 as usize, compared.0 <= 32), (50, true), "{compared:?}");
    let request = frame::of(Kind::LsaRequest, &LsaRequest { origins: more });
    let (given, withheld) = answered(&mut mesh, GREEDY, &request, 3, Kind::Lsa, Counter::LsasWithheld);
    assert!((4_000..=4_096).contains(&given) && given + withheld as usize == 3 * hashes, "{given}");
    assert_eq!(answered(&mut mesh, MODEST, &request, 1, Kind::Lsa, Counter::LsasWithheld), (hashes, 0));
}

#[test]
fn of_more_control_frames_than_a_neighbour_may_send_the_newest_are_not_looked_at() {
    let mut mesh = mesh();
    // Of a kind that costs nothing and is counted.
    let frames = frame::raw(Kind::Witness, b"").repeat(1_000);
    for _ in 0..10 {
        mesh.hand(VICTIM, GREEDY, &frames);
    }
    let (seen, dropped) =
        (mesh.counted(VICTIM, Counter::FramesOfUnknownKind), mesh.counted(VICTIM, Counter::FramesTooOften));
    assert!((8_000..=8_192).contains(&seen) && seen + dropped == 10_000, "{seen} and {dropped}");
    mesh.hand(VICTIM, MODEST, &frames);
    assert_eq!(mesh.counted(VICTIM, Counter::FramesTooOften), dropped, "another neighbour's are");
    mesh.run(seconds(1));
    mesh.hand(VICTIM, GREEDY, &frames.repeat(3));
    let more = mesh.counted(VICTIM, Counter::FramesTooOften) - dropped;
    assert!((1_000..1_100).contains(&more), "two in a millisecond, but for what the mesh sends: {more}");
}

/// A data frame that opens a session, or seems to.
fn opener(to: Handle, expiry: u64, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut message = [0; MESSAGE];
    rng.fill_bytes(&mut message);
    let opener = Opener { session: SessionId([1; SessionId::LEN]), suites: 1, credential: vec![7; 400], message };
    let policy = Policy::default();
    let header = Header { to, class: Class::Telemetry, form: Form::Opener, expiry, policy, segment: 0, mail: None };
    let mut outer = [0; OuterId::LEN];
    rng.fill_bytes(&mut outer);
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&Path { outer: OuterId(outer), ..Path::default() }));
    put_prefixed(&mut body, &wire::encode(&opener));
    body.extend_from_slice(&early_id(&message).0);
    body.extend_from_slice(&[7; 60]);
    let parsed = DataFrame::parse(&body).expect("a data frame");
    assert_eq!(parsed.session(), Some(early_id(&message)));
    frame::raw(Kind::Data, &body)
}

#[test]
fn openings_of_sessions_that_lead_nowhere_use_up_their_neighbours_allowance_alone() {
    let mut mesh = mesh();
    let ((_, victim), expiry) = (credential(&mut mesh, VICTIM), mesh.now.unix.0 + 60_000_000);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for _ in 0..2_100 {
        let frame = opener(victim, expiry, &mut rng);
        mesh.hand(VICTIM, GREEDY, &frame);
    }
    let (refused, dropped) =
        (mesh.counted(VICTIM, Counter::SessionsRefused), mesh.counted(VICTIM, Counter::OpenersTooOften));
    assert_eq!((refused, dropped), (2_048, 52));
    let token = mesh.send(MODEST, "victim", b"as before", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })));
}

#[test]
fn who_opens_sessions_without_end_has_a_turn_a_second_and_its_messages_arrive_then() {
    let mut mesh = mesh();
    let mut tokens = Vec::new();
    for number in 0..45u8 {
        mesh.restart(GREEDY);
        mesh.connect(VICTIM, GREEDY);
        tokens.push(mesh.send(GREEDY, "victim", &[number], Ack::End, 60));
        mesh.run(Duration::from_millis(20));
    }
    let dropped = mesh.counted(VICTIM, Counter::OpenersTooOften);
    assert!(dropped > 0);
    let token = mesh.send(MODEST, "victim", b"as before", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })));
    mesh.run(seconds(60));
    let mut payloads: Vec<Vec<u8>> = mesh.inbox(VICTIM).iter().map(|message| message.payload.clone()).collect();
    payloads.retain(|payload| payload.len() == 1);
    payloads.sort_unstable();
    assert_eq!(payloads, (0..45).map(|number| vec![number]).collect::<Vec<_>>());
}
