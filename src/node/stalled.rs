//! Stalled frames: those that wait for a link which accepts no more.
//!
//! The most urgent class leaves first, and the frames of a class leave in the order in which they came. A relay accepts
//! frames for a link whether or not the link accepts any, so that more may gather here than a narrow link carries
//! before they expire. An expired frame is dropped when its turn comes (`data_expired`): otherwise a link that was
//! overloaded would carry expired frames for as long again, and delay those that are still of use.
//!
//! A class that can do without has its own bound, so that none fills the room of the others: beyond it, the newest frames are dropped, with all
//! later pieces of the same frame, since the first would be of no use to anybody.
//!
//! Invariants
//! 1. A frame that was taken and has not expired is never dropped, and no other frame of its class overtakes it.
//! 2. At most [`MAX_STALLED`] frames wait. Drop policy: none, the link is closed (`links_stalled`).
//! 3. At most [`MAX_OF_CLASS`] frames of class telemetry wait, and as many of class bulk. Drop policy: the newest are dropped
//!    (`stalled_telemetry_dropped`, `stalled_bulk_dropped`).

use crate::counter::Counter;
use crate::time::Time;
use crate::wire::data::Class;
use crate::wire::fragment::Fragment;
use crate::wire::frame::{HEADER, Kind};
use crate::wire::{self, OutFrame};
use std::collections::VecDeque;

/// The frames that wait for one link. See the module's documentation.
#[derive(Default)]
pub(super) struct Stalled {
    /// The frames of each class, the most urgent class first.
    frames: [VecDeque<Waiting>; Class::ALL.len()],
    count: usize,
    /// For each class, whether its last frame was dropped: then the rest of its pieces are too.
    dropping: [bool; Class::ALL.len()],
}

/// What became of a frame that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Waits,
    /// There is no room for more of its class.
    Dropped(Counter),
    /// More frames wait now than may.
    TooMany,
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

    /// The most urgent class of which a frame waits.
    pub(super) fn most_urgent(&self) -> Option<Class> {
        Class::ALL.into_iter().find(|class| !self.has_none(*class))
    }

    /// Adds a frame, if there is room for it.
    pub(super) fn push(&mut self, class: Class, frame: OutFrame, until: Option<Time>) -> Pushed {
        let (of_class, dropping) = (&mut self.frames[class as usize], &mut self.dropping[class as usize]);
        let counter = match class {
            Class::Alarm | Class::Control => None,
            Class::Telemetry => Some(Counter::StalledTelemetryDropped),
            Class::Bulk => Some(Counter::StalledBulkDropped),
        };
        if let Some(counter) = counter {
            *dropping = of_class.len() >= MAX_OF_CLASS || *dropping && is_later_piece(&frame);
            if *dropping {
                return Pushed::Dropped(counter);
            }
        }
        of_class.push_back(Waiting { frame, until });
        self.count += 1;
        if self.count <= MAX_STALLED { Pushed::Waits } else { Pushed::TooMany }
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
/// Frames of one class that may wait, of those classes that can do without: at 10 kbit/s, the pieces of seven minutes.
const MAX_OF_CLASS: usize = 1_024;

/// Whether a frame is a piece of another, and not its first.
fn is_later_piece(frame: &OutFrame) -> bool {
    let body = frame.head().get(HEADER..).filter(|_| frame.head().get(4) == Some(&(Kind::Fragment as u8)));
    body.and_then(|body| wire::decode::<Fragment<'_>>(body).ok()).is_some_and(|fragment| fragment.piece > 0)
}

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
            assert_eq!(stalled.push(Class::Control, vec![name].into(), until), Pushed::Waits);
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
        assert_eq!(stalled.most_urgent(), Some(Class::Bulk));
        stalled.push(Class::Alarm, vec![200].into(), None);
        assert_eq!(stalled.most_urgent(), Some(Class::Alarm));
        assert!(stalled.next(Class::Alarm, Time(0), &mut dropped).is_some());
        stalled.take(Class::Alarm);
        assert!(stalled.has_none(Class::Alarm));
        assert!(stalled.next(Class::Alarm, Time(0), &mut dropped).is_none());
    }

    /// Invariant 2.
    #[test]
    fn no_more_wait_than_may() {
        let mut stalled = Stalled::default();
        let mut push = || stalled.push(Class::Alarm, vec![0].into(), None);
        assert!((0..MAX_STALLED).all(|_| push() == Pushed::Waits));
        assert_eq!(push(), Pushed::TooMany);
    }

    /// Invariant 3.
    #[test]
    fn bulk_fills_its_own_room_only_and_no_frame_is_kept_in_part() {
        let (mut stalled, mut dropped) = (Stalled::default(), 0);
        let piece =
            |piece| wire::frame::of(Kind::Fragment, &Fragment { frame: 1, piece, pieces: 3, bytes: &[0] }).into();
        let bulk = Pushed::Dropped(Counter::StalledBulkDropped);
        assert!((1..MAX_OF_CLASS).all(|_| stalled.push(Class::Bulk, vec![0].into(), None) == Pushed::Waits));
        assert_eq!(stalled.push(Class::Bulk, piece(0), None), Pushed::Waits);
        assert_eq!(stalled.push(Class::Bulk, piece(1), None), bulk);
        assert!(stalled.next(Class::Bulk, Time(0), &mut dropped).is_some());
        stalled.take(Class::Bulk);
        assert_eq!(stalled.push(Class::Bulk, piece(2), None), bulk, "what is before it is gone");
        assert_eq!(stalled.push(Class::Bulk, piece(0), None), Pushed::Waits);
        assert!((0..MAX_OF_CLASS).all(|_| stalled.push(Class::Telemetry, vec![0].into(), None) == Pushed::Waits));
        let telemetry = stalled.push(Class::Telemetry, vec![0].into(), None);
        assert_eq!(telemetry, Pushed::Dropped(Counter::StalledTelemetryDropped));
        assert_eq!(stalled.push(Class::Alarm, vec![0].into(), None), Pushed::Waits);
    }
}
