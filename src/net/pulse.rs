//! Pulse: has the Swarm polled again, once a second.
//!
//! gossipsub's heartbeat is a timer that it sets anew in the poll in which it fires, without polling it: a timer set
//! so wakes nobody until something else has had the behaviour polled. In a network at rest nothing else does, and the
//! mesh would be kept up only by accident.

use futures::FutureExt;
use futures_timer::Delay;
use std::task::{Context, Poll};
use std::time::Duration;

/// Ready once an interval.
#[derive(Debug)]
pub(crate) struct Pulse(Delay);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Delay::new(INTERVAL))
    }

    /// Ready when the interval is over; the next begins then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        futures::ready!(self.0.poll_unpin(cx));
        self.0.reset(INTERVAL);
        // Registers with the timer as set anew.
        let _ = self.0.poll_unpin(cx);
        Poll::Ready(())
    }
}

/// gossipsub's heartbeat interval.
const INTERVAL: Duration = Duration::from_secs(1);
