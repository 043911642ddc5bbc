//! Replay window: a first filter against records that arrive twice.
//!
//! It costs no allocation and no look-up, and forgets everything at a restart: exactly-once delivery rests on the
//! durable dedupe of inner ids.
//!
//! Invariants
//! 1. Each counter is fresh once at most.
//! 2. A counter more than [`WINDOW`] behind the newest is not fresh.

/// The window over the last [`WINDOW`] counters: one bit for each in a ring of words, in the manner of RFC 6479.
#[derive(Clone)]
pub struct ReplayWindow {
    /// Highest counter seen, plus one.
    top: u64,
    ring: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { top: 0, ring: [0; WORDS] }
    }
}

impl ReplayWindow {
    /// Whether a counter is within the window, or above it, and has not been seen.
    pub fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.top {
            return counter < u64::MAX;
        }
        let (word, bit) = Self::place(counter);
        self.top - counter <= WINDOW && self.ring[word] & bit == 0
    }

    /// Marks a counter as seen, and moves the window up to it. The counter must be fresh.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.top {
            // Words that the window moves into are cleared; past a whole ring that is all of them.
            let (from, to) = (self.top.div_ceil(64), counter / 64);
            for word in from..=to.min(from + WORDS as u64) {
                self.ring[(word % WORDS as u64) as usize] = 0;
            }
            self.top = counter + 1;
        }
        let (word, bit) = Self::place(counter);
        self.ring[word] |= bit;
    }

    fn place(counter: u64) -> (usize, u64) {
        ((counter / 64 % WORDS as u64) as usize, 1 << (counter % 64))
    }
}

/// How far, in records, a record may arrive behind the newest: four hundred milliseconds of reordering at 2,500 records
/// a second.
pub const WINDOW: u64 = 1_024;
/// Words of the ring: those of the window and one more, which is being filled.
const WORDS: usize = WINDOW as usize / 64 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    /// Invariants 1 and 2, against a set that remembers everything.
    #[test]
    fn the_window_takes_each_counter_once() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        for _ in 0..200 {
            let (mut window, mut seen, mut top) = (ReplayWindow::default(), std::collections::BTreeSet::new(), 0u64);
            for _ in 0..600 {
                let word = rng.next_u64();
                let far = [3, 70, 1_100, 5_000][(word % 4) as usize];
                let counter = top.saturating_add(word >> 32 & 0xff).saturating_sub((word >> 8) % far);
                let fresh = !seen.contains(&counter) && (counter >= top || top - counter <= WINDOW);
                assert_eq!(window.is_fresh(counter), fresh, "counter {counter}, top {top}");
                if fresh {
                    window.mark(counter);
                    seen.insert(counter);
                    top = top.max(counter + 1);
                }
                if word % 97 == 0 {
                    top += far;
                    window.mark(top - 1);
                    seen.insert(top - 1);
                }
            }
        }
    }
}
