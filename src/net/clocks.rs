//! Clocks: of connections that only the time keeps from being admitted, what the two clocks say.
//!
//! A credential is valid by the hour, so a device whose clock is far off is refused by everybody, and refuses everybody.
//! Both ends learn why: who refuses a credential that is good but for its time sends its own clock in place of its
//! hello or its `ok`. What is heard so is a hint and no more: whoever says it has not shown a credential. Only the last is
//! kept until the node asks.

use super::Multiaddr;
use futures::task::AtomicWaker;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// Two clocks that do not agree, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The other end's.
    pub theirs: u64,
    /// This node's.
    pub ours: u64,
}

/// The last that was found out.
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
        // Registered before looking, so that a note in between is not slept over.
        self.waker.register(cx.waker());
        match self.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(noted) => Poll::Ready(noted),
            None => Poll::Pending,
        }
    }
}
