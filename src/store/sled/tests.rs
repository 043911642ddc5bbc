//! Tests of the store as the node uses it, on a real disk.

use super::*;
use crate::engine::store::Write;
use crate::time::Unix;
use futures::executor::block_on;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use tempfile::TempDir;

fn open(directory: &Path) -> SledStore {
    let opened = SledStore::open(directory, Unix::from_seconds(1_800_000_000)).expect("it opens");
    assert_eq!(opened.quarantined, None);
    opened.store
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn put(lsn: u64, table: Table, key: &[u8], value: &[u8]) -> Commit {
    Commit { lsn: Lsn(lsn), writes: vec![Write::Put { table, key: key.to_vec(), value: value.to_vec() }] }
}

fn durable(store: &mut SledStore, after: u64) -> Result<Lsn, StoreError> {
    block_on(poll_fn(|cx| store.poll_durable(Lsn(after), cx)))
}

fn until(store: &mut SledStore, lsn: u64) {
    let mut reached = Lsn(0);
    while reached < Lsn(lsn) {
        reached = durable(store, reached.0).expect("the disk works");
    }
}

/// Invariant 1 of store::sled::sum.
#[test]
fn what_is_durable_is_there_after_reopening() {
    let directory = directory();
    let mut store = open(directory.path());
    for lsn in 1..=50 {
        store.submit(put(lsn, Table::Log, &lsn.to_be_bytes(), &[7; 200]));
    }
    store.submit(Commit { lsn: Lsn(51), writes: vec![] });
    store.submit(Commit {
        lsn: Lsn(52),
        writes: vec![
            Write::Delete { table: Table::Log, key: 3u64.to_be_bytes().to_vec() },
            Write::Put { table: Table::Meta, key: b"head".to_vec(), value: b"50".to_vec() },
        ],
    });
    until(&mut store, 52);
    let reader = store.reader();
    drop(store);
    assert!(reader.get(Table::Meta, b"head").is_err(), "it is closed");

    let reader = open(directory.path()).reader();
    assert!(reader.get(Table::Meta, b"head").is_err(), "the store went with the expression");
    let store = open(directory.path());
    let reader = store.reader();
    assert_eq!(reader.get(Table::Meta, b"head"), Ok(Some(b"50".to_vec())));
    assert_eq!(reader.get(Table::Log, &3u64.to_be_bytes()), Ok(None));
    assert_eq!(reader.get(Table::Log, &50u64.to_be_bytes()), Ok(Some(vec![7; 200])));
}

#[test]
fn scans_stay_within_their_table_and_keep_order() {
    let directory = directory();
    let mut store = open(directory.path());
    for lsn in 1..=300 {
        store.submit(put(lsn, Table::Log, &lsn.to_be_bytes(), &lsn.to_be_bytes()));
    }
    store.submit(put(301, Table::Inbox, &[0xff; 20], b"before"));
    store.submit(put(302, Table::Outbox, &[], b"after"));
    until(&mut store, 302);
    let reader = store.reader();
    let collect = |from: u64, most: usize| {
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            assert_eq!(key, value);
            found.push(u64::from_be_bytes(key.try_into().expect("eight bytes")));
            found.len() < most
        };
        reader.scan(Table::Log, &from.to_be_bytes(), &mut each).expect("it reads");
        found
    };
    assert_eq!(collect(0, usize::MAX), (1..=300).collect::<Vec<_>>());
    assert_eq!(collect(295, usize::MAX), (295..=300).collect::<Vec<_>>());
    assert_eq!(collect(64, 3), [64, 65, 66]);
    assert_eq!(reader.last(Table::Log).map(|entry| entry.map(|(key, _)| key)), Ok(Some(300u64.to_be_bytes().into())));
    assert_eq!(reader.last(Table::Outbox), Ok(Some((vec![], b"after".to_vec()))));
    assert_eq!(reader.last(Table::Dedupe), Ok(None));
}

/// Returns a value that is kept in a pack.
fn large(of: u64) -> Vec<u8> {
    vec![of as u8; 64 * 1024]
}

fn remove(lsn: u64, keys: impl IntoIterator<Item = u64>) -> Commit {
    let delete = |key: u64| Write::Delete { table: Table::Inbox, key: key.to_be_bytes().into() };
    Commit { lsn: Lsn(lsn), writes: keys.into_iter().map(delete).collect() }
}

fn packs(directory: &TempDir) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory.path().join("store/packs")).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn bytes(files: &[std::path::PathBuf]) -> u64 {
    files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum()
}

/// Checks that all of these are there, as they were put.
#[track_caller]
fn are_there(reader: &SledReader, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        let found = reader.get(Table::Inbox, &key.to_be_bytes()).expect("it reads");
        assert!(found == Some(large(key)), "{key}");
    }
}

#[test]
fn large_values_are_written_once_and_survive() {
    let directory = directory();
    let mut store = open(directory.path());
    for lsn in 1..=40 {
        store.submit(put(lsn, Table::Inbox, &lsn.to_be_bytes(), &large(lsn)));
    }
    // One key gets another large value, one a small value, and one is removed.
    store.submit(put(41, Table::Inbox, &7u64.to_be_bytes(), &large(9)));
    store.submit(put(42, Table::Inbox, &8u64.to_be_bytes(), b"small"));
    store.submit(remove(43, [6]));
    until(&mut store, 43);
    assert_eq!(bytes(&packs(&directory)), 41 * 64 * 1024);
    drop(store);
    let database = fs::metadata(directory.path().join("store/db")).expect("a file").len();
    assert!(database < 2 * 1024 * 1024, "{database}");
    let store = open(directory.path());
    let reader = store.reader();
    are_there(&reader, (1..=5).chain(9..=40));
    let get = |key: u64| reader.get(Table::Inbox, &key.to_be_bytes()).expect("it reads");
    assert_eq!((get(6), get(7), get(8)), (None, Some(large(9)), Some(b"small".to_vec())));
    let mut seen = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        seen.push((key.to_vec(), value.len()));
        true
    };
    reader.scan(Table::Inbox, &[], &mut each).expect("it reads");
    assert_eq!((seen.len(), seen[5].1, seen[6].1), (39, 64 * 1024, 5));
    assert_eq!(reader.last(Table::Inbox), Ok(Some((40u64.to_be_bytes().to_vec(), large(40)))));
}

#[test]
fn the_files_of_large_values_go_with_them() {
    let directory = directory();
    let mut store = open(directory.path());
    let count = 400;
    for lsn in 1..=count {
        while store.is_full() {
            until(&mut store, lsn - 1);
        }
        store.submit(put(lsn, Table::Inbox, &lsn.to_be_bytes(), &large(lsn)));
    }
    until(&mut store, count);
    assert!(packs(&directory).len() >= 5, "{:?}", packs(&directory));
    // One in sixteen stays, so that there is one in every pack.
    let stays = |key: &u64| key % 16 == 3;
    store.submit(remove(count + 1, (1..=count).filter(|key| !stays(key))));
    for lsn in count + 2..count + 10 {
        store.submit(put(lsn, Table::Log, &lsn.to_be_bytes(), b"something else"));
        until(&mut store, lsn);
    }
    let kept = (1..=count).filter(stays).count() as u64 * 64 * 1024;
    let taken = bytes(&packs(&directory));
    assert!(taken <= 2 * kept + 32 * 1024 * 1024, "{taken}");
    are_there(&store.reader(), (1..=count).filter(stays));
    drop(store);
    let mut store = open(directory.path());
    are_there(&store.reader(), (1..=count).filter(stays));
    store.submit(remove(count + 10, 1..=count));
    until(&mut store, count + 10);
    assert_eq!(packs(&directory), Vec::<std::path::PathBuf>::new());
}

#[test]
fn large_values_are_read_while_they_are_removed_and_moved() {
    let directory = directory();
    let mut store = open(directory.path());
    let last = 1_200;
    let reader = store.reader();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut found = 0;
            while reader.get(Table::Meta, b"end").expect("it reads").is_none() {
                let mut each = |key: &[u8], value: &[u8]| {
                    let key = u64::from_be_bytes(key.try_into().expect("eight bytes"));
                    assert!(value == large(key), "{key}");
                    found += 1;
                    true
                };
                reader.scan(Table::Inbox, &[], &mut each).expect("it reads");
                are_there(&reader, reader.get(Table::Inbox, &5u64.to_be_bytes()).expect("it reads").map(|_| 5));
            }
            found
        });
        for lsn in 1..=last {
            while store.is_full() {
                until(&mut store, lsn - 1);
            }
            let mut commit = put(lsn, Table::Inbox, &lsn.to_be_bytes(), &large(lsn));
            // All but one in thirty are removed soon after they were read.
            if lsn > 20 && (lsn - 20) % 30 != 5 {
                commit.writes.extend(remove(0, [lsn - 20]).writes);
            }
            store.submit(commit);
        }
        store.submit(put(last + 1, Table::Meta, b"end", b""));
        until(&mut store, last + 1);
        assert!(reading.join().expect("no panic") > 0);
    });
}

#[test]
fn a_damaged_large_value_is_seen_at_opening() {
    for (damage, says) in [("flipped", "damaged"), ("cut", "cut off"), ("gone", "missing")] {
        let directory = directory();
        let mut store = open(directory.path());
        store.submit(put(1, Table::Log, b"1", b"one"));
        store.submit(put(2, Table::Inbox, &2u64.to_be_bytes(), &large(2)));
        until(&mut store, 2);
        drop(store);
        let pack = packs(&directory).pop().expect("a pack");
        let mut content = fs::read(&pack).expect("it is read");
        content[40_000] ^= 1;
        match damage {
            "flipped" => fs::write(&pack, content).expect("it is written"),
            "cut" => fs::write(&pack, &content[..50_000]).expect("it is written"),
            _ => fs::remove_file(&pack).expect("it is removed"),
        }
        let refused = SledStore::inspect(directory.path()).expect_err("it is damaged").to_string();
        assert!(refused.contains(says), "{refused}");
        // What is not in the pack can be read.
        let log = |reader: SledReader| reader.get(Table::Log, b"1");
        let salvaged = SledStore::salvage(directory.path(), log).expect("the disk works");
        assert_eq!(salvaged, Some(Ok(Some(b"one".to_vec()))), "{damage}");
        let opened = SledStore::open(directory.path(), Unix::from_seconds(1_800_000_000)).expect("it opens");
        let quarantine = opened.quarantined.expect("it was set aside");
        assert!(quarantine.reason.contains(says), "{quarantine:?}");
        let aside = directory.path().join(quarantine.place).join("packs").join(pack.file_name().expect("a name"));
        assert_eq!(aside.exists(), damage != "gone");
        // Nothing else is lost, and the loss is reported once.
        assert_eq!(opened.store.reader().get(Table::Log, b"1"), Ok(Some(b"one".to_vec())));
        assert_eq!(opened.store.reader().get(Table::Inbox, &2u64.to_be_bytes()), Ok(None));
        drop(opened.store);
        assert_eq!(open(directory.path()).reader().get(Table::Log, b"1"), Ok(Some(b"one".to_vec())));
    }
}

#[test]
fn a_store_of_the_format_before_is_taken_over() {
    let directory = directory();
    let path = directory.path().join("store");
    let values: [&[u8]; 4] = [b"", b"value", &[0xff, 1, 2], &[7; 60_000]];
    let database = sled::open(&path).expect("it opens");
    database.insert(full_key(Table::Meta, b"format"), &[1]).expect("it is written");
    for (at, value) in values.iter().enumerate() {
        database.insert(full_key(Table::Inbox, &[at as u8]), *value).expect("it is written");
    }
    drop(database);
    for _ in 0..2 {
        let store = open(directory.path());
        for (at, value) in values.iter().enumerate() {
            assert_eq!(store.reader().get(Table::Inbox, &[at as u8]), Ok(Some(value.to_vec())));
        }
    }
}

#[test]
fn a_group_of_commits_takes_one_fsync() {
    let directory = directory();
    let mut store = open(directory.path());
    let (before, begun) = (store.counters(), std::time::Instant::now());
    for lsn in 1..=1_000 {
        store.submit(put(lsn, Table::Log, &lsn.to_be_bytes(), &[7; 200]));
    }
    until(&mut store, 1_000);
    let after = store.counters();
    assert_eq!(after.commits, 1_000);
    // One for each group, as there are no large values, and one a second for the witness.
    let fsyncs = after.fsyncs - before.fsyncs;
    let seconds = begun.elapsed().as_secs();
    assert!((after.groups..=after.groups + seconds + 1).contains(&fsyncs), "{after:?} in {seconds} s");
    assert!(after.groups < 500, "{after:?}");
    assert!(after.groups >= 1);
}

/// Invariant 2.
#[test]
fn it_is_full_at_the_bound_until_the_disk_has_caught_up() {
    let directory = directory();
    let mut store = open(directory.path());
    let mut lsn = 0;
    while !store.is_full() {
        lsn += 1;
        store.submit(put(lsn, Table::Inbox, &lsn.to_be_bytes(), &vec![1; 1024 * 1024]));
        assert!(lsn < 10_000, "the bound is never reached");
    }
    until(&mut store, lsn);
    assert!(!store.is_full());
    assert_eq!(store.counters().overruns, 0);
}

#[test]
fn a_failing_fsync_is_told_once_and_recovered_from() {
    let directory = directory();
    let mut store = open(directory.path());
    store.submit(put(1, Table::Log, b"1", b"before"));
    until(&mut store, 1);
    store.shared.state().fail_syncs = 3;
    store.submit(put(2, Table::Log, b"2", b"during"));
    let error = durable(&mut store, 1).expect_err("it fails").to_string();
    assert!(error.contains("injected") && error.contains("store"), "{error}");
    store.submit(put(3, Table::Log, b"3", b"during"));
    store.submit(put(4, Table::Inbox, &4u64.to_be_bytes(), &large(4)));
    assert_eq!(durable(&mut store, 1).map(|lsn| lsn >= Lsn(2)), Ok(true), "once told, then recovered");
    until(&mut store, 4);
    let counters = store.counters();
    assert_eq!((counters.failures, counters.retries, counters.commits), (1, 3, 4));
    are_there(&store.reader(), [4]);
    // The same, with a large value in the group that fails.
    store.shared.state().fail_syncs = 1;
    store.submit(put(5, Table::Inbox, &4u64.to_be_bytes(), &large(5)));
    store.submit(put(6, Table::Inbox, &6u64.to_be_bytes(), &large(6)));
    assert!(durable(&mut store, 4).is_err());
    until(&mut store, 6);
    are_there(&store.reader(), [6]);
    assert_eq!(store.reader().get(Table::Inbox, &4u64.to_be_bytes()), Ok(Some(large(5))));
    drop(store);
    let store = open(directory.path());
    are_there(&store.reader(), [6]);
    for key in [b"1", b"2", b"3"] {
        assert!(store.reader().get(Table::Log, key).is_ok_and(|value| value.is_some()));
    }
}

#[test]
fn closing_while_the_disk_fails_does_not_hang() {
    let directory = directory();
    let mut store = open(directory.path());
    store.shared.state().fail_syncs = usize::MAX;
    store.submit(put(1, Table::Log, b"1", b"lost"));
    assert!(durable(&mut store, 0).is_err());
    drop(store);
}

#[test]
fn a_leftover_of_a_snapshot_does_not_block_opening() {
    let directory = directory();
    let mut store = open(directory.path());
    store.submit(put(1, Table::Log, b"1", b"kept"));
    until(&mut store, 1);
    drop(store);
    let leftover = directory.path().join("store/snap.00000000000000FF.generating");
    fs::write(&leftover, b"half").expect("it is written");
    let store = open(directory.path());
    assert_eq!(store.reader().get(Table::Log, b"1"), Ok(Some(b"kept".to_vec())));
    assert!(!leftover.exists());
}

/// Invariant 3.
#[test]
fn garbage_is_set_aside_and_a_new_store_made() {
    let directory = directory();
    for round in 0..2 {
        drop(open(directory.path()));
        let inside = directory.path().join("store");
        for entry in fs::read_dir(&inside).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::write(path, vec![0x5a; 600_000]).expect("it is written");
            }
        }
        let opened = SledStore::open(directory.path(), Unix::from_seconds(1_800_000_000)).expect("it opens");
        let quarantine = opened.quarantined.expect("it was set aside");
        let expected = ["store.quarantine-1800000000", "store.quarantine-1800000000-2"][round];
        assert_eq!(quarantine.place, expected);
        assert!(!quarantine.reason.is_empty());
        let kept = fs::read(directory.path().join(expected).join("db")).expect("it is kept");
        assert!(kept.iter().all(|byte| *byte == 0x5a));
        let mut store = opened.store;
        store.submit(put(1, Table::Log, b"1", b"new"));
        until(&mut store, 1);
    }
}

#[test]
fn a_later_format_is_refused_and_left_alone() {
    let directory = directory();
    let mut store = open(directory.path());
    store.submit(put(1, Table::Meta, b"format", &[99]));
    until(&mut store, 1);
    drop(store);
    let refused = SledStore::open(directory.path(), Unix(0)).expect_err("it is later").to_string();
    assert!(refused.contains("has format 99") && refused.contains("use a later m2mesh"), "{refused}");
    assert!(directory.path().join("store").exists());
}

#[test]
fn a_store_in_use_is_refused_and_left_alone() {
    let directory = directory();
    let mut store = open(directory.path());
    let refused = SledStore::open(directory.path(), Unix(0)).expect_err("it is in use");
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    store.submit(put(1, Table::Log, b"1", b"still works"));
    until(&mut store, 1);
}

#[test]
fn a_directory_that_cannot_be_written_is_no_damage() {
    let directory = directory();
    fs::write(directory.path().join("store"), b"a file where a directory should be").expect("it is written");
    let refused = SledStore::open(directory.path(), Unix(0)).expect_err("there is a file").to_string();
    assert!(refused.contains("cannot be opened"), "{refused}");
}
