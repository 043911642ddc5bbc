//! A receiver and its disk: nothing is acknowledged before the disk has it, also when the disk is slow, fails or is full.
//!
//! The tests that need what not every machine has, strace or the right to mount, say that they are skipped where it is
//! missing.
#![cfg(target_os = "linux")]
#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::support::limit;
use crate::support::processes::{ANYWHERE, Place, Running, end, fed};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A message that is found again in what a process wrote.
const MARKED: &str = "a message that is easily found again";

/// Invariant 1 of node.
#[test]
fn a_receipt_leaves_after_the_fsync() {
    let Some(place) = traced() else { return };
    let trace = place.at("trace");
    let file = trace.to_str().expect("UTF-8").to_owned();
    let calls = "trace=openat,fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg";
    let mut gateway = start(&place, &["strace", "-f", "-tt", "-s", "4096", "-e", calls, "-o", &file]);
    let meter = start_meter(&place);
    // The first makes the session, so that the second finds the receiver at rest.
    place.done(&["send", "gateway", "first", "--dir", "meter"]);
    place.done(&["send", "gateway", MARKED, "--dir", "meter"]);
    drop(meter);
    stop_traced(&mut gateway, &place);

    let trace = fs::read_to_string(trace).expect("a trace");
    let calls: Vec<Call> = Call::all(&trace);
    let database =
        calls.iter().find(|call| call.text.contains("/store/db\"") && call.is("openat")).expect("it is opened");
    assert!(database.result >= 0);
    // The store opens the file twice, sled to write it and the store to sync it; both may be meant.
    let files: Vec<i64> = calls
        .iter()
        .filter(|call| call.is("openat") && call.text.contains("/store/db\""))
        .map(|call| call.result)
        .collect();
    let of = |call: &Call, name: &str| call.is(name) && files.contains(&call.descriptor);
    let written = calls.iter().position(|call| of(call, "pwrite64") && call.text.contains(MARKED));
    let written = written.expect("the message is written to the store");
    let synced = calls[written..].iter().position(|call| of(call, "fdatasync") || of(call, "fsync"));
    let synced = written + synced.expect("and synced");
    assert_eq!(calls[synced].result, 0);
    let is_socket = |call: &&Call| ["sendto", "sendmsg", "writev", "write"].iter().any(|name| call.is(name));
    let link = |call: &&Call| is_socket(call) && !files.contains(&call.descriptor) && call.descriptor > 2;
    let receipt = calls[synced..].iter().find(link);
    assert!(receipt.is_some(), "something is sent once it is synced");
}

#[test]
fn a_receipt_waits_for_a_slow_disk() {
    let Some(place) = traced() else { return };
    let slow =
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=1500000"];
    let mut gateway = start(&place, &slow);
    let meter = start_meter(&place);
    place.done(&["send", "gateway", "first", "--dir", "meter"]);
    let sent = Instant::now();
    let outcome = place.done(&["send", "gateway", MARKED, "--dir", "meter", "--json"]);
    let outcome: Value = serde_json::from_str(&outcome).expect("JSON");
    assert_eq!(outcome["outcome"], "delivered");
    assert!(outcome["latency_us"].as_u64() >= Some(1_400_000), "{outcome} after {:?}", sent.elapsed());
    // What needs no disk is not held up.
    let unacknowledged = place.done(&["send", "gateway", "x", "--ack", "none", "--dir", "meter", "--json"]);
    let unacknowledged: Value = serde_json::from_str(&unacknowledged).expect("JSON");
    assert!(unacknowledged["latency_us"].as_u64() < Some(1_000_000), "{unacknowledged}");
    drop(meter);
    stop_traced(&mut gateway, &place);
}

#[test]
fn nothing_is_acknowledged_while_the_fsync_fails() {
    let Some(place) = traced() else { return };
    // The first ten are those of the start; then a while of errors, after which the disk works again.
    let failing =
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=4..12"];
    let mut gateway = start(&place, &failing);
    let meter = start_meter(&place);
    let mut outcomes = Vec::new();
    for number in 0..6 {
        let number = number.to_string();
        let ended = place.run(&["send", "gateway", &number, "--deadline", "30s", "--dir", "meter", "--json"]);
        let outcome: Value = serde_json::from_str(&ended.out).expect("JSON");
        outcomes.push((number, outcome["outcome"].as_str().expect("an outcome").to_owned()));
    }
    place.logged("store-recovered");
    assert!(place.done(&["log", "--kind", "store-failed", "--dir", "plant"]).contains("Input/output error"));
    let there = place.done(&["receive", "--dir", "plant"]);
    for (number, outcome) in outcomes {
        let times = there.lines().filter(|line| *line == number).count();
        assert!(
            times <= 1 && (times == 1 || outcome != "delivered"),
            "message {number}: {outcome}, {times} times there"
        );
    }
    drop(meter);
    stop_traced(&mut gateway, &place);
}

/// Standard error is often a file on the disk that is full. What cannot be logged is lost, and nothing else.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let place = Place::new();
    place.pair();
    let mut gateway = start(&place, &["sh", "-c", "exec \"$@\" --log debug 2> /dev/full", "sh"]);
    let meter = start_meter(&place);
    place.done(&["send", "gateway", "hello", "--dir", "meter"]);
    assert_eq!(place.done(&["receive", "--count", "1", "--dir", "plant"]), "hello");
    drop(meter);
    assert_eq!(gateway.stop(), Some(0));
}

/// Invariant 2 of node.
#[test]
fn a_full_disk_is_said_and_survived() {
    let place = Place::new();
    place.pair();
    let Some(_disk) = Mounted::over(&place.at("plant")) else { return };
    let gateway = start(&place, &[]);
    let _meter = start_meter(&place);
    place.done(&["send", "gateway", "before", "--dir", "meter"]);

    fill(&place.at("plant/filler"));
    let mut delivered = vec!["before".to_owned()];
    let large = "x".repeat(50_000);
    let mut outcomes = Vec::new();
    let mut send = |number: u32, deadline: &str| {
        let message = format!("{number} {large}");
        let command = place.command(&["send", "gateway", "-", "--deadline", deadline, "--dir", "meter", "--json"]);
        let output = limit::output(fed(command, message.as_bytes()), "a sender");
        let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let word = outcome["outcome"].as_str().expect("an outcome").to_owned();
        if word == "delivered" {
            delivered.push(message);
        }
        outcomes.push((word.clone(), outcome["reason"].as_str().unwrap_or_default().to_owned(), output.status.code()));
        word
    };
    // Some may still find room in what the store has already.
    let refused = (0..60).map(|number| send(number, "2s")).find(|word| word != "delivered").expect("the disk is full");
    assert!(["expired", "refused"].contains(&refused.as_str()), "{refused}");
    send(100, "2s");
    send(101, "2s");
    // As much as may wait for the disk, and more: what needs no disk is answered, the rest is refused and does not hang.
    let flood = format!("{large}\n").repeat(60);
    let refused = (0..10).find_map(|_| {
        let command = place.command(&["send", "gateway", "--lines", "--deadline", "4s", "--dir", "meter"]);
        let flooded = limit::output(fed(command, flood.as_bytes()), "a sender");
        let summary = String::from_utf8_lossy(&flooded.stdout).into_owned();
        assert!(flooded.status.code() == Some(2) && !summary.contains("delivered"), "{summary}");
        Some(place.run(&["send", "meter", "x", "--dir", "plant"])).filter(|ended| ended.code != Some(0))
    });
    let refused = refused.expect("at some time no more can wait");
    assert!(refused.code == Some(1) && refused.said.contains("the disk takes no writes"), "{refused:?}");
    let status = place.done(&["status", "--dir", "plant"]);
    assert!(status.contains("takes no writes"), "{status}");
    // What can be answered from memory or read from the disk is.
    for question in [
        &["links"][..],
        &["routes"],
        &["route", "meter"],
        &["peers"],
        &["contacts"],
        &["receive", "--keep"],
        &["receive", "--count", "1", "--keep"],
        &["log"],
        &["log", "verify"],
    ] {
        let ended = end(place.command_under(&["timeout", "30"], &[question, &["--dir", "plant"]].concat()));
        assert_eq!(ended.code, Some(0), "{question:?}: {ended:?}");
        assert!(question[0] != "receive" || ended.out.starts_with("before"), "{question:?}: {ended:?}");
    }
    let status: Value = serde_json::from_str(&place.done(&["status", "--dir", "plant", "--json"])).expect("JSON");
    assert!(status["store_failure"].as_str().is_some_and(|reason| reason.contains("space")), "{status}");

    fs::remove_file(place.at("plant/filler")).expect("it is removed");
    place.logged("store-recovered");
    assert!(place.done(&["log", "--kind", "store-failed", "--dir", "plant"]).contains("store-failed"));
    assert_eq!(send(200, "30s"), "delivered");
    let status: Value = serde_json::from_str(&place.done(&["status", "--dir", "plant", "--json"])).expect("JSON");
    assert!(status["store_failure"].is_null(), "{status}");
    for (word, reason, code) in &outcomes {
        let expected = if word == "delivered" { Some(0) } else { Some(2) };
        assert!(*code == expected && (word == "delivered" || !reason.is_empty()), "{word}, {reason}, {code:?}");
    }
    let there = place.done(&["receive", "--dir", "plant"]);
    let there: Vec<&str> = there.lines().collect();
    for message in &delivered {
        let times = there.iter().filter(|line| **line == message.as_str()).count();
        assert_eq!(times, 1, "{} was delivered", &message[..message.len().min(10)]);
    }
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact"));
    drop(gateway);
}

#[test]
fn a_disk_that_cannot_be_written_can_be_looked_at() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let Some(_disk) = Mounted::over(&place.at("plant")) else { return };
    let mut gateway = start(&place, &[]);
    let pid = fs::read_to_string(place.at("plant/lock")).expect("the node's number");
    let mut kill = Command::new("kill");
    kill.args(["-TERM", pid.trim()]);
    assert_eq!(end(kill).code, Some(0));
    gateway.wait();
    let mut mount = Command::new("mount");
    mount.args(["-o", "remount,ro"]).arg(place.at("plant"));
    assert_eq!(end(mount).code, Some(0));
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact: 3 records"));
    assert!(place.done(&["log", "--dir", "plant"]).contains(" started "));
    let run = place.run(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
    assert!(run.code == Some(1) && run.said.contains("mount that disk for writing"), "{run:?}");
}

/// The receiver, under another program if one is named.
fn start(place: &Place, under: &[&str]) -> Running {
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE];
    let command = if under.is_empty() { place.command(&run) } else { place.command_under(under, &run) };
    let node = Running::started(command, &place.at("diagnostics"));
    fs::write(place.at("address"), node.address()).expect("written");
    node
}

fn start_meter(place: &Place) -> Running {
    let address = fs::read_to_string(place.at("address")).expect("the receiver runs");
    place.start(&["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", &address])
}

/// A pair of nodes, if there is an strace that may trace; says so if not.
fn traced() -> Option<Place> {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => {
            let place = Place::new();
            place.pair();
            Some(place)
        }
        Ok(output) => {
            println!("SKIPPED: strace may not trace here: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("SKIPPED: strace does not run: {error}; install it to check the order of fsync and receipt");
            None
        }
    }
}

/// strace hands its signals on to nobody: the node itself is told to stop, and strace ends with it.
fn stop_traced(tracer: &mut Running, place: &Place) {
    let pid = fs::read_to_string(place.at("plant/lock")).expect("the node's number");
    let mut kill = Command::new("kill");
    kill.args(["-TERM", pid.trim()]);
    assert_eq!(end(kill).code, Some(0));
    tracer.wait();
}

/// Fills the disk that a file is on.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("it is made");
    while file.write_all(&[0x5a; 4_096]).is_ok() {}
}

/// A small disk in memory, mounted over a directory whose content it takes over; unmounted at the end.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn over(at: &Path) -> Option<Self> {
        let beside = at.with_extension("moved");
        fs::rename(at, &beside).expect("it is moved");
        fs::create_dir(at).expect("it is made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"]).arg(at);
        let ended = mount.output();
        if !ended.as_ref().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: nothing can be mounted here; as root this test fills a disk: {ended:?}");
            return None;
        }
        let mounted = Self { at: at.to_owned() };
        let copied = Command::new("cp").arg("-a").arg(beside.join(".")).arg(at).status().expect("cp runs");
        assert!(copied.success());
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a node that a failed test has left may have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A system call, where it ended.
struct Call<'a> {
    name: &'a str,
    descriptor: i64,
    result: i64,
    /// All of it, from its name on.
    text: String,
}

impl<'a> Call<'a> {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// In the order of their ends. A call during which another thread made one is in two parts.
    fn all(trace: &'a str) -> Vec<Self> {
        let mut begun: Vec<(&str, &str)> = Vec::new();
        let mut calls = Vec::new();
        for line in trace.lines() {
            // Numbers of processes are filled up with spaces where they are short.
            let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
            let Some((_time, rest)) = rest.trim_start().split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
                begun.push((pid, first));
                continue;
            }
            let text = match rest.strip_prefix("<... ") {
                None => rest.to_owned(),
                Some(resumed) => {
                    let Some(at) = begun.iter().position(|(of, _)| *of == pid) else { continue };
                    let tail = resumed.split_once("resumed>").map_or("", |(_, tail)| tail);
                    format!("{}{tail}", begun.remove(at).1)
                }
            };
            let name = rest.trim_start_matches("<... ").split(['(', ' ']).next().unwrap_or_default();
            let number = |text: &str| {
                let digits =
                    text.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect::<String>();
                digits.parse().unwrap_or(-1)
            };
            let descriptor = text.split_once('(').map_or(-1, |(_, arguments)| number(arguments));
            let result = text.rsplit_once(" = ").map_or(-1, |(_, result)| number(result));
            calls.push(Self { name, descriptor, result, text });
        }
        calls
    }
}
