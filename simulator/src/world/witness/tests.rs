//! Tests of what the witness reports, and of what it accepts.

use super::*;
use crate::record::Source;
use crate::scenario;
use futures_timer::virtual_time;
use m2mesh::id::{CredentialHash, Handle, OuterId, Tag};
use m2mesh::time::Epoch;
use m2mesh::wire::data::{Class, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::lsa::{Lsa, LsaLink};
use m2mesh::wire::{self, Signed};

const SCENARIO: &str = r#"
question = "?"
duration = "1h"
[bearers.wire]
delay = "10ms"
[bearers.lte]
class = "cellular"
price = 2.0
quota = { bytes = "1kB", every = "1d" }
windows = ["00:00-01:00"]
[bearers.radio]
class = "lora"
delay = "10ms"
loss = "20%"
[devices.node]
count = 4
[[links]]
kind = "line"
bearer = "wire"
[[links]]
kind = "line"
bearer = "lte"
[[links]]
kind = "line"
bearer = "radio"
"#;

/// The index of the bearer without a price; the next constant is that of the bearer with one.
const WIRE: usize = 0;
const LTE: usize = 1;
/// The class of a bearer that loses a fifth of the pieces.
const LORA: u8 = m2mesh::wire::lsa::Bearer::Lora as u8;

fn witness() -> Witness {
    let source = Source { file: "witness.toml".to_owned(), text: SCENARIO.to_owned(), ..Source::default() };
    let plan = scenario::from_source(&source).and_then(|loaded| loaded.plan(None)).expect("a scenario");
    let order: Vec<&str> = plan.bearers.iter().map(|bearer| bearer.name.as_str()).collect();
    assert_eq!(order[..2], ["wire", "lte"]);
    let mut witness = Witness::new(&plan);
    for device in 0..4 {
        witness.note_credentials(device, [hash(device)]);
    }
    witness
}

fn hash(device: usize) -> CredentialHash {
    CredentialHash([device as u8 + 1; CredentialHash::LEN])
}

/// Returns the promises that were violated.
pub(super) fn violated(witness: &Witness) -> Vec<String> {
    let checks = witness.checks.clone().into_record();
    checks.into_iter().filter(|check| check.violated > 0).map(|check| check.name).collect()
}

/// A frame of attempt 1, which these relays have forwarded so far.
struct Frame {
    visited: Vec<usize>,
    spent: u64,
    policy: Policy,
    /// The expiry in microseconds after the start.
    expiry: i64,
    /// The device to which it goes; `None` for the next one.
    to: Option<usize>,
    /// The keys of the networks at the two ends.
    under: [Option<PeerId>; 2],
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            visited: Vec::new(),
            spent: 0,
            policy: Policy::default(),
            expiry: 60_000_000,
            to: None,
            under: [None; 2],
        }
    }
}

impl Frame {
    fn goes(self, witness: &mut Witness, from: usize, bearer: usize) {
        let header = Header {
            to: Handle([9; Handle::LEN]),
            class: Class::Telemetry,
            form: Form::Session,
            expiry: witness.start.saturating_add_signed(self.expiry),
            policy: self.policy,
            segment: 0,
            mail: None,
        };
        let path = Path {
            outer: OuterId([1; OuterId::LEN]),
            visited: self.visited.into_iter().map(|device| hash(device).prefix()).collect(),
            spent: self.spent,
            ..Path::default()
        };
        let mut body = Vec::new();
        put_prefixed(&mut body, &wire::encode(&header));
        put_prefixed(&mut body, &wire::encode(&path));
        body.extend([7; 100]);
        let length = body.len() + 6;
        let to = self.to.unwrap_or(from + 1);
        witness.handle(&Going { from, to, under: self.under, bearer, kind: Kind::Data, length, body: &body });
    }
}

#[test]
fn a_frame_that_goes_its_way_violates_nothing() {
    let mut witness = witness();
    Frame::default().goes(&mut witness, 0, WIRE);
    Frame { visited: vec![1], spent: 340, ..Frame::default() }.goes(&mut witness, 1, LTE);
    Frame { visited: vec![1, 2], spent: 340, ..Frame::default() }.goes(&mut witness, 2, WIRE);
    assert_eq!(violated(&witness), [""; 0]);
    assert!((witness.paid_for(0) - 2.0 * 230.0).abs() < 120.0, "{}", witness.paid_for(0));
    assert!(witness.forwarded(1) > 0 && witness.forwarded(0) == 0);
}

#[test]
fn a_frame_that_comes_back_is_a_loop() {
    let mut again = witness();
    Frame { visited: vec![1, 2, 1], ..Frame::default() }.goes(&mut again, 1, WIRE);
    assert_eq!(violated(&again), ["no-loop"]);
    let mut home = witness();
    Frame::default().goes(&mut home, 0, WIRE);
    Frame { visited: vec![1, 0], ..Frame::default() }.goes(&mut home, 0, WIRE);
    assert_eq!(violated(&home), ["no-loop"]);
    let mut forgotten = witness();
    Frame::default().goes(&mut forgotten, 0, WIRE);
    forgotten.note_down(0);
    Frame { visited: vec![1, 0], to: Some(3), ..Frame::default() }.goes(&mut forgotten, 0, WIRE);
    assert_eq!(violated(&forgotten), [""; 0], "another process");
    for back in
        [Frame { visited: vec![1], to: Some(0), ..Frame::default() }, Frame { visited: vec![2, 1], ..Frame::default() }]
    {
        let mut returned = witness();
        Frame::default().goes(&mut returned, 0, WIRE);
        back.goes(&mut returned, 1, WIRE);
        assert_eq!(violated(&returned), ["no-loop"], "to who has had it");
    }
    let mut unnamed = witness();
    Frame { visited: vec![1], ..Frame::default() }.goes(&mut unnamed, 2, WIRE);
    assert_eq!(violated(&unnamed), ["no-loop"]);
}

#[test]
fn a_frame_that_comes_back_under_another_pseudonym_is_counted_and_is_no_loop() {
    let keys = [1, 2, 3].map(|seed| m2mesh::net::keypair(&m2mesh::identity::kdf::Secret::new([seed; 32])).public());
    let [one, old, new] = keys.map(|key| Some(key.to_peer_id()));
    let pseudonym = |peer: Option<PeerId>| peer.and_then(|peer| m2mesh::net::pseudonym(&peer)).expect("of a key");
    let passes = |back: Option<PeerId>, to: usize| {
        let mut witness = witness();
        witness.note_pseudonyms([(hash(0), pseudonym(old)), (hash(1), pseudonym(one)), (hash(2), pseudonym(old))]);
        Frame { under: [old, one], ..Frame::default() }.goes(&mut witness, 0, WIRE);
        let visited = if to == 0 { vec![1] } else { vec![2, 1] };
        Frame { visited, to: Some(to), under: [one, back], ..Frame::default() }.goes(&mut witness, 1, WIRE);
        (violated(&witness).len(), witness.returned_beside())
    };
    assert_eq!([passes(new, 0), passes(new, 2)], [(0, 1); 2]);
    assert_eq!([passes(old, 0), passes(old, 2), passes(None, 0)], [(1, 0); 3]);
}

#[test]
fn limits_that_a_frame_names_hold_at_each_link() {
    let limited = |policy, spent, expiry, bearer| {
        let mut witness = witness();
        Frame { policy, spent, expiry, ..Frame::default() }.goes(&mut witness, 0, bearer);
        violated(&witness)
    };
    let later = 60_000_000;
    assert_eq!(limited(Policy::default(), 0, -400_000_000, WIRE), ["within-limits"], "long expired");
    let avoids = Policy { avoid: Some(1 << m2mesh::wire::lsa::Bearer::Cellular as u8), ..Policy::default() };
    assert_eq!(limited(avoids, 340, later, LTE), ["within-limits"]);
    let budget = |budget| Policy { budget: Some(budget), ..Policy::default() };
    assert_eq!(limited(budget(100), 340, later, LTE), ["within-limits"]);
    assert_eq!(limited(budget(1_000), 340, later, LTE), [""; 0]);
    assert_eq!(limited(Policy::default(), 170, later, LTE), ["books-agree"], "half of the price");
    assert_eq!(limited(Policy::default(), 340, later, WIRE), ["books-agree"], "money for nothing");
}

fn push(witness: &mut Witness, counter: u64, expiry: i64) {
    push_under(witness, counter, expiry, [None; 2]);
}

fn push_under(witness: &mut Witness, counter: u64, expiry: i64, under: [Option<PeerId>; 2]) {
    let frame = GroupFrame {
        epoch: Epoch(1),
        sender: hash(0),
        group: Tag([1; Tag::LEN]),
        segment: 0,
        version: 1,
        sent: witness.start,
        expiry: witness.start.saturating_add_signed(expiry),
        salt: [3; 16],
        counter,
        sealed: &[7; 50],
        permit: None,
    };
    let body = wire::encode(&Signed { body: &wire::encode(&frame), signature: m2mesh::id::Signature([0; 64]) });
    witness.handle(&Going {
        from: 0,
        to: 1,
        under,
        bearer: WIRE,
        kind: Kind::Group,
        length: body.len() + 6,
        body: &body,
    });
}

#[test]
fn a_publication_is_pushed_once_over_a_connection_and_in_time() {
    let mut witness = witness();
    push(&mut witness, 1, 1_000_000);
    push(&mut witness, 2, 1_000_000);
    witness.note_lost(1, 0);
    push(&mut witness, 2, 1_000_000);
    assert_eq!(violated(&witness), [""; 0]);
    push(&mut witness, 2, 1_000_000);
    assert_eq!(violated(&witness), ["pushed-once"]);
    push(&mut witness, 3, -400_000_000);
    assert_eq!(violated(&witness), ["within-limits", "pushed-once"]);
}

#[test]
fn a_publication_may_be_pushed_once_under_each_pseudonym_and_that_is_counted() {
    let mut witness = witness();
    let [one, old, new] = [(); 3].map(|()| Some(PeerId::random()));
    push_under(&mut witness, 1, 1_000_000, [one, old]);
    push_under(&mut witness, 1, 1_000_000, [one, new]);
    push_under(&mut witness, 2, 1_000_000, [one, new]);
    assert_eq!((violated(&witness), witness.pushed_beside()), (Vec::new(), 1));
    push_under(&mut witness, 1, 1_000_000, [one, old]);
    assert_eq!((violated(&witness), witness.pushed_beside()), (vec!["pushed-once".to_owned()], 1));
}

#[test]
fn a_bulletin_is_kept_from_the_first_moment_on_of_one_that_is_no_older() {
    // Virtual time belongs to the thread.
    let clocked = std::thread::spawn(|| {
        virtual_time::install(NANOS);
        let mut witness = super::tests::witness();
        let mut kept = Vec::new();
        for (at, version) in [(2, 1), (3, 3), (4, 3), (5, 4)] {
            virtual_time::advance(at * NANOS);
            witness.note_bulletin(1, version);
            kept.push(witness.kept_since(1, 2).map(|at| at / NANOS));
        }
        virtual_time::uninstall();
        (kept, witness.kept_since(0, 1))
    });
    assert_eq!(clocked.join().expect("the witness does not panic"), (vec![None, Some(3), Some(3), Some(3)], None));
}

fn tell(witness: &mut Witness, sequence: u64, links: Vec<(usize, u8, u64, u32)>) {
    let link = |(to, bearer, price, delay)| LsaLink {
        to: hash(to),
        bearer,
        price,
        delay,
        deviation: 0,
        success: u16::MAX,
        energy: 0,
        rate: 0,
        mtu: 1_500,
    };
    let lsa = Lsa {
        origin: hash(1),
        sequence,
        area: 0,
        leaving: false,
        links: links.into_iter().map(link).collect(),
        leaves: Vec::new(),
        groups: Vec::new(),
        services: Vec::new(),
        borders: Vec::new(),
        accesses: Vec::new(),
    };
    let body = wire::encode(&Signed { body: &wire::encode(&lsa), signature: m2mesh::id::Signature([0; 64]) });
    witness.handle(&Going {
        from: 1,
        to: 2,
        under: [None; 2],
        bearer: WIRE,
        kind: Kind::Lsa,
        length: body.len() + 6,
        body: &body,
    });
}

#[test]
fn what_a_router_tells_of_its_links_is_so() {
    let of = |links| {
        let mut witness = witness();
        tell(&mut witness, 1, links);
        violated(&witness)
    };
    assert_eq!(of(vec![(0, 0, 0, 10_500), (2, 2, 2_000_000, 1_000)]), [""; 0]);
    assert_eq!(of(vec![(3, 0, 0, 10_500)]), ["link-state-true"], "no neighbour");
    assert_eq!(of(vec![(2, 2, 1_000_000, 1_000)]), ["link-state-true"], "half of the price");
    assert_eq!(of(vec![(0, 0, 0, 4_000)]), ["link-state-true"], "faster than the line");
    assert_eq!(of(vec![(0, 0, 0, 20_500)]), ["link-state-true"], "slower than the line");
    assert_eq!(of(vec![(0, LORA, 0, 20_500)]), [""; 0], "what is lost comes later");
    let mut twice = witness();
    tell(&mut twice, 7, vec![(0, 0, 0, 10_500)]);
    tell(&mut twice, 8, vec![(0, 0, 0, 11_500)]);
    assert_eq!(violated(&twice), [""; 0]);
    tell(&mut twice, 8, vec![(0, 0, 0, 12_500)]);
    assert_eq!(violated(&twice), ["link-state-true"]);
}

#[test]
fn what_a_router_tells_of_losses_is_so_once_they_can_be_known() {
    // Virtual time belongs to the thread.
    let clocked = std::thread::spawn(|| {
        virtual_time::install(NANOS);
        let mut witness = super::tests::witness();
        tell(&mut witness, 1, vec![(0, LORA, 0, 10_500)]);
        let before = violated(&witness);
        virtual_time::advance(1_000 * NANOS);
        tell(&mut witness, 2, vec![(0, 0, 0, 10_500)]);
        let wire = violated(&witness);
        tell(&mut witness, 3, vec![(0, LORA, 0, 10_500)]);
        virtual_time::uninstall();
        (before, wire, violated(&witness))
    });
    let (before, wire, radio) = clocked.join().expect("the witness does not panic");
    assert_eq!((before, wire), (Vec::new(), Vec::new()), "nothing was measured yet; nothing is lost");
    assert_eq!(radio, ["link-state-true"]);
}

#[test]
fn quotas_and_windows_are_kept() {
    let mut witness = witness();
    for _ in 0..700 {
        Frame { spent: 340, ..Frame::default() }.goes(&mut witness, 0, LTE);
    }
    // Frames that a node has queued when its quota ends may still be sent.
    assert_eq!(violated(&witness), [""; 0]);
    for _ in 0..300 {
        Frame { spent: 340, ..Frame::default() }.goes(&mut witness, 0, LTE);
    }
    assert_eq!(violated(&witness), ["quotas-kept"]);
    let clocked = std::thread::spawn(|| {
        virtual_time::install(NANOS);
        let mut witness = super::tests::witness();
        witness.note_window(LTE, false);
        witness.note_dial(0, LTE);
        virtual_time::advance(20 * NANOS);
        witness.note_dial(0, WIRE);
        let before = violated(&witness);
        witness.note_dial(0, LTE);
        witness.note_window(LTE, true);
        witness.note_dial(0, LTE);
        virtual_time::uninstall();
        (before, violated(&witness), witness.checks.violated())
    });
    let (before, after, times) = clocked.join().expect("the witness does not panic");
    assert_eq!((before, after, times), (Vec::new(), vec!["windows-kept".to_owned()], 1));
}

#[test]
fn frames_are_whole_whatever_pieces_they_are_written_in() {
    let frames = [wire::frame::raw(Kind::Ping, b"12345678"), wire::frame::raw(Kind::Data, &[7; 300])].concat();
    let stream = [&b"\x03ab\n\x02c\n"[..], &frames].concat();
    for piece in [1, 5, 1_000] {
        let (mut cutter, mut seen) = (Cutter::default(), Vec::new());
        for bytes in stream.chunks(piece) {
            cutter.handle(bytes, &mut |kind, frame, length| seen.push((kind, frame.len(), length)));
        }
        assert_eq!(seen, [(Kind::Ping, 14, 14), (Kind::Data, 306, 306)], "{piece}");
    }
}
