//! Pace: how fast a lane is written, and so how much may wait for it.
//!
//! What waits in a queue for longer than it is of use might as well not be sent. The writer takes a chunk when it has
//! written the one before: the time between is what that one took, its own waiting included. From it follows how many
//! bytes leave within [`DELAY`], and more need not wait, down to a chunk, below which writing would suffer.
//!
//! Invariants
//! 1. The limit lies between [`CHUNK`] and the most allowed; without a measurement it is the most.
//! 2. A small chunk can show that a lane is faster than thought, never that it is slower.

use super::outbox::CHUNK;
use std::time::{Duration, Instant};

/// Measures one lane.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes a second, smoothed.
    rate: Option<f64>,
    /// What was taken last, and when.
    taken: Option<(usize, Instant)>,
}

impl Pace {
    /// The writer has come back for more.
    pub(crate) fn handle_back(&mut self, now: Instant) {
        let Some((bytes, since)) = self.taken.take() else { return };
        let rate = bytes as f64 / now.saturating_duration_since(since).as_secs_f64().max(1e-6);
        self.rate = Some(match self.rate {
            Some(known) if bytes < TELLING && rate < known => known,
            Some(known) => known + (rate - known) * WEIGHT,
            None if bytes < TELLING => return,
            None => rate,
        });
    }

    /// It has taken a chunk.
    pub(crate) fn handle_taken(&mut self, bytes: usize, now: Instant) {
        self.taken = (bytes > 0).then_some((bytes, now));
    }

    /// Most bytes that are to wait, where `most` are allowed.
    pub(crate) fn limit(&self, most: usize) -> usize {
        let Some(rate) = self.rate else { return most };
        let bytes = (rate * DELAY.as_secs_f64()).min(most as f64) as usize;
        bytes.max(CHUNK.min(most))
    }
}

/// How long a frame is to wait in its queue, where that can be helped.
const DELAY: Duration = Duration::from_millis(50);
/// Bytes from which on a chunk tells how slow a lane is.
const TELLING: usize = 16 * 1024;
/// Weight of a new measurement.
const WEIGHT: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1024 * 1024;

    /// Writes chunks that take that long each.
    fn written(chunks: &[(usize, u64)]) -> Pace {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for (bytes, millis) in chunks {
            pace.handle_taken(*bytes, now);
            now += Duration::from_millis(*millis);
            pace.handle_back(now);
        }
        pace
    }

    #[test]
    fn as_much_waits_as_leaves_in_time() {
        assert_eq!(Pace::default().limit(MOST), MOST);
        // 4 MB/s: 200 kB in 50 ms.
        assert_eq!(written(&[(40_000, 10)]).limit(MOST), 200_000);
        assert_eq!(written(&[(40_000, 10)]).limit(100_000), 100_000);
        // 64 kB/s: not less than a chunk.
        assert_eq!(written(&[(64_000, 1_000)]).limit(MOST), CHUNK);
    }

    #[test]
    fn small_chunks_do_not_slow_a_lane_down_and_large_ones_do() {
        let fast = (40_000, 1);
        assert_eq!(written(&[fast, (200, 50)]).limit(MOST), MOST);
        assert!(written(&[fast, (40_000, 100), (40_000, 100), (40_000, 100)]).limit(MOST) < MOST);
        assert_eq!(written(&[(200, 50)]).limit(MOST), MOST);
    }
}
