//! Quarantine: who goes on sending what is forged or malformed is left alone for ever longer, and nobody else is.

use super::mesh::Mesh;
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Reply};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::Event;
use m2mesh::id::{CredentialHash, Handle, LinkId, OuterId, Pseudonym, Signature, Tag};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::time::Epoch;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::{Class, DataFrame, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::{self, Signed};
use std::time::Duration;

const VICTIM: usize = 1;
const LIAR: usize = 2;
const OTHER: usize = 3;

/// liar – victim – other.
fn mesh_with(settings: impl Fn(usize) -> Settings) -> Mesh {
    let mut mesh = Mesh::with(&["issuer", "victim", "liar", "other"], settings);
    mesh.connect(VICTIM, LIAR);
    mesh.connect(VICTIM, OTHER);
    mesh.run(seconds(10));
    mesh
}

fn mesh() -> Mesh {
    mesh_with(|_| Settings::default())
}

/// The liar does what closes its links at once.
fn offend(mesh: &mut Mesh) {
    mesh.hand(VICTIM, LIAR, &u32::MAX.to_be_bytes());
    assert_eq!(mesh.link(VICTIM, LIAR), None, "its link is closed");
}

fn quarantines(mesh: &Mesh) -> Vec<(u64, u64)> {
    let held = mesh.events(VICTIM).into_iter().filter_map(|event| match event {
        Event::NeighbourQuarantined { seconds, offences, .. } => Some((seconds, offences)),
        _ => None,
    });
    held.collect()
}

/// A data frame whose sealed part is noise.
fn noise(to: Handle, form: Form, expiry: u64, number: u8) -> Vec<u8> {
    let policy = Policy::default();
    let header = Header { to, class: Class::Telemetry, form, expiry, policy, segment: 0, mail: None };
    let path = Path { outer: OuterId([number, form as u8, 0, 0, 0, 0, 0, 0]), ..Path::default() };
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&path));
    if form != Form::Session {
        put_prefixed(&mut body, &[number; 100]);
    }
    body.extend_from_slice(&[number; 60]);
    assert!(DataFrame::parse(&body).is_ok());
    frame::raw(Kind::Data, &body)
}

/// A group frame that the victim is said to have published.
fn forged_publication(mesh: &mut Mesh) -> Vec<u8> {
    let (unix, group) = (mesh.now.unix, Tag([1; Tag::LEN]));
    let sender = mesh.nodes[1].engine.membership().credential(unix).expect("a credential").hash;
    let (sent, expiry) = (unix.0, unix.0 + 30_000_000);
    let (salt, counter, sealed) = ([0; 16], 0, &[0; 64][..]);
    let (epoch, permit) = (Epoch(1), None);
    let frame =
        GroupFrame { epoch, sender, group, segment: 0, version: 1, sent, expiry, salt, counter, sealed, permit };
    let body = wire::encode(&frame);
    frame::raw(Kind::Group, &wire::encode(&Signed { body: &body, signature: Signature([0; 64]) }))
}

/// Invariant 1 of engine::neighbours::quarantine.
#[test]
fn who_offends_again_is_left_alone_for_twice_as_long_each_time_and_then_let_in() {
    let mut mesh = mesh();
    offend(&mut mesh);
    assert_eq!((mesh.admits(VICTIM, LIAR), mesh.nodes[VICTIM].engine.quarantined().len()), (Ok(()), 0));
    for (rest, offences) in [(60, 2), (120, 3), (240, 4)] {
        mesh.connect(VICTIM, LIAR);
        offend(&mut mesh);
        let held = mesh.nodes[VICTIM].engine.quarantined();
        let [held] = held.as_slice() else { unreachable!("{held:?}") };
        assert_eq!((held.offences, held.left, held.reason), (offences, seconds(rest), "a frame of impossible length"));
        assert_eq!(held.name.as_ref().map(|name| name.as_str()), Some("liar"));
        assert_eq!(mesh.nodes[VICTIM].shunned.last(), Some(&(mesh.nodes[LIAR].own, seconds(rest))));
        mesh.run(seconds(rest) - Duration::from_millis(1));
        assert_eq!(mesh.admits(VICTIM, LIAR), Err("quarantined"));
        assert_eq!(
            (mesh.admits(VICTIM, OTHER), mesh.admits(OTHER, LIAR)),
            (Ok(()), Ok(())),
            "nobody else is concerned"
        );
        mesh.run(Duration::from_millis(2));
        assert_eq!(mesh.admits(VICTIM, LIAR), Ok(()));
    }
    assert_eq!(mesh.counted(VICTIM, Counter::NeighboursQuarantined), 3);
    assert_eq!(quarantines(&mesh), [(60, 2), (120, 3), (240, 4)]);
    // It talks again, and after hours without an offence the next is as the first.
    mesh.connect(VICTIM, LIAR);
    let token = mesh.send(LIAR, "victim", b"I have mended my ways", Ack::End, 30);
    mesh.run(seconds(5));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })));
    mesh.run(seconds(5 * 3_600));
    offend(&mut mesh);
    assert_eq!(mesh.admits(VICTIM, LIAR), Ok(()));
}

#[test]
fn an_operator_lifts_a_quarantine() {
    let mut mesh = mesh();
    offend(&mut mesh);
    mesh.connect(VICTIM, LIAR);
    offend(&mut mesh);
    assert_eq!(mesh.admits(VICTIM, LIAR), Err("quarantined"));
    let token = mesh.command(VICTIM, Command::LiftQuarantine);
    assert_eq!((mesh.reply(VICTIM, token), mesh.admits(VICTIM, LIAR)), (Some(&Reply::Ready), Ok(())));
    assert_eq!(mesh.nodes[VICTIM].shunned.last(), Some(&(mesh.nodes[LIAR].own, Duration::ZERO)), "it is dialled again");
    mesh.run(seconds(1));
    assert!(mesh.events(VICTIM).contains(&Event::QuarantineLifted { neighbours: 1 }));
    // Its offences are forgiven.
    mesh.connect(VICTIM, LIAR);
    offend(&mut mesh);
    assert_eq!(mesh.admits(VICTIM, LIAR), Ok(()));
}

/// A link that was being admitted when the quarantine began is closed when it comes up.
#[test]
fn who_was_admitted_before_its_quarantine_is_turned_away_when_its_link_comes_up() {
    let mut mesh = mesh();
    offend(&mut mesh);
    mesh.connect(VICTIM, LIAR);
    let (here, _) = mesh.connect_beside(VICTIM, LIAR, 0);
    let peer = mesh.admitted(VICTIM, LIAR).expect("a member");
    offend(&mut mesh);
    mesh.handle(VICTIM, Input::LinkDown { link: here, reason: "closed".into() });
    let own = mesh.nodes[VICTIM].own;
    let link = LinkId(7_777);
    mesh.handle(VICTIM, Input::LinkUp { own, link, peer, transport: "memory", bearer: 0, age: Duration::ZERO });
    assert!(mesh.nodes[VICTIM].engine.links().all(|(up, ..)| up != link));
}

#[test]
fn malformed_frames_are_forgiven_now_and_then_and_no_more() {
    let mut mesh = mesh();
    let nonsense = frame::raw(Kind::Locate, b"nonsense");
    mesh.hand(VICTIM, LIAR, &nonsense.repeat(31));
    assert!(mesh.link(VICTIM, LIAR).is_some(), "so many are forgiven");
    // One in five seconds, without end.
    for _ in 0..20 {
        mesh.run(seconds(6));
        mesh.hand(VICTIM, LIAR, &nonsense);
    }
    assert!(mesh.link(VICTIM, LIAR).is_some());
    mesh.hand(VICTIM, LIAR, &nonsense.repeat(32));
    assert_eq!((mesh.link(VICTIM, LIAR), mesh.admits(VICTIM, LIAR)), (None, Ok(())));
    // A new link has no new allowance.
    mesh.connect(VICTIM, LIAR);
    mesh.run(seconds(6));
    mesh.hand(VICTIM, LIAR, &nonsense.repeat(2));
    assert_eq!((mesh.link(VICTIM, LIAR), mesh.admits(VICTIM, LIAR)), (None, Err("quarantined")));
    assert_eq!(mesh.nodes[VICTIM].engine.quarantined()[0].reason, "it sends frames that are malformed");
    assert!(mesh.counted(VICTIM, Counter::ControlMalformed) > 31 + 20);
}

#[test]
fn a_relay_answers_for_what_it_should_have_verified_and_not_for_what_is_sealed() {
    let mut mesh = Mesh::new(&["issuer", "victim", "relay", "insider"]);
    mesh.connect(1, 2);
    mesh.connect(2, 3);
    mesh.run(seconds(10));
    let unix = mesh.now.unix;
    let handle = mesh.nodes[1].engine.membership().credential(unix).expect("a credential").body.handle;
    for number in 0..200u8 {
        // Under sessions that nobody knows, with paths of their own, and with nothing that opens.
        for form in [Form::Session, Form::Opener, Form::Answer] {
            mesh.hand(2, 3, &noise(handle, form, unix.0 + 60_000_000, number));
        }
        mesh.run(Duration::from_millis(10));
    }
    let unopened = [Counter::SessionsUnknown, Counter::DataMalformed, Counter::SessionsRefused];
    let unopened: u64 = unopened.into_iter().map(|counter| mesh.counted(1, counter)).sum();
    assert!(unopened > 300, "{unopened} came through the relay");
    assert!(mesh.link(1, 2).is_some() && mesh.link(2, 3).is_some(), "and neither is held for it");
    // What is forged goes no further than to the relay, which holds who handed it in.
    let forged = forged_publication(&mut mesh);
    mesh.hand(2, 3, &forged.repeat(40));
    mesh.run(seconds(6));
    mesh.connect(2, 3);
    mesh.hand(2, 3, &forged.repeat(40));
    assert_eq!(
        (mesh.counted(1, Counter::GroupFramesForged), mesh.counted(2, Counter::GroupFramesForged) > 32),
        (0, true)
    );
    assert_eq!((mesh.admits(2, 3), mesh.admits(1, 2)), (Err("quarantined"), Ok(())));
    assert!(mesh.link(1, 2).is_some());
}

#[test]
fn a_contact_does_not_leave_its_quarantine_by_taking_another_pseudonym() {
    let mut mesh = mesh_with(|_| Settings { anonymity: Anonymity::Rotating, ..Settings::default() });
    let left = 3_600 - mesh.now.unix.seconds() % 3_600;
    mesh.run(seconds(left - 30));
    offend(&mut mesh);
    mesh.connect(VICTIM, LIAR);
    offend(&mut mesh);
    let before = mesh.nodes[LIAR].own;
    mesh.run(seconds(50));
    let unix = mesh.now.unix;
    let after = mesh.nodes[LIAR].engine.membership().pseudonym(unix);
    assert_ne!(after, before, "an epoch has turned");
    mesh.nodes[LIAR].own = after;
    assert_eq!(mesh.admits(VICTIM, LIAR), Err("quarantined"));
    mesh.run(seconds(20));
    assert_eq!(mesh.admits(VICTIM, LIAR), Ok(()));
    // Its next offence is the third.
    mesh.connect(VICTIM, LIAR);
    offend(&mut mesh);
    assert_eq!(mesh.nodes[VICTIM].engine.quarantined().iter().map(|held| held.offences).collect::<Vec<_>>(), [3]);
}

/// Invariant 2 of engine::neighbours::quarantine.
#[test]
fn of_more_offenders_than_are_remembered_some_are_forgotten_and_counted() {
    let mut mesh = mesh();
    let (own, peer) = (mesh.nodes[VICTIM].own, mesh.admitted(VICTIM, OTHER).expect("a member"));
    for number in 0..1_030u64 {
        let mut peer = peer.clone();
        let bytes = |at: usize| number.to_be_bytes()[at % 8];
        peer.credential.body.key = Pseudonym(core::array::from_fn(bytes));
        peer.credential.body.handle = Handle(core::array::from_fn(bytes));
        peer.credential.hash = CredentialHash(core::array::from_fn(bytes));
        let link = LinkId(10_000 + number);
        mesh.handle(VICTIM, Input::LinkUp { own, link, peer, transport: "memory", bearer: 0, age: Duration::ZERO });
        mesh.handle(VICTIM, Input::Frames { link, buffer: bytes::Bytes::from_static(&[0xff; 4]) });
        mesh.handle(VICTIM, Input::LinkDown { link, reason: "closed".into() });
    }
    assert_eq!(mesh.counted(VICTIM, Counter::OffendersForgotten), 1_030 - 1_024);
}
