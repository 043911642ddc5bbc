//! Queue limits: how fast a lane is written, and so how much may wait for it and how much is written at once.
//!
//! What waits in a queue for longer than it is of use might as well not be sent, and what is urgent waits for what is being written.
//! The writer takes a chunk when it has written the one before: the time between is what that one took, its own waiting
//! included. From it follows how many bytes leave within [`DELAY`]: so many wait in a queue at most, and are written as one.
//!
//! What lies below has buffers of its own, of unknown size, into which a little is written at once however slow the lane is. So a lane
//! begins with little, and is thought to be twice as fast at most after each chunk that was all that it might be; one that took long is
//! believed at once. A lane that is slow is so never far behind, and one that is fast is at its full pace after a few chunks.
//!
//! Invariants
//! 1. The limits lie between [`LEAST`] and the most allowed.
//! 2. A chunk after which nothing waited shows nothing, and one that was written within [`DELAY`] never that a lane is slower.

use super::outbox::CHUNK;
use std::time::{Duration, Instant};

/// Measures one lane.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second.
    rate: f64,
    /// What was taken last, when, and whether there was more than it could take.
    taken: Option<(usize, Instant, bool)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: FIRST as f64 / DELAY.as_secs_f64(), taken: None }
    }
}

impl Pace {
    /// Of a lane that takes whatever there is.
    #[cfg(test)]
    pub(crate) fn fast() -> Self {
        Self { rate: 1e12, taken: None }
    }

    /// The writer has come back for more.
    pub(crate) fn handle_back(&mut self, now: Instant) {
        let Some((bytes, since, more)) = self.taken.take() else { return };
        let took = now.saturating_duration_since(since);
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        if more && (rate > self.rate || took >= DELAY) {
            self.rate = rate.min(self.rate * 2.0);
        }
    }

    /// It has taken a chunk, and there is `more` than that.
    pub(crate) fn handle_taken(&mut self, bytes: usize, more: bool, now: Instant) {
        self.taken = (bytes > 0).then_some((bytes, now, more));
    }

    /// Most bytes that are to wait, where `most` are allowed.
    pub(crate) fn limit(&self, most: usize) -> usize {
        let bytes = (self.rate * DELAY.as_secs_f64()).min(most as f64) as usize;
        bytes.max(LEAST.min(most))
    }

    /// Most bytes that are to be written as one.
    pub(crate) fn chunk(&self) -> usize {
        self.limit(CHUNK)
    }
}

/// How long a frame is to wait in its queue, where that can be helped.
const DELAY: Duration = Duration::from_millis(50);
/// Bytes that leave within that on a lane of which nothing is known.
const FIRST: usize = 4 * 1024;
/// Bytes below which writing would suffer more than what waits.
const LEAST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1024 * 1024;

    /// Writes chunks that take so many milliseconds each, and after which there is more.
    fn write(pace: &mut Pace, chunks: &[(usize, u64)], more: bool) -> usize {
        let mut now = Instant::now();
        for (bytes, millis) in chunks {
            pace.handle_taken(*bytes, more, now);
            now += Duration::from_millis(*millis);
            pace.handle_back(now);
        }
        pace.limit(MOST)
    }

    #[test]
    fn as_much_waits_as_leaves_in_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.limit(MOST), FIRST);
        // 4 MB/s, twice as much at most after each chunk: 200 kB in 50 ms.
        let limits = [0; 7].map(|_| write(&mut pace, &[(40_000, 10)], true));
        assert_eq!(limits[..5], [2, 4, 8, 16, 32].map(|times| times * FIRST));
        assert_eq!(limits[5..], [200_000; 2]);
        assert_eq!((pace.limit(100_000), pace.chunk()), (100_000, CHUNK));
        // 64 kB/s, and 2 kB/s.
        assert_eq!(write(&mut pace, &[(64_000, 1_000)], true), 3_200);
        assert_eq!(pace.chunk(), 3_200);
        assert_eq!(write(&mut pace, &[(2_000, 1_000)], true), LEAST);
        assert_eq!((pace.limit(200), pace.chunk()), (200, LEAST));
    }

    #[test]
    fn a_buffer_below_makes_no_slow_lane_fast() {
        let mut pace = Pace::default();
        write(&mut pace, &[(8_000, 2_000)], true);
        // A few short frames, one by one, go into a socket's buffer at once.
        assert_eq!(write(&mut pace, &[(200, 0); 50], false), LEAST);
        // Where there is more it is tried, and given up with the first chunk that waits.
        assert!(write(&mut pace, &[(1_024, 0), (2_048, 0), (4_096, 0)], true) > LEAST);
        assert_eq!(write(&mut pace, &[(8_192, 2_000)], true), LEAST);
    }

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
