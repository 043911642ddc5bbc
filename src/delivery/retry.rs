//! Retry: when a message without a receipt is sent again, by the retransmission time-out of RFC 6298, measured on
//! receipts.
//!
//! Only messages that left once are measured (Karn's algorithm), because a receipt does not say which attempt it is
//! for. Before the first measurement, the round trip that the sender expects of the path is used. Each loss doubles the
//! time-out, up to [`LONGEST`]; a receipt for a message that left once ends the doubling.
//!
//! Only the wait before a retransmission doubles. Whether a path is to be suspected shows earlier, and always after the
//! same time: when the undoubled time-out has passed without a receipt ([`Retry::suspicious_after`]).

use core::time::Duration;

/// The shortest time-out: receivers gather receipts, and disks take time to flush.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest time-out of a path that is not known to be slower, and the time-out where nothing is known.
pub const LONGEST: Duration = Duration::from_secs(15);
/// The longest time-out of any path.
pub const FAR: Duration = Duration::from_secs(300);

/// The retransmission time-out of one destination.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    /// The smoothed time to a receipt and its mean deviation, in microseconds.
    measured: Option<(u64, u64)>,
    /// The round trip that is expected before the first measurement.
    expected: Option<Duration>,
    /// The number of times that the time-out is doubled.
    losses: u32,
}

impl Retry {
    /// A time-out that nothing has been measured for, of a path with this round trip.
    pub(super) fn expecting(round_trip: Duration) -> Self {
        Self { expected: Some(round_trip), ..Self::default() }
    }

    /// The time-out without doubling, if it is measured.
    pub(super) fn measured_after(&self) -> Option<Duration> {
        self.measured.map(|_| self.suspicious_after())
    }

    /// Sets the round trip that is expected of the path; `None` if it is unknown.
    pub(super) fn expect(&mut self, round_trip: Option<Duration>) {
        self.expected = round_trip;
    }

    /// Notes that a receipt came for a message that left once.
    pub(super) fn measured(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.losses = 0;
        self.measured = Some(match self.measured {
            None => (took, took / 2),
            Some((mean, deviation)) => ((mean * 7 + took) / 8, (deviation * 3 + mean.abs_diff(took)) / 4),
        });
    }

    /// Notes that a message was not confirmed in time.
    pub(super) fn lost(&mut self) {
        self.losses = (self.losses + 1).min(5);
    }

    /// How long to wait for a receipt before sending again.
    pub(super) fn after(&self) -> Duration {
        let first = self.suspicious_after();
        first.saturating_mul(1 << self.losses).min(LONGEST.max(first))
    }

    /// How long a flight may go without a receipt before its path is suspected.
    pub(super) fn suspicious_after(&self) -> Duration {
        let base = match (self.measured, self.expected) {
            (Some((mean, deviation)), _) => Duration::from_micros(mean.saturating_add(deviation.saturating_mul(4))),
            (None, Some(expected)) => expected.saturating_mul(8) + SHORTEST * 2,
            (None, None) => LONGEST,
        };
        // A satellite path may take longer than the usual limit: its known round trip raises the limit.
        let known = match (self.measured, self.expected) {
            (Some((mean, _)), _) => Duration::from_micros(mean).saturating_mul(2),
            (None, expected) => expected.unwrap_or_default().saturating_mul(2),
        };
        base.clamp(SHORTEST, LONGEST.max(known).min(FAR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_what_is_measured_and_doubles_with_each_loss() {
        let mut retry = Retry::default();
        assert_eq!(retry.after(), LONGEST);
        retry.expect(Some(Duration::from_millis(100)));
        assert_eq!(retry.after(), Duration::from_millis(2_800));
        for _ in 0..50 {
            retry.measured(Duration::from_millis(1_600));
        }
        let steady = retry.after();
        assert!(steady >= Duration::from_millis(1_600) && steady < Duration::from_millis(1_700), "{steady:?}");
        retry.lost();
        assert_eq!((retry.after(), retry.suspicious_after()), (steady * 2, steady));
        for _ in 0..9 {
            retry.lost();
        }
        assert_eq!(retry.after(), LONGEST);
        retry.measured(Duration::from_millis(1_600));
        assert_eq!(retry.after(), steady);
    }

    #[test]
    fn a_far_receiver_is_waited_for() {
        let mut retry = Retry::default();
        retry.expect(Some(Duration::from_secs(40)));
        assert_eq!((retry.after(), retry.suspicious_after()), (Duration::from_secs(80), Duration::from_secs(80)));
        for _ in 0..50 {
            retry.measured(Duration::from_secs(41));
        }
        assert!((41..45).contains(&retry.after().as_secs()), "{:?}", retry.after());
        retry.measured(Duration::from_secs(1_000_000));
        assert_eq!(retry.after(), FAR);
    }
}
