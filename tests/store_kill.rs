//! What the store calls durable survives `kill -9`, at any moment.
//!
//! This test starts its own binary again as a child that appends to an event log and prints what has become durable,
//! kills it, opens what is left, and checks that everything printed is there and that the chain verifies; then the
//! next child goes on from there. `M2MESH_KILL_ROUNDS=1000` for a long run, `M2MESH_KILL_SEED` to repeat one.
#![cfg(feature = "node")]

use futures::executor::block_on;
use m2mesh::engine::store::{Commit, Read, Table, Write};
use m2mesh::event_log::{self, Changes, Event, EventLog, HEAD_KEY, Loader, Summary, chain};
use m2mesh::id::Lsn;
use m2mesh::store::{SledReader, SledStore, Store};
use m2mesh::time::{Now, Time, Unix};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Tells the child where to work.
const CHILD: &str = "M2MESH_KILL_CHILD";

/// Small enough that every child trims.
const RECORDS: u64 = 2_000;

#[test]
fn what_is_durable_survives_a_kill() {
    let rounds = std::env::var("M2MESH_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let seed = std::env::var("M2MESH_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64 | 1)
    }));
    println!("M2MESH_KILL_SEED={}", random.0);
    let directory = tempfile::tempdir().expect("a directory");
    let mut before = 0;
    for round in 0..rounds {
        let claimed = kill_a_child(directory.path(), &mut random).max(before);
        let summary = open(directory.path()).1;
        let last = summary.last;
        assert!(last >= claimed, "round {round}: {claimed} was durable, {last} is left");
        assert!(summary.records <= RECORDS);
        before = claimed;
        println!("round {round}: {claimed} durable, {last} there");
    }
    assert!(before > 0, "no child got as far as a durable record");
}

/// Runs a child for a while; answers the last record that it called durable, 0 if none.
fn kill_a_child(directory: &Path, random: &mut Random) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut claimed = 0;
    let mut take = |line: String| {
        if let Some(sequence) = line.strip_prefix("durable ").and_then(|number| number.parse().ok()) {
            claimed = sequence;
        }
    };
    // Some die while they open, most while they write.
    if random.below(5) > 0 {
        lines.by_ref().take(4 + random.below(150) as usize).for_each(&mut take);
    }
    let wait = Instant::now() + Duration::from_micros(random.below(40_000));
    while Instant::now() < wait {
        std::thread::yield_now();
    }
    child.kill().expect("it is killed");
    lines.for_each(&mut take);
    child.wait().expect("it ends");
    claimed
}

/// Not a test of its own: what the children do.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let (mut store, _, mut log) = open_log(Path::new(&directory));
    let (mut submitted, mut durable) = (0, 0);
    let mut waiting = VecDeque::new();
    let mut out = std::io::stdout().lock();
    loop {
        while submitted - durable < 64 {
            submitted += 1;
            log.append(Event::StoreFailed { reason: "x".repeat(submitted as usize % 500) }, now());
            waiting.push_back((submitted, log.head().last));
            store.submit(commit(submitted, log.poll_changes().expect("there is a record")));
        }
        let Lsn(reached) = block_on(poll_fn(|cx| store.poll_durable(Lsn(durable), cx))).expect("the disk works");
        durable = reached;
        while let Some((_, sequence)) = waiting.pop_front_if(|(lsn, _)| *lsn <= durable) {
            if waiting.front().is_none_or(|(lsn, _)| *lsn > durable) {
                writeln!(out, "durable {sequence}").expect("the parent reads");
                out.flush().expect("the parent reads");
            }
        }
    }
}

fn open(directory: &Path) -> (SledStore, Summary) {
    let (store, summary, _) = open_log(directory);
    (store, summary)
}

/// Opens the store; nothing may have to be set aside, and the log must verify.
fn open_log(directory: &Path) -> (SledStore, Summary, EventLog) {
    let opened = SledStore::open(directory, now().unix).expect("it opens");
    assert_eq!(opened.quarantined, None);
    let reader = opened.store.reader();
    let summary =
        event_log::verify_live(|| reader.get(Table::Meta, HEAD_KEY), |each| reader.scan(Table::Log, &[], each));
    let summary = summary.expect("it reads").expect("the chain verifies");
    (opened.store, summary, load(&reader))
}

fn load(reader: &SledReader) -> EventLog {
    let head = reader.get(Table::Meta, HEAD_KEY).expect("it reads");
    let config = event_log::Config { records: RECORDS, ..event_log::Config::default() };
    let mut loader = Loader::new(config, head.as_deref());
    let mut each = |key: &[u8], record: &[u8]| {
        loader.record(key, record);
        true
    };
    reader.scan(Table::Log, &[], &mut each).expect("it reads");
    let (log, broken) = loader.finish(now());
    assert_eq!(broken, None);
    log
}

fn commit(lsn: u64, changes: Changes) -> Commit {
    let Changes { records, trimmed, head } = changes;
    let mut writes = vec![Write::Put { table: Table::Meta, key: HEAD_KEY.to_vec(), value: head }];
    for (sequence, value) in records {
        writes.push(Write::Put { table: Table::Log, key: chain::key(sequence).to_vec(), value });
    }
    for sequence in trimmed {
        writes.push(Write::Delete { table: Table::Log, key: chain::key(sequence).to_vec() });
    }
    Commit { lsn: Lsn(lsn), writes }
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
    Now { time: Time(unix), unix: Unix(unix) }
}

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
