//! Headroom: how much time a message needs to have left when it leaves, if it is to be there by its deadline.
//!
//! Where there is more to send than a way carries, a queue is always as long as its messages may wait, and the oldest of
//! them has next to no time left. To send that one is to waste what the way carries: it comes too late, and so does the next. What a
//! way takes is known from the receipts that come; where none comes in time, it takes longer than was left, and more is asked for: twice
//! that, as far as half of the message's lifetime.
//!
//! Invariant: headroom grows by messages that left and were not confirmed by their deadline alone, and falls with each
//! receipt towards the time that it took.

use core::time::Duration;

/// Of the messages to one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Headroom(Duration);

impl Headroom {
    /// A message left so long before its deadline, and was not confirmed by then.
    pub(super) fn missed(&mut self, left: Duration, lifetime: Duration) {
        self.0 = self.0.max(left.saturating_mul(2).min(lifetime / 2));
    }

    /// A receipt came after so long.
    pub(super) fn confirmed(&mut self, took: Duration) {
        if !self.0.is_zero() {
            self.0 = (self.0.saturating_mul(7) + took) / 8;
        }
    }

    /// What a message is to have left.
    pub(super) fn get(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        (0..40).for_each(|_| headroom.confirmed(ms(800)));
        assert!(headroom.get() >= ms(800) && headroom.get() < ms(900), "{headroom:?}");
    }
}
