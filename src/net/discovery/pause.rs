//! Pause: times at which nothing is dialled: while the device sleeps, and for a moment after its start.
//!
//! Devices that get power at one moment would all dial in the same second. So a node waits before its first dial for a random
//! part of the time that its settings give ([`NetConfig::start_within`](crate::net::NetConfig::start_within)). What it hears of meanwhile waits as well. A network that takes the
//! place of another does not wait.

use super::{Discovery, State, draw};
use std::time::{Duration, Instant};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Whether the device sleeps.
    pub(super) asleep: bool,
    /// When the first address may be dialled.
    begins: Option<Instant>,
}

impl Pause {
    /// When an address may be dialled that would be dialled at `due`.
    pub(super) fn after(&self, due: Instant) -> Instant {
        self.begins.map_or(due, |begins| due.max(begins))
    }
}

impl Discovery {
    /// Lets the first dial wait for a random time below `bound`.
    #[must_use]
    pub(crate) fn beginning_within(mut self, bound: Duration) -> Self {
        if !bound.is_zero() {
            self.pause.begins = Some(Instant::now() + draw(bound, &mut self.rng));
            for entry in self.addresses.values_mut() {
                if let State::Idle(due) = &mut entry.state {
                    *due = self.pause.after(*due);
                }
            }
        }
        self
    }

    /// The device falls asleep, or wakes: while it sleeps nothing is dialled.
    pub(crate) fn sleep(&mut self, asleep: bool) {
        self.pause.asleep = asleep;
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sorter;
    use super::*;
    use crate::link::bearer::Bearers;
    use std::sync::Arc;

    /// The seconds that each address waits, the one that is heard of afterwards last.
    fn waits(bound: Duration, seed: u8) -> Vec<f64> {
        let port = |port: u32| format!("/memory/{port}").parse().unwrap();
        let sorter = Arc::new(Sorter::new(Bearers::default()));
        let mut discovery = Discovery::new(&[port(1)], &[port(2)], 8, sorter, [seed; 32]).beginning_within(bound);
        assert!(discovery.handle_heard(&port(3)));
        let now = Instant::now();
        let due = discovery.addresses.values().map(|entry| match entry.state {
            State::Idle(due) => due.saturating_duration_since(now).as_secs_f64(),
            _ => unreachable!("nothing was dialled"),
        });
        due.collect()
    }

    #[test]
    fn devices_that_start_at_one_moment_do_not_dial_at_one_moment() {
        let mut first = Vec::new();
        for seed in 0..100 {
            let waits = waits(Duration::from_secs(10), seed);
            let (least, most) = waits.iter().fold((f64::MAX, 0.0f64), |(a, b), wait| (a.min(*wait), b.max(*wait)));
            assert!(waits.len() == 3 && most - least < 0.5, "all addresses wait for the same: {waits:?}");
            first.push(least);
        }
        let in_second = |second: u32| first.iter().filter(|wait| **wait as u32 == second).count();
        assert!((0..10).all(|second| (1..25).contains(&in_second(second))), "{first:?}");
        assert_eq!(waits(Duration::ZERO, 1), [0.0; 3], "at once without");
    }
}
