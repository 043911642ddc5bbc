//! Entrusted: messages that have ended for their sender because another keeps them for the receiver.
//!
//! The sender hears no more of them. They may come to the receiver days later, and after messages that were sent later. So the floor that it is told stays
//! below them until their time is over: a receiver takes nothing whose number lies below it.
//!
//! Invariants
//! 1. The floor that is told does not pass a message that is entrusted and of use.
//! - At most [`MAX_ENTRUSTED`] messages are known, and the floor that is told lags behind by [`LAG`] at most, since a receiver keeps what comes in disorder in a bounded number of
//!   runs. Drop policy: the oldest is no longer waited for; it counts as expired where it comes late.

use crate::time::Unix;
use std::collections::BTreeMap;

/// The most messages that are known.
const MAX_ENTRUSTED: usize = 1_024;
/// By how much the floor that is told lags behind at most.
pub(super) const LAG: u64 = 4_096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Entrusted {
    /// By sequence number, when each is of no use any more.
    until: BTreeMap<u64, Unix>,
}

impl Entrusted {
    pub(super) fn insert(&mut self, sequence: u64, until: Unix) {
        self.until.insert(sequence, until);
        if self.until.len() > MAX_ENTRUSTED {
            self.until.pop_first();
        }
    }

    /// The floor that is told, where all below `floor` have ended.
    pub(super) fn floor(&mut self, floor: u64, now: Unix) -> u64 {
        let is_over = |(sequence, until): (&u64, &Unix)| *until <= now || sequence + LAG < floor;
        while self.until.first_key_value().is_some_and(is_over) {
            self.until.pop_first();
        }
        self.until.first_key_value().map_or(floor, |(sequence, _)| floor.min(*sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn the_floor_stays_below_what_others_keep_until_its_time_is_over() {
        let mut entrusted = Entrusted::default();
        entrusted.insert(3, Unix(50));
        entrusted.insert(7, Unix(20));
        entrusted.insert(9, Unix(90));
        let told: Vec<u64> = [10, 30, 50, 90].into_iter().map(|now| entrusted.floor(12, Unix(now))).collect();
        assert_eq!(told, [3, 3, 9, 12]);
        entrusted.insert(20, Unix(500));
        assert_eq!(entrusted.floor(15, Unix(100)), 15, "what has not ended comes first");
        assert_eq!((entrusted.floor(20 + LAG, Unix(100)), entrusted.floor(21 + LAG, Unix(100))), (20, 21 + LAG));
        (0..2_000).for_each(|sequence| entrusted.insert(sequence, Unix(500)));
        assert_eq!((entrusted.until.len(), entrusted.floor(2_000, Unix(100))), (MAX_ENTRUSTED, 2_000 - 1_024));
    }
}
