//! Nodes that are linked by a serial line alone: real processes, and pseudo-terminals for devices.

mod cable;

use crate::support::processes::{ANYWHERE, Place, Running};
use cable::Cable;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What keeps a node from dialling anybody but whom it is told: neighbours tell each other's addresses over a line, too.
const ALONE: &str = "[net]\nmdns = false\ntarget_links = 0\n";

/// Gives the node of a directory a serial device of that name, and nobody to dial.
fn wire(place: &Place, node: &str, settings: &str) -> PathBuf {
    let device = place.at(&format!("tty-{node}"));
    let text = format!("{ALONE}\n[[serial]]\ndevice = {device:?}\n{settings}\n");
    std::fs::write(place.at(node).join("config.toml"), text).expect("written");
    device
}

fn start(place: &Place, node: &str) -> Running {
    place.start(&["run", "--dir", node, "--no-mdns", "--listen", ANYWHERE])
}

/// What a verb prints, once that says it; asked again and again.
#[track_caller]
fn says(place: &Place, arguments: &[&str], what: &str) -> String {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let said = place.run(arguments);
        let said = said.out + &said.said;
        if said.contains(what) {
            return said;
        }
        let diagnostics = std::fs::read_to_string(place.at("diagnostics")).unwrap_or_default();
        assert!(Instant::now() < until, "{arguments:?} never says {what}:\n{said}\n{diagnostics}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn exchange(place: &Place, from: &str, to: (&str, &str), text: &str) {
    place.done(&["send", to.1, text, "--dir", from]);
    assert_eq!(place.done(&["receive", "--count", "1", "--dir", to.0]), text);
}

#[test]
fn two_nodes_exchange_messages_over_a_serial_line_which_is_pulled_and_plugged_in_again() {
    let place = Place::new();
    place.pair();
    let devices = ["plant", "meter"].map(|node| wire(&place, node, "baud = 230400\nmtu = 128"));
    // Neither device is there yet: the nodes start, say so, and try again.
    let (_gateway, _meter) = (start(&place, "plant"), start(&place, "meter"));
    says(&place, &["status", "--dir", "meter"], "plug it in");
    let cable = Cable::between([&devices[0], &devices[1]]);
    says(&place, &["status", "--dir", "meter"], "at 230400 baud, 1 link");
    let peers = says(&place, &["peers", "--dir", "plant"], "meter");
    assert!(peers.contains("serial") && peers.contains("tty-plant"), "{peers}");
    assert!(says(&place, &["links", "--dir", "meter"], "gateway").contains("serial"));

    exchange(&place, "meter", ("plant", "gateway"), "21.5 C");
    exchange(&place, "plant", ("meter", "meter"), "thanks");
    // The longest message there is takes some hundred line frames.
    exchange(&place, "meter", ("plant", "gateway"), &"x".repeat(60 * 1_024));

    cable.pull();
    says(&place, &["status", "--dir", "plant"], "not open");
    says(&place, &["status", "--dir", "meter"], "not open");
    let _cable = Cable::between([&devices[0], &devices[1]]);
    exchange(&place, "meter", ("plant", "gateway"), "once more");
    exchange(&place, "plant", ("meter", "meter"), "and back");
    assert!(place.done(&["log", "verify", "--dir", "meter"]).starts_with("intact"));
    assert!(place.done(&["log", "--dir", "plant"]).contains("serial"), "a link over it is in the log");
}

#[test]
fn a_message_goes_over_ip_then_a_serial_line_then_ip() {
    let place = Place::new();
    place.pair();
    let devices = ["plant", "meter"].map(|node| wire(&place, node, ""));
    let (gateway, meter) = (start(&place, "plant"), start(&place, "meter"));
    let _cable = Cable::between([&devices[0], &devices[1]]);
    // Two more devices, each behind one end of the line, of which neither can reach the other end over IP.
    let ticket = place.done(&["realm", "invite", "plant", "--name", "pump", "--contact", "all"]);
    place.done(&["join", &ticket, "--dir", "pump"]);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "valve", "--contact", "all"]);
    place.done(&["join", &ticket, "--dir", "valve"]);
    for name in ["pump", "valve"] {
        std::fs::write(place.at(name).join("config.toml"), ALONE).expect("written");
    }
    let at = |name: &str, node: &Running| {
        let address = node.address().to_owned();
        place.start(&["run", "--dir", name, "--no-mdns", "--listen", ANYWHERE, "--bootstrap", &address])
    };
    let (_pump, _valve) = (at("pump", &gateway), at("valve", &meter));
    exchange(&place, "valve", ("pump", "pump"), "over three hops");
    exchange(&place, "pump", ("valve", "valve"), "and back");
    // The only way between the two halves is the line.
    let peers = place.done(&["peers", "--dir", "meter"]);
    assert_eq!(peers.matches("gateway").count(), 1, "{peers}");
    assert!(peers.contains("serial"), "{peers}");
}

#[test]
fn a_device_that_changes_its_pseudonym_keeps_its_link_over_a_serial_line() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway", "--epoch", "15s"]);
    let gateway = start(&place, "plant");
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter"]);
    place.done(&["join", &ticket, "--dir", "meter"]);
    drop(gateway);
    let devices = ["plant", "meter"].map(|node| wire(&place, node, ""));
    let (_gateway, _meter) = (start(&place, "plant"), start(&place, "meter"));
    let _cable = Cable::between([&devices[0], &devices[1]]);
    let pseudonym = || -> String {
        let told = place.done(&["identity", "show", "--json", "--dir", "meter"]);
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        told["peer_id"].as_str().expect("a PeerId").to_owned()
    };
    // Messages are under way all the time, until it has had another pseudonym for a while.
    let (first, mut sent, mut after) = (pseudonym(), 0, 0);
    while after < 10 {
        place.done(&["send", "gateway", &sent.to_string(), "--dir", "meter"]);
        sent += 1;
        after += u32::from(pseudonym() != first);
    }
    let expected: Vec<String> = (0..sent).map(|number: u32| number.to_string()).collect();
    assert_eq!(place.done(&["receive", "--count", &sent.to_string(), "--dir", "plant"]), expected.join("\n"));
    assert!(says(&place, &["peers", "--dir", "plant"], "meter").contains("serial"));
}
