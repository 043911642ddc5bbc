//! What the sender learns of custody: who keeps its messages, who has refused to and why, and that another mailbox is asked then.

use super::mesh::{Mesh, message};
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Send, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::Event;
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;
use m2mesh::wire::data::Class;

const A: usize = 1;
const B: usize = 2;
const M: usize = 3;

/// a, b, which is away, and mailboxes with these quotas beside a, the nearest first.
fn mesh_of(quotas: &[u64]) -> Mesh {
    let names: Vec<String> = (0..quotas.len()).map(|at| format!("m{at:02}")).collect();
    let names = ["issuer", "a", "b"].into_iter().chain(names.iter().map(String::as_str));
    let nodes: Vec<(&str, u64)> = names.map(|name| (name, DEFAULT_SEGMENT)).collect();
    let roles = |at| if at >= M { Role::Mailbox as u16 } else { 0 };
    let settings = |at: usize| Settings {
        mail: at == B,
        mail_quota: at.checked_sub(M).map_or(0, |mailbox| quotas[mailbox]),
        ..Settings::default()
    };
    let mut mesh = Mesh::of_roles(7, &nodes, Vec::new(), roles, settings);
    for at in 0..nodes.len() {
        mesh.handle(at, Input::Timeout);
    }
    mesh.run(seconds(60));
    (M..nodes.len()).for_each(|mailbox| mesh.connect(A, mailbox));
    mesh.run(seconds(5));
    mesh
}

fn send(mesh: &mut Mesh, lifetime: u64) -> Token {
    mesh.command(A, Command::Send(message("b", b"1", Ack::End, lifetime)))
}

/// Why messages to b wait.
fn waits(mesh: &Mesh) -> Vec<(String, u64, String)> {
    let waiting = mesh.nodes[A].engine.waiting().into_iter();
    waiting.map(|waiting| (waiting.to, waiting.messages, waiting.reason)).collect()
}

/// Invariant 1 of engine::messages::mail::notices.
#[test]
fn custody_is_told_on_the_way_in_the_log_and_with_an_outcome_that_is_no_confirmation() {
    let mut mesh = mesh_of(&[1 << 20]);
    let token = send(&mut mesh, 600);
    mesh.run(seconds(10));
    let keeps = "m00 keeps it until b is there";
    assert_eq!(waits(&mesh), [("b".to_owned(), 1, keeps.to_owned())]);
    let taken = Event::MailTaken { to: "b".into(), by: "m00".into(), count: 1 };
    assert!(mesh.events(A).contains(&taken), "{:?}", mesh.events(A));
    assert_eq!(mesh.reply(A, token), None, "it is no end");
    mesh.run(seconds(600));
    let Outcome::Expired { reason } = outcome(&mesh, A, token) else { unreachable!("b has never come") };
    assert!(reason.contains(keeps), "{reason}");
    assert!(waits(&mesh).is_empty());
    // What was said of messages that have ended is not told of others.
    mesh.disconnect(A, M);
    let token = send(&mut mesh, 30);
    mesh.run(seconds(40));
    let Outcome::Unreachable { reason } = outcome(&mesh, A, token) else { unreachable!("nobody has it") };
    assert!(!reason.contains("keeps"), "{reason}");
}

#[test]
fn a_mailbox_that_refuses_is_told_with_its_reason_and_the_next_is_asked_at_once() {
    let mut mesh = mesh_of(&[300]);
    let token = send(&mut mesh, 30);
    mesh.run(seconds(10));
    let refused = "m00 does not keep it for b: its quota is used up";
    assert!(waits(&mesh).iter().any(|(to, _, reason)| to == "b" && reason.ends_with(refused)), "{:?}", waits(&mesh));
    let events = mesh.events(A);
    let not_taken = |event: &Event| matches!(event, Event::MailNotTaken { by, reason, .. } if by == "m00" && reason.contains("quota"));
    assert!(events.iter().any(not_taken), "{events:?}");
    mesh.run(seconds(30));
    match outcome(&mesh, A, token) {
        Outcome::Expired { reason } | Outcome::Unreachable { reason } => assert!(reason.ends_with(refused), "{reason}"),
        other => unreachable!("{other:?}"),
    }

    let mut mesh = mesh_of(&[300, 300, 1 << 20]);
    send(&mut mesh, 600);
    mesh.run(seconds(6));
    assert_eq!((mesh.counted(A, Counter::MailTaken), mesh.mails(M + 2)), (1, 1));
    assert!(mesh.counted(A, Counter::MailNotTaken) <= 2);
}

/// However many mailboxes refuse, a few are asked in a minute, and not in a circle.
#[test]
fn of_mailboxes_that_all_refuse_sixteen_are_asked_in_a_minute() {
    let mut mesh = mesh_of(&[300; 18]);
    let bulk = message("b", b"1", Ack::End, 600);
    mesh.command(A, Command::Send(Send { class: Class::Bulk, ..bulk }));
    mesh.run(seconds(50));
    assert_eq!((mesh.counted(A, Counter::MailNotTaken), mesh.counted(A, Counter::CustodiansForgotten)), (16, 0));
    // What is more urgent is offered to them as well, and to others in place of those that have gone.
    let asked = |mesh: &Mesh, at: &usize| mesh.counted(*at, Counter::MailOverQuota) > 0;
    let gone: Vec<usize> = (M..M + 18).filter(|at| asked(&mesh, at)).take(4).collect();
    gone.into_iter().for_each(|at| mesh.disconnect(A, at));
    send(&mut mesh, 600);
    mesh.run(seconds(5));
    assert_eq!((mesh.counted(A, Counter::MailNotTaken), mesh.counted(A, Counter::CustodiansForgotten)), (16 + 14, 2));
    mesh.run(seconds(60));
    assert!(mesh.counted(A, Counter::MailNotTaken) <= 30 + 2 * 16, "{}", mesh.counted(A, Counter::MailNotTaken));
}
