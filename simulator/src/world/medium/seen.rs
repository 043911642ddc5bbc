//! Seen: the medium as the witness and the trace see it.

use super::{Medium, now};
use crate::world::witness::Witness;

impl Medium {
    /// Gives access to the witness.
    pub fn witness<T>(&self, ask: impl FnOnce(&mut Witness) -> T) -> T {
        ask(&mut self.lock().witness)
    }

    pub(super) fn note_lost(&self, edge: usize) {
        let mut state = self.lock();
        let (a, b) = (state.edges[edge].a, state.edges[edge].b);
        state.witness.note_lost(a, b);
    }

    /// Adds to the trace that the application of a device received this message.
    pub fn note_delivery(&self, device: usize, message: u64) {
        self.lock().trace.add(now(), device, usize::MAX, &message.to_be_bytes());
    }

    pub(super) fn note_misdeeds(&self, device: usize, count: usize) {
        self.lock().devices[device].misdeeds += count as u64;
    }
}
