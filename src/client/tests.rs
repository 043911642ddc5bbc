//! Every command with every right: one that is denied is denied before anything happens, and no other is.

use super::*;
use crate::engine::api::{
    Anycast, AnycastKind, BlobCommand, BlobRequest, BlobSend, Broadcast, GroupRequest, Load, Past, Send, Start, Timing,
};
use crate::id::{BlobHash, InnerId, Name, StreamId};
use crate::net::emulation::Lab;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use core::time::Duration;
use futures::FutureExt;
use std::collections::BTreeSet;

/// One command of each kind, and the right that it needs.
fn commands() -> Vec<(Command, Right)> {
    let to = Name::new("meter").expect("a name");
    let (policy, lifetime, consumer) = (None, Duration::from_secs(1), "other".to_owned());
    let class = Class::Telemetry;
    let send =
        Send { to: to.clone(), payload: vec![1], ack: Ack::End, class, policy: None, lifetime, id: None, latest: None };
    let hash = BlobHash([1; 32]);
    let blob_send = BlobSend { hash, to: to.clone(), name: String::new(), lifetime, id: None };
    let blob_request = BlobRequest { hash, to: to.clone(), service: None, class, policy: None, lifetime };
    let load = Load { to: to.clone(), records: Vec::new(), class, policy: None, lifetime };
    let publish =
        Command::Publish { topic: "a/b".into(), payload: vec![], policy, lifetime, confirm: None, latest: false };
    let later = Timing { start: Some(Start::After(lifetime)), ..Timing::default() };
    let kind = AnycastKind::Request { repeat: false, id: None };
    let (class, policy) = (send.class, None);
    let anycast = Anycast { service: "adder".into(), payload: vec![1], class, policy, lifetime, kind };
    let request = InnerId { stream: StreamId([1; 16]), sequence: 1 };
    let asked = GroupRequest { topic: "a/b".into(), payload: vec![1], policy: None, lifetime, most: 3, id: None };
    let broadcast = Broadcast { payload: vec![1], ack: Ack::None, policy: None, lifetime };
    vec![
        (Command::Send(send.clone()), Right::Send),
        (Command::SendLoad(load), Right::Send),
        (Command::Request { send: send.clone(), service: None }, Right::Send),
        (Command::Anycast(anycast), Right::Send),
        (Command::Broadcast(broadcast), Right::Send),
        (Command::Offers("adder".into()), Right::Send),
        (Command::GroupRequest(asked), Right::Publish),
        (Command::Answer { to: to.clone(), request, answer: vec![1] }, Right::Receive),
        (publish.clone(), Right::Publish),
        (publish.at(later.clone()), Right::Publish),
        (Command::Send(send).at(later), Right::Send),
        (Command::Subscribe { filter: "a/#".into(), past: Past::default(), latest: false }, Right::Subscribe),
        (Command::Offer { service: "adder".into(), capacity: None }, Right::Receive),
        (Command::Respond { call: 1, answer: Ok(vec![]) }, Right::Receive),
        (Command::Receive { consumer: String::new(), live: true }, Right::Receive),
        (Command::Consume { consumer: String::new(), up_to: 1, durable: false }, Right::Receive),
        (Command::MakeConsumer { consumer: consumer.clone() }, Right::Administer),
        (Command::Forget { consumer }, Right::Administer),
        (Command::Blob(BlobCommand::Put { hash, length: 1, keep: true, shared: false }), Right::Send),
        (Command::Blob(BlobCommand::Get { hash, from: vec![], shared: false, lifetime }), Right::Receive),
        (Command::Blob(BlobCommand::Send(blob_send)), Right::Send),
        (Command::Blob(BlobCommand::Request(blob_request)), Right::Send),
        (Command::Blob(BlobCommand::Respond { call: 1, hash }), Right::Receive),
        (Command::Blob(BlobCommand::List), Right::Inspect),
        (Command::Blob(BlobCommand::Remove { hash }), Right::Administer),
        (Command::LiftQuarantine, Right::Administer),
        (Command::Bulletin { signed: vec![1], documents: vec![] }, Right::Administer),
        (Command::FollowLog, Right::Inspect),
        (Command::Status, Right::Inspect),
        (Command::Peers, Right::Inspect),
        (Command::Identity, Right::Inspect),
        (Command::Rotate { anonymity: None }, Right::Administer),
        (Command::Mailbox, Right::Inspect),
        (Command::Links, Right::Inspect),
        (Command::Routes, Right::Inspect),
        (Command::Route { to, policy: None }, Right::Inspect),
        (Command::Contacts, Right::Inspect),
        (Command::Lab, Right::Inspect),
        (Command::SetLab(Box::<Lab>::default()), Right::Lab),
    ]
}

/// A number for each kind of command. A new kind does not compile until it is listed here, and fails until it is listed
/// above.
fn number(command: &Command) -> usize {
    match command {
        Command::Send(_) => 0,
        Command::SendLoad(_) => 1,
        Command::Request { .. } => 2,
        Command::Publish { .. } => 3,
        Command::Subscribe { .. } => 4,
        Command::Offer { .. } => 5,
        Command::Respond { .. } => 6,
        Command::Receive { .. } => 7,
        Command::Consume { .. } => 8,
        Command::MakeConsumer { .. } => 9,
        Command::Forget { .. } => 10,
        Command::FollowLog => 11,
        Command::Status => 12,
        Command::Peers => 13,
        Command::Identity => 22,
        Command::Rotate { .. } => 23,
        Command::Links => 14,
        Command::Routes => 15,
        Command::Route { .. } => 16,
        Command::Contacts => 17,
        Command::Lab => 18,
        Command::SetLab(_) => 19,
        Command::Bulletin { .. } => 20,
        Command::LiftQuarantine => 21,
        Command::Blob(BlobCommand::Put { .. }) => 24,
        Command::Blob(BlobCommand::Get { .. }) => 25,
        Command::Blob(BlobCommand::Send(_)) => 26,
        Command::Blob(BlobCommand::List) => 27,
        Command::Blob(BlobCommand::Remove { .. }) => 28,
        Command::Later { .. } => 29,
        Command::Anycast(_) => 30,
        Command::Broadcast(_) => 31,
        Command::Offers(_) => 32,
        Command::GroupRequest(_) => 33,
        Command::Answer { .. } => 34,
        Command::Mailbox => 35,
        Command::Blob(BlobCommand::Request(_)) => 36,
        Command::Blob(BlobCommand::Respond { .. }) => 37,
    }
}

/// All rights except one.
fn all_but(right: Right) -> Rights {
    Rights::of(&Right::ALL.into_iter().filter(|other| *other != right).collect::<Vec<_>>())
}

/// The next command that has arrived at the node.
fn arrived(arriving: &mut Arriving) -> Option<Command> {
    let call = arriving.orders.next().now_or_never().or_else(|| arriving.questions.next().now_or_never());
    call.flatten().map(|call| call.command)
}

/// Invariant 1.
/// Invariant 1 of client::call.
#[test]
fn each_call_takes_its_one_right_and_is_denied_before_anything_happens() {
    let commands = commands();
    let numbers: BTreeSet<usize> = commands.iter().map(|(command, _)| number(command)).collect();
    assert!(numbers.iter().copied().eq(0..38), "one of each, at least: {numbers:?}");
    for (command, needed) in commands {
        for right in Right::ALL {
            let (door, mut arriving) = Door::new(());
            let mut only = door.admit(Principal::client("other", Rights::of(&[right])));
            let mut others = door.admit(Principal::client("other", all_but(right)));
            for (caller, may) in [(&mut only, right == needed), (&mut others, right != needed)] {
                let started = caller.start(command.clone()).now_or_never().expect("there is room");
                let asked = caller.ask(command.clone()).now_or_never();
                if may {
                    assert!(started.is_ok() && asked.is_none(), "{command:?} with {right:?}");
                    assert_eq!(arrived(&mut arriving), Some(command.clone()));
                    assert_eq!(arrived(&mut arriving), Some(command.clone()));
                } else {
                    let denied = AskError::Denied(Denied { who: "client \"other\"".into(), right: needed });
                    assert_eq!(started.err(), Some(denied.clone()), "{command:?} with {right:?}");
                    assert_eq!(asked, Some(Err(denied)));
                }
                assert_eq!(arrived(&mut arriving), None, "{command:?} with {right:?}");
            }
        }
    }
}

/// Invariants 1 and 2.
#[test]
fn who_may_not_ask_is_told_so_though_the_node_takes_nothing_more() {
    let (door, mut arriving) = Door::new(());
    let order = || Command::Consume { consumer: String::new(), up_to: 1, durable: false };
    let mut user = door.admit(Principal::local_user());
    while user.start(order()).now_or_never().is_some() {}
    let mut nobody = door.admit(Principal::client("nobody", Rights::default()));
    let told = nobody.start(order()).now_or_never().expect("it does not wait");
    assert!(matches!(told, Err(AskError::Denied(Denied { right: Right::Receive, .. }))));
    arriving.orders.close();
    assert_eq!(user.start(order()).now_or_never().map(|told| told.err()), Some(Some(AskError::Stopped)));
}

/// Invariant 1.
#[test]
fn the_store_is_read_by_right_too() {
    let (door, _arriving) = Door::new("the store");
    for (reading, needed) in [(Reading::Inbox, Right::Receive), (Reading::Log, Right::Inspect)] {
        for right in Right::ALL {
            let read = |rights| door.admit(Principal::client("other", rights)).reader(reading);
            assert_eq!(read(Rights::of(&[right])).is_ok(), right == needed, "{reading:?} with {right:?}");
            assert_eq!(read(all_but(right)).is_ok(), right != needed, "{reading:?} with {right:?}");
        }
    }
}

#[test]
fn the_local_user_and_the_program_may_do_everything() {
    for principal in [Principal::local_user(), Principal::program()] {
        assert!(Right::ALL.iter().all(|right| principal.demand(*right).is_ok()), "{principal}");
    }
    let denied = Principal::client("meter-17", Rights::default()).demand(Right::Publish).expect_err("it has none");
    assert_eq!(denied.to_string(), "client \"meter-17\" has no right to publish");
}
