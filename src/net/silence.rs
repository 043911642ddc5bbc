//! Silence: when a connection is pinged, and when it is given up.
//!
//! Whatever arrives shows that the peer lives. When nothing has arrived for a while, a ping asks; when nothing has
//! arrived for longer, the connection is dead. One timer serves both and is not touched by traffic: when it fires
//! too early it is set anew. While the node does not take frames the connection reads nothing, which is not the
//! peer's fault: then it is pinged, so that the peer hears something, but not given up.

use futures::FutureExt;
use futures_timer::Delay;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// One connection's watch.
#[derive(Debug)]
pub(crate) struct Silence {
    ping_after: Duration,
    dead_after: Duration,
    heard: Instant,
    pinged: Instant,
    /// Reading waits for the node.
    blocked: bool,
    timer: Delay,
}

/// What silence asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Ping,
    Close,
}

impl Silence {
    pub(crate) fn new(ping_after: Duration, dead_after: Duration) -> Self {
        let now = Instant::now();
        Self { ping_after, dead_after, heard: now, pinged: now, blocked: false, timer: Delay::new(ping_after) }
    }

    pub(crate) fn handle_heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Reading begins or ceases to wait for the node.
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        if self.blocked && !blocked {
            self.heard = Instant::now();
        }
        self.blocked = blocked;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Asks> {
        while self.timer.poll_unpin(cx).is_ready() {
            let now = Instant::now();
            let dead = self.heard + self.dead_after;
            let ping = self.heard.max(self.pinged) + self.ping_after;
            if now >= dead && !self.blocked {
                self.timer.reset(self.dead_after);
                return Poll::Ready(Asks::Close);
            }
            if now >= ping {
                self.pinged = now;
                let next = if self.blocked { now + self.ping_after } else { dead.min(now + self.ping_after) };
                self.timer.reset(next - now);
                return Poll::Ready(Asks::Ping);
            }
            let next = if self.blocked { ping } else { ping.min(dead) };
            self.timer.reset(next - now);
        }
        Poll::Pending
    }
}
