//! Task: opens the device of a line, reads, writes and waits; and opens it again when it has gone.
//!
//! While a device is not there it is tried again, at intervals that grow to [`MOST_REST`]. The reason is logged when it
//! changes, so that a device that stays away fills no log.
//!
//! Invariants
//! - At most one line frame waits for the device: the next is chosen when that has been written.
//! - The task waits for the device, a timer or a call, and never runs without one of them.

use super::device::{Device, Open};
use super::{Gatekeeper, Shared};
use futures::FutureExt;
use futures::future::{Either, select};
use futures_timer::Delay;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Runs a line until the node has gone.
pub(super) async fn run<G: Gatekeeper>(shared: Arc<Shared<G>>, open: Open) {
    let device = shared.config.device.display().to_string();
    let mut rest = LEAST_REST;
    loop {
        let failure = match open(&shared.config) {
            Ok(port) => {
                tracing::info!(%device, baud = shared.config.baud, "the serial line is open");
                rest = LEAST_REST;
                shared.note(None, "the line was opened anew");
                match serve(&shared, port).await {
                    Some(error) => format!("{device} is gone ({error}): plug it in again; it is tried again"),
                    None => return,
                }
            }
            Err(failure) => failure,
        };
        if shared.lock().failure.as_ref() != Some(&failure) {
            tracing::warn!("{failure}");
        }
        shared.note(Some(failure), "the device is gone");
        let stopped = poll_fn(|cx| {
            shared.task.register(cx.waker());
            if shared.lock().stopped { Poll::Ready(()) } else { Poll::Pending }
        });
        if let Either::Right(_) = select(Delay::new(rest), stopped).await {
            return;
        }
        rest = (rest * 2).min(MOST_REST);
    }
}

impl<G: Gatekeeper> Shared<G> {
    /// The device has been opened, or is gone: what was on the line is of the past.
    fn note(&self, failure: Option<String>, reason: &str) {
        let (now, mut state) = (self.now(), self.lock());
        state.line.reset(reason, now);
        state.failure = failure;
        drop(state);
        self.owner.wake();
    }
}

/// Serves an open device. Returns why it has gone; `None` once the node has.
async fn serve<G: Gatekeeper>(shared: &Shared<G>, port: Box<dyn Device>) -> Option<io::Error> {
    let mut serving = Serving { port, out: Vec::new(), written: 0, timer: Delay::new(MOST_WAIT) };
    poll_fn(|cx| serving.poll(shared, cx)).await
}

struct Serving {
    port: Box<dyn Device>,
    /// The line frame that is being written.
    out: Vec<u8>,
    written: usize,
    timer: Delay,
}

impl Serving {
    fn poll<G: Gatekeeper>(&mut self, shared: &Shared<G>, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        // Registered before the look, so that a call in between is not missed.
        shared.task.register(cx.waker());
        let changes = shared.heed_windows();
        for _ in 0..TURN {
            let read = match self.read(shared, cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
                Poll::Pending => false,
            };
            let wrote = match self.write(shared, cx) {
                Poll::Ready(Ok(wrote)) => wrote,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
                Poll::Pending => false,
            };
            if shared.lock().line.has_news() {
                shared.owner.wake();
            }
            if !read && !wrote {
                return self.wait(shared, changes, cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read<G: Gatekeeper>(&mut self, shared: &Shared<G>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = [0; READS];
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.port).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let now = shared.now();
        shared.lock().line.handle(read.filled(), now);
        Poll::Ready(Ok(()))
    }

    /// Writes what waits. Returns whether anything was written.
    fn write<G: Gatekeeper>(&mut self, shared: &Shared<G>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.out.is_empty() {
            let (now, mut state) = (shared.now(), shared.lock());
            state.line.handle_timeout(now);
            if !state.line.transmit(&mut self.out, now) {
                return Poll::Ready(Ok(false));
            }
        }
        while self.written < self.out.len() {
            self.written += ready!(Pin::new(&mut self.port).poll_write(cx, &self.out[self.written..]))?;
        }
        (self.written, self.out) = (0, Vec::new());
        Poll::Ready(Ok(true))
    }

    /// Has the task woken when the line wants something, or the node has gone.
    fn wait<G: Gatekeeper>(
        &mut self,
        shared: &Shared<G>,
        changes: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Error>> {
        let (now, state) = (shared.now(), shared.lock());
        if state.stopped {
            return Poll::Ready(None);
        }
        let wait = state.line.next_timeout(now).map_or(MOST_WAIT, |at| at.since(now));
        let wait = changes.map_or(wait, |changes| wait.min(changes));
        drop(state);
        // A device that takes nothing wakes the task by itself when it does.
        let least = if self.out.is_empty() { LEAST_WAIT } else { BLOCKED_WAIT };
        self.timer.reset(wait.clamp(least, MOST_WAIT));
        if self.timer.poll_unpin(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The first and the longest rest before a device is tried again.
const LEAST_REST: Duration = Duration::from_millis(250);
const MOST_REST: Duration = Duration::from_secs(15);
/// Octets that are read at a time.
const READS: usize = 4_096;
/// Reads and writes before other tasks have their turn.
const TURN: usize = 16;
/// The shortest and the longest time that the task waits.
const LEAST_WAIT: Duration = Duration::from_micros(500);
const MOST_WAIT: Duration = Duration::from_secs(60);
/// The shortest time that it waits while the device takes nothing.
const BLOCKED_WAIT: Duration = Duration::from_millis(20);
