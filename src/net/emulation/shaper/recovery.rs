//! Recovery: how long a transport takes to notice that something was lost, and to send it again.
//!
//! **By what comes after.** When the acknowledgement of a piece arrives, what was sent before it and is not acknowledged is
//! lost, once it is older than a round trip by a margin for packets that overtake: a quarter (TCP: RACK, RFC 8985, section
//! 6.2), an eighth (QUIC: RFC 9002, section 6.1.2).
//!
//! **By a time-out**, where nothing comes after.
//!
//! | | TCP, as Linux has it | QUIC, as quinn has it |
//! |-|-|-|
//! | first | a smoothed round trip and four deviations of it, which count 200 ms at least (RFC 6298; `TCP_RTO_MIN`), from when it was sent or what was sent before it is acknowledged | a round trip, four deviations, 1 ms at least, and 25 ms for which the peer may hold back an acknowledgement (RFC 9002, section 6.2.1). Then two datagrams go as a probe (section 6.2.4) that hold nothing of what is lost: the acknowledgement of either shows the loss, a round trip later |
//! | second | the same: the first was a probe (TLP: RFC 8985, section 7), after which the time-out proper begins | the same: an acknowledgement has come |
//! | later | twice as long each time | the same; but twice as long after probes of which both are lost |
//!
//! While TCP repairs a loss that was shown it sends nothing new, so only a time-out shows that the repetition is lost too.

use super::Shape;
use crate::time::Time;
use std::time::Duration;

/// By which rules losses are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// Those of Linux's TCP.
    #[default]
    Tcp,
    /// Those of QUIC. Streams do not wait for each other.
    Quic,
}

impl Recovery {
    /// The time-out after so many in a row.
    pub fn timeout(self, shape: &Shape, before: u32) -> Duration {
        let round_trip = round_trip(shape);
        // The mean deviation of two uniform jitters' sum is two thirds of one.
        let deviation = shape.jitter * 2 / 3;
        let (first, doublings) = match self {
            Self::Tcp => (round_trip + (deviation * 4).max(LEAST_DEVIATION), before.saturating_sub(1)),
            Self::Quic => (round_trip + (deviation * 4).max(GRANULARITY) + MAX_ACK_DELAY, before),
        };
        first.saturating_mul(1 << doublings.min(16)).min(LONGEST_TIMEOUT)
    }

    /// How old a piece is at least when a later one's acknowledgement shows that it is lost.
    pub(super) fn patience(self, shape: &Shape) -> Duration {
        let round_trip = round_trip(shape);
        match self {
            Self::Tcp => round_trip + round_trip / 4,
            Self::Quic => round_trip + round_trip / 8,
        }
    }

    /// From a time-out until what is lost is sent again: a probe that holds nothing of it takes a round trip first.
    pub(super) fn probing(self, shape: &Shape) -> Duration {
        match self {
            Self::Tcp => Duration::ZERO,
            Self::Quic => round_trip(shape),
        }
    }

    /// A line carries nothing from a time on until `now`: when what was sent then is sent again and gets through.
    pub fn next_attempt(self, shape: &Shape, since: Time, now: Time) -> Time {
        let (mut next, mut before) = (since, 0);
        while next < now || before == 0 {
            next = next + self.timeout(shape, before);
            before += 1;
        }
        next + self.probing(shape)
    }
}

/// There and back.
pub(super) fn round_trip(shape: &Shape) -> Duration {
    shape.delay.saturating_mul(2)
}

/// What four deviations of the round trip count at least with TCP: Linux's `TCP_RTO_MIN`.
const LEAST_DEVIATION: Duration = Duration::from_millis(200);
/// And with QUIC (RFC 9002, section 6.1.2: kGranularity).
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
