//! What the store calls durable survives a loss of power, which takes from the disk what was not synced.
//!
//! A child works a store under a shim (`power/shim.c`) that journals every change of every file and every fsync. It is
//! killed at a random moment; from the journal is made what a disk may have kept (`power/disk.rs`), which is opened and
//! checked, and the next child goes on from there. Nothing may be missing of what was durable, and nothing may be taken for
//! damaged: what was torn is no loss. `M2MESH_POWER_ROUNDS=50` children, each with `M2MESH_POWER_LOSSES=20` losses, for a
//! long run, `M2MESH_POWER_SEED` to repeat what is drawn; when a child dies is up to the machine. With
//! `M2MESH_POWER_KEEP=DIR` what fails is kept there.
#![cfg(target_os = "linux")]

use super::power::disk::{Disk, Luck};
use super::power::random::{Random, number};
use super::power::{shim, workload};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// Invariants 1, 2 and 3 of store.
/// Invariants 1 and 5 of store::sled.
/// Invariants 1 and 2 of store::sled::packs.
/// Invariant 1 of store::sled::witness.
#[test]
fn what_is_durable_survives_a_loss_of_power() {
    let place = tempfile::tempdir().expect("a directory");
    let Some(shim) = shim(place.path()) else { return };
    let mut random = Random::from_environment("M2MESH_POWER_SEED");
    let mut directory = place.path().join("start");
    fs::create_dir(&directory).expect("it is made");
    let (mut before, mut losses) = (0, 0);
    for round in 0..number("M2MESH_POWER_ROUNDS", 5) {
        let mut disk = Disk::read(&directory);
        let journal = place.path().join("journal");
        let environment =
            [("LD_PRELOAD", shim.clone()), ("POWER_DIRECTORY", directory.clone()), ("POWER_JOURNAL", journal.clone())];
        let claimed = workload::kill_a_child(&directory, &environment, &mut random).max(before);
        // One that died before it had begun has changed nothing.
        if journal.exists() {
            disk.replay(&fs::read(&journal).expect("a journal"));
            fs::remove_file(&journal).expect("it is removed");
        }
        // The same moment several times, with different luck.
        let mut next = None;
        for loss in 0..number("M2MESH_POWER_LOSSES", 4) {
            let left = place.path().join(format!("round-{round}-{loss}"));
            let luck = Luck::draw(&mut random);
            disk.lose_power(luck, &left, &mut random);
            keep(&left, "before");
            let checked = catch_unwind(AssertUnwindSafe(|| workload::check(&left, claimed)));
            let last = checked.unwrap_or_else(|_| panic!("round {round}, {claimed} durable, {luck:?}: see above"));
            losses += 1;
            println!("round {round}: {claimed} durable, {last} there after {luck:?}");
            match &next {
                None => next = Some((left, last)),
                Some(_) => fs::remove_dir_all(left).expect("it is removed"),
            }
        }
        fs::remove_dir_all(&directory).expect("it is removed");
        (directory, before) = next.expect("a loss");
    }
    println!("{losses} losses of power, nothing lost and no false alarm");
    assert!(before > 0, "no child got as far as a durable record");
}

/// Keeps what is about to be opened, for whoever looks into a failure.
fn keep(left: &Path, when: &str) {
    let Some(place) = std::env::var_os("M2MESH_POWER_KEEP") else { return };
    let copy = Path::new(&place).join(when);
    let _ = fs::remove_dir_all(&copy);
    let copied = Command::new("cp").arg("-a").args([left, &copy]).status().expect("cp runs");
    assert!(copied.success());
}
