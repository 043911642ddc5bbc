//! Dials: how many devices begin within a second.

use super::Witness;
use crate::world::medium::{NANOS, now};
use std::collections::VecDeque;

/// The dials of a run.
#[derive(Default)]
pub struct Dials {
    /// The times of those within the last second.
    late: VecDeque<u64>,
    /// The most within a second.
    most: usize,
}

impl Witness {
    /// Counts a dial that begins.
    pub(super) fn count_dial(&mut self) {
        let now = now();
        let Dials { late, most } = &mut self.dials;
        late.push_back(now);
        while late.pop_front_if(|at| *at + NANOS <= now).is_some() {}
        *most = late.len().max(*most);
    }

    /// Forgets how many dials there were: what is measured begins here.
    pub fn forget_dials(&mut self) {
        self.dials = Dials::default();
    }

    /// Returns the most dials that began within a second.
    pub fn most_dials(&self) -> usize {
        self.dials.most
    }
}
