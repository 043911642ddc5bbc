//! Admitted: what admission has found out about peers whose connections the Swarm has not reported yet.
//!
//! The wrapper around the transport puts an entry here, and the behaviour claims it when the Swarm reports the
//! connection. A connection without an entry is denied.
//!
//! Invariants
//! - At most [`MAX_UNCLAIMED`] entries wait. Drop policy: the oldest is dropped (`admissions_unclaimed`), and its
//!   connection is denied.

use super::PeerId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The table of unclaimed entries. All clones share one table.
#[derive(Debug)]
pub(crate) struct Admitted<P>(Arc<Mutex<Waiting<P>>>);

/// Entries, the oldest first.
type Waiting<P> = VecDeque<(PeerId, Found<P>)>;

/// What is known of one admitted peer.
#[derive(Debug)]
pub(crate) struct Found<P> {
    /// What the gatekeeper read from the peer's hello.
    pub(crate) found: P,
    /// The round-trip time of the exchange of hellos.
    pub(crate) round_trip: Duration,
    /// When the set-up of the connection began: the peer wrote its hello after that.
    pub(crate) begun: Instant,
}

impl<P> Clone for Admitted<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> Admitted<P> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(VecDeque::new())))
    }

    /// Adds an entry and returns whether the oldest one was dropped for it: its connection was given up between
    /// admission and the Swarm.
    pub(crate) fn put(&self, peer: PeerId, found: Found<P>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.len() == MAX_UNCLAIMED;
        if full {
            waiting.pop_front();
        }
        waiting.push_back((peer, found));
        full
    }

    /// Removes and returns the newest entry of a peer.
    pub(crate) fn claim(&self, peer: &PeerId) -> Option<Found<P>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.iter().rposition(|(waiting, _)| waiting == peer)?;
        waiting.remove(place).map(|(_, found)| found)
    }
}

/// The maximum number of entries. Far more than ever wait: the Swarm reports a connection within milliseconds.
const MAX_UNCLAIMED: usize = 1_024;
