//! A node that is told to stop loses no more than one that is killed: what is under way has no outcome yet.

use crate::support::limit;
use crate::support::processes::{ANYWHERE, Place, Running, fed};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Child;
use std::time::Instant;

#[test]
fn what_is_under_way_while_a_node_is_stopped_is_told_by_the_next() {
    let place = Place::new();
    place.pair();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let run = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", &listen];
    let start = || Running::started(place.command_hung_up(&run), &place.at("diagnostics"));
    let mut meter = start();
    // Nobody is there to take them yet.
    let one = sends(&place, &["one"], b"");
    let lines = sends(&place, &["--lines"], b"two\nthree\nfour\n");
    wait_for_outgoing(&place, 4);
    for signal in ["-TERM", "-HUP"] {
        assert_eq!(meter.stop_by(signal), Some(0), "{signal}");
        meter = start();
        wait_for_outgoing(&place, 4);
    }
    let _gateway = place.start(&["run", "--dir", "plant", "--no-mdns", "--listen", &listen]);
    for (sending, expected) in [(one, 1), (lines, 3)] {
        let output = limit::output(sending, "a sender");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let outcomes = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let words: Vec<String> = outcomes.filter_map(|line| line["outcome"].as_str().map(str::to_owned)).collect();
        assert_eq!(words, vec!["delivered"; expected], "{text}");
    }
    let mut there: Vec<String> = place.done(&["receive", "--dir", "plant"]).lines().map(str::to_owned).collect();
    there.sort();
    assert_eq!(there, ["four", "one", "three", "two"]);
}

fn sends(place: &Place, what: &[&str], input: &[u8]) -> Child {
    let arguments = [&["send", "gateway", "--json", "--deadline", "120s", "--dir", "meter"], what].concat();
    fed(place.command(&arguments), input)
}

/// Until the node of `meter` has that many messages on their way.
fn wait_for_outgoing(place: &Place, count: u64) {
    let since = Instant::now();
    loop {
        let ended = place.run(&["status", "--dir", "meter", "--json"]);
        let status: Value = serde_json::from_str(&ended.out).unwrap_or_default();
        if status["outgoing"].as_u64() == Some(count) {
            return;
        }
        assert!(since.elapsed() < limit::LIMIT, "{count} messages are not under way: {ended:?}");
        std::thread::yield_now();
    }
}
