//! How fast a relay's engine forwards: data frames of three sizes come over one link, follow their path, and leave over
//! another. First a table of rates compares forwarding with two baselines of the same run, copying the frames and
//! parsing them, since only ratios are meaningful; then divan measures the same:
//!
//! ```sh
//! cargo bench --bench forwarding
//! ```
//!
//! Frames arrive as the node hands them in: as many at once as fit a read of 64 KiB. The three take turns, and the
//! fastest of many rounds counts, so that other load of the machine affects all alike.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use m2mesh::engine::store::{Read, ReadError, Table};
use m2mesh::engine::{Engine, Input, Output, Settings};
use m2mesh::id::{LinkId, Name};
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::time::{EpochLength, Now, Time, Unix};
use m2mesh::wire;
use m2mesh::wire::data::{Class, DataFrame, Form, Header, Path, Policy, put_prefixed};
use m2mesh::wire::frame::{Frames, Kind, raw};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::{Duration, Instant};

const NOW: Now = Now { time: Time(1_000_000), unix: Unix(1_800_000_100_000_000) };
/// Sizes of the sealed part of a frame, in bytes.
const SIZES: [usize; 3] = [64, 1_024, 65_536];
/// Bytes per read.
const READ: usize = 64 * 1024;
/// The link that frames come from, and the link that they leave over.
const FROM: LinkId = LinkId(1);
const TO: LinkId = LinkId(2);
/// Rounds of each measurement, and the least duration of one.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(10);

fn main() {
    // `cargo bench` passes this argument; `cargo test --bench` does not, and runs each of divan's benches once.
    if std::env::args().any(|argument| argument == "--bench") {
        println!("{:>8} {:>12} {:>10} {:>12} {:>12}", "sealed", "frames/s", "MB/s", "of parsing", "of copying");
        for size in SIZES {
            table(size);
        }
        println!();
    }
    divan::main();
}

/// An empty disk.
struct Nothing;

impl Read for Nothing {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(None)
    }
    fn scan(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        Ok(())
    }
    fn last(&self, _: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        Ok(None)
    }
}

/// A relay between two neighbours, and a read full of frames from one neighbour to the other.
struct Relay {
    engine: Engine,
    buffer: Bytes,
    frames: usize,
}

fn relay(size: usize) -> Relay {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW.unix, &mut rng).expect("a realm");
    let names = ["relay", "source", "sink"].map(|name| Name::new(name).expect("a name"));
    let mut members = realm.enrol(names, 2, NOW.unix, &mut rng).expect("three members");
    let (sink, source) = (members.pop().expect("three"), members.pop().expect("three"));
    let relay = members.pop().expect("three");
    let own = relay.pseudonym(NOW.unix);
    let (view, this) = (relay.admission_view(), relay.credential(NOW.unix).expect("a credential").hash);
    let mut engine = Engine::new(relay, None, Settings::default(), &Nothing, rng, NOW).expect("a readable disk");
    for (link, member) in [(FROM, &source), (TO, &sink)] {
        let hello = member.admission_view().hello(NOW.unix, 1);
        let peer = view.verify(&hello, &member.pseudonym(NOW.unix), NOW.unix).expect("a member");
        engine.handle(Input::LinkUp { own, link, peer, transport: "memory", bearer: 0, age: Duration::ZERO }, NOW);
    }
    drain(&mut engine);
    let sink = sink.credential(NOW.unix).expect("a credential").clone();
    let header = Header {
        to: sink.body.handle,
        class: Class::Telemetry,
        form: Form::Session,
        expiry: NOW.unix.0 + 30_000_000,
        policy: Policy::default(),
        segment: 0,
        mail: None,
    };
    let path = Path { hops: vec![this.prefix(), sink.hash.prefix()], ..Path::default() };
    let mut body = Vec::new();
    put_prefixed(&mut body, &wire::encode(&header));
    put_prefixed(&mut body, &wire::encode(&path));
    body.resize(body.len() + size, 7);
    let frame = raw(Kind::Data, &body);
    let frames = (READ / frame.len()).max(1);
    let mut relay = Relay { engine, buffer: frame.repeat(frames).into(), frames };
    assert_eq!(relay.forward(), frames, "all are handed on");
    relay
}

impl Relay {
    /// Runs one turn, and returns how many frames have left.
    fn forward(&mut self) -> usize {
        self.engine.handle(Input::Frames { link: FROM, buffer: black_box(self.buffer.clone()) }, NOW);
        drain(&mut self.engine)
    }
}

/// Drains the engine until the turn is over, and returns how many frames leave over the second link.
fn drain(engine: &mut Engine) -> usize {
    let mut sent = 0;
    loop {
        match black_box(engine.poll_output()) {
            Output::Wait(_) => return sent,
            Output::Send { link: TO, .. } => sent += 1,
            _ => {}
        }
    }
}

fn parse(buffer: &[u8]) -> usize {
    let frames = Frames(black_box(buffer)).map(|frame| frame.expect("our own").body);
    frames.map(|body| DataFrame::parse(body).expect("our own").path.hops.len()).sum()
}

/// Copies each frame into a buffer of its own, as it would leave a relay.
fn copy(buffer: &[u8], frames: usize) -> usize {
    buffer.chunks_exact(buffer.len() / frames).map(|frame| black_box(frame.to_vec()).len()).sum()
}

fn table(size: usize) {
    let mut relay = relay(size);
    let (buffer, frames) = (relay.buffer.clone(), relay.frames);
    let mut best = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let times =
            [seconds_each(|| relay.forward()), seconds_each(|| parse(&buffer)), seconds_each(|| copy(&buffer, frames))];
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time);
        }
    }
    let [forward, parse, copy] = best;
    println!(
        "{:>8} {:>12.0} {:>10.0} {:>11.1}% {:>11.1}%",
        size,
        frames as f64 / forward,
        buffer.len() as f64 / forward / 1e6,
        parse / forward * 100.0,
        copy / forward * 100.0
    );
}

/// Average seconds per turn over a round.
fn seconds_each(mut turn: impl FnMut() -> usize) -> f64 {
    let (begun, mut turns) = (Instant::now(), 0);
    while begun.elapsed() < ROUND {
        for _ in 0..8 {
            black_box(turn());
        }
        turns += 8;
    }
    begun.elapsed().as_secs_f64() / f64::from(turns)
}

#[divan::bench(args = SIZES)]
fn baseline_copy(bencher: Bencher<'_, '_>, size: usize) {
    let Relay { buffer, frames, .. } = relay(size);
    counted(bencher, &buffer, frames).bench_local(|| copy(&buffer, frames));
}

#[divan::bench(args = SIZES)]
fn parse_alone(bencher: Bencher<'_, '_>, size: usize) {
    let Relay { buffer, frames, .. } = relay(size);
    counted(bencher, &buffer, frames).bench_local(|| parse(&buffer));
}

#[divan::bench(args = SIZES)]
fn forward(bencher: Bencher<'_, '_>, size: usize) {
    let mut relay = relay(size);
    let (buffer, frames) = (relay.buffer.clone(), relay.frames);
    counted(bencher, &buffer, frames).bench_local(|| relay.forward());
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, buffer: &[u8], frames: usize) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::new(buffer.len())).counter(ItemsCount::new(frames))
}
