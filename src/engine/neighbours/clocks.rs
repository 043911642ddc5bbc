//! Clocks: how a neighbour's clock differs from this device's, by what its hello states and how both clocks were set
//! since.
//!
//! Invariants
//! 1. Where the difference is uncertain, the greatest possible one is assumed, so that what comes from the neighbour is
//!    of use no longer than it should be.

use core::time::Duration;

/// A neighbour's clock compared with this device's, all in microseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Clocks {
    /// The neighbour's clock less ours at the time of the hello if they differ by more than a hello can tell, else 0.
    pub(in crate::engine) offset: i64,
    /// By how much this device's clock was set forward since the hello.
    pub(in crate::engine) set_forward: i64,
    /// By how much the neighbour's own clock was set forward, as it says.
    pub(in crate::engine) theirs_set_forward: i64,
}

impl Clocks {
    /// The clocks of a new link: `theirs` and `ours` in seconds, by a hello that is at most `age` old.
    pub(in crate::engine) fn of_link(theirs: u64, ours: u64, age: Duration) -> Self {
        Self { offset: clock_offset(theirs, ours, age), set_forward: 0, theirs_set_forward: 0 }
    }

    /// The neighbour's clock less ours in microseconds if they differ by more than a hello can tell, else 0.
    pub(in crate::engine) fn between(&self) -> i64 {
        moved(self.offset, self.theirs_set_forward.saturating_sub(self.set_forward))
    }

    /// As [`Self::between`], but for the neighbour's clock as it would go if nobody had set it since its hello. What
    /// the neighbour says of publishers' clocks refers to that clock, so that it does not matter which of its frames
    /// were under way when the clock was set.
    pub(in crate::engine) fn of_hello(&self) -> i64 {
        moved(self.offset, self.set_forward.saturating_neg())
    }
}

/// How far another clock is ahead of this one, in microseconds, if a hello written at most `age` ago can tell; else 0.
/// The hello may state anything. The result is the greatest possible difference, so that what comes from there is of
/// use no longer than it should be.
fn clock_offset(theirs: u64, ours: u64, age: Duration) -> i64 {
    let seconds = |seconds| i64::try_from(seconds).unwrap_or(i64::MAX);
    let least = seconds(theirs).saturating_sub(seconds(ours));
    let most = least.saturating_add(seconds((age + Duration::from_millis(500)).as_secs()));
    let differs = least > HELLO_PRECISION || most < -HELLO_PRECISION;
    if differs { most.saturating_mul(1_000_000) } else { 0 }
}

/// How far another clock is ahead of this one after it was set forward by `by` relative to this one: the greatest
/// possible difference, in microseconds.
fn moved(offset: i64, by: i64) -> i64 {
    let precision = HELLO_PRECISION * 1_000_000;
    let unknown = if offset == 0 && by != 0 { precision } else { 0 };
    let most = offset.saturating_add(by).saturating_add(unknown);
    if most.saturating_abs() > precision { most } else { 0 }
}

/// The difference in seconds up to which a hello, which states whole seconds, cannot tell two clocks apart.
const HELLO_PRECISION: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_say_anything() {
        let at_once = |theirs, ours| clock_offset(theirs, ours, Duration::ZERO);
        assert_eq!([at_once(1_001, 1_000), at_once(1_010, 1_000)], [0, 10_000_000]);
        assert_eq!(at_once(990, 1_000), -10_000_000);
        for theirs in [u64::MAX, 1 << 63, (1 << 63) - 1] {
            assert_eq!(at_once(theirs, 1_700_000_000), i64::MAX);
        }
        assert_eq!(at_once(0, u64::MAX), i64::MIN);
    }

    /// Invariant 1.
    #[test]
    fn a_clock_that_is_set_is_further_from_others_or_right_again() {
        let second = 1_000_000;
        assert_eq!(
            [moved(0, -3 * second), moved(0, -100 * second), moved(0, 100 * second)],
            [0, -98 * second, 102 * second]
        );
        assert_eq!([moved(0, 0), moved(100 * second, -100 * second)], [0, 0]);
        assert_eq!(moved(i64::MIN, i64::MIN), i64::MIN);
    }

    /// Invariant 1.
    #[test]
    fn a_hello_that_was_long_under_way_says_nothing_of_clocks() {
        let age = Duration::from_millis(3_700);
        assert_eq!([clock_offset(996, 1_000, age), clock_offset(994, 1_000, age)], [0, 0]);
        // It is behind by ten seconds, or six; ahead by ten, or fourteen.
        assert_eq!(clock_offset(990, 1_000, age), -6_000_000);
        assert_eq!(clock_offset(1_010, 1_000, age), 14_000_000);
    }
}
