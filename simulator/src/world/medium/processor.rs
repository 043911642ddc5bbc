//! Processor: a device's processor, which processes frames that have arrived one after the other, each for the same
//! time.
//!
//! Bytes that have arrived can be read once they have been processed. A frame therefore takes longer over a hop, and
//! frames that come from several neighbours at once wait for each other. All other work of a node takes no time.
//!
//! Invariants
//! 1. A processor processes frames in the order in which they arrive, over all streams of its device.

use std::sync::{Mutex, PoisonError};

/// A processor: see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Processor {
    /// The nanoseconds for a frame.
    each: u64,
    /// The time at which it has finished all its work, in nanoseconds.
    free: Mutex<u64>,
}

impl Processor {
    pub(super) fn new(each: u64) -> Self {
        Self { each, free: Mutex::new(0) }
    }

    /// Returns whether it takes any time.
    pub(super) fn is_slow(&self) -> bool {
        self.each > 0
    }

    /// Adds frames that have arrived, and returns the time at which they will have been processed.
    pub(super) fn work(&self, frames: u32, now: u64) -> u64 {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now).saturating_add(self.each.saturating_mul(u64::from(frames)));
        *free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn frames_wait_for_each_other_and_for_nothing_else() {
        let processor = Processor::new(50);
        assert_eq!(
            [(1, 100), (2, 120), (1, 1_000)].map(|(frames, now)| processor.work(frames, now)),
            [150, 250, 1_050]
        );
        assert!(processor.is_slow() && !Processor::default().is_slow());
        assert_eq!(Processor::default().work(9, 7), 7);
    }
}
