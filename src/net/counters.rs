//! Counters: what was refused or dropped, counted by name until the node asks.
//!
//! The names are fixed in the program, so an attacker cannot make the table grow. The node is woken for the first count
//! and takes all that was counted since it last asked.

use crate::counter::Counter;
use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A connection that was refused, by reason.
    Refused(&'static str),
    /// A connection to or from a member that this node must keep apart from.
    Cut,
    /// An item that was dropped at a bound, by counter.
    Dropped(Counter),
}

/// The counters of one network, shared by its tasks.
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

    /// Removes one counter and returns it with its count.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<(Item, u64)> {
        // The waker is registered before the check, so that a count in between is not missed.
        self.waker.register(cx.waker());
        match self.counts.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
            Some(counted) => Poll::Ready(counted),
            None => Poll::Pending,
        }
    }
}
