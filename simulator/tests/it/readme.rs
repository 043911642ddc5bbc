//! README's commands of the simulator, run as they are printed there, except for the size of the simulation; their output
//! is compared with the printed output, as far as it does not vary.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

#[path = "../../../tests/it/support/console.rs"]
mod console;

use console::{Session, blocks};

const README: &str = include_str!("../../../README.md");
/// The settings that make the run shown there small.
const SMALL: &str = "--set devices.node.count=14 --set faults.0.for=2m --set duration=6m";

#[test]
fn what_the_commands_of_the_simulator_print_is_what_stands_there() {
    let place = tempfile::tempdir().unwrap();
    let mut session = Session::new(env!("CARGO_BIN_EXE_m2mesh-sim"), place.path(), place.path());
    let mut runs = 0;
    for block in blocks(README, "console").filter(|block| block.section.starts_with("Plan a mesh")) {
        let lines = block.text.lines().filter(|line| !line.starts_with("$ cargo "));
        let text: Vec<String> = lines.map(|line| line.replace(" --seed 3", &format!(" --seed 3 {SMALL}"))).collect();
        runs += text.iter().filter(|line| line.starts_with("$ ")).count();
        session.run(&text.join("\n"));
    }
    assert!(runs > 3, "README has the commands");
}
