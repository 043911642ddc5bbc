//! Tests of damage: what is found of it, what is reported, and that nothing else is lost.

use super::*;
use crate::engine::store::{INBOX_FLOOR, WITNESSED, Write};
use crate::time::Unix;
use futures::executor::block_on;
use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

fn opened(directory: &Path) -> Opened {
    SledStore::open(directory, Unix::from_seconds(1_800_000_000)).expect("it opens")
}

#[track_caller]
fn open(directory: &Path) -> SledStore {
    let opened = opened(directory);
    assert_eq!(opened.quarantined, None);
    opened.store
}

fn until(store: &mut SledStore, lsn: u64) {
    let mut reached = Lsn(0);
    while reached < Lsn(lsn) {
        // A failure is returned once, and passes.
        reached = block_on(poll_fn(|cx| store.poll_durable(reached, cx))).unwrap_or(reached);
    }
}

fn message(number: u64) -> Vec<u8> {
    format!("message {number} {}", "x".repeat(200)).into_bytes()
}

/// Returns a commit with a message and the witnessed facts.
fn commit(number: u64) -> Commit {
    let fact =
        |name: &[u8]| Write::Put { table: Table::Meta, key: name.to_vec(), value: number.to_string().into_bytes() };
    let mut writes = vec![Write::Put { table: Table::Inbox, key: number.to_be_bytes().into(), value: message(number) }];
    writes.extend(WITNESSED.iter().map(|name| fact(name)));
    Commit { lsn: Lsn(number), writes }
}

fn large(number: u64) -> Vec<u8> {
    vec![number as u8; 64 * 1024]
}

/// Makes a store with thirty messages, each durable before the next was submitted, that was never opened again.
fn first_run() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path());
    for number in 1..=30 {
        store.submit(commit(number));
        until(&mut store, number);
    }
    directory
}

fn messages(store: &SledStore) -> Vec<u64> {
    let mut found = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        let number = u64::from_be_bytes(key.try_into().expect("eight bytes"));
        assert_eq!(value, message(number));
        found.push(number);
        true
    };
    store.reader().scan(Table::Inbox, &[], &mut each).expect("it reads");
    found
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().expect("a directory");
    let copied = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to.path()).status();
    assert!(copied.expect("cp runs").success());
    to
}

fn database(directory: &Path) -> PathBuf {
    directory.join("store/db")
}

/// Checks that the quarantine is as it was found, that witnessed facts have not gone back, and that the loss is
/// reported once.
#[track_caller]
fn is_told(directory: &Path, found: &[u8], quarantined: Option<Quarantine>, store: SledStore) {
    let place = quarantined.expect("it is told").place;
    let aside = fs::read(directory.join(place).join("db")).expect("it is kept");
    assert!(aside == found, "it is kept as it was found");
    for name in WITNESSED {
        assert_eq!(store.reader().get(Table::Meta, name), Ok(Some(b"30".to_vec())));
    }
    assert_eq!(store.reader().get(Table::Meta, INBOX_FLOOR), Ok(Some(30u64.to_be_bytes().to_vec())));
    let left = messages(&store);
    drop(store);
    let mut store = open(directory);
    assert_eq!(messages(&store), left);
    store.submit(commit(31));
    until(&mut store, 31);
    drop(store);
    assert_eq!(messages(&open(directory)).last(), Some(&31));
}

/// Invariants 3 and 4.
/// Invariant 2 of store::sled::sum.
#[test]
fn a_flipped_byte_is_never_taken_for_the_end() {
    let whole = first_run();
    let content = fs::read(database(whole.path())).expect("it is there");
    let end = content.iter().rposition(|byte| *byte != 0).expect("something is written");
    let mut lost = 0;
    for at in (0..24).map(|part| end * part / 24 + part % 7).chain([end]) {
        let directory = copy(whole.path());
        let mut damaged = content.clone();
        damaged[at] ^= 0x40;
        fs::write(database(directory.path()), &damaged).expect("it is written");
        let looked = SledStore::inspect(directory.path()).map(drop);
        assert!(
            fs::read(database(directory.path())).expect("there") == damaged || looked.is_ok(),
            "looking changes nothing"
        );
        let Opened { store, quarantined } = opened(directory.path());
        let left = messages(&store);
        if quarantined.is_none() {
            assert_eq!(left, (1..=30).collect::<Vec<_>>(), "byte {at}");
            continue;
        }
        assert!(looked.is_err(), "byte {at}");
        lost += 1;
        assert!(left.len() <= 30);
        is_told(directory.path(), &damaged, quarantined, store);
    }
    assert!(lost > 10, "{lost}");
}

/// Makes a store with four thousand messages that was opened again afterwards.
fn long_run() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path());
    for number in 1..=4_000 {
        store.submit(commit(number));
        if number % 50 == 0 {
            until(&mut store, number);
        }
    }
    drop(store);
    drop(open(directory.path()));
    directory
}

/// Invariant 3.
#[test]
fn what_lies_before_and_behind_the_damage_is_kept() {
    let whole = long_run();
    let content = fs::read(database(whole.path())).expect("it is there");
    let end = content.iter().rposition(|byte| *byte != 0).expect("something is written");
    let (mut nearly_all, mut nothing) = (0, 0);
    // At places all over the file, until enough of them have hit something that is still in use.
    for at in (1..64).map(|part| end * (part * 37 % 64) / 64) {
        if nearly_all > 3 {
            break;
        }
        let directory = copy(whole.path());
        let mut damaged = content.clone();
        damaged[at] ^= 0x40;
        fs::write(database(directory.path()), &damaged).expect("it is written");
        let Opened { store, quarantined } = opened(directory.path());
        let left = messages(&store);
        let Some(told) = quarantined else { continue };
        let aside = fs::read(directory.path().join(&told.place).join("db")).expect("it is kept");
        assert!(aside == damaged, "it is kept as it was found");
        // sled does not open a log whose own entries are damaged; at best it reads the log up to there.
        nearly_all += usize::from(left.len() > 3_000);
        nothing += usize::from(left.is_empty());
        assert_eq!(told.reason.contains("nothing of it can be read"), left.is_empty(), "{}", told.reason);
        drop(store);
        assert_eq!(messages(&open(directory.path())), left);
    }
    assert!(nearly_all > 3, "{nearly_all} keep nearly all of it, {nothing} nothing");
}

/// Invariant 4.
#[test]
fn an_emptied_or_missing_database_is_told() {
    let whole = first_run();
    for emptied in [true, false] {
        let directory = copy(whole.path());
        let database = database(directory.path());
        if emptied {
            fs::write(&database, b"").expect("it is written");
        } else {
            fs::remove_dir_all(directory.path().join("store")).expect("it is removed");
        }
        let Opened { store, quarantined } = opened(directory.path());
        assert_eq!(messages(&store), Vec::<u64>::new());
        let reason = quarantined.expect("it is told").reason;
        assert!(reason.contains("it has 0 entries") && reason.contains("durable are lost"), "{reason}");
        assert_eq!(store.reader().get(Table::Meta, WITNESSED[0]), Ok(Some(b"30".to_vec())));
        drop(store);
        drop(open(directory.path()));
    }
}

/// Invariant 5.
#[test]
fn a_store_that_was_stopped_at_any_moment_lacks_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path());
    for number in 1..=20 {
        store.submit(commit(number));
    }
    // The files as they are in the midst of the work, and beside them the witness as it is later.
    until(&mut store, 7);
    let midst = copy(directory.path());
    until(&mut store, 20);
    fs::copy(directory.path().join("store.witness"), midst.path().join("later")).expect("it is copied");
    drop(store);
    assert!(messages(&open(midst.path())).len() >= 7);
}

/// If one of the two slots is torn, the other is read.
#[test]
fn a_torn_slot_of_the_witness_says_nothing() {
    let whole = first_run();
    for slot in 0..2 {
        let directory = copy(whole.path());
        let file = fs::OpenOptions::new().write(true).open(directory.path().join("store.witness")).expect("there");
        file.write_all_at(&[0xa5; 64], slot * 4_096).expect("it is written");
        assert_eq!(messages(&open(directory.path())).len(), 30);
    }
}

fn packs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("store/packs")).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn large_values_whose_file_is_gone_while_the_store_is_open_are_lost_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let put = |number: u64, value: Vec<u8>| {
        let key = number.to_be_bytes().to_vec();
        Commit { lsn: Lsn(number), writes: vec![Write::Put { table: Table::Inbox, key, value }] }
    };
    let mut store = open(directory.path());
    store.submit(put(1, message(1)));
    store.submit(put(2, large(2)));
    until(&mut store, 2);
    // After a restart nothing holds the file open, and the next large value goes to another.
    drop(store);
    let mut store = open(directory.path());
    let gone = packs(directory.path());
    store.submit(put(3, large(3)));
    until(&mut store, 3);
    let remove = || gone.iter().for_each(|pack| fs::remove_file(pack).expect("it is removed"));
    remove();
    let read = |number: u64| store.reader().get(Table::Inbox, &number.to_be_bytes()).expect("it reads");
    assert!(read(2) == Some(large(2)) && gone.iter().all(|pack| pack.exists()), "it was open, and is written again");
    remove();
    store.shared.shelf.clear();
    assert!((read(1), read(2), read(3)) == (Some(message(1)), None, Some(large(3))));
    let mut seen = Vec::new();
    let mut each = |key: &[u8], _: &[u8]| {
        seen.push(key[7]);
        true
    };
    store.reader().scan(Table::Inbox, &[], &mut each).expect("it reads");
    assert_eq!(seen, [1, 3]);
    let until_told = Instant::now() + Duration::from_secs(30);
    let told = loop {
        match store.take_loss() {
            Some(told) => break told,
            None => std::thread::park_timeout(Duration::from_millis(5)),
        }
        assert!(Instant::now() < until_told);
    };
    assert!(told.reason.contains("a large value is lost, inbox 2: ") && told.reason.contains("is missing"), "{told:?}");
    let list = fs::read_to_string(directory.path().join(told.place).join("lost")).expect("a list");
    assert_eq!(list.lines().count(), 1);
    store.submit(put(4, large(4)));
    until(&mut store, 4);
    assert_eq!(store.take_loss(), None, "it is told once");
    drop(store);
    let store = open(directory.path());
    let numbers =
        [1, 2, 3, 4].map(|number: u64| store.reader().get(Table::Inbox, &number.to_be_bytes()).expect("it reads"));
    assert!(numbers == [Some(message(1)), None, Some(large(3)), Some(large(4))]);
}

#[test]
fn files_that_are_removed_while_the_store_is_open_are_written_again() {
    for removed in ["store/db", "store", "store.witness"] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = open(directory.path());
        (1..=5).for_each(|number| store.submit(commit(number)));
        until(&mut store, 5);
        let path = directory.path().join(removed);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("it is removed");
        (6..=8).for_each(|number| store.submit(commit(number)));
        until(&mut store, 8);
        assert_eq!(store.counters().failures, u64::from(removed != "store.witness"), "it is told");
        assert_eq!(messages(&store), (1..=8).collect::<Vec<_>>());
        drop(store);
        assert_eq!(messages(&open(directory.path())), (1..=8).collect::<Vec<_>>());
        assert!(directory.path().join("store.witness").exists());
    }
}
