//! How many messages per second nine subscribers hear from one publisher, compared with anonymous gossipsub in the same
//! run.
//!
//! Ten nodes of each kind are linked with each other over TCP on loopback, in this process. One publishes messages of
//! 200 bytes and stays at most a given number of messages ahead of the slowest subscriber, so that nothing is gained by
//! filling buffers. The two kinds take turns, since only ratios of one run on one machine are meaningful. Gossipsub
//! neither signs nor stores here, and does not report losses. The exit code is 1 if a subscriber of this project's
//! nodes has missed anything.

mod gossip;
mod mesh;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nodes of each kind: one publishes, and the others subscribe.
const NODES: usize = 10;
/// Size of a message, in bytes.
const SIZE: usize = 200;
/// How many messages the publisher may be ahead of the slowest subscriber.
const AHEAD: [u64; 3] = [256, 1_024, 4_096];
/// How long each kind is measured, after it has run for the warm-up.
const SPAN: Duration = Duration::from_secs(8);
const WARMUP: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// Number of messages that each subscriber has heard.
#[derive(Clone)]
struct Heard(Arc<Vec<AtomicU64>>);

impl Heard {
    fn new() -> Self {
        Self(Arc::new((1..NODES).map(|_| AtomicU64::new(0)).collect()))
    }

    fn note(&self, subscriber: usize) {
        self.0[subscriber].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn slowest(&self) -> u64 {
        self.counts().into_iter().min().unwrap_or(0)
    }

    /// Measures the messages per second that the slowest subscriber hears from now on.
    async fn rate(&self) -> f64 {
        tokio::time::sleep(WARMUP).await;
        let (before, began) = (self.counts(), Instant::now());
        tokio::time::sleep(SPAN).await;
        let took = began.elapsed().as_secs_f64();
        let rates = self.counts().into_iter().zip(before).map(|(after, before)| (after - before) as f64 / took);
        rates.fold(f64::MAX, f64::min)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    println!(
        "{NODES} nodes in one process, {SIZE} bytes; messages a second at the slowest of {} subscribers",
        NODES - 1
    );
    println!("{:>6} {:>10} {:>10} {:>7}", "ahead", "m2mesh", "gossipsub", "ratio");
    let mut missed = 0;
    for ahead in AHEAD.repeat(ROUNDS) {
        let (ours, lost) = match mesh::run(ahead).await {
            Ok(result) => result,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        let theirs = match gossip::run(ahead).await {
            Ok(rate) => rate,
            Err(error) => {
                eprintln!("error: gossipsub: {error}");
                return ExitCode::FAILURE;
            }
        };
        missed += lost;
        println!("{ahead:>6} {ours:>10.0} {theirs:>10.0} {:>6.1}x", ours / theirs);
    }
    println!("missed by subscribers of m2mesh: {missed}");
    ExitCode::from(u8::from(missed > 0))
}
