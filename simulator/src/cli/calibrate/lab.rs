//! The real part: a lab of processes, stopped whatever happens.
//!
//! Everything that is started here is ended when it is let go of. A lab ends its nodes when it is interrupted, and nodes end
//! with the lab that started them if that had to be killed.

use super::super::failure::Failure;
use futures_timer::Delay;
use m2mesh::net::shape::Shape;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running lab, in a ring.
pub(super) struct Lab {
    program: PathBuf,
    directory: PathBuf,
    nodes: u16,
    process: Stopped,
}

/// A lab's process, interrupted when it is let go of.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that does not end is not waited for any longer than it was in `stop`.
        let _ = self.stop();
    }
}

impl Stopped {
    /// Interrupts it, as Ctrl-C does, and waits for its end; kills it if that takes too long.
    fn stop(&mut self) -> std::io::Result<()> {
        if self.0.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(process) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // One that has ended by itself meanwhile needs no telling.
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

/// A process that sends what is written to it, killed when it is let go of before its end.
struct Sender {
    process: Child,
    heard: Option<JoinHandle<Vec<f64>>>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // One that has ended by itself meanwhile is what is wanted.
            let _ = self.process.kill().and_then(|()| self.process.wait().map(drop));
        }
    }
}

impl Sender {
    fn send(&mut self, line: &str) {
        if let Some(input) = &mut self.process.stdin {
            // A sender that has ended says so by its exit code.
            let _ = input.write_all(line.as_bytes());
        }
    }

    /// There is no more to send: latencies of what was confirmed, in seconds, when all has ended.
    fn finish(mut self) -> Result<Vec<f64>, Failure> {
        drop(self.process.stdin.take());
        let latencies = self.heard.take().and_then(|heard| heard.join().ok()).unwrap_or_default();
        match self.process.wait() {
            // That something was not delivered shows in how much was.
            Ok(status) if status.code().is_some_and(|code| code != 1) => Ok(latencies),
            _ => Err(Failure::new("a sender failed in the lab", "see what was said above")),
        }
    }
}

impl Lab {
    /// Starts it, and waits until every node has its two links.
    pub(super) fn start(program: Option<&Path>, directory: &Path, nodes: u16) -> Result<Self, Failure> {
        let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("m2mesh"));
        let program = program.map(Path::to_path_buf).or_else(beside).unwrap_or_else(|| PathBuf::from("m2mesh"));
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
        // Goes on to read, or the lab would end because nobody hears it; ends with the lab.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("READY") {
                    // Once; and who has given up waiting does not want to know.
                    let _ = told.try_send(());
                }
            }
        });
        ready.recv_timeout(TO_START).map_err(|_| unready())
    }

    /// Shapes all links, both ways.
    pub(super) fn shape(&self, shape: &Shape) -> Result<(), Failure> {
        let time = |duration: Duration| humantime::format_duration(duration).to_string();
        for from in 1..=self.nodes {
            let done = Command::new(&self.program)
                .args(["lab", "shape", &node(from), &node(from % self.nodes + 1)])
                .args(["--delay", &time(shape.delay), "--jitter", &time(shape.jitter)])
                .args(["--loss", &(f64::from(shape.loss) / 1e6).to_string()])
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

    /// Every node sends to the next, at equal distances: how many messages, and of those confirmed the latency in seconds.
    pub(super) fn send(&self, length: Duration, every: Duration, size: usize) -> Result<(usize, Vec<f64>), Failure> {
        let mut senders = Vec::new();
        for from in 1..=self.nodes {
            senders.push(self.sender(from)?);
        }
        let (began, mut sent) = (Instant::now(), 0);
        let line = format!("{}\n", "x".repeat(size));
        let mut due: Vec<Duration> =
            (0..self.nodes).map(|sender| every * u32::from(sender) / u32::from(self.nodes)).collect();
        while let Some((sender, at)) = due.iter().copied().enumerate().min_by_key(|(_, at)| *at) {
            if at >= length {
                break;
            }
            futures::executor::block_on(Delay::new(at.saturating_sub(began.elapsed())));
            senders[sender].send(&line);
            sent += 1;
            due[sender] += every;
        }
        let mut latencies = Vec::new();
        for sender in senders {
            latencies.extend(sender.finish()?);
        }
        Ok((sent, latencies))
    }

    fn sender(&self, from: u16) -> Result<Sender, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!("a sender does not start: {error}"), "try fewer nodes")
        };
        let mut process = Command::new(&self.program)
            .arg("--dir")
            .arg(self.directory.join(node(from)))
            .args(["send", &node(from % self.nodes + 1), "--lines", "--ack", "end", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed(&error))?;
        let output = process.stdout.take().ok_or_else(|| failed(&"it has no output"))?;
        Ok(Sender { process, heard: Some(std::thread::spawn(move || listen(output))) })
    }

    /// Stops all nodes.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let ended = self.process.stop();
        ended.map_err(|error| Failure::new(format!("the lab does not end: {error}"), "see `m2mesh lab status`"))
    }
}

/// Latencies of what was delivered, in seconds.
fn listen(output: ChildStdout) -> Vec<f64> {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    let told = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let delivered = told.filter(|line| line["outcome"] == "delivered");
    delivered.filter_map(|line| line["latency_us"].as_f64()).map(|micros| micros / 1e6).collect()
}

fn node(number: u16) -> String {
    format!("node-{number}")
}

/// How long a lab may take to be ready, and to stop: many times as long as fifty nodes need.
const TO_START: Duration = Duration::from_secs(120);
const TO_STOP: Duration = Duration::from_secs(30);
/// From one look to the next whether it has stopped.
const LOOK: Duration = Duration::from_millis(20);
