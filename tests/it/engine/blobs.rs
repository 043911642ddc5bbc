//! Blobs: large payloads arrive whole, once, and from where they were cut, whatever happens on their way.

mod calls;

use super::mesh::{Mesh, name};
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{BlobCommand, BlobSend, BlobView, Command, Outcome, Refused, Reply, Token};
use m2mesh::event_log::Event;
use m2mesh::id::{BlobHash, SendId};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::wire::blob::CHUNK;
use std::collections::BTreeSet;
use std::time::Duration;

/// Bytes that no two chunks share.
fn bytes(chunks: usize) -> Vec<u8> {
    (0..chunks * CHUNK - 77).map(|at| ((at * 31) ^ (at / CHUNK * 7)) as u8).collect()
}

/// Devices in a row, the issuer apart.
fn row(count: usize) -> Mesh {
    row_with(count, Settings::default())
}

fn row_with(count: usize, settings: Settings) -> Mesh {
    let names = ["a", "b", "c", "d", "issuer"];
    let mut mesh = Mesh::with(&[&names[..count], &names[4..]].concat(), |_| settings.clone());
    (1..count).for_each(|at| mesh.connect(at - 1, at));
    mesh.run(seconds(5));
    mesh
}

fn counted(mesh: &Mesh, at: usize, counter: Counter) -> u64 {
    mesh.nodes[at].engine.counters().get(&counter).copied().unwrap_or(0)
}

fn list(mesh: &mut Mesh, at: usize) -> Vec<BlobView> {
    let token = mesh.command(at, Command::Blob(BlobCommand::List));
    match mesh.reply(at, token) {
        Some(Reply::Blobs(blobs)) => blobs.clone(),
        other => unreachable!("no list but {other:?}"),
    }
}

/// Runs until a node has stored so many chunks, which is to be soon.
#[track_caller]
fn until_stored(mesh: &mut Mesh, at: usize, chunks: usize) -> usize {
    for _ in 0..20_000 {
        let stored = mesh.blobs.stored.get(&at).map_or(0, Vec::len);
        if stored >= chunks {
            return stored;
        }
        mesh.run(Duration::from_millis(3));
    }
    unreachable!("{chunks} chunks did not come within a minute")
}

/// Whether a fetched blob has come.
fn is_whole(mesh: &Mesh, at: usize, token: Token) -> bool {
    let replies = mesh.nodes[at].replies.iter().filter(|(of, _)| *of == token);
    replies.into_iter().any(|(_, reply)| matches!(reply, Reply::Blob(progress) if progress.whole))
}

/// The blobs of the inbox, each with the name that its sender gave.
fn received(mesh: &Mesh, at: usize) -> Vec<(BlobHash, u64, String)> {
    let blobs = mesh.inbox(at).into_iter().filter_map(|message| message.blob);
    blobs.map(|blob| (blob.hash, blob.length, blob.name)).collect()
}

fn is_delivered(mesh: &Mesh, token: Token) -> bool {
    matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. }))
}

/// Invariant 1 of engine::messages::blobs.
/// Invariant 3 of engine::messages::blobs.
#[test]
fn a_blob_that_is_sent_is_in_the_inbox_before_its_sender_is_told() {
    let (mut mesh, blob) = (row(4), bytes(40));
    let hash = mesh.put_blob(0, &blob, false, false);
    let token = mesh.send_blob(0, hash, "d", seconds(600));
    until_stored(&mut mesh, 3, 5);
    assert!(received(&mesh, 3).is_empty());
    mesh.stuck.insert(3);
    mesh.run(seconds(30));
    assert!(mesh.blob(3, hash).is_some(), "the blob is whole");
    assert_eq!(mesh.ended.get(&token), None, "but the inbox is not durable");
    mesh.stuck.clear();
    mesh.run(seconds(35));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Delivered { hops: 3, .. }));
    assert_eq!(received(&mesh, 3), [(hash, blob.len() as u64, "a.bin".to_owned())]);
    assert_eq!(mesh.blob(3, hash), Some(blob));
    let stored = mesh.blobs.stored.remove(&3).unwrap_or_default();
    assert_eq!((stored.len(), stored.iter().collect::<BTreeSet<_>>().len()), (40, 40), "each once");
    for counter in [Counter::BlobChunksAskedAgain, Counter::BlobChunksUnwanted, Counter::BlobChunksForged] {
        assert_eq!(counted(&mesh, 3, counter), 0, "{counter:?}");
    }
    let event = Event::BlobReceived { from: name("a"), bytes: 40 * CHUNK as u64 - 77 };
    assert!(mesh.events(3).contains(&event));
    // Nothing of it is readable on its way.
    let frames = mesh.nodes[1].sent.iter();
    assert!(frames.clone().count() > 45 && !frames.clone().any(|frame| frame.windows(32).any(|part| part == hash.0)));
}

/// Invariant 1 of engine::messages::blobs.
/// Invariant 1 of engine::messages::blobs::sending.
/// Invariant 1 of engine::messages::blobs::taking.
#[test]
fn restarts_and_cuts_cost_what_was_under_way() {
    let (mut mesh, blob) = (row(3), bytes(120));
    let hash = mesh.put_blob(0, &blob, false, false);
    let send = |id| {
        let (to, name, id) = (name("c"), "tiles".to_owned(), Some(SendId([id; 16])));
        Command::Blob(BlobCommand::Send(BlobSend { hash, to, name, lifetime: seconds(900), id }))
    };
    mesh.command(0, send(1));
    for round in 0..6 {
        let before = mesh.blobs.stored.get(&2).map_or(0, Vec::len);
        let stored = until_stored(&mut mesh, 2, before + 5);
        assert!(stored < 120, "the test interrupts nothing any more: {stored} in round {round}");
        match round {
            0 | 3 => {
                mesh.disconnect(1, 2);
                mesh.run(seconds(3));
                mesh.connect(1, 2);
            }
            1 | 4 => {
                mesh.restart(2);
                mesh.connect(1, 2);
            }
            2 => {
                mesh.restart(0);
                mesh.connect(0, 1);
            }
            _ => {
                mesh.restart(1);
                mesh.connect(0, 1);
                mesh.connect(1, 2);
            }
        }
    }
    mesh.run(seconds(120));
    // The application asks again, under the same name, and nothing is sent again.
    let token = mesh.command(0, send(1));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Delivered { .. }));
    assert_eq!(received(&mesh, 2), [(hash, blob.len() as u64, "tiles".to_owned())]);
    assert_eq!(mesh.blob(2, hash), Some(blob.clone()));
    let stored = mesh.blobs.stored.remove(&2).unwrap_or_default();
    let twice = stored.len() - stored.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(twice, 0, "what was reported as stored is not fetched again");
    mesh.restart(2);
    mesh.connect(1, 2);
    mesh.run(seconds(60));
    assert_eq!((received(&mesh, 2).len(), mesh.blob(2, hash)), (1, Some(blob)));
}

/// A turn of pseudonyms in the middle.
#[test]
fn a_blob_goes_on_through_a_turn_of_pseudonyms() {
    let settings = Settings { anonymity: Anonymity::Rotating, ..Settings::default() };
    let (mut mesh, blob) = (row_with(3, settings), bytes(60));
    mesh.run(seconds(3_550));
    let pseudonyms = |mesh: &Mesh| [0, 1, 2].map(|at| mesh.nodes[at].engine.pseudonym());
    let before = pseudonyms(&mesh);
    let hash = mesh.put_blob(0, &blob, false, false);
    let token = mesh.send_blob(0, hash, "c", seconds(7_200));
    let stored = until_stored(&mut mesh, 2, 5);
    assert!(stored < 60, "in the middle: {stored}");
    mesh.disconnect(1, 2);
    mesh.run(seconds(400));
    mesh.connect(1, 2);
    mesh.run(seconds(120));
    assert!(before.iter().zip(pseudonyms(&mesh)).all(|(before, after)| *before != after), "all have turned");
    assert!(is_delivered(&mesh, token), "{:?}", mesh.ended.get(&token));
    assert_eq!((received(&mesh, 2).len(), mesh.blob(2, hash)), (1, Some(blob)));
    let stored = &mesh.blobs.stored[&2];
    assert_eq!(stored.len(), stored.iter().collect::<BTreeSet<_>>().len());
}

/// Invariant 2 of engine::messages::blobs.
#[test]
fn a_blob_is_fetched_from_all_that_share_it_and_from_nobody_else() {
    let mut mesh = Mesh::new(&["a", "b", "c", "d", "issuer"]);
    [0, 1, 2].into_iter().for_each(|at| mesh.connect(at, 3));
    mesh.run(seconds(5));
    let (shared, private) = (bytes(90), b"private".to_vec());
    let hash = mesh.put_blob(0, &shared, true, true);
    mesh.put_blob(1, &shared, true, true);
    mesh.put_blob(2, &shared, true, false);
    let own = mesh.put_blob(0, &private, true, false);
    let token = mesh.get_blob(3, hash, &[], seconds(60));
    mesh.run(seconds(30));
    assert!(is_whole(&mesh, 3, token));
    assert_eq!(mesh.blob(3, hash), Some(shared));
    let brought: Vec<usize> = (0..3).map(|at| mesh.blobs.loaded.get(&at).map_or(0, Vec::len)).collect();
    assert!(brought[0] > 20 && brought[1] > 20 && brought[0] + brought[1] == 90, "{brought:?}");
    assert_eq!(brought[2], 0, "it has it, and does not share it");
    // The hash alone gives no right to it.
    let token = mesh.get_blob(3, own, &["a"], seconds(20));
    mesh.run(seconds(30));
    let said = outcome(&mesh, 3, token);
    assert!(matches!(said, Outcome::Expired { reason } if reason.contains("none of the 1 contacts")), "{said:?}");
    let again = mesh.get_blob(3, hash, &[], seconds(20));
    mesh.run(seconds(1));
    assert!(is_whole(&mesh, 3, again), "what is here is not fetched");
}

#[test]
fn a_holder_that_sends_wrong_bytes_is_asked_no_more_and_another_goes_on() {
    let mut mesh = Mesh::new(&["a", "b", "c", "issuer"]);
    mesh.connect(0, 2);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let blob = bytes(60);
    let hash = mesh.put_blob(0, &blob, true, true);
    mesh.put_blob(1, &blob, true, true);
    mesh.blobs.liars.insert(0);
    let token = mesh.get_blob(2, hash, &[], seconds(60));
    mesh.run(seconds(59));
    assert!(is_whole(&mesh, 2, token));
    assert_eq!(mesh.blob(2, hash), Some(blob.clone()));
    assert_eq!(counted(&mesh, 2, Counter::BlobChunksForged), 1, "one is enough");
    assert!(mesh.blobs.stored[&2].len() == 60 && mesh.blobs.loaded[&0].len() < 10);
    assert!(mesh.events(2).iter().any(|event| matches!(event, Event::BlobFailed { with, .. } if with == "a")));
    // What a sender offers and does not have is refused for good.
    let sent = mesh.put_blob(0, &blob[..3 * CHUNK], false, false);
    let token = mesh.send_blob(0, sent, "c", seconds(60));
    mesh.run(seconds(10));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Refused { .. }));
    assert!(received(&mesh, 2).is_empty());
}

#[test]
fn what_a_disk_has_lost_is_given_to_nobody() {
    let (mut mesh, blob) = (row(2), bytes(3));
    let hash = mesh.put_blob(0, &blob, true, true);
    let file = mesh.blobs.of(0).0.path().join("blobs").join(hash.to_string());
    let mut changed = blob.clone();
    changed[CHUNK + 1] ^= 1;
    std::fs::write(file, changed).expect("it is changed");
    let token = mesh.get_blob(1, hash, &["a"], seconds(20));
    mesh.run(seconds(30));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Expired { .. }));
    assert_eq!(counted(&mesh, 0, Counter::BlobsDamaged), 1);
    assert_eq!(list(&mut mesh, 0)[0].bytes, 0, "it is not whole any more");
    let sent = mesh.send_blob(0, hash, "b", seconds(5));
    assert!(matches!(mesh.reply(0, sent), Some(Reply::Refused(Refused::Blob(_)))));
}

/// Invariant 2 of engine::messages::blobs::taking.
#[test]
fn quotas_hold_and_cached_blobs_make_room() {
    let quota = 10 * CHUNK as u64;
    let mut mesh = row_with(2, Settings { blob_quota: quota, ..Settings::default() });
    let first = mesh.put_blob(0, &bytes(6), false, false);
    let token = mesh.send_blob(0, first, "b", seconds(60));
    mesh.run(seconds(10));
    assert!(is_delivered(&mesh, token));
    // It is cached at the sender, and goes for the next; at the receiver the inbox holds it.
    let second = mesh.put_blob(0, &bytes(7), false, false);
    assert_eq!(counted(&mesh, 0, Counter::BlobsEvicted), 1);
    assert_eq!(list(&mut mesh, 0).iter().map(|blob| blob.hash).collect::<Vec<_>>(), [second]);
    let refused = mesh.send_blob(0, second, "b", seconds(60));
    mesh.run(seconds(10));
    assert!(matches!(outcome(&mesh, 0, refused), Outcome::Refused { reason } if reason.contains("quota")));
    assert_eq!(counted(&mesh, 1, Counter::BlobOffersRefused), 1);
    let kept = Command::Blob(BlobCommand::Remove { hash: first });
    let token = mesh.command(1, kept.clone());
    assert!(matches!(mesh.reply(1, token), Some(Reply::Refused(Refused::Blob(reason))) if reason.contains("inbox")));
    // Once the application has taken it from the inbox, its room is free.
    mesh.command(1, Command::Consume { consumer: String::new(), up_to: 1, durable: true });
    let token = mesh.send_blob(0, second, "b", seconds(60));
    mesh.run(seconds(10));
    assert!(is_delivered(&mesh, token));
    assert_eq!((mesh.blob(1, first), mesh.blob(1, second)), (None, Some(bytes(7))));
    mesh.command(1, Command::Consume { consumer: String::new(), up_to: 2, durable: true });
    let token = mesh.command(1, Command::Blob(BlobCommand::Remove { hash: second }));
    mesh.run(seconds(1));
    assert_eq!(mesh.reply(1, token), Some(&Reply::Ready));
    assert_eq!(mesh.blob(1, second), None);
}

#[test]
fn a_lost_chunk_is_asked_for_again_and_sent_again() {
    let (mut mesh, blob) = (row(2), bytes(30));
    let hash = mesh.put_blob(0, &blob, true, true);
    let token = mesh.get_blob(1, hash, &["a"], seconds(300));
    until_stored(&mut mesh, 1, 2);
    mesh.vanish.insert((0, 1));
    mesh.run(Duration::from_millis(60));
    mesh.vanish.clear();
    mesh.run(seconds(120));
    assert!(is_whole(&mesh, 1, token));
    let again = counted(&mesh, 1, Counter::BlobChunksAskedAgain);
    assert!(again > 0 && again <= 32, "{again}");
    assert_eq!(counted(&mesh, 0, Counter::BlobChunksServedAgain), again);
}

#[test]
fn what_nobody_waits_for_or_may_have_is_dropped() {
    let (mut mesh, blob) = (row(2), bytes(30));
    let hash = mesh.put_blob(0, &blob, true, true);
    let token = mesh.get_blob(1, hash, &["a"], seconds(300));
    until_stored(&mut mesh, 1, 2);
    // The application goes while chunks are under way; what has come stays for another time.
    mesh.handle(1, m2mesh::engine::Input::Command { token, command: Command::Cancel });
    mesh.run(seconds(10));
    assert!(counted(&mesh, 1, Counter::BlobChunksUnwanted) > 0);
    let before = mesh.blobs.stored[&1].len();
    assert!((1..30).contains(&before));
    let token = mesh.get_blob(1, hash, &["a"], seconds(300));
    until_stored(&mut mesh, 1, before + 1);
    // It is shared no more in the middle: nothing else of it is given.
    mesh.command(0, Command::Blob(BlobCommand::Remove { hash }));
    mesh.run(seconds(20));
    assert!(!is_whole(&mesh, 1, token));
    assert!(counted(&mesh, 0, Counter::BlobWantsDropped) > 0);
    mesh.put_blob(0, &blob, true, true);
    mesh.run(seconds(30));
    assert!(is_whole(&mesh, 1, token));
    let stored = &mesh.blobs.stored[&1];
    assert_eq!((stored.len(), stored.iter().collect::<BTreeSet<_>>().len()), (30, 30), "each once");
}

/// Invariant 1 of engine::messages::blobs::fetching.
#[test]
fn no_more_blobs_are_fetched_at_a_time_than_may_be() {
    let mut mesh = row(2);
    let get = |mesh: &mut Mesh, n| mesh.get_blob(1, BlobHash([n; 32]), &["a"], seconds(30));
    let tokens: Vec<Token> = (0..17).map(|n| get(&mut mesh, n)).collect();
    let refused = |mesh: &Mesh, token| matches!(mesh.reply(1, token), Some(Reply::Refused(Refused::Full(_))));
    assert!(tokens[..16].iter().all(|token| !refused(&mesh, *token)) && refused(&mesh, tokens[16]));
    mesh.run(seconds(31));
    assert!(tokens[..16].iter().all(|token| matches!(outcome(&mesh, 1, *token), Outcome::Expired { .. })));
    let token = get(&mut mesh, 17);
    assert!(!refused(&mesh, token));
}

#[test]
fn what_cannot_be_sent_ends_by_its_deadline() {
    let (mut mesh, blob) = (row(2), bytes(2));
    let hash = mesh.put_blob(0, &blob, false, false);
    mesh.disconnect(0, 1);
    let token = mesh.send_blob(0, hash, "b", seconds(5));
    mesh.run(seconds(6));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Unreachable { .. }));
    let unknown = mesh.send_blob(0, BlobHash([9; 32]), "b", seconds(5));
    assert!(matches!(mesh.reply(0, unknown), Some(Reply::Refused(Refused::Blob(_)))));
    let nobody = mesh.send_blob(0, hash, "z", seconds(5));
    mesh.run(seconds(10));
    assert!(matches!(mesh.reply(0, nobody), Some(Reply::Refused(Refused::UnknownContact { .. }))));
}
