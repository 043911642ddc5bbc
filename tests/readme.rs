//! README as a user reads it: its commands are run against a lab, its settings loaded, its program compiled and run, and
//! what they print is compared with what stands there.
//!
//! What varies from run to run is compared by its form: numbers, times with their units, hexadecimal ids. A line `…` stands
//! for any lines, and `…` at the end of a line for the rest of it. Commands that build are not run. Those of the simulator
//! are run by the test of that name there.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

#[path = "readme/console.rs"]
mod console;
#[path = "support/processes.rs"]
mod processes;

use console::{Session, blocks};
use m2mesh::config::Config;
use m2mesh::{EpochLength, Name, Node, Outcome, realm};
use processes::Running;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");

#[test]
fn what_the_first_five_minutes_print_is_what_stands_there() {
    let place = tempfile::tempdir().unwrap();
    let run: Vec<_> = blocks(README, "console").filter(|block| block.section == "Start").collect();
    let line = run[0].text.lines().find(|line| line.contains("lab --nodes")).unwrap();
    let (_, arguments) = line.split('#').next().unwrap().split_once(" -- ").unwrap();
    let state = place.path().join("state");
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let lab = Running::start_with(&arguments, place.path(), |command| {
        command.env("XDG_STATE_HOME", &state);
    });
    let mut session = Session::new(env!("CARGO_BIN_EXE_m2mesh"), place.path(), &state);
    for block in blocks(README, "console").filter(|block| block.section == "Five minutes") {
        session.run(&block.text);
    }
    // The table of files names all that lies in a node's directory.
    let table: Vec<&str> = README.lines().filter(|line| line.starts_with("| `")).collect();
    let names = fs::read_dir(state.join("m2mesh/lab/node-1")).unwrap().map(|entry| entry.unwrap().file_name());
    let missing = names.map(|name| name.into_string().unwrap()).filter(|name| {
        let written = [format!("`{name}`"), format!("`{name}/`")];
        let names =
            |row: &str| row.split(" | ").next().is_some_and(|cell| written.iter().any(|name| cell.contains(name)));
        !table.iter().any(|row| names(row))
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new(), "in no row of README's table of files");
    lab.interrupt();
}

#[test]
fn its_settings_are_settings() {
    let mut found = 0;
    for block in blocks(README, "toml") {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("config.toml"), &block.text).unwrap();
        let config = Config::load(place.path(), None);
        assert!(config.is_ok(), "{}: {config:?}", block.section);
        found += 1;
    }
    assert!(found > 0);
}

/// README's program, line for line.
#[rustfmt::skip]
async fn program() -> Result<Outcome, Box<dyn std::error::Error>> {
    use m2mesh::{Message, Name, Node};

    let node = Node::builder("plant").start().await?;
    let outcome = node.send(Message::new(Name::new("meter-17")?, "open valve")).await?;
    node.stop().await;
    Ok(outcome)
}

#[tokio::test]
async fn its_program_does_what_it_says() {
    let own: Vec<&str> = include_str!("readme.rs").lines().map(str::trim).collect();
    for block in blocks(README, "rust") {
        let lines: Vec<&str> = block.text.lines().map(str::trim).collect();
        assert!(own.windows(lines.len()).any(|part| part == lines), "not compiled here:\n{}", block.text);
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let devices = [("gateway", at("plant")), ("meter-17", at("meter"))];
    let devices = devices.map(|(name, directory)| (Name::new(name).unwrap(), directory));
    for (_, directory) in &devices {
        fs::create_dir(directory).unwrap();
    }
    realm::found(&devices, EpochLength::HOUR).unwrap();
    let meter = Node::builder(at("meter")).listen("/ip4/127.0.0.1/tcp/0").mdns(false).start().await.unwrap();
    let bootstrap = &meter.listen()[0];
    let config = format!("[net]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = [\"{bootstrap}\"]\nmdns = false\n");
    fs::write(at("plant").join("config.toml"), config).unwrap();
    // The program names its directory as one would; nothing else here does.
    std::env::set_current_dir(place.path()).unwrap();
    let outcome = program().await.unwrap();
    std::env::set_current_dir(Path::new("/")).unwrap();
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    meter.stop().await;
}
