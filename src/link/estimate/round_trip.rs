//! Round trips: smoothed with their mean deviation as in RFC 6298 (gains 1/8 and 1/4), and the shortest of the last
//! minutes.
//!
//! **Late** answers were held up by a retransmission below: they took more than twice the usual time plus [`SLACK`].
//! The usual time is the first quartile of the last [`RECENT`] answers, or the shortest time before there are
//! [`ENOUGH`] of them. Whether late answers were accidents shows with the next answer that is not late: then the late
//! ones before it count as failures. A run of [`SLOW_RUN`] late answers is no accident: the link has become slow for
//! good. Of these answers, only those count as failures that are late compared with the shortest among them; on a lossy
//! link, where each retransmission holds up what follows, there are some.
//!
//! The time of a late answer is held back until then, so that failures and the delay that they cause are reported
//! together.
//!
//! The shortest time is the minimum over this half of a window and the half before it, so a time is forgotten after a
//! whole window at the latest. When a run of [`SLOW_RUN`] late answers shows that a link has become slow for good, the
//! shortest of the run takes its place.

use super::SLACK;
use crate::time::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Half of the window over which the shortest round trip is kept.
const HALF_WINDOW: Duration = Duration::from_secs(300);
/// The number of late answers in a row that is no accident: with one in five lost, such a run happens once in 400,000.
const SLOW_RUN: u8 = 8;
/// The number of latest answers whose first quartile is the usual time.
const RECENT: usize = 16;
/// The least number of answers for which the quartile is used.
const ENOUGH: usize = 4;
/// The wait for the first answer in microseconds (RFC 6298, 2.1).
const FIRST_TIMEOUT: u64 = 1_000_000;
/// The least wait for an answer in microseconds. The RFC has a second, because data is then sent again; a probe is not.
const LEAST_TIMEOUT: u64 = 200_000;
/// The longest wait for an answer in microseconds.
const MOST_TIMEOUT: u64 = 60_000_000;

/// The state of the estimate. All times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoundTrip {
    /// The smoothed round trip times eight, and its mean deviation times four.
    smoothed: Option<(u64, u64)>,
    /// The shortest round trip of this half of the window, and of the half before it.
    shortest: Option<(u64, u64)>,
    /// When this half began.
    since: u64,
    /// The number of late answers in a row, and the shortest of them.
    late: (u8, u64),
    /// The times that have not been added to the smoothed time yet.
    #[serde(default)]
    held: Vec<u64>,
    /// The latest answers, late or not.
    recent: VecDeque<u64>,
    /// The number of unanswered probes in a row.
    missing: u8,
}

impl RoundTrip {
    pub(super) fn resume(&mut self, now: Time) {
        self.since = now.0;
        self.missing = 0;
    }

    /// Adds a measurement. Returns how many probes are now known to have failed, and whether this one is known to be
    /// good.
    pub(super) fn measured(&mut self, took: Duration, now: Time) -> (usize, bool) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.missing = 0;
        let late = self.usual().is_some_and(|usual| is_late(took, usual));
        self.recent.push_back(took);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let (run, least) = self.late;
        self.late = if late { (run.saturating_add(1), least.min(took)) } else { (0, u64::MAX) };
        self.held.push(took);
        let failed = match self.late {
            (SLOW_RUN.., least) => self.held.iter().filter(|took| is_late(**took, least)).count(),
            _ if late => 0,
            _ => run.into(),
        };
        if !late || self.late.0 >= SLOW_RUN {
            core::mem::take(&mut self.held).into_iter().for_each(|took| self.smooth(took));
        }
        if self.late.0 >= SLOW_RUN {
            (self.shortest, self.since) = (Some((self.late.1, self.late.1)), now.0);
            self.recent.retain(|took| *took >= self.late.1);
            self.late = (0, u64::MAX);
        }
        self.shortest = Some(match self.shortest {
            Some((this, _)) if now.since(Time(self.since)) >= HALF_WINDOW => {
                // A value older than the previous half is older than the window.
                let over = now.since(Time(self.since)) >= HALF_WINDOW * 2;
                self.since = now.0;
                (took, if over { took } else { this })
            }
            Some((this, before)) => (this.min(took), before.min(took)),
            None => {
                self.since = now.0;
                (took, took)
            }
        });
        (failed, !late)
    }

    fn smooth(&mut self, took: u64) {
        self.smoothed = Some(match self.smoothed {
            None => (took * 8, took * 2),
            // The deviation comes first: it is measured from the previous mean.
            Some((mean, deviation)) => (mean - mean / 8 + took, deviation - deviation / 4 + (mean / 8).abs_diff(took)),
        });
    }

    /// The usual time of a good answer.
    fn usual(&self) -> Option<u64> {
        if self.recent.len() < ENOUGH {
            return self.shortest.map(|(this, before)| this.min(before));
        }
        let mut recent: Vec<u64> = self.recent.iter().copied().collect();
        let (_, quarter, _) = recent.select_nth_unstable(self.recent.len() / 4);
        Some(*quarter)
    }

    pub(super) fn unanswered(&mut self) {
        self.missing = self.missing.saturating_add(1);
    }

    /// The one-way delay and its mean deviation in microseconds; `None` before the first measurement.
    pub(super) fn one_way(&self) -> Option<(u32, u32)> {
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        self.smoothed.map(|(mean, deviation)| (narrow(mean / 16), narrow(deviation / 8)))
    }

    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest.map(|(this, before)| Duration::from_micros(this.min(before)))
    }

    pub(super) fn timeout(&self) -> Duration {
        let timeout = self.smoothed.map_or(FIRST_TIMEOUT, |(mean, deviation)| mean / 8 + deviation);
        let doubled = timeout.max(LEAST_TIMEOUT) << self.missing.min(9);
        Duration::from_micros(doubled.min(MOST_TIMEOUT))
    }
}

/// Whether an answer was held up, if a good one takes `usual`.
fn is_late(took: u64, usual: u64) -> bool {
    Duration::from_micros(took) > Duration::from_micros(usual) * 2 + SLACK
}
