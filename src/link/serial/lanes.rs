//! Lanes: what waits to be sent over a session, by urgency, and what has come of each lane.
//!
//! A session has five lanes: alarms, frames of the control stream, and the other classes of data. A lane is a stream of
//! whole frames of the mesh ([`crate::wire::frame`]), cut into segments only when a line frame is about to leave. So a
//! line frame that leaves next is always one of the most urgent lane, and short frames share a line frame.
//!
//! Each lane has an order of its own: a segment that was lost holds up its lane alone.
//!
//! Invariants
//! 1. A lane never holds more than its limit, unless it holds one longer frame alone.
//! 2. The most urgent lane goes first, but a lane that has been passed over for [`PATIENCE`] line frames goes before all
//!    but alarms, and before these after [`PATIENCE`] of them in a row. So an alarm waits for no line frame but that on
//!    the line, unless alarms alone fill it.
//! 3. After a refusal, a lane reports once that it has space, when half its limit is free.
//! 4. What comes out of a lane is what went into it, in its order, in whole frames.

use crate::wire::OutFrame;
use crate::wire::data::Class;
use crate::wire::frame::{Kind, MAX_FRAME};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// The number of lanes.
pub const LANES: usize = 5;
/// The lane of the control stream.
pub const CONTROL: u8 = 1;
/// The number of line frames that a lane is passed over before it gets one.
const PATIENCE: u32 = 8;
/// The most segments of a lane that are kept out of their order.
const MOST_HELD: u8 = 128;

/// The lane of a frame; `None` if it is not exactly one frame.
pub fn lane_of(class: Class, frame: &OutFrame) -> Option<u8> {
    let (prefix, rest) = frame.head().split_first_chunk::<4>()?;
    let length = frame.len() - 4;
    let whole = length == u32::from_be_bytes(*prefix) as usize && length <= MAX_FRAME;
    let kind = *rest.first().filter(|_| whole && rest.len() >= 2)?;
    Some(match class {
        _ if kind < Kind::Data as u8 => CONTROL,
        Class::Alarm => 0,
        Class::Control => 2,
        Class::Telemetry => 3,
        Class::Bulk => 4,
    })
}

/// Frames that wait, by lane.
#[derive(Debug)]
pub struct Outgoing {
    lanes: [Lane; LANES],
    /// The most bytes that wait in a lane.
    limit: usize,
    /// The number of line frames in a row that were alarms while others waited.
    alarms: u32,
}

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<OutFrame>,
    bytes: usize,
    /// The number of bytes of the first frame that have left.
    gone: usize,
    passed_over: u32,
    refused: bool,
    place: u8,
}

/// Bytes of a lane that are about to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The lane.
    pub lane: u8,
    /// The place among the segments of the lane.
    pub place: u8,
    /// The bytes.
    pub data: Vec<u8>,
    /// The number of frames that end in it.
    pub frames: u64,
}

impl Outgoing {
    /// Lets so many bytes wait in each lane.
    pub fn new(limit: usize) -> Self {
        Self { lanes: core::array::from_fn(|_| Lane::default()), limit, alarms: 0 }
    }

    /// Adds a frame; `false` if its lane is full.
    pub fn push(&mut self, lane: u8, frame: OutFrame) -> bool {
        let lane = &mut self.lanes[usize::from(lane)];
        if lane.bytes > 0 && lane.bytes + frame.len() > self.limit {
            lane.refused = true;
            return false;
        }
        lane.bytes += frame.len();
        lane.frames.push_back(frame);
        true
    }

    /// The lane that the next line frame is of, among the lanes below `below`; none for 0.
    pub fn next_lane(&self, below: u8) -> Option<u8> {
        let waiting = |lane: &usize| self.lanes[*lane].bytes > 0;
        let mut others = (1..LANES.min(below.into())).filter(waiting);
        if below > 0 && waiting(&0) && (self.alarms < PATIENCE || others.clone().next().is_none()) {
            return Some(0);
        }
        // Of those that have waited equally long, the last that compares as greatest is the most urgent.
        let patient = |lane: &usize| self.lanes[*lane].passed_over >= PATIENCE;
        let longest = others.clone().filter(patient).max_by_key(|lane| (self.lanes[*lane].passed_over, LANES - lane));
        let next = longest.or_else(|| others.next())?;
        u8::try_from(next).ok()
    }

    /// Takes up to so many bytes of a lane. Returns them, and whether a lane that was full has space.
    pub fn take(&mut self, of: u8, room: usize) -> (Taken, bool) {
        let at = usize::from(of);
        let others = (1..LANES).any(|lane| self.lanes[lane].bytes > 0);
        self.alarms = if at == 0 && others { self.alarms + 1 } else { 0 };
        for (lane, waiting) in self.lanes.iter_mut().enumerate() {
            waiting.passed_over = if lane == at || waiting.bytes == 0 { 0 } else { waiting.passed_over + 1 };
        }
        let limit = self.limit;
        let lane = &mut self.lanes[at];
        let mut taken =
            Taken { lane: of, place: lane.place, data: Vec::with_capacity(room.min(lane.bytes)), frames: 0 };
        lane.place = lane.place.wrapping_add(1);
        while taken.data.len() < room
            && let Some(frame) = lane.frames.front()
        {
            let room = room - taken.data.len();
            let (head, tail) = (frame.head(), frame.tail());
            let rest = match lane.gone.checked_sub(head.len()) {
                None => &head[lane.gone..],
                Some(of_tail) => &tail[of_tail..],
            };
            let part = &rest[..rest.len().min(room)];
            taken.data.extend_from_slice(part);
            lane.gone += part.len();
            lane.bytes -= part.len();
            if lane.gone == frame.len() {
                lane.gone = 0;
                taken.frames += 1;
                lane.frames.pop_front();
            }
        }
        let writable = lane.refused && lane.bytes <= limit / 2;
        lane.refused &= !writable;
        (taken, writable)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.bytes == 0)
    }
}

/// What has come of each lane.
#[derive(Debug, Default)]
pub struct Incoming {
    lanes: [Arriving; LANES],
}

#[derive(Debug, Default)]
struct Arriving {
    next: u8,
    held: BTreeMap<u8, Vec<u8>>,
    partial: BytesMut,
}

/// The reason why a session cannot go on: the other end does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Incoming {
    /// Takes a segment. Returns the frames that are whole now, and their number.
    ///
    /// # Errors
    /// Fails if there is no such lane, or if its bytes are no frames.
    pub fn push(&mut self, lane: u8, place: u8, data: &[u8]) -> Result<Option<(Bytes, u64)>, Malformed> {
        let lane = self.lanes.get_mut(usize::from(lane)).ok_or(Malformed)?;
        if place.wrapping_sub(lane.next) >= MOST_HELD {
            return Err(Malformed);
        }
        lane.held.insert(place, data.to_vec());
        while let Some(data) = lane.held.remove(&lane.next) {
            lane.next = lane.next.wrapping_add(1);
            lane.partial.extend_from_slice(&data);
        }
        let (mut whole, mut frames) = (0, 0);
        while let Some(prefix) = lane.partial[whole..].first_chunk::<4>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            if !(2..=MAX_FRAME).contains(&length) {
                return Err(Malformed);
            }
            if lane.partial.len() - whole < 4 + length {
                break;
            }
            whole += 4 + length;
            frames += 1;
        }
        Ok((whole > 0).then(|| (lane.partial.split_to(whole).freeze(), frames)))
    }

    /// The bytes that are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.lanes.iter().map(|lane| lane.partial.len() + lane.held.values().map(Vec::len).sum::<usize>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::raw;

    fn frame(kind: Kind, bytes: usize) -> OutFrame {
        raw(kind, &vec![7; bytes]).into()
    }

    fn filled(lanes: &[u8]) -> Outgoing {
        let mut outgoing = Outgoing::new(100_000);
        for lane in lanes {
            assert!(outgoing.push(*lane, frame(Kind::Data, 50_000)));
        }
        outgoing
    }

    fn leave(outgoing: &mut Outgoing) -> u8 {
        let lane = outgoing.next_lane(5).expect("something waits");
        outgoing.take(lane, 100).0.lane
    }

    #[test]
    fn control_frames_and_classes_have_lanes_of_their_own() {
        let data = Class::ALL.map(|class| lane_of(class, &frame(Kind::Data, 3)));
        assert_eq!(data, [0, 2, 3, 4].map(Some));
        assert_eq!(lane_of(Class::Bulk, &frame(Kind::Lsa, 3)), Some(CONTROL));
        assert_eq!(lane_of(Class::Bulk, &vec![0, 0, 0, 9, 1, 0].into()), None);
    }

    /// A window that is full takes no alarm either: the other end takes nothing beyond it, and the oldest segment would wait for ever.
    #[test]
    fn nothing_leaves_where_no_lane_is_open() {
        let outgoing = filled(&[0, 1, 4]);
        assert_eq!([0, 1, 2, 5].map(|below| outgoing.next_lane(below)), [None, Some(0), Some(0), Some(0)]);
        assert_eq!([0, 1, 2, 5].map(|below| filled(&[1, 4]).next_lane(below)), [None, None, Some(1), Some(1)]);
    }

    /// Invariant 1.
    #[test]
    fn a_full_lane_refuses_and_others_do_not() {
        let mut outgoing = Outgoing::new(1_000);
        let pushed = (0..20).filter(|_| outgoing.push(4, frame(Kind::Data, 94))).count();
        assert_eq!(pushed, 10);
        assert!(outgoing.push(3, frame(Kind::Data, 50_000)), "a longer one alone");
        assert!(!outgoing.push(3, frame(Kind::Data, 1)));
    }

    /// Invariant 2.
    #[test]
    fn an_alarm_goes_first_whatever_has_waited() {
        let mut outgoing = filled(&[1, 2, 3, 4]);
        for _ in 0..7 {
            leave(&mut outgoing);
        }
        for sent in 0..40 {
            outgoing.push(0, frame(Kind::Data, 20));
            assert_eq!(leave(&mut outgoing), 0, "after {sent}");
            leave(&mut outgoing);
        }
    }

    /// Invariant 2: those that wait.
    #[test]
    fn every_lane_moves_while_alarms_fill_the_line() {
        let mut outgoing = filled(&[0, 1, 2, 3, 4]);
        let left: Vec<u8> = (0..90).map(|_| leave(&mut outgoing)).collect();
        assert_eq!(left[..9], [0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for lane in 1..5 {
            let gets = left.iter().filter(|left| **left == lane).count();
            assert!((2..=3).contains(&gets), "{lane}: {gets}");
        }
    }

    /// Invariant 3.
    #[test]
    fn a_lane_says_once_that_it_has_space() {
        let mut outgoing = Outgoing::new(1_000);
        while outgoing.push(4, frame(Kind::Data, 94)) {}
        let told: Vec<bool> = (0..10).map(|_| outgoing.take(4, 100).1).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert!(told[4], "{told:?}");
    }

    /// Invariant 4.
    #[test]
    fn frames_come_out_whole_and_in_order_though_segments_do_not() {
        let mut outgoing = Outgoing::new(1 << 20);
        let lengths = [0, 1, 70_000, 5, 300, 20_000];
        for length in lengths {
            outgoing.push(3, frame(Kind::Data, length));
        }
        let mut segments = Vec::new();
        while let Some(lane) = outgoing.next_lane(5) {
            segments.push(outgoing.take(lane, 900).0);
        }
        assert_eq!(segments.iter().map(|segment| segment.frames).sum::<u64>(), 6);
        // Three in a turn arrive in the wrong order.
        segments.chunks_mut(3).for_each(<[Taken]>::reverse);
        let (mut incoming, mut whole) = (Incoming::default(), Vec::new());
        for Taken { lane, place, data, .. } in segments {
            whole.extend(incoming.push(lane, place, &data).expect("sound").map(|(bytes, _)| bytes));
            assert!(incoming.kept() < 75_000);
        }
        let sent: Vec<u8> = lengths.iter().flat_map(|length| frame(Kind::Data, *length).into_vec()).collect();
        assert_eq!(whole.concat(), sent);
        for wrong in [&[0, 0, 0, 1][..], &[1, 0, 0, 0]] {
            assert_eq!(Incoming::default().push(3, 0, wrong), Err(Malformed));
        }
        assert_eq!(Incoming::default().push(5, 0, &[]), Err(Malformed));
        assert_eq!(Incoming::default().push(4, 200, &[]), Err(Malformed));
    }
}
