//! Sleep: when this device is awake, and how it goes to rest.
//!
//! ```text
//! awake ── its window closes ─▶ told to all neighbours ── LINGER ─▶ asleep: links closed, nobody dialled
//!   ▲                                                                  │
//!   └──────────────────────────── its window opens ────────────────────┘
//! ```
//!
//! The settings say when it is awake ([`Windows`]). Between two of these times it has no link, and the node dials nobody; a link
//! that comes up all the same is closed. Its parents keep its mail meanwhile. What it has to send itself waits, durable.
//!
//! Invariants
//! 1. While it is asleep, nothing leaves: no link stands for longer than [`LINGER`].

use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::link::windows::Windows;
use crate::time::{Now, Time};
use core::time::Duration;

/// How long links stand after neighbours have been told that this device goes.
const LINGER: Duration = Duration::from_millis(500);

/// Whether this device is awake.
#[derive(Debug, Default)]
pub(in crate::engine) struct Sleep {
    windows: Windows,
    /// When it closes its links.
    closes: Option<Time>,
    asleep: bool,
    /// When the windows are to be looked at again.
    due: Option<Time>,
}

impl Sleep {
    pub(in crate::engine) fn new(windows: Option<&Windows>, now: Now) -> Self {
        let windows = windows.cloned().unwrap_or_default();
        let due = (!windows.is_empty()).then_some(now.time);
        Self { windows, closes: None, asleep: false, due }
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        [self.due, self.closes].into_iter().flatten().min()
    }

    /// Whether the device is asleep, or about to be.
    pub(in crate::engine) fn is_asleep(&self) -> bool {
        self.asleep
    }
}

impl Neighbours {
    /// The times at which the device is awake are others.
    pub(in crate::engine) fn handle_awake(&mut self, core: &mut Core, windows: Windows) {
        self.sleepers.own.windows = windows;
        self.sleepers.own.due = Some(core.now.time);
        self.timeout_sleep(core);
    }

    /// Goes to rest, or wakes, if it is time.
    pub(in crate::engine) fn timeout_sleep(&mut self, core: &mut Core) {
        let (now, unix) = (core.now.time, core.now.unix);
        if self.sleepers.own.closes.is_some_and(|at| at <= now) {
            self.sleepers.own.closes = None;
            for link in self.links.ids() {
                self.close(core, link, "this device sleeps");
            }
        }
        if self.sleepers.own.due.is_none_or(|due| due > now) {
            return;
        }
        let change = self.sleepers.own.windows.next_change(unix);
        let left = change.map(|change| change.since(unix));
        // The wall clock may be set meanwhile.
        self.sleepers.own.due = (!self.sleepers.own.windows.is_empty()).then(|| now + left.unwrap_or(LOOK).min(LOOK));
        let asleep = !self.sleepers.own.windows.open_at(unix);
        if asleep == self.sleepers.own.asleep {
            return;
        }
        self.sleepers.own.asleep = asleep;
        core.outputs.push_back(Output::Asleep { asleep });
        if asleep {
            let away = left.unwrap_or(LOOK);
            for link in self.links.ids() {
                self.send_rest(core, link, away);
            }
            self.sleepers.own.closes = Some(now + LINGER);
        } else {
            self.sleepers.own.closes = None;
        }
    }
}

/// How often the wall clock is looked at, in case it was set.
const LOOK: Duration = Duration::from_secs(600);
