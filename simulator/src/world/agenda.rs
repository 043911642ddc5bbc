//! The agenda: what the world does itself at its time, in the same queue as all that happens.

use super::medium::NANOS;
use futures_timer::virtual_time::{self, Due};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// See the module's documentation. Clones are the same agenda.
#[derive(Clone, Default)]
pub struct Agenda(Arc<Mutex<VecDeque<Item>>>);

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
        self.reached.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.item);
    }
}

impl Agenda {
    /// Enters something, at a time after the start of the run.
    pub fn enter(&self, after: Duration, item: Item) {
        let at = NANOS.saturating_add(super::nanos(after));
        virtual_time::schedule(at, Arc::new(Entry { item, reached: self.clone() }));
    }

    /// The next thing whose time has come.
    pub fn pop(&self) -> Option<Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
