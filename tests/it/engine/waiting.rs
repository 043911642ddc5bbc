//! What waits: a receiver that takes nothing is told of and keeps nobody else waiting; and newer messages that take the place of
//! older ones.

use super::mesh::{Mesh, message, name};
use super::multicast::{heard, publish};
use super::seconds;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Load, Outcome, Refused, Reply, Send, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::routing::policies::{Applies, Keep, NamedPolicy};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::parcel::put_record;
use std::time::Duration;

/// Fills the inbox of `b` as far as one contact may.
fn fill(mesh: &mut Mesh) {
    for _ in 0..125 {
        let mut records = Vec::new();
        (0..4_000).for_each(|_| put_record(&mut records, 0, b"x"));
        let load = Load { to: name("b"), records, class: Class::Bulk, policy: None, lifetime: seconds(60) };
        mesh.command(0, Command::SendLoad(load));
        mesh.run(Duration::from_millis(20));
    }
}

#[test]
fn a_receiver_that_takes_nothing_is_told_of_and_leaves_room_for_messages_to_others() {
    let mut mesh = Mesh::new(&["a", "b", "c"]);
    mesh.connect(0, 1);
    mesh.connect(0, 2);
    mesh.run(seconds(1));
    fill(&mut mesh);
    let mut to_b = vec![mesh.send(0, "b", b"y", Ack::End, 600)];
    mesh.run(seconds(14));
    let [waiting] = &mesh.nodes[0].engine.waiting()[..] else { panic!("{:?}", mesh.nodes[0].engine.waiting()) };
    assert_eq!((&*waiting.to, waiting.messages), ("b", 1));
    assert!(waiting.reason.contains("the inbox of b has been full for 1"), "{}", waiting.reason);
    while to_b.len() < 24_576 {
        to_b.push(mesh.send(0, "b", b"y", Ack::End, 600));
    }
    let more = mesh.send(0, "b", b"z", Ack::End, 600);
    let refused = mesh.reply(0, more);
    let Some(Reply::Refused(Refused::Full(reason))) = refused else { panic!("{refused:?}") };
    assert!(reason.starts_with("24576 messages to that destination") && reason.contains("the inbox of b"), "{reason}");
    assert!(mesh.nodes[0].engine.has_room(), "others may send");
    let to_c = mesh.send(0, "c", b"z", Ack::End, 30);
    mesh.run(seconds(2));
    assert!(matches!(mesh.ended.get(&to_c), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&to_c));
    mesh.command(1, Command::Consume { consumer: String::new(), up_to: 250_000, durable: false });
    mesh.run(seconds(30));
    assert!(to_b.iter().all(|token| matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. }))));
    assert!(mesh.nodes[0].engine.waiting().is_empty());
}

fn latest(mesh: &mut Mesh, key: &str, payload: u8) -> Token {
    let send = Send { latest: Some(key.to_owned()), ..message("b", &[payload], Ack::End, 60) };
    mesh.command(0, Command::Send(send))
}

#[test]
fn of_messages_with_a_key_only_the_newest_waits_and_the_order_is_kept() {
    let mut mesh = Mesh::new(&["a", "b"]);
    mesh.connect(0, 1);
    mesh.run(seconds(1));
    let link = mesh.link(0, 1).expect("a link");
    let left = latest(&mut mesh, "level", 1);
    mesh.handle(0, Input::Blocked(link, Class::Alarm));
    let tokens = [("level", 2), ("valve", 3), ("level", 4), ("level", 5)].map(|(key, n)| latest(&mut mesh, key, n));
    let plain = mesh.send(0, "b", &[6], Ack::End, 60);
    mesh.run(seconds(1));
    for (token, superseded) in tokens.into_iter().zip([true, false, true, false]) {
        let told = matches!(mesh.ended.get(&token), Some(Outcome::Superseded { .. }));
        assert_eq!(told, superseded, "{:?}", mesh.ended.get(&token));
    }
    assert_eq!(mesh.counted(0, Counter::MessagesSuperseded), 2);
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(1));
    for token in [left, tokens[1], tokens[3], plain] {
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
    }
    let inbox: Vec<u8> = mesh.inbox(1).iter().map(|message| message.payload[0]).collect();
    assert_eq!(inbox, [1, 3, 5, 6]);
    let unconfirmed = Send { latest: Some("level".into()), ..message("b", &[7], Ack::None, 60) };
    let refused = mesh.command(0, Command::Send(unconfirmed));
    assert_eq!(mesh.reply(0, refused), Some(&Reply::Refused(Refused::Latest)));
}

#[test]
fn of_publications_to_a_topic_only_the_newest_waits_where_that_is_asked_for() {
    let policy = NamedPolicy {
        name: "levels".into(),
        keep: Keep::Latest,
        applies: Applies { topics: vec!["plant/+/level".into()], ..Applies::default() },
        ..NamedPolicy::default()
    };
    let settings = move |_| Settings { policies: vec![policy.clone()], ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b"], settings);
    mesh.connect(0, 1);
    let listening = mesh.command(1, Command::subscribe("plant/#"));
    mesh.run(seconds(4));
    let link = mesh.link(0, 1).expect("a link");
    mesh.handle(0, Input::Blocked(link, Class::Alarm));
    let mut tokens: Vec<Token> = (0..3).map(|n| publish(&mut mesh, 0, "plant/1/level", n, seconds(30))).collect();
    tokens.extend((3..5).map(|n| publish(&mut mesh, 0, "plant/1/count", n, seconds(30))));
    let told = |mesh: &Mesh, at: usize| matches!(mesh.ended.get(&tokens[at]), Some(Outcome::Superseded { .. }));
    mesh.run(Duration::from_millis(100));
    assert_eq!([0, 1, 2, 3, 4].map(|at| told(&mesh, at)), [true, true, false, false, false]);
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(2));
    let numbers: Vec<u32> = heard(&mesh, 1, listening).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [2, 3, 4]);
}
