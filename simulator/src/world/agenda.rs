//! Agenda: the actions of the world at their times.
//!
//! In a simulation its entries are in the same queue as all other events, and are reached when the clock is moved to
//! them. In a lab, in which time passes by itself, they are kept here, and the driver waits until the next is due.

use super::clock::{self, NANOS, now};
use futures_timer::virtual_time::{self, Due};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An agenda: see the module's documentation. Clones share it.
#[derive(Clone, Default)]
pub struct Agenda(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// The items whose time has come.
    reached: VecDeque<Item>,
    /// In a lab: the future items, by their time and the order in which they were entered.
    later: BTreeMap<(u64, u64), Item>,
    entered: u64,
}

/// An action of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The sender of this index in the workload sends its next message.
    Send(usize),
    /// The sampler takes figures.
    Sample,
    /// Nodes are asked whether they have routes.
    Ask,
    /// Devices move.
    Move,
    /// A bearer's access window begins or ends.
    Window {
        /// The index of the bearer.
        bearer: usize,
        /// Whether it begins.
        open: bool,
    },
    /// The bearer, whose access window is over, carries nothing more.
    Shut(usize),
    /// A device falls asleep or awakes.
    Sleep {
        /// The index of the device.
        device: usize,
        /// Whether it falls asleep.
        asleep: bool,
    },
    /// A fault begins or ends.
    Fault {
        /// The index of the fault.
        fault: usize,
        /// Whether it begins.
        begins: bool,
    },
    /// A flapping link goes down or comes up.
    Flap {
        /// The index of the fault.
        fault: usize,
        /// Whether it goes down.
        down: bool,
    },
    /// Devices' energy meters are read.
    Meter,
    /// Traffic has ended: everything heals.
    Calm,
}

struct Entry {
    item: Item,
    reached: Agenda,
}

impl Due for Entry {
    fn fire(&self, _ticket: u64) {
        self.reached.lock().reached.push_back(self.item);
    }
}

impl Agenda {
    /// Enters an item, at a time after the start of the run.
    pub fn enter(&self, after: Duration, item: Item) {
        let at = NANOS.saturating_add(super::nanos(after));
        if !clock::is_real() {
            virtual_time::schedule(at, Arc::new(Entry { item, reached: self.clone() }));
            return;
        }
        let mut entries = self.lock();
        entries.entered += 1;
        let key = (at, entries.entered);
        entries.later.insert(key, item);
    }

    /// Removes and returns the next item whose time has come.
    pub fn pop(&self) -> Option<Item> {
        self.lock().reached.pop_front()
    }

    /// In a lab: removes and returns the next item whose time has come, with that time in nanoseconds.
    pub fn pop_due(&self) -> Option<(u64, Item)> {
        let mut entries = self.lock();
        let first = entries.later.first_entry().filter(|first| first.key().0 <= now())?;
        let ((due, _), item) = first.remove_entry();
        Some((due, item))
    }

    /// In a lab: returns the time at which the next item is due, in nanoseconds of the run's time.
    pub fn next(&self) -> Option<u64> {
        self.lock().later.first_key_value().map(|((at, _), _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
