//! Ping: measures a link that carries too little traffic to be measured by it, and shows that the other end is alive.

use serde::{Deserialize, Serialize};

/// A time stamp, sent as `Ping` and echoed unchanged as `Pong`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The sender's monotonic time in microseconds, opaque to the other end.
    pub stamp: u64,
}
