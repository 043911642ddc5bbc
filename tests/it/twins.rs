//! A device's directory that was copied and runs twice: both processes and their neighbours say so, links do not come and
//! go for it, and what is sent arrives.

use crate::support::processes::{ANYWHERE, Running, done};
use std::path::Path;
use std::time::{Duration, Instant};

/// Copies a directory tree.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().expect("a kind").is_file() {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn json(arguments: &[&str], at: &Path) -> serde_json::Value {
    serde_json::from_str(&done(arguments, at)).expect("JSON")
}

fn twins(directory: &str, at: &Path) -> Vec<String> {
    let status = json(&["status", "--json", "--dir", directory], at);
    let lines = status["twins"].as_array().expect("a list").iter();
    lines.map(|line| line.as_str().expect("a text").to_owned()).collect()
}

/// How often links have gone down.
fn downs(directory: &str, at: &Path) -> usize {
    done(&["log", "--kind", "link-down", "--dir", directory], at).lines().count()
}

/// gateway, pump and meter, and a copy of the meter, each started from a configuration of its own.
fn run_twice(anonymity: Option<&str>) {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE], at);
    for name in ["pump", "meter"] {
        let ticket = done(&["realm", "invite", "plant", "--name", name, "--contact", "all"], at);
        done(&["join", &ticket, "--dir", name], at);
    }
    if let Some(anonymity) = anonymity {
        std::fs::write(at.join("meter/config.toml"), format!("anonymity = \"{anonymity}\"\n")).expect("settings");
    }
    let of_gateway = gateway.address().to_owned();
    let start = |name: &str, others: &[&str]| {
        let bootstrap = others.iter().flat_map(|address| ["--bootstrap", *address]);
        let arguments = ["run", "--dir", name, "--no-mdns", "--listen", ANYWHERE].into_iter().chain(bootstrap);
        Running::start(&arguments.collect::<Vec<_>>(), at)
    };
    let pump = start("pump", &[&of_gateway]);
    let of_pump = pump.address().to_owned();
    // The copy is made while the device is off, as from a backup or a card.
    copy(&at.join("meter"), &at.join("copy"));
    let _meter = start("meter", &[&of_gateway, &of_pump]);
    done(&["send", "gateway", "the first", "--dir", "meter"], at);
    let _copy = start("copy", &[&of_gateway, &of_pump]);
    let everywhere = ["plant", "pump", "meter", "copy"];
    let until = Instant::now() + Duration::from_secs(60);
    while everywhere.iter().any(|directory| twins(directory, at).is_empty()) {
        let said: Vec<_> = everywhere.iter().map(|directory| (directory, twins(directory, at))).collect();
        assert!(Instant::now() < until, "not all have seen it: {said:?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    for directory in everywhere {
        let said = twins(directory, at);
        let own = ["meter", "copy"].contains(&directory);
        // The pump need not know it by its name.
        let expected = if own { "this device runs here and at /ip4" } else { " runs at /ip4" };
        assert!(said.len() == 1 && said[0].contains(expected), "{directory}: {said:?}");
        assert!(done(&["status", "--dir", directory], at).contains("two copies"), "{directory}");
        assert!(done(&["log", "--kind", "twins", "--dir", directory], at).contains("two copies of"), "{directory}");
    }
    // Nobody dials again and again. The one that came last is the one that is talked to.
    let before: Vec<usize> = everywhere.iter().map(|directory| downs(directory, at)).collect();
    for (from, number) in [("copy", 1), ("pump", 2)].into_iter().cycle().take(12) {
        done(&["send", "gateway", &format!("reading {number}"), "--dir", from, "--deadline", "60s"], at);
        std::thread::park_timeout(Duration::from_secs(1));
    }
    let after: Vec<usize> = everywhere.iter().map(|directory| downs(directory, at)).collect();
    assert_eq!(before, after, "links have gone down at {everywhere:?}");
    // What is sent to the device reaches one of the two.
    done(&["send", "meter", "which", "--dir", "plant", "--deadline", "60s"], at);
    assert_eq!(done(&["receive", "--count", "1", "--dir", "copy"], at), "which");
}

#[test]
fn a_copied_directory_that_runs_twice_is_told_everywhere_and_links_stay() {
    run_twice(None);
}

#[test]
fn so_it_is_where_the_device_changes_its_pseudonym_with_every_epoch() {
    run_twice(Some("rotating"));
}
