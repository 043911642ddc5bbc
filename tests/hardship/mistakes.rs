//! What goes wrong around a node, and what is said: what, where, and what to do next.
#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::processes::{ANYWHERE, Node, Place, end};
use std::fs;
use std::process::Command;

#[track_caller]
fn refused(place: &Place, arguments: &[&str], code: i32, expected: &[&str]) {
    let ended = place.run(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    for part in expected.iter().chain(&["what to do: "]) {
        assert!(ended.said.contains(part), "{arguments:?}: {part:?} is not in {}", ended.said);
    }
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let place = Place::new();
    place.done(&["realm", "init", "one", "--name", "one"]);
    place.done(&["realm", "init", "two", "--name", "two"]);
    for any in [ANYWHERE, "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let node = place.start(&["run", "--dir", "one", "--no-mdns", "--listen", any]);
        let taken = node.address();
        let run = ["run", "--dir", "two", "--no-mdns", "--listen", taken];
        refused(&place, &run, 1, &[taken, "another program uses that port", "--listen"]);
    }
}

#[test]
fn a_directory_without_a_device_says_how_to_get_one() {
    let place = Place::new();
    refused(&place, &["run", "--dir", "nowhere"], 1, &["nowhere holds no device", "m2mesh join TICKET --dir nowhere"]);
}

#[test]
fn settings_that_are_wrong_are_named_with_file_line_and_way_out() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let run = ["run", "--dir", "plant"];
    for (text, expected) in [
        ("[net]\nmdsn = false\n", &["config.toml", "line 2", "`mdsn`", "did you mean `mdns`?"][..]),
        ("[nett]\n", &["config.toml", "line 1", "`nett`", "did you mean `net`?"]),
        ("[net]\nmdns = 'no'\n", &["config.toml", "line 2", "boolean", "correct that line"]),
    ] {
        fs::write(place.at("plant/config.toml"), text).expect("written");
        refused(&place, &run, 1, expected);
    }
    refused(&place, &[&run[..], &["--config", "absent.toml"]].concat(), 1, &["absent.toml", "check the path"]);
}

#[test]
fn a_clock_that_is_a_year_off_is_said() {
    if !Command::new("faketime").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: faketime does not run; install it to test what is said of a wrong clock");
        return;
    }
    let place = Place::new();
    place.pair();
    // Not the gateway: it has the issuer, and would renew its credentials by its own clock.
    for (shift, expected) in [("-365d", "not valid yet: they begin at "), ("+365d", "have expired: they ended at ")] {
        let run = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE];
        let command = place.command_under(&["faketime", "-f", shift], &run);
        let diagnostics = place.at(shift);
        let mut node = Node::ready(command, &diagnostics).unwrap_or_else(|said| panic!("not READY:\n{said}"));
        let status = place.done(&["status", "--dir", "meter"]);
        let pid = fs::read_to_string(place.at("meter/lock")).expect("the node's number");
        let mut kill = Command::new("kill");
        kill.args(["-TERM", pid.trim()]);
        assert_eq!(end(kill).code, Some(0));
        node.wait();
        for said in [status, fs::read_to_string(diagnostics).expect("diagnostics")] {
            let parts = [expected, "this machine's clock says 20", "set the clock"];
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }
}

#[test]
fn a_ticket_that_has_expired_says_what_the_clock_says() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let invite = ["realm", "invite", "plant", "--name", "x", "--expires", "1s", "--address", "/ip4/127.0.0.1/tcp/9"];
    let ticket = place.done(&invite);
    let expired = std::time::Instant::now() + std::time::Duration::from_millis(2_100);
    while let Some(left) = expired.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(left);
    }
    refused(&place, &["join", &ticket, "--dir", "x"], 2, &["expired at 20", "this machine's clock says 20"]);
}
