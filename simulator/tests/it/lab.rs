//! Scenarios played by real processes: three nodes on loopback, for seconds.
//!
//! The node's program is beside the simulator's, where `cargo test --workspace` and `cargo build` put it.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A line of three devices, whose ends send messages to each other; one link is silent for a while.
const LINE: &str = r#"
question = "Do three processes do what three simulated devices do?"
warmup = "500ms"
duration = "2s"
settle = "2s"
expect = [
    "delivered == 1",
    "confirmed == 1",
    "duplicates == 0",
    "hops.mean[flow=across] == 2",
    "latency.p50[flow=across] >= 30ms",
    "latency.p50[flow=across] <= 20ms",
    "publications.untold == 0",
    "bytes.total <= 1MB",
]
[bearers.lan]
delay = "15ms"
[devices.end]
count = 2
[devices.middle]
[[links]]
kind = "hub"
hub = "middle"
[[traffic]]
name = "across"
kind = "send"
from = "end"
to = "end"
every = "100ms"
[[traffic]]
name = "asked"
kind = "request"
from = "end"
to = "middle"
every = "500ms"
[[traffic]]
name = "news"
kind = "publish"
topic = "plant/news"
from = "middle"
every = "500ms"
deadline = "1s"
[[faults]]
name = "silent"
kind = "cut"
links = [["end-1", "middle-1"]]
silent = true
at = "500ms"
for = "600ms"
"#;

fn lab(scenario: &str, place: &Path, more: &[&str]) -> Command {
    let node = Path::new(env!("CARGO_BIN_EXE_m2mesh-sim")).with_file_name("m2mesh");
    assert!(node.exists(), "{} is not built: `cargo build` does", node.display());
    let file = place.join("three.toml");
    std::fs::write(&file, scenario).expect("it is written");
    let scratch = place.join("scratch");
    std::fs::create_dir_all(&scratch).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.arg("lab").arg(file).args(more).env("TMPDIR", scratch).stdin(Stdio::null());
    command
}

#[track_caller]
fn told(output: &Output, code: i32) -> String {
    let [out, complaint] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{complaint}");
    out
}

/// Returns the number of files that a lab has left behind.
fn left(place: &Path) -> usize {
    std::fs::read_dir(place.join("scratch")).expect("a directory").count()
}

#[test]
fn three_processes_are_judged_as_three_simulated_devices_are() {
    let place = tempfile::tempdir().expect("a directory");
    let output = lab(LINE, place.path(), &["--json"]).output().expect("the simulator starts");
    let lab: Value = serde_json::from_str(&told(&output, 2)).expect("one JSON object");
    let verdicts = lab["expectations"].as_array().expect("expectations");
    let missed: Vec<&str> =
        verdicts.iter().filter(|one| one["held"] != true).filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(missed, ["latency.p50[flow=across] <= 20ms"], "{lab}");
    assert_eq!(verdicts.len(), 7);
    assert_eq!(lab["not_measured"], serde_json::json!(["bytes.total <= 1MB"]));
    assert_eq!((&lab["answer"], &lab["left_out"]), (&"does not hold".into(), &serde_json::json!([])));
    let metric = |name: &str| lab["metrics"][name].as_f64().unwrap_or_else(|| panic!("{name} in {lab}"));
    // Twenty messages of each end, the first at a random time.
    assert!((38.0..=42.0).contains(&metric("sent[flow=across]")), "{}", lab["metrics"]);
    assert!(metric("delivered.count[flow=asked]") > 0.0 && metric("publications.owed") > 0.0, "{}", lab["metrics"]);
    for name in ["at-most-once", "nothing-lost", "unaltered", "one-outcome", "in-time", "logs-verify", "faults-strike"]
    {
        let check = lab["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name).expect(name);
        assert!(check["looked"].as_u64() > Some(0) && check["violated"] == 0, "{check}");
    }
    assert_eq!(left(place.path()), 0);
}

/// Invariant 2 of lab.
#[test]
fn what_is_expected_holds_as_far_as_a_lab_measures_it_and_what_it_cannot_do_is_left_out_only_when_asked() {
    let place = tempfile::tempdir().expect("a directory");
    let battery = LINE.replace("[devices.end]", "[devices.end]\nbattery = \"20kJ\"");
    let short = ["--set", "expect=[\"delivered == 1\", \"energy.total <= 1J\"]", "--set", "faults=[]", "--for", "1s"];
    // There is no program that could be started.
    let nothing = [&short[..], &["--m2mesh", "/no/such/program"]].concat();
    let refused = lab(&battery, place.path(), &nothing).output().expect("the simulator starts");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(told(&refused, 1), "");
    assert!(complaint.contains("end-1, end-2 have batteries") && complaint.contains("--leave-out"), "{complaint}");
    let without = lab(&battery, place.path(), &[&nothing[..], &["--leave-out"]].concat()).output().expect("it starts");
    let complaint = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(told(&without, 1).is_empty() && complaint.contains("/no/such/program does not start"), "{complaint}");
    let played = lab(&battery, place.path(), &[&short[..], &["--leave-out"]].concat()).output().expect("it starts");
    let people = told(&played, 0);
    for words in [
        "answer    holds, as far as it was measured",
        "unknown   energy.total <= 1J: a lab does not measure that",
        "left out  end-1, end-2 have batteries; without it, they never run out",
    ] {
        assert!(people.contains(words), "{words} in {people}");
    }
    assert_eq!(left(place.path()), 0);
}

/// Invariant 1 of lab.
#[test]
fn a_lab_that_is_stopped_leaves_nothing_running() {
    let place = tempfile::tempdir().expect("a directory");
    let pipe = place.path().join("events");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    // Open for reading and writing, so that opening does not wait for a writer and reading does not end.
    let mut events = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let busy = ["--set", "duration=10m", "--set", "faults=[]", "--set", "traffic.across.every=2ms"];
    let mut command = lab(LINE, place.path(), &[&busy[..], &["--events", pipe.to_str().expect("UTF-8")]].concat());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the simulator starts");
    let mut first = [0; 4_096];
    events.read_exact(&mut first).expect("events, so the nodes run and messages are under way");
    assert!(running(place.path()) >= 3);
    let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(stop.expect("kill").success());
    // The pipe is read, so that further writes do not block.
    let reader = std::thread::spawn(move || while events.read(&mut first).is_ok_and(|count| count > 0) {});
    let output = child.wait_with_output().expect("it ends");
    told(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped before its end"));
    assert_eq!((running(place.path()), left(place.path())), (0, 0));
    // The thread waits for more, and ends with this process.
    drop(reader);
}

/// Returns the number of processes whose command lines name a place.
fn running(place: &Path) -> usize {
    let place = place.join("scratch").to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&place)).count()
}
