//! Outbox: frames that wait for one lane of a link, by class.
//!
//! The node puts whole frames in. The connection's task takes them out in chunks of up to [`CHUNK`] bytes, fewer on a
//! slow lane, and writes each chunk as one. While the writer is busy it is not woken: it comes back by itself and finds
//! what has gathered. Only an idle writer leaves its waker, so a lone frame goes out at once and a burst in few writes.
//!
//! A paced connection ([`pacing`](super::pacing)) takes a piece at a time, of the classes that are within their shares.
//!
//! The part of a frame that it shares with the buffer in which it arrived is not copied: a chunk ends with the first
//! frame that has such a part, its *tail*, which is written from that buffer.
//!
//! A chunk is filled by strict priority, the most urgent class first. To keep the others moving under a lasting load, a
//! class that has been passed over for [`PATIENCE`] chunks gets one frame in at the front.
//!
//! Invariants
//! 1. A queue never holds more than its limit, unless it holds one longer frame alone. The limit falls with the
//!    [`Pace`] at which the lane is written, so that frames do not wait until they are of no use.
//! 2. Frames of one class leave whole and in the order in which they came.
//! 3. After `Full`, [`Outbox::fill`] reports space exactly once, when half the limit is free again.

use super::SendError;
use super::pacing::Allowed;
use super::queue_limit::Pace;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

/// The frames that wait for one lane.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One queue for each class in use, the most urgent first.
    queues: Vec<Queue>,
    /// The maximum number of bytes in one queue, however fast the lane is.
    most: usize,
    pace: Pace,
    closed: bool,
    /// The waker of the connection's task, while it has nothing to write.
    idle: Option<Waker>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames without their tails; those from `start` on still wait.
    bytes: Vec<u8>,
    start: usize,
    /// Tails, each with the position after which it comes, counted over all bytes that ever were in `bytes`.
    tails: VecDeque<(u64, Bytes)>,
    /// The number of bytes in `tails`.
    tailing: usize,
    /// The number of bytes that have been removed from the front of `bytes`.
    gone: u64,
    /// Consecutive chunks that were filled without this class although it waited.
    passed_over: u32,
    /// `Full` was returned for this queue, and space has not been reported since.
    refused: bool,
}

/// Bytes that are written as one: whole frames, of which the last may have a tail.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tail: Bytes,
}

/// What a chunk was filled with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// The number of frames taken.
    pub(crate) frames: u64,
    /// The bytes taken, by class.
    pub(crate) classes: [usize; Class::ALL.len()],
    /// A queue that was full has space again.
    pub(crate) writable: bool,
}

impl Outbox {
    /// Creates the outbox of a control lane, where all classes share one queue.
    pub(crate) fn control(limit: usize) -> Self {
        Self::new(1, limit)
    }

    /// Creates the outbox of a data lane, with a queue for each class.
    pub(crate) fn data(limit: usize) -> Self {
        Self::new(Class::ALL.len(), limit)
    }

    fn new(queues: usize, limit: usize) -> Self {
        let queues = (0..queues).map(|_| Queue::default()).collect();
        Self { state: Mutex::new(State { queues, most: limit, pace: Pace::default(), closed: false, idle: None }) }
    }

    /// Queues one whole frame.
    ///
    /// # Errors
    /// Fails if the queue is full or the outbox is closed.
    pub(crate) fn try_send(&self, class: Class, frame: &OutFrame) -> Result<(), SendError> {
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

    /// Fills an empty `chunk` with up to `most` bytes of frames of these classes. If there are none, the next frame wakes
    /// the task of `cx`.
    pub(crate) fn fill(&self, chunk: &mut Chunk, most: usize, allowed: Allowed, cx: &mut Context<'_>) -> Filled {
        let (mut state, now) = (self.lock(), Instant::now());
        state.pace.handle_back(now);
        let mut filled = Filled::default();
        let (limit, longest) = (state.pace.limit(state.most), state.pace.chunk().min(most));
        for (class, queue) in state.queues.iter_mut().enumerate().filter(|(class, _)| allowed[*class]) {
            if queue.len() > 0 && queue.passed_over >= PATIENCE {
                let before = queue.len();
                filled.frames += queue.take(chunk, 1, longest);
                filled.classes[class] += before - queue.len();
                queue.passed_over = 0;
            }
        }
        for (class, queue) in state.queues.iter_mut().enumerate().filter(|(class, _)| allowed[*class]) {
            let before = queue.len();
            if before == 0 {
                queue.passed_over = 0;
                continue;
            }
            let taken = queue.take(chunk, u64::MAX, longest);
            filled.frames += taken;
            filled.classes[class] += before - queue.len();
            queue.passed_over = if taken == 0 { queue.passed_over + 1 } else { 0 };
        }
        let more = state.queues.iter().any(|queue| queue.refused || queue.len() > 0);
        for queue in &mut state.queues {
            if queue.refused && queue.len() <= limit / 2 {
                queue.refused = false;
                filled.writable = true;
            }
        }
        state.pace.handle_taken(chunk.len(), more, now);
        if chunk.is_empty() {
            state.idle = Some(cx.waker().clone());
            // An idle link keeps no memory.
            state.queues.iter_mut().for_each(|queue| queue.forget_room());
        }
        filled
    }

    /// The classes of which frames wait.
    pub(crate) fn waiting(&self) -> Allowed {
        let state = self.lock();
        core::array::from_fn(|class| state.queues.get(class).is_some_and(|queue| queue.len() > 0))
    }

    /// Takes no more frames; those that wait still leave.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(idle) = state.idle.take() {
            idle.wake();
        }
    }

    /// Every statement leaves the state consistent, so a panic of another holder does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the next contiguous part to write when `written` bytes have been written.
    pub(crate) fn after(&self, written: usize) -> &[u8] {
        match written.checked_sub(self.bytes.len()) {
            None => &self.bytes[written..],
            Some(of_tail) => &self.tail[of_tail..],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.tail = Bytes::new();
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() - self.start + self.tailing
    }

    fn push(&mut self, frame: &OutFrame) {
        // Bytes that have left are cut off once they are more than half, so that each byte is moved once at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.cut();
        }
        self.bytes.extend_from_slice(frame.head());
        if !frame.tail().is_empty() {
            self.tailing += frame.tail().len();
            self.tails.push_back((self.gone + self.bytes.len() as u64, frame.tail().clone()));
        }
    }

    /// Accounts for the bytes before `start`, which are no longer there.
    fn cut(&mut self) {
        self.gone += self.start as u64;
        self.start = 0;
    }

    /// Moves up to `most` whole frames into a chunk while it holds at most `longest` bytes; an empty chunk takes one of
    /// any length. Returns their number.
    fn take(&mut self, chunk: &mut Chunk, most: u64, longest: usize) -> u64 {
        let (mut end, mut frames) = (self.start, 0);
        while frames < most
            && chunk.tail.is_empty()
            && let Some(prefix) = self.bytes[end..].first_chunk::<4>()
        {
            let whole = 4 + u32::from_be_bytes(*prefix) as usize;
            if chunk.len() + end - self.start + whole > longest && !(chunk.is_empty() && frames == 0) {
                break;
            }
            frames += 1;
            // Tails are in the order of their frames: if this frame has none, the first tail belongs to a later one.
            let ends = |(at, tail): &mut (u64, Bytes)| *at + tail.len() as u64 == self.gone + (end + whole) as u64;
            match self.tails.pop_front_if(ends) {
                None => end += whole,
                Some((_, tail)) => {
                    end += whole - tail.len();
                    self.tailing -= tail.len();
                    chunk.tail = tail;
                }
            }
        }
        if chunk.bytes.is_empty() && self.start == 0 && end == self.bytes.len() {
            core::mem::swap(&mut chunk.bytes, &mut self.bytes);
            self.gone += end as u64;
            return frames;
        }
        chunk.bytes.extend_from_slice(&self.bytes[self.start..end]);
        self.start = end;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.cut();
        }
        frames
    }

    fn forget_room(&mut self) {
        if self.len() == 0 {
            self.cut();
            self.bytes = Vec::new();
        }
    }
}

/// The maximum number of bytes that are written as one; a longer frame goes alone.
pub(crate) const CHUNK: usize = 64 * 1024;
/// The number of chunks that a waiting class is passed over before one of its frames goes first.
const PATIENCE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::super::pacing::ALL;
    use super::*;
    use crate::wire::frame::{Frames, Kind, raw};
    use futures::task::noop_waker;

    fn chunk(outbox: &Outbox) -> (Vec<u8>, Filled) {
        let mut chunk = Chunk::default();
        let filled = outbox.fill(&mut chunk, usize::MAX, ALL, &mut Context::from_waker(&noop_waker()));
        (chunk.after(0).iter().chain(chunk.after(chunk.bytes.len())).copied().collect(), filled)
    }

    /// Returns the outbox with the pace of a fast lane.
    fn fast(outbox: Outbox) -> Outbox {
        outbox.lock().pace = Pace::fast();
        outbox
    }

    fn frame(body: &[u8]) -> OutFrame {
        raw(Kind::Data, body).into()
    }

    fn bodies(chunk: &[u8]) -> Vec<u8> {
        Frames(chunk).map(|frame| frame.unwrap().body[0]).collect()
    }

    /// Invariant 2.
    #[test]
    fn urgent_frames_leave_first_and_each_class_in_order() {
        let outbox = Outbox::data(1_000);
        for (class, body) in [(Class::Bulk, 4), (Class::Telemetry, 3), (Class::Alarm, 1), (Class::Telemetry, 5)] {
            outbox.try_send(class, &frame(&[body])).unwrap();
        }
        let (bytes, filled) = chunk(&outbox);
        assert_eq!(bodies(&bytes), [1, 3, 5, 4]);
        assert_eq!(filled, Filled { frames: 4, writable: false, classes: [7, 0, 14, 7] });
    }

    /// A piece holds one frame, and no class that has used up its share.
    #[test]
    fn a_piece_is_no_longer_than_asked_for_and_leaves_out_what_may_not_go() {
        let outbox = Outbox::data(10_000);
        for class in [Class::Bulk, Class::Bulk, Class::Telemetry] {
            outbox.try_send(class, &frame(&[class as u8; 100])).unwrap();
        }
        let taken = |allowed| {
            let mut chunk = Chunk::default();
            let filled = outbox.fill(&mut chunk, 200, allowed, &mut Context::from_waker(&noop_waker()));
            (bodies(&chunk.bytes), filled.classes)
        };
        assert_eq!(taken([true, true, false, true]), (vec![3], [0, 0, 0, 106]));
        assert_eq!(outbox.waiting(), [false, false, true, true]);
        assert_eq!(taken([true, true, true, false]), (vec![2], [0, 0, 106, 0]));
        assert_eq!(taken([true, true, true, false]), (vec![], [0; 4]));
        assert_eq!(taken(ALL), (vec![3], [0, 0, 0, 106]));
    }

    /// Invariants 1 and 3.
    #[test]
    fn a_full_class_refuses_and_tells_once_when_it_has_space() {
        let outbox = fast(Outbox::data(100 * 1024));
        let frame = frame(&[0; 10 * 1024]);
        let mut taken = 0;
        while outbox.try_send(Class::Bulk, &frame).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 9);
        assert_eq!(outbox.try_send(Class::Bulk, &frame), Err(SendError::Full));
        assert_eq!(outbox.try_send(Class::Alarm, &frame), Ok(()));
        let (_, filled) = chunk(&outbox);
        assert_eq!((filled.frames, filled.writable), (6, true));
        let (_, filled) = chunk(&outbox);
        assert_eq!((filled.frames, filled.writable), (4, false));
    }

    #[test]
    fn a_lower_class_is_not_starved() {
        let outbox = fast(Outbox::data(1_000_000));
        let alarm = frame(&[1; 60 * 1024]);
        outbox.try_send(Class::Bulk, &frame(&[9; 8 * 1024])).unwrap();
        let seen = (0..20).position(|_| {
            outbox.try_send(Class::Alarm, &alarm).unwrap();
            bodies(&chunk(&outbox).0).contains(&9)
        });
        assert_eq!(seen, Some(PATIENCE as usize));
    }

    /// Invariant 1: a longer frame alone.
    #[test]
    fn a_frame_longer_than_a_chunk_goes_alone() {
        let outbox = Outbox::data(10);
        outbox.try_send(Class::Bulk, &frame(&[9; 70 * 1024])).unwrap();
        assert_eq!(outbox.try_send(Class::Bulk, &frame(&[9])), Err(SendError::Full));
        let (bytes, filled) = chunk(&outbox);
        assert_eq!((bytes.len(), filled.frames), (6 + 70 * 1024, 1));
        assert!(filled.writable);
    }

    #[test]
    fn a_closed_outbox_takes_nothing_but_gives_what_it_has() {
        let outbox = Outbox::control(1_000);
        outbox.try_send(Class::Bulk, &frame(&[1])).unwrap();
        outbox.close();
        assert_eq!(outbox.try_send(Class::Bulk, &frame(&[2])), Err(SendError::Gone));
        assert_eq!(bodies(&chunk(&outbox).0), [1]);
    }

    /// Invariant 2.
    #[test]
    fn long_frames_leave_from_where_they_lie_in_order_with_the_short() {
        let outbox = fast(Outbox::data(10_000_000));
        let lengths = [10, 20_000, 20_000, 5, 30_000, 70_000, 1, 2, 16_384, 3];
        for (body, length) in (0..).zip(lengths) {
            outbox.try_send(Class::Bulk, &frame(&vec![body; length])).unwrap();
        }
        let mut left = Vec::new();
        loop {
            let mut chunk = Chunk::default();
            let filled = outbox.fill(&mut chunk, usize::MAX, ALL, &mut Context::from_waker(&noop_waker()));
            if filled.frames == 0 {
                break;
            }
            assert!(chunk.bytes.len() < 200, "a long frame was copied");
            let whole = [&chunk.bytes[..], &chunk.tail[..]].concat();
            assert_eq!(chunk.after(0), &chunk.bytes);
            let bodies: Vec<_> =
                Frames(&whole).map(|frame| frame.unwrap()).map(|f| (f.body[0], f.body.len())).collect();
            assert_eq!(bodies.len() as u64, filled.frames);
            left.extend(bodies);
        }
        let sent: Vec<_> = (0..).zip(lengths).collect();
        assert_eq!(left, sent);
    }

    /// Invariant 1: the limit of a slow lane.
    #[test]
    fn little_waits_and_is_written_at_once_on_a_lane_that_has_shown_nothing() {
        let outbox = Outbox::data(256 * 1024);
        let frame = frame(&[0; 1_018]);
        let taken = (0..1_000).take_while(|_| outbox.try_send(Class::Bulk, &frame).is_ok()).count();
        assert_eq!(taken, 4);
        assert_eq!(chunk(&outbox).0.len(), 4 * 1024);
    }
}
