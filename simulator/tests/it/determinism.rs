//! The same scenario, settings and seed give the same run: every byte on every wire, and so the same summary.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use std::process::{Child, Command, Output, Stdio};

/// Starts a small run with crashes, a partition and losses.
fn start(seed: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"))
        .args(["run", "partition-heal", "--json", "--seed", &seed.to_string()])
        .args(["--set", "devices.node.count=12", "--set", "duration=60s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator starts")
}

/// Returns the parts of the output that are the same from run to run: all but the resources of the computation.
fn summary(output: &Output) -> serde_json::Value {
    let mut told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    told.as_object_mut().expect("an object").remove("performance");
    told
}

/// Invariant 1 of plan.
/// Invariant 1 of scenario::planning.
/// Invariants 1 and 2 of world.
#[test]
fn runs_with_one_seed_are_the_same_beside_each_other_and_another_seed_differs() {
    // Three at once on two cores, so that one of them always waits.
    let same: Vec<Child> = (0..3).map(|_| start(7)).collect();
    let other = start(8);
    let same: Vec<_> =
        same.into_iter().map(|run| summary(&run.wait_with_output().expect("the simulator ends"))).collect();
    let other = summary(&other.wait_with_output().expect("the simulator ends"));
    assert!(same[0]["trace"].is_string(), "{:?}", same[0]);
    assert_eq!(same[0], same[1]);
    assert_eq!(same[0], same[2]);
    assert_ne!(same[0]["trace"], other["trace"]);
}
