//! `--lines`: standard input to the node as it comes, outcomes back as they come, a summary at the end.

use super::Verdict;
use super::failure::Failure;
use super::histogram::Histogram;
use super::shell::{self, Shell};
use crate::gateway::client::Client;
use crate::gateway::dto::LineOutcome;
use axum::body::{Body, Bytes};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// What became of all of them.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    outcomes: BTreeMap<&'static str, u64>,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    seconds: f64,
}

/// Streams standard input through a route that takes lines.
pub(super) async fn run(
    shell: &Shell,
    client: &Client,
    route: &str,
    query: &impl Serialize,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let progress = progress(shell);
    let mut answers = client.lines(route, query, standard_input()).await?;
    let (mut summary, mut latencies, mut failed) = (Summary::default(), Histogram::default(), 0);
    while let Some(line) = answers.next::<LineOutcome>().await? {
        progress.inc(1);
        summary.lines += 1;
        *summary.outcomes.entry(line.outcome.word()).or_default() += 1;
        if let Some(latency) = line.outcome.latency_us() {
            latencies.add(latency);
        }
        if shell.json {
            shell.object(&line)?;
        }
        if !line.outcome.is_success() {
            failed += 1;
            if !shell.json && failed <= MAX_TOLD {
                progress.suspend(|| shell.note(describe(&line)));
            }
        }
    }
    progress.finish_and_clear();
    if failed > MAX_TOLD && !shell.json {
        shell.note(format_args!("… and {} more", failed - MAX_TOLD));
    }
    summary.p50_us = latencies.percentile(50);
    summary.p99_us = latencies.percentile(99);
    summary.seconds = started.elapsed().as_secs_f64();
    tell(shell, &summary)?;
    Ok(Verdict::of(failed == 0))
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

/// A bar on standard error while a person waits.
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

fn standard_input() -> Body {
    Body::from_stream(futures::stream::unfold(tokio::io::stdin(), |mut stdin| async move {
        let mut chunk = vec![0; CHUNK];
        match stdin.read(&mut chunk).await {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some((Ok(Bytes::from(chunk)), stdin))
            }
            Err(error) => Some((Err(error), stdin)),
        }
    }))
}

/// Failures told one by one; the summary counts all.
const MAX_TOLD: u64 = 10;
/// Most bytes read from standard input at a time.
const CHUNK: usize = 64 * 1024;
