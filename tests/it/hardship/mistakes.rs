//! What goes wrong around a node, and what is said: what, where, and what to do next.
#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::support::processes::{ANYWHERE, Place, Running, end};
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
fn a_kind_or_a_sender_that_does_not_exist_is_an_error() {
    let place = Place::new();
    place.pair();
    let kind = |kind: &str| place.run(&["log", "--kind", kind, "--dir", "plant"]);
    let ended = kind("nonsense");
    assert!(ended.code == Some(1) && ended.said.contains("link-up, link-down, message-failed"), "{ended:?}");
    let ended = kind("linkup");
    assert!(ended.code == Some(1) && ended.said.contains("'link-up'"), "{ended:?}");
    let _gateway = place.start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
    for more in [&[][..], &["--count", "1"]] {
        let receive = |from: &str| {
            let arguments = [&["receive", "--dir", "plant", "--from", from][..], more].concat();
            end(place.command_under(&["timeout", "60"], &arguments))
        };
        let ended = receive("nobody");
        assert!(ended.code == Some(1) && ended.said.contains("no contact is called nobody"), "{ended:?}");
        let ended = receive("metre");
        assert!(ended.code == Some(1) && ended.said.contains("did you mean meter?"), "{ended:?}");
    }
    assert_eq!(place.run(&["receive", "--dir", "plant", "--from", "meter"]).code, Some(0));
}

#[test]
fn what_is_said_of_a_limit_of_the_system_is_right() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE];
    for files in [12, 20, 28, 36] {
        let limited = format!("ulimit -n {files}; exec \"$@\"");
        let ended = end(place.command_under(&["timeout", "10", "sh", "-c", &limited, "sh"], &run));
        assert!(ended.code != Some(0), "{files} files: {ended:?}");
        let right = ["LimitNOFILE=", "file descriptors"].iter().any(|part| ended.said.contains(part));
        assert!(ended.code == Some(124) || right, "{files} files: {ended:?}");
    }
    let long = "d".repeat(120);
    fs::rename(place.at("plant"), place.at(&long)).expect("it is renamed");
    refused(&place, &["run", "--dir", &long, "--no-mdns", "--listen", ANYWHERE], 1, &["too long", "--dir ."]);
    refused(&place, &["status", "--dir", &long], 1, &["too long for a socket"]);
    let identity = place.at(&long).join("identity");
    let file = fs::read_dir(&identity).expect("it lists").next().expect("a file").expect("an entry").path();
    fs::write(&file, b"nonsense").expect("it is written");
    refused(&place, &["run", "--dir", &long], 1, &["identity/", "bring it back from a copy"]);
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
    // What is below the floor is not believed; what is above it may be so.
    let [not_set, ahead] = [
        ["machine's is not set", "clock is not set, it says 20"],
        ["have expired: they ended at ", "this machine's clock says 20"],
    ];
    for (shift, [in_status, told]) in [("-365d", not_set), ("+365d", ahead)] {
        let run = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE];
        let command = place.command_under(&["faketime", "-f", shift], &run);
        let diagnostics = place.at(shift);
        let mut node = Running::started(command, &diagnostics);
        let status = place.done(&["status", "--dir", "meter"]);
        let pid = fs::read_to_string(place.at("meter/lock")).expect("the node's number");
        let mut kill = Command::new("kill");
        kill.args(["-TERM", pid.trim()]);
        assert_eq!(end(kill).code, Some(0));
        node.wait();
        assert!(status.contains(in_status), "{status}");
        let diagnostics = fs::read_to_string(diagnostics).expect("diagnostics");
        assert!(diagnostics.contains(told), "{diagnostics}");
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
