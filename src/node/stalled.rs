//! Stalled: the frames that wait for a link which takes no more.
//!
//! They leave in the order in which they came. A relay takes what is for a link whether that takes something or not, so that more may come
//! together here than a narrow link carries until it is of no use. Such a frame is dropped when its turn comes: else a link that was overloaded
//! would carry nothing but what is over for as long again, and what is of use stood behind it.
//!
//! Invariants
//! 1. A frame that may still be of use is never dropped, and no other overtakes it.
//! 2. At most [`MAX_STALLED`] frames. Drop policy: none, the link is closed.

use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use std::collections::VecDeque;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Stalled {
    frames: VecDeque<Waiting>,
}

struct Waiting {
    class: Class,
    frame: OutFrame,
    /// Of no use after this.
    until: Option<Time>,
}

impl Stalled {
    /// One more waits. `false`: these are more than may wait.
    pub(super) fn push(&mut self, class: Class, frame: OutFrame, until: Option<Time>) -> bool {
        self.frames.push_back(Waiting { class, frame, until });
        self.frames.len() <= MAX_STALLED
    }

    /// The next that is of use; those before it are dropped, and counted.
    pub(super) fn next(&mut self, now: Time, dropped: &mut u64) -> Option<(Class, &OutFrame)> {
        while self.frames.front().is_some_and(|first| first.until.is_some_and(|until| until < now)) {
            self.frames.pop_front();
            *dropped += 1;
        }
        self.frames.front().map(|first| (first.class, &first.frame))
    }

    /// The next has left.
    pub(super) fn take(&mut self) {
        self.frames.pop_front();
    }
}

/// Frames that may wait for a link beyond its own queues; the link is closed past that, and what they were about is
/// sent again over another.
const MAX_STALLED: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves at that second, by its first byte.
    fn next(stalled: &mut Stalled, second: u64, dropped: &mut u64) -> Option<u8> {
        let first = stalled.next(Time(second * 1_000_000), dropped).map(|(_, frame)| frame.clone().into_vec()[0]);
        stalled.take();
        first
    }

    /// Invariant 1.
    #[test]
    fn what_is_over_does_not_hold_up_what_is_of_use() {
        let mut stalled = Stalled::default();
        let until = |second: u64| Some(Time(second * 1_000_000));
        for (name, until) in [(1, until(9)), (2, until(4)), (3, None), (4, until(5)), (5, until(7)), (6, until(9))] {
            assert!(stalled.push(Class::Control, vec![name].into(), until));
        }
        let mut dropped = 0;
        assert_eq!([2, 5, 6, 6].map(|second| next(&mut stalled, second, &mut dropped)), [1, 3, 5, 6].map(Some));
        assert_eq!((next(&mut stalled, 6, &mut dropped), dropped), (None, 2));
    }

    /// Invariant 2.
    #[test]
    fn no_more_wait_than_may() {
        let mut stalled = Stalled::default();
        let pushed = (0..=MAX_STALLED).filter(|_| stalled.push(Class::Bulk, vec![0].into(), None)).count();
        assert_eq!(pushed, MAX_STALLED);
    }
}
