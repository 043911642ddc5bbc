//! Sessions against those who carry their frames: what a relay hands in again, at another time or changed, forges nothing,
//! displaces nothing, and makes nobody seal twice with one key and nonce.

use super::mesh::Mesh;
use super::{named, outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::Outcome;
use m2mesh::identity::audit;
use m2mesh::identity::credential::acceptance;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::{DataFrame, Form, Header, put_prefixed, split_record};
use m2mesh::wire::frame::{HEADER, Kind};
use m2mesh::wire::{self, frame};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

/// A sender, a relay, and a receiver.
const A: usize = 0;
const RELAY: usize = 1;
const B: usize = 2;

fn line() -> Mesh {
    let mut mesh = Mesh::new(&["a", "relay", "b"]);
    mesh.connect(A, RELAY);
    mesh.connect(RELAY, B);
    mesh.run(seconds(5));
    mesh
}

fn data(frame: &[u8]) -> Option<DataFrame<'_>> {
    (frame[4] == Kind::Data as u8).then(|| DataFrame::parse(&frame[HEADER..]).expect("a data frame"))
}

/// Frames for a device that the relay has sent on, of this form.
fn carried(mesh: &mut Mesh, to: usize, form: Form) -> Vec<Vec<u8>> {
    let unix = mesh.now.unix;
    let member = mesh.nodes[to].engine.membership();
    let own: Vec<_> = member.handles(unix, unix, 1);
    let is_for =
        |frame: &&Vec<u8>| data(frame).is_some_and(|data| data.header.to == own[0] && data.header.form == form);
    mesh.nodes[RELAY].sent.iter().filter(is_for).cloned().collect()
}

/// The record that a data frame carries.
fn record<'a>(data: &DataFrame<'a>) -> &'a [u8] {
    split_record(data.header.form, data.sealed).expect("a record").1
}

/// Every record that the devices' frames hold is the only one with its session and counter: of two sessions that one opener
/// made, the answers tell which is which.
fn no_record_shares_its_nonce(frames: &[Vec<u8>]) {
    let mut seen = BTreeMap::new();
    for frame in frames {
        let Some(data) = data(frame) else { continue };
        let (before, record) = split_record(data.header.form, data.sealed).expect("a record");
        let (head, sealed) = record.split_at(16);
        let before = seen.insert([before, head].concat(), sealed.to_vec());
        assert!(before.is_none_or(|before| before == sealed), "two records under {head:?}");
    }
}

/// Invariant 1 of identity::session.
#[test]
fn an_opener_handed_in_again_after_a_restart_makes_no_key_seal_twice() {
    audit::begin();
    let mut mesh = line();
    let first = mesh.send(A, "b", b"first", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, A, first).is_success());
    let opener = carried(&mut mesh, B, Form::Opener).remove(0);
    let mut sealed = mesh.nodes[B].sent.clone();
    for _ in 0..3 {
        mesh.restart(B);
        mesh.connect(RELAY, B);
        mesh.run(seconds(5));
        mesh.hand(B, RELAY, &opener);
        mesh.run(seconds(1));
        sealed.extend(mesh.nodes[B].sent.clone());
    }
    assert!(sealed.iter().filter_map(|frame| data(frame)).count() > 3, "it has answered each time");
    no_record_shares_its_nonce(&sealed);
    assert_eq!(mesh.inbox(B).len(), 1);
    // What it had with the sender stands, or is made again.
    let second = mesh.send(A, "b", b"second", Ack::End, 60);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, A, second), Outcome::Delivered { .. }));
    let book = audit::end().expect("it was watched");
    assert_eq!((book.repeated, book.seals > 10), (0, true), "{} keys", book.keys());
}

/// Everything for a device that has passed the relay.
fn kept(mesh: &mut Mesh, to: usize) -> Vec<(usize, Vec<u8>)> {
    let forms = [Form::Opener, Form::Answer, Form::Session];
    let frames: Vec<_> = forms.into_iter().flat_map(|form| carried(mesh, to, form)).collect();
    frames.into_iter().map(|frame| (to, frame)).collect()
}

/// A frame's record under the session and counter of another's, that many further on.
fn grafted(frame: &[u8], other: &[u8], further: u8) -> Vec<u8> {
    let mut grafted = frame.to_vec();
    let at = frame.len() - record(&data(frame).expect("data")).len();
    grafted[at..at + 16].copy_from_slice(&record(&data(other).expect("data"))[..16]);
    grafted[at + 15] = grafted[at + 15].wrapping_add(further);
    grafted
}

/// The relay has what passed it before and after restarts of either end, with sessions that have been evicted since. It drops a
/// message and hands in all that it has, at both ends, in many orders, and their records under each other's nonces.
#[test]
fn nothing_that_a_relay_has_kept_tells_a_sender_of_a_delivery() {
    audit::begin();
    let mut mesh = line();
    let rounds = 11;
    for round in 0..rounds {
        for number in 0..2 {
            mesh.send(A, "b", &[round, number], Ack::End, 3_000);
            mesh.send(B, "a", &[round, number], Ack::End, 3_000);
            mesh.run(Duration::from_millis(200));
        }
        let again = if round == 9 { B } else { A };
        mesh.restart(again);
        mesh.connect(again, RELAY);
        mesh.run(seconds(10));
    }
    let all = usize::from(rounds) * 2;
    assert_eq!((mesh.inbox(A).len(), mesh.inbox(B).len()), (all, all));
    let before = kept(&mut mesh, B);
    mesh.vanish.insert((RELAY, B));
    mesh.command(A, named("b", b"dropped", 7));
    mesh.run(seconds(1));
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    for turn in 0..8 {
        let mut frames = kept(&mut mesh, A);
        let newest: Vec<_> = frames.iter().rev().take(6).cloned().collect();
        frames.extend(before.iter().cloned());
        match turn {
            0 => {}
            1 => frames.reverse(),
            _ => frames.sort_by_cached_key(|_| rng.next_u64()),
        }
        for (at, frame) in &frames {
            mesh.hand(*at, RELAY, frame);
        }
        mesh.run(Duration::from_millis(100));
        for (_, frame) in frames.iter().filter(|(at, _)| *at == A) {
            for (_, other) in &newest {
                mesh.hand(A, RELAY, &grafted(frame, other, 0));
                mesh.hand(A, RELAY, &grafted(frame, other, 1));
                mesh.hand(A, RELAY, &grafted(other, frame, 1));
            }
        }
        mesh.run(Duration::from_millis(100));
        if turn == 3 {
            // The sender stands still, so that the receiver learns of the others and not of the message.
            mesh.stop(A);
            mesh.vanish.clear();
            mesh.restart(B);
            mesh.connect(B, RELAY);
            mesh.run(seconds(5));
            mesh.vanish.insert((RELAY, B));
            mesh.go_on(A);
        }
        if turn == 5 {
            mesh.restart(A);
            mesh.connect(A, RELAY);
            mesh.run(seconds(5));
        }
    }
    let dropped = mesh.command(A, named("b", b"dropped", 7));
    mesh.run(seconds(60));
    assert_eq!((mesh.inbox(A).len(), mesh.inbox(B).len()), (all, all));
    let told = outcome(&mesh, A, dropped);
    assert!(matches!(told, Outcome::Expired { .. } | Outcome::Unreachable { .. }), "{told:?}");
    mesh.vanish.clear();
    let after = mesh.send(A, "b", b"after", Ack::End, 60);
    mesh.run(seconds(30));
    assert!(matches!(outcome(&mesh, A, after), Outcome::Delivered { .. }));
    // What the attack needs is not there: two tags under one key and nonce.
    no_record_shares_its_nonce(&mesh.nodes[RELAY].sent);
    let book = audit::end().expect("it was watched");
    assert_eq!((book.repeated, book.seals > 100), (0, true), "{} keys", book.keys());
}

/// The sender opens one session after the other until its first one has no place any more.
/// Invariant 1 of engine::messages::receiving.
/// Invariant 1 of engine::messages::sessions.
#[test]
fn an_opener_whose_session_is_gone_makes_no_other_one() {
    let mut mesh = line();
    for number in 0..10u8 {
        let token = mesh.send(A, "b", &[number], Ack::End, 60);
        mesh.run(seconds(1));
        assert!(outcome(&mesh, A, token).is_success());
        mesh.restart(A);
        mesh.connect(A, RELAY);
        mesh.run(seconds(5));
    }
    let openers = carried(&mut mesh, B, Form::Opener);
    assert!(openers.len() >= 10 && mesh.counted(B, Counter::SessionsForgotten) >= 2);
    let (told, nacks) = (sealed_by(&mesh, B), sent(&mesh, B, Kind::SessionNack));
    mesh.hand(B, RELAY, &openers[0]);
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(B, Counter::OpenersReplayed), 1);
    assert_eq!((sealed_by(&mesh, B), sent(&mesh, B, Kind::SessionNack)), (told, nacks + 1));
    // One whose session is still there opens nothing either.
    mesh.hand(B, RELAY, openers.last().expect("ten"));
    mesh.run(seconds(1));
    assert_eq!((sealed_by(&mesh, B), mesh.counted(B, Counter::DataReplayed)), (told, 1));
    assert_eq!(mesh.inbox(B).len(), 10);
}

#[test]
fn an_old_opener_does_not_displace_the_session_that_is_sealed_with() {
    let mut mesh = line();
    mesh.send(A, "b", b"first", Ack::End, 60);
    mesh.run(seconds(1));
    let opener = carried(&mut mesh, B, Form::Opener).remove(0);
    mesh.restart(B);
    mesh.connect(RELAY, B);
    mesh.run(seconds(5));
    // What it now seals for the sender, it seals under a session that the sender can open: with none confirmed its own.
    mesh.hand(B, RELAY, &opener);
    let token = mesh.send(B, "a", b"for you", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, B, token), Outcome::Delivered { .. }));
    mesh.hand(B, RELAY, &opener);
    let token = mesh.send(B, "a", b"and again", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, B, token), Outcome::Delivered { .. }));
}

/// A record that does not open says nothing of who sent it; sixteen in a row, and the two ends start anew.
/// Invariant 2 of engine::messages::seals.
#[test]
fn records_that_fail_under_a_known_session_are_answered_in_the_end() {
    let mut mesh = line();
    for number in 0..3u8 {
        mesh.send(A, "b", &[number], Ack::End, 60);
        mesh.run(seconds(1));
    }
    let frames = carried(&mut mesh, B, Form::Session);
    let opener = carried(&mut mesh, B, Form::Opener).remove(0);
    let changed = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        // Its counter is one that has not been.
        let at = frame.len() - record(&data(&frame).expect("data")).len() + 9;
        frame[at] ^= 0x40;
        frame
    };
    for _ in 0..20 {
        mesh.hand(B, RELAY, &changed(&opener));
    }
    assert_eq!(sent(&mesh, B, Kind::SessionNack), 0, "anybody can name a session in an opener");
    for _ in 0..15 {
        mesh.hand(B, RELAY, &changed(&frames[0]));
    }
    let token = mesh.send(A, "b", b"between", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, A, token).is_success());
    for _ in 0..15 {
        mesh.hand(B, RELAY, &changed(&frames[0]));
    }
    assert_eq!((sent(&mesh, B, Kind::SessionNack), mesh.counted(B, Counter::SessionsDisagreed)), (0, 0));
    for _ in 0..100 {
        mesh.hand(B, RELAY, &changed(&frames[0]));
    }
    assert_eq!((sent(&mesh, B, Kind::SessionNack), mesh.counted(B, Counter::SessionsDisagreed)), (1, 1), "once");
    mesh.run(seconds(1));
    let token = mesh.send(A, "b", b"anew", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, A, token).is_success());
    assert_eq!(carried(&mut mesh, B, Form::Opener).len(), 2, "under a session of its own");
}

/// Invariant 1 of engine::messages::seals.
#[test]
fn an_opener_under_another_header_makes_no_session() {
    let mut mesh = line();
    mesh.send(A, "b", b"first", Ack::End, 60);
    mesh.run(seconds(1));
    let opener = carried(&mut mesh, B, Form::Opener).remove(0);
    let parsed = data(&opener).expect("data");
    let header = wire::encode(&Header { expiry: parsed.header.expiry + 1, ..parsed.header.clone() });
    let mut changed = Vec::new();
    let start = frame::begin(&mut changed, Kind::Data);
    put_prefixed(&mut changed, &header);
    put_prefixed(&mut changed, &wire::encode(&parsed.path));
    changed.extend_from_slice(parsed.sealed);
    frame::finish(&mut changed, start);
    mesh.restart(B);
    mesh.connect(RELAY, B);
    mesh.run(seconds(5));
    mesh.hand(B, RELAY, &changed);
    mesh.run(seconds(1));
    assert_eq!((mesh.counted(B, Counter::DataNotOpened), sealed_by(&mesh, B)), (1, 0));
    assert_eq!(sent(&mesh, B, Kind::SessionNack), 0);
    mesh.hand(B, RELAY, &opener);
    mesh.run(seconds(1));
    assert_eq!((mesh.counted(B, Counter::MessagesDuplicate), sealed_by(&mesh, B)), (1, 1));
}

/// Nothing is to be confirmed, and yet the opener goes along no longer than it takes to be answered.
#[test]
fn a_session_that_carries_nothing_to_confirm_is_answered_too() {
    let mut mesh = line();
    for number in 0..3u8 {
        mesh.send(A, "b", &[number], Ack::None, 60);
        mesh.run(Duration::from_millis(100));
    }
    assert_eq!((carried(&mut mesh, B, Form::Opener).len(), carried(&mut mesh, B, Form::Session).len()), (1, 2));
    assert_eq!((sealed_by(&mesh, B), mesh.inbox(B).len()), (1, 3));
}

/// The answer is lost again and again: the opener goes along until one arrives, and each is the same session.
#[test]
fn lost_answers_are_given_again() {
    let mut mesh = line();
    mesh.vanish.insert((B, RELAY));
    for number in 0..3u8 {
        mesh.send(A, "b", &[number], Ack::None, 60);
        mesh.run(seconds(1));
    }
    assert_eq!(carried(&mut mesh, B, Form::Opener).len(), 3);
    mesh.vanish.clear();
    let token = mesh.send(A, "b", b"confirmed", Ack::End, 60);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, A, token).is_success());
    mesh.send(A, "b", b"after", Ack::None, 60);
    mesh.run(seconds(1));
    assert_eq!((carried(&mut mesh, B, Form::Session).len(), mesh.inbox(B).len()), (1, 5));
}

/// Invariant 1 of identity::membership.
#[test]
fn keys_of_epochs_that_are_over_are_erased_with_what_they_opened() {
    let mut mesh = line();
    mesh.send(A, "b", b"first", Ack::End, 60);
    mesh.run(seconds(1));
    let frames = carried(&mut mesh, B, Form::Opener);
    let handle = data(&frames[0]).expect("data").header.to;
    let until = mesh.nodes[B].engine.membership().credential(mesh.now.unix).map(|own| acceptance(&own.body));
    let (_, until) = until.flatten().expect("a credential");
    mesh.run(until.since(mesh.now.unix) - seconds(1));
    let unix = mesh.now.unix;
    let member = mesh.nodes[B].engine.membership();
    let before = member.to_stored().batch.len();
    assert!(member.credential_of(&handle, unix).is_some(), "it is accepted still");
    mesh.run(seconds(2));
    let unix = mesh.now.unix;
    let member = mesh.nodes[B].engine.membership();
    assert!(member.credential_of(&handle, unix).is_none());
    assert!(member.to_stored().batch.len() < before, "and not on disk either");
    assert!(mesh.nodes[B].saves > 0);
    let token = mesh.send(A, "b", b"second", Ack::End, 60);
    mesh.run(seconds(2));
    assert!(outcome(&mesh, A, token).is_success());
}

/// Frames of a kind that a node has sent.
fn sent(mesh: &Mesh, at: usize, kind: Kind) -> usize {
    mesh.nodes[at].sent.iter().filter(|frame| frame[4] == kind as u8).count()
}

/// Records that a node has sealed.
fn sealed_by(mesh: &Mesh, at: usize) -> usize {
    let own = |frame: &&Vec<u8>| data(frame).is_some_and(|data| data.path.visited.is_empty());
    mesh.nodes[at].sent.iter().filter(own).count()
}
