//! A node that cannot go on still obeys.

use crate::support::processes::{ANYWHERE, Place, Running};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// As long as service managers and the lab wait at least.
const OBEYED: Duration = Duration::from_secs(5);

#[test]
fn a_node_of_which_every_thread_is_stuck_still_obeys() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let shim = place.at("stuck.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hardship/stuck/shim.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).arg("-ldl").status();
    assert!(compiled.expect("a C compiler").success());
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut command = place.command_hung_up(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
        command.env("LD_PRELOAD", &shim);
        let mut node = Running::started(command, &place.at("diagnostics"));
        File::create(place.at("stuck")).expect("a file");
        let told = Instant::now();
        let code = node.stop_by(signal);
        assert!(told.elapsed() < OBEYED, "{signal}: {:?}", told.elapsed());
        assert_eq!(code, Some(1), "{signal}: it says that it could not stop in good order");
        fs::remove_file(place.at("stuck")).expect("it is there");
    }
    let said = fs::read_to_string(place.at("diagnostics")).expect("diagnostics");
    assert_eq!(said.matches("stopped at once").count(), 3, "{said}");
    // What was durable is there.
    assert!(place.done(&["log", "verify", "--dir", "plant"]).starts_with("intact: "));
}
