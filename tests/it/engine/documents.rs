//! A new bulletin and the documents that it names reach everybody, and nothing is lost around a change of keys.

use super::mesh::Mesh;
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Reply, Token};
use m2mesh::event_log::{Event, Logged};
use m2mesh::identity::group_tree;
use m2mesh::identity::kdf::{Secret, sha256};
use m2mesh::wire::bulletin::Bulletin;
use m2mesh::wire::document::{DocumentPiece, MAX_PIECES, PIECE};
use m2mesh::wire::encode;
use m2mesh::wire::frame::{self, Kind};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;
use std::time::Duration;

/// a – b – c, and d, which is not linked yet.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b", "c", "d"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    mesh
}

/// The next bulletin, signed, after a change to the one in force.
fn next_bulletin(mesh: &mut Mesh, change: impl FnOnce(&mut Bulletin)) -> Vec<u8> {
    let mut body = mesh.realm.bulletin.body().clone();
    body.version += 1;
    change(&mut body);
    let mut bulletin = mesh.realm.founding.operator.sign(&body).expect("the operator's");
    bulletin.inherit(&mesh.realm.bulletin);
    mesh.realm.bulletin = bulletin;
    mesh.realm.bulletin.signed().to_vec()
}

/// A second version of the root key, in force so many seconds from now, whose document is longer than a bulletin may be.
fn rekey(mesh: &mut Mesh, after: u64) -> (Vec<u8>, Vec<u8>) {
    let excluded: BTreeSet<u32> = (8..4_000).step_by(2).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let document = mesh.realm.issuer.seal_group(&mut rng, (None, 2), &Secret::new([2; 32]), 4_000, &excluded);
    let from = (mesh.now.unix + seconds(after)).seconds();
    let signed = next_bulletin(mesh, |body| body.groups.push(group_tree::reference(&document, from)));
    let document = encode(&document);
    assert!(document.len() > 64 * 1024 && document.len() < PIECE * usize::from(MAX_PIECES));
    assert_eq!(mesh.realm.bulletin.attach(&document), Ok(true));
    (signed, document)
}

fn heard(mesh: &Mesh, at: usize, token: Token) -> Vec<u8> {
    let replies = mesh.nodes[at].replies.iter().filter(|(of, _)| *of == token);
    let payload = |(_, reply): &(Token, Reply)| match reply {
        Reply::Published(published) => Some(published.payload[0]),
        _ => None,
    };
    replies.filter_map(payload).collect()
}

fn publish(mesh: &mut Mesh, at: usize, number: u8) {
    let topic = "plant/x".to_owned();
    mesh.command(
        at,
        Command::Publish {
            topic,
            payload: vec![number],
            policy: None,
            lifetime: seconds(30),
            confirm: None,
            latest: false,
        },
    );
}

#[test]
fn documents_follow_their_bulletin_and_no_publication_is_lost_at_the_change() {
    let mut mesh = mesh();
    let (signed, document) = rekey(&mut mesh, 60);
    let hash = sha256(&[&document]);
    // d has both, and comes along.
    let membership = mesh.nodes[3].engine.membership();
    assert_eq!(membership.accept_bulletin(&signed), Ok(true));
    assert_eq!(membership.accept_document(&document), Ok(true));
    mesh.connect(2, 3);
    mesh.run(seconds(1));
    for at in 0..4 {
        let bulletin = mesh.nodes[at].engine.membership().bulletin().clone();
        assert_eq!((bulletin.version(), bulletin.missing().len()), (2, 0), "node {at}");
        assert_eq!(bulletin.document(&hash).map(|raw| raw.len()), Some(document.len()));
    }
    let token = mesh.command(0, Command::subscribe("plant/#"));
    mesh.run(seconds(20));
    for number in 0..80 {
        publish(&mut mesh, 3, number);
        mesh.run(seconds(1));
    }
    assert_eq!(heard(&mesh, 0, token), (0..80).collect::<Vec<_>>());
    assert_eq!(mesh.nodes[0].engine.membership().groups().version("plant"), Some(2));
    // What was fetched is kept.
    mesh.restart(1);
    assert!(mesh.nodes[1].engine.membership().bulletin().missing().is_empty());
}

/// Invariant 1 of engine::membership::documents.
#[test]
fn a_neighbour_that_gives_something_else_is_left_for_another() {
    let mut mesh = mesh();
    let (signed, document) = rekey(&mut mesh, 60);
    let hash = sha256(&[&document]);
    // b hears of it from c, which has nothing and makes something up.
    mesh.hand(1, 2, &frame::raw(Kind::Bulletin, &signed));
    let made_up = DocumentPiece { hash, piece: 0, pieces: 1, bytes: b"made up" };
    mesh.hand(1, 2, &frame::of(Kind::DocumentPiece, &made_up));
    assert_eq!(mesh.counted(1, Counter::DocumentsRefused), 1);
    mesh.hand(1, 2, &frame::of(Kind::DocumentPiece, &made_up));
    assert_eq!(mesh.counted(1, Counter::DocumentsRefused), 1, "nobody asks it any more");
    assert_eq!(mesh.nodes[1].engine.membership().bulletin().missing(), [hash]);
    // Without the document it goes on with the key that it has.
    assert_eq!(mesh.nodes[1].engine.membership().groups().version("plant"), Some(1));
    mesh.run(seconds(90));
    assert_eq!(mesh.nodes[1].engine.membership().groups().version("plant"), Some(1));
    assert_eq!(mesh.nodes[3].engine.membership().accept_bulletin(&signed), Ok(true));
    assert_eq!(mesh.nodes[3].engine.membership().accept_document(&document), Ok(true));
    mesh.connect(0, 3);
    mesh.run(seconds(15));
    for at in [0, 1, 3] {
        assert_eq!(mesh.nodes[at].engine.membership().groups().version("plant"), Some(2), "node {at}");
    }
}

#[test]
fn a_bulletin_whose_successor_is_overdue_is_told_once_and_holds() {
    let mut mesh = mesh();
    let next_update = (mesh.now.unix + seconds(60)).seconds();
    let signed = next_bulletin(&mut mesh, |body| body.next_update = next_update);
    // Each hands it on, but not to where it came from.
    mesh.hand(0, 1, &frame::raw(Kind::Bulletin, &signed));
    mesh.hand(1, 0, &frame::raw(Kind::Bulletin, &signed));
    let told = |mesh: &Mesh, at| {
        let overdue = |logged: &Logged| match logged {
            Logged::Known(Event::BulletinOverdue { version, since }) => Some((*version, *since)),
            _ => None,
        };
        mesh.log(at).iter().filter_map(overdue).collect::<Vec<_>>()
    };
    mesh.run(seconds(58));
    assert!(told(&mesh, 2).is_empty());
    mesh.run(seconds(7_200));
    for at in 0..3 {
        assert_eq!(told(&mesh, at), [(2, next_update)], "node {at}");
    }
    let token = mesh.send(0, "c", b"goes on", m2mesh::wire::batch::Ack::End, 30);
    mesh.run(Duration::from_secs(2));
    assert!(mesh.ended.get(&token).is_some_and(|outcome| outcome.is_success()));
}
