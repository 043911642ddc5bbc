//! README as a user reads it: its commands are run against a lab, its settings loaded, its program compiled and run, and
//! what they print is compared with what stands there.
//!
//! What varies from run to run is compared by its form: numbers, times with their units, hexadecimal ids. A line `…` stands
//! for any lines, and `…` at the end of a line for the rest of it. Commands that build are not run. Those of the simulator
//! are run by the test of that name there.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

use crate::support::alone::is_alone;
use crate::support::console::{Session, blocks};
use crate::support::processes::{PROGRAM, Running, m2mesh};
use m2mesh::config::Config;
use m2mesh::{EpochLength, Name, Node, Outcome, realm};
use std::fs;

const README: &str = include_str!("../../README.md");

#[test]
fn what_the_first_five_minutes_print_is_what_stands_there() {
    let place = tempfile::tempdir().unwrap();
    let run: Vec<_> = blocks(README, "console").filter(|block| block.section == "Start").collect();
    let line = run[0].text.lines().find(|line| line.contains("lab --nodes")).unwrap();
    let (_, arguments) = line.split('#').next().unwrap().split_once(" -- ").unwrap();
    let state = place.path().join("state");
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut lab = m2mesh(&arguments, place.path());
    lab.env("XDG_STATE_HOME", &state);
    let mut lab = Running::started(lab, &place.path().join("diagnostics"));
    let mut session = Session::new(PROGRAM, place.path(), &state);
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
    assert_eq!(lab.stop_by("-INT"), Some(0));
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
    // The program names its directory as one would, from the directory of its process.
    let place = tempfile::tempdir().unwrap();
    if !is_alone("readme::its_program_does_what_it_says", place.path()) {
        return;
    }
    let at = |name: &str| std::env::current_dir().unwrap().join(name);
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
    let outcome = program().await.unwrap();
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    meter.stop().await;
}
