//! Real m2mesh processes in a temporary directory, for tests of what the program does as its users meet it.

#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::limit::{self, Limit};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Loopback, any port.
pub const ANYWHERE: &str = "/ip4/127.0.0.1/tcp/0";

/// A directory with what the processes of a test have.
pub struct Place {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub said: String,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// `m2mesh` with these arguments, with nothing in its environment that would change what it does.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.under(Command::new(env!("CARGO_BIN_EXE_m2mesh")), arguments)
    }

    /// As [`Self::command`], run by another program.
    pub fn command_under(&self, program: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_m2mesh"));
        self.under(command, arguments)
    }

    fn under(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for variable in ["M2MESH_DIR", "M2MESH_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(variable);
        }
        command
    }

    /// As [`Self::command`], and SIGHUP ends it as it does usually, though whoever runs the tests ignores it (`nohup`).
    pub fn command_hung_up(&self, arguments: &[&str]) -> Command {
        self.command_under(&["env", "--default-signal=HUP"], arguments)
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments))
    }

    /// Runs it to an end that must be good; what it printed.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let Ended { code, out, said } = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}\n{out}\n{said}");
        out.trim_end().to_owned()
    }

    /// What the log of `plant` says under a kind, once it does: a node that is ready writes its first records down.
    #[track_caller]
    pub fn logged(&self, kind: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let said = self.done(&["log", "--kind", kind, "--dir", "plant"]);
            if !said.is_empty() {
                return said;
            }
            assert!(Instant::now() < until, "no {kind}:\n{}", self.run(&["log", "--dir", "plant"]).out);
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Starts a node that must become ready.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Node {
        Node::ready(self.command(arguments), &self.at("diagnostics"))
            .unwrap_or_else(|said| panic!("not READY:\n{said}"))
    }

    /// A gateway with its realm in `plant`, and the ticket-enrolled device `meter`; neither runs.
    pub fn pair(&self) {
        self.done(&["realm", "init", "plant", "--name", "gateway"]);
        let gateway = self.start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
        let ticket = self.done(&["realm", "invite", "plant", "--name", "meter"]);
        self.done(&["join", &ticket, "--dir", "meter"]);
        drop(gateway);
    }
}

/// Runs a command to its end.
pub fn end(mut command: Command) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = limit::output(command.spawn().expect("the command runs"), &format!("{command:?}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), said: text(&output.stderr) }
}

/// A node that has announced itself ready, and is killed at the end of the test if it still runs.
pub struct Node {
    child: Child,
    /// The line with which it did.
    pub ready: String,
}

impl Node {
    /// Starts it; its diagnostics go to the end of a file. What it said if it ended before it was ready.
    pub fn ready(mut command: Command, diagnostics: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(diagnostics).expect("a file for diagnostics");
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().expect("the process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let limit = Limit::on(&child);
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("READY"));
        assert!(!limit.is_over(), "{command:?} was not ready after {:?} and was killed", limit::LIMIT);
        let Some(ready) = ready else {
            child.wait().expect("it ends");
            return Err(std::fs::read_to_string(diagnostics).unwrap_or_default());
        };
        // Whatever else it says is read, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, ready })
    }

    /// Its first address.
    pub fn address(&self) -> &str {
        let listen = self.ready.split("listen=").nth(1).expect("addresses");
        listen.split(',').next().expect("an address")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) {
        limit::wait(&mut self.child, &self.ready);
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }

    /// Asks it to stop and waits until it has; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.stop_by("-TERM")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    /// As [`Self::stop`], by that signal.
    #[track_caller]
    pub fn stop_by(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        limit::wait(&mut self.child, &format!("after {signal} {}", self.ready))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already, or stopped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
