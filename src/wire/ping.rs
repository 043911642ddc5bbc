//! Ping: measures a link that carries too little traffic to be measured by, and shows that the other end lives.

use serde::{Deserialize, Serialize};

/// Sent as `Ping`, echoed unchanged as `Pong`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The sender's monotonic microseconds, opaque to the other end.
    pub stamp: u64,
}
