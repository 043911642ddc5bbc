//! Post: what becomes of a device's mail while it is away, and what it keeps of that of others.
//!
//! A device with parents knows its own schedule: its node goes to rest before its radio is off, tells its neighbours so, and wakes when
//! it is on again. A device without has a radio that is off at times of which its node knows nothing.

use super::{Device, Plan, wakings};
use m2mesh::link::windows::{MAX_SPANS, Windows};
use m2mesh::time::Unix;
use m2mesh::wire::credential::Role;
use std::time::Duration;

/// A device's mail: see the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// Whether it takes mail: what is sent while it is away is kept for it.
    pub takes: bool,
    /// The most bytes that it keeps for one receiver, if it is a mailbox; `None` for the default.
    pub quota: Option<u64>,
    /// The indices of the devices that keep its mail, in order.
    pub parents: Vec<usize>,
}

impl Device {
    /// Returns whether it keeps mail for others.
    pub fn is_mailbox(&self) -> bool {
        self.roles & Role::Mailbox as u16 != 0 && self.forwarding
    }

    /// Returns whether its node goes to rest by its own schedule.
    pub fn rests(&self) -> bool {
        !self.post.parents.is_empty() && !self.schedules.is_empty()
    }
}

impl Plan {
    /// Returns the times at which a device's node is awake, as it is told them; without end if it does not sleep.
    pub fn awake(&self, device: &Device) -> Windows {
        let windows = Windows::default();
        if !device.rests() {
            return windows;
        }
        let mut times = vec![(Duration::ZERO, self.warmup)];
        let during = wakings(&device.schedules, self.duration);
        times.extend(during.into_iter().map(|(from, to)| (self.warmup + from, self.warmup + to.min(self.duration))));
        times.push((self.warmup + self.duration, self.warmup + self.duration + self.settle + AFTER));
        windows.with_spans(spans(self.start, &times))
    }
}

/// Returns the whole seconds within these times after a start, each until [`EARLIER`] than it ends. Times that touch are one.
fn spans(start: Unix, times: &[(Duration, Duration)]) -> Vec<(u64, u64)> {
    let mut merged: Vec<(Duration, Duration)> = Vec::with_capacity(times.len());
    for (from, to) in times {
        match merged.last_mut() {
            Some((_, end)) if from <= end => *end = (*end).max(*to),
            _ => merged.push((*from, *to)),
        }
    }
    let whole = merged.into_iter().map(|(from, to)| {
        let opens = (start + from).0.div_ceil(1_000_000);
        (opens, (start + to.saturating_sub(EARLIER)).0 / 1_000_000)
    });
    whole.filter(|(opens, closes)| opens < closes).collect()
}

/// The time by which a node goes to rest before its radio is off: what it tells its neighbours then has to arrive.
const EARLIER: Duration = Duration::from_secs(2);
/// The shortest time for which a device that rests may be awake: it has to come to its links, and to leave them.
pub const LEAST_AWAKE: Duration = Duration::from_secs(5);
/// The number of awakenings of which a node can be told.
pub const MOST_TOLD: usize = MAX_SPANS - 2;
/// The time after the run for which a device that was awake at its end stays so.
const AFTER: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_awake_for_whole_seconds_within_the_time_of_its_radio() {
        let millis = Duration::from_millis;
        let times = [(millis(0), millis(60_000)), (millis(60_000), millis(70_500)), (millis(99_300), millis(104_300))];
        let start = Unix::from_seconds(1_000) + millis(250);
        assert_eq!(spans(start, &times), [(1_001, 1_068), (1_100, 1_102)]);
        assert!(spans(start, &[(millis(5_000), millis(6_500))]).is_empty());
    }
}
