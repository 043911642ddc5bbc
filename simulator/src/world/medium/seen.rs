//! Seen: the medium as the witness, the onlooker and the trace see it.

use super::{Medium, now};
use crate::world::onlooker::Onlooker;
use crate::world::witness::Witness;

impl Medium {
    /// Gives access to the witness.
    pub fn witness<T>(&self, ask: impl FnOnce(&mut Witness) -> T) -> T {
        ask(&mut self.lock().witness)
    }

    /// Lets an onlooker record the run.
    pub fn set_onlooker(&self, onlooker: Onlooker) {
        self.lock().onlooker = Some(Box::new(onlooker));
    }

    /// Returns the onlooker, which records nothing further.
    pub fn take_onlooker(&self) -> Option<Onlooker> {
        self.lock().onlooker.take().map(|onlooker| *onlooker)
    }

    /// Gives access to the onlooker, if there is one.
    pub fn onlook(&self, tell: impl FnOnce(&mut Onlooker)) {
        if let Some(onlooker) = &mut self.lock().onlooker {
            tell(onlooker);
        }
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
