//! Admitted: what admission has found out about peers whose connections the Swarm has not reported yet.
//!
//! The wrapper around the transport puts it here, the behaviour claims it when the Swarm reports the connection; one that nobody has
//! put here is denied.
//!
//! Invariants
//! 1. At most [`MAX_UNCLAIMED`] wait. Drop policy: the oldest goes (`admissions_unclaimed`), and its connection is denied.

use super::PeerId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module's documentation. Clones are the same table.
#[derive(Debug)]
pub(crate) struct Admitted<P>(Arc<Mutex<Waiting<P>>>);

/// The oldest first.
type Waiting<P> = VecDeque<(PeerId, Found<P>)>;

/// What was found out about one.
#[derive(Debug)]
pub(crate) struct Found<P> {
    /// By the gatekeeper, from its hello.
    pub(crate) found: P,
    /// What the exchange of hellos took.
    pub(crate) round_trip: Duration,
    /// When the set-up of the connection began: the hello was written after that.
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

    /// Says whether the oldest entry had to go: its connection was given up between admission and the Swarm.
    pub(crate) fn put(&self, peer: PeerId, found: Found<P>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.len() == MAX_UNCLAIMED;
        if full {
            waiting.pop_front();
        }
        waiting.push_back((peer, found));
        full
    }

    /// Takes what is known of a peer, the newest first.
    pub(crate) fn claim(&self, peer: &PeerId) -> Option<Found<P>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.iter().rposition(|(waiting, _)| waiting == peer)?;
        waiting.remove(place).map(|(_, found)| found)
    }
}

/// Admitted connections that the Swarm has not reported yet. Far more than are ever on the way: a few milliseconds
/// lie between.
const MAX_UNCLAIMED: usize = 1_024;
