//! Senders: processes of `m2mesh send --lines`, with their input and output.
//!
//! Each sends to one device; messages are submitted at equal intervals, all senders taking turns. Every process that is
//! started here ends when it is dropped.

use super::super::failure::Failure;
use futures_timer::Delay;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The messages to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The time for which messages are sent.
    pub(super) length: Duration,
    /// The time from one message of a sender to its next.
    pub(super) every: Duration,
    /// The size of a message in bytes.
    pub(super) size: usize,
}

/// A message that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Confirmed {
    /// The index of its sender.
    pub(super) sender: usize,
    /// The time at which this was known, in seconds after sending began.
    pub(super) at: f64,
    /// The latency in seconds, as its node measured it.
    pub(super) latency: f64,
}

/// A process that sends what is written to it, which is killed when this is dropped before its end.
pub(super) struct Sender {
    process: Child,
    heard: Option<JoinHandle<Vec<(Instant, f64)>>>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // The process may have ended by itself meanwhile.
            let _ = self.process.kill().and_then(|()| self.process.wait().map(drop));
        }
    }
}

impl Sender {
    /// Starts a sender from the node in a directory to the one of that name.
    pub(super) fn start(program: &Path, directory: &Path, to: &str) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!("a sender does not start: {error}"), "try fewer nodes")
        };
        let mut process = Command::new(program)
            .arg("--dir")
            .arg(directory)
            .args(["send", to, "--lines", "--ack", "end", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed(&error))?;
        let output = process.stdout.take().ok_or_else(|| failed(&"it has no output"))?;
        Ok(Self { process, heard: Some(std::thread::spawn(move || listen(output))) })
    }

    fn send(&mut self, line: &str) {
        if let Some(input) = &mut self.process.stdin {
            // A sender that has ended reports this by its exit code.
            let _ = input.write_all(line.as_bytes());
        }
    }

    /// Ends the input. Returns the messages that were confirmed and when, with the latency in seconds, once all have
    /// ended.
    fn finish(mut self) -> Result<Vec<(Instant, f64)>, Failure> {
        drop(self.process.stdin.take());
        let heard = self.heard.take().and_then(|heard| heard.join().ok()).unwrap_or_default();
        match self.process.wait() {
            // Messages that were not delivered show in the number of confirmed ones.
            Ok(status) if status.code().is_some_and(|code| code != 1) => Ok(heard),
            _ => Err(Failure::new("a sender failed", "see what was said above")),
        }
    }
}

/// Submits messages as the load says, from `began` on. Returns their number, and those that were confirmed.
pub(super) fn send(mut senders: Vec<Sender>, load: Load, began: Instant) -> Result<(usize, Vec<Confirmed>), Failure> {
    let line = format!("{}\n", "x".repeat(load.size));
    let count = u32::try_from(senders.len()).unwrap_or(u32::MAX).max(1);
    let mut due: Vec<Duration> = (0..count).map(|sender| load.every * sender / count).collect();
    let mut sent = 0;
    while let Some((sender, at)) = due.iter().copied().enumerate().min_by_key(|(_, at)| *at) {
        if at >= load.length {
            break;
        }
        futures::executor::block_on(Delay::new(at.saturating_sub(began.elapsed())));
        senders[sender].send(&line);
        sent += 1;
        due[sender] += load.every;
    }
    let mut all = Vec::new();
    for (number, sender) in senders.into_iter().enumerate() {
        let heard = sender.finish()?;
        all.extend(heard.into_iter().map(|(at, latency)| {
            let at = at.saturating_duration_since(began).as_secs_f64();
            Confirmed { sender: number, at, latency }
        }));
    }
    Ok((sent, all))
}

/// Returns when each message was known to be delivered, and its latency in seconds.
fn listen(output: ChildStdout) -> Vec<(Instant, f64)> {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    let told = lines.filter_map(|line| Some((Instant::now(), serde_json::from_str::<serde_json::Value>(&line).ok()?)));
    let delivered = told.filter(|(_, line)| line["outcome"] == "delivered");
    delivered.filter_map(|(at, line)| Some((at, line["latency_us"].as_f64()? / 1e6))).collect()
}
