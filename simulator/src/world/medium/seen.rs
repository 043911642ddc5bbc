//! What is seen of the medium from without: by the witness, and in the trace.

use super::{Medium, now};
use crate::world::witness::Witness;

impl Medium {
    /// What the witness has seen, for whoever adds to it or asks it.
    pub fn witness<T>(&self, ask: impl FnOnce(&mut Witness) -> T) -> T {
        ask(&mut self.lock().witness)
    }

    pub(super) fn note_lost(&self, edge: usize) {
        let mut state = self.lock();
        let (a, b) = (state.edges[edge].a, state.edges[edge].b);
        state.witness.note_lost(a, b);
    }

    /// The application of a device got this message: part of the trace.
    pub fn note_delivery(&self, device: usize, message: u64) {
        self.lock().trace.add(now(), device, usize::MAX, &message.to_be_bytes());
    }

    pub(super) fn note_misdeeds(&self, device: usize, count: usize) {
        self.lock().devices[device].misdeeds += count as u64;
    }
}
