//! Headroom: how much time a message must have left when it leaves, if it is to arrive by its deadline.
//!
//! Where more is to be sent than a path carries, a queue is always as long as its messages may wait, and the oldest
//! message has almost no time left. Sending that one wastes the capacity of the path: it arrives too late, and so does
//! the next. Receipts show how long delivery takes. If no receipt comes in time, delivery takes longer than the time
//! that was left, and twice that time is asked for, up to half of the message's lifetime.
//!
//! Invariants
//! 1. Headroom grows only by messages that left and were not confirmed by their deadline, and with each receipt it
//!    moves towards one and a half times the time that the receipt took: some take longer than others.

use core::time::Duration;

/// The headroom of the messages of one class to one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Headroom(Duration);

impl Headroom {
    /// Notes that a message left with this much time to its deadline, and was not confirmed by then.
    pub(super) fn missed(&mut self, left: Duration, lifetime: Duration) {
        self.0 = self.0.max(left.saturating_mul(2).min(lifetime / 2));
    }

    /// Notes that a receipt came after this time.
    pub(super) fn confirmed(&mut self, took: Duration) {
        if !self.0.is_zero() {
            self.0 = (self.0.saturating_mul(15) + took.saturating_mul(3) / 2) / 16;
        }
    }

    /// Returns the time that a message must have left.
    pub(super) fn get(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn what_comes_too_late_asks_for_more_time_and_receipts_for_what_they_took() {
        let (mut headroom, ms) = (Headroom::default(), Duration::from_millis);
        headroom.confirmed(ms(900));
        assert_eq!(headroom.get(), ms(0), "nothing has come too late");
        for left in [100, 200, 400, 800] {
            headroom.missed(ms(left), ms(20_000));
            assert_eq!(headroom.get(), ms(left * 2));
        }
        headroom.missed(ms(50), ms(20_000));
        assert_eq!(headroom.get(), ms(1_600));
        headroom.missed(ms(15_000), ms(20_000));
        assert_eq!(headroom.get(), ms(10_000));
        (0..100).for_each(|_| headroom.confirmed(ms(800)));
        assert!(headroom.get() >= ms(1_200) && headroom.get() < ms(1_300), "{headroom:?}");
    }
}
