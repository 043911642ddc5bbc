//! Counters: what was refused or dropped, counted by name until the node asks.
//!
//! Counting costs no memory that an attacker could make grow: the names are the program's own. The node is woken
//! for the first count and takes what has come together since it last looked.

use crate::counter::Counter;
use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A connection, for this reason.
    Refused(&'static str),
    /// A connection to or from a member that this node is to keep apart from.
    Cut,
    /// Something else that was dropped at a bound, by counter.
    Dropped(Counter),
}

/// Counters of one network, shared by its tasks.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<BTreeMap<Item, u64>>,
    waker: AtomicWaker,
}

impl Counters {
    pub(crate) fn count(&self, item: Item, by: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(item).or_default() += by;
        self.waker.wake();
    }

    /// Takes one counter with all that it has counted.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<(Item, u64)> {
        // Registered before looking, so that a count in between is not slept over.
        self.waker.register(cx.waker());
        match self.counts.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
            Some(counted) => Poll::Ready(counted),
            None => Poll::Pending,
        }
    }
}
