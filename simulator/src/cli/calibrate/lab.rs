//! Lab: the real part as a lab of processes, which are stopped in every case.
//!
//! All processes that are started here end when this is dropped. A lab ends its nodes when it is interrupted, and nodes
//! end with the lab that started them if the lab had to be killed.

use super::super::failure::Failure;
use super::senders::{self, Confirmed, Load, Sender};
use futures_timer::Delay;
use m2mesh::net::emulation::Shape;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// A running lab, in a ring.
pub(super) struct Lab {
    program: PathBuf,
    directory: PathBuf,
    nodes: u16,
    process: Stopped,
}

/// A lab's process, which is interrupted when this is dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // A process that does not end has been waited for in `stop`.
        let _ = self.stop();
    }
}

impl Stopped {
    /// Interrupts the process, as Ctrl-C does, and waits for its end; kills it if that takes too long.
    fn stop(&mut self) -> std::io::Result<()> {
        if self.0.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(process) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // The process may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
        }
        let began = Instant::now();
        while began.elapsed() < TO_STOP {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            futures::executor::block_on(Delay::new(LOOK));
        }
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Lab {
    /// Starts the lab, and waits until every node has its two links.
    pub(super) fn start(program: &Path, directory: &Path, nodes: u16) -> Result<Self, Failure> {
        let program = program.to_path_buf();
        let directory = directory.join("lab");
        let started = Command::new(&program)
            .args(["lab", "--topology", "ring", "--nodes", &nodes.to_string()])
            .arg("--dir")
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let process = started.map_err(|error| {
            Failure::new(
                format!("{} does not start: {error}", program.display()),
                "build it with `cargo build --release`, or say where it is with --m2mesh",
            )
        })?;
        let process = Stopped(process);
        let mut lab = Self { program, directory, nodes, process };
        lab.wait_until_ready()?;
        Ok(lab)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let unready = || Failure::new("the lab did not become ready", "see what it said above, or try fewer nodes");
        let output = self.process.0.stdout.take().ok_or_else(unready)?;
        let (told, ready) = sync_channel(1);
        // Continues to read, since the lab would end if nothing read its output; the thread ends with the lab.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("READY") {
                    // Sent once; the receiver may have stopped waiting.
                    let _ = told.try_send(());
                }
            }
        });
        ready.recv_timeout(TO_START).map_err(|_| unready())
    }

    /// Shapes all links, in both directions.
    pub(super) fn shape(&self, shape: &Shape) -> Result<(), Failure> {
        let time = |duration: Duration| humantime::format_duration(duration).to_string();
        for from in 1..=self.nodes {
            let done = Command::new(&self.program)
                .args(["lab", "shape", &node(from), &node(from % self.nodes + 1)])
                .args(["--delay", &time(shape.delay), "--jitter", &time(shape.jitter)])
                .args(["--loss", &(f64::from(shape.loss) / 1e6).to_string()])
                .args(shape.rate.iter().flat_map(|rate| ["--rate".to_owned(), format!("{}bit", rate)]))
                .arg("--dir")
                .arg(&self.directory)
                .stdout(Stdio::null())
                .status();
            if !done.is_ok_and(|status| status.success()) {
                return Err(Failure::new("a link of the lab could not be shaped", "see what was said above"));
            }
        }
        Ok(())
    }

    /// Lets every node send to the next. Returns the number of messages, and those that were confirmed.
    pub(super) fn send(&self, load: Load) -> Result<(usize, Vec<Confirmed>), Failure> {
        let sender =
            |from: u16| Sender::start(&self.program, &self.directory.join(node(from)), &node(from % self.nodes + 1));
        let senders = (1..=self.nodes).map(sender).collect::<Result<Vec<_>, _>>()?;
        senders::send(senders, load, Instant::now())
    }

    /// Stops all nodes.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let ended = self.process.stop();
        ended.map_err(|error| Failure::new(format!("the lab does not end: {error}"), "see `m2mesh lab status`"))
    }
}

fn node(number: u16) -> String {
    format!("node-{number}")
}

/// The time that a lab may take to be ready, and to stop: many times as long as fifty nodes need.
const TO_START: Duration = Duration::from_secs(120);
const TO_STOP: Duration = Duration::from_secs(30);
/// The interval of checks whether it has stopped.
const LOOK: Duration = Duration::from_millis(20);
