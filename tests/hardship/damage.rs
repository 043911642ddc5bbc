//! Damage to a node's store while it is stopped, as a user meets it.
#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::processes::{ANYWHERE, Place};
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
    assert!(place.done(&["log", "--kind", "quarantined", "--dir", "plant"]).contains("set aside as store.quarantine-"));
    let said = fs::read_to_string(place.at("diagnostics")).expect("diagnostics");
    assert!(said.contains("set aside as store.quarantine-"), "{said}");
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact"));
    assert_eq!(node.stop(), Some(0));
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
    assert!(place.done(&["log", "--kind", "quarantined", "--dir", "plant"]).contains("set aside"));
}
