//! What this machine gives a verb that works on directories itself: the time, and randomness.

use super::failure::Failure;
use crate::time::Unix;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Wall time.
pub(super) fn now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A generator seeded by the operating system.
pub(super) fn randomness() -> Result<ChaCha20Rng, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| {
        Failure::new(format!("the operating system gives no randomness: {error}"), "check the system; keys need it")
    })?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
