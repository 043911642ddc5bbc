//! What a member sends that is not taken is counted by what is wrong with it, and only that.

use super::mesh::{Mesh, message};
use super::seconds;
use ed25519_dalek::SigningKey;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::Command;
use m2mesh::id::{CredentialHash, CredentialPrefix, Handle, OuterId, Signature, Tag};
use m2mesh::identity::sign::sign_document;
use m2mesh::time::Epoch;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::{Class, DataFrame, Form, Header, MAX_HOPS, Path, Policy, put_prefixed};
use m2mesh::wire::fragment::Fragment;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::lsa::{CONTEXT, Lsa, LsaDigest, LsaKey};
use m2mesh::wire::{self, Signed};
use std::time::Duration;

const MEMBER: usize = 1;
const OTHER: usize = 2;

/// issuer – member – other.
fn mesh() -> Mesh {
    mesh_with(Settings::default())
}

fn mesh_with(settings: Settings) -> Mesh {
    let mut mesh = Mesh::with(&["issuer", "member", "other"], move |_| settings.clone());
    mesh.connect(0, MEMBER);
    mesh.connect(MEMBER, OTHER);
    mesh.run(seconds(3));
    mesh
}

/// How often the member has counted it for what the other sends.
fn counted(mesh: &mut Mesh, frames: &[Vec<u8>], counter: Counter) -> u64 {
    let before = mesh.counted(MEMBER, counter);
    frames.iter().for_each(|frame| mesh.hand(MEMBER, OTHER, frame));
    mesh.counted(MEMBER, counter) - before
}

fn credential(mesh: &mut Mesh, of: usize) -> CredentialHash {
    let unix = mesh.now.unix;
    mesh.nodes[of].engine.membership().credential(unix).expect("a credential").hash
}

/// Invariants 1 and 2 of engine::neighbours::credential_exchange.
/// Invariant 1 of engine::neighbours::links.
/// Invariant 1 of engine::neighbours::peer_credentials.
/// Invariant 1 of engine::membership::bulletins.
#[test]
fn documents_that_nobody_has_signed_are_refused() {
    let mut mesh = mesh();
    let nobody = SigningKey::from_bytes(&[5; 32]);
    let forged = sign_document(&nobody, "m2mesh/1 bulletin", b"nonsense");
    let frames = |kind: Kind| [frame::raw(kind, b"nonsense"), frame::raw(kind, &forged)];
    assert_eq!(counted(&mut mesh, &frames(Kind::Bulletin), Counter::BulletinsRefused), 2);
    // A credential counts only if it has been asked for, as the offer of an LSA makes the member do.
    assert_eq!(counted(&mut mesh, &frames(Kind::Credential), Counter::CredentialsUnasked), 2);
    let origin = m2mesh::identity::credential::hash(&forged);
    let offer = frame::of(Kind::LsaDigest, &LsaDigest::of_news(vec![LsaKey { origin, sequence: 1 }]));
    assert_eq!(counted(&mut mesh, &[offer], Counter::CredentialsUnasked), 0);
    assert_eq!(counted(&mut mesh, &frames(Kind::Credential), Counter::CredentialsRefused), 1);
    assert_eq!(mesh.counted(MEMBER, Counter::CredentialsUnasked), 3, "the one of another hash");
    // Whoever cannot show a credential is a neighbour no more.
    let [first, _] = frames(Kind::Refresh);
    assert_eq!(counted(&mut mesh, &[first], Counter::RefreshesRefused), 1);
    assert_eq!(mesh.link(MEMBER, OTHER), None);
}

/// A frame of the data stream.
fn data(to: Handle, form: Form, expiry: u64, hops: usize) -> Vec<u8> {
    let policy = Policy::default();
    let header = Header { to, class: Class::Telemetry, form, expiry, policy, segment: 0, mail: None };
    let visited = (0..hops).map(|hop| CredentialPrefix([hop as u8 + 1; CredentialPrefix::LEN])).collect();
    let path = Path { outer: OuterId([hops as u8; OuterId::LEN]), visited, ..Path::default() };
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&path));
    body.extend_from_slice(&[7; 60]);
    assert!(DataFrame::parse(&body).is_ok());
    frame::raw(Kind::Data, &body)
}

/// Invariant 2 of engine::routing::forward.
#[test]
fn data_that_leads_nowhere_is_not_handed_on() {
    let mut mesh = mesh();
    let (nobody, soon) = (Handle([9; Handle::LEN]), mesh.now.unix.0 + 60_000_000);
    let late = data(nobody, Form::Session, mesh.now.unix.0 - 3_600_000_000, 0);
    assert_eq!(counted(&mut mesh, &[late], Counter::DataExpired), 1);
    let far = data(nobody, Form::Session, soon, MAX_HOPS);
    assert_eq!(counted(&mut mesh, &[far], Counter::DataOutOfHops), 1);
    // A leaf hands on nothing at all.
    let mut mesh = mesh_with(Settings { forwarding: false, ..Settings::default() });
    let other = data(nobody, Form::Session, soon, 0);
    assert_eq!(counted(&mut mesh, &[other], Counter::DataForOthers), 1);
}

#[test]
fn mail_without_a_box_is_malformed() {
    let mut mesh = mesh();
    let (unix, soon) = (mesh.now.unix, mesh.now.unix.0 + 60_000_000);
    let member = mesh.nodes[MEMBER].engine.membership().credential(unix).expect("a credential").body.handle;
    let mail = data(member, Form::Mail, soon, 0);
    assert_eq!(counted(&mut mesh, &[mail], Counter::DataMalformed), 1);
}

/// Invariant 1 of engine::neighbours::fragments.
#[test]
fn pieces_that_do_not_follow_each_other_are_dropped() {
    let mut mesh = mesh();
    let piece = |frame: u32, piece: u16, pieces: u16| {
        frame::of(Kind::Fragment, &Fragment { frame, piece, pieces, bytes: &[7; 20] })
    };
    let alone = [piece(1, 0, 1), piece(2, 3, 3), piece(3, 1, 3)];
    assert_eq!(counted(&mut mesh, &alone, Counter::FragmentsDropped), 3);
    let left_out = [piece(4, 0, 3), piece(4, 2, 3), piece(4, 1, 3)];
    assert_eq!(counted(&mut mesh, &left_out, Counter::FragmentsDropped), 2, "the frame is given up with its gap");
}

/// Invariant 1 of engine::routing::link_state.
#[test]
fn link_state_that_its_router_has_not_told_changes_nothing() {
    let mut mesh = mesh();
    let key = |mesh: &mut Mesh, of: usize| {
        SigningKey::from_bytes(
            &mesh.nodes[of].engine.membership().libp2p_seed(m2mesh::time::Unix::from_seconds(1_800_000_000)),
        )
    };
    let told = |origin: CredentialHash, area: u32, key: &SigningKey| {
        let (links, leaves, groups, services, borders, accesses) = Default::default();
        let lsa =
            Lsa { origin, sequence: 1 << 40, area, leaving: false, links, leaves, groups, services, borders, accesses };
        frame::raw(Kind::Lsa, &sign_document(key, CONTEXT, &wire::encode(&lsa)))
    };
    let (other, issuer) = (key(&mut mesh, OTHER), credential(&mut mesh, 0));
    // In another's name; of another area; of somebody whom nobody knows.
    assert_eq!(counted(&mut mesh, &[told(issuer, 0, &other)], Counter::LsasForged), 1);
    let own = told(credential(&mut mesh, OTHER), 7, &other);
    assert_eq!(counted(&mut mesh, &[own], Counter::LsasOfOtherAreas), 1);
    let unknown = told(CredentialHash([9; CredentialHash::LEN]), 0, &other);
    assert_eq!(counted(&mut mesh, &[unknown], Counter::LsasWithoutCredential), 0, "it is asked for");
    mesh.run(seconds(60));
    assert_eq!(mesh.counted(MEMBER, Counter::LsasWithoutCredential), 1);
    let token = mesh.send(0, "other", b"as before", Ack::End, 10);
    mesh.run(seconds(1));
    assert!(mesh.ended.contains_key(&token));
}

/// Invariants 1 and 2 of engine::groups::group_frames.
#[test]
fn group_frames_that_are_old_or_of_somebody_else_are_not_taken() {
    let mut mesh = mesh();
    let of = |sender: CredentialHash, expiry: u64| {
        let (epoch, group) = (Epoch(1), Tag([1; Tag::LEN]));
        let frame = GroupFrame {
            epoch,
            sender,
            group,
            segment: 0,
            version: 1,
            sent: expiry.saturating_sub(30_000_000),
            expiry,
            salt: [0; 16],
            counter: 0,
            sealed: &[0; 64],
            permit: None,
        };
        let body = wire::encode(&frame);
        frame::raw(Kind::Group, &wire::encode(&Signed { body: &body, signature: Signature([0; 64]) }))
    };
    let (other, now) = (credential(&mut mesh, OTHER), mesh.now.unix.0);
    let old = of(other, now - 3_600_000_000);
    assert_eq!(counted(&mut mesh, &[old], Counter::GroupFramesExpired), 1);
    let unsigned = of(other, now + 30_000_000);
    assert_eq!(counted(&mut mesh, &[unsigned], Counter::GroupFramesForged), 1);
}

/// Invariant 2 of engine::groups::group_frames.
#[test]
fn a_publication_that_comes_back_is_not_heard_again() {
    let mut mesh = mesh();
    let filter = || "plant/+".to_owned();
    let listening = [MEMBER, OTHER].map(|at| mesh.command(at, Command::subscribe(filter())));
    mesh.run(seconds(4));
    mesh.nodes[MEMBER].sent.clear();
    let (topic, payload) = ("plant/line".to_owned(), b"once".to_vec());
    mesh.command(
        MEMBER,
        Command::Publish {
            topic,
            payload,
            policy: None,
            lifetime: Duration::from_secs(30),
            confirm: None,
            latest: false,
        },
    );
    mesh.run(seconds(1));
    let is_group = |frame: &&Vec<u8>| frame[4] == Kind::Group as u8;
    let own = mesh.nodes[MEMBER].sent.iter().find(is_group).expect("it was published").clone();
    let heard = mesh.nodes[MEMBER].replies.iter().filter(|(token, _)| *token == listening[0]).count();
    mesh.hand(MEMBER, OTHER, &own);
    assert_eq!(mesh.counted(MEMBER, Counter::GroupFramesDuplicate), 1);
    assert_eq!(mesh.nodes[MEMBER].replies.iter().filter(|(token, _)| *token == listening[0]).count(), heard);
}

#[test]
fn calls_that_nobody_takes_or_answers_are_counted_where_they_came() {
    let mut mesh = mesh();
    mesh.command(MEMBER, Command::Offer { service: "slow".into(), capacity: None });
    mesh.run(seconds(1));
    for service in ["slow", "other"] {
        let send = message("member", b"?", Ack::End, 5);
        mesh.command(OTHER, Command::Request { send, service: Some(service.into()) });
    }
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(MEMBER, Counter::CallsWithoutService), 1);
    assert_eq!(mesh.counted(MEMBER, Counter::CallsUnanswered), 0, "there is time");
    mesh.run(seconds(10));
    assert_eq!(mesh.counted(MEMBER, Counter::CallsUnanswered), 1);
}
