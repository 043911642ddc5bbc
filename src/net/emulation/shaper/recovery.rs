//! Recovery: how long a transport takes to notice a loss and to send the lost piece again.
//!
//! **By what follows.** When the acknowledgement of a piece arrives, earlier pieces that are not acknowledged are lost
//! if they are older than a round trip plus a margin for packets that overtake: a quarter of it (TCP: RACK, RFC 8985,
//! section 6.2) or an eighth (QUIC: RFC 9002, section 6.1.2).
//!
//! **By a time-out**, if nothing follows:
//!
//! - TCP, as in Linux. The first time-out is a smoothed round trip plus four deviations, which count as at least 200 ms
//!   (RFC 6298; `TCP_RTO_MIN`). It runs from when the piece was sent, or from when what was sent before it is
//!   acknowledged. The second is as long: the first led to a probe (TLP: RFC 8985, section 7), after which the proper
//!   time-out begins. Each later one is twice as long as the one before.
//! - QUIC, as in quinn. The first time-out is a round trip plus four deviations, at least 1 ms, and 25 ms for which the
//!   peer may hold back an acknowledgement (RFC 9002, section 6.2.1). Then two datagrams are sent as a probe (section
//!   6.2.4) that contain nothing of what is lost: the acknowledgement of either shows the loss, a round trip later.
//!   Later time-outs are as long, since an acknowledgement has come, but twice as long after a probe of which both
//!   datagrams are lost.
//!
//! While TCP repairs a loss that was shown it sends nothing new, so only a time-out shows that the repetition is lost
//! too.

use super::Shape;
use crate::time::Time;
use std::time::Duration;

/// The rules by which losses are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// The rules of Linux's TCP.
    #[default]
    Tcp,
    /// The rules of QUIC, whose streams do not wait for each other.
    Quic,
}

impl Recovery {
    /// Returns the time-out after this number of consecutive time-outs.
    pub fn timeout(self, shape: &Shape, before: u32) -> Duration {
        let round_trip = round_trip(shape);
        // The mean deviation of the sum of two uniform jitters is two thirds of one jitter.
        let deviation = shape.jitter * 2 / 3;
        let (first, doublings) = match self {
            Self::Tcp => (round_trip + (deviation * 4).max(LEAST_DEVIATION), before.saturating_sub(1)),
            Self::Quic => (round_trip + (deviation * 4).max(GRANULARITY) + MAX_ACK_DELAY, before),
        };
        first.saturating_mul(1 << doublings.min(16)).min(LONGEST_TIMEOUT)
    }

    /// Returns the least age of a piece at which a later one's acknowledgement shows that it is lost.
    pub(super) fn patience(self, shape: &Shape) -> Duration {
        let round_trip = round_trip(shape);
        match self {
            Self::Tcp => round_trip + round_trip / 4,
            Self::Quic => round_trip + round_trip / 8,
        }
    }

    /// Returns the time from a time-out until the lost piece is sent again: QUIC's probe, which does not contain it,
    /// takes a round trip first.
    pub(super) fn probing(self, shape: &Shape) -> Duration {
        match self {
            Self::Tcp => Duration::ZERO,
            Self::Quic => round_trip(shape),
        }
    }

    /// Returns when a piece that was sent at `since`, into a line that carries nothing until `now`, is sent again and
    /// gets through.
    pub fn next_attempt(self, shape: &Shape, since: Time, now: Time) -> Time {
        let (mut next, mut before) = (since, 0);
        while next < now || before == 0 {
            next = next + self.timeout(shape, before);
            before += 1;
        }
        next + self.probing(shape)
    }
}

/// Returns the round-trip time of a line without its jitter.
pub(super) fn round_trip(shape: &Shape) -> Duration {
    shape.delay.saturating_mul(2)
}

/// The least value of four deviations of the round trip with TCP: Linux's `TCP_RTO_MIN`.
const LEAST_DEVIATION: Duration = Duration::from_millis(200);
/// The least value of four deviations with QUIC (RFC 9002, section 6.1.2: kGranularity).
const GRANULARITY: Duration = Duration::from_millis(1);
/// How long a QUIC receiver may hold back an acknowledgement, unless it says otherwise (RFC 9000, section 18.2).
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// The longest time-out, however often a piece was lost (RFC 6298, section 2.5).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn shape(delay: u64, jitter: u64) -> Shape {
        let [delay, jitter] = [delay, jitter].map(Duration::from_millis);
        Shape { delay, jitter, ..Shape::default() }
    }

    fn timeouts(recovery: Recovery, shape: &Shape) -> [u64; 4] {
        [0, 1, 2, 3].map(|before| recovery.timeout(shape, before).as_millis() as u64)
    }

    #[test]
    fn time_outs_are_those_of_the_documents() {
        assert_eq!(timeouts(Recovery::Tcp, &shape(20, 5)), [240, 240, 480, 960]);
        assert_eq!(timeouts(Recovery::Tcp, &shape(500, 90)), [1_240, 1_240, 2_480, 4_960]);
        assert_eq!(timeouts(Recovery::Quic, &shape(20, 0)), [66, 132, 264, 528]);
        assert_eq!(timeouts(Recovery::Quic, &shape(20, 6)), [81, 162, 324, 648]);
        assert_eq!(Recovery::Tcp.timeout(&shape(20, 0), 40), LONGEST_TIMEOUT);
    }

    #[test]
    fn attempts_go_on_through_a_cut() {
        let next = |recovery: Recovery, now: u64| recovery.next_attempt(&shape(20, 0), Time(MS), Time(now * MS)).0 / MS;
        assert_eq!([0, 241, 242, 500, 1_000].map(|now| next(Recovery::Tcp, now)), [241, 241, 481, 961, 1_921]);
        assert_eq!([0, 67, 68, 200].map(|now| next(Recovery::Quic, now)), [107, 107, 239, 503]);
    }
}
