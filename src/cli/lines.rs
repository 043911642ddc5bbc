//! `--lines`: sends standard input to the node line by line, reports outcomes as they come, and prints a summary at the
//! end.
//!
//! Lines that ask for a confirmation have names, so they survive a restart of their node: when the node goes away,
//! lines without an outcome are handed to it again when it is back, under the same names, and no line is sent twice.
//! For that purpose, the lines from the first without an outcome on are kept, up to [`MAX_BACKLOG`]; beyond that,
//! standard input is not read.

use super::Verdict;
use super::failure::Failure;
use super::histogram::Histogram;
use super::send;
use super::shell::{self, Shell};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{LineOutcome, Outcome};
use axum::body::{Body, Bytes};
use futures::Stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

/// The outcomes of all lines.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    outcomes: BTreeMap<&'static str, u64>,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    seconds: f64,
}

/// Streams standard input through a route that accepts lines. `query` returns the route's query for the lines from a
/// number on. With `patience`, lines without an outcome are handed over again if the node is back within that time.
pub(super) async fn run<Q: Serialize>(
    shell: &Shell,
    client: &Client,
    route: &str,
    query: impl Fn(u64) -> Q,
    patience: Option<Duration>,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let input = Arc::new(Input::new(tokio::io::stdin()));
    let mut report = Report {
        shell,
        progress: progress(shell),
        summary: Summary::default(),
        latencies: Histogram::default(),
        failed: 0,
    };
    let mut gone: Option<Instant> = None;
    loop {
        let first = input.backlog().first;
        let error = match client.lines(route, &query(first), body(input.clone())).await {
            Ok(mut answers) => loop {
                match send::patiently(shell, client, None, answers.next::<LineOutcome>()).await {
                    Ok(Some(line)) => {
                        gone = None;
                        if input.end(line.line) {
                            report.add(&line)?;
                        }
                    }
                    Ok(None) if input.is_settled() => break None,
                    Ok(None) => {
                        break Some(ClientError::Broken("the node ended its answer before all lines had ended".into()));
                    }
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        let Some(error) = error else { break };
        let lost = matches!(error, ClientError::Broken(_) | ClientError::NotRunning(_) | ClientError::Connect { .. });
        if !lost || !input.backlog().began {
            return Err(error.into());
        }
        let Some(patience) = patience else {
            let reason = "the node went away before it told".to_owned();
            for line in input.give_up() {
                report.add(&LineOutcome { line, outcome: Outcome::Expired { reason: reason.clone() } })?;
            }
            break;
        };
        let since = *gone.get_or_insert_with(|| {
            shell.note("the node has gone; what has not ended is handed to it again when it is back");
            Instant::now()
        });
        if since.elapsed() > patience {
            let reason = format!("the node went away and was not back within {} s", patience.as_secs());
            for line in input.give_up() {
                report.add(&LineOutcome { line, outcome: Outcome::Unreachable { reason: reason.clone() } })?;
            }
            break;
        }
        tokio::time::sleep(RETRY).await;
    }
    report.finish(started.elapsed())
}

/// What is reported about the lines.
struct Report<'a> {
    shell: &'a Shell,
    progress: ProgressBar,
    summary: Summary,
    latencies: Histogram,
    failed: u64,
}

impl Report<'_> {
    fn add(&mut self, line: &LineOutcome) -> Result<(), Failure> {
        self.progress.inc(1);
        self.summary.lines += 1;
        *self.summary.outcomes.entry(line.outcome.word()).or_default() += 1;
        if let Some(latency) = line.outcome.latency_us() {
            self.latencies.add(latency);
        }
        if self.shell.json {
            self.shell.object(line)?;
        }
        if !line.outcome.is_success() {
            self.failed += 1;
            if !self.shell.json && self.failed <= MAX_TOLD {
                self.progress.suspend(|| self.shell.note(describe(line)));
            }
        }
        Ok(())
    }

    fn finish(mut self, elapsed: Duration) -> Result<Verdict, Failure> {
        self.progress.finish_and_clear();
        if self.failed > MAX_TOLD && !self.shell.json {
            self.shell.note(format_args!("… and {} more", self.failed - MAX_TOLD));
        }
        self.summary.p50_us = self.latencies.percentile(50);
        self.summary.p99_us = self.latencies.percentile(99);
        self.summary.seconds = elapsed.as_secs_f64();
        tell(self.shell, &self.summary)?;
        Ok(Verdict::of(self.failed == 0))
    }
}

fn describe(line: &LineOutcome) -> String {
    let value = serde_json::to_value(&line.outcome).unwrap_or_default();
    let reason = value["reason"].as_str().unwrap_or_default();
    format!("line {} {}: {}", line.line, line.outcome.word(), shell::visible(reason.as_bytes()))
}

fn tell(shell: &Shell, summary: &Summary) -> Result<(), Failure> {
    if shell.json {
        return shell.object(&serde_json::json!({ "summary": summary }));
    }
    let counts: Vec<String> = summary.outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let latencies = match (summary.p50_us, summary.p99_us) {
        (Some(p50), Some(p99)) => format!("; p50 {}, p99 {}", shell::micros(p50), shell::micros(p99)),
        _ => String::new(),
    };
    let plural = if summary.lines == 1 { "" } else { "s" };
    let counts = if counts.is_empty() { "nothing sent".to_owned() } else { counts.join(", ") };
    shell.line(format_args!("{} line{plural} in {:.1} s: {counts}{latencies}", summary.lines, summary.seconds))
}

/// A progress bar on standard error, if that is a terminal.
fn progress(shell: &Shell) -> ProgressBar {
    if shell.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} ended, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Standard input, with the lines that have no outcome yet.
struct Input {
    /// Kept from one request to the next: a read that is cancelled leaves its bytes in there.
    stdin: tokio::sync::Mutex<Box<dyn AsyncRead + Send + Unpin>>,
    backlog: Mutex<Backlog>,
    room: Notify,
}

/// The lines handed over, from the first that has no outcome.
#[derive(Debug)]
struct Backlog {
    /// Number of the first line in `lines`.
    first: u64,
    /// Each line with its line feed, and whether it has an outcome.
    lines: VecDeque<(Vec<u8>, bool)>,
    bytes: usize,
    /// The bytes read of a line that is not complete yet.
    partial: Vec<u8>,
    /// Whether standard input has ended.
    ended: bool,
    /// Whether a node has accepted any input.
    began: bool,
}

impl Input {
    fn new(stdin: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let backlog =
            Backlog { first: 1, lines: VecDeque::new(), bytes: 0, partial: Vec::new(), ended: false, began: false };
        let stdin: Box<dyn AsyncRead + Send + Unpin> = Box::new(stdin);
        Self { stdin: stdin.into(), backlog: Mutex::new(backlog), room: Notify::new() }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        // No code panics while it holds the lock.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a line has its outcome. Returns `false` if that was known.
    fn end(&self, number: u64) -> bool {
        let mut backlog = self.backlog();
        let at = number.checked_sub(backlog.first).and_then(|at| usize::try_from(at).ok());
        let Some((_, ended)) = at.and_then(|at| backlog.lines.get_mut(at)) else { return false };
        if std::mem::replace(ended, true) {
            return false;
        }
        while let Some((line, _)) = backlog.lines.pop_front_if(|(_, ended)| *ended) {
            backlog.bytes -= line.len();
            backlog.first += 1;
        }
        self.room.notify_waiters();
        true
    }

    /// The numbers of the lines without an outcome.
    fn give_up(&self) -> Vec<u64> {
        let backlog = self.backlog();
        (backlog.first..).zip(&backlog.lines).filter(|(_, (_, ended))| !ended).map(|(number, _)| number).collect()
    }

    /// Whether standard input has ended, and each line has its outcome.
    fn is_settled(&self) -> bool {
        let backlog = self.backlog();
        backlog.ended && backlog.lines.iter().all(|(_, ended)| *ended)
    }

    /// The bytes from a place on, as soon as there are some; an empty result is the end of standard input.
    ///
    /// Requests read through the backlog alone: one that has failed may still wait for standard input when the next one
    /// begins, and what it reads then is the next one's.
    async fn read(&self, place: &mut Place) -> io::Result<Vec<u8>> {
        loop {
            let room = self.room.notified();
            let has_room = {
                let backlog = self.backlog();
                let bytes = backlog.read(place);
                if !bytes.is_empty() || backlog.ended {
                    return Ok(bytes);
                }
                backlog.has_room()
            };
            if !has_room {
                room.await;
                continue;
            }
            let mut stdin = self.stdin.lock().await;
            // Another request may have read while this one waited for its turn.
            if self.backlog().has_more(place) {
                continue;
            }
            let mut chunk = vec![0; CHUNK];
            let length = stdin.read(&mut chunk).await?;
            chunk.truncate(length);
            self.backlog().add(&chunk);
        }
    }
}

/// How far a request has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: u64,
    /// Bytes of that line that have been read.
    bytes: usize,
}

impl Backlog {
    fn has_room(&self) -> bool {
        self.lines.len() < MAX_BACKLOG && self.bytes < MAX_BACKLOG_BYTES
    }

    /// Whether there is something behind a place that has not been read, be it the end.
    fn has_more(&self, place: &Place) -> bool {
        self.ended || *place != self.end()
    }

    /// The place behind all that is known.
    fn end(&self) -> Place {
        Place { line: self.first + self.lines.len() as u64, bytes: self.partial.len() }
    }

    /// All that is known from a place on, which is then behind it.
    fn read(&self, place: &mut Place) -> Vec<u8> {
        if place.line < self.first {
            *place = Place { line: self.first, bytes: 0 };
        }
        let passed = usize::try_from(place.line - self.first).unwrap_or(usize::MAX);
        let lines = self.lines.iter().skip(passed).map(|(line, _)| line).chain([&self.partial]);
        let mut bytes = Vec::new();
        let mut begin = place.bytes;
        for line in lines {
            bytes.extend_from_slice(line.get(begin..).unwrap_or_default());
            begin = 0;
        }
        *place = self.end();
        bytes
    }

    fn add(&mut self, chunk: &[u8]) {
        self.began = true;
        self.bytes += chunk.len();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.lines.push_back((line, false));
            }
        }
        if chunk.is_empty() {
            self.ended = true;
            if !self.partial.is_empty() {
                let line = std::mem::take(&mut self.partial);
                self.lines.push_back((line, false));
            }
        }
    }
}

/// A body of the lines from the first without an outcome on, followed by standard input.
fn body(input: Arc<Input>) -> Body {
    Body::from_stream(read_on(input))
}

/// The bytes of the lines from the first without an outcome on, as they come.
fn read_on(input: Arc<Input>) -> impl Stream<Item = io::Result<Bytes>> {
    let place = Place { line: input.backlog().first, bytes: 0 };
    futures::stream::unfold(Some((input, place)), |state| async move {
        let (input, mut place) = state?;
        match input.read(&mut place).await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some((Ok(Bytes::from(bytes)), Some((input, place)))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Failures that are reported one by one; the summary counts them all.
const MAX_TOLD: u64 = 10;
/// Most bytes read from standard input at a time.
const CHUNK: usize = 64 * 1024;
/// Most lines kept for a node that may come back: as many as the outcomes that it remembers.
const MAX_BACKLOG: usize = 65_536;
/// Most bytes of these lines.
const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;
/// Pause between two attempts to reach the node.
const RETRY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::AsyncWriteExt;

    async fn next(body: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin)) -> String {
        String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_a_broken_request_has_read_is_the_next_ones() {
        let (mut writer, stdin) = tokio::io::duplex(1_024);
        let input = Arc::new(Input::new(stdin));
        let mut broken = Box::pin(read_on(input.clone()));
        writer.write_all(b"one\ntwo\nth").await.unwrap();
        assert_eq!(next(&mut broken).await, "one\ntwo\nth");
        assert!(input.end(1));
        // The connection of the first request is gone, and nobody has dropped its body yet: it waits for more.
        assert!(futures::poll!(broken.next()).is_pending());
        let mut again = Box::pin(read_on(input.clone()));
        assert_eq!(next(&mut again).await, "two\nth");
        assert!(futures::poll!(again.next()).is_pending());
        writer.write_all(b"ree\nfour").await.unwrap();
        assert_eq!(next(&mut broken).await, "ree\nfour");
        assert_eq!(next(&mut again).await, "ree\nfour");
        drop(writer);
        assert!(again.next().await.is_none());
        assert!(!input.is_settled(), "three lines have no outcome");
        for number in 2..=4 {
            assert!(input.end(number), "line {number}");
        }
        assert!(input.is_settled() && !input.end(4));
    }
}
