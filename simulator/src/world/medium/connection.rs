//! Connection: two ends, a line in each direction, and the streams on it.
//!
//! A line may state later that bytes arrive sooner, when later bytes reveal a loss: the streams are told. Streams that
//! are opened, and ends that are dropped, keep the time that was stated first.
//!
//! Invariants
//! 1. When an end is dropped, the other end is told, as soon as the edge carries the notice.
//! - The bytes that one end sends arrive at the other in the order in which they were sent: over all streams, or, if
//!   the bearer's transport is QUIC, within each stream.

use super::classes::ByClass;
use super::purpose::{Classifier, Purpose};
use super::stream::{Pipe, Stream};
use super::{Medium, Sent, now};
use futures_timer::virtual_time::{self, Due};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use m2mesh::net::emulation::{MAX_ATTEMPTS, MTU, Shape, Shaper};
use m2mesh::time::Time;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// A connection over an edge.
pub struct Connection {
    medium: Medium,
    /// Its number among all connections.
    number: u64,
    edge: usize,
    /// The direction on the edge in which each end sends; the dialer is end 0.
    directions: [usize; 2],
    state: Mutex<State>,
}

struct State {
    lines: [Shaper; 2],
    ends: [End; 2],
    /// The key of each end's network, once it is known.
    peers: [Option<PeerId>; 2],
    dead: bool,
    pipes: Vec<Weak<Pipe>>,
    /// Whether it carries frames, and so counts for its edge.
    standing: bool,
    /// The time since which bytes have waited for the edge to carry them.
    stuck: Option<u64>,
}

/// The arrival of bytes.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    /// The time of the arrival in nanoseconds; [`NEVER`] while the edge is silent.
    pub(super) at: u64,
    /// The last piece of these bytes on its line, which may state later that it arrives sooner.
    pub(super) piece: Option<u64>,
}

/// The outcome of bytes on a line.
struct Carried {
    /// The arrival of the last of them.
    arrival: Arrival,
    /// Whether a piece is lost for good.
    lost: bool,
    /// The number of bytes that were sent again.
    repeated: u64,
}

#[derive(Default)]
struct End {
    inbound: VecDeque<(u64, Stream)>,
    accepting: Option<Waker>,
    watching: Option<Waker>,
    /// The time at which the other end is told that this one is gone; [`NEVER`] while the edge does not carry the
    /// notice.
    closed: Option<u64>,
}

impl Connection {
    pub(super) fn new(medium: Medium, edge: usize, dialer_is_a: bool, seed: [u8; 32]) -> Arc<Self> {
        let mut other = seed;
        other[31] ^= 1;
        let recovery = medium.recovery(edge);
        let lines = [seed, other].map(|seed| Shaper::with_recovery(Shape::default(), recovery, seed));
        let state = State {
            lines,
            ends: Default::default(),
            peers: [None; 2],
            dead: false,
            pipes: Vec::new(),
            standing: false,
            stuck: None,
        };
        let directions = if dialer_is_a { [0, 1] } else { [1, 0] };
        let number = {
            let mut medium = medium.lock();
            medium.connections += 1;
            medium.connections
        };
        let connection = Arc::new(Self { medium, number, edge, directions, state: Mutex::new(state) });
        let mut medium = connection.medium.lock();
        let list = &mut medium.edges[edge].connections;
        list.retain(|known| known.strong_count() > 0);
        list.push(Arc::downgrade(&connection));
        drop(medium);
        connection
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the keys of the networks at its ends; the dialer's is the first.
    pub(super) fn set_peers(&self, peers: [PeerId; 2]) {
        self.lock().peers = peers.map(Some);
    }

    /// Returns the keys of the networks at an end and at the other, once they are known.
    pub(super) fn peers_of(&self, end: usize) -> [Option<PeerId>; 2] {
        let peers = self.lock().peers;
        [peers[end], peers[1 - end]]
    }

    /// Sends bytes, and returns when they arrive.
    pub(super) fn send(&self, end: usize, bytes: &[u8], purpose: Purpose) -> Arrival {
        let direction = self.directions[end];
        let Sent { start, shape, lost: gone } = self.medium.send(self.edge, direction, bytes, purpose);
        self.medium.onlook(|onlooker| onlooker.note_piece(self.number, end, bytes.len()));
        let mut state = self.lock();
        let Some(start) = start.filter(|_| state.stuck.is_none()) else {
            state.stuck.get_or_insert_with(now);
            return Arrival { at: NEVER, piece: None };
        };
        let Carried { arrival, lost, repeated } = state.line(end, bytes.len(), lane(purpose), start, shape);
        let revised = if state.lines[end].take_revised() { state.pipes.clone() } else { Vec::new() };
        drop(state);
        for pipe in revised.iter().filter_map(Weak::upgrade) {
            pipe.revise(end, |piece| Some(self.lock().lines[end].arrival(piece)?.0 * MICRO));
        }
        if repeated > 0 {
            self.medium.spend_again(self.edge, direction, repeated);
        }
        if lost || gone {
            // The transport gives up.
            self.reset();
        }
        arrival
    }

    /// Resets the connection: both ends are told at once.
    pub(super) fn reset(&self) {
        let (pipes, standing) = {
            let mut state = self.lock();
            state.dead = true;
            (std::mem::take(&mut state.pipes), std::mem::take(&mut state.standing))
        };
        if standing {
            self.medium.set_standing(self.edge, false, self.peers_of(0));
        }
        self.medium.note_lost(self.edge);
        for pipe in pipes.iter().filter_map(Weak::upgrade) {
            pipe.kill();
        }
        self.wake();
    }

    /// Notes that the edge carries traffic again: bytes that were sent meanwhile are sent once more when their sender
    /// next tries ([`next_attempt`](m2mesh::net::emulation::Recovery::next_attempt)).
    pub(super) fn release(self: &Arc<Self>) {
        let now = now();
        let shape = self.medium.lock().edges[self.edge].shapes[self.directions[0]];
        let (pipes, closing, next) = {
            let mut state = self.lock();
            let Some(since) = state.stuck.take() else { return };
            let [since, now] = [since, now].map(|at| Time(at.div_ceil(MICRO)));
            let next = state.lines[0].recovery().next_attempt(&shape, since, now).0 * MICRO;
            let mut closing = [false; 2];
            for (end, closing) in closing.iter_mut().enumerate() {
                *closing = state.ends[end].closed == Some(NEVER);
                let pending = state.ends[1 - end].inbound.iter_mut().filter(|(at, _)| *at == NEVER);
                pending.for_each(|(at, _)| *at = next);
            }
            (state.pipes.iter().filter_map(Weak::upgrade).collect::<Vec<_>>(), closing, next)
        };
        for pipe in &pipes {
            pipe.release(|end, bytes, purpose| self.again(end, bytes, purpose, next));
        }
        for (end, closing) in closing.into_iter().enumerate() {
            if closing {
                let at = self.again(end, 0, Purpose::Admission, next).at;
                self.lock().ends[end].closed = Some(at);
                virtual_time::schedule(at, self.clone());
            }
        }
        virtual_time::schedule(next, self.clone());
    }

    /// Returns when bytes arrive that are sent again at a time.
    fn again(&self, end: usize, bytes: usize, purpose: Purpose, start: u64) -> Arrival {
        let shape = self.medium.lock().edges[self.edge].shapes[self.directions[end]];
        self.lock().line(end, bytes, lane(purpose), start, shape).arrival
    }

    /// Notes that an end is dropped.
    fn close(self: &Arc<Self>, end: usize) {
        {
            let state = self.lock();
            if state.dead || state.ends[end].closed.is_some() {
                return;
            }
        }
        let at = self.send(end, &[], Purpose::Admission).at;
        let (inbound, standing) = {
            let mut state = self.lock();
            state.ends[end].closed = Some(at);
            // Streams hold the connection.
            (std::mem::take(&mut state.ends[end].inbound), std::mem::take(&mut state.standing))
        };
        if standing {
            self.medium.set_standing(self.edge, false, self.peers_of(0));
        }
        self.medium.note_lost(self.edge);
        drop(inbound);
        if at != NEVER {
            virtual_time::schedule(at, self.clone());
        }
    }

    /// Notes that it carries frames from now on.
    pub(super) fn stand(&self) {
        let first = {
            let mut state = self.lock();
            !state.dead && !std::mem::replace(&mut state.standing, true)
        };
        if first {
            self.medium.set_standing(self.edge, true, self.peers_of(0));
        }
    }

    fn wake(&self) {
        let wakers = {
            let mut state = self.lock();
            let [one, other] = &mut state.ends;
            [one.accepting.take(), one.watching.take(), other.accepting.take(), other.watching.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Returns the index of an end's device.
    pub(super) fn device(&self, end: usize) -> usize {
        let state = self.medium.lock();
        let edge = &state.edges[self.edge];
        if self.directions[end] == 0 { edge.a } else { edge.b }
    }

    /// Returns the indices of an end's device, of the device at the other end, and of the bearer between them.
    pub(super) fn ends_of(&self, end: usize) -> (usize, usize, usize) {
        let state = self.medium.lock();
        let edge = &state.edges[self.edge];
        let (one, other) = if self.directions[end] == 0 { (edge.a, edge.b) } else { (edge.b, edge.a) };
        (one, other, edge.bearer)
    }

    /// Books, of bytes that go onto the line at once, those in frames of data, by class.
    pub(super) fn book_classes(&self, bytes: u64, classes: ByClass) {
        self.medium.book_classes(self.edge, bytes, classes);
    }

    /// Returns its number among all connections.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the index of its edge.
    pub(super) fn edge(&self) -> usize {
        self.edge
    }

    pub(super) fn medium(&self) -> &Medium {
        &self.medium
    }

    /// Returns the number of bytes that a writer may have under way, and the size of the pieces in which they are sent:
    /// on a line with a rate, packets arrive one by one.
    pub(super) fn window(&self, end: usize) -> (usize, usize) {
        let state = self.medium.lock();
        let edge = &state.edges[self.edge];
        let shape = &edge.shapes[self.directions[end]];
        let one_by_one = shape.rate.is_some() || state.bearers[edge.bearer].air.is_rough();
        (m2mesh::net::emulation::window(shape), if one_by_one { MTU } else { usize::MAX })
    }
}

impl State {
    /// Passes bytes through the line at a time, and returns their outcome.
    fn line(&mut self, end: usize, bytes: usize, lane: u64, start: u64, shape: Shape) -> Carried {
        let line = &mut self.lines[end];
        if *line.shape() != shape {
            line.set_shape(shape);
        }
        let start = Time(start.div_ceil(MICRO));
        let (mut left, mut gone, mut repeated) = (super::on_the_wire(bytes), false, 0);
        loop {
            let piece = left.min(MTU);
            left -= piece;
            let before = line.lost();
            let passage = line.send(piece, lane, start);
            let lost = line.lost() - before;
            gone |= lost >= u64::from(MAX_ATTEMPTS) - 1;
            repeated += lost * piece as u64;
            if left == 0 {
                let arrival = Arrival { at: passage.arrives.0 * MICRO, piece: Some(passage.number) };
                return Carried { arrival, lost: gone, repeated };
            }
        }
    }

    /// Returns whether an end has been told that the connection is over.
    fn is_over(&self, end: usize) -> bool {
        self.dead || self.ends[1 - end].closed.is_some_and(|at| at <= now())
    }
}

impl Due for Connection {
    fn fire(&self, _ticket: u64) {
        self.wake();
    }
}

/// One end of a connection, in the form that libp2p uses.
pub struct Muxer {
    connection: Arc<Connection>,
    end: usize,
}

impl Muxer {
    pub(super) fn new(connection: Arc<Connection>, end: usize) -> Self {
        Self { connection, end }
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        self.connection.close(self.end);
    }
}

/// Returns the number of the QUIC stream on which a stream's bytes wait for each other: a connection has a lasting one
/// for messages, and one for control.
fn lane(purpose: Purpose) -> u64 {
    u64::from(purpose == Purpose::Payload)
}

pub(super) fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl StreamMuxer for Muxer {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let mut state = self.connection.lock();
        if state.is_over(self.end) {
            return Poll::Ready(Err(reset()));
        }
        let end = &mut state.ends[self.end];
        if let Some((_, stream)) = end.inbound.pop_front_if(|(at, _)| *at <= now()) {
            return Poll::Ready(Ok(stream));
        }
        end.accepting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let connection = &self.connection;
        if connection.lock().is_over(self.end) {
            return Poll::Ready(Err(reset()));
        }
        let at = connection.send(self.end, &[], Purpose::Admission).at;
        let pipe = |writer: usize| Pipe::new(writer, connection.medium.processor(connection.device(1 - writer)));
        let (out, back, kind) = (pipe(self.end), pipe(1 - self.end), Arc::new(Classifier::new()));
        let mine = Stream::new(connection.clone(), self.end, true, back.clone(), out.clone(), kind.clone());
        let theirs = Stream::new(connection.clone(), 1 - self.end, false, out.clone(), back.clone(), kind);
        let mut state = connection.lock();
        if state.pipes.len() >= 16 && state.pipes.len().is_power_of_two() {
            state.pipes.retain(|pipe| pipe.strong_count() > 0);
        }
        state.pipes.extend([Arc::downgrade(&out), Arc::downgrade(&back)]);
        state.ends[1 - self.end].inbound.push_back((at, theirs));
        drop(state);
        if at != NEVER {
            virtual_time::schedule(at, connection.clone());
        }
        Poll::Ready(Ok(mine))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.close(self.end);
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let mut state = self.connection.lock();
        if state.is_over(self.end) {
            return Poll::Ready(Err(reset()));
        }
        state.ends[self.end].watching = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The time of bytes that have not arrived, and will not before the edge is open again.
pub const NEVER: u64 = u64::MAX;
const MICRO: u64 = 1_000;
