//! How often enrolments may begin, in all and from one source.
//!
//! Each one is flooded through the mesh and costs an issuer a signature and a write, so that they are rationed where they
//! come in. A source has its own ration: who asks too often uses up nobody else's.
//!
//! Invariants
//! 1. At most [`MAX_SOURCES`] sources are known. Drop policy: the one that was heard longest ago is forgotten.

use super::permits::Source;
use std::collections::BTreeMap;
use std::time::Instant;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Tokens {
    all: Bucket,
    sources: BTreeMap<Source, Bucket>,
}

/// Enrolments that may begin: whole ones and parts of them.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Tokens {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Bucket { tokens: BURST, filled: now }, sources: BTreeMap::new() }
    }

    /// Whether one more may begin; if so, it is counted.
    pub(super) fn take(&mut self, source: &Source, now: Instant) -> bool {
        self.all.fill(now, RATE, BURST);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(source) {
            let oldest = self.sources.iter().min_by_key(|(_, bucket)| bucket.filled);
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                self.sources.remove(&oldest);
            }
        }
        let full = Bucket { tokens: SOURCE_BURST, filled: now };
        let own = self.sources.entry(source.clone()).or_insert(full);
        own.fill(now, SOURCE_RATE, SOURCE_BURST);
        // First the source's: one without any costs the others nothing.
        if own.tokens < 1.0 || self.all.tokens < 1.0 {
            return false;
        }
        own.tokens -= 1.0;
        self.all.tokens -= 1.0;
        true
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant, rate: f64, most: f64) {
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * rate).min(most);
        self.filled = now;
    }
}

/// Enrolments that may begin, a second.
pub(super) const RATE: f64 = 4.0;
/// Enrolments that may begin at once after a quiet time.
pub(super) const BURST: f64 = 16.0;
/// The same of one source.
const SOURCE_RATE: f64 = 1.0;
const SOURCE_BURST: f64 = 8.0;
/// Most sources that are known.
const MAX_SOURCES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_source_that_asks_too_often_uses_up_nobody_elses() {
        let start = Instant::now();
        let mut tokens = Tokens::new(start);
        let source = |number| Source::V4([10, 0, 0, number]);
        let taken = |tokens: &mut Tokens, of, now| (0..100).filter(|_| tokens.take(&source(of), now)).count();
        assert_eq!(taken(&mut tokens, 1, start), 8);
        assert!(tokens.take(&source(2), start));
        assert_eq!(taken(&mut tokens, 1, start + Duration::from_secs(3)), 3);
        assert!(tokens.take(&source(2), start + Duration::from_secs(3)));
        // All together have a ration too.
        let later = start + Duration::from_secs(100);
        assert_eq!((3..9).map(|of| taken(&mut tokens, of, later)).sum::<usize>(), 16);
    }

    /// Invariant 1.
    #[test]
    fn the_source_heard_longest_ago_is_forgotten() {
        let start = Instant::now();
        let mut tokens = Tokens::new(start);
        for number in 0..2_000u32 {
            tokens.take(&Source::Other(number.to_string()), start + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(tokens.sources.len(), MAX_SOURCES);
        assert!(tokens.sources.contains_key(&Source::Other("1999".into())));
    }
}
