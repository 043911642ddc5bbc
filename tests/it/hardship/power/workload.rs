//! A process that works a store hard and says what has become durable, and what must be there afterwards.
//!
//! Each commit is made as the engine makes its own: a record of the event log with the head of its chain, a message for
//! the inbox, and how far its sender's messages have been taken; what the log trims, the inbox loses. So whatever the
//! moment, log, inbox and watermark must agree, and reach at least what was called durable: every message once.

use super::random::Random;
use futures::executor::block_on;
use m2mesh::engine::store::{Commit, Read, Table, Write};
use m2mesh::event_log::{self, Changes, Event, EventLog, HEAD_KEY, Loader, Summary, chain};
use m2mesh::id::Lsn;
use m2mesh::store::{SledReader, SledStore, Store};
use m2mesh::time::{Now, Time, Unix};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Tells the child where to work.
const CHILD: &str = "M2MESH_POWER_CHILD";

/// Small enough that every child trims.
const RECORDS: u64 = 2_000;

/// Runs a child for a while, with this in its environment, and kills it; answers the last record that it called durable,
/// 0 if none. It runs [`child`].
pub fn kill_a_child(directory: &Path, environment: &[(&str, PathBuf)], random: &mut Random) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "hardship::power::workload::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .envs(environment.iter().cloned())
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
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    claimed
}

/// What a child does, until it is killed. Returns at once in a process that is none.
pub fn work() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let (mut store, _, mut log) = open(Path::new(&directory));
    let (mut submitted, mut durable) = (0, 0);
    let mut waiting = VecDeque::new();
    let mut out = std::io::stdout().lock();
    loop {
        while submitted - durable < 64 && !store.is_full() {
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

/// Opens what is left and checks all of it; answers the last record.
pub fn check(directory: &Path, claimed: u64) -> u64 {
    let (store, summary, _) = open(directory);
    let reader = store.reader();
    assert!(summary.last >= claimed, "{claimed} was durable, {} is left", summary.last);
    assert!(summary.records <= RECORDS);
    let mut records = Vec::new();
    scan(&reader, Table::Log, |key, _| records.push(key.to_vec()));
    let mut messages = BTreeMap::new();
    scan(&reader, Table::Inbox, |key, value| drop(messages.insert(key.to_vec(), value.to_vec())));
    assert_eq!(records, messages.keys().cloned().collect::<Vec<_>>(), "a message for each record, and no other");
    for (key, message) in &messages {
        let sequence = u64::from_be_bytes(key.as_slice().try_into().expect("eight bytes"));
        assert!(*message == body(sequence), "message {sequence} is not what was written");
    }
    let watermark = reader.get(Table::Dedupe, STREAM).expect("it reads");
    assert_eq!(
        watermark.unwrap_or_else(|| vec![0; 8]),
        summary.last.to_be_bytes(),
        "the watermark is the last message"
    );
    summary.last
}

fn scan(reader: &SledReader, table: Table, mut each: impl FnMut(&[u8], &[u8])) {
    let mut all = |key: &[u8], value: &[u8]| {
        each(key, value);
        true
    };
    reader.scan(table, &[], &mut all).expect("it reads");
}

/// Opens the store; nothing may have to be set aside, and the log must verify.
fn open(directory: &Path) -> (SledStore, Summary, EventLog) {
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
    scan(reader, Table::Log, |key, record| loader.record(key, record));
    let (log, broken) = loader.finish(now());
    assert_eq!(broken, None);
    log
}

fn commit(lsn: u64, changes: Changes) -> Commit {
    let Changes { records, trimmed, head } = changes;
    let mut writes = vec![Write::Put { table: Table::Meta, key: HEAD_KEY.to_vec(), value: head }];
    for (sequence, value) in records {
        let key = chain::key(sequence).to_vec();
        writes.push(Write::Put { table: Table::Log, key: key.clone(), value });
        writes.push(Write::Put { table: Table::Inbox, key, value: body(sequence) });
        writes.push(Write::Put { table: Table::Dedupe, key: STREAM.to_vec(), value: sequence.to_be_bytes().to_vec() });
    }
    for sequence in trimmed {
        for table in [Table::Log, Table::Inbox] {
            writes.push(Write::Delete { table, key: chain::key(sequence).to_vec() });
        }
    }
    Commit { lsn: Lsn(lsn), writes }
}

/// What the message of a number says: most say little, some as much as a message may.
fn body(sequence: u64) -> Vec<u8> {
    let mixed = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = if mixed >> 58 == 0 { 60 * 1024 } else { (mixed >> 32) as usize % 900 };
    mixed.to_be_bytes().into_iter().cycle().take(length).collect()
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
    Now { time: Time(unix), unix: Unix(unix) }
}

/// The sender whose watermark is kept.
const STREAM: &[u8] = b"a stream";

/// Not a test of its own: what the children do.
#[test]
fn child() {
    work();
}
