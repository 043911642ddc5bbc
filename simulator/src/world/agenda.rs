//! The agenda: what the world does itself at its time.
//!
//! In a simulation its entries stand in the same queue as all that happens, and are reached when the clock is moved there. In a lab,
//! whose time goes by itself, they stand here, and whoever drives it waits until the next is due.

use super::clock::{self, NANOS, now};
use futures_timer::virtual_time::{self, Due};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module's documentation. Clones are the same agenda.
#[derive(Clone, Default)]
pub struct Agenda(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// Whose time has come.
    reached: VecDeque<Item>,
    /// In a lab: what is still to come, by its time and the order in which it was entered.
    later: BTreeMap<(u64, u64), Item>,
    entered: u64,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// This sender of the workload sends its next message.
    Send(usize),
    /// Figures are taken.
    Sample,
    /// Nodes are asked whether they have routes.
    Ask,
    /// Devices move on.
    Move,
    /// A bearer's access window begins or ends.
    Window {
        /// Index of the bearer.
        bearer: usize,
        /// Whether it begins.
        open: bool,
    },
    /// A bearer whose access window is over carries nothing more.
    Shut(usize),
    /// A device falls asleep or awakes.
    Sleep {
        /// Index of the device.
        device: usize,
        /// Whether it falls asleep.
        asleep: bool,
    },
    /// A fault begins or ends.
    Fault {
        /// Its index.
        fault: usize,
        /// Whether it begins.
        begins: bool,
    },
    /// A flapping link goes or comes.
    Flap {
        /// Index of the fault.
        fault: usize,
        /// Whether it goes.
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
    /// Enters something, at a time after the start of the run.
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

    /// The next thing whose time has come.
    pub fn pop(&self) -> Option<Item> {
        self.lock().reached.pop_front()
    }

    /// In a lab: the next thing whose time has come, and when that was.
    pub fn pop_due(&self) -> Option<(u64, Item)> {
        let mut entries = self.lock();
        let first = entries.later.first_entry().filter(|first| first.key().0 <= now())?;
        let ((due, _), item) = first.remove_entry();
        Some((due, item))
    }

    /// In a lab: when the next thing is due, in nanoseconds of the run's time.
    pub fn next(&self) -> Option<u64> {
        self.lock().later.first_key_value().map(|((at, _), _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
