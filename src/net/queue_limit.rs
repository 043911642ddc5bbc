//! Queue limit: how fast a lane is written, and from it how much may wait for it and how much is written at once.
//!
//! A frame that waits for too long is of no use when it arrives, and an urgent frame waits for the chunk that is being
//! written. The writer takes a chunk when it has written the one before: the time between is what that chunk took,
//! including the writer's own waiting. From it follows how many bytes leave within [`DELAY`]: at most that many wait in
//! a queue, and at most that many are written as one.
//!
//! The layers below have buffers of unknown size, into which a little is written at once however slow the lane is. So a
//! lane starts with a low limit, and its estimated pace at most doubles with each chunk that was filled to the limit; a
//! chunk that took long lowers it at once. A slow lane is thus never far behind, and a fast one reaches its full pace
//! after a few chunks.
//!
//! Invariants
//! 1. The limits lie between [`LEAST`] and the most allowed.
//! 2. A chunk after which nothing waited changes no estimate, and one that was written within [`DELAY`] never lowers
//!    it.

use super::outbox::CHUNK;
use std::time::{Duration, Instant};

/// The estimated pace of one lane.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The estimated pace, in bytes a second.
    rate: f64,
    /// The size of the last chunk, when it was taken, and whether more waited than it could hold.
    taken: Option<(usize, Instant, bool)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: FIRST as f64 / DELAY.as_secs_f64(), taken: None }
    }
}

impl Pace {
    /// Returns the pace of a lane that takes everything at once.
    #[cfg(test)]
    pub(crate) fn fast() -> Self {
        Self { rate: 1e12, taken: None }
    }

    /// Handles the writer's return for the next chunk.
    pub(crate) fn handle_back(&mut self, now: Instant) {
        let Some((bytes, since, more)) = self.taken.take() else { return };
        let took = now.saturating_duration_since(since);
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        if more && (rate > self.rate || took >= DELAY) {
            self.rate = rate.min(self.rate * 2.0);
        }
    }

    /// Notes that a chunk was taken, and whether there is `more`.
    pub(crate) fn handle_taken(&mut self, bytes: usize, more: bool, now: Instant) {
        self.taken = (bytes > 0).then_some((bytes, now, more));
    }

    /// Returns the maximum number of bytes that may wait, where `most` are allowed.
    pub(crate) fn limit(&self, most: usize) -> usize {
        let bytes = (self.rate * DELAY.as_secs_f64()).min(most as f64) as usize;
        bytes.max(LEAST.min(most))
    }

    /// Returns the maximum number of bytes that are written as one.
    pub(crate) fn chunk(&self) -> usize {
        self.limit(CHUNK)
    }
}

/// The longest time that a frame should wait in its queue.
const DELAY: Duration = Duration::from_millis(50);
/// Bytes that leave within [`DELAY`] on a lane that has not been measured.
const FIRST: usize = 4 * 1024;
/// The least limit in bytes: a smaller one would slow writing down more than it helps waiting frames.
const LEAST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1024 * 1024;

    /// Writes chunks that take so many milliseconds each, with or without more waiting, and returns the limit.
    fn write(pace: &mut Pace, chunks: &[(usize, u64)], more: bool) -> usize {
        let mut now = Instant::now();
        for (bytes, millis) in chunks {
            pace.handle_taken(*bytes, more, now);
            now += Duration::from_millis(*millis);
            pace.handle_back(now);
        }
        pace.limit(MOST)
    }

    /// Invariant 1.
    #[test]
    fn as_much_waits_as_leaves_in_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.limit(MOST), FIRST);
        // 4 MB/s, at most doubling after each chunk: 200 kB in 50 ms.
        let limits = [0; 7].map(|_| write(&mut pace, &[(40_000, 10)], true));
        assert_eq!(limits[..5], [2, 4, 8, 16, 32].map(|times| times * FIRST));
        assert_eq!(limits[5..], [200_000; 2]);
        assert_eq!((pace.limit(100_000), pace.chunk()), (100_000, CHUNK));
        // First 64 kB/s, then 2 kB/s.
        assert_eq!(write(&mut pace, &[(64_000, 1_000)], true), 3_200);
        assert_eq!(pace.chunk(), 3_200);
        assert_eq!(write(&mut pace, &[(2_000, 1_000)], true), LEAST);
        assert_eq!((pace.limit(200), pace.chunk()), (200, LEAST));
    }

    /// Invariant 2: a chunk after which nothing waited.
    #[test]
    fn a_buffer_below_makes_no_slow_lane_fast() {
        let mut pace = Pace::default();
        write(&mut pace, &[(8_000, 2_000)], true);
        // A few short frames, one by one, go into a socket's buffer at once.
        assert_eq!(write(&mut pace, &[(200, 0); 50], false), LEAST);
        // With more waiting, a faster pace is tried, and given up with the first chunk that takes long.
        assert!(write(&mut pace, &[(1_024, 0), (2_048, 0), (4_096, 0)], true) > LEAST);
        assert_eq!(write(&mut pace, &[(8_192, 2_000)], true), LEAST);
    }

    /// Invariant 2.
    #[test]
    fn what_is_written_in_time_does_not_slow_a_lane_down() {
        let mut pace = Pace::default();
        write(&mut pace, &[(60_000, 1); 10], true);
        assert_eq!(pace.limit(MOST), MOST);
        write(&mut pace, &[(300, 49); 10], true);
        write(&mut pace, &[(300, 5_000)], false);
        assert_eq!(pace.limit(MOST), MOST);
    }
}
