//! `bench DEST`: measures messages to a device over the mesh as it is.

use super::part::processor;
use crate::cli::Verdict;
use crate::cli::arguments::{Ack, Class};
use crate::cli::failure::Failure;
use crate::cli::histogram::Histogram;
use crate::cli::send;
use crate::cli::shell::{self, Shell};
use crate::gateway::dto::{self, LineOutcome, SendLinesQuery, Span, Status};
use crate::id::Name;
use axum::body::{Body, Bytes};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The messages to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) size: u16,
    pub(super) period: Duration,
    pub(super) ack: Ack,
    pub(super) class: Class,
    pub(super) window: u32,
}

/// The result of the measurement.
#[derive(Debug, Serialize)]
struct Report {
    to: String,
    messages: u64,
    outcomes: BTreeMap<&'static str, u64>,
    seconds: f64,
    /// Successful messages per second.
    rate: f64,
    /// Payload of the successful messages, in 10⁶ bytes per second.
    megabytes_per_second: f64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    /// Fraction of the messages that were not successful.
    lost: f64,
    /// Processor time of the local node, in seconds per second.
    cpu: Option<f64>,
}

pub(super) async fn run(shell: &Shell, to: &Name, load: Load) -> Result<Verdict, Failure> {
    let client = shell.client()?;
    let status: Status = client.get("/v1/status", &()).await?;
    let query = SendLinesQuery {
        to: to.to_string(),
        ack: load.ack.into(),
        class: load.class.into(),
        policy: None,
        deadline: Span(DEADLINE),
        id: None,
        latest: None,
        first: 1,
    };
    let room = Arc::new(Semaphore::new(load.window as usize));
    let (began, before) = (Instant::now(), processor(status.pid));
    let mut answers = client.lines("/v1/send-lines", &query, lines(room.clone(), load, began + load.period)).await?;
    let (mut outcomes, mut latencies, mut messages, mut good) = (BTreeMap::new(), Histogram::default(), 0u64, 0u64);
    while let Some(LineOutcome { line: _, outcome }) =
        send::patiently(shell, &client, Some(to.as_str()), answers.next()).await?
    {
        if let (0, dto::Outcome::Refused { reason }) = (messages, &outcome) {
            // If the first is refused, so will be the others.
            let failed = format!("nothing was measured: the first message was refused: {reason}");
            return Err(Failure::new(failed, "`m2mesh contacts` lists the devices that can be measured"));
        }
        room.add_permits(1);
        messages += 1;
        *outcomes.entry(outcome.word()).or_insert(0) += 1;
        good += u64::from(outcome.is_success());
        if let Some(latency) = outcome.latency_us() {
            latencies.add(latency);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let used = before.zip(processor(status.pid)).map(|(before, after)| (after - before) / seconds);
    let rate = good as f64 / seconds;
    let report = Report {
        to: to.to_string(),
        messages,
        outcomes,
        seconds,
        rate,
        megabytes_per_second: rate * f64::from(load.size) / 1e6,
        p50_us: latencies.percentile(50),
        p99_us: latencies.percentile(99),
        lost: if messages > 0 { (messages - good) as f64 / messages as f64 } else { 0.0 },
        cpu: used,
    };
    tell(shell, &report)?;
    Ok(Verdict::of(messages > 0 && good == messages))
}

fn tell(shell: &Shell, report: &Report) -> Result<(), Failure> {
    if shell.json {
        return shell.object(report);
    }
    let micros = |time: Option<u64>| time.map_or_else(|| "-".into(), shell::micros);
    let outcomes: Vec<String> = report.outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let row = vec![
        report.to.clone(),
        format!("{:.0}/s", report.rate),
        format!("{:.2} MB/s", report.megabytes_per_second),
        micros(report.p50_us),
        micros(report.p99_us),
        format!("{:.2} %", report.lost * 100.0),
        report.cpu.map_or_else(|| "-".into(), |cpu| format!("{:.0} %", cpu * 100.0)),
        outcomes.join(", "),
    ];
    shell.table(&["TO", "RATE", "PAYLOAD", "P50", "P99", "LOST", "CPU HERE", "OUTCOMES"], vec![row])
}

/// A body of lines of the wanted size, which yields lines while there is room in the window and time left.
fn lines(room: Arc<Semaphore>, load: Load, until: Instant) -> Body {
    let mut line = vec![b'.'; usize::from(load.size)];
    line.push(b'\n');
    Body::from_stream(futures::stream::unfold((room, line), move |(room, line)| async move {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let permit = tokio::time::timeout(left, room.acquire()).await.ok()?.ok()?;
        permit.forget();
        let mut count = 1;
        while count < BURST
            && room.try_acquire().is_ok_and(|permit| {
                permit.forget();
                true
            })
        {
            count += 1;
        }
        let lines = Bytes::from(line.repeat(count));
        Some((Ok::<_, std::io::Error>(lines), (room, line)))
    }))
}

/// How long each message is of use.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most lines handed over at a time.
const BURST: usize = 256;
