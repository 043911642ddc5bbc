//! Stream: bytes in one direction ([`Pipe`]), and in both directions with an end of a connection ([`Stream`]).
//!
//! Bytes that are written wait in the pipe with the time at which they arrive, and can be read from then on. A pipe
//! wakes its reader by one event at a time, for the first bytes that are under way. If the reader's device takes time
//! for frames, the bytes wait until its processor has processed them ([`Processor`]).
//!
//! Invariants
//! 1. A pipe holds at most the window of its line, and a writer waits while it is full.

use super::capture::{Piece, What as Captured};
use super::classes::Sorter;
use super::connection::{Arrival, Connection, NEVER, reset};
use super::frames::Tamper;
use super::kinds::{Follower, Kinds};
use super::processor::Processor;
use super::purpose::{Classifier, Purpose};
use super::{NANOS, now};
use crate::world::witness::{Cutter, Going};
use futures::{AsyncRead, AsyncWrite};
use futures_timer::virtual_time::{self, Due};
use m2mesh::wire::frame::HEADER;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A pipe, which carries bytes in one direction.
pub struct Pipe {
    /// The end that writes.
    writer: usize,
    /// The processor of the device that reads.
    processor: Arc<Processor>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// The number of bytes of the first chunk that have been read.
    offset: usize,
    /// The number of bytes in it.
    held: usize,
    reader: Option<Waker>,
    blocked: Option<Waker>,
    /// Whether an event that wakes the reader is in the queue.
    scheduled: bool,
    dead: bool,
}

struct Chunk {
    at: u64,
    /// The piece of its line.
    piece: Option<u64>,
    /// The time for which a hostile member delays it further.
    held_up: u64,
    /// The number of frames in it that the reader's processor has not processed yet.
    frames: u32,
    purpose: Purpose,
    what: What,
}

enum What {
    Data(Box<[u8]>),
    End,
    Reset,
}

impl Pipe {
    pub(super) fn new(writer: usize, processor: Arc<Processor>) -> Arc<Self> {
        Arc::new(Self { writer, processor, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the connection is reset.
    pub(super) fn kill(&self) {
        let wakers = {
            let mut state = self.lock();
            state.dead = true;
            state.chunks = VecDeque::new();
            [state.reader.take(), state.blocked.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Lets bytes that did not get through arrive as `arrival` says of each piece.
    pub(super) fn release(self: &Arc<Self>, mut arrival: impl FnMut(usize, usize, Purpose) -> Arrival) {
        let mut state = self.lock();
        for chunk in state.chunks.iter_mut().filter(|chunk| chunk.at == NEVER) {
            let bytes = if let What::Data(bytes) = &chunk.what { bytes.len() } else { 0 };
            Arrival { at: chunk.at, piece: chunk.piece } = arrival(self.writer, bytes, chunk.purpose);
        }
        self.schedule(&mut state);
    }

    /// Notes that bytes under way in the line on which an end sends arrive sooner.
    pub(super) fn revise(self: &Arc<Self>, writer: usize, arrival: impl Fn(u64) -> Option<u64>) {
        if writer != self.writer {
            return;
        }
        let mut state = self.lock();
        let first = state.chunks.front().map(|chunk| chunk.at);
        let (now, mut before) = (now(), 0);
        for chunk in state.chunks.iter_mut().filter(|chunk| chunk.at > now && chunk.at != NEVER) {
            if let Some(at) = chunk.piece.and_then(&arrival) {
                chunk.at = chunk.at.min(at.saturating_add(chunk.held_up).max(before));
            }
            before = chunk.at;
        }
        if state.chunks.front().map(|chunk| chunk.at) < first {
            // The event for the later time finds nothing new.
            state.scheduled = false;
        }
        self.schedule(&mut state);
    }

    fn push(self: &Arc<Self>, mut chunk: Chunk) {
        let mut state = self.lock();
        if state.dead {
            return;
        }
        if let What::Data(bytes) = &chunk.what {
            state.held += bytes.len();
        }
        // A hostile member may delay bytes: what follows waits behind them, as in any stream.
        chunk.at = chunk.at.saturating_add(chunk.held_up);
        chunk.at = state.chunks.back().map_or(chunk.at, |last| last.at.max(chunk.at));
        if !self.processor.is_slow() {
            chunk.frames = 0;
        }
        state.chunks.push_back(chunk);
        self.schedule(&mut state);
    }

    /// Ensures that the reader is woken when there are bytes to read.
    fn schedule(self: &Arc<Self>, state: &mut State) {
        if state.scheduled {
            return;
        }
        if let Some(first) = state.chunks.front().filter(|first| first.at != NEVER) {
            state.scheduled = true;
            virtual_time::schedule(first.at, self.clone());
        }
    }
}

impl Due for Pipe {
    fn fire(&self, _ticket: u64) {
        let reader = {
            let mut state = self.lock();
            state.scheduled = false;
            let (now, mut worked) = (now(), 0);
            for chunk in state.chunks.iter_mut().filter(|_| self.processor.is_slow()) {
                if chunk.at <= now && chunk.frames > 0 {
                    worked = self.processor.work(std::mem::take(&mut chunk.frames), now);
                    chunk.piece = None;
                }
                if chunk.at >= worked.max(now) {
                    break;
                }
                // Bytes in a stream are not read before those that precede them.
                chunk.at = chunk.at.max(worked);
            }
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A stream with both directions, as one end uses it.
pub struct Stream {
    connection: Arc<Connection>,
    end: usize,
    opener: bool,
    reading: Arc<Pipe>,
    writing: Arc<Pipe>,
    kind: Arc<Classifier>,
    closed: bool,
    /// Present only on a device that is hostile at some time.
    tamper: Option<Tamper>,
    follower: Follower,
    cutter: Cutter,
    sorter: Sorter,
    /// Whether the bytes that it sends are captured.
    captured: bool,
}

impl Stream {
    pub(super) fn new(
        connection: Arc<Connection>,
        end: usize,
        opener: bool,
        reading: Arc<Pipe>,
        writing: Arc<Pipe>,
        kind: Arc<Classifier>,
    ) -> Self {
        let device = connection.device(end);
        let turns = connection.medium().lock().devices[device].turns;
        let captured = connection.medium().captures(connection.edge());
        let tamper = turns.then(|| Tamper::new(device, connection.device(1 - end)));
        Self {
            connection,
            end,
            opener,
            reading,
            writing,
            kind,
            closed: false,
            tamper,
            follower: Follower::new(),
            cutter: Cutter::default(),
            sorter: Sorter::new(),
            captured,
        }
    }

    fn put(&self, bytes: &[u8], frames: u32, purpose: Purpose, held_up: u64) {
        let Arrival { at, piece } = self.connection.send(self.end, bytes, purpose);
        self.capture(Captured::Data(bytes), purpose, at);
        self.writing.push(Chunk { at, piece, held_up, frames, purpose, what: What::Data(bytes.into()) });
    }

    /// Shows the witness the bytes that are written; returns the number of frames that they complete.
    fn witness(&mut self, bytes: &[u8]) -> u32 {
        let mut frames = 0;
        if self.kind.known() == Some(Purpose::Admission) {
            return frames;
        }
        let Self { connection, end, cutter, .. } = self;
        let (from, to, bearer) = connection.ends_of(*end);
        let under = connection.peers_of(*end);
        let mut state = connection.medium().lock();
        cutter.handle(bytes, &mut |kind, frame, length| {
            let body = &frame[HEADER..];
            frames += 1;
            let going = Going { from, to, under, bearer, kind, length, body };
            state.witness.handle(&going);
            if let Some(onlooker) = &mut state.onlooker {
                onlooker.handle(&going);
            }
        });
        frames
    }

    fn finish(&mut self, what: What) {
        if !std::mem::replace(&mut self.closed, true) {
            let purpose = self.kind.known().unwrap_or(Purpose::Admission);
            let Arrival { at, piece } = self.connection.send(self.end, &[], purpose);
            let captured = if matches!(what, What::End) { Captured::End } else { Captured::Reset };
            self.capture(captured, purpose, at);
            self.writing.push(Chunk { at, piece, held_up: 0, frames: 0, purpose, what });
        }
    }

    fn capture(&self, what: Captured<'_>, purpose: Purpose, at: u64) {
        if self.captured {
            self.connection.medium().handle_piece(&Piece {
                edge: self.connection.edge(),
                // The two ends of a stream share this value, and no other stream has it while one of them exists.
                stream: Arc::as_ptr(&self.kind).addr(),
                opener: self.opener,
                devices: [self.end, 1 - self.end].map(|end| self.connection.device(end)),
                what,
                purpose,
                carried: at != NEVER,
            });
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.reading.lock();
        let State { chunks, offset, held, .. } = &mut *state;
        let (now, mut count) = (now(), 0);
        while count < buffer.len() {
            match chunks.front() {
                Some(Chunk { at, frames: 0, what: What::Data(bytes), .. }) if *at <= now => {
                    let taken = (bytes.len() - *offset).min(buffer.len() - count);
                    buffer[count..count + taken].copy_from_slice(&bytes[*offset..*offset + taken]);
                    count += taken;
                    *offset += taken;
                    *held -= taken;
                    if *offset == bytes.len() {
                        *offset = 0;
                        chunks.pop_front();
                    }
                }
                Some(Chunk { at, what: What::End, .. }) if *at <= now && count == 0 => return Poll::Ready(Ok(0)),
                Some(Chunk { at, what: What::Reset, .. }) if *at <= now && count == 0 => {
                    return Poll::Ready(Err(reset()));
                }
                _ => break,
            }
        }
        if count > 0 || buffer.is_empty() {
            let blocked = state.blocked.take();
            drop(state);
            if let Some(blocked) = blocked {
                blocked.wake();
            }
            return Poll::Ready(Ok(count));
        }
        if state.dead {
            return Poll::Ready(Err(reset()));
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            reader => *reader = Some(cx.waker().clone()),
        }
        self.reading.schedule(&mut state);
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let held = {
            let state = self.writing.lock();
            if state.dead || self.closed {
                return Poll::Ready(Err(reset()));
            }
            state.held
        };
        let (window, piece) = self.connection.window(self.end);
        // As a socket's writer is not woken for less than a third of its buffer: a writer that fills free room byte by
        // byte would send only packet headers.
        let room = window.saturating_sub(held).min(piece);
        if room == 0 || room < bytes.len().min(piece).min(window / 3) {
            self.writing.lock().blocked = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(room)];
        let (purpose, learnt) = self.kind.classify(self.opener, bytes);
        if learnt && purpose == Purpose::Routing {
            self.connection.stand();
        }
        let mut frames = self.witness(bytes);
        let Self { connection, kind, tamper, follower, sorter, .. } = &mut *self;
        if matches!(kind.known(), None | Some(Purpose::Routing)) {
            let overhead = super::on_the_wire(bytes.len()) - bytes.len();
            let mut unknown = Kinds::new();
            let mut state = connection.medium().lock();
            let kinds = if purpose == Purpose::Routing { &mut state.kinds } else { &mut unknown };
            follower.count(bytes, overhead, kinds);
        }
        if matches!(kind.known(), None | Some(Purpose::Payload)) {
            let length = super::on_the_wire(bytes.len());
            let classes = sorter.count(bytes, length - bytes.len());
            if classes.iter().any(|class| *class > 0) {
                connection.book_classes(length as u64, classes);
            }
        }
        match tamper.as_mut().map(|tamper| tamper.handle(connection.medium(), kind, bytes)) {
            None => self.put(bytes, frames, purpose, 0),
            Some(sent) => {
                for (piece, delay) in sent {
                    let delay = u64::try_from(delay.as_nanos()).unwrap_or(NANOS);
                    self.put(&piece, std::mem::take(&mut frames), purpose, delay);
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish(What::End);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.finish(What::Reset);
        let blocked = {
            let mut state = self.reading.lock();
            state.dead = true;
            state.chunks = VecDeque::new();
            state.blocked.take()
        };
        if let Some(blocked) = blocked {
            blocked.wake();
        }
    }
}
