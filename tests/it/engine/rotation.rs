//! Rotation: devices go on under other pseudonyms at the turn of an epoch, and nothing is lost by it.

mod waking;

use super::mesh::Mesh;
use super::multicast::{heard, publish, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::engine::view::IdentityView;
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::Event;
use m2mesh::id::Pseudonym;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::identity::credential::{OwnCredential, PeerCredential};
use m2mesh::identity::successor;
use m2mesh::time::Unix;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::successor::Successor;
use std::collections::BTreeSet;
use std::time::Duration;

const HOUR: u64 = 3_600;

fn rotating(names: &[&str], which: impl Fn(usize) -> bool) -> Mesh {
    let anonymity = |at| if which(at) { Anonymity::Rotating } else { Anonymity::Stable };
    Mesh::with(names, |at| Settings { anonymity: anonymity(at), ..Settings::default() })
}

fn row(mesh: &mut Mesh, count: usize) {
    (1..count).for_each(|at| mesh.connect(at - 1, at));
    mesh.run(seconds(10));
}

/// Sends one message each way every second for so long.
fn talk(mesh: &mut Mesh, ends: (usize, usize), for_: u64) -> Vec<Token> {
    let names: Vec<String> =
        [ends.0, ends.1].iter().map(|at| mesh.nodes[*at].engine.membership().name().to_string()).collect();
    let mut tokens = Vec::new();
    for second in 0..for_ {
        let payload = second.to_be_bytes();
        tokens.push(mesh.send(ends.0, &names[1], &payload, Ack::End, 60));
        tokens.push(mesh.send(ends.1, &names[0], &payload, Ack::End, 60));
        mesh.run(seconds(1));
    }
    mesh.run(seconds(60));
    tokens
}

/// Each was delivered, and each inbox holds each payload once.
#[track_caller]
fn assert_delivered(mesh: &Mesh, tokens: &[Token], ends: (usize, usize)) {
    let told: Vec<_> = tokens.iter().map(|token| mesh.ended.get(token)).collect();
    let lost: Vec<_> = told.iter().filter(|outcome| !matches!(outcome, Some(Outcome::Delivered { .. }))).collect();
    assert!(lost.is_empty(), "{} of {} were not delivered: {:?}", lost.len(), tokens.len(), lost.first());
    for end in [ends.0, ends.1] {
        let payloads: Vec<Vec<u8>> = mesh.inbox(end).iter().map(|message| message.payload.clone()).collect();
        let once: BTreeSet<&Vec<u8>> = payloads.iter().collect();
        assert_eq!((payloads.len(), once.len()), (tokens.len() / 2, tokens.len() / 2), "each once");
    }
}

/// A device that rotates is known by another pseudonym in each epoch, and its messages arrive through the turns.
#[test]
fn messages_arrive_through_turns_at_which_the_ends_rotate() {
    let mut mesh = rotating(&["a", "relay", "b"], |at| at != 1);
    row(&mut mesh, 3);
    let mut seen: BTreeSet<Pseudonym> = mesh.nodes.iter().map(|node| node.own).collect();
    let first = mesh.nodes[1].own;
    for _ in 0..2 {
        let left = HOUR - mesh.now.unix.seconds() % HOUR;
        mesh.run(seconds(left - 20));
        let before = mesh.inbox(2).len();
        let tokens = talk(&mut mesh, (0, 2), 340);
        assert!(mesh.inbox(2).len() - before == tokens.len() / 2);
        let lost: Vec<_> =
            tokens.iter().filter(|token| !matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. }))).collect();
        let first =
            lost.first().map(|token| (tokens.iter().position(|other| *other == **token), mesh.ended.get(token)));
        assert!(lost.is_empty(), "{} of {}: {first:?}", lost.len(), tokens.len());
        seen.extend(mesh.nodes.iter().map(|node| node.own));
    }
    assert_eq!(mesh.nodes[1].own, first, "one that is stable keeps its own");
    assert_eq!(seen.len(), 1 + 2 * 3, "two devices in three epochs");
}

/// So do they where every device rotates, relays too, all in the same epoch.
#[test]
fn messages_arrive_where_all_rotate() {
    let mut mesh = rotating(&["a", "one", "two", "b"], |_| true);
    row(&mut mesh, 4);
    let before: Vec<Pseudonym> = mesh.nodes.iter().map(|node| node.own).collect();
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left - 20));
    let tokens = talk(&mut mesh, (0, 3), 340);
    assert_delivered(&mesh, &tokens, (0, 3));
    assert!(mesh.nodes.iter().zip(&before).all(|(node, before)| node.own != *before));
    // Nobody is known by the pseudonym before any more, nor do credentials of the past stay.
    mesh.run(seconds(1_200));
    for at in 0..4 {
        let own = mesh.nodes[at].own;
        let now = mesh.now.unix;
        assert_eq!(mesh.nodes[at].engine.membership().pseudonym(now), own);
        let gone = Unix(mesh.now.unix.0 - 3_600_000_000);
        assert!(mesh.nodes[at].engine.membership().credential(gone).is_none(), "its keys are erased");
    }
}

/// One whose clock leaps over several epochs, forward or back, and is right again soon after, takes part again at once, under the pseudonym of the
/// present; what was under way meanwhile arrives.
#[test]
fn a_clock_that_leaps_over_epochs_and_back_keeps_nobody_out() {
    for (ahead, meanwhile) in [(10_800, 12), (-10_800, 12), (10_800, 600), (-10_800, 600)] {
        let mut mesh = rotating(&["a", "b", "c"], |_| true);
        row(&mut mesh, 3);
        // A floor that is hours old, so that a clock set back is believed.
        let left = HOUR - mesh.now.unix.seconds() % HOUR;
        mesh.run(seconds(left + 900));
        mesh.skew.insert(1, ahead);
        let token = mesh.send(0, "c", b"under way", Ack::End, 900);
        mesh.run(seconds(meanwhile));
        mesh.skew.remove(&1);
        for _ in 0..60 {
            mesh.run(seconds(1));
            mesh.handle(1, Input::Timeout);
            for (at, to) in [(0, 1), (1, 2)] {
                let is_met = mesh.admits(at, to).is_ok() && mesh.admits(to, at).is_ok();
                if mesh.link(at, to).is_none() && is_met {
                    mesh.connect(at, to);
                }
            }
        }
        mesh.run(seconds(10));
        let (own, now) = (mesh.nodes[1].own, mesh.now.unix);
        let engine = &mut mesh.nodes[1].engine;
        assert_eq!(engine.membership().pseudonym(now), own, "{ahead} s for {meanwhile} s: it takes part under another");
        let ended = mesh.ended.get(&token);
        assert!(ended.is_some_and(Outcome::is_success), "{ahead} s for {meanwhile} s: {ended:?}");
        assert!(
            !identity(&mut mesh, 1, Command::Identity).changing,
            "{ahead} s for {meanwhile} s: a turn is under way"
        );
    }
}

/// One whose clock leaps over several epochs and is right again in the same one keeps its links and its pseudonym.
#[test]
fn a_clock_that_leaps_and_is_right_again_in_the_same_epoch_costs_no_link() {
    for ahead in [10_800, -10_800] {
        let mut mesh = rotating(&["a", "b", "c"], |_| true);
        row(&mut mesh, 3);
        let left = HOUR - mesh.now.unix.seconds() % HOUR;
        mesh.run(seconds(left + 900));
        (0..2)
            .filter(|at| mesh.link(*at, at + 1).is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| mesh.connect(at, at + 1));
        mesh.run(seconds(30));
        let before = (mesh.nodes[1].own, mesh.link(0, 1), mesh.link(1, 2));
        assert!(before.1.is_some() && before.2.is_some());
        mesh.skew.insert(1, ahead);
        // It has something to do meanwhile.
        mesh.send(1, "c", b"of another time", Ack::End, 60);
        mesh.run(seconds(60));
        // A time before the latest that it knows to have been is not believed.
        let stepped = |event: &Event| matches!(event, Event::ClockStepped { .. });
        assert_eq!(mesh.events(1).iter().any(stepped), ahead > 0, "{ahead} s");
        mesh.skew.remove(&1);
        mesh.handle(1, Input::Timeout);
        mesh.run(seconds(60));
        mesh.nodes[1].own = mesh.nodes[1].engine.pseudonym();
        assert_eq!((mesh.nodes[1].own, mesh.link(0, 1), mesh.link(1, 2)), before, "{ahead} s");
        let token = mesh.send(0, "c", b"through it", Ack::End, 30);
        mesh.run(seconds(5));
        assert!(mesh.ended.get(&token).is_some_and(Outcome::is_success), "{ahead} s: {:?}", mesh.ended.get(&token));
    }
}

/// One that is restarted in the middle of a turn goes on under the pseudonym of the present.
#[test]
fn a_restart_in_the_middle_of_a_turn_costs_no_message() {
    let mut mesh = rotating(&["a", "b"], |_| true);
    row(&mut mesh, 2);
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left - 1));
    let token = mesh.send(0, "b", b"before", Ack::End, 300);
    mesh.run(seconds(100));
    mesh.restart(0);
    mesh.connect(0, 1);
    let later = mesh.send(0, "b", b"after", Ack::End, 300);
    mesh.run(seconds(300));
    for token in [token, later] {
        assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
    }
    assert_eq!(mesh.inbox(1).len(), 2);
    let (own, now) = (mesh.nodes[0].own, mesh.now.unix);
    assert_eq!(mesh.nodes[0].engine.membership().pseudonym(now), own);
}

/// A process that is killed at any moment of a turn, at an end or on the way, costs no message, and none arrives twice.
#[test]
fn a_process_may_be_killed_at_any_moment_of_a_turn() {
    let mut mesh = rotating(&["a", "relay", "b"], |_| true);
    row(&mut mesh, 3);
    let mut tokens = Vec::new();
    for turn in 0..9 {
        let left = HOUR - mesh.now.unix.seconds() % HOUR;
        mesh.run(seconds(left - 5));
        let killed = turn % 3;
        // The device changes within 150 s of the turn; a third of the moments are before that, a third after.
        let begins = mesh.now.unix;
        let mut killed_at = None;
        for second in 0..200_u64 {
            tokens.push(mesh.send(0, "b", &(1_000 * turn as u64 + second).to_be_bytes(), Ack::End, 120));
            mesh.run(seconds(1));
            let changing = identity(&mut mesh, killed, Command::Identity).changing;
            let due = changing && second > 5 + 7 * turn as u64;
            if killed_at.is_none() && (due || second == 190) {
                killed_at = Some(mesh.now.unix.since(begins));
                mesh.restart(killed);
                if killed != 1 {
                    mesh.connect(killed.min(1), killed.max(1));
                } else {
                    mesh.connect(0, 1);
                    mesh.connect(1, 2);
                }
            }
        }
        mesh.run(seconds(150));
    }
    let lost: Vec<_> =
        tokens.iter().filter(|token| !matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. }))).collect();
    // The sender's own tokens end with its process; what it had accepted is delivered all the same.
    let payloads: Vec<Vec<u8>> = mesh.inbox(2).iter().map(|message| message.payload.clone()).collect();
    let once: BTreeSet<&Vec<u8>> = payloads.iter().collect();
    assert_eq!((once.len(), payloads.len()), (tokens.len(), tokens.len()), "{} told otherwise", lost.len());
}

/// A publication is heard by every subscriber once, whenever in a turn it is published.
#[test]
fn publications_are_heard_through_a_turn() {
    let mut mesh = rotating(&["a", "one", "two", "b"], |_| true);
    row(&mut mesh, 4);
    let listening: Vec<(usize, Token)> =
        [1, 3].map(|at| (at, mesh.command(at, Command::subscribe("plant/#")))).into_iter().collect();
    mesh.run(seconds(5));
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left - 20));
    for number in 0..340 {
        publish(&mut mesh, 0, "plant/load", number, seconds(30));
        mesh.run(seconds(1));
    }
    mesh.run(seconds(30));
    for (at, token) in listening {
        let numbers: Vec<u32> = heard(&mesh, at, token).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (0..340).collect::<Vec<_>>(), "by {at}");
    }
}

/// The one-way delays in milliseconds of the links of a node, as its router sees them.
fn delays(mesh: &mut Mesh, at: usize) -> Vec<f64> {
    let token = mesh.command(at, Command::Links);
    let links = mesh.nodes[at].replies.iter().rev().find_map(|(of, reply)| match reply {
        Reply::Links(links) if *of == token => Some(links.iter().map(|link| link.delay_ms).collect()),
        _ => None,
    });
    links.expect("links")
}

/// Invariant 1 of engine::neighbours::successors. What a neighbour has measured of a device holds of its next pseudonym, too, unless the
/// device is strict.
#[test]
fn a_neighbour_knows_the_successor_of_whom_it_has_measured() {
    for (anonymity, known) in [(Anonymity::Rotating, true), (Anonymity::Strict, false)] {
        let mode = |at| if at == 0 { anonymity } else { Anonymity::Stable };
        let mut mesh = Mesh::with(&["a", "b"], |at| Settings { anonymity: mode(at), ..Settings::default() });
        row(&mut mesh, 2);
        let left = HOUR - mesh.now.unix.seconds() % HOUR;
        mesh.run(seconds(left - 1));
        mesh.assess(0, 1, 0, Duration::from_millis(800));
        let mut turning = Vec::new();
        while turning.len() < 2 {
            mesh.run(Duration::from_millis(100));
            turning = delays(&mut mesh, 1);
        }
        assert_eq!(turning.iter().filter(|delay| **delay > 300.0).count(), if known { 2 } else { 1 }, "{turning:?}");
        assert_eq!(mesh.counted(1, Counter::SuccessorsRefused), 0);
    }
}

/// Invariant 2 of engine::neighbours::successors. A link brings one successor; a proof of somebody else, or made for somebody else, is none.
#[test]
fn a_successor_is_refused_without_proof_and_a_second_one_with_it() {
    let mut mesh = rotating(&["a", "b", "c"], |at| at != 1);
    row(&mut mesh, 3);
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left - 100));
    let own = |mesh: &mut Mesh, at: usize, second: u64| {
        let unix = mesh.now.unix + seconds(second);
        mesh.nodes[at].engine.membership().credential(unix).expect("a credential").clone()
    };
    let (old, new, neighbour, other) =
        (own(&mut mesh, 0, 0), own(&mut mesh, 0, 200), own(&mut mesh, 1, 0), own(&mut mesh, 2, 200));
    let peer =
        |own: &OwnCredential| PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() };
    let frame = |of: &OwnCredential, proof| frame::of(Kind::Successor, &Successor { new: of.signed.to_vec(), proof });
    let proof = successor::prove(&old, &new, &peer(&neighbour)).expect("a proof");
    // Over the link of c, a proof of a; then one of c for the successor of a; both are refused.
    mesh.hand(1, 2, &frame(&new, proof));
    let of_another = own(&mut mesh, 2, 0);
    let proof_of_another = successor::prove(&of_another, &other, &peer(&neighbour)).expect("a proof");
    mesh.hand(1, 2, &frame(&other, proof_of_another));
    assert_eq!(mesh.counted(1, Counter::SuccessorsRefused), 2);
    // Over that of a it is taken once.
    mesh.hand(1, 0, &frame(&new, proof));
    assert_eq!(mesh.counted(1, Counter::SuccessorsRefused), 2);
    mesh.hand(1, 0, &frame(&new, proof));
    assert_eq!(mesh.counted(1, Counter::SuccessorsRefused), 3);
}

/// What the node says of its pseudonym in answer to a command.
fn identity(mesh: &mut Mesh, at: usize, command: Command) -> IdentityView {
    let token = mesh.command(at, command);
    let told = mesh.nodes[at].replies.iter().rev().find_map(|(of, reply)| match reply {
        Reply::Identity(identity) if *of == token => Some((**identity).clone()),
        _ => None,
    });
    told.expect("an answer")
}

/// Invariant 1 of engine::membership::anonymity. A mode that was set at run time holds after a restart; a device tells when it is in force.
#[test]
fn a_mode_is_set_at_run_time_and_outlasts_the_process() {
    let mut mesh = rotating(&["a", "b"], |at| at == 0);
    row(&mut mesh, 2);
    let told = identity(&mut mesh, 1, Command::Identity);
    assert_eq!((told.anonymity, told.next_change, told.changing), (Anonymity::Stable, None, false));
    let told = identity(&mut mesh, 1, Command::Rotate { anonymity: Some(Anonymity::Strict) });
    assert_eq!(told.anonymity, Anonymity::Strict);
    assert_eq!(told.next_change, Some(told.in_force_from), "once its certified epochs are over");
    assert!(told.in_force_from > told.epoch_ends);
    mesh.run(seconds(5));
    assert!(mesh.events(1).contains(&Event::AnonymitySet { anonymity: "strict".to_owned() }));
    mesh.restart(1);
    assert_eq!(identity(&mut mesh, 1, Command::Identity).anonymity, Anonymity::Strict);
    // Its pseudonym changes then, and others reach it.
    mesh.connect(0, 1);
    let (before, until) = (mesh.nodes[1].own, told.in_force_from.since(mesh.now.unix) + seconds(400));
    mesh.run(until);
    assert_ne!(mesh.nodes[1].own, before);
    let token = mesh.send(0, "b", b"still there", Ack::End, 60);
    mesh.run(seconds(70));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
}

/// Asked to, a device whose epoch has turned changes at once; before the turn there is no other pseudonym to take.
#[test]
fn a_pseudonym_that_is_due_is_taken_on_demand() {
    let mut mesh = rotating(&["a", "b"], |at| at == 0);
    row(&mut mesh, 2);
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left - 1));
    let told = identity(&mut mesh, 0, Command::Rotate { anonymity: None });
    assert_eq!((told.changing, told.next_change), (false, Some(told.epoch_ends)));
    mesh.run(seconds(2));
    let before = mesh.nodes[0].own;
    assert!(identity(&mut mesh, 0, Command::Rotate { anonymity: None }).changing);
    mesh.run(seconds(5));
    let told = identity(&mut mesh, 0, Command::Identity);
    assert_eq!((told.former, told.changing), (Some(before), true));
    mesh.run(seconds(20));
    assert_eq!(identity(&mut mesh, 0, Command::Identity).former, None);
}

/// A network that was slow to open is asked for a second time; when that one is there, too, the first stays.
#[test]
fn a_network_that_opens_a_second_time_takes_the_first_from_nobody() {
    let mut mesh = rotating(&["a", "b"], |at| at == 0);
    row(&mut mesh, 2);
    let left = HOUR - mesh.now.unix.seconds() % HOUR;
    mesh.run(seconds(left + 300));
    let own = mesh.nodes[0].own;
    assert_eq!(mesh.nodes[0].engine.membership().pseudonym(mesh.now.unix), own, "it has rotated");
    mesh.handle(0, Input::Networked { own, result: Ok(Vec::new()) });
    mesh.handle(0, Input::Networked { own, result: Err("in use".to_owned()) });
    let token = mesh.send(0, "b", b"on", Ack::End, 30);
    mesh.run(seconds(40));
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { .. })), "{:?}", mesh.ended.get(&token));
}
