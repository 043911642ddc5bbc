//! Custody: what is sent to a device that is away is kept for it, durably, and handed on when it is there.

use super::mesh::{Mesh, message};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Send, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::Event;
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::Kind;
use std::time::Duration;

const A: usize = 1;
const M: usize = 2;
const B: usize = 3;
const R: usize = 4;
const HOUR: u64 = 3_600;

/// The sender a, the mailbox m, the receiver b, a plain router r, and another mailbox n; what is linked is said by each test. All devices but the issuer take mail.
fn mesh_of(settings: impl Fn(usize) -> Settings) -> Mesh {
    let nodes = ["issuer", "a", "m", "b", "r", "n"].map(|name| (name, DEFAULT_SEGMENT));
    let roles = |at| if at == M || at == 5 { Role::Mailbox as u16 } else { 0 };
    let mut mesh = Mesh::of_roles(7, &nodes, Vec::new(), roles, |at| Settings { mail: at > 0, ..settings(at) });
    for at in 0..nodes.len() {
        mesh.handle(at, Input::Timeout);
    }
    // By then each has told the issuer its prekey.
    mesh.run(seconds(60));
    mesh
}

/// a – m – b, and b goes away.
fn away() -> Mesh {
    let mut mesh = mesh_of(|_| Settings::default());
    mesh.connect(A, M);
    mesh.connect(M, B);
    mesh.run(seconds(5));
    mesh.disconnect(M, B);
    mesh.run(seconds(5));
    mesh
}

fn send(mesh: &mut Mesh, payload: &str, class: Class, hours: u64) -> Token {
    let message = message("b", payload.as_bytes(), Ack::End, hours * HOUR);
    mesh.command(A, Command::Send(Send { class, ..message }))
}

/// What lies in the inbox of b.
fn inbox(mesh: &Mesh) -> Vec<String> {
    mesh.inbox(B).into_iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

/// Invariant 3 of engine::messages::mail.
#[test]
fn mail_outlives_its_sender_a_restart_of_who_keeps_it_and_the_turns_of_epochs() {
    let mut mesh = away();
    send(&mut mesh, "1", Class::Telemetry, 100);
    mesh.run(seconds(10));
    assert_eq!((mesh.counted(A, Counter::MailSent), mesh.counted(A, Counter::MailTaken)), (1, 1));
    assert_eq!((mesh.counted(M, Counter::MailKept), mesh.mails(M)), (1, 1));
    // Nobody but m has it from here on, and every epoch of which it is has passed.
    mesh.disconnect(A, M);
    mesh.run(seconds(5 * HOUR));
    for at in [M, B] {
        mesh.restart(at);
        mesh.run(seconds(60));
    }
    mesh.connect(M, B);
    mesh.run(seconds(5));
    assert_eq!(inbox(&mesh), ["1"]);
    assert_eq!((mesh.counted(B, Counter::MailOpened), mesh.counted(M, Counter::MailHandedOn)), (1, 1));
    assert_eq!(mesh.mails(M), 0, "m has let go of it");
}

/// Invariant 3 of engine::messages::mail.
#[test]
fn mail_for_a_router_further_off_moves_on_though_its_epoch_has_passed() {
    // a – m   r – b: the two sides are parted, and joined again five hours later without the sender.
    let mut mesh = mesh_of(|_| Settings::default());
    for (one, other) in [(A, M), (M, R), (R, B)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(5));
    mesh.disconnect(M, R);
    mesh.run(seconds(5));
    send(&mut mesh, "1", Class::Telemetry, 100);
    mesh.run(seconds(10));
    assert_eq!(mesh.mails(M), 1);
    mesh.disconnect(A, M);
    mesh.run(seconds(5 * HOUR));
    mesh.connect(M, R);
    mesh.run(seconds(60));
    assert_eq!((inbox(&mesh), mesh.mails(M)), (vec!["1".to_owned()], 0));
}

/// Invariant 1 of engine::messages::mail.
#[test]
fn custody_is_stated_once_the_mail_is_durable_and_a_power_cut_before_loses_nothing() {
    let mut mesh = away();
    mesh.stuck.insert(M);
    let token = send(&mut mesh, "1", Class::Telemetry, 1);
    mesh.run(seconds(5));
    assert_eq!((mesh.counted(A, Counter::MailSent), mesh.counted(A, Counter::MailTaken)), (1, 0));
    // The power fails: what was not written is gone, and a has been told nothing.
    mesh.restart(M);
    mesh.stuck.clear();
    assert_eq!(mesh.mails(M), 0);
    mesh.connect(A, M);
    mesh.run(seconds(60));
    assert_eq!((mesh.counted(A, Counter::MailTaken), mesh.mails(M)), (1, 1));
    assert_eq!(mesh.reply(A, token), None, "custody is no end");
    mesh.connect(M, B);
    mesh.run(seconds(HOUR));
    assert_eq!(inbox(&mesh), ["1"]);
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
}

/// Invariant 2 of engine::messages::mail.
/// Invariant 1 of engine::messages::mail::receiving.
/// Invariant 1 of engine::messages::mail::handing.
#[test]
fn who_keeps_mail_lets_go_of_it_only_once_the_receiver_has_it_for_good() {
    let mut mesh = away();
    send(&mut mesh, "1", Class::Telemetry, 10);
    mesh.run(seconds(10));
    mesh.disconnect(A, M);
    mesh.stuck.insert(B);
    mesh.connect(M, B);
    mesh.carried.clear();
    mesh.run(seconds(25));
    assert_eq!(mesh.carried.get(&(M, B)), Some(&1), "it is waited for");
    assert_eq!((mesh.counted(M, Counter::MailHandedOn), mesh.mails(M)), (0, 1));
    // The receiver loses it at a power cut, and gets it again.
    mesh.restart(B);
    mesh.stuck.clear();
    assert!(inbox(&mesh).is_empty());
    mesh.connect(M, B);
    mesh.run(seconds(60));
    assert_eq!((inbox(&mesh), mesh.mails(M)), (vec!["1".to_owned()], 0));
    // Both lose what they know of each other: whoever comes twice is known.
    mesh.restart(B);
    mesh.connect(M, B);
    mesh.run(seconds(60));
    assert_eq!(inbox(&mesh), ["1"]);
}

/// Invariant 1 of engine::messages::mail::sending.
#[test]
fn the_most_urgent_is_handed_on_first_and_not_as_a_wave() {
    let mut mesh = away();
    let all = [("bulk", Class::Bulk), ("telemetry", Class::Telemetry), ("alarm", Class::Alarm)];
    for (payload, class) in all {
        send(&mut mesh, payload, class, 10);
        mesh.run(seconds(10));
    }
    assert_eq!(mesh.mails(M), 3);
    mesh.disconnect(A, M);
    mesh.given.clear();
    mesh.carried.clear();
    mesh.connect(M, B);
    mesh.run(seconds(5));
    assert_eq!(inbox(&mesh), ["alarm", "telemetry", "bulk"]);
    let given: Vec<_> =
        mesh.given.iter().filter(|(_, at, bytes)| *at == M && *bytes > 400).map(|(at, ..)| *at).collect();
    assert!(given.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(20)), "{given:?}");
}

#[test]
fn what_a_box_has_no_room_for_is_told_to_the_sender_which_keeps_it() {
    let small = |at| Settings { mail_quota: if at == M { 4_096 } else { 0 }, ..Settings::default() };
    let mut mesh = mesh_of(small);
    mesh.connect(A, M);
    mesh.run(seconds(5));
    let (text, urgent) = ("x".repeat(1_000), "!".repeat(1_000));
    let bulk = send(&mut mesh, &text, Class::Bulk, 10);
    mesh.run(seconds(10));
    assert_eq!((mesh.counted(A, Counter::MailTaken), mesh.counted(A, Counter::MailNotTaken)), (1, 0));
    send(&mut mesh, &text, Class::Bulk, 10);
    mesh.run(seconds(10));
    assert_eq!((mesh.counted(M, Counter::MailOverQuota), mesh.counted(A, Counter::MailNotTaken)), (1, 1));
    // The box is full: the alarm takes the place of the older of what is less urgent, and the sender is told.
    mesh.run(seconds(60));
    send(&mut mesh, &urgent, Class::Alarm, 10);
    mesh.run(seconds(10));
    assert_eq!((mesh.counted(M, Counter::MailDisplaced), mesh.mails(M)), (1, 1));
    assert!(mesh.counted(A, Counter::MailNotTaken) >= 2);
    mesh.connect(M, B);
    mesh.run(seconds(2 * HOUR));
    let mut got = inbox(&mesh);
    got.sort_unstable();
    assert_eq!(got, [urgent, text.clone(), text], "nothing is lost, and nothing came twice");
    assert!(mesh.ended.get(&bulk).is_some_and(Outcome::is_success));
}

#[test]
fn a_device_that_never_comes_takes_no_more_than_its_quota_and_leaves_the_mail_of_others_alone() {
    const QUOTA: u64 = 16 * 1_024;
    let mut mesh = mesh_of(|at| Settings { mail_quota: if at == M { QUOTA } else { 0 }, ..Settings::default() });
    mesh.connect(A, M);
    mesh.run(seconds(5));
    for _ in 0..60 {
        send(&mut mesh, &"x".repeat(1_000), Class::Alarm, 24);
        mesh.run(seconds(3));
    }
    let of = |mesh: &Mesh, name: &str| {
        let boxes = mesh.nodes[M].engine.mailbox();
        boxes.iter().find(|one| one.to.as_ref().is_some_and(|to| to.as_str() == name)).map_or(0, |one| one.bytes)
    };
    assert!((QUOTA as usize / 4..=QUOTA as usize).contains(&of(&mesh, "b")), "{}", of(&mesh, "b"));
    assert!(mesh.counted(M, Counter::MailOverQuota) > 0);
    // Others have as much room as ever, also for what is less urgent.
    let kept = of(&mesh, "b");
    for _ in 0..3 {
        let message = message("r", "y".repeat(1_000).as_bytes(), Ack::End, 24 * HOUR);
        mesh.command(A, Command::Send(Send { class: Class::Bulk, ..message }));
        mesh.run(seconds(10));
    }
    mesh.disconnect(A, M);
    mesh.connect(M, R);
    mesh.run(seconds(10));
    assert_eq!((mesh.inbox(R).len(), of(&mesh, "r"), of(&mesh, "b")), (3, 0, kept));
}

#[test]
fn a_disk_that_fails_and_an_end_of_time_are_told_and_counted() {
    let mut mesh = away();
    mesh.handle(M, Input::Event(Event::StoreFailed { reason: "full".into() }));
    send(&mut mesh, "1", Class::Telemetry, 1);
    mesh.run(seconds(10));
    assert!(mesh.counted(M, Counter::MailNotKept) > 0 && mesh.counted(A, Counter::MailTaken) == 0);
    mesh.handle(M, Input::Event(Event::StoreRecovered));
    mesh.run(seconds(120));
    assert_eq!(mesh.mails(M), 1);
    mesh.run(seconds(2 * HOUR));
    assert_eq!(mesh.mails(M), 0, "it is of no use any more");
    assert!(mesh.counted(M, Counter::MailExpired) > 0);
}

/// Mail passes relays that keep none, and the statements find their way back.
#[test]
fn mail_finds_a_mailbox_over_other_routers_and_from_a_leaf() {
    for leaf in [false, true] {
        let mut mesh = mesh_of(|at| Settings { forwarding: at != A || !leaf, ..Settings::default() });
        mesh.connect(A, R);
        mesh.connect(R, M);
        mesh.run(seconds(5));
        send(&mut mesh, "1", Class::Telemetry, 10);
        mesh.run(seconds(20));
        assert_eq!((mesh.mails(M), mesh.counted(A, Counter::MailTaken)), (1, 1), "leaf: {leaf}");
        mesh.disconnect(A, R);
        // The receiver comes up behind the other router.
        mesh.connect(R, B);
        mesh.run(seconds(60));
        assert_eq!((inbox(&mesh), mesh.mails(M)), (vec!["1".to_owned()], 0), "leaf: {leaf}");
    }
}

/// Invariant 1 of engine::messages::mail::statements.
/// Invariant 1 of engine::messages::mail::awaited.
#[test]
fn a_statement_of_a_device_without_the_role_or_by_another_hand_changes_nothing() {
    let mut mesh = mesh_of(|_| Settings::default());
    mesh.connect(A, R);
    mesh.connect(R, M);
    mesh.run(seconds(5));
    send(&mut mesh, "1", Class::Telemetry, 10);
    // The statement of m is caught on its way, and changed.
    mesh.vanish.insert((R, A));
    mesh.run(seconds(5));
    mesh.vanish.clear();
    let custody = |frame: &&Vec<u8>| frame[4] == Kind::Custody as u8;
    let told = mesh.nodes[M].sent.iter().rev().find(custody).cloned().expect("m has it");
    let signed: m2mesh::wire::Signed<'_> = m2mesh::wire::decode(&told[m2mesh::wire::frame::HEADER..]).expect("signed");
    let mut custody: m2mesh::wire::custody::Custody = m2mesh::wire::decode(signed.body).expect("a statement");
    // r says the same in its own name.
    let unix = mesh.now.unix;
    let own = mesh.nodes[R].engine.membership().credential(unix).expect("a credential").clone();
    custody.by = own.hash;
    let forged = own.sign_document(m2mesh::wire::custody::CONTEXT, &m2mesh::wire::encode(&custody));
    let before = mesh.counted(A, Counter::CustodyRefused);
    mesh.hand(A, R, &m2mesh::wire::frame::raw(Kind::Custody, &forged));
    assert_eq!((mesh.counted(A, Counter::CustodyRefused), mesh.counted(A, Counter::MailTaken)), (before + 1, 0));
    // So does m, of other mail.
    let m = mesh.nodes[M].engine.membership().credential(unix).expect("a credential").clone();
    (custody.by, custody.sealed) = (m.hash, [7; 32]);
    let other = m.sign_document(m2mesh::wire::custody::CONTEXT, &m2mesh::wire::encode(&custody));
    mesh.hand(A, R, &m2mesh::wire::frame::raw(Kind::Custody, &other));
    assert_eq!((mesh.counted(A, Counter::CustodyRefused), mesh.counted(A, Counter::MailTaken)), (before + 2, 0));
    // What m has signed of this counts, whoever brings it.
    mesh.hand(A, R, &told);
    assert_eq!(mesh.counted(A, Counter::MailTaken), 1);
}

/// Invariant 1 of engine::messages::mail::custodian.
#[test]
fn what_its_receiver_cannot_open_is_let_go_of() {
    let mut mesh = away();
    send(&mut mesh, "1", Class::Telemetry, 10);
    mesh.run(seconds(10));
    mesh.disconnect(A, M);
    // The receiver does not take mail any more.
    mesh.configure(B, Settings::default());
    mesh.restart(B);
    mesh.connect(M, B);
    mesh.run(seconds(60));
    assert!(mesh.counted(B, Counter::MailNotOpened) > 0);
    assert_eq!(mesh.mails(M), 0);
    assert!(inbox(&mesh).is_empty());
}

/// Invariant 1 of delivery::stream::entrusted.
#[test]
fn mail_that_has_ended_for_its_sender_comes_although_later_messages_come_first() {
    for restarts in [false, true] {
        let mut mesh = away();
        let send = |mesh: &mut Mesh, payload: &str, class, ack| {
            let message = message("b", payload.as_bytes(), ack, 10 * HOUR);
            let token = mesh.command(A, Command::Send(Send { class, ..message }));
            mesh.run(seconds(5));
            token
        };
        let first = send(&mut mesh, "1", Class::Bulk, Ack::Hop);
        assert!(matches!(mesh.ended.get(&first), Some(Outcome::Sent { .. })), "custody is its end");
        send(&mut mesh, "2", Class::Telemetry, Ack::End);
        assert_eq!(mesh.mails(M), 2);
        if restarts {
            mesh.restart(A);
            mesh.connect(A, M);
            mesh.run(seconds(HOUR));
        }
        send(&mut mesh, "3", Class::Alarm, Ack::Hop);
        mesh.connect(M, B);
        mesh.run(seconds(30));
        let mut came = inbox(&mesh);
        assert_eq!(came[0], "3", "the most urgent comes first");
        came.sort();
        assert_eq!(came, ["1", "2", "3"], "{restarts}");
        mesh.run(seconds(10 * HOUR));
        assert_eq!((inbox(&mesh).len(), mesh.mails(M)), (3, 0));
    }
}
