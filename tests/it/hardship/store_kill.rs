//! What the store calls durable survives `kill -9`, at any moment.
//!
//! This test starts its own binary again as a child that works a store and prints what has become durable, kills it,
//! opens what is left, and checks that everything printed is there, once, and that the chain verifies; then the next
//! child goes on from there. `M2MESH_KILL_ROUNDS=1000` for a long run, `M2MESH_KILL_SEED` to repeat one.

use super::power::random::{Random, number};
use super::power::workload;

/// Invariants 1 and 3 of store.
#[test]
fn what_is_durable_survives_a_kill() {
    let rounds = number("M2MESH_KILL_ROUNDS", 10);
    let mut random = Random::from_environment("M2MESH_KILL_SEED");
    let directory = tempfile::tempdir().expect("a directory");
    let mut before = 0;
    for round in 0..rounds {
        let claimed = workload::kill_a_child(directory.path(), &[], &mut random).max(before);
        let last = workload::check(directory.path(), claimed);
        before = claimed;
        println!("round {round}: {claimed} durable, {last} there");
    }
    assert!(before > 0, "no child got as far as a durable record");
}
