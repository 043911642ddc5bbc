//! Two ends of a line in virtual time: a line that loses, changes and adds octets, is cut, echoes, and is listened to.

use super::line::{Event, Line, MAX_SESSIONS, Settings};
use super::packet::Packet;
use super::session::{Happened, MOST_DELIVERED};
use super::{Guard, framing, lanes};
use crate::id::{Pseudonym, Signature};
use crate::identity::sign;
use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::frame::{Frames, Kind, raw};
use core::time::Duration;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::VecDeque;

mod trust;

/// Lets in whoever is of its realm. A hello is the realm.
struct Member {
    key: SigningKey,
    realm: u8,
}

impl Guard for Member {
    type Peer = u8;

    fn own(&self) -> Pseudonym {
        sign::public(&self.key)
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        sign::sign(&self.key, context, body)
    }

    fn seconds(&self) -> u64 {
        7
    }

    fn hello(&self, seconds: u64) -> Vec<u8> {
        // As long as a credential.
        [&[self.realm, seconds as u8][..], &[0; 400]].concat()
    }

    fn answer(&self, _: &[u8]) -> Vec<u8> {
        self.hello(7)
    }

    fn verify(&self, hello: &[u8], _: &Pseudonym) -> Result<u8, &'static str> {
        if hello[0] == self.realm { Ok(hello[0]) } else { Err("realm") }
    }
}

/// What the line does to octets, each with a probability in parts of 10,000.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lost: u32,
    changed: u32,
    added: u32,
    cut: bool,
    echoes: bool,
}

struct Sim {
    lines: [Line<Member>; 2],
    settings: Settings,
    under_way: [VecDeque<(Time, Vec<u8>)>; 2],
    now: Time,
    rng: ChaCha20Rng,
    faults: Faults,
    said: [Vec<String>; 2],
    got: [Vec<Vec<u8>>; 2],
    fetches: bool,
    /// Everything that has been on the line, by its sender.
    recorded: [Vec<u8>; 2],
    line_frames: u64,
    /// Time goes on in leaps: there are no more than these.
    steps: u64,
}

fn member(key: u8, realm: u8) -> Member {
    Member { key: SigningKey::from_bytes(&[key; 32]), realm }
}

fn settings(baud: u32, mtu: usize) -> Settings {
    Settings { rate: baud / 10, mtu, keep: Duration::from_secs(15) }
}

fn line(seed: u8, settings: Settings, members: impl IntoIterator<Item = Member>, now: Time) -> Line<Member> {
    let mut line = Line::new(settings, ChaCha20Rng::from_seed([seed; 32]));
    members.into_iter().for_each(|member| line.enter(member, now));
    line
}

impl Sim {
    fn new(settings: Settings, seed: u8) -> Self {
        Self::of(
            [line(seed, settings, [member(1, 9)], Time(0)), line(seed + 1, settings, [member(2, 9)], Time(0))],
            settings,
        )
    }

    fn of(lines: [Line<Member>; 2], settings: Settings) -> Self {
        Self {
            lines,
            settings,
            under_way: Default::default(),
            now: Time(0),
            rng: ChaCha20Rng::from_seed([3; 32]),
            faults: Faults::default(),
            said: Default::default(),
            got: Default::default(),
            fetches: true,
            recorded: Default::default(),
            line_frames: 0,
            steps: 0,
        }
    }

    fn up(settings: Settings) -> Self {
        let mut sim = Self::new(settings, 1);
        sim.run_until(60, |sim| sim.said.iter().all(|said| said.iter().any(|said| said.starts_with("up"))));
        sim
    }

    /// What becomes of octets on their way.
    fn spoil(&mut self, octets: &[u8]) -> Vec<u8> {
        let Faults { lost, changed, added, cut, .. } = self.faults;
        if cut {
            return Vec::new();
        }
        let mut out = Vec::new();
        for octet in octets {
            let mut draw = || self.rng.next_u32() % 10_000;
            if draw() < added {
                out.push(draw() as u8);
            }
            if draw() >= lost {
                out.push(if draw() < changed { octet ^ (1 << (draw() % 8)) } else { *octet });
            }
        }
        out
    }

    fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < 300_000, "time stands still at {:?}: {:?}", self.now, self.said);
        let mut next = self.now + Duration::from_secs(1);
        for at in 0..2 {
            self.lines[at].handle_timeout(self.now);
            let mut out = Vec::new();
            while self.lines[at].transmit(&mut out, self.now) {}
            if !out.is_empty() {
                self.line_frames += 1;
                self.recorded[at].extend_from_slice(&out);
                let arrives =
                    self.now + Duration::from_micros(out.len() as u64 * 1_000_000 / u64::from(self.settings.rate));
                let spoilt = self.spoil(&out);
                self.under_way[1 - at].push_back((arrives, spoilt));
                if self.faults.echoes {
                    self.under_way[at].push_back((arrives, out));
                }
            }
        }
        for at in 0..2 {
            next = self.lines[at].next_timeout(self.now).map_or(next, |due| next.min(due.max(self.now + MICROS)));
            next = self.under_way[at].front().map_or(next, |(arrives, _)| next.min((*arrives).max(self.now)));
        }
        self.now = next;
        for at in 0..2 {
            while let Some((_, octets)) = self.under_way[at].pop_front_if(|(arrives, _)| *arrives <= self.now) {
                self.lines[at].handle(&octets, self.now);
            }
            self.hear(at);
        }
    }

    fn hear(&mut self, at: usize) {
        while let Some(event) = self.lines[at].event() {
            self.said[at].push(match event {
                Event::Up { id, outbound, found, .. } => {
                    assert_eq!(found, 9);
                    format!("up {id} {outbound}")
                }
                Event::Frames { bytes, .. } => {
                    self.got[at].extend(Frames(&bytes).map(|frame| frame.expect("a frame").body.to_vec()));
                    continue;
                }
                Event::Down { reason, .. } => format!("down {reason}"),
                Event::Session { happened: Happened::Measured(_) | Happened::Writable, .. } => continue,
                Event::Session { happened, .. } => format!("{happened:?}"),
                Event::Refused { reason, .. } => format!("refused {reason}"),
            });
        }
        while self.fetches
            && let Some((_, bytes)) = self.lines[at].fetch(self.now)
        {
            let frames = Frames(&bytes).map(|frame| frame.expect("a frame").body.to_vec());
            self.got[at].extend(frames);
        }
    }

    fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(seconds);
        while !done(self) {
            let got = self.got.each_ref().map(Vec::len);
            assert!(
                self.now < end,
                "{:?} after {seconds} s: {:?}, {got:?} frames in {} steps",
                self.faults,
                self.said,
                self.steps
            );
            self.step();
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.step();
        }
    }

    /// The sessions that came up at an end, the newest last.
    fn ids(&self, at: usize) -> Vec<u32> {
        let ups = self.said[at].iter().filter_map(|said| said.strip_prefix("up ")?.split(' ').next()?.parse().ok());
        ups.collect()
    }

    /// Hands a frame over as soon as there is room for it.
    fn hand_over(&mut self, at: usize, lane: u8, body: &[u8]) {
        let end = self.now + Duration::from_secs(600);
        while !self.send(at, lane, body) {
            assert!(self.now < end, "no room at {:?}: {:?}", self.now, self.said);
            self.step();
        }
    }

    fn send(&mut self, at: usize, lane: u8, body: &[u8]) -> bool {
        let id = *self.ids(at).last().expect("a session");
        let kind = if lane == lanes::CONTROL { Kind::Lsa } else { Kind::Data };
        self.lines[at].send(id, lane, raw(kind, body).into()).expect("it is up")
    }
}

const MICROS: Duration = Duration::from_micros(1);

#[test]
fn two_ends_that_begin_at_once_make_one_session() {
    for seed in 0..20 {
        let mut sim = Sim::new(settings(9_600, 128), seed);
        sim.run(30);
        for at in 0..2 {
            assert_eq!((sim.said[at].len(), sim.lines[at].sessions()), (1, 1), "{seed}: {:?}", sim.said);
        }
        let outbound = sim.said.iter().filter(|said| said[0].ends_with("true")).count();
        assert_eq!(outbound, 1);
        assert_eq!(sim.lines[0].tally(), Default::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 16, ..ProptestConfig::with_cases(12) })]
    #[test]
    fn everything_arrives_once_and_in_order_whatever_the_line_does(
        seed in 0_u8..200,
        // Half of the longest line frames arrive: a line that is worse ends sessions, and what they carry is lost.
        mtu in prop_oneof![Just(128_usize), 128_usize..400],
        lost in 0_u32..6,
        changed in 0_u32..6,
        added in 0_u32..6,
        lengths in prop::collection::vec((0_usize..2_000, 0_u8..5, 0_usize..2), 1..40),
    ) {
        let mut sim = Sim::new(settings(115_200, mtu), seed);
        sim.faults = Faults { lost, changed, added, ..Faults::default() };
        sim.run_until(600, |sim| sim.lines.iter().all(|line| line.sessions() == 1));
        let mut sent: [[Vec<Vec<u8>>; 5]; 2] = Default::default();
        for (number, (length, lane, at)) in lengths.into_iter().enumerate() {
            let mut body = vec![number as u8, lane];
            body.resize(2 + length, number as u8);
            sim.hand_over(at, lane, &body);
            sent[at][usize::from(lane)].push(body);
        }
        let count = |of: &[Vec<Vec<u8>>; 5]| of.iter().map(Vec::len).sum::<usize>();
        let due = [count(&sent[1]), count(&sent[0])];
        sim.run_until(600, |sim| [sim.got[0].len(), sim.got[1].len()] == due);
        sim.run(60);
        prop_assert_eq!([sim.got[0].len(), sim.got[1].len()], due, "nothing twice");
        for at in 0..2 {
            for lane in 0..5_u8 {
                let of: Vec<_> = sim.got[at].iter().filter(|body| body[1] == lane).cloned().collect();
                prop_assert_eq!(&of, &sent[1 - at][usize::from(lane)]);
            }
        }
    }
}

/// Invariant 2 of link::serial::line.
#[test]
fn a_frame_of_the_greatest_length_crosses_a_slow_line_and_an_alarm_overtakes_it() {
    let mut sim = Sim::up(settings(9_600, 256));
    let began = sim.now;
    assert!(sim.send(0, 4, &vec![4; 60 * 1_024]));
    sim.run(10);
    assert!(sim.send(0, 0, &[0; 20]));
    let alarm = sim.now;
    sim.run_until(2, |sim| !sim.got[1].is_empty());
    assert_eq!(sim.got[1][0], [0; 20]);
    // The line frame under way, at most 270 ms, and its own.
    assert!(sim.now.since(alarm) < Duration::from_millis(400), "{:?}", sim.now.since(alarm));
    sim.run_until(120, |sim| sim.got[1].len() == 2);
    // The line was not idle: 60 KiB in line frames of 256 bytes, of which 42 are not data, take 78 s.
    assert!(sim.now.since(began) < Duration::from_secs(82), "{:?}", sim.now.since(began));
}

#[test]
fn a_neighbour_that_is_restarted_gets_a_session_in_place_of_the_former() {
    let mut sim = Sim::up(settings(115_200, 256));
    sim.send(0, 3, &[1; 2_000]);
    sim.step();
    sim.lines[1] = line(77, sim.settings, [member(2, 9)], sim.now);
    sim.run_until(5, |sim| sim.said[0].iter().any(|said| said.starts_with("down")));
    assert!(sim.said[0].contains(&"down the other end began anew".to_owned()), "{:?}", sim.said);
    sim.run_until(1, |sim| sim.lines[1].sessions() == 1);
    assert_eq!((sim.ids(0).len(), sim.lines[0].sessions()), (2, 1));
    sim.run(1);
    let before = sim.got[1].len();
    sim.send(0, 3, b"again");
    sim.run_until(2, |sim| sim.got[1].len() > before);
    assert!(sim.lines[1].tally().stray > 0, "what was under way in the former session is in no other");
}

#[test]
fn a_line_that_is_cut_falls_silent_goes_on_if_it_is_short_and_is_over_if_it_is_long() {
    let mut sim = Sim::up(settings(115_200, 256));
    sim.faults.cut = true;
    sim.send(0, 3, b"while it is cut");
    sim.run(10);
    assert_eq!(sim.said[0][1..], ["Silent"]);
    sim.faults.cut = false;
    sim.run_until(9, |sim| sim.got[1].len() == 1);
    sim.run(1);
    assert_eq!(sim.said[0][1..], ["Silent", "Heard"]);
    // An idle end notices too, by asking.
    sim.faults.cut = true;
    sim.run(60);
    for at in 0..2 {
        assert_eq!(sim.said[at].last().map(String::as_str), Some("down silent for too long"), "{:?}", sim.said);
    }
    sim.faults.cut = false;
    sim.run_until(25, |sim| sim.lines.iter().all(|line| line.sessions() == 1));
}

#[test]
fn an_idle_line_is_all_but_quiet_however_slow_it_is() {
    for baud in [300, 9_600, 1_000_000] {
        let mut sim = Sim::up(settings(baud, 128));
        sim.run(60);
        let before: usize = sim.recorded.iter().map(Vec::len).sum();
        sim.run(600);
        let octets = sim.recorded.iter().map(Vec::len).sum::<usize>() - before;
        assert!(octets * 20 < 600 * baud as usize / 10, "{baud}: {octets}");
        assert!(octets > 100, "{baud}: {octets}");
        assert_eq!(sim.said.each_ref().map(Vec::len), [1, 1]);
    }
}

/// Invariant 1 of link::serial::line.
#[test]
fn the_next_pseudonym_has_a_session_before_the_one_before_is_left() {
    let mut sim = Sim::up(settings(9_600, 128));
    let first = sim.ids(0)[0];
    sim.send(0, 3, &[7; 1_000]);
    let now = sim.now;
    sim.lines[0].enter(member(3, 9), now);
    sim.run_until(10, |sim| sim.lines.iter().all(|line| line.sessions() == 2));
    assert!(sim.said.iter().flatten().all(|said| said.starts_with("up")), "{:?}", sim.said);
    // What was under way goes on in the first session, which then ends at both ends.
    sim.lines[0].send(first, 3, raw(Kind::Data, b"last").into()).expect("it is up");
    sim.run_until(5, |sim| sim.got[1].len() == 2);
    sim.lines[0].leave(&sign::public(&SigningKey::from_bytes(&[1; 32])));
    sim.run_until(5, |sim| sim.said[1].iter().any(|said| said == "down a pseudonym has been left"));
    assert_eq!(sim.lines.each_ref().map(Line::sessions), [1, 1]);
    sim.send(0, 3, b"on");
    sim.run_until(5, |sim| sim.got[1].len() == 3);
    // Both ends at once: no end is ever without a session.
    let now = sim.now;
    sim.lines[0].enter(member(4, 9), now);
    sim.lines[1].enter(member(5, 9), now);
    for _ in 0..2_000 {
        sim.step();
        assert!(sim.lines.iter().all(|line| (1..=MAX_SESSIONS).contains(&line.sessions())), "{:?}", sim.said);
    }
    sim.run_until(30, |sim| sim.lines.iter().all(|line| line.sessions() > 1));
    sim.lines[0].leave(&sign::public(&SigningKey::from_bytes(&[3; 32])));
    sim.lines[1].leave(&sign::public(&SigningKey::from_bytes(&[2; 32])));
    sim.run_until(30, |sim| sim.lines.iter().all(|line| line.sessions() == 1));
}

/// Invariant 1 of link::serial::session.
#[test]
fn one_that_does_not_fetch_makes_the_other_wait_and_keeps_no_more_than_its_bound() {
    let mut sim = Sim::up(settings(4_000_000, 1_024));
    sim.fetches = false;
    let mut sent = 0;
    for _ in 0..20_000 {
        sent += usize::from(sim.send(0, 4, &vec![4; 20_000]));
        sim.step();
    }
    let bound = (MOST_DELIVERED + 200_000) / 20_000;
    assert!(sent < bound, "{sent}");
    assert!(sim.send(0, 0, b"alarm") && sim.lines.iter().all(|line| line.sessions() == 1));
    sim.fetches = true;
    sim.run_until(20, |sim| sim.got[1].len() == sent + 1);
}

#[test]
fn a_device_that_is_gone_ends_all_sessions_and_begins_anew_when_it_is_back() {
    let mut sim = Sim::up(settings(115_200, 256));
    let now = sim.now;
    sim.lines[0].reset("the device is gone", now);
    sim.hear(0);
    assert_eq!(sim.said[0].last().map(String::as_str), Some("down the device is gone"));
    sim.run_until(5, |sim| sim.lines.iter().all(|line| line.sessions() == 1));
    sim.send(1, 3, b"here");
    sim.run_until(5, |sim| sim.got[0].len() == 1);
}

#[test]
fn a_session_that_is_closed_is_down_at_both_ends() {
    let mut sim = Sim::up(settings(115_200, 256));
    let id = sim.ids(0)[0];
    sim.lines[0].close(id, "it does not take what it is sent");
    let frame: OutFrame = raw(Kind::Data, b"x").into();
    assert_eq!(sim.lines[0].send(id, 3, frame), None);
    sim.run_until(2, |sim| sim.said[1].iter().any(|said| said == "down the other end has closed it"));
    assert_eq!(sim.said[0][1], "down it does not take what it is sent");
    sim.run_until(10, |sim| sim.lines.iter().all(|line| line.sessions() == 1));
}
