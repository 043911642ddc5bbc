//! Clocks: the time on both clocks, for connections that are refused for their time alone.
//!
//! A credential is valid within its epoch only, so a device whose clock is far off is refused by every member, and
//! refuses every member. Both ends learn the cause: an end that refuses a credential for its time alone sends its own
//! clock instead of its hello or its `ok`. The received time is a hint only: its sender has not shown a valid
//! credential. Only the latest pair of clocks is kept until the node asks for it.

use super::Multiaddr;
use futures::task::AtomicWaker;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// The time on two clocks that differ, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The other end's clock.
    pub theirs: u64,
    /// This node's clock.
    pub ours: u64,
}

/// The latest difference that was found.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    last: Mutex<Option<(Multiaddr, Skew)>>,
    waker: AtomicWaker,
}

impl Clocks {
    pub(crate) fn note(&self, address: &Multiaddr, skew: Skew) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((address.clone(), skew));
        self.waker.wake();
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<(Multiaddr, Skew)> {
        // The waker is registered before the check, so that a note in between is not missed.
        self.waker.register(cx.waker());
        match self.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(noted) => Poll::Ready(noted),
            None => Poll::Pending,
        }
    }
}
