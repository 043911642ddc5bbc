//! What is in a node's memory does not get out of it by a core dump or by another process of the same user.
#![cfg(target_os = "linux")]

use crate::support::processes::{ANYWHERE, PROGRAM, Place, Running};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Any user but root, of whose processes root owns what others must not read.
const NOBODY: u32 = 65_534;

#[test]
fn nobody_reads_the_memory_of_a_node() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let root = fs::metadata("/proc/self").expect("this process").uid() == 0;
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE];
    let command = if root {
        // The program where that user finds it.
        let program = place.at("program");
        // By another process: one that this one forks meanwhile may not have the program open for writing when it is to run.
        assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().expect("cp runs").success());
        hand_over(place.path());
        let mut command = Command::new(program);
        command.args(run).current_dir(place.path()).uid(NOBODY).gid(NOBODY);
        command
    } else {
        place.command(&run)
    };
    let node = Running::started(command, &place.at("diagnostics"));
    let pid = fs::read_to_string(place.at("plant/lock")).expect("the node's number");
    let of = |file: &str| Path::new("/proc").join(pid.trim()).join(file);
    let limits = fs::read_to_string(of("limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // The kernel gives the files of a process that may not be dumped to root.
    assert_eq!(fs::metadata(of("mem")).expect("its memory").uid(), 0);
    drop(node);
}

fn hand_over(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    if path.is_dir() {
        fs::read_dir(path).expect("it lists").for_each(|entry| hand_over(&entry.expect("an entry").path()));
    }
}
