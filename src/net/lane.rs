//! Lane: one long-lived stream of frames, written from an outbox and read into whole frames.
//!
//! Writing: a chunk is taken from the outbox and written. While the stream takes no more, frames gather in the outbox
//! and the next chunk is larger. When nothing is left, the stream is flushed.
//!
//! Reading: up to 64 KiB are read at a time; less on a quiet link, so that a thousand quiet links cost little memory.
//! The bytes are cut after the last whole frame; the rest waits for the next read. Once a long frame has begun, only
//! its missing part is read, so that the next frame starts in a buffer of its own. Buffers that are handed over are
//! never copied: a relay sends from them.
//!
//! Invariants
//! 1. [`LaneIo::poll_read`] yields at least one frame; each is whole and of a valid length.
//! - Between two reads less than one frame is kept.

use super::Lane;
use super::outbox::{CHUNK, Chunk, Filled, Outbox};
use super::pacing::Allowed;
use crate::wire::OutFrame;
use crate::wire::frame::{self, FrameError, HEADER, Kind, MAX_FRAME};
use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// One of a connection's two streams. Generic over the stream, so that tests can use a pipe.
#[derive(Debug)]
pub(crate) struct LaneIo<S> {
    stream: Option<S>,
    /// Pings and their echoes, which are written before what is in the outbox.
    urgent: Vec<u8>,
    chunk: Chunk,
    written: usize,
    unflushed: bool,
    ending: Ending,
    /// The number of bytes to read at a time; 0 while the link is quiet.
    reads: usize,
    partial: BytesMut,
    /// The peer has ended its direction of the stream.
    ended: bool,
    /// Bytes have arrived since [`LaneIo::take_heard`] was last called.
    heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The own direction ends once everything is written.
    Wanted,
    Done,
}

/// The error that ends a lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("the stream broke: {0}")]
    Broken(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Whole frames, and their number.
    Frames(Bytes, u64),
    /// The peer has ended the stream; nothing follows.
    End,
}

/// What one call of [`LaneIo::poll_write`] did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) filled: Filled,
}

impl<S: AsyncRead + AsyncWrite + Unpin> LaneIo<S> {
    pub(crate) fn new() -> Self {
        Self {
            stream: None,
            urgent: Vec::new(),
            chunk: Chunk::default(),
            written: 0,
            unflushed: false,
            ending: Ending::No,
            reads: 0,
            partial: BytesMut::new(),
            ended: false,
            heard: false,
        }
    }

    /// Sets the stream. A second stream is ignored.
    pub(crate) fn open(&mut self, stream: S) {
        if self.stream.is_none() {
            self.stream = Some(stream);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether any bytes have arrived since the last call, even part of a frame.
    pub(crate) fn take_heard(&mut self) -> bool {
        core::mem::take(&mut self.heard)
    }

    /// Whether an urgent frame waits.
    pub(crate) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Queues an urgent frame, or drops it if [`MAX_URGENT`] bytes would be exceeded.
    pub(crate) fn push_urgent(&mut self, frame: &[u8]) {
        if self.urgent.len() + frame.len() <= MAX_URGENT {
            self.urgent.extend_from_slice(frame);
        }
    }

    /// Ends the own direction of the stream once everything that waits is written.
    pub(crate) fn finish(&mut self) {
        if self.ending == Ending::No {
            self.ending = Ending::Wanted;
        }
    }

    /// Whether both directions have ended in good order.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.ending == Ending::Done
    }

    /// Writes as much as the stream takes, but no more than `most` bytes, and begins only frames of these classes. Unless
    /// `most` were written, the task is woken when the stream or the outbox has more to do.
    pub(crate) fn poll_write(
        &mut self,
        outbox: &Outbox,
        most: usize,
        allowed: Allowed,
        cx: &mut Context<'_>,
    ) -> Result<Written, LaneError> {
        let mut total = Written::default();
        let Some(stream) = &mut self.stream else { return Ok(total) };
        if self.ending == Ending::Done {
            // A ping or echo after the end: writing it would break the connection.
            self.urgent.clear();
            return Ok(total);
        }
        let mut stream = Pin::new(stream);
        for _ in 0..TURN {
            let left = most.saturating_sub(usize::try_from(total.bytes).unwrap_or(usize::MAX));
            if left == 0 {
                // The next bytes may be long in coming.
                self.unflushed = stream.as_mut().poll_flush(cx)?.is_pending();
                return Ok(total);
            }
            if self.written == self.chunk.len() {
                self.chunk.clear();
                self.written = 0;
                core::mem::swap(&mut self.chunk.bytes, &mut self.urgent);
                if self.chunk.is_empty() {
                    let filled = outbox.fill(&mut self.chunk, most, allowed, cx);
                    total.filled.frames += filled.frames;
                    total.filled.writable |= filled.writable;
                    for (sum, taken) in total.filled.classes.iter_mut().zip(filled.classes) {
                        *sum += taken;
                    }
                }
                if self.chunk.is_empty() {
                    self.chunk = Chunk::default();
                    if self.unflushed && stream.as_mut().poll_flush(cx)?.is_ready() {
                        self.unflushed = false;
                    }
                    if self.ending == Ending::Wanted && stream.poll_close(cx)?.is_ready() {
                        self.ending = Ending::Done;
                    }
                    return Ok(total);
                }
            }
            while self.written < self.chunk.len() {
                let left = most.saturating_sub(usize::try_from(total.bytes).unwrap_or(usize::MAX));
                let next = self.chunk.after(self.written);
                if left == 0 {
                    break;
                }
                match stream.as_mut().poll_write(cx, &next[..next.len().min(left)])? {
                    Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    Poll::Ready(count) => {
                        self.written += count;
                        self.unflushed = true;
                        total.bytes += count as u64;
                    }
                    Poll::Pending => return Ok(total),
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(total)
    }

    /// Returns the next whole frames.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Read, LaneError>> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else { return Poll::Pending };
        loop {
            // A quiet link keeps no buffer: the little that arrives fits here.
            let mut little = [0; QUIET_READ];
            let begun = self.partial.len();
            let polled = if self.reads == 0 {
                Pin::new(&mut *stream).poll_read(cx, &mut little)
            } else {
                let missing = frame::length(&self.partial).transpose()?.map_or(0, |length| 4 + length - begun);
                if missing >= LONG {
                    // As much as a multiplexer holds at a time, since the room must be zeroed before it is read into.
                    self.reads = STEP;
                }
                let room = if missing >= LONG { missing.min(STEP) } else { self.reads };
                self.partial.resize(begun + room, 0);
                let polled = Pin::new(&mut *stream).poll_read(cx, &mut self.partial[begun..]);
                let count = if let Poll::Ready(Ok(count)) = &polled { *count } else { 0 };
                self.partial.truncate(begun + count);
                polled
            };
            if polled.is_pending() {
                self.reads = 0;
                if self.partial.is_empty() {
                    self.partial = BytesMut::new();
                }
            }
            let count = ready!(polled)?;
            if count == 0 {
                if !self.partial.is_empty() {
                    return Poll::Ready(Err(FrameError::Truncated.into()));
                }
                self.ended = true;
                return Poll::Ready(Ok(Read::End));
            }
            self.heard = true;
            if self.reads == 0 {
                self.partial.extend_from_slice(&little[..count]);
            }
            let (whole, frames) = whole(&self.partial)?;
            if count >= self.reads.max(QUIET_READ) && (frames > 1 || self.reads < STEP) {
                self.reads = (count * 4).min(CHUNK);
            }
            if frames > 0 {
                return Poll::Ready(Ok(Read::Frames(self.partial.split_to(whole).freeze(), frames)));
            }
        }
    }
}

/// Returns the length of the whole frames at the start of the buffer, and their number.
fn whole(buffer: &[u8]) -> Result<(usize, u64), FrameError> {
    let (mut end, mut frames) = (0, 0);
    while let Some(length) = frame::length(&buffer[end..]) {
        let next = end + 4 + length?;
        if next > buffer.len() {
            break;
        }
        (end, frames) = (next, frames + 1);
    }
    Ok((end, frames))
}

/// The maximum number of bytes of pings and echoes that wait; a peer that sends more than it reads loses some.
const MAX_URGENT: usize = 4 * 1024;
/// The maximum number of chunks written before other tasks have their turn.
const TURN: usize = 8;
/// Bytes to read at a time while a link is quiet.
const QUIET_READ: usize = 1024;
/// Missing bytes from which on a frame counts as long: then no more than its missing part is read.
const LONG: usize = 8 * 1024;
/// Bytes to read at a time of a long frame.
const STEP: usize = 16 * 1024;

/// Returns the lane of a buffer that holds exactly one frame; otherwise `None`.
pub(crate) fn lane_of(frame: &OutFrame) -> Option<Lane> {
    let (prefix, rest) = frame.head().split_first_chunk::<4>()?;
    let length = frame.len() - 4;
    let whole = length == u32::from_be_bytes(*prefix) as usize && length <= MAX_FRAME;
    let kind = *rest.first().filter(|_| whole && frame.len() >= HEADER)?;
    Some(if kind < Kind::Data as u8 { Lane::Control } else { Lane::Data })
}

#[cfg(test)]
mod tests {
    use super::super::pacing::ALL;
    use super::*;
    use crate::wire::data::Class;
    use crate::wire::frame::{Kind, MAX_FRAME, raw};
    use futures::io::Cursor;
    use futures::task::noop_waker;

    /// Returns a lane that reads these bytes.
    fn reading(bytes: Vec<u8>) -> LaneIo<Cursor<Vec<u8>>> {
        let mut lane = LaneIo::new();
        lane.open(Cursor::new(bytes));
        lane
    }

    fn read(lane: &mut LaneIo<Cursor<Vec<u8>>>) -> Result<Read, LaneError> {
        match lane.poll_read(&mut Context::from_waker(&noop_waker())) {
            Poll::Ready(read) => read,
            Poll::Pending => panic!("a cursor is always ready"),
        }
    }

    /// Invariant 1.
    #[test]
    fn frames_are_cut_at_their_ends() {
        let sent: Vec<u8> =
            (0..2_000u32).flat_map(|n| raw(Kind::Data, &[n as u8; 100][..(n % 100) as usize])).collect();
        let mut lane = reading(sent.clone());
        let (mut received, mut frames) = (Vec::new(), 0);
        while let Read::Frames(bytes, count) = read(&mut lane).unwrap() {
            assert_eq!(frame::Frames(&bytes).filter(Result::is_ok).count() as u64, count);
            received.extend(bytes);
            frames += count;
        }
        assert_eq!((received, frames), (sent, 2_000));
    }

    /// Invariant 1.
    #[test]
    fn a_bad_length_and_a_cut_frame_are_errors() {
        let long = (MAX_FRAME as u32 + 1).to_be_bytes().to_vec();
        assert!(matches!(read(&mut reading(long)), Err(LaneError::Frame(FrameError::Length(_)))));
        let cut = raw(Kind::Data, &[1; 50])[..20].to_vec();
        assert!(matches!(read(&mut reading(cut)), Err(LaneError::Frame(FrameError::Truncated))));
    }

    #[test]
    fn what_is_urgent_goes_first_and_the_end_comes_last() {
        let outbox = Outbox::control(1_000);
        let mut lane = reading(Vec::new());
        outbox.try_send(Class::Control, &raw(Kind::Announce, b"later").into()).unwrap();
        lane.push_urgent(&raw(Kind::Pong, b"now"));
        lane.finish();
        let written = lane.poll_write(&outbox, usize::MAX, ALL, &mut Context::from_waker(&noop_waker())).unwrap();
        assert_eq!(written.filled.frames, 1);
        let out = lane.stream.as_ref().unwrap().get_ref();
        let kinds: Vec<_> = frame::Frames(out).map(|frame| frame.unwrap().kind).collect();
        assert_eq!(kinds, [Kind::Pong as u8, Kind::Announce as u8]);
        assert_eq!(lane.ending, Ending::Done);
        let whole = out.len();
        lane.push_urgent(&raw(Kind::Pong, b"too late"));
        let written = lane.poll_write(&outbox, usize::MAX, ALL, &mut Context::from_waker(&noop_waker())).unwrap();
        assert_eq!(
            (written.bytes, lane.stream.as_ref().unwrap().get_ref().len()),
            (0, whole),
            "nothing follows the end"
        );
        assert!(!lane.has_urgent());
    }
}
