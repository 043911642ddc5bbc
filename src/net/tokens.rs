//! Tokens: how often enrolments may begin, in all and from one source.
//!
//! Each enrolment costs a search for the issuer through the mesh, and a signature and a write at the issuer, so
//! enrolments are rationed where they come in. Each source has a ration of its own: one that asks too often uses up no
//! other's.
//!
//! Invariants
//! 1. At most [`MAX_SOURCES`] sources are known. Drop policy: the one that asked longest ago is forgotten.

use super::permits::Source;
use std::collections::BTreeMap;
use std::time::Instant;

/// Token buckets, one for all enrolments and one for each source.
#[derive(Debug)]
pub(super) struct Tokens {
    all: Bucket,
    sources: BTreeMap<Source, Bucket>,
}

/// A token bucket; a token, which may be held in part, lets one enrolment begin.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Tokens {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Bucket { tokens: BURST, filled: now }, sources: BTreeMap::new() }
    }

    /// Whether one more enrolment may begin; if so, it takes a token of both buckets.
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
        // Neither bucket loses a token unless both have one: a source without tokens costs the others nothing.
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

/// Enrolments that may begin each second.
pub(super) const RATE: f64 = 4.0;
/// Enrolments that may begin at once after a quiet time.
pub(super) const BURST: f64 = 16.0;
/// The same for one source.
const SOURCE_RATE: f64 = 1.0;
const SOURCE_BURST: f64 = 8.0;
/// The maximum number of known sources.
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
        // All sources together have a ration too.
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
