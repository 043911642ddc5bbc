//! Devices whose machine does not know the time: they learn it from members and the issuer, and nobody leads them below the floor.

use super::mesh::Mesh;
use super::multicast::publish;
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Reply};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::{Event, Logged};
use m2mesh::id::CredentialHash;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::identity::clock::Standing;
use m2mesh::time::{Now, Unix};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::{self, HEADER, Kind};
use m2mesh::wire::time_beacon::{CONTEXT, NONCE, TimeBeacon, TimeRequest};
use m2mesh::wire::{self, Signed};

/// Its machine's clock begins anew at each start, in 1970.
const DEVICE: usize = 3;
const DEAD: i64 = -1_800_000_000;
const SKEW: u64 = 300;
const DAY: u64 = 86_400;

/// A day old: the issuer, two members that know the time and are linked, and a device that does not, which reaches nobody.
fn mesh() -> Mesh {
    let mut mesh = started();
    mesh.connect(1, 2);
    mesh.run(seconds(DAY));
    mesh.cut_off.insert(DEVICE);
    mesh.skew.insert(DEVICE, DEAD);
    start(&mut mesh, DEVICE);
    mesh.run(seconds(1));
    mesh
}

fn started() -> Mesh {
    let mut mesh = Mesh::new(&["issuer", "a", "b", "device"]);
    (0..4).for_each(|at| mesh.handle(at, Input::Timeout));
    mesh
}

/// Anew.
fn start(mesh: &mut Mesh, at: usize) {
    mesh.restart(at);
    mesh.handle(at, Input::Timeout);
}

fn standing(mesh: &Mesh) -> Standing {
    mesh.nodes[DEVICE].engine.clock()
}

/// What the device takes the time for.
fn time(mesh: &Mesh) -> Unix {
    mesh.nodes[DEVICE].engine.read_clock(Now { time: mesh.now.time, unix: Unix(0) }).unix
}

/// By how much that is ahead, in seconds.
fn ahead(mesh: &Mesh) -> i64 {
    time(mesh).0.cast_signed().saturating_sub(mesh.now.unix.0.cast_signed()) / 1_000_000
}

/// What it must not go below.
fn floor(mesh: &Mesh) -> Unix {
    Unix::from_seconds(mesh.realm.bulletin.body().issued - SKEW)
}

/// What the device has asked last.
fn asked(mesh: &Mesh) -> [u8; NONCE] {
    let request = mesh.nodes[DEVICE].sent.iter().rfind(|frame| frame[4] == Kind::TimeRequest as u8);
    let request: TimeRequest = wire::decode(&request.expect("it has asked")[HEADER..]).expect("a request");
    request.nonce
}

/// A member says that it is that time, and has not been asked by anything that it could answer.
fn lie(mesh: &mut Mesh, liar: usize, nonce: [u8; NONCE], time: Unix) -> Vec<u8> {
    let at = mesh.now.unix;
    let own = mesh.nodes[liar].engine.membership().credential(at).expect("a credential").clone();
    let beacon = TimeBeacon { origin: own.hash, time: time.0, error: 0, nonce };
    let frame = frame::raw(Kind::TimeBeacon, &own.sign_document(CONTEXT, &wire::encode(&beacon)));
    mesh.hand(DEVICE, liar, &frame);
    frame
}

/// A link to somebody who does not hear what the device asks; what that was.
fn connect_liar(mesh: &mut Mesh, liar: usize) -> [u8; NONCE] {
    mesh.vanish.insert((DEVICE, liar));
    mesh.connect(DEVICE, liar);
    asked(mesh)
}

fn told(mesh: &Mesh, is: impl Fn(&Event) -> bool) -> usize {
    mesh.log(DEVICE).iter().filter(|logged| matches!(logged, Logged::Known(event) if is(event))).count()
}

fn exchange(mesh: &mut Mesh) {
    exchange_with(mesh, 1, "a");
}

fn exchange_with(mesh: &mut Mesh, other: usize, name: &str) {
    for (from, to) in [(DEVICE, name), (other, "device")] {
        let token = mesh.send(from, to, b"of use for ten seconds", Ack::End, 10);
        mesh.run(seconds(3));
        assert!(outcome(mesh, from, token).is_success(), "to {to}");
    }
}

#[test]
fn a_device_without_a_clock_learns_the_time_from_members_and_is_one() {
    let mut mesh = mesh();
    assert_eq!(standing(&mesh), Standing::Unset);
    assert!(time(&mesh) >= floor(&mesh) && ahead(&mesh) < -(DAY.cast_signed() / 2), "it goes on from the floor");
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(1));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: false }, 0));
    mesh.connect(DEVICE, 2);
    mesh.run(seconds(15));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: true }, 0));
    let of = |who: &str| told(&mesh, |event| matches!(event, Event::ClockLearnt { from, .. } if from == who));
    assert_eq!((of("one member"), of("2 members") > 0), (1, true));
    assert_eq!(told(&mesh, |event| matches!(event, Event::ClockUnset { .. })), 1);
    assert!(told(&mesh, |event| matches!(event, Event::ClockStepped { .. })) > 0);
    exchange(&mut mesh);
    // It goes on through the turns of epochs, and tells others in turn.
    mesh.run(seconds(2 * 3_600));
    assert_eq!(mesh.nodes[DEVICE].engine.links().count(), 2);
    exchange(&mut mesh);
    let asks = TimeRequest { nonce: [7; NONCE] };
    let before = mesh.nodes[DEVICE].sent.len();
    mesh.hand(DEVICE, 1, &frame::of(Kind::TimeRequest, &asks));
    let beacon = answer(&mesh.nodes[DEVICE].sent[before..]);
    assert_eq!((beacon.nonce, beacon.time), (asks.nonce, time(&mesh).0));
    assert!(beacon.error > 0 && beacon.error < SKEW * 1_000_000, "{}", beacon.error);
}

fn answer(sent: &[Vec<u8>]) -> TimeBeacon {
    let frame = sent.iter().find(|frame| frame[4] == Kind::TimeBeacon as u8).expect("an answer");
    let signed: Signed<'_> = wire::decode(&frame[HEADER..]).expect("signed");
    wire::decode(signed.body).expect("a beacon")
}

/// Invariant 2 of engine::membership::clock.
/// Invariant 3 of engine::membership::clock.
#[test]
fn no_member_leads_a_device_below_its_floor_or_beyond_its_own_credential() {
    let mut mesh = mesh();
    let (now, floor) = (mesh.now.unix, floor(&mesh));
    let lies = [Unix(0), floor - seconds(60), now + seconds(2 * 3_600), now + seconds(30 * DAY), Unix(u64::MAX)];
    for (at, time_told) in lies.into_iter().enumerate() {
        let nonce = connect_liar(&mut mesh, 1);
        lie(&mut mesh, 1, nonce, time_told);
        mesh.run(seconds(4));
        assert_eq!(standing(&mesh), Standing::Unset, "{time_told}");
        assert!(time(&mesh) >= floor && time(&mesh) < now);
        assert_eq!(mesh.counted(DEVICE, Counter::BeaconsRefused), 1 + at as u64);
        mesh.disconnect(DEVICE, 1);
    }
}

#[test]
fn the_floor_goes_on_while_nobody_has_told_the_time() {
    let mut mesh = started();
    mesh.cut_off.insert(DEVICE);
    mesh.skew.insert(DEVICE, DEAD);
    start(&mut mesh, DEVICE);
    mesh.run(seconds(200));
    let below = floor(&mesh) + seconds(150);
    let nonce = connect_liar(&mut mesh, 1);
    lie(&mut mesh, 1, nonce, below);
    mesh.run(seconds(4));
    assert_eq!((standing(&mesh), mesh.counted(DEVICE, Counter::BeaconsRefused)), (Standing::Unset, 1));
    assert!(time(&mesh) >= floor(&mesh) + seconds(200));
}

/// Invariant 1 of engine::membership::clock.
#[test]
fn a_beacon_that_is_replayed_changes_nothing() {
    let mut mesh = mesh();
    let nonce = connect_liar(&mut mesh, 1);
    let at = mesh.now.unix;
    let beacon = lie(&mut mesh, 1, nonce, at);
    mesh.run(seconds(1));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: false }, 0));
    mesh.run(seconds(5));
    mesh.hand(DEVICE, 1, &beacon);
    assert_eq!((mesh.counted(DEVICE, Counter::BeaconsUnasked), ahead(&mesh)), (1, 0));
    // After it was asked again, over another link, or in another process.
    for restarts in [false, true] {
        mesh.disconnect(DEVICE, 1);
        if restarts {
            start(&mut mesh, DEVICE);
        }
        assert_ne!(connect_liar(&mut mesh, 1), nonce);
        let before = (mesh.counted(DEVICE, Counter::BeaconsRefused), time(&mesh));
        mesh.hand(DEVICE, 1, &beacon);
        assert_eq!((mesh.counted(DEVICE, Counter::BeaconsRefused) - before.0, time(&mesh)), (1, before.1));
    }
    // Nor is one that another has signed.
    let nonce = asked(&mesh);
    let own = mesh.nodes[2].engine.membership().credential(at).expect("a credential").clone();
    for origin in [own.hash, CredentialHash([0; CredentialHash::LEN])] {
        let forged = TimeBeacon { origin, time: at.0, error: 0, nonce };
        let frame = frame::raw(Kind::TimeBeacon, &own.sign_document(CONTEXT, &wire::encode(&forged)));
        mesh.hand(DEVICE, 1, &frame);
    }
    assert_eq!(standing(&mesh), Standing::Unset);
}

#[test]
fn where_two_of_three_lie_the_device_believes_them_only_if_they_agree_and_within_bounds() {
    for agree in [false, true] {
        let mut mesh = mesh();
        let hour = seconds(3_600);
        // Their credentials hold at these times.
        let early = mesh.now.unix - seconds(10);
        let late = early + seconds(if agree { 10 } else { 2 * SKEW + 3_400 });
        let nonces = [1, 2].map(|liar| connect_liar(&mut mesh, liar));
        // Nobody is believed before those that were asked have had their time.
        mesh.connect(DEVICE, 0);
        mesh.run(seconds(1));
        assert_eq!(standing(&mesh), Standing::Unset);
        let lies = if agree { [late, late] } else { [early - hour / 2, late] };
        for (liar, (nonce, told)) in [1, 2].into_iter().zip(nonces.into_iter().zip(lies)) {
            lie(&mut mesh, liar, nonce, told);
        }
        mesh.run(seconds(4));
        let disagreed = mesh.counted(DEVICE, Counter::BeaconsDisagreed);
        assert_eq!((disagreed > 0, standing(&mesh) == Standing::Unset), (!agree, !agree), "{:?}", standing(&mesh));
    }
}

/// Invariant 4 of engine::membership::clock.
#[test]
fn one_neighbour_alone_that_lies_leads_a_device_astray_until_others_come_and_costs_it_no_keys() {
    let mut mesh = mesh();
    let there = mesh.now.unix;
    let two_days = 2 * DAY.cast_signed();
    mesh.skew.insert(1, two_days);
    mesh.handle(1, Input::Timeout);
    mesh.run(seconds(20));
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(900));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: false }, two_days));
    assert!(mesh.nodes[DEVICE].engine.membership().credential(there).is_some(), "its keys are there");
    // Two that do not agree are no better than none; three of whom two agree are.
    mesh.connect(DEVICE, 2);
    mesh.run(seconds(5));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: false }, two_days));
    assert!(mesh.counted(DEVICE, Counter::BeaconsDisagreed) > 0);
    mesh.connect(DEVICE, 0);
    mesh.run(seconds(3_700));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: true }, 0));
    assert_eq!(mesh.link(DEVICE, 1), None, "its credential is of another time");
    exchange_with(&mut mesh, 2, "b");
    start(&mut mesh, DEVICE);
    assert!(ahead(&mesh) <= 0, "nor has it moved the floor");
}

#[test]
fn a_device_whose_credentials_have_run_out_learns_the_time_from_the_issuer_and_has_new_ones() {
    let mut mesh = started();
    mesh.skew.insert(DEVICE, DEAD);
    mesh.stop(DEVICE);
    mesh.run(seconds(DAY));
    mesh.restart(DEVICE);
    mesh.go_on(DEVICE);
    assert_eq!(standing(&mesh), Standing::Unset);
    mesh.run(seconds(10));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: true }, 0));
    let unix = mesh.now.unix;
    assert!(mesh.nodes[DEVICE].engine.membership().credential(unix).is_some());
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(1));
    exchange(&mut mesh);
}

#[test]
fn the_floor_moves_with_what_neighbours_have_shown_and_is_kept() {
    let mut mesh = started();
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(DAY));
    mesh.cut_off.insert(DEVICE);
    mesh.skew.insert(DEVICE, DEAD);
    // While it runs, too.
    mesh.handle(DEVICE, Input::Timeout);
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Unset, 0));
    start(&mut mesh, DEVICE);
    assert!((-3_600 - SKEW.cast_signed()..=0).contains(&ahead(&mesh)), "{}", ahead(&mesh));
    // Set right again, the machine's clock counts.
    mesh.skew.clear();
    mesh.handle(DEVICE, Input::Timeout);
    assert_eq!((standing(&mesh), mesh.nodes[DEVICE].engine.read_clock(mesh.now)), (Standing::Machine, mesh.now));
}

#[test]
fn a_floor_that_was_too_high_keeps_nobody_out_once_the_issuer_is_asked() {
    let mut mesh = started();
    // A device and its neighbour go wrong alike.
    for who in [1, DEVICE] {
        mesh.skew.insert(who, 3 * DAY.cast_signed());
        mesh.handle(who, Input::Timeout);
    }
    mesh.run(seconds(20));
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(10));
    mesh.skew.clear();
    start(&mut mesh, DEVICE);
    assert_eq!(standing(&mesh), Standing::Unset);
    assert!(ahead(&mesh) > 2 * DAY.cast_signed());
    mesh.run(seconds(10));
    mesh.handle(DEVICE, Input::Timeout);
    assert_eq!((standing(&mesh), mesh.nodes[DEVICE].engine.read_clock(mesh.now)), (Standing::Machine, mesh.now));
    start(&mut mesh, DEVICE);
    assert_eq!(standing(&mesh), Standing::Machine, "and so it is after another start");
}

#[test]
fn what_a_machine_without_a_clock_says_does_not_count() {
    let settings = |at| Settings { clock: at != DEVICE, ..Settings::default() };
    let mut mesh = Mesh::with(&["issuer", "a", "b", "device"], settings);
    mesh.cut_off.insert(DEVICE);
    mesh.skew.insert(DEVICE, DAY.cast_signed());
    (0..4).for_each(|at| mesh.handle(at, Input::Timeout));
    mesh.run(seconds(5));
    assert!((-305..=0).contains(&ahead(&mesh)));
    mesh.connect(DEVICE, 1);
    mesh.connect(DEVICE, 2);
    mesh.run(seconds(20));
    assert_eq!((standing(&mesh), ahead(&mesh)), (Standing::Learnt { sure: true }, 0));
    exchange(&mut mesh);
}

#[test]
fn a_message_says_by_how_much_its_time_may_be_wrong() {
    let known = std::time::Duration::from_millis(20);
    let settings =
        |at| Settings { clock: at != DEVICE, clock_error: (at == 2).then_some(known), ..Settings::default() };
    let mut mesh = Mesh::with(&["issuer", "a", "b", "device"], settings);
    mesh.cut_off.insert(DEVICE);
    mesh.skew.insert(DEVICE, DEAD);
    (0..4).for_each(|at| mesh.handle(at, Input::Timeout));
    mesh.run(seconds(5));
    // Nobody has told it the time yet for sure.
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(1));
    exchange(&mut mesh);
    mesh.connect(DEVICE, 2);
    mesh.run(seconds(20));
    assert_eq!(standing(&mesh), Standing::Learnt { sure: true });
    exchange_with(&mut mesh, 2, "b");
    let errors = |at: usize| mesh.inbox(at).iter().map(|message| message.sent_error).collect::<Vec<_>>();
    // A machine's clock is as wrong as clocks may differ, unless its settings say how good it is.
    assert_eq!(errors(DEVICE), [Some(SKEW * 1_000_000), Some(20_000)]);
    assert_eq!(errors(1), [None]);
    let learnt = errors(2);
    assert!(learnt.len() == 1 && learnt[0].is_some_and(|error| error > 0 && error < SKEW * 1_000_000), "{learnt:?}");
    // So do publications and blobs.
    let listens = mesh.command(1, Command::subscribe("plant/#"));
    let map = mesh.put_blob(2, b"a map", false, false);
    mesh.send_blob(2, map, "a", seconds(60));
    mesh.run(seconds(10));
    publish(&mut mesh, 2, "plant/level", 1, seconds(60));
    mesh.run(seconds(10));
    assert_eq!(
        mesh.inbox(1).last().map(|message| (message.blob.is_some(), message.sent_error)),
        Some((true, Some(20_000)))
    );
    let told = mesh.nodes[1].replies.iter().filter_map(|(token, reply)| match reply {
        Reply::Published(published) if *token == listens => Some(published.sent_error),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [Some(20_000)]);
}

#[test]
fn who_asks_for_the_time_without_end_is_answered_now_and_then() {
    let mut mesh = mesh();
    for _ in 0..10 {
        mesh.hand(1, 2, &frame::of(Kind::TimeRequest, &TimeRequest { nonce: [1; NONCE] }));
    }
    assert_eq!(mesh.counted(1, Counter::TimeRequestsDropped), 6);
    mesh.run(seconds(2));
    let before = mesh.nodes[1].sent.len();
    mesh.hand(1, 2, &frame::of(Kind::TimeRequest, &TimeRequest { nonce: [2; NONCE] }));
    assert_eq!(answer(&mesh.nodes[1].sent[before..]).error, 0);
    // One that does not know the time says so.
    mesh.connect(DEVICE, 1);
    let before = mesh.nodes[DEVICE].sent.len();
    mesh.hand(DEVICE, 1, &frame::of(Kind::TimeRequest, &TimeRequest { nonce: [3; NONCE] }));
    assert_eq!(answer(&mesh.nodes[DEVICE].sent[before..]).error, u64::MAX);
}

/// Who tells the time at an admission and then does not link to the device has taken nothing from it: the device goes on under the pseudonym
/// that it had, and says so.
#[test]
fn a_time_that_was_told_by_nobody_who_links_is_not_kept() {
    let mut mesh = Mesh::with(&["issuer", "a", "b", "device"], |_| Settings {
        anonymity: Anonymity::Rotating,
        ..Settings::default()
    });
    (0..4).for_each(|at| mesh.handle(at, Input::Timeout));
    mesh.connect(DEVICE, 1);
    mesh.run(seconds(60));
    mesh.cut_off.insert(DEVICE);
    mesh.disconnect(DEVICE, 1);
    mesh.skew.insert(DEVICE, DEAD);
    start(&mut mesh, DEVICE);
    mesh.run(seconds(1));
    let (before, later) = (mesh.nodes[DEVICE].engine.pseudonym(), mesh.now.unix + seconds(7_200));
    mesh.handle(DEVICE, Input::Told(later));
    mesh.run(seconds(29));
    assert_eq!(told(&mesh, |event| matches!(event, Event::TimeToldInVain { .. })), 0);
    mesh.run(seconds(5));
    let seconds = later.seconds();
    assert_eq!(told(&mesh, |event| *event == Event::TimeToldInVain { told: seconds }), 1);
    assert_eq!(mesh.nodes[DEVICE].engine.pseudonym(), before);
}
