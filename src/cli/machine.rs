//! The time and randomness of this machine, for verbs that work on directories themselves.

use super::failure::Failure;
pub(super) use crate::node::system::unix_now as now;
use rand_chacha::ChaCha20Rng;

/// Returns a generator seeded by the operating system.
pub(super) fn randomness() -> Result<ChaCha20Rng, Failure> {
    crate::node::system::system_rng().map_err(|error| Failure::split(error, "check the system; keys need it"))
}
