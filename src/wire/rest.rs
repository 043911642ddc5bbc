//! Rest: what a device that sleeps tells its neighbours: who are its parents, and that it is away from now on.

use serde::{Deserialize, Serialize};

/// A device's word on its rest, to one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Whether the neighbour is one of its parents: it is to keep the device's mail while it is away.
    pub parent: bool,
    /// For how many microseconds the device is away from now on, and is not to be looked for; 0 while it is awake.
    pub away: u64,
}
