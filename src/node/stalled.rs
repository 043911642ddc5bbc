//! Stalled frames: those that wait for a link which accepts no more.
//!
//! The most urgent class leaves first, and the frames of a class leave in the order in which they came. A relay accepts
//! frames for a link whether or not the link accepts any, so that more may gather here than a narrow link carries
//! before they expire. An expired frame is dropped when its turn comes (`data_expired`): otherwise a link that was
//! overloaded would carry expired frames for as long again, and delay those that are still of use.
//!
//! Invariants
//! 1. A frame that has not expired is never dropped, and no other frame of its class overtakes it.
//! 2. At most [`MAX_STALLED`] frames wait. Drop policy: none, the link is closed (`links_stalled`).

use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use std::collections::VecDeque;

/// The frames that wait for one link. See the module's documentation.
#[derive(Default)]
pub(super) struct Stalled {
    /// The frames of each class, the most urgent class first.
    frames: [VecDeque<Waiting>; Class::ALL.len()],
    count: usize,
}

struct Waiting {
    frame: OutFrame,
    /// The frame is of no use after this time; `None` if it never expires.
    until: Option<Time>,
}

impl Stalled {
    /// Whether no frame of this class waits.
    pub(super) fn has_none(&self, class: Class) -> bool {
        self.frames[class as usize].is_empty()
    }

    /// Adds a frame. Returns `false` if more frames wait now than may.
    pub(super) fn push(&mut self, class: Class, frame: OutFrame, until: Option<Time>) -> bool {
        self.frames[class as usize].push_back(Waiting { frame, until });
        self.count += 1;
        self.count <= MAX_STALLED
    }

    /// The next frame of a class that has not expired; expired ones before it are dropped and added to `dropped`.
    pub(super) fn next(&mut self, class: Class, now: Time, dropped: &mut u64) -> Option<&OutFrame> {
        let frames = &mut self.frames[class as usize];
        while frames.pop_front_if(|first| first.until.is_some_and(|until| until < now)).is_some() {
            self.count -= 1;
            *dropped += 1;
        }
        frames.front().map(|first| &first.frame)
    }

    /// Removes the next frame of a class, which has left.
    pub(super) fn take(&mut self, class: Class) {
        self.count -= usize::from(self.frames[class as usize].pop_front().is_some());
    }
}

/// Frames that may wait for a link in addition to its own queues. Beyond that the link is closed, and the messages
/// concerned are sent again over another link.
const MAX_STALLED: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame that leaves at that second, by its first byte.
    fn next(stalled: &mut Stalled, second: u64, dropped: &mut u64) -> Option<u8> {
        let now = Time(second * 1_000_000);
        let first = stalled.next(Class::Control, now, dropped).map(|frame| frame.clone().into_vec()[0]);
        stalled.take(Class::Control);
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

    #[test]
    fn what_is_urgent_does_not_stand_behind_what_is_not() {
        let (mut stalled, mut dropped) = (Stalled::default(), 0);
        for name in 0..100 {
            stalled.push(Class::Bulk, vec![name].into(), None);
        }
        assert!(stalled.has_none(Class::Alarm) && !stalled.has_none(Class::Bulk));
        stalled.push(Class::Alarm, vec![200].into(), None);
        assert!(stalled.next(Class::Alarm, Time(0), &mut dropped).is_some());
        stalled.take(Class::Alarm);
        assert!(stalled.has_none(Class::Alarm));
        assert!(stalled.next(Class::Alarm, Time(0), &mut dropped).is_none());
    }

    /// Invariant 2.
    #[test]
    fn no_more_wait_than_may() {
        let mut stalled = Stalled::default();
        let pushed = (0..=MAX_STALLED).filter(|_| stalled.push(Class::Bulk, vec![0].into(), None)).count();
        assert_eq!(pushed, MAX_STALLED);
    }
}
