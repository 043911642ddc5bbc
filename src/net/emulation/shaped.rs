//! Shaped: a wrapper around a connection that makes it behave as its link's [`Shape`] says. Only in a lab.
//!
//! Each end shapes what it sends. What is written to a substream enters a queue, in pieces for which the connection's
//! one [`Shaper`] gives the times of arrival; at these times they are written to the substream below. So the other end
//! receives them late, and a writer is held back once its queue holds the [`window`] of the shape. Pieces are delivered
//! when the connection is polled, for which a timer wakes it. A flush is complete when the bytes are queued. A
//! substream that is closed or dropped is closed or dropped below once its queue is empty.
//!
//! Bytes under way are lost when the connection itself is closed, as when a cable is pulled.
//!
//! All connections to one peer share one [`Profile`], through which the shape can change while they are open. Without a
//! shape, bytes pass straight through. A network that is not made for a lab has no wrapper.
//!
//! A connection can also be *mute*: then what is written waits in the queues until the connection is no longer mute. To
//! the other end this looks like a line on which all packets vanish while the transport keeps repeating them.
//!
//! Invariants
//! 1. Bytes of a substream leave in the order in which they were written, even if the shape changes.
//! 2. A queue holds at most the window's bytes, where each piece counts [`PIECE_COST`] bytes more than it has. Drop
//!    policy: none, writers wait.
//! - There are as many queues as the connection below has substreams, which bounds them.

use super::lab::Shape;
use super::shaper::{MTU, Passage, Shaper, window};
use super::shaping::{Profile, lock};
use crate::net::StreamMuxerBox;
use crate::time::Time;
use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_timer::Delay;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, StreamMuxerExt, SubstreamBox};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A connection under a shape.
struct Shaped {
    inner: StreamMuxerBox,
    line: Arc<Line>,
    /// Fires when the next piece is due.
    timer: Delay,
    armed: Option<Time>,
}

/// State that a connection and its substreams share.
pub(super) struct Line {
    profile: Arc<Profile>,
    began: Instant,
    queues: Mutex<Queues>,
    /// Wakes the task that polls the connection.
    driver: AtomicWaker,
}

struct Queues {
    shaper: Shaper,
    next: u64,
    /// The queues of the substreams, by number. They are dropped with the connection.
    streams: BTreeMap<u64, Queue>,
}

/// One substream below, and the bytes that wait for it.
struct Queue {
    inner: SubstreamBox,
    bytes: VecDeque<u8>,
    /// For each run of bytes, in order: when it arrives, how many bytes it has, and the number of its last piece.
    pieces: VecDeque<(Time, usize, u64)>,
    /// The number of bytes at the front that have arrived.
    due: usize,
    unflushed: bool,
    /// The waker of the writer, while it is held back.
    writer: Option<Waker>,
    closing: bool,
    /// The writer has dropped the substream.
    left: bool,
    failed: Option<io::ErrorKind>,
}

/// Puts a connection under a profile; `seed` feeds jitter and loss.
pub(super) fn wrap(inner: StreamMuxerBox, profile: Arc<Profile>, seed: [u8; 32]) -> StreamMuxerBox {
    StreamMuxerBox::new(Shaped::new(inner, profile, seed))
}

impl Shaped {
    fn new(inner: StreamMuxerBox, profile: Arc<Profile>, seed: [u8; 32]) -> Self {
        let queues = Queues { shaper: Shaper::new(Shape::default(), seed), next: 0, streams: BTreeMap::new() };
        let line = Line { profile, began: Instant::now(), queues: Mutex::new(queues), driver: AtomicWaker::new() };
        let line = Arc::new(line);
        line.profile.add(&line);
        Self { inner, line, timer: Delay::new(Duration::ZERO), armed: None }
    }

    fn adopt(&self, inner: SubstreamBox) -> Substream {
        let mut queues = lock(&self.line.queues);
        queues.next += 1;
        let id = queues.next;
        queues.streams.insert(id, Queue::new(inner));
        Substream { id, line: self.line.clone() }
    }

    /// Hands on all that has arrived, and arms the timer for the rest.
    fn deliver(&mut self, cx: &mut Context<'_>) {
        self.line.driver.register(cx.waker());
        if self.line.profile.is_mute() {
            self.armed = None;
            return;
        }
        loop {
            let now = self.line.now();
            let Some(next) = lock(&self.line.queues).deliver(now, cx) else {
                self.armed = None;
                return;
            };
            if self.armed != Some(next) {
                self.armed = Some(next);
                self.timer.reset(next.since(now));
            }
            if self.timer.poll_unpin(cx).is_pending() {
                return;
            }
            self.armed = None;
        }
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        let streams = std::mem::take(&mut lock(&self.line.queues).streams);
        streams.into_values().for_each(|mut queue| queue.wake());
    }
}

impl StreamMuxer for Shaped {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        self.inner.poll_inbound_unpin(cx).map_ok(|stream| self.adopt(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        self.inner.poll_outbound_unpin(cx).map_ok(|stream| self.adopt(stream))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_close_unpin(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.deliver(cx);
        self.inner.poll_unpin(cx)
    }
}

impl Line {
    /// Lets the connection look at its queues again, when it is no longer mute.
    pub(super) fn rouse(&self) {
        lock(&self.queues).streams.values_mut().for_each(Queue::wake);
        self.driver.wake();
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Queues {
    /// Hands on what has arrived. Returns when the next piece arrives.
    fn deliver(&mut self, now: Time, cx: &mut Context<'_>) -> Option<Time> {
        self.streams.values_mut().for_each(|queue| queue.deliver(now, cx));
        self.streams.retain(|_, queue| !queue.is_over(cx));
        self.streams.values().filter_map(|queue| queue.pieces.front()).map(|(due, ..)| *due).min()
    }

    /// Adopts arrivals that the shaper has made earlier.
    fn revise(&mut self) {
        let Self { shaper, streams, .. } = self;
        for (due, _, number) in streams.values_mut().flat_map(|queue| &mut queue.pieces) {
            *due = shaper.arrival(*number).unwrap_or(*due);
        }
    }
}

impl Queue {
    fn new(inner: SubstreamBox) -> Self {
        Self {
            inner,
            bytes: VecDeque::new(),
            pieces: VecDeque::new(),
            due: 0,
            unflushed: false,
            writer: None,
            closing: false,
            left: false,
            failed: None,
        }
    }

    /// Takes as many bytes as there is room for; the writer waits if there is room for too few.
    fn push(&mut self, bytes: &[u8], lane: u64, shaper: &mut Shaper, now: Time, cx: &mut Context<'_>) -> Poll<usize> {
        let held = self.bytes.len() + self.pieces.len() * PIECE_COST;
        let room = window(shaper.shape()).saturating_sub(held);
        // Short pieces would only make more work.
        if room < bytes.len().min(MTU) {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = &bytes[..bytes.len().min(room)];
        for piece in taken.chunks(MTU) {
            let Passage { number, arrives } = shaper.send(piece.len(), lane, now);
            match self.pieces.back_mut() {
                // Without loss no arrival becomes earlier, so pieces can be merged.
                Some((due, length, last)) if *due == arrives && shaper.shape().loss == 0 => {
                    (*length, *last) = (*length + piece.len(), number);
                }
                _ => self.pieces.push_back((arrives, piece.len(), number)),
            }
        }
        self.bytes.extend(taken);
        Poll::Ready(taken.len())
    }

    fn deliver(&mut self, now: Time, cx: &mut Context<'_>) {
        while let Some((_, length, _)) = self.pieces.pop_front_if(|(due, ..)| *due <= now) {
            self.due += length;
        }
        let before = self.due;
        let mut result = Ok(());
        while self.due > 0 && result.is_ok() {
            let (front, _) = self.bytes.as_slices();
            let most = front.len().min(self.due);
            match Pin::new(&mut self.inner).poll_write(cx, &front[..most]) {
                Poll::Ready(Ok(0)) => result = Err(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(count)) => {
                    self.bytes.drain(..count);
                    self.due -= count;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => result = Err(error.kind()),
                Poll::Pending => break,
            }
        }
        if self.unflushed && self.due == 0 && result.is_ok() {
            match Pin::new(&mut self.inner).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    self.unflushed = false;
                    result = flushed.map_err(|error| error.kind());
                }
                Poll::Pending => {}
            }
        }
        if let Err(kind) = result {
            self.failed = Some(kind);
            self.bytes.clear();
            self.pieces.clear();
            (self.due, self.unflushed) = (0, false);
            self.wake();
        } else if self.due < before {
            self.wake();
        }
    }

    /// Whether the queue can be removed. Closes the substream below if its writer had wanted that before it dropped it.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.left || !self.bytes.is_empty() || self.unflushed {
            return false;
        }
        self.failed.is_some() || !self.closing || Pin::new(&mut self.inner).poll_close(cx).is_ready()
    }

    fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A substream under a shape.
struct Substream {
    id: u64,
    line: Arc<Line>,
}

impl Substream {
    /// Runs `work` on the substream's queue, and adopts arrivals that it has made earlier.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Queue, &mut Shaper, &Line) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut queues = lock(&self.line.queues);
        let Queues { shaper, streams, .. } = &mut *queues;
        let result = match streams.get_mut(&self.id) {
            Some(Queue { failed: Some(kind), .. }) => Poll::Ready(Err((*kind).into())),
            Some(queue) => work(queue, shaper, &self.line),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        };
        if queues.shaper.take_revised() {
            queues.revise();
        }
        result
    }
}

impl AsyncRead for Substream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.with(|queue, _, _| Pin::new(&mut queue.inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Substream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let id = self.id;
        self.with(|queue, shaper, line| {
            let shape = line.profile.shape();
            if shape.is_none() && queue.bytes.is_empty() && !line.profile.is_mute() {
                return Pin::new(&mut queue.inner).poll_write(cx, bytes);
            }
            let shape = shape.unwrap_or_default();
            if *shaper.shape() != shape {
                shaper.set_shape(shape);
            }
            let taken = queue.push(bytes, id, shaper, line.now(), cx);
            if taken.is_ready() {
                line.driver.wake();
            }
            taken.map(Ok)
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|queue, _, _| match queue.bytes.is_empty() {
            true => Pin::new(&mut queue.inner).poll_flush(cx),
            // What is queued is flushed when it is delivered.
            false => Poll::Ready(Ok(())),
        })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|queue, _, line| {
            queue.closing = true;
            if queue.bytes.is_empty() && !line.profile.is_mute() {
                return Pin::new(&mut queue.inner).poll_close(cx);
            }
            queue.writer = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        let mut queues = lock(&self.line.queues);
        let Some(queue) = queues.streams.get_mut(&self.id) else { return };
        queue.left = true;
        if queue.bytes.is_empty() && !self.line.profile.is_mute() {
            queues.streams.remove(&self.id);
        } else {
            self.line.driver.wake();
        }
    }
}

/// Bytes of the window that a piece takes besides its own: the memory for keeping it, about as much as its headers.
const PIECE_COST: usize = 40;

#[cfg(test)]
mod tests;
