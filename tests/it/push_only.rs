//! A device that only pushes, as its user and those around it see it: real processes.

use crate::support::processes::{ANYWHERE, Place};
use std::fs;

/// Adds a setting to those of a device.
fn set(place: &Place, directory: &str, line: &str) {
    let file = place.at(directory).join("config.toml");
    let before = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, format!("{line}\n{before}")).expect("settings");
}

/// Invariant 2 of engine::messages::push_only.
#[test]
fn a_device_that_only_pushes_sends_and_takes_nothing() {
    let place = Place::new();
    place.pair();
    set(&place, "meter", "push_only = true");
    let gateway = place.start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
    let meter = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", gateway.address()];
    let mut running = place.start(&meter);
    for ack in ["hop", "none"] {
        let said = place.done(&["send", "gateway", "21.5", "--ack", ack, "--dir", "meter"]);
        assert!(said.starts_with("sent"), "{said}");
        assert_eq!(place.done(&["receive", "--count", "1", "--dir", "plant"]), "21.5");
    }
    let takes_nothing: [&[&str]; 4] = [
        &["send", "gateway", "21.5"],
        &["request", "gateway/clock", "now"],
        &["receive"],
        &["subscribe", "plant/#", "--count", "1"],
    ];
    for arguments in takes_nothing {
        let ended = place.run(&[arguments, &["--dir", "meter"]].concat());
        assert!(ended.code == Some(1) && ended.said.contains("only pushes"), "{arguments:?}: {ended:?}");
    }
    let ended = place.run(&["send", "meter", "set 20", "--dir", "plant"]);
    assert!(ended.code == Some(1) && ended.said.contains("meter only pushes"), "it has said so: {ended:?}");
    // It takes messages again, and says so with the next that it sends.
    running.stop();
    let file = place.at("meter").join("config.toml");
    let settings = fs::read_to_string(&file).expect("settings").replace("push_only = true", "");
    fs::write(&file, settings).expect("settings");
    let _running = place.start(&meter);
    place.done(&["send", "gateway", "21.6", "--dir", "meter"]);
    place.done(&["send", "meter", "set 20", "--dir", "plant"]);
    assert_eq!(place.done(&["receive", "--count", "1", "--dir", "meter"]), "set 20");
}
