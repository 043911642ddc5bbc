//! Damage to a node's store while it is stopped, as a user meets it.
#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::support::processes::{ANYWHERE, Place};
use std::fs;
use std::path::PathBuf;

const RUN: [&str; 6] = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE];

/// A device that has run some times, and the file with its records.
fn stopped() -> (Place, PathBuf) {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    for _ in 0..4 {
        assert_eq!(place.start(&RUN).stop(), Some(0));
    }
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact: 12 records"));
    let database = place.at("plant/store/db");
    (place, database)
}

fn quarantined(place: &Place) -> bool {
    let names = fs::read_dir(place.at("plant")).expect("it lists");
    names.map(|entry| entry.expect("an entry").file_name()).any(|name| name.to_string_lossy().contains("quarantine"))
}

/// Where the records say with which version the node started: one a start.
fn starts(database: &[u8]) -> Vec<usize> {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    (0..database.len()).filter(|at| database[*at..].starts_with(version)).collect()
}

#[test]
fn a_changed_byte_is_found_and_the_record_named() {
    let (place, database) = stopped();
    let mut bytes = fs::read(&database).expect("there");
    let second = starts(&bytes)[1];
    bytes[second] ^= 1;
    fs::write(&database, bytes).expect("written");
    for _ in 0..2 {
        let ended = place.run(&["log", "verify", "--dir", "plant"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let bad =
            ended.out.strip_prefix("broken: record ").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(bad.is_some_and(|bad| (1..=12).contains(&bad)), "{}", ended.out);
        assert!(!quarantined(&place), "looking changes nothing");
    }
    let ended = place.run(&["log", "--dir", "plant"]);
    assert!(ended.code == Some(1) && ended.said.contains("damaged"), "{ended:?}");

    let mut node = place.start(&RUN);
    assert!(quarantined(&place));
    assert!(place.logged("quarantined").contains("set aside as store.quarantine-"));
    let said = fs::read_to_string(place.at("diagnostics")).expect("diagnostics");
    assert!(said.contains("set aside as store.quarantine-"), "{said}");
    // A new chain says what was lost, and no number of it is given again.
    let verdict = place.done(&["log", "verify", "--dir", "plant"]);
    assert!(verdict.starts_with("intact: ") && verdict.contains(" records, 13 to "), "{verdict}");
    assert!(verdict.contains("a log of 12 records") && verdict.contains("as store.quarantine-"), "{verdict}");
    let log = place.done(&["log", "--kind", "quarantined", "--dir", "plant", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&log).expect("one record");
    assert_eq!((&told["sequence"], &told["details"]["records"]), (&13.into(), &12.into()), "{log}");
    assert_eq!(node.stop(), Some(0));
    assert!(place.start(&RUN).stop() == Some(0), "it is told once");
    assert_eq!(place.done(&["log", "--kind", "quarantined", "--dir", "plant"]).lines().count(), 1);
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact: "));
}

#[test]
fn a_cut_store_is_found() {
    let (place, database) = stopped();
    let bytes = fs::read(&database).expect("there");
    let third = starts(&bytes)[2];
    fs::write(&database, &bytes[..third]).expect("cut");
    let ended = place.run(&["log", "verify", "--dir", "plant"]);
    assert!(ended.code == Some(2) && ended.out.starts_with("broken: record "), "{ended:?}");
    assert!(!place.at("plant/store.examined").exists());
}

/// Thirty messages in a store that was opened once, by a node that was killed or stopped.
fn first_run(killed: bool) -> Place {
    let place = Place::new();
    place.pair();
    fs::remove_dir_all(place.at("plant/store")).expect("there");
    fs::remove_file(place.at("plant/store.witness")).expect("there");
    let mut gateway = place.start(&RUN);
    let bootstrap = gateway.address().to_owned();
    let meter = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", &bootstrap];
    let _meter = place.start(&meter);
    for number in 1..=30 {
        place.done(&["send", "gateway", &number.to_string(), "--dir", "meter"]);
    }
    if killed {
        gateway.kill();
    } else {
        assert_eq!(gateway.stop(), Some(0));
    }
    place
}

/// Invariant 4 of store::sled.
#[test]
fn a_changed_byte_in_the_newest_part_is_not_taken_for_the_end() {
    for killed in [true, false] {
        let place = first_run(killed);
        let records = place.done(&["log", "verify", "--dir", "plant"]);
        assert!(records.starts_with("intact: "), "{records}");
        let database = place.at("plant/store/db");
        let mut bytes = fs::read(&database).expect("there");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("something");
        bytes[end / 2] ^= 1;
        fs::write(&database, &bytes).expect("written");
        let ended = place.run(&["log", "verify", "--dir", "plant"]);
        assert!(ended.code == Some(2) && ended.out.starts_with("broken: record "), "{ended:?}");
        assert!(fs::read(&database).expect("there") == bytes, "looking changes nothing");
        let node = place.start(&RUN);
        assert!(quarantined(&place));
        let said = place.logged("quarantined");
        assert!(said.contains("set aside as store.quarantine-"), "{said}");
        let verdict = place.done(&["log", "verify", "--dir", "plant"]);
        // Of one chain where all of it could be read, else of a new one.
        assert!(verdict.starts_with("intact: "), "{verdict}");
        let left = place.done(&["receive", "--dir", "plant"]);
        let left: Vec<u32> = left.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(left.is_sorted_by(|one, next| one < next) && left.last().is_none_or(|last| *last <= 30), "{left:?}");
        drop(node);
    }
}

/// Invariant 4 of store::sled.
#[test]
fn an_emptied_database_is_not_taken_for_a_new_one() {
    let (place, database) = stopped();
    fs::write(&database, b"").expect("written");
    for snapshot in fs::read_dir(place.at("plant/store")).expect("it lists") {
        let snapshot = snapshot.expect("an entry").path();
        if snapshot.to_string_lossy().contains("snap.") {
            fs::remove_file(snapshot).expect("removed");
        }
    }
    let ended = place.run(&["log", "verify", "--dir", "plant"]);
    assert!(ended.code == Some(2) && ended.out.starts_with("broken: record 1 "), "{ended:?}");
    let _node = place.start(&RUN);
    assert!(quarantined(&place));
    let said = place.logged("quarantined");
    assert!(said.contains("its newest part cannot be read"), "{said}");
}

#[test]
fn a_snapshot_that_was_not_finished_is_of_no_account() {
    let (place, _) = stopped();
    fs::write(place.at("plant/store/snap.00000000000000FF.generating"), b"half").expect("written");
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact: 12 records"));
}

#[test]
fn a_store_of_which_nothing_can_be_read_is_set_aside() {
    let (place, database) = stopped();
    fs::write(&database, vec![0x5a; 600_000]).expect("written");
    let ended = place.run(&["log", "verify", "--dir", "plant"]);
    assert!(ended.code == Some(2) && ended.out.starts_with("broken: "), "{ended:?}");
    let _node = place.start(&RUN);
    assert!(quarantined(&place));
    assert!(place.logged("quarantined").contains("set aside"));
}
