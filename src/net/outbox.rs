//! Outbox: frames that wait for one lane of a link, by class.
//!
//! The node puts whole frames in; the connection's task takes them out in chunks of up to [`CHUNK`] bytes, which it
//! writes as one. While the writer is busy nobody is woken: it comes back by itself and finds what has come
//! together. Only an idle writer leaves its waker, so a lone frame goes out at once and a burst in few writes.
//!
//! A chunk is filled by strict priority, the most urgent class first. So that the others still move under a
//! lasting load, a class that has been passed over for [`PATIENCE`] chunks gets one frame in at the front.
//!
//! Invariants
//! 1. A queue never holds more than its limit, unless its one frame alone is longer. The limit falls with the [`Pace`]
//!    at which the lane is written, so that frames do not wait on a slow one until they are of no use.
//! 2. Frames of one class leave in the order in which they came, whole.
//! 3. After `Full`, [`Outbox::fill`] says exactly once that there is space, when half its limit is free again.

use super::SendError;
use super::pace::Pace;
use crate::wire::data::Class;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

/// Frames that wait for one lane.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One for each class in use, most urgent first.
    queues: Vec<Queue>,
    /// Most bytes in one queue, however fast the lane is.
    most: usize,
    pace: Pace,
    closed: bool,
    /// The connection's task, while it has nothing to write.
    idle: Option<Waker>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole frames, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    /// Chunks that were filled without this class although it waited.
    passed_over: u32,
    /// Somebody was told `Full`.
    refused: bool,
}

/// What a chunk was filled with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Frames taken.
    pub(crate) frames: u64,
    /// A queue that was full has space again.
    pub(crate) writable: bool,
}

impl Outbox {
    /// For the control lane: all classes share one queue.
    pub(crate) fn control(limit: usize) -> Self {
        Self::new(1, limit)
    }

    /// For the data lane: a queue for each class.
    pub(crate) fn data(limit: usize) -> Self {
        Self::new(Class::ALL.len(), limit)
    }

    fn new(queues: usize, limit: usize) -> Self {
        let queues = (0..queues).map(|_| Queue::default()).collect();
        Self { state: Mutex::new(State { queues, most: limit, pace: Pace::default(), closed: false, idle: None }) }
    }

    /// Takes one whole frame, or says why not.
    pub(crate) fn try_send(&self, class: Class, frame: &[u8]) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Gone);
        }
        let (limit, last) = (state.pace.limit(state.most), state.queues.len() - 1);
        let queue = &mut state.queues[(class as usize).min(last)];
        if queue.len() > 0 && queue.len() + frame.len() > limit {
            queue.refused = true;
            return Err(SendError::Full);
        }
        queue.push(frame);
        let idle = state.idle.take();
        drop(state);
        if let Some(idle) = idle {
            idle.wake();
        }
        Ok(())
    }

    /// Fills an empty `chunk` with frames; when there are none, the task behind `cx` is woken by the next.
    pub(crate) fn fill(&self, chunk: &mut Vec<u8>, cx: &mut Context<'_>) -> Filled {
        let (mut state, now) = (self.lock(), Instant::now());
        state.pace.handle_back(now);
        let mut filled = Filled::default();
        for queue in &mut state.queues {
            if queue.len() > 0 && queue.passed_over >= PATIENCE {
                filled.frames += queue.take(chunk, 1);
                queue.passed_over = 0;
            }
        }
        let limit = state.pace.limit(state.most);
        for queue in &mut state.queues {
            if queue.len() == 0 {
                queue.passed_over = 0;
                continue;
            }
            let taken = queue.take(chunk, u64::MAX);
            filled.frames += taken;
            queue.passed_over = if taken == 0 { queue.passed_over + 1 } else { 0 };
        }
        for queue in &mut state.queues {
            if queue.refused && queue.len() <= limit / 2 {
                queue.refused = false;
                filled.writable = true;
            }
        }
        state.pace.handle_taken(chunk.len(), now);
        if chunk.is_empty() {
            state.idle = Some(cx.waker().clone());
            // An idle link keeps no memory.
            state.queues.iter_mut().for_each(|queue| queue.bytes = Vec::new());
        }
        filled
    }

    /// Takes no more frames; those that wait still leave.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(idle) = state.idle.take() {
            idle.wake();
        }
    }

    /// Every statement leaves the state right, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn push(&mut self, frame: &[u8]) {
        // What has left is cut off once it is the larger part, so that each byte is moved once at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(frame);
    }

    /// Moves up to `most` whole frames into what is left of a chunk; an empty chunk takes one of any length.
    fn take(&mut self, chunk: &mut Vec<u8>, most: u64) -> u64 {
        let mut end = self.start;
        let mut frames = 0;
        while frames < most
            && let Some(prefix) = self.bytes[end..].first_chunk::<4>()
        {
            let next = end + 4 + u32::from_be_bytes(*prefix) as usize;
            if chunk.len() + next - self.start > CHUNK && !(chunk.is_empty() && frames == 0) {
                break;
            }
            (end, frames) = (next, frames + 1);
        }
        if chunk.is_empty() && self.start == 0 && end == self.bytes.len() {
            core::mem::swap(chunk, &mut self.bytes);
            return frames;
        }
        chunk.extend_from_slice(&self.bytes[self.start..end]);
        self.start = end;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        frames
    }
}

/// Bytes that are written as one; a longer frame goes alone.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Chunks that a waiting class is passed over before one frame of it goes first.
const PATIENCE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Frames, Kind, raw};
    use futures::task::noop_waker;

    fn chunk(outbox: &Outbox) -> (Vec<u8>, Filled) {
        let mut chunk = Vec::new();
        let filled = outbox.fill(&mut chunk, &mut Context::from_waker(&noop_waker()));
        (chunk, filled)
    }

    fn bodies(chunk: &[u8]) -> Vec<u8> {
        Frames(chunk).map(|frame| frame.unwrap().body[0]).collect()
    }

    #[test]
    fn urgent_frames_leave_first_and_each_class_in_order() {
        let outbox = Outbox::data(1_000);
        for (class, body) in [(Class::Bulk, 4), (Class::Telemetry, 3), (Class::Alarm, 1), (Class::Telemetry, 5)] {
            outbox.try_send(class, &raw(Kind::Data, &[body])).unwrap();
        }
        let (bytes, filled) = chunk(&outbox);
        assert_eq!(bodies(&bytes), [1, 3, 5, 4]);
        assert_eq!(filled, Filled { frames: 4, writable: false });
    }

    #[test]
    fn a_full_class_refuses_and_tells_once_when_it_has_space() {
        let outbox = Outbox::data(100 * 1024);
        let frame = raw(Kind::Data, &[0; 10 * 1024]);
        let mut taken = 0;
        while outbox.try_send(Class::Bulk, &frame).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 9);
        assert_eq!(outbox.try_send(Class::Bulk, &frame), Err(SendError::Full));
        assert_eq!(outbox.try_send(Class::Alarm, &frame), Ok(()));
        let (_, filled) = chunk(&outbox);
        assert_eq!(filled, Filled { frames: 6, writable: true });
        let (_, filled) = chunk(&outbox);
        assert_eq!(filled, Filled { frames: 4, writable: false });
    }

    #[test]
    fn a_lower_class_is_not_starved() {
        let outbox = Outbox::data(1_000_000);
        let alarm = raw(Kind::Data, &[1; 60 * 1024]);
        outbox.try_send(Class::Bulk, &raw(Kind::Data, &[9; 8 * 1024])).unwrap();
        let seen = (0..20).position(|_| {
            outbox.try_send(Class::Alarm, &alarm).unwrap();
            bodies(&chunk(&outbox).0).contains(&9)
        });
        assert_eq!(seen, Some(PATIENCE as usize));
    }

    #[test]
    fn a_frame_longer_than_a_chunk_goes_alone() {
        let outbox = Outbox::data(10);
        outbox.try_send(Class::Bulk, &raw(Kind::Data, &[9; 70 * 1024])).unwrap();
        assert_eq!(outbox.try_send(Class::Bulk, &raw(Kind::Data, &[9])), Err(SendError::Full));
        let (bytes, filled) = chunk(&outbox);
        assert_eq!((bytes.len(), filled.frames), (6 + 70 * 1024, 1));
        assert!(filled.writable);
    }

    #[test]
    fn a_closed_outbox_takes_nothing_but_gives_what_it_has() {
        let outbox = Outbox::control(1_000);
        outbox.try_send(Class::Bulk, &raw(Kind::Ping, &[1])).unwrap();
        outbox.close();
        assert_eq!(outbox.try_send(Class::Bulk, &raw(Kind::Ping, &[2])), Err(SendError::Gone));
        assert_eq!(bodies(&chunk(&outbox).0), [1]);
    }
}
