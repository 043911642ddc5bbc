//! Files that somebody removes from under a running node: what can be brought back is, what is lost is said, and nothing else
//! goes with it.

use crate::support::processes::{ANYWHERE, Ended, Place, end};
use std::fs;
use std::time::{Duration, Instant};

const RUN: [&str; 6] = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE];

/// A verb that must not hang.
fn within(place: &Place, arguments: &[&str]) -> Ended {
    end(place.command_under(&["timeout", "60"], arguments))
}

fn quarantined(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.at("plant")).expect("it lists");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("quarantine")).collect()
}

#[test]
fn a_large_message_whose_file_is_removed_is_lost_alone() {
    let place = Place::new();
    place.pair();
    let mut gateway = place.start(&RUN);
    let meter =
        place.start(&["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", gateway.address()]);
    let large = "x".repeat(40_000);
    for message in ["before", &large, "after"] {
        place.done(&["send", "gateway", message, "--dir", "meter"]);
    }
    for pack in fs::read_dir(place.at("plant/store/packs")).expect("it lists") {
        fs::remove_file(pack.expect("an entry").path()).expect("it is removed");
    }
    let ended = within(&place, &["receive", "--keep", "--dir", "plant"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "before\nafter\n"), "{}", ended.said);
    let until = Instant::now() + Duration::from_secs(60);
    while place.done(&["log", "--kind", "quarantined", "--dir", "plant"]).is_empty() {
        assert!(Instant::now() < until, "it is said");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let said = place.done(&["log", "--kind", "quarantined", "--dir", "plant"]);
    assert!(said.contains("a large value is lost, inbox 2: ") && said.contains("is missing"), "{said}");
    place.done(&["send", "gateway", "later", "--dir", "meter"]);
    assert_eq!(gateway.stop(), Some(0));
    let places = quarantined(&place);
    assert_eq!(places.len(), 1);

    let mut gateway = place.start(&RUN);
    assert_eq!(quarantined(&place), places, "it is set aside once");
    let ended = within(&place, &["receive", "--dir", "plant"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "before\nafter\nlater\n"), "{}", ended.said);
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact"));
    assert_eq!(gateway.stop(), Some(0));
    drop(meter);
}

#[test]
fn a_database_that_is_removed_is_written_again() {
    let place = Place::new();
    place.pair();
    let mut gateway = place.start(&RUN);
    let meter =
        place.start(&["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", gateway.address()]);
    place.done(&["send", "gateway", "before", "--dir", "meter"]);
    fs::remove_file(place.at("plant/store/db")).expect("it is removed");
    place.done(&["send", "gateway", "after", "--dir", "meter"]);
    let said = place.done(&["log", "--kind", "store-failed", "--dir", "plant"]);
    assert!(said.contains("db was removed while the node runs"), "{said}");
    gateway.kill();
    let mut gateway = place.start(&RUN);
    assert_eq!(place.done(&["receive", "--dir", "plant"]), "before\nafter");
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact"));
    assert_eq!(quarantined(&place), Vec::<String>::new());
    assert_eq!(gateway.stop(), Some(0));
    drop(meter);
}
