//! A member that may send any bytes as any frame, with valid credentials, while others talk to each other: all that they
//! send arrives, about as fast as without it; every table stays within its bound; nothing panics.
//!
//! What it sends is drawn from a seed (`support/insider.rs`). `M2MESH_INSIDER_SECONDS` makes the first test go on for so
//! long, in one mesh, and look at its memory; `M2MESH_INSIDER_SEED` chooses another seed. What a burst took the system's allocator
//! keeps for the next: for that look one is wanted that gives memory back, as jemalloc by
//! `LD_PRELOAD=libjemalloc.so.2 MALLOC_CONF=background_thread:true,dirty_decay_ms:500`.

use super::mesh::{Mesh, message};
use crate::support::insider::Hostile;
use ed25519_dalek::SigningKey;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::id::{CredentialHash, Signature, Tag};
use m2mesh::time::Epoch;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::{self, Signed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The issuer, three that talk to each other, and the one that misbehaves: a line with the insider beside each.
const NAMES: [&str; 5] = ["issuer", "a", "b", "c", "insider"];
const INSIDER: usize = 4;
const HONEST: [usize; 3] = [1, 2, 3];
const TICK: Duration = Duration::from_millis(20);
/// Hostile frames a tick.
const BURST: usize = 8;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn joined() -> Mesh {
    let mut mesh = Mesh::new(&NAMES);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (INSIDER, 1), (INSIDER, 2), (INSIDER, 3)] {
        mesh.connect(one, other);
    }
    mesh.run(Duration::from_secs(5));
    mesh
}

/// Honest traffic of one mesh, and what came of it.
struct Traffic {
    listening: Token,
    offer: Token,
    sent: Vec<(usize, Token)>,
    /// Requests that have not ended, how many there were, and how those ended that got no response.
    asking: BTreeSet<Token>,
    requests: usize,
    in_vain: Vec<(Token, Outcome)>,
    published: usize,
    heard: usize,
    answered: BTreeSet<u64>,
    latencies: Vec<u64>,
}

impl Traffic {
    fn begin(mesh: &mut Mesh) -> Self {
        let listening = mesh.command(3, Command::subscribe("plant/+"));
        let offer = mesh.command(3, Command::Offer { service: "echo".into(), capacity: None });
        mesh.run(Duration::from_secs(4));
        Self {
            listening,
            offer,
            sent: Vec::new(),
            asking: BTreeSet::new(),
            requests: 0,
            in_vain: Vec::new(),
            published: 0,
            heard: 0,
            answered: BTreeSet::new(),
            latencies: Vec::new(),
        }
    }

    /// What the honest ones do in a tick.
    fn tick(&mut self, mesh: &mut Mesh, tick: u64) {
        if tick.is_multiple_of(5) {
            for (from, to) in [(1, "c"), (3, "a"), (2, "a")] {
                self.sent.push((from, mesh.send(from, to, &tick.to_be_bytes(), Ack::End, 60)));
            }
        }
        if tick.is_multiple_of(25) {
            let send = message("c", b"again", Ack::End, 60);
            self.asking.insert(mesh.command(1, Command::Request { send, service: Some("echo".into()) }));
            self.requests += 1;
            let (topic, payload) = ("plant/line".to_owned(), tick.to_be_bytes().to_vec());
            mesh.command(
                1,
                Command::Publish {
                    topic,
                    payload,
                    policy: None,
                    lifetime: Duration::from_secs(30),
                    confirm: None,
                    latest: false,
                },
            );
            self.published += 1;
        }
    }

    /// Answers calls, and takes what has come.
    fn reap(&mut self, mesh: &mut Mesh) {
        for at in HONEST {
            if let Some(last) = mesh.inbox(at).last().map(|message| message.number) {
                mesh.command(at, Command::Consume { consumer: String::new(), up_to: last, durable: false });
            }
        }
        // What is commanded makes a node go on, so that more may be told.
        loop {
            let replies: Vec<_> =
                [1, 3].map(|at| std::mem::take(&mut mesh.nodes[at].replies)).into_iter().flatten().collect();
            if replies.is_empty() {
                break;
            }
            replies.into_iter().for_each(|(token, reply)| self.take(mesh, token, reply));
        }
        let asking = core::mem::take(&mut self.asking);
        let (ended, asking) = asking.into_iter().partition(|token| mesh.ended.contains_key(token));
        self.asking = asking;
        self.in_vain
            .extend(ended.into_iter().filter_map(|token: Token| Some((token, mesh.ended.get(&token)?.clone()))));
        for (_, token) in &self.sent {
            if let Some(Outcome::Delivered { latency_us, .. }) = mesh.ended.get(token) {
                self.latencies.push(*latency_us);
            }
        }
        let open = |ended: &std::collections::BTreeMap<Token, Outcome>, token: &Token| !ended.contains_key(token);
        let failed: Vec<_> = self.sent.iter().filter_map(|(at, token)| Some((*at, mesh.ended.get(token)?))).collect();
        assert!(failed.iter().all(|(_, outcome)| outcome.is_success()), "{failed:?}");
        self.sent.retain(|(_, token)| open(&mesh.ended, token));
        mesh.forget_past();
    }

    fn take(&mut self, mesh: &mut Mesh, token: Token, reply: Reply) {
        match reply {
            Reply::Call(call) if token == self.offer && self.answered.insert(call.call) => {
                mesh.command(3, Command::Respond { call: call.call, answer: Ok(call.payload) });
            }
            Reply::Published(published) if token == self.listening && published.from.is_some() => {
                self.heard += usize::from(published.topic == "plant/line");
            }
            Reply::Response { .. } => {
                self.asking.remove(&token);
            }
            _ => {}
        }
    }

    fn p99(&mut self) -> u64 {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() * 99 / 100]
    }
}

/// Every table of every honest node is within its bound.
fn check_tables(mesh: &Mesh) {
    for at in HONEST {
        for table in mesh.nodes[at].engine.tables() {
            assert!(table.entries <= table.bound, "node {at}: {table:?}");
        }
    }
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

/// What a map takes for an entry, and the heap for its key and its value, besides their bytes.
const ENTRY: usize = 56 + 2 * 24;

/// What the disks hold, which are in memory here, in MiB.
fn on_disks(mesh: &Mesh) -> u64 {
    let held = mesh.nodes.iter().flat_map(|node| &node.disk.0);
    let bytes: usize = held.map(|((_, key), value)| ENTRY + key.len() + value.len()).sum();
    bytes as u64 >> 20
}

/// What tables hold that are bounded in bytes, in MiB.
fn in_tables(mesh: &Mesh) -> u64 {
    let tables = mesh.nodes.iter().flat_map(|node| node.engine.tables());
    let bytes: usize = tables.filter(|table| table.name.ends_with(", bytes")).map(|table| table.entries).sum();
    bytes as u64 >> 20
}

/// Honest traffic for so many ticks, or for so long.
fn talk(hostile: Option<Hostile>, ticks: u64, for_: Option<Duration>) -> (Mesh, Traffic) {
    let mut mesh = joined();
    let mut traffic = Traffic::begin(&mut mesh);
    let mut hostile = hostile;
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let (began, mut tick, mut told) = (Instant::now(), 0, Duration::ZERO);
    let (mut memory, mut quarantined) = (Vec::new(), 0);
    while for_.map_or(tick < ticks, |for_| began.elapsed() < for_) {
        traffic.tick(&mut mesh, tick);
        if let Some(hostile) = &mut hostile {
            // What it sees and says itself is what it knows best.
            hostile.learn(std::mem::take(&mut mesh.nodes[INSIDER].sent));
            if tick.is_multiple_of(10) {
                mesh.send(INSIDER, "c", b"well meant", Ack::End, 30);
                let (topic, payload) = ("plant/other".to_owned(), b"well meant".to_vec());
                let lifetime = Duration::from_secs(30);
                mesh.command(
                    INSIDER,
                    Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: false },
                );
            }
            for _ in 0..BURST {
                let victim = HONEST[rng.next_u32() as usize % HONEST.len()];
                if mesh.link(victim, INSIDER).is_none() {
                    // Where it would be in quarantine by now, it is let off, so that it can go on.
                    if mesh.admits(victim, INSIDER).is_err() {
                        mesh.command(victim, Command::LiftQuarantine);
                        quarantined += 1;
                    }
                    mesh.connect(victim, INSIDER);
                }
                strike(hostile, &mut mesh, victim);
            }
        }
        mesh.run(TICK);
        // What a burst made them send is not to be taken for what they hold.
        HONEST.iter().for_each(|at| mesh.nodes[*at].sent.clear());
        tick += 1;
        if tick.is_multiple_of(50) {
            traffic.reap(&mut mesh);
            check_tables(&mesh);
        }
        if for_.is_some() && began.elapsed() >= told {
            let (resident, disks, kept) = (resident(), on_disks(&mesh), in_tables(&mesh));
            memory.push(resident.saturating_sub(disks + kept));
            println!(
                "{:?}: {tick} ticks, {resident} MiB, of which {disks} on disks and {kept} frames that are kept, p99 {} µs",
                began.elapsed(),
                traffic.p99_so_far()
            );
            told += Duration::from_secs(30);
        }
    }
    assert_eq!(quarantined > 0, hostile.is_some(), "{quarantined} times in quarantine");
    // What is under way arrives, and calls that come meanwhile are answered.
    for _ in 0..60 {
        mesh.run(Duration::from_secs(1));
        traffic.reap(&mut mesh);
    }
    check_tables(&mesh);
    // Tables that are bounded in bytes have been looked at; all others fill up to their bounds, and no further.
    if let (Some(filled), Some(last)) = (memory.get(memory.len() * 2 / 3), memory.last()) {
        assert!(*last <= filled + filled / 4, "memory grows: {memory:?} MiB beside disks and frames");
    }
    (mesh, traffic)
}

/// The insider sends something to a neighbour.
fn strike(hostile: &mut Hostile, mesh: &mut Mesh, victim: usize) {
    let unix = mesh.now.unix.0;
    let seed = mesh.nodes[INSIDER].engine.membership().libp2p_seed(m2mesh::time::Unix::from_seconds(1_800_000_000));
    let mut buffer = hostile.framed(&SigningKey::from_bytes(&seed), unix);
    if mesh.link(victim, INSIDER).is_none() {
        return;
    }
    if hostile.below(16) == 0 {
        buffer = buffer.repeat(32);
    }
    if hostile.below(64) == 0 {
        // Lengths that lie: the link is closed for them, and comes again.
        let at = hostile.below(4);
        buffer[at] ^= 1 << hostile.below(8);
    }
    // The network hands up whole frames only.
    let mut whole = 0;
    while let Some(Ok(length)) = frame::length(&buffer[whole..]) {
        if whole + 4 + length > buffer.len() {
            break;
        }
        whole += 4 + length;
    }
    if whole > 0 {
        mesh.hand(victim, INSIDER, &buffer[..whole]);
    }
}

impl Traffic {
    fn p99_so_far(&mut self) -> u64 {
        if self.latencies.is_empty() { 0 } else { self.p99() }
    }
}

/// Invariant 3 of engine.
/// Invariant 2 of wire.
#[test]
fn whatever_a_member_sends_the_others_talk_on() {
    let seconds = number("M2MESH_INSIDER_SECONDS", 0);
    let for_ = (seconds > 0).then(|| Duration::from_secs(seconds));
    let (_, mut quiet) = talk(None, 500, None);
    let (mesh, mut attacked) = talk(Some(Hostile::new(number("M2MESH_INSIDER_SEED", 1))), 500, for_);
    for traffic in [&quiet, &attacked] {
        assert_eq!(traffic.sent, [], "not ended");
        assert!(
            traffic.asking.is_empty() && traffic.in_vain.is_empty(),
            "of {}: {:?}",
            traffic.requests,
            traffic.in_vain
        );
        // A publication asks for no receipt. Where the group's tree leads over the insider alone, it goes with the link that
        // the insider breaks just then: nobody promises that it does not.
        let lost = traffic.published - traffic.heard;
        assert!(lost * 5 <= traffic.published, "{lost} of {} publications were not heard", traffic.published);
    }
    // The attack is one: much of what can be refused has been.
    let counted: BTreeSet<Counter> =
        HONEST.iter().flat_map(|at| mesh.nodes[*at].engine.counters().keys().copied()).collect();
    println!("{counted:?}");
    for counter in [
        Counter::ControlMalformed,
        Counter::DataMalformed,
        Counter::FramesOfUnknownKind,
        Counter::FramesWithUnknownFlags,
        Counter::GroupFramesMalformed,
    ] {
        assert!(counted.contains(&counter), "{counter:?}");
    }
    assert!(counted.len() >= 16, "{} counters", counted.len());
    let (without, with) = (quiet.p99(), attacked.p99());
    println!("p99 {without} µs without it and {with} µs with it, of {} messages", attacked.latencies.len());
    assert!(with <= 3 * without, "p99 {with} µs instead of {without} µs");
}

/// A group frame that says it is of a sender that nobody knows.
fn unknown_sender(number: u64, expiry: u64, length: usize) -> Vec<u8> {
    let mut hash = [0; CredentialHash::LEN];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    let body = wire::encode(&GroupFrame {
        epoch: Epoch(1),
        sender: CredentialHash(hash),
        group: Tag([1; Tag::LEN]),
        segment: 0,
        version: 1,
        sent: expiry,
        expiry,
        salt: [0; 16],
        counter: 0,
        sealed: &vec![0; length],
        permit: None,
    });
    wire::encode(&Signed { body: &body, signature: Signature([0; 64]) })
}

/// Invariant 2 of engine::groups::multicast.
#[test]
fn frames_of_senders_that_nobody_knows_push_out_no_frames_of_other_neighbours() {
    let mut mesh = joined();
    // What c asks of the insider is never answered.
    mesh.vanish.insert((INSIDER, 3));
    mesh.vanish.insert((3, 2));
    let expiry = mesh.now.unix.0 + 30_000_000;
    for number in 0..400 {
        mesh.hand(3, INSIDER, &frame::raw(Kind::Group, &unknown_sender(number, expiry, 64)));
    }
    let dropped = mesh.counted(3, Counter::GroupFramesWithoutCredential);
    assert_eq!(dropped, 400 - 256);
    // One of an honest neighbour finds room: one more of the insider's goes.
    for number in 1_000..1_010 {
        mesh.hand(3, 2, &frame::raw(Kind::Group, &unknown_sender(number, expiry, 64)));
    }
    let waiting = |mesh: &Mesh| {
        let tables = mesh.nodes[3].engine.tables();
        tables.iter().find(|table| table.name == "group frames waiting").map(|table| table.entries)
    };
    assert_eq!((mesh.counted(3, Counter::GroupFramesWithoutCredential) - dropped, waiting(&mesh)), (10, Some(256)));
    // Those of the insider are still refused.
    mesh.hand(3, INSIDER, &frame::raw(Kind::Group, &unknown_sender(5_000, expiry, 64)));
    assert_eq!(mesh.counted(3, Counter::GroupFramesWithoutCredential) - dropped, 11);
    mesh.disconnect(3, INSIDER);
    assert_eq!(waiting(&mesh), Some(256), "they wait for what a neighbour may yet tell");
}

/// Invariant 2 of engine::groups::multicast.
#[test]
fn large_frames_of_senders_that_nobody_knows_take_no_more_room_than_small_ones() {
    let mut mesh = joined();
    mesh.vanish.insert((INSIDER, 3));
    mesh.vanish.insert((3, 2));
    let expiry = mesh.now.unix.0 + 30_000_000;
    let waiting = |mesh: &Mesh, what: &str| {
        let tables = mesh.nodes[3].engine.tables();
        tables.iter().find(|table| table.name == what).map(|table| table.entries).expect("a table")
    };
    for number in 0..100 {
        mesh.hand(3, INSIDER, &frame::raw(Kind::Group, &unknown_sender(number, expiry, 50_000)));
    }
    let large = waiting(&mesh, "group frames waiting");
    assert!((35..=41).contains(&large), "{large} of 50 kB in 2 MiB");
    // Small ones of an honest neighbour find room all the same, and so does a large one.
    for number in 1_000..1_050 {
        mesh.hand(3, 2, &frame::raw(Kind::Group, &unknown_sender(number, expiry, 64)));
    }
    mesh.hand(3, 2, &frame::raw(Kind::Group, &unknown_sender(2_000, expiry, 50_000)));
    let (left, bytes) = (waiting(&mesh, "group frames waiting"), waiting(&mesh, "group frames waiting, bytes"));
    assert!(left >= large - 2 + 51 && bytes <= 2 * 1024 * 1024, "{left} frames of {bytes} bytes");
}

/// Invariant 1 of engine::messages::services.
#[test]
fn calls_of_one_contact_leave_room_for_those_of_another() {
    let mut mesh = Mesh::new(&["issuer", "greedy", "modest", "server"]);
    mesh.connect(1, 3);
    mesh.connect(2, 3);
    mesh.run(Duration::from_secs(3));
    mesh.command(3, Command::Offer { service: "slow".into(), capacity: None });
    let call = |mesh: &mut Mesh, from: usize| {
        let send = message("server", b"?", Ack::End, 50);
        mesh.command(from, Command::Request { send, service: Some("slow".into()) })
    };
    for _ in 0..1_100 {
        call(&mut mesh, 1);
    }
    mesh.run(Duration::from_secs(5));
    let held = |mesh: &Mesh| {
        let tables = mesh.nodes[3].engine.tables();
        tables.iter().find(|table| table.name == "calls").map(|table| table.entries)
    };
    assert_eq!(held(&mesh), Some(512), "half of all places, and no more");
    assert_eq!(mesh.counted(3, Counter::CallsRefusedBusy), 1_100 - 512);
    let token = call(&mut mesh, 2);
    mesh.run(Duration::from_secs(2));
    assert_eq!((held(&mesh), mesh.reply(2, token)), (Some(513), None), "it waits for its answer");
}
