//! Processes of the command, as a user runs them: all tests that run it start, feed, wait for and end it here.

use super::limit::{self, Limit};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_m2mesh");
/// Loopback, any port.
pub const ANYWHERE: &str = "/ip4/127.0.0.1/tcp/0";

/// The command in a directory, with nothing in its environment that would change what it does.
pub fn m2mesh(arguments: &[&str], directory: &Path) -> Command {
    prepared(Command::new(PROGRAM), arguments, directory)
}

/// As [`m2mesh`], run by another program.
pub fn m2mesh_under(program: &[&str], arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(PROGRAM);
    prepared(command, arguments, directory)
}

fn prepared(mut command: Command, arguments: &[&str], directory: &Path) -> Command {
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    without_settings(&mut command);
    command
}

/// Takes from the environment of a command what the program would heed.
pub fn without_settings(command: &mut Command) {
    for variable in ["M2MESH_DIR", "M2MESH_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(variable);
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub said: String,
}

/// Runs a command to its end.
#[track_caller]
pub fn end(command: Command) -> Ended {
    let output = output(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), said: text(&output.stderr) }
}

/// Runs a command to its end; what it printed, byte for byte.
#[track_caller]
pub fn output(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    limit::output(command.spawn().expect("the command runs"), &format!("{command:?}"))
}

/// Starts a command with this on its standard input; what it prints is there for whoever waits for its end.
pub fn fed(mut command: Command, input: &[u8]) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    // Not every verb reads its input.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child
}

/// What a verb prints that must do what it is told.
#[track_caller]
pub fn done(arguments: &[&str], directory: &Path) -> String {
    let Ended { code, out, said } = end(m2mesh(arguments, directory));
    assert_eq!(code, Some(0), "{arguments:?}\n{out}\n{said}");
    out.trim_end().to_owned()
}

/// The exit code of a verb, and what it said on standard error.
pub fn refused(arguments: &[&str], directory: &Path) -> (Option<i32>, String) {
    let Ended { code, said, .. } = end(m2mesh(arguments, directory));
    (code, said)
}

/// A directory with what the processes of a test have.
pub struct Place {
    directory: TempDir,
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

    /// The command with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        m2mesh(arguments, self.path())
    }

    /// As [`Self::command`], run by another program.
    pub fn command_under(&self, program: &[&str], arguments: &[&str]) -> Command {
        m2mesh_under(program, arguments, self.path())
    }

    /// As [`Self::command`], and SIGHUP ends it as it does usually, though whoever runs the tests ignores it (`nohup`).
    pub fn command_hung_up(&self, arguments: &[&str]) -> Command {
        self.command_under(&["env", "--default-signal=HUP"], arguments)
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments))
    }

    /// Runs it to an end that must be good; what it printed.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        done(arguments, self.path())
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
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(arguments, self.path())
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

/// A process that is killed at the end of the test if it still runs.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, or stopped here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node or a lab that has announced itself ready.
pub struct Running {
    process: Process,
    /// The line with which it did.
    pub ready: String,
}

impl Running {
    /// Starts the command, which must become ready; its diagnostics go to the end of the file of that name in the directory.
    #[track_caller]
    pub fn start(arguments: &[&str], directory: &Path) -> Self {
        Self::started(m2mesh(arguments, directory), &directory.join("diagnostics"))
    }

    /// As [`Self::ready`] of what must become ready.
    #[track_caller]
    pub fn started(command: Command, diagnostics: &Path) -> Self {
        let what = format!("{command:?}");
        match Self::ready(command, diagnostics) {
            Ok(running) => running,
            Err(said) => unreachable!("{what} was not READY:\n{said}"),
        }
    }

    /// Starts it; its diagnostics go to the end of a file. What it said if it ended before it was ready.
    #[track_caller]
    pub fn ready(mut command: Command, diagnostics: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(diagnostics).expect("a file for diagnostics");
        let child = command.stdout(Stdio::piped()).stderr(file).spawn().expect("the process starts");
        let mut process = Process(child);
        let mut lines = BufReader::new(process.0.stdout.take().expect("a pipe")).lines();
        let limit = Limit::on(&process.0);
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("READY"));
        assert!(!limit.is_over(), "{command:?} was not ready after {:?} and was killed", limit::LIMIT);
        let Some(ready) = ready else {
            process.0.wait().expect("it ends");
            return Err(std::fs::read_to_string(diagnostics).unwrap_or_default());
        };
        // Whatever else it says is read, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, ready })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let listen = self.ready.split("listen=").nth(1).expect("addresses");
        listen.split_whitespace().next().expect("an address").split(',')
    }

    /// Its first address.
    pub fn address(&self) -> &str {
        self.addresses().next().expect("an address")
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        limit::wait(&mut self.process.0, &self.ready)
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        self.process.0.kill().expect("it is ours");
        self.process.0.wait().expect("it ends");
    }

    /// Asks it to stop and waits until it has; the exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.stop_by("-TERM")
    }

    /// As [`Self::stop`], by that signal.
    #[track_caller]
    pub fn stop_by(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        limit::wait(&mut self.process.0, &format!("after {signal} {}", self.ready))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }
}
