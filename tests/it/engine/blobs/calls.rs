//! Requests and responses that are longer than a message: they arrive whole, once, or end as any other.

use crate::engine::mesh::{Mesh, name};
use crate::engine::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{BlobCommand, BlobRequest, Call, Command, Outcome, Refused, Reply, Token};
use m2mesh::id::BlobHash;
use m2mesh::wire::blob::CHUNK;
use m2mesh::wire::data::Class;
use std::time::Duration;

fn bytes(chunks: usize, of: u8) -> Vec<u8> {
    (0..chunks * CHUNK - 77).map(|at| ((at * 31) ^ (at / CHUNK * 7)) as u8 ^ of).collect()
}

/// Three devices in a row, of which the last offers a service, under this token.
fn row() -> (Mesh, Token) {
    let mut mesh = Mesh::new(&["a", "b", "c", "issuer"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let offer = mesh.command(2, Command::Offer { service: "resize".into(), capacity: None });
    (mesh, offer)
}

fn ask(mesh: &mut Mesh, hash: BlobHash, lifetime: u64) -> Token {
    let (to, service, lifetime) = (name("c"), Some("resize".to_owned()), seconds(lifetime));
    let request = BlobRequest { hash, to, service, class: Class::Telemetry, policy: None, lifetime };
    mesh.command(0, Command::Blob(BlobCommand::Request(request)))
}

/// The calls that a service was handed.
fn calls(mesh: &Mesh, offer: Token) -> Vec<Call> {
    let of = |(token, reply): &(Token, Reply)| match reply {
        Reply::Call(call) if *token == offer => Some(call.clone()),
        _ => None,
    };
    mesh.nodes[2].replies.iter().filter_map(of).collect()
}

#[track_caller]
fn until_stored(mesh: &mut Mesh, at: usize, chunks: usize) {
    for _ in 0..20_000 {
        if mesh.blobs.stored.get(&at).map_or(0, Vec::len) >= chunks {
            return;
        }
        mesh.run(Duration::from_millis(3));
    }
    unreachable!("{chunks} chunks did not come within a minute")
}

/// Invariant 1 of engine::messages::blobs::calls.
/// Invariant 2 of engine::messages::blobs::calls.
#[test]
fn long_questions_and_responses_arrive_whole_and_once_through_cuts() {
    let ((mut mesh, offer), question, answer) = (row(), bytes(40, 0), bytes(30, 9));
    let hash = mesh.put_blob(0, &question, false, false);
    let request = ask(&mut mesh, hash, 600);
    until_stored(&mut mesh, 2, 10);
    assert!(calls(&mesh, offer).is_empty(), "it is not whole");
    mesh.disconnect(1, 2);
    mesh.run(seconds(20));
    mesh.connect(1, 2);
    mesh.run(seconds(30));
    let call = calls(&mesh, offer).pop().expect("a call");
    let blob = call.blob.clone().expect("a blob");
    assert_eq!((blob.hash, blob.length, call.payload.len()), (hash, question.len() as u64, 0));
    assert_eq!(mesh.blob(2, hash), Some(question));
    let response = mesh.put_blob(2, &answer, false, false);
    mesh.command(2, Command::Blob(BlobCommand::Respond { call: call.call, hash: response }));
    until_stored(&mut mesh, 0, 10);
    assert_eq!(mesh.reply(0, request), None, "it is not whole");
    mesh.disconnect(0, 1);
    mesh.run(seconds(20));
    mesh.connect(0, 1);
    mesh.run(seconds(60));
    let Some(Reply::BlobResponse { from, blob, .. }) = mesh.reply(0, request).cloned() else {
        unreachable!("no response but {:?}", mesh.reply(0, request))
    };
    assert_eq!((from.as_str(), blob.hash, blob.length), ("c", response, answer.len() as u64));
    assert_eq!(mesh.blob(0, response), Some(answer));
    assert_eq!(calls(&mesh, offer).len(), 1);
    let again = mesh.command(2, Command::Blob(BlobCommand::Respond { call: call.call, hash: response }));
    assert_eq!(mesh.reply(2, again), Some(&Reply::Refused(Refused::NoSuchCall(call.call))));
    // Nobody else gets either.
    let got = mesh.get_blob(1, hash, &["a", "c"], seconds(20));
    mesh.run(seconds(30));
    assert!(matches!(outcome(&mesh, 1, got), Outcome::Expired { .. }));
    // A short answer to a long question, and the question is there already.
    let short = ask(&mut mesh, hash, 60);
    mesh.run(seconds(5));
    let call = calls(&mesh, offer).pop().expect("a call");
    mesh.command(2, Command::Respond { call: call.call, answer: Ok(b"seen".to_vec()) });
    mesh.run(seconds(5));
    assert!(matches!(mesh.reply(0, short), Some(Reply::Response { payload, .. }) if payload == b"seen"));
}

/// Invariant 1 of engine::messages::blobs::calls.
#[test]
fn a_question_that_does_not_come_whole_is_handed_to_nobody() {
    let ((mut mesh, offer), question) = (row(), bytes(40, 0));
    let hash = mesh.put_blob(0, &question, false, false);
    // Its service is restarted in the middle: nobody knows, so it is not repeated.
    let request = ask(&mut mesh, hash, 600);
    until_stored(&mut mesh, 2, 5);
    mesh.restart(2);
    mesh.connect(1, 2);
    mesh.run(seconds(60));
    let said = outcome(&mesh, 0, request);
    assert!(matches!(said, Outcome::Refused { reason } if reason.contains("restarted")), "{said:?}");
    let offer_again = mesh.command(2, Command::Offer { service: "resize".into(), capacity: None });
    mesh.run(seconds(60));
    assert!(calls(&mesh, offer).is_empty() && calls(&mesh, offer_again).is_empty());
    // The time is over in the middle.
    let other = mesh.put_blob(0, &bytes(50, 3), false, false);
    let request = ask(&mut mesh, other, 10);
    let before = mesh.blobs.stored[&2].len();
    until_stored(&mut mesh, 2, before + 5);
    mesh.disconnect(1, 2);
    mesh.run(seconds(20));
    assert!(matches!(outcome(&mesh, 0, request), Outcome::Expired { .. }));
    mesh.connect(1, 2);
    mesh.run(seconds(60));
    assert!(calls(&mesh, offer_again).is_empty());
    assert_eq!(mesh.blob(2, other), None, "and nobody fetches it on");
    // Its sender brings something else.
    mesh.blobs.liars.insert(0);
    let third = mesh.put_blob(0, &bytes(6, 5), false, false);
    let request = ask(&mut mesh, third, 60);
    mesh.run(seconds(30));
    let said = outcome(&mesh, 0, request);
    assert!(matches!(said, Outcome::Refused { reason } if reason.contains("did not come whole")), "{said:?}");
    assert!(calls(&mesh, offer_again).is_empty());
    assert_eq!(mesh.nodes[2].engine.counters().get(&Counter::BlobChunksForged), Some(&1));
}

/// Invariant 2 of engine::messages::blobs::calls.
#[test]
fn a_response_that_does_not_come_whole_ends_the_request() {
    let (mut mesh, offer) = row();
    let hash = mesh.put_blob(0, &bytes(3, 0), false, false);
    let answer = mesh.put_blob(2, &bytes(40, 9), false, false);
    let request = ask(&mut mesh, hash, 60);
    mesh.run(seconds(5));
    let call = calls(&mesh, offer).pop().expect("a call");
    mesh.blobs.liars.insert(2);
    mesh.command(2, Command::Blob(BlobCommand::Respond { call: call.call, hash: answer }));
    mesh.run(seconds(30));
    let said = outcome(&mesh, 0, request);
    assert!(matches!(said, Outcome::Refused { reason } if reason.contains("did not come whole")), "{said:?}");
    mesh.blobs.liars.clear();
    let request = ask(&mut mesh, hash, 20);
    mesh.run(seconds(5));
    let call = calls(&mesh, offer).pop().expect("a call");
    mesh.command(2, Command::Blob(BlobCommand::Respond { call: call.call, hash: answer }));
    let before = mesh.blobs.stored.get(&0).map_or(0, Vec::len);
    until_stored(&mut mesh, 0, before + 3);
    mesh.disconnect(0, 1);
    mesh.run(seconds(30));
    assert!(matches!(outcome(&mesh, 0, request), Outcome::Expired { .. }));
    // What is not here is refused at once.
    let none = ask(&mut mesh, BlobHash([9; 32]), 20);
    assert!(matches!(mesh.reply(0, none), Some(Reply::Refused(Refused::Blob(_)))));
}
