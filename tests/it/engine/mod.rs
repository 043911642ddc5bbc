//! What the engine promises, shown on engines that are joined by queues in virtual time.

mod air;
mod allowances;
mod anycast;
mod areas;
mod blobs;
mod bounds;
mod broadcast;
mod causes;
mod clockless;
mod clocks;
mod consumers;
mod counts;
mod counts_of_messages;
mod custody;
mod custody_kills;
mod custody_of_strangers;
mod custody_told;
mod disk;
mod documents;
mod enrolment;
mod failover;
mod far;
mod flooding;
mod group_requests;
mod heard;
mod hops;
mod insider;
mod it_and_ot;
mod later;
mod leaves;
mod link_state;
mod looks;
mod mesh;
mod modes;
mod multicast;
mod multicast_bounds;
mod overload;
mod pieces;
mod policies;
mod promises;
mod publishers;
mod quarantine;
mod revocation;
mod rotation;
mod segments;
mod sessions;
mod sleeping;
mod streams;
mod topics;
mod transcript;
mod verdicts;
mod waiting;

use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Load, Outcome, Refused, Reply, Send, Token};
use m2mesh::id::SendId;
use m2mesh::identity::enrolment as joining;
use m2mesh::identity::invitation::{Invitation, invite};
use m2mesh::identity::ledger::Contacts;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::parcel::put_record;
use mesh::{Mesh, message, name};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pair() -> Mesh {
    let mut mesh = Mesh::new(&["issuer", "a", "b"]);
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    mesh
}

fn outcome(mesh: &Mesh, at: usize, token: Token) -> &Outcome {
    match mesh.reply(at, token) {
        Some(Reply::Outcome(outcome)) => outcome,
        other => unreachable!("no outcome but {other:?}"),
    }
}

/// Invariant 1 of engine::messages::receipts.
/// Invariant 2 of engine.
/// Invariant 2 of engine::api.
/// Invariant 1 of engine::messages::inbox.
#[test]
fn a_message_is_delivered_only_once_it_is_durable() {
    let mut mesh = pair();
    mesh.stuck.insert(2);
    let token = mesh.send(1, "b", b"hello", Ack::End, 30);
    mesh.run(seconds(1));
    assert_eq!(mesh.reply(1, token), None, "the receiver's disk has not flushed");
    mesh.stuck.clear();
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Delivered { hops: 1, .. }));
    let inbox = mesh.inbox(2);
    assert_eq!((inbox.len(), inbox[0].payload.as_slice(), inbox[0].from.as_str()), (1, &b"hello"[..], "a"));
}

/// Invariant 2 of engine::messages::intake.
#[test]
fn messages_survive_a_crash_of_the_receiver_exactly_once() {
    let mut mesh = pair();
    let tokens: Vec<Token> = (0..50u8).map(|n| mesh.send(1, "b", &[n], Ack::End, 60)).collect();
    mesh.run(Duration::from_millis(3));
    mesh.restart(2);
    mesh.run(seconds(1));
    mesh.connect(1, 2);
    mesh.run(seconds(20));
    for token in tokens {
        assert!(outcome(&mesh, 1, token).is_success());
    }
    let payloads: Vec<u8> = mesh.inbox(2).iter().map(|message| message.payload[0]).collect();
    assert_eq!(payloads, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_lost_receipt_makes_no_second_delivery() {
    let mut mesh = pair();
    let token = mesh.send(1, "b", b"once", Ack::End, 60);
    // Delivered and flushed, but the receipt is on the way when the link breaks.
    mesh.run(Duration::from_millis(6));
    mesh.disconnect(1, 2);
    assert_eq!((mesh.inbox(2).len(), mesh.reply(1, token)), (1, None));
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, 1, token).is_success());
    assert_eq!(mesh.inbox(2).len(), 1);
}

fn named(to: &str, payload: &[u8], name: u8) -> Command {
    Command::Send(Send { id: Some(SendId([name; 16])), ..message(to, payload, Ack::End, 60) })
}

/// Invariant 1 of engine::messages::departures.
#[test]
fn a_named_message_leaves_no_earlier_than_it_is_durable() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(1));
    mesh.carried.clear();
    mesh.stuck.insert(0);
    let id = Some(SendId([7; 16]));
    let token = mesh.command(0, Command::Send(Send { id, ..message("b", b"once", Ack::End, 30) }));
    mesh.run(seconds(1));
    // After a crash here the application may hand it in again, and nobody would know that it was the same.
    assert!(mesh.carried.is_empty(), "{:?}", mesh.carried);
    mesh.stuck.clear();
    mesh.run(seconds(1));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })));
}

/// Invariant 1 of engine::messages::outcomes.
#[test]
fn messages_survive_a_crash_of_the_sender_and_its_application_can_ask_again() {
    let mut mesh = pair();
    mesh.disconnect(1, 2);
    for n in 0..50u8 {
        mesh.command(1, named("b", &[n], n));
    }
    mesh.run(Duration::from_millis(10));
    mesh.restart(1);
    mesh.connect(1, 2);
    // Under the same names: what is on its way, and then what has ended. Nothing is sent twice.
    let during: Vec<Token> = (0..25u8).map(|n| mesh.command(1, named("b", &[n], n))).collect();
    mesh.run(seconds(5));
    mesh.disconnect(1, 2);
    mesh.restart(1);
    let after: Vec<Token> = (25..50u8).map(|n| mesh.command(1, named("b", &[n], n))).collect();
    mesh.run(seconds(1));
    assert!(during.iter().all(|token| mesh.ended.get(token).is_some_and(Outcome::is_success)));
    for token in after {
        assert!(matches!(outcome(&mesh, 1, token), Outcome::Delivered { .. }));
    }
    let mut payloads: Vec<u8> = mesh.inbox(2).iter().map(|message| message.payload[0]).collect();
    payloads.sort_unstable();
    assert_eq!(payloads, (0..50).collect::<Vec<_>>());
}

#[test]
fn receipts_under_a_session_that_a_crash_has_lost_are_asked_for_again_at_once() {
    let mut mesh = pair();
    // The receiver knows the sender by a session of its own making.
    mesh.send(2, "a", b"hello", Ack::End, 60);
    mesh.run(seconds(1));
    mesh.command(1, named("b", b"1", 1));
    mesh.run(Duration::from_millis(6));
    // Durable at the receiver, and its receipt lost with the sender.
    mesh.restart(1);
    mesh.connect(1, 2);
    let token = mesh.command(1, named("b", b"1", 1));
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Delivered { .. }));
    assert_eq!(mesh.inbox(2).len(), 1);
}

/// Invariant 1 of engine::messages::outbox.
#[test]
fn what_was_told_to_have_failed_is_not_sent_after_a_crash() {
    let mut mesh = pair();
    mesh.disconnect(1, 2);
    let failed = mesh.command(1, Command::Send(Send { id: Some(SendId([1; 16])), ..message("b", b"1", Ack::End, 2) }));
    let open = mesh.send(1, "b", b"2", Ack::End, 60);
    mesh.run(seconds(3));
    assert!(matches!(outcome(&mesh, 1, failed), Outcome::Unreachable { .. }));
    assert_eq!(mesh.reply(1, open), None);
    mesh.restart(1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let payloads: Vec<Vec<u8>> = mesh.inbox(2).into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, [b"2"]);
    let again = mesh.command(1, named("b", b"1", 1));
    assert!(matches!(outcome(&mesh, 1, again), Outcome::Unreachable { .. }), "as it was told the first time");
}

/// Invariant 3 of engine::messages::services.
#[test]
fn a_call_that_a_crash_interrupts_is_reported_and_not_repeated() {
    let mut mesh = pair();
    let offer = mesh.command(2, Command::Offer { service: "valve".into(), capacity: None });
    let request = |to: &str| Command::Request { send: message(to, b"open", Ack::End, 60), service: None };
    let token = mesh.command(1, request("b"));
    mesh.run(seconds(1));
    assert!(matches!(mesh.reply(2, offer), Some(Reply::Call(_))));
    mesh.restart(2);
    let again = mesh.command(2, Command::Offer { service: "valve".into(), capacity: None });
    mesh.connect(1, 2);
    mesh.run(seconds(20));
    let Outcome::Refused { reason } = outcome(&mesh, 1, token) else { unreachable!("it was answered") };
    assert!(reason.contains("restarted") && reason.contains("valve"), "{reason}");
    assert_eq!(mesh.reply(2, again), Some(&Reply::Ready), "it is not called a second time");

    // The same when the program that offers it goes.
    let token = mesh.command(1, request("b"));
    mesh.run(seconds(1));
    mesh.handle(2, Input::Command { token: again, command: Command::Cancel });
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Refused { reason } if reason.contains("ended")));
}

#[test]
fn each_consumer_has_a_cursor_of_its_own() {
    let mut mesh = pair();
    let receive = |consumer: &str| Command::Receive { consumer: consumer.into(), live: false };
    mesh.command(2, Command::MakeConsumer { consumer: "logger".into() });
    let logger = mesh.command(2, receive("logger"));
    for n in 0..3 {
        mesh.send(1, "b", &[n], Ack::End, 30);
        mesh.run(seconds(1));
    }
    mesh.command(2, Command::Consume { consumer: String::new(), up_to: 3, durable: true });
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 3, "the other consumer has not read them");
    assert_eq!(mesh.reply(2, logger), Some(&Reply::Inbox { first: 1, last: 3 }));
    mesh.command(2, Command::Consume { consumer: "logger".into(), up_to: 2, durable: true });
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 1);
    mesh.restart(2);
    let (logger, nameless) = (mesh.command(2, receive("logger")), mesh.command(2, receive("")));
    mesh.run(seconds(1));
    assert_eq!(mesh.reply(2, logger), Some(&Reply::Inbox { first: 3, last: 3 }));
    assert_eq!(mesh.reply(2, nameless), Some(&Reply::Inbox { first: 4, last: 3 }));
    let forget = Command::Forget { consumer: "logger".into() };
    mesh.command(2, forget.clone());
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 0, "nobody waits for the last one");
    let unknown = mesh.command(2, forget);
    assert_eq!(mesh.reply(2, unknown), Some(&Reply::Refused(Refused::NoSuchConsumer("logger".into()))));
}

#[test]
fn what_asks_for_no_confirmation_goes_to_who_listens_and_else_to_the_inbox() {
    let mut mesh = pair();
    mesh.send(1, "b", b"kept", Ack::None, 30);
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 1);
    let live = mesh.command(2, Command::Receive { consumer: String::new(), live: true });
    let mut records = Vec::new();
    for payload in [b"a", b"b"] {
        put_record(&mut records, 0, payload);
    }
    let load = Load { to: name("b"), records, class: Class::Bulk, policy: None, lifetime: seconds(30) };
    let sent = mesh.command(1, Command::SendLoad(load));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, sent), Outcome::Sent { .. }));
    let Some(Reply::Live(record)) = mesh.reply(2, live) else { unreachable!("nothing came live") };
    assert_eq!(record.payloads().collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(mesh.inbox(2).len(), 1);
}

/// Invariant 1 of engine::api.
#[test]
fn what_cannot_be_delivered_ends_by_its_deadline() {
    let mut mesh = pair();
    mesh.disconnect(1, 2);
    let token = mesh.send(1, "b", b"late", Ack::End, 5);
    mesh.run(Duration::from_millis(4_999));
    assert_eq!(mesh.reply(1, token), None);
    mesh.run(Duration::from_millis(2));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Unreachable { .. }));
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    assert!(mesh.inbox(2).is_empty(), "nothing is delivered after its deadline");
}

#[test]
fn acks_say_what_was_asked() {
    let mut mesh = pair();
    let none = mesh.send(1, "b", b"1", Ack::None, 30);
    let hop = mesh.send(1, "b", b"2", Ack::Hop, 30);
    assert!(matches!(outcome(&mesh, 1, none), Outcome::Sent { .. }), "handed to the link");
    assert_eq!(mesh.reply(1, hop), None);
    mesh.run(Duration::from_millis(3));
    assert!(matches!(outcome(&mesh, 1, hop), Outcome::Sent { .. }), "the next hop has it");
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 2);
}

/// Invariant 2 of engine::messages::services.
#[test]
fn a_request_is_answered_and_made_once() {
    let mut mesh = pair();
    let offer = mesh.command(2, Command::Offer { service: "add".into(), capacity: None });
    let request = Command::Request { send: message("b", b"1+1", Ack::End, 30), service: Some("add".into()) };
    let request = mesh.command(1, request);
    mesh.run(seconds(1));
    let Some(Reply::Call(call)) = mesh.reply(2, offer).cloned() else { unreachable!("no call") };
    assert_eq!((call.from.as_str(), call.payload.as_slice()), ("a", &b"1+1"[..]));
    assert_eq!(mesh.reply(1, request), None);
    mesh.command(2, Command::Respond { call: call.call, answer: Ok(b"2".to_vec()) });
    mesh.run(seconds(1));
    assert!(matches!(mesh.reply(1, request), Some(Reply::Response { payload, .. }) if payload == b"2"));
    let calls = mesh.nodes[2].replies.iter().filter(|(_, reply)| matches!(reply, Reply::Call(_))).count();
    assert_eq!(calls, 1);
    let again = mesh.command(2, Command::Respond { call: call.call, answer: Ok(vec![]) });
    assert_eq!(mesh.reply(2, again), Some(&Reply::Refused(Refused::NoSuchCall(call.call))));
}

/// Invariant 2 of engine::messages::services.
/// Invariant 1 of engine::api.
#[test]
fn requests_without_service_answer_or_in_vain_say_so() {
    let mut mesh = pair();
    let nobody = mesh.command(1, Command::Request { send: message("b", b"?", Ack::End, 30), service: None });
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, nobody), Outcome::Refused { .. }));
    let offer = mesh.command(2, Command::Offer { service: "slow".into(), capacity: None });
    let slow = mesh.command(1, Command::Request { send: message("b", b"?", Ack::End, 5), service: None });
    mesh.run(seconds(6));
    assert!(matches!(outcome(&mesh, 1, slow), Outcome::Expired { .. }));
    mesh.command(2, Command::Offer { service: "slow".into(), capacity: None });
    mesh.handle(2, Input::Command { token: offer, command: Command::Cancel });
    let gone = mesh.command(1, Command::Request { send: message("b", b"?", Ack::End, 5), service: None });
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, gone), Outcome::Refused { .. }));
}

/// Invariant 1 of engine::groups::multicast.
#[test]
fn a_publication_reaches_those_who_listen_in_order_and_no_others() {
    let mut mesh = Mesh::new(&["issuer", "a", "b", "c"]);
    mesh.connect(1, 2);
    mesh.connect(1, 3);
    let plant = mesh.command(2, Command::subscribe("plant/+"));
    let other = mesh.command(3, Command::subscribe("other/#"));
    mesh.run(seconds(1));
    for number in 0..100u8 {
        mesh.command(
            1,
            Command::Publish {
                topic: "plant/x".into(),
                payload: vec![number],
                policy: None,
                lifetime: seconds(30),
                confirm: None,
                latest: false,
            },
        );
    }
    mesh.run(seconds(1));
    let heard = |at: usize, token: Token| -> Vec<u8> {
        let replies = mesh.nodes[at].replies.iter().filter(|(of, _)| *of == token);
        let payload = |(_, reply): &(Token, Reply)| match reply {
            Reply::Published(published) => Some(published.payload[0]),
            _ => None,
        };
        replies.filter_map(payload).collect()
    };
    assert_eq!(heard(2, plant), (0..100).collect::<Vec<_>>());
    assert_eq!(heard(3, other), Vec::<u8>::new());
}

#[test]
fn subscriptions_live_through_the_turn_of_an_epoch() {
    let mut mesh = pair();
    let token = mesh.command(2, Command::subscribe("plant/#"));
    let mut sent = 0u64;
    for _ in 0..130 {
        mesh.command(
            1,
            Command::Publish {
                topic: "plant/x".into(),
                payload: vec![],
                policy: None,
                lifetime: seconds(30),
                confirm: None,
                latest: false,
            },
        );
        sent += 1;
        mesh.run(seconds(60));
    }
    let heard = mesh.nodes[2].replies.iter().filter(|(of, r)| *of == token && matches!(r, Reply::Published(_)));
    assert_eq!(heard.count() as u64, sent);
}

#[test]
fn links_and_messages_live_through_epochs_and_renewal() {
    let mut mesh = pair();
    for _ in 0..12 {
        mesh.run(seconds(1_800));
        let token = mesh.send(1, "b", b"still here", Ack::End, 60);
        mesh.run(seconds(60));
        assert!(outcome(&mesh, 1, token).is_success());
    }
    assert_eq!(mesh.inbox(2).len(), 12);
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    let mut mesh = Mesh::new(&["issuer", "meter-17", "pump"]);
    let token = mesh.send(2, "meter-71", b"", Ack::End, 30);
    mesh.run(seconds(1));
    let expected = Refused::UnknownContact { name: "meter-71".into(), nearest: Some("meter-17".into()) };
    assert_eq!(mesh.reply(2, token), Some(&Reply::Refused(expected)));
    // One's own is no mistyped other's.
    let token = mesh.send(1, "meter-17", b"", Ack::End, 30);
    assert_eq!(mesh.reply(1, token), Some(&Reply::Refused(Refused::Oneself(name("meter-17")))));
}

#[test]
fn a_newcomer_enrols_through_a_member_and_is_a_contact_at_first_use() {
    let mut mesh = Mesh::new(&["issuer", "a"]);
    mesh.connect(0, 1);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let invitation = Invitation::new(name("new"), Contacts::All);
    let realm = &mut mesh.realm;
    let ticket = invite(&realm.issuer, &mut realm.book, &realm.bulletin, invitation, mesh.now.unix, &mut rng);
    let pending = joining::begin_join_for(&ticket.expect("a ticket"), 4, &mut rng);
    // At a's admission, although the issuer is elsewhere.
    let hello = pending.hello(&mut rng).expect("a request");
    mesh.handle(1, Input::Enrol { id: 1, hello });
    mesh.run(seconds(1));
    let answer = match mesh.reply(1, Token(u64::MAX - 1)) {
        Some(Reply::Response { payload, .. }) => payload.clone(),
        other => unreachable!("not enrolled: {other:?}"),
    };
    joining::finish_join(&pending, &answer).expect("a member");
    let token = mesh.send(1, "new", b"welcome", Ack::End, 5);
    mesh.run(seconds(6));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Unreachable { .. }), "known, though not connected");
}

/// Invariant 3 of engine::routing::forward.
#[test]
fn nothing_readable_leaves_a_node() {
    let mut mesh = pair();
    let canary = b"CANARY-6b1f";
    mesh.command(2, Command::subscribe("CANARY-6b1f/#"));
    mesh.run(seconds(1));
    mesh.send(1, "b", canary, Ack::End, 30);
    let (topic, payload, lifetime) = ("CANARY-6b1f/x".to_owned(), canary.to_vec(), seconds(30));
    let publish = Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: false };
    mesh.command(1, publish);
    mesh.run(seconds(1));
    assert_eq!(mesh.inbox(2).len(), 1);
    for node in &mesh.nodes {
        for frame in &node.sent {
            assert!(!frame.windows(canary.len()).any(|window| window == canary));
        }
    }
}

/// Invariant 4 of engine.
#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let mut mesh = pair();
        mesh.send(1, "b", b"hello", Ack::End, 30);
        mesh.run(seconds(5));
        mesh.nodes.into_iter().flat_map(|node| node.sent).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
