//! Custody by and of devices that have no card of each other: who may say that a mail has arrived, and that none is lost or kept for nothing.

use super::mesh::{Mesh, message, name};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Token};
use m2mesh::engine::{Input, Settings, SleepSettings};
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;
use m2mesh::wire::custody::{CONTEXT, Custody, CustodyVerdict};
use m2mesh::wire::frame::{self, HEADER, Kind};
use m2mesh::wire::{self, Signed};

/// The sender, a mailbox without cards, the receiver, a member without cards, and a mailbox that is the receiver's parent.
const A: usize = 1;
const M: usize = 2;
const B: usize = 3;
const R: usize = 4;
const N: usize = 5;
const HOUR: u64 = 3_600;

/// Devices that have told the issuer their prekeys, and are introduced to each other as these pairs say.
fn mesh_of(pairs: &[(&str, &str)]) -> Mesh {
    let nodes = ["issuer", "a", "stranger", "b", "r", "n"].map(|name| (name, DEFAULT_SEGMENT));
    let roles = |at| if at == M || at == N { Role::Mailbox as u16 } else { 0 };
    let sleep = |at| (at == B).then(|| SleepSettings { parents: vec![name("n")], ..SleepSettings::default() });
    let settings = |at| Settings { mail: at > 0, sleep: sleep(at), ..Settings::default() };
    let mut mesh = Mesh::of_roles(7, &nodes, Vec::new(), roles, settings);
    pairs.iter().for_each(|(one, other)| mesh.introduce(one, other));
    for at in 0..nodes.len() {
        mesh.handle(at, Input::Timeout);
    }
    mesh.run(seconds(60));
    mesh
}

/// The mailbox keeps a message for b, and a is gone.
fn kept() -> Mesh {
    let mut mesh = mesh_of(&[("a", "b")]);
    mesh.connect(A, M);
    mesh.run(seconds(5));
    send(&mut mesh, b"1");
    mesh.run(seconds(20));
    assert_eq!((mesh.counted(A, Counter::MailTaken), mesh.mails(M)), (1, 1));
    assert_eq!(mesh.nodes[M].engine.mailbox()[0].to, None, "nobody it knows");
    mesh.disconnect(A, M);
    mesh
}

fn send(mesh: &mut Mesh, payload: &[u8]) -> Token {
    mesh.command(A, Command::Send(message("b", payload, Ack::End, 100 * HOUR)))
}

fn inbox(mesh: &Mesh) -> Vec<Vec<u8>> {
    mesh.inbox(B).into_iter().map(|message| message.payload).collect()
}

/// The last statement of custody that a device has made, and what it says.
fn stated(mesh: &Mesh, at: usize) -> (Vec<u8>, Custody) {
    let custody = |frame: &&Vec<u8>| frame[4] == Kind::Custody as u8;
    let told = mesh.nodes[at].sent.iter().rev().find(custody).cloned().expect("it has stated something");
    let signed: Signed<'_> = wire::decode(&told[HEADER..]).expect("signed");
    let custody = wire::decode(signed.body).expect("a statement");
    (told, custody)
}

#[test]
fn a_mailbox_without_a_card_of_the_receiver_lets_go_of_what_that_has() {
    let mut mesh = kept();
    mesh.restart(M);
    mesh.connect(M, B);
    mesh.run(seconds(5));
    assert_eq!((inbox(&mesh), mesh.mails(M)), (vec![b"1".to_vec()], 0));
    assert_eq!((mesh.counted(M, Counter::MailHandedOn), mesh.counted(M, Counter::CustodyRefused)), (1, 0));
}

/// Invariant 1 of engine::messages::mail::statements.
#[test]
fn only_the_receiver_that_the_header_names_or_a_mailbox_releases_a_mail() {
    let mut mesh = kept();
    mesh.connect(M, R);
    mesh.run(seconds(5));
    mesh.vanish.insert((B, M));
    mesh.connect(M, B);
    mesh.run(seconds(5));
    mesh.vanish.clear();
    let (told, mut custody) = stated(&mesh, B);
    assert_eq!((custody.verdict, mesh.mails(M)), (CustodyVerdict::Kept, 1));
    // A member that has seen the frame says in its own name that it has it, and that it cannot be opened.
    let own = mesh.nodes[R].engine.membership().credential(mesh.now.unix).expect("a credential").clone();
    custody.by = own.hash;
    for verdict in [CustodyVerdict::Kept, CustodyVerdict::NoSuchBox] {
        custody.verdict = verdict;
        let before = mesh.counted(M, Counter::CustodyRefused);
        let forged = own.sign_document(CONTEXT, &wire::encode(&custody));
        mesh.hand(M, R, &frame::raw(Kind::Custody, &forged));
        mesh.run(seconds(1));
        assert_eq!((mesh.counted(M, Counter::CustodyRefused), mesh.mails(M)), (before + 1, 1));
    }
    // What the receiver has signed counts, whoever brings it.
    mesh.hand(M, R, &told);
    mesh.run(seconds(1));
    assert_eq!((mesh.mails(M), inbox(&mesh)), (0, vec![b"1".to_vec()]));
}

#[test]
fn mail_of_a_receiver_that_becomes_known_is_handed_on_in_another_epoch() {
    let mut mesh = kept();
    mesh.introduce("stranger", "b");
    // The mailbox renews meanwhile, and its cards come with that. The handle in the header serves no more.
    mesh.run(seconds(30 * HOUR));
    assert_eq!(mesh.nodes[M].engine.mailbox()[0].to, Some(name("b")));
    mesh.restart(M);
    assert_eq!(mesh.nodes[M].engine.mailbox()[0].to, Some(name("b")), "it is written");
    mesh.connect(M, B);
    mesh.run(seconds(5));
    assert_eq!((inbox(&mesh), mesh.mails(M)), (vec![b"1".to_vec()], 0));
}

#[test]
fn mail_of_a_receiver_without_a_card_goes_on_to_the_parent_that_advertises_its_box() {
    let mut mesh = mesh_of(&[("a", "b"), ("n", "b")]);
    mesh.connect(N, B);
    mesh.run(seconds(5));
    mesh.disconnect(N, B);
    mesh.connect(A, M);
    mesh.run(seconds(5));
    send(&mut mesh, b"1");
    mesh.run(seconds(20));
    assert_eq!((mesh.mails(M), mesh.mails(N)), (1, 0));
    mesh.disconnect(A, M);
    mesh.connect(M, N);
    mesh.run(seconds(60));
    assert_eq!((mesh.mails(M), mesh.mails(N)), (0, 1));
    // In another epoch, when nobody else would find b.
    mesh.run(seconds(3 * HOUR));
    mesh.connect(N, B);
    mesh.run(seconds(5));
    assert_eq!((inbox(&mesh), mesh.mails(N)), (vec![b"1".to_vec()], 0));
}

#[test]
fn mail_of_a_sender_without_a_card_waits_for_that_card() {
    let mut mesh = mesh_of(&[("stranger", "b"), ("stranger", "a")]);
    // b has told its prekey, and knows nobody else yet.
    mesh.introduce("a", "b");
    mesh.connect(A, M);
    mesh.run(seconds(5));
    send(&mut mesh, b"1");
    mesh.run(seconds(30));
    assert_eq!(mesh.mails(M), 1);
    mesh.disconnect(A, M);
    mesh.connect(M, B);
    mesh.run(seconds(5));
    assert!(mesh.counted(B, Counter::MailOfStrangers) > 0);
    assert_eq!(mesh.mails(M), 1, "nobody has said what becomes of it");
    mesh.run(seconds(60));
    assert_eq!((inbox(&mesh), mesh.mails(M)), (vec![b"1".to_vec()], 0));
}
