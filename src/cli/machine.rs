//! What this machine gives a verb that works on directories itself: the time, and randomness.

use super::failure::Failure;
pub(super) use crate::node::system::unix_now as now;
use rand_chacha::ChaCha20Rng;

/// A generator seeded by the operating system.
pub(super) fn randomness() -> Result<ChaCha20Rng, Failure> {
    crate::node::system::system_rng().map_err(|error| Failure::split(error, "check the system; keys need it"))
}
