//! Console blocks of a document: commands with what they print, run one after the other in one shell's place.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A fenced block.
pub struct Block {
    /// The last heading before it.
    pub section: String,
    pub text: String,
}

/// Blocks of a language, in order.
pub fn blocks<'a>(document: &'a str, language: &'a str) -> impl Iterator<Item = Block> + 'a {
    let mut lines = document.lines();
    let mut section = String::new();
    std::iter::from_fn(move || {
        while let Some(line) = lines.next() {
            if let Some(heading) = line.strip_prefix("## ") {
                heading.clone_into(&mut section);
            }
            if let Some(named) = line.strip_prefix("```").filter(|named| !named.is_empty()) {
                let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                if named == language {
                    return Some(Block { section: section.clone(), text: text.join("\n") });
                }
            }
        }
        None
    })
}

/// A command with what is to be printed.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let command = command.split("   #").next().unwrap_or_default().split("  #").next().unwrap_or_default();
                steps.push(Step { command: command.trim().to_owned(), expected: Vec::new() });
            }
            None if line.is_empty() || line.starts_with('#') => {}
            None => steps.last_mut().expect("a command comes first").expected.push(line.to_owned()),
        }
    }
    steps
}

/// A terminal: what runs in its background goes on, and is ended with it.
pub struct Session {
    /// Whose directory is looked in for programs first.
    program: PathBuf,
    place: PathBuf,
    state: PathBuf,
    background: Vec<Child>,
    /// Lines that those in the background print, as they come.
    heard: Receiver<String>,
    tell: SyncSender<String>,
}

impl Session {
    /// With the program of `program` at hand, in the directory `place`; programs keep what they keep below `state`.
    pub fn new(program: &str, place: &Path, state: &Path) -> Self {
        let (tell, heard) = sync_channel(1_000);
        let program = PathBuf::from(program);
        Self { program, place: place.to_owned(), state: state.to_owned(), background: Vec::new(), heard, tell }
    }

    fn shell(&self, command: &str) -> Command {
        let program = self.program.parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(&self.place)
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("XDG_STATE_HOME", &self.state)
            .env_remove("M2MESH_DIR");
        shell
    }

    /// Runs each command of a block, and compares.
    pub fn run(&mut self, block: &str) {
        for Step { command, expected } in steps(block) {
            if let Some(command) = command.strip_suffix('&') {
                // Ended by its own number, and not that of a shell around it.
                let mut shell = self.shell(&format!("exec {command}"));
                let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                self.listen(child.stdout.take().unwrap());
                self.listen(child.stderr.take().unwrap());
                self.background.push(child);
                self.hears(command, &expected);
                continue;
            }
            let output = self.shell(&format!("{{ {command}; }} 2>&1")).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let fails = expected.iter().any(|line| line.starts_with("error:"));
            assert!(output.status.success() != fails, "{command}: {}\n{printed}", output.status);
            if expected.is_empty() {
                continue;
            }
            let lines: Vec<&str> = printed.lines().collect();
            let rest = unmatched(&lines, &expected)
                .unwrap_or_else(|at| unreachable!("{command} prints\n{printed}\nwhich is not {:?}", expected[at]));
            self.hears(&command, &expected[rest..]);
        }
    }

    fn listen(&self, from: impl Read + Send + 'static) {
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
    }

    /// Waits until those in the background have printed these lines, among others.
    fn hears(&mut self, command: &str, expected: &[String]) {
        for line in expected.iter().filter(|line| *line != "…") {
            let mut others = Vec::new();
            loop {
                let heard = self.heard.recv_timeout(LIMIT);
                let heard = heard.unwrap_or_else(|_| unreachable!("after {command}: no {line:?} but {others:?}"));
                if is_like(&heard, line) {
                    break;
                }
                others.push(heard);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in &mut self.background {
            // Ended already, or here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lines that are expected besides all that were printed: the first of them by its index. `Err`: which does not fit.
fn unmatched(printed: &[&str], expected: &[String]) -> Result<usize, usize> {
    let (mut at, mut skips) = (0, false);
    // Empty lines are left out of what is expected, too.
    for line in printed.iter().filter(|line| !line.trim().is_empty()) {
        if expected.get(at).is_some_and(|expected| expected == "…") {
            (at, skips) = (at + 1, true);
        }
        match expected.get(at) {
            Some(expected) if is_like(line, expected) => (at, skips) = (at + 1, false),
            _ if skips => {}
            _ => return Err(at.min(expected.len() - 1)),
        }
    }
    Ok(at)
}

/// Whether a line is printed as it is expected, but for what varies.
fn is_like(printed: &str, expected: &str) -> bool {
    let margin = |line: &str| line.len() - line.trim_start().len();
    if margin(printed) != margin(expected) {
        return false;
    }
    match expected.strip_suffix('…') {
        Some(beginning) => form(printed).starts_with(&form(beginning)),
        None => form(printed) == form(expected),
    }
}

/// A line without what varies: words alone, of which numbers, units of time and size, and ids are signs.
fn form(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        match bare {
            "ns" | "µs" | "ms" | "s" => word.replace(bare, "TIME"),
            "B" | "KiB" | "MiB" => word.replace(bare, "SIZE"),
            "hop" | "hops" => word.replace(bare, "HOPS"),
            _ if bare.starts_with("node-") => word.to_owned(),
            _ if bare.len() >= 8 && bare.chars().all(|c| c.is_ascii_hexdigit()) => word.replace(bare, "ID"),
            _ => numbers(word),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn numbers(word: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in word.chars() {
        let part = c.is_ascii_digit() || (c == '.' && inside);
        if part && !inside {
            out.push('#');
        }
        if !part {
            out.push(c);
        }
        inside = part;
    }
    out
}

/// How long something may take to be printed.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn what_varies_is_told_from_what_does_not() {
    for (printed, expected) in [
        ("delivered to node-2 in 1.3 s, 1 hop", "delivered to node-2 in 2.6 ms, 2 hops"),
        ("node-1  6361  up     4   71 MiB", "node-1  7037  up  4  20 MiB"),
        ("intact: 6 records, 1 to 6, head 4945062f06d5", "intact: 9 records, 1 to 9, head 2325062d1d68"),
        ("READY 5 nodes, each with 4 peers", "READY 5 nodes, …"),
    ] {
        assert!(is_like(printed, expected), "{printed}");
    }
    for (printed, expected) in [
        ("delivered to node-3 in 1.3 s, 1 hop", "delivered to node-2 in 2.6 ms, 2 hops"),
        ("node-1  up", " node-1  up"),
        ("offers shout", "offers echo"),
    ] {
        assert!(!is_like(printed, expected), "{printed}");
    }
    let expected = ["a".to_owned(), "…".to_owned(), "z".to_owned(), "behind".to_owned()];
    assert_eq!(unmatched(&["a", "b", "c", "z"], &expected), Ok(3));
    assert_eq!(unmatched(&["b"], &expected), Err(0));
}
