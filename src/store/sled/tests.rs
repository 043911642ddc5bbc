//! The store as the node uses it, on a real disk.

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

#[test]
fn values_larger_than_sleds_segments_survive() {
    let directory = directory();
    let mut store = open(directory.path());
    for lsn in 1..=40 {
        store.submit(put(lsn, Table::Inbox, &lsn.to_be_bytes(), &vec![lsn as u8; 64 * 1024]));
    }
    until(&mut store, 40);
    drop(store);
    let reader = open(directory.path());
    for lsn in 1..=40u64 {
        let found = reader.reader().get(Table::Inbox, &lsn.to_be_bytes()).expect("it reads");
        assert_eq!(found, Some(vec![lsn as u8; 64 * 1024]));
    }
}

#[test]
fn a_group_of_commits_takes_one_fsync() {
    let directory = directory();
    let mut store = open(directory.path());
    let before = store.counters();
    for lsn in 1..=1_000 {
        store.submit(put(lsn, Table::Log, &lsn.to_be_bytes(), &[7; 200]));
    }
    until(&mut store, 1_000);
    let after = store.counters();
    assert_eq!(after.commits, 1_000);
    assert_eq!(after.fsyncs - before.fsyncs, after.groups, "one a group, there being no blobs");
    assert!(after.groups < 500, "{after:?}");
    assert!(after.groups >= 1);
}

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
    assert_eq!(durable(&mut store, 1).map(|lsn| lsn >= Lsn(2)), Ok(true), "once told, then recovered");
    until(&mut store, 3);
    let counters = store.counters();
    assert_eq!((counters.failures, counters.retries, counters.commits), (1, 3, 3));
    drop(store);
    let store = open(directory.path());
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
