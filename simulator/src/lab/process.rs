//! Process: the lab's process, which is started, given orders, and stopped in every case.
//!
//! A lab ends its nodes when it is interrupted, and nodes end with the lab that started them if the lab had to be
//! killed. Should this process be killed itself, the lab ends when its given time is over.

use super::layout::{Layout, node};
use crate::scenario::Problem;
use futures_timer::Delay;
use m2mesh::gateway::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The directory of a lab, and the program by which it is given orders.
#[derive(Clone, Debug)]
pub struct Place {
    program: PathBuf,
    directory: PathBuf,
}

/// A lab's process, which is interrupted when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Place {
    /// Returns the place in that directory. The program is the one beside this program, unless another is named.
    pub fn new(program: Option<PathBuf>, directory: PathBuf) -> Self {
        let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("m2mesh"));
        let program = program.or_else(beside).unwrap_or_else(|| PathBuf::from("m2mesh"));
        Self { program, directory }
    }

    /// Returns the directory of a device's node.
    pub fn node(&self, device: usize) -> PathBuf {
        self.directory.join(node(device))
    }

    /// Returns a client of the local API of a device's node.
    pub fn client(&self, device: usize) -> Client {
        Client::new(self.node(device))
    }

    /// Starts a lab, and waits until all its links are up. `longest` is the time for which it may run.
    pub async fn start(&self, layout: &Layout, topology: &Path, longest: Duration) -> Result<Process, Problem> {
        let links = layout.plan.edges.iter().map(|edge| format!("{} {}\n", node(edge.a), node(edge.b)));
        let written = std::fs::write(topology, links.collect::<String>());
        written
            .map_err(|error| Problem::new(format!("cannot write {}: {error}", topology.display()), "check the disk"))?;
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        let started = self
            .command(&["lab", "--nodes", &layout.names.len().to_string(), "--for", &seconds(longest)])
            .args(["--epoch", &seconds(Duration::from_secs(layout.plan.epoch.seconds()))])
            .args(["--anonymity", layout.plan.anonymity.name()])
            .arg("--topology")
            .arg(topology)
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Process(started.map_err(|error| {
            let what = format!("{} does not start: {error}", self.program.display());
            Problem::new(what, "build it with `cargo build --release`, or say where it is with --m2mesh")
        })?);
        match tokio::time::timeout(TO_START, process.ready()).await {
            Ok(true) => Ok(process),
            _ => Err(Problem::new("the lab did not become ready", "see what it said above, or try fewer devices")),
        }
    }

    /// Orders the lab to kill or start a device's node, and waits until this is done. An error gives the reason.
    pub async fn order(&self, verb: &str, device: usize) -> Result<(), String> {
        let name = node(device);
        let done = self.command(&["lab", verb, &name]).stderr(Stdio::piped()).output().await;
        match done {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{verb} {name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("{verb} {name}: {error}")),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--dir").arg(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OWN)) {
            command.env_remove(name);
        }
        command
    }
}

impl Process {
    /// Returns whether the lab reports that it is ready before it ends. Its later output is read and discarded, since
    /// the lab would end if nothing read it.
    async fn ready(&mut self) -> bool {
        let Some(output) = self.0.stdout.take() else { return false };
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("READY") {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return true;
            }
        }
        false
    }

    /// Returns whether the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Interrupts the process, as Ctrl-C does, and waits for its end; kills it if that takes too long.
    fn stop(&mut self) -> std::io::Result<()> {
        let Some(process) = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
            return Ok(());
        };
        if self.0.try_wait()?.is_some() {
            return Ok(());
        }
        // The process may have ended by itself meanwhile.
        let _ = kill_process(process, Signal::INT);
        let began = Instant::now();
        while began.elapsed() < TO_STOP {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            futures::executor::block_on(Delay::new(LOOK));
        }
        self.0.start_kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that does not end has been waited for in `stop`.
        let _ = self.stop();
    }
}

/// The prefix of the environment variables that a lab must not inherit.
const OWN: &str = "M2MESH_";
/// The time that a lab may take to be ready, and to stop: many times as long as twenty nodes need.
const TO_START: Duration = Duration::from_secs(120);
const TO_STOP: Duration = Duration::from_secs(30);
/// The interval of checks whether it has stopped.
const LOOK: Duration = Duration::from_millis(20);
