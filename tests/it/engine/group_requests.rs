//! Requests to all who listen to a topic, and their answers.

use super::mesh::Mesh;
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, GroupRequest, Outcome, Published, Reply, Token};
use m2mesh::id::SendId;
use m2mesh::wire::data::Class;

fn ask(mesh: &mut Mesh, most: u32) -> Token {
    ask_as(mesh, most, None)
}

fn ask_as(mesh: &mut Mesh, most: u32, id: Option<SendId>) -> Token {
    let (topic, payload, lifetime) = ("plant/health".to_owned(), b"status".to_vec(), seconds(20));
    mesh.command(0, Command::GroupRequest(GroupRequest { topic, payload, policy: None, lifetime, most, id }))
}

/// A device that asks, two relays, and four that listen behind them.
fn plant() -> (Mesh, Vec<(usize, Token)>) {
    let mut mesh = Mesh::new(&["hub", "r1", "r2", "a", "b", "c", "d"]);
    for (one, other) in [(0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(5));
    let listening = (3..7).map(|at| (at, mesh.command(at, Command::subscribe("plant/#")))).collect();
    mesh.run(seconds(5));
    (mesh, listening)
}

fn requests(mesh: &Mesh, (at, token): (usize, Token)) -> Vec<Published> {
    let of = |(told, reply): &(Token, Reply)| match reply {
        Reply::Published(published) if *told == token && published.request.is_some() => Some(published.clone()),
        _ => None,
    };
    mesh.nodes[at].replies.iter().filter_map(of).collect()
}

fn answer(mesh: &mut Mesh, at: usize, published: &Published, answer: &[u8]) {
    let to = published.from.clone().expect("a contact");
    let request = published.request.expect("a request");
    mesh.command(at, Command::Answer { to, request, answer: answer.to_vec() });
}

fn answers(mesh: &Mesh, token: Token) -> Vec<(String, Vec<u8>)> {
    let of = |(told, reply): &(Token, Reply)| match reply {
        Reply::Response { from, payload, .. } if *told == token => Some((from.to_string(), payload.clone())),
        _ => None,
    };
    mesh.nodes[0].replies.iter().filter_map(of).collect()
}

/// Invariant 1 of engine::groups::answers.
#[test]
fn each_who_listens_answers_once_and_the_number_is_told() {
    let (mut mesh, listening) = plant();
    let token = ask(&mut mesh, 100);
    mesh.run(seconds(2));
    for listener in listening.clone() {
        let published = requests(&mesh, listener).pop().expect("the request");
        assert_eq!(published.payload, b"status");
        answer(&mut mesh, listener.0, &published, &[listener.0 as u8]);
        answer(&mut mesh, listener.0, &published, b"again");
    }
    mesh.run(seconds(2));
    let mut told = answers(&mesh, token);
    told.sort();
    let all = [("a", 3), ("b", 4), ("c", 5), ("d", 6)].map(|(name, at)| (name.to_owned(), vec![at]));
    assert_eq!(told, all);
    assert_eq!(mesh.counted(0, Counter::ResponsesUnasked), 4, "the second ones");
    assert!(!mesh.nodes[0].finished.contains(&token));
    mesh.run(seconds(20));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 4, .. }), "{:?}", mesh.reply(0, token));
    // Late ones are for nobody.
    let published = requests(&mesh, listening[0]).pop().expect("the request");
    answer(&mut mesh, 3, &published, b"late");
    mesh.run(seconds(2));
    assert_eq!((answers(&mesh, token).len(), mesh.counted(0, Counter::ResponsesUnasked)), (4, 5));
}

#[test]
fn it_ends_when_enough_have_answered_and_when_nobody_has() {
    let (mut mesh, listening) = plant();
    let token = ask(&mut mesh, 2);
    mesh.run(seconds(2));
    for listener in &listening[..2] {
        let published = requests(&mesh, *listener).pop().expect("the request");
        answer(&mut mesh, listener.0, &published, b"ok");
    }
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 2, .. }));
    let token = ask(&mut mesh, 2);
    mesh.run(seconds(21));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Expired { .. }));
}

/// A value that takes the place of older ones of its topic takes that of no request.
#[test]
fn a_request_that_waits_to_leave_is_no_older_value_of_its_topic() {
    let (mut mesh, listening) = plant();
    let link = mesh.link(0, 1).expect("a link");
    mesh.handle(0, Input::Blocked(link, Class::Telemetry));
    let token = ask(&mut mesh, 1);
    let (topic, payload, lifetime) = ("plant/health".to_owned(), b"fine".to_vec(), seconds(20));
    mesh.command(0, Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: true });
    mesh.handle(0, Input::Writable(link));
    mesh.run(seconds(2));
    let published = requests(&mesh, listening[0]).pop().expect("the request");
    answer(&mut mesh, listening[0].0, &published, b"ok");
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 1, .. }), "{:?}", mesh.reply(0, token));
}

/// Invariant 2 of engine::groups::answers.
#[test]
fn a_named_request_outlives_who_asks_and_each_answer_is_told_once() {
    let (mut mesh, listening) = plant();
    let id = Some(SendId([5; SendId::LEN]));
    ask_as(&mut mesh, 100, id);
    mesh.run(seconds(2));
    let reply = |mesh: &mut Mesh, listener: (usize, Token)| {
        let all = requests(mesh, listener);
        assert_eq!(all.len(), 1, "it is asked once");
        answer(mesh, listener.0, &all[0], &[listener.0 as u8]);
    };
    listening[..2].iter().for_each(|listener| reply(&mut mesh, *listener));
    mesh.run(seconds(1));
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(2));
    let again = [ask_as(&mut mesh, 100, id), ask_as(&mut mesh, 100, id)];
    mesh.run(seconds(1));
    assert!(again.iter().all(|token| answers(&mesh, *token).len() == 2));
    listening[2..].iter().for_each(|listener| reply(&mut mesh, *listener));
    let told = |mesh: &Mesh, token: Token| {
        let mut told = answers(mesh, token);
        told.sort();
        assert_eq!(told, [("a", 3), ("b", 4), ("c", 5), ("d", 6)].map(|(name, at)| (name.to_owned(), vec![at])));
        assert!(matches!(outcome(mesh, 0, token), Outcome::Heard { subscribers: 4, .. }), "{:?}", mesh.reply(0, token));
    };
    mesh.run(seconds(20));
    again.iter().for_each(|token| told(&mesh, *token));
    // It has ended, also for who asks after another restart.
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(2));
    let late = ask_as(&mut mesh, 100, id);
    mesh.run(seconds(1));
    told(&mesh, late);
    assert!(listening.iter().all(|listener| requests(&mesh, *listener).len() == 1));
    // After ten minutes it is forgotten, on the disk as well.
    mesh.run(seconds(620));
    mesh.restart(0);
    mesh.connect(0, 1);
    mesh.run(seconds(5));
    ask_as(&mut mesh, 100, id);
    mesh.run(seconds(2));
    assert!(listening.iter().all(|listener| requests(&mesh, *listener).len() == 2));
}

#[test]
fn answers_to_named_requests_are_kept_within_a_bound() {
    let (mut mesh, listening) = plant();
    for number in 0..20 {
        let token = ask_as(&mut mesh, 4, Some(SendId([number; SendId::LEN])));
        mesh.run(seconds(1));
        for listener in &listening {
            let published = requests(&mesh, *listener).pop().expect("the request");
            answer(&mut mesh, listener.0, &published, &vec![number; 60_000]);
        }
        mesh.run(seconds(2));
        assert!(matches!(outcome(&mesh, 0, token), Outcome::Heard { subscribers: 4, .. }), "they are handed over");
    }
    assert!(mesh.counted(0, Counter::AnswersNotKept) > 0);
}
