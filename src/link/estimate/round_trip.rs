//! Round trips: smoothed with their mean deviation as in RFC 6298 (J = 1/8, 1/4), and the shortest of late.
//!
//! **Late** answers were held up by a retransmission below: they took more than twice what a good answer takes, and [`SLACK`].
//! What a good answer takes is the quarter of the last [`RECENT`] that were quickest; before there are a few, the shortest. Whether
//! a late answer was an accident shows with the next one that is not late: then those before it count as failures. A run of
//! [`SLOW_RUN`] is no accident but a link that has become slow for good, and of them only those count that are late by the
//! shortest among them: on a lossy link, where each repetition holds up what follows, there are some.
//!
//! A late answer's time is held back until then, so that failures and the delay that they make are told together.
//!
//! The shortest is that of this half of a window and of the half before, so it is forgotten after a whole one at the latest. A
//! link that has become slow for good is known by [`SLOW_RUN`] late answers in a row: then the shortest of these counts.

use super::SLACK;
use crate::time::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Half of the window in which the shortest round trip is looked for.
const HALF_WINDOW: Duration = Duration::from_secs(300);
/// So many late answers in a row are no accident: with one in five lost, it happens once in 400,000.
const SLOW_RUN: u8 = 8;
/// Answers of which the quickest quarter counts.
const RECENT: usize = 16;
/// Fewer than these say nothing about what a link is like.
const ENOUGH: usize = 4;
/// Wait for the first answer (RFC 6298, 2.1).
const FIRST_TIMEOUT: u64 = 1_000_000;
/// Least wait for an answer. The RFC has a second, for what is then sent again; a probe is not.
const LEAST_TIMEOUT: u64 = 200_000;
/// Most.
const MOST_TIMEOUT: u64 = 60_000_000;

/// Microseconds throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoundTrip {
    /// Eight times the smoothed round trip, and four times its mean deviation.
    smoothed: Option<(u64, u64)>,
    /// Shortest of this half of a window, and of the one before.
    shortest: Option<(u64, u64)>,
    /// When this half began.
    since: u64,
    /// Late answers in a row, and the shortest of them.
    late: (u8, u64),
    /// Those of them whose time is not smoothed in yet.
    #[serde(default)]
    held: Vec<u64>,
    /// The last answers, late or not.
    recent: VecDeque<u64>,
    /// Unanswered probes in a row.
    missing: u8,
}

impl RoundTrip {
    pub(super) fn resume(&mut self, now: Time) {
        self.since = now.0;
        self.missing = 0;
    }

    /// Answers how many probes are known to have failed now, and whether this one is known to be good.
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
                // What is older than the half before is older than the window.
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
            // The deviation first: it is that from the mean before.
            Some((mean, deviation)) => (mean - mean / 8 + took, deviation - deviation / 4 + (mean / 8).abs_diff(took)),
        });
    }

    /// What a good answer takes.
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

    /// Delay of one way, and its mean deviation.
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

/// Whether an answer was held up, where a good one takes as long as `usual`.
fn is_late(took: u64, usual: u64) -> bool {
    Duration::from_micros(took) > Duration::from_micros(usual) * 2 + SLACK
}
