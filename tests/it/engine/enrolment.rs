//! Enrolment passes through a mesh in which a member does its worst to stop it, and over links that cost money only where
//! there is no other way.

use super::mesh::{Mesh, name};
use super::{outcome, seconds};
use core::time::Duration;
use ed25519_dalek::SigningKey;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Reply, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::{Event, Logged};
use m2mesh::id::{AgreementKey, IssuerId, OuterId};
use m2mesh::identity::enrolment::{self, PendingEnrolment};
use m2mesh::identity::invitation::{Invitation, invite};
use m2mesh::identity::kdf::sha256;
use m2mesh::identity::ledger::Contacts;
use m2mesh::identity::sign::sign_document;
use m2mesh::link::bearer::Profile;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::enrol_relay::{CONTEXT, EnrolAnswer, EnrolRelay};
use m2mesh::wire::enrolment::Refusal;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::hello::EnrolReply;
use m2mesh::wire::{decode, encode};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const MEMBER: usize = 2;
const INSIDER: usize = 3;

/// issuer – relay – member, and an insider that is a neighbour of the last two.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new(&["issuer", "relay", "member", "insider"]);
    for (a, b) in [(0, 1), (1, 2), (1, 3), (2, 3)] {
        mesh.connect(a, b);
    }
    mesh.run(seconds(1));
    mesh
}

/// For longer than keys of the past are kept, over a restart, and then right again: the clock of a member, that of the device
/// that holds the issuer's key, and one that is further ahead than any epoch that is certified.
/// Invariant 1 of engine::membership::epochs.
#[test]
fn a_clock_that_was_days_ahead_locks_nobody_out() {
    for (who, days) in [(2, 3), (0, 3), (2, 30)] {
        let names = ["issuer", "a", "b"];
        let mut mesh = Mesh::new(&names);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            mesh.connect(a, b);
        }
        mesh.run(seconds(5_000));
        mesh.skew.insert(who, days * 86_400);
        mesh.handle(who, Input::Timeout);
        mesh.run(seconds(1_500));
        mesh.restart(who);
        mesh.run(seconds(4_500));
        mesh.skew.clear();
        mesh.handle(who, Input::Timeout);
        mesh.run(seconds(2));
        let unix = mesh.now.unix;
        let member = mesh.nodes[who].engine.membership();
        assert!((0..160).all(|hour| member.credential(unix + seconds(3_600 * hour)).is_some()), "{who}, {days} days");
        (0..3).filter(|other| *other != who).for_each(|other| mesh.connect(who, other));
        let token = mesh.send(1, names[if who == 0 { 0 } else { 2 }], b"there again", Ack::End, 30);
        mesh.run(seconds(2));
        assert!(outcome(&mesh, 1, token).is_success());
        // What is over for good is erased.
        let first = mesh.now.unix;
        mesh.run(seconds(9_000));
        assert!(mesh.nodes[who].engine.membership().valid_from() > first);
    }
}

fn begin(mesh: &mut Mesh) -> PendingEnrolment {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let realm = &mut mesh.realm;
    let invitation = Invitation::new(name("new"), Contacts::All);
    let ticket = invite(&realm.issuer, &mut realm.book, &realm.bulletin, invitation, mesh.now.unix, &mut rng);
    enrolment::begin_join_for(&ticket.expect("a ticket"), 4, &mut rng)
}

/// At the member's admission.
fn ask(mesh: &mut Mesh, pending: &PendingEnrolment) {
    let hello = pending.hello(&mut ChaCha20Rng::seed_from_u64(4)).expect("a request");
    mesh.handle(MEMBER, Input::Enrol { id: 1, hello });
}

fn is_enrolled(mesh: &Mesh, pending: &PendingEnrolment) -> bool {
    match mesh.reply(MEMBER, Token(u64::MAX - 1)) {
        Some(Reply::Response { payload, .. }) => enrolment::finish_join(pending, payload).is_ok(),
        _ => false,
    }
}

fn flood(mesh: &mut Mesh, issuer: IssuerId) {
    for number in 0..300u64 {
        let relay = EnrolRelay { id: OuterId((1 << 40 | number).to_be_bytes()), hops: 0, issuer, sealed: &[7; 200] };
        for at in [1, MEMBER] {
            mesh.hand(at, INSIDER, &frame::of(Kind::EnrolRelay, &relay));
        }
    }
}

/// Invariant 2 of identity.
#[test]
fn an_issuer_that_gives_a_contact_other_keys_is_seen() {
    let mut mesh = mesh();
    let member = name("member");
    let own = mesh.nodes[1].engine.membership().contacts().get(&member).expect("a contact").contact_key;
    let mut record = mesh.realm.book.named(&member).expect("a device").clone();
    record.contact = AgreementKey([9; 32]);
    mesh.realm.book.load_device(record);
    // Whom it does not know it asks the issuer for.
    for _ in 0..2 {
        mesh.send(1, "stranger", b"", Ack::End, 5);
        mesh.run(seconds(6));
    }
    let contacts = mesh.nodes[1].engine.membership().contacts();
    assert_eq!(contacts.get(&member).expect("a contact").contact_key, own);
    let told = |logged: &Logged| matches!(logged, Logged::Known(Event::ContactChanged { name, .. }) if *name == member);
    assert_eq!(mesh.log(1).iter().filter(|logged| told(logged)).count(), 1);
    let Reply::Contacts(contacts) = mesh.nodes[1].engine.contacts() else { unreachable!("contacts are answered") };
    let changed: Vec<_> = contacts.iter().filter(|contact| contact.changed.is_some()).collect();
    assert_eq!(changed.iter().map(|contact| contact.name.as_str()).collect::<Vec<_>>(), ["member"]);
}

#[test]
fn requests_for_an_issuer_that_is_not_listed_go_nowhere() {
    let mut mesh = mesh();
    flood(&mut mesh, IssuerId([9; 8]));
    assert_eq!(mesh.counted(MEMBER, Counter::EnrolmentsUnlisted), 300);
    let pending = begin(&mut mesh);
    ask(&mut mesh, &pending);
    mesh.run(seconds(1));
    assert!(is_enrolled(&mesh, &pending));
}

/// Invariant 1 of engine::membership::relaying.
#[test]
fn a_flood_over_one_link_takes_its_own_share_only() {
    let mut mesh = mesh();
    let issuer = mesh.realm.issuer.id();
    flood(&mut mesh, issuer);
    assert_eq!(mesh.counted(MEMBER, Counter::EnrolmentsDroppedBusy), 300 - 16);
    let pending = begin(&mut mesh);
    ask(&mut mesh, &pending);
    mesh.run(seconds(1));
    assert!(is_enrolled(&mesh, &pending));
}

/// Invariants 1 and 3 of engine::membership::relaying.
#[test]
fn who_has_most_requests_under_way_gives_way() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "e", "f", "g"]);
    (1..7).for_each(|other| mesh.connect(0, other));
    mesh.run(seconds(1));
    // The issuer is listed, and not there.
    let issuer = mesh.realm.issuer.id();
    let ask = |mesh: &mut Mesh, from: usize, count: u64| {
        let dropped = mesh.counted(0, Counter::EnrolmentsDroppedBusy);
        for number in 0..count {
            let id = OuterId(((from as u64) << 40 | number).to_be_bytes());
            let relay = EnrolRelay { id, hops: 0, issuer, sealed: &[7; 200] };
            mesh.hand(0, from, &frame::of(Kind::EnrolRelay, &relay));
        }
        mesh.counted(0, Counter::EnrolmentsDroppedBusy) - dropped
    };
    assert_eq!((1..5).map(|from| ask(&mut mesh, from, 16)).collect::<Vec<_>>(), [0; 4], "64 are under way");
    let onward = |mesh: &Mesh| mesh.nodes[0].sent.iter().filter(|frame| frame[4] == Kind::EnrolRelay as u8).count();
    let before = onward(&mesh);
    ask(&mut mesh, 5, 16);
    assert!(onward(&mesh) - before >= 12 * 5, "most of a newcomer's find room: those of the others give way");
    mesh.run(seconds(20));
    assert_eq!(ask(&mut mesh, 6, 16), 0, "after their time there is room again");
}

/// Invariant 2 of engine::membership::relaying.
#[test]
fn what_a_neighbour_says_in_the_issuers_place_counts_for_nothing() {
    let mut mesh = mesh();
    let pending = begin(&mut mesh);
    ask(&mut mesh, &pending);
    let frames = &mesh.nodes[MEMBER].sent;
    let request =
        frames.iter().find(|frame| frame[4] == Kind::EnrolRelay as u8).expect("sent to the neighbours").clone();
    let request: EnrolRelay<'_> = decode(&request[frame::HEADER..]).expect("a request");
    // Long before the issuer has answered, in every form that the insider can give it.
    let reply = encode(&EnrolReply { sealed: None, refused: Some(Refusal::Revoked) });
    let digest = sha256(&[request.sealed]);
    for digest in [digest, [0; 32]] {
        let answer = EnrolAnswer { id: request.id, request: digest, piece: 0, pieces: 1, bytes: &reply };
        let signed = sign_document(&SigningKey::from_bytes(&[5; 32]), CONTEXT, &encode(&answer));
        mesh.hand(MEMBER, INSIDER, &frame::raw(Kind::EnrolAnswer, &signed));
        mesh.hand(MEMBER, INSIDER, &frame::of(Kind::EnrolAnswer, &answer));
    }
    assert_eq!(mesh.reply(MEMBER, Token(u64::MAX - 1)), None);
    assert_eq!(mesh.counted(MEMBER, Counter::EnrolmentAnswersForged), 1, "after the first it is not listened to");
    mesh.run(seconds(1));
    assert!(is_enrolled(&mesh, &pending));
}

/// A device asks at the admission of a member; its request, by which `answered` knows the answer.
fn newcomer(mesh: &mut Mesh, at: usize, number: u64) -> (PendingEnrolment, u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(100 + number);
    let realm = &mut mesh.realm;
    let invitation = Invitation::new(name(&format!("new-{number}")), Contacts::All);
    let ticket = invite(&realm.issuer, &mut realm.book, &realm.bulletin, invitation, mesh.now.unix, &mut rng);
    let pending = enrolment::begin_join_for(&ticket.expect("a ticket"), 4, &mut rng);
    let hello = pending.hello(&mut rng).expect("a request");
    mesh.handle(at, Input::Enrol { id: 1 + number, hello });
    (pending, 1 + number)
}

fn answered(mesh: &Mesh, at: usize, (pending, id): &(PendingEnrolment, u64)) -> bool {
    match mesh.reply(at, Token(u64::MAX - id)) {
        Some(Reply::Response { payload, .. }) => enrolment::finish_join(pending, payload).is_ok(),
        _ => false,
    }
}

/// How many requests a node has handed on.
fn handed_on(mesh: &Mesh, at: usize) -> usize {
    mesh.nodes[at].sent.iter().filter(|frame| frame[4] == Kind::EnrolRelay as u8).count()
}

const MONEY: u64 = 1_000_000;

#[test]
fn a_request_goes_over_links_that_cost_money_only_if_free_ones_are_in_vain() {
    // issuer – relay – relay – member for nothing, and past another member for money.
    let mut mesh = Mesh::new(&["issuer", "near", "far", "member", "sky"]);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)] {
        mesh.connect(a, b);
    }
    mesh.assess(3, 4, 40 * MONEY, Duration::from_millis(700));
    mesh.run(seconds(1));
    let first = newcomer(&mut mesh, 3, 0);
    mesh.run(seconds(1));
    assert!(answered(&mesh, 3, &first), "quickly, over three hops");
    assert_eq!((handed_on(&mesh, 3), handed_on(&mesh, 4)), (1, 0));
    mesh.run(seconds(60));
    assert_eq!(handed_on(&mesh, 4), 0, "not afterwards either");
    // The way that was chosen first loses all.
    mesh.vanish.insert((2, 1));
    let second = newcomer(&mut mesh, 3, 1);
    mesh.run(seconds(1));
    assert!(!answered(&mesh, 3, &second));
    assert_eq!(handed_on(&mesh, 4), 0);
    mesh.run(seconds(9));
    assert!(answered(&mesh, 3, &second));
    assert_eq!((handed_on(&mesh, 3), handed_on(&mesh, 4)), (3, 1));
}

/// Invariants 1 and 2 of engine::membership::issuer_search.
#[test]
fn where_every_way_costs_money_they_are_tried_in_turn_and_what_led_there_is_kept() {
    let mut mesh = Mesh::new(&["issuer", "dear", "cheap", "member", "middle", "free"]);
    for via in [1, 2, 4] {
        mesh.connect(0, via);
        mesh.connect(3, via);
    }
    for (via, price) in [(1, 30), (2, 10), (4, 20)] {
        mesh.assess(3, via, price * MONEY, Duration::from_millis(100));
    }
    mesh.run(seconds(1));
    let over = |mesh: &Mesh| [1, 2, 4, 5].map(|via| handed_on(mesh, via));
    let first = newcomer(&mut mesh, 3, 0);
    mesh.run(seconds(1));
    assert!(answered(&mesh, 3, &first));
    assert_eq!(over(&mesh), [0, 1, 0, 0], "the cheapest alone");
    mesh.vanish.insert((2, 0));
    let second = newcomer(&mut mesh, 3, 1);
    mesh.run(seconds(10));
    assert!(answered(&mesh, 3, &second));
    assert_eq!(over(&mesh), [0, 2, 1, 0], "then the next, and no more once there is an answer");
    let third = newcomer(&mut mesh, 3, 2);
    mesh.run(seconds(1));
    assert!(answered(&mesh, 3, &third), "at once by who led there last");
    assert_eq!(over(&mesh), [0, 2, 2, 0]);
    // A new neighbour may be a better way.
    mesh.connect(0, 5);
    mesh.connect(3, 5);
    mesh.run(seconds(1));
    let fourth = newcomer(&mut mesh, 3, 3);
    mesh.run(seconds(1));
    assert!(answered(&mesh, 3, &fourth));
    assert_eq!(over(&mesh), [0, 2, 2, 1]);
    // Nobody is asked twice, and it comes to an end.
    mesh.vanish.extend([(1, 0), (4, 0), (5, 0)]);
    let last = newcomer(&mut mesh, 3, 4);
    mesh.run(seconds(120));
    assert!(!answered(&mesh, 3, &last) && mesh.reply(3, Token(u64::MAX - last.1)).is_some(), "it is refused");
    assert_eq!(over(&mesh), [1, 3, 3, 2]);
}

/// Invariant 3 of engine::membership::relaying.
#[test]
fn a_request_is_given_the_time_that_slow_links_take() {
    let slow = Profile { name: "radio".into(), rate: 10, ..Profile::default() };
    let mut mesh =
        Mesh::with(&["issuer", "relay", "member"], |_| Settings { bearers: vec![slow.clone()], ..Settings::default() });
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    // 33 kB at 10 kbit/s are 27 s.
    mesh.stop(1);
    let asked = newcomer(&mut mesh, 2, 0);
    mesh.run(seconds(27));
    mesh.go_on(1);
    mesh.run(seconds(1));
    assert!(answered(&mesh, 2, &asked));
}
