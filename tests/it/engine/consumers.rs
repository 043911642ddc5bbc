//! Who reads an inbox: consumers with cursors of their own, the one without a name, and an inbox that is full.

use super::mesh::{Mesh, message};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Load, Outcome, Refused, Reply, Send, Token};
use m2mesh::id::SendId;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::parcel::put_record;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pair() -> Mesh {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(1));
    mesh
}

fn consume(mesh: &mut Mesh, consumer: &str, up_to: u64) -> Token {
    mesh.command(1, Command::Consume { consumer: consumer.into(), up_to, durable: false })
}

/// Invariant 1 of delivery::cursors.
/// Invariant 3 of engine::messages::inbox.
#[test]
fn what_a_named_consumer_takes_stays_for_the_one_without_a_name() {
    let mut mesh = pair();
    mesh.command(1, Command::MakeConsumer { consumer: "a".into() });
    for n in 0..3 {
        mesh.send(0, "b", &[n], Ack::End, 30);
    }
    mesh.run(seconds(1));
    consume(&mut mesh, "a", 3);
    mesh.run(seconds(1));
    for _ in 0..2 {
        assert_eq!(mesh.inbox(1).len(), 3, "nobody has taken them without a name");
        let plain = mesh.command(1, Command::Receive { consumer: String::new(), live: false });
        mesh.run(seconds(1));
        assert_eq!(mesh.reply(1, plain), Some(&Reply::Inbox { first: 1, last: 3 }));
        mesh.restart(1);
    }
    consume(&mut mesh, "", 3);
    mesh.run(seconds(1));
    assert!(mesh.inbox(1).is_empty());
}

#[test]
fn a_consumer_is_there_from_when_it_is_made_and_reading_makes_none() {
    let mut mesh = pair();
    let receive = |consumer: &str| Command::Receive { consumer: consumer.into(), live: false };
    let unknown = mesh.command(1, receive("late"));
    assert_eq!(mesh.reply(1, unknown), Some(&Reply::Refused(Refused::NoSuchConsumer("late".into()))));
    let unknown = consume(&mut mesh, "late", 1);
    assert_eq!(mesh.reply(1, unknown), Some(&Reply::Refused(Refused::NoSuchConsumer("late".into()))));
    for n in 0..2 {
        mesh.send(0, "b", &[n], Ack::End, 30);
    }
    mesh.run(seconds(1));
    consume(&mut mesh, "", 1);
    mesh.run(seconds(1));
    mesh.command(1, Command::MakeConsumer { consumer: "late".into() });
    let late = mesh.command(1, receive("late"));
    mesh.run(seconds(1));
    assert_eq!(mesh.reply(1, late), Some(&Reply::Inbox { first: 2, last: 2 }), "what lay there when it was made");
    let plain = mesh.command(1, Command::Forget { consumer: String::new() });
    assert_eq!(mesh.reply(1, plain), Some(&Reply::Refused(Refused::NoSuchConsumer(String::new()))));
}

/// Invariant 2 of delivery::cursors.
#[test]
fn sixteen_consumers_have_names_and_no_more() {
    let mut mesh = pair();
    let mut make = |number: usize| {
        let token = mesh.command(1, Command::MakeConsumer { consumer: format!("c{number}") });
        mesh.run(seconds(1));
        mesh.reply(1, token).cloned()
    };
    for number in 0..16 {
        assert_eq!(make(number), Some(Reply::Ready));
    }
    assert!(matches!(make(16), Some(Reply::Refused(Refused::Consumers { limit: 16 }))));
    assert_eq!(make(3), Some(Reply::Ready), "it is there");
}

#[test]
fn consuming_does_not_wait_for_the_disk_unless_told() {
    let mut mesh = pair();
    mesh.send(0, "b", b"1", Ack::End, 30);
    mesh.run(seconds(1));
    mesh.stuck.insert(1);
    let durably = mesh.command(1, Command::Consume { consumer: String::new(), up_to: 1, durable: true });
    let at_once = consume(&mut mesh, "", 1);
    assert_eq!((mesh.reply(1, at_once), mesh.reply(1, durably)), (Some(&Reply::Ready), None));
    mesh.stuck.clear();
    mesh.run(seconds(1));
    assert_eq!(mesh.reply(1, durably), Some(&Reply::Ready));
}

/// Sends `b` so many messages. Half of what an inbox takes is what one contact may have in it.
fn fill(mesh: &mut Mesh, messages: u64) {
    let mut filled = 0;
    while filled < messages {
        let count = (messages - filled).min(4_000);
        let mut records = Vec::new();
        (0..count).for_each(|_| put_record(&mut records, 0, b"x"));
        let load =
            Load { to: super::mesh::name("b"), records, class: Class::Bulk, policy: None, lifetime: seconds(60) };
        mesh.command(0, Command::SendLoad(load));
        mesh.run(Duration::from_millis(20));
        filled += count;
    }
}

#[test]
fn a_full_inbox_means_again_soon_and_not_no() {
    let mut mesh = pair();
    fill(&mut mesh, 499_999);
    let tokens: Vec<Token> = (0..40).map(|n| mesh.send(0, "b", &[n], Ack::End, 30)).collect();
    let short = mesh.send(0, "b", b"short", Ack::End, 3);
    mesh.run(seconds(5));
    let ended = |mesh: &Mesh| tokens.iter().filter(|token| mesh.ended.contains_key(token)).count();
    assert_eq!(ended(&mesh), 1, "there was room for one");
    assert!(mesh.counted(1, Counter::InboxFull) >= 40, "each that is put off is counted, as often as it is");
    assert!(
        matches!(&mesh.ended[&short], Outcome::Expired { reason } if reason.contains("full")),
        "{:?}",
        mesh.ended[&short]
    );
    consume(&mut mesh, "", 250_000);
    mesh.run(Duration::from_millis(2_500));
    assert_eq!(ended(&mesh), 40, "they follow soon after there is room");
    assert!(tokens.iter().all(|token| matches!(mesh.ended[token], Outcome::Delivered { .. })));
    let last: Vec<u8> = mesh.inbox(1).iter().rev().take(40).rev().map(|message| message.payload[0]).collect();
    assert_eq!(last, (0..40).collect::<Vec<_>>());
}

/// Invariant 1 of delivery::holdings.
/// Invariant 2 of engine::messages::inbox.
#[test]
fn a_contact_that_fills_the_inbox_leaves_room_for_the_others() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    fill(&mut mesh, 500_000);
    let more = mesh.send(0, "b", b"more", Ack::End, 30);
    let others: Vec<Token> = (0..40).map(|n| mesh.send(2, "b", &[n], Ack::End, 30)).collect();
    mesh.run(seconds(5));
    assert!(!mesh.ended.contains_key(&more), "{:?}", mesh.ended[&more]);
    assert!(others.iter().all(|token| matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. }))));
    mesh.restart(1);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    assert!(!mesh.ended.contains_key(&more), "it is known after a restart what lies there: {:?}", mesh.ended[&more]);
    consume(&mut mesh, "", 250_000);
    mesh.run(seconds(10));
    assert!(matches!(mesh.ended.get(&more), Some(Outcome::Delivered { .. })));
}

/// Invariant 2 of engine::messages::outcomes.
#[test]
fn all_who_ask_after_a_message_are_told_the_same_end() {
    let mut mesh = pair();
    mesh.disconnect(0, 1);
    let named = |seconds| Command::Send(Send { id: Some(SendId([1; 16])), ..message("b", b"1", Ack::End, seconds) });
    let first = mesh.command(0, named(20));
    let again = mesh.command(0, named(20));
    mesh.run(seconds(1));
    assert_eq!((mesh.reply(0, first), mesh.reply(0, again)), (None, None));
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    for token in [first, again] {
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
    }
    assert_eq!(mesh.inbox(1).len(), 1);
}

/// Invariant 2 of engine::api.
#[test]
fn the_end_of_a_named_message_is_told_once_no_crash_can_change_it() {
    let mut mesh = pair();
    mesh.disconnect(0, 1);
    let named = || Command::Send(Send { id: Some(SendId([1; 16])), ..message("b", b"1", Ack::End, 2) });
    let token = mesh.command(0, named());
    mesh.run(seconds(1));
    mesh.stuck.insert(0);
    mesh.run(seconds(5));
    assert_eq!(mesh.reply(0, token), None, "it is not written yet");
    // A crash now has it sent after all, if the clock is put back; so whoever asks again must be the first to be told.
    mesh.stuck.clear();
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Unreachable { .. })));
    mesh.restart(0);
    mesh.connect(0, 1);
    let again = mesh.command(0, named());
    mesh.run(seconds(5));
    assert_eq!((mesh.ended.get(&again), mesh.inbox(1).len()), (mesh.ended.get(&token), 0));
}
