//! Shelf: group frames kept until their deadline, so that a device that missed one gets it.
//!
//! **Mechanism.** The frames that a publisher seals under one salt are numbered from 0, outside the seal; they form a
//! *flow*. For each flow the shelf knows which numbers have been here, so that no frame is handed on twice, and keeps
//! the frames themselves until their deadline. What one neighbour has and another lacks are then ranges of numbers: a
//! digest of a group takes a few dozen bytes, however many frames it stands for.
//!
//! Invariants
//! 1. A number that has been here stays known for as long as its flow is known, even when its frame is no longer kept.
//! 2. Frames take at most [`MAX_BYTES`]. Drop policy: the frame that came first of the publisher whose frames take most
//!    goes (`group_frames_unkept`), so that no publisher pushes out the frames of one that has fewer.
//! 3. There are at most [`MAX_FLOWS`] flows. Drop policy: of the publisher that has most, the flow that has been silent
//!    longest goes (`group_flows_forgotten`).
//! - The numbers of a flow form at most [`MAX_RANGES`] ranges. Drop policy: the lowest gap is taken for closed.

use crate::delivery::lane::SendPolicy;
use crate::delivery::ranges::Ranges;
use crate::engine::groups::lag::Lag;
use crate::id::{CredentialHash, Permit, Tag};
use crate::share::Shares;
use crate::time::{Epoch, Now, Time, Unix};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most bytes of frames that are kept.
pub(in crate::engine) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most flows that are known.
pub(in crate::engine) const MAX_FLOWS: usize = 8_192;
/// Most ranges of numbers in a flow.
const MAX_RANGES: usize = 64;
/// Bytes that a frame is counted with besides its own.
const FRAME_BYTES: usize = 128;

/// A publisher's credential, and the salt under which it seals.
pub(in crate::engine) type Flow = (CredentialHash, [u8; 16]);

/// A frame on the shelf.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Kept {
    /// The signed frame, as it came.
    pub data: Bytes,
    /// When it came to this device, or to the device that it was fetched from.
    pub came: Time,
    /// Its deadline by this device's monotonic clock.
    pub until: Time,
    /// Its deadline by its publisher's clock.
    pub expiry: Unix,
    /// Its segment.
    pub segment: u8,
    /// The send policy of this device's own publication; `None` for frames of others, whose policy is not known.
    pub send_policy: Option<Arc<SendPolicy>>,
}

impl Kept {
    /// Returns by how many microseconds the clock that sealed the frame is behind this device's present clock.
    pub(in crate::engine) fn behind(&self, now: Now) -> i64 {
        let signed = |micros| i64::try_from(micros).unwrap_or(i64::MAX);
        let left = signed(self.until.0).saturating_sub(signed(now.time.0));
        signed(now.unix.0).saturating_add(left).saturating_sub(signed(self.expiry.0))
    }
}

#[derive(Debug)]
struct Known {
    group: Tag,
    seen: Ranges,
    kept: BTreeMap<u64, Kept>,
    /// What the flow's frames tell about its publisher's clock.
    lag: Lag,
    /// The permit that its frames carry, and the epoch for which it was found to hold.
    permit: Option<(Epoch, Permit)>,
}

/// The flows that are known, and the frames that are kept.
#[derive(Debug)]
pub(in crate::engine) struct Shelf {
    most: usize,
    flows: BTreeMap<Flow, Known>,
    by_group: BTreeSet<(Tag, Flow)>,
    shares: Shares<Flow, CredentialHash>,
    /// The frames of each publisher in the order in which they came.
    order: BTreeMap<CredentialHash, BTreeSet<(Time, Flow, u64)>>,
    /// The bytes that each publisher's frames take.
    weights: BTreeMap<CredentialHash, usize>,
    /// The publishers in the order of these bytes.
    heaviest: BTreeSet<(usize, CredentialHash)>,
    bytes: usize,
    due: BTreeSet<(Time, Flow, u64)>,
}

/// What was dropped to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Gone {
    /// Frames that were dropped before their deadline.
    pub frames: u64,
    /// Flows that were forgotten.
    pub flows: u64,
}

impl Shelf {
    /// Creates an empty shelf for at most so many bytes of frames.
    pub(in crate::engine) fn new(most: usize) -> Self {
        Self {
            most,
            flows: BTreeMap::new(),
            by_group: BTreeSet::new(),
            shares: Shares::new(MAX_FLOWS),
            order: BTreeMap::new(),
            weights: BTreeMap::new(),
            heaviest: BTreeSet::new(),
            bytes: 0,
            due: BTreeSet::new(),
        }
    }

    /// How many flows are known.
    pub(in crate::engine) fn flows(&self) -> usize {
        self.flows.len()
    }

    /// The size of all kept frames in bytes, with their overhead.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a frame of that number has been here, kept or not.
    pub(in crate::engine) fn has_seen(&self, flow: &Flow, number: u64) -> bool {
        self.flows.get(flow).is_some_and(|known| known.seen.contains(number))
    }

    /// What the frames of a flow tell about its publisher's clock.
    pub(in crate::engine) fn lag(&self, flow: &Flow) -> Lag {
        self.flows.get(flow).map(|known| known.lag).unwrap_or_default()
    }

    /// Sets what is known of the clock of a flow's publisher, and enters the flow if it is new; no frame need be kept.
    /// Returns what was dropped to make room for the flow.
    pub(in crate::engine) fn set_lag(&mut self, group: Tag, flow: Flow, lag: Lag) -> Gone {
        let gone = if self.flows.contains_key(&flow) { Gone::default() } else { self.enter(group, flow) };
        if let Some(known) = self.flows.get_mut(&flow) {
            known.lag = lag;
        }
        gone
    }

    /// The permit of a flow of this group that was found to hold, and for which epoch.
    pub(in crate::engine) fn permit(&self, flow: &Flow, group: &Tag) -> Option<(Epoch, Permit)> {
        self.flows.get(flow).filter(|known| known.group == *group)?.permit
    }

    /// Notes that the permit of a flow, if there is such a flow, was found to hold.
    pub(in crate::engine) fn set_permit(&mut self, flow: &Flow, permit: (Epoch, Permit)) {
        if let Some(known) = self.flows.get_mut(flow) {
            known.permit = Some(permit);
        }
    }

    /// Whether it holds frames that this device has published to a group under a credential.
    pub(in crate::engine) fn has_own(&self, group: &Tag, credential: CredentialHash) -> bool {
        let flows = self.by_group.range((*group, (credential, [0; 16]))..=(*group, (credential, [0xff; 16])));
        let published = |known: &Known| known.kept.values().any(|frame| frame.send_policy.is_some());
        flows.filter_map(|(_, flow)| self.flows.get(flow)).any(published)
    }

    /// Takes out the frames that this device has published to a group under a credential, in the order in which it did.
    pub(in crate::engine) fn take_own(&mut self, group: &Tag, credential: CredentialHash) -> Vec<Kept> {
        let from = (*group, (credential, [0; 16]));
        let flows: Vec<Flow> =
            self.by_group.range(from..=(*group, (credential, [0xff; 16]))).map(|(_, of)| *of).collect();
        let mut own: Vec<(Time, Flow, u64, Kept)> = Vec::new();
        for flow in flows {
            let kept = self.flows.get(&flow).into_iter().flat_map(|known| &known.kept);
            let published = kept.filter(|(_, frame)| frame.send_policy.is_some());
            own.extend(published.map(|(number, frame)| (frame.came, flow, *number, frame.clone())));
        }
        own.sort_by_key(|(came, flow, number, _)| (*came, *flow, *number));
        own.iter().for_each(|(_, flow, number, _)| self.drop_frame(flow, *number));
        own.into_iter().map(|(.., frame)| frame).collect()
    }

    /// Handles a step of this device's clock, forward by `by` microseconds: all publishers' clocks are that much
    /// further behind.
    pub(in crate::engine) fn handle_clock_step(&mut self, by: i64) {
        for known in self.flows.values_mut() {
            known.lag.handle_step(by);
        }
    }

    /// Enters a flow. Returns what was dropped to make room for it.
    fn enter(&mut self, group: Tag, flow: Flow) -> Gone {
        let mut gone = Gone::default();
        if let Some(oldest) = self.shares.enter(flow.0, flow) {
            gone.frames += self.forget(&oldest);
            gone.flows += 1;
        }
        self.flows.entry(flow).or_insert_with(|| {
            self.by_group.insert((group, flow));
            Known { group, seen: Ranges::default(), kept: BTreeMap::new(), lag: Lag::default(), permit: None }
        });
        gone
    }

    /// Puts a frame on the shelf, unless its number has been here. Returns what was dropped to make room for it.
    pub(in crate::engine) fn put(&mut self, group: Tag, flow: Flow, number: u64, frame: Kept) -> Gone {
        let mut gone = self.enter(group, flow);
        let Some(known) = self.flows.get_mut(&flow) else { return gone };
        if !known.seen.insert(number, MAX_RANGES) {
            return gone;
        }
        let weight = frame.data.len() + FRAME_BYTES;
        self.order.entry(flow.0).or_default().insert((frame.came, flow, number));
        self.due.insert((frame.until, flow, number));
        known.kept.insert(number, frame);
        self.weigh(flow.0, weight, true);
        while self.bytes > self.most {
            let Some((_, publisher)) = self.heaviest.last().copied() else { break };
            let Some((_, flow, number)) = self.order.get(&publisher).and_then(|order| order.first().copied()) else {
                break;
            };
            self.drop_frame(&flow, number);
            gone.frames += 1;
        }
        gone
    }

    /// Returns a frame; `None` if it is not kept.
    pub(in crate::engine) fn get(&self, flow: &Flow, number: u64) -> Option<&Kept> {
        self.flows.get(flow)?.kept.get(&number)
    }

    /// Returns the flows of a group that have frames for which `fits` holds, each with the ranges of their numbers.
    pub(in crate::engine) fn kept<'a>(
        &'a self,
        group: &Tag,
        fits: impl Fn(&Kept) -> bool + 'a,
    ) -> impl Iterator<Item = (Flow, Vec<(u64, u64)>)> + 'a {
        let from = (*group, (CredentialHash([0; CredentialHash::LEN]), [0; 16]));
        let flows = self.by_group.range(from..).take_while(move |(of, _)| *of == from.0);
        flows.filter_map(move |(_, flow)| {
            let kept = self.flows.get(flow)?.kept.iter().filter(|(_, frame)| fits(frame));
            let ranges = ranges(kept.map(|(number, _)| *number));
            (!ranges.is_empty()).then_some((*flow, ranges))
        })
    }

    /// Returns the group of a flow; `None` if the flow is not known.
    pub(in crate::engine) fn group_of(&self, flow: &Flow) -> Option<Tag> {
        self.flows.get(flow).map(|known| known.group)
    }

    /// Returns the numbers within a range of a flow that have not been here, as ranges.
    pub(in crate::engine) fn missing(&self, flow: &Flow, (first, last): (u64, u64)) -> Vec<(u64, u64)> {
        match self.flows.get(flow) {
            Some(known) => known.seen.missing(first, last),
            None => vec![(first, last)],
        }
    }

    /// Returns the last range of numbers before `number` that have not been here; `None` if there is none, as in a flow
    /// that begins here with that number.
    pub(in crate::engine) fn gap_before(&self, flow: &Flow, number: u64) -> Option<(u64, u64)> {
        let known = self.flows.get(flow)?;
        let (lowest, _) = known.seen.iter().next()?;
        known.seen.missing(lowest, number.checked_sub(1)?).pop()
    }

    /// Drops the frames whose deadline has passed.
    pub(in crate::engine) fn expire(&mut self, now: Time) {
        while let Some((_, flow, number)) = self.due.first().copied().filter(|(until, ..)| *until <= now) {
            self.drop_frame(&flow, number);
        }
    }

    /// Returns when the next frame's deadline passes.
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.due.first().map(|(until, ..)| *until)
    }

    /// Frames of a publisher go, and come again for new ones.
    pub(in crate::engine) fn forget_publisher(&mut self, publisher: &CredentialHash) -> Gone {
        let flows = self.flows.range((*publisher, [0; 16])..=(*publisher, [0xff; 16]));
        let flows: Vec<Flow> = flows.map(|(flow, _)| *flow).collect();
        let mut gone = Gone::default();
        for flow in flows {
            gone.frames += self.forget(&flow);
            self.shares.leave(&flow);
        }
        gone
    }

    fn drop_frame(&mut self, flow: &Flow, number: u64) {
        let Some(frame) = self.flows.get_mut(flow).and_then(|known| known.kept.remove(&number)) else { return };
        self.due.remove(&(frame.until, *flow, number));
        if let Some(order) = self.order.get_mut(&flow.0) {
            order.remove(&(frame.came, *flow, number));
            if order.is_empty() {
                self.order.remove(&flow.0);
            }
        }
        self.weigh(flow.0, frame.data.len() + FRAME_BYTES, false);
    }

    fn forget(&mut self, flow: &Flow) -> u64 {
        let numbers: Vec<u64> =
            self.flows.get(flow).map(|known| known.kept.keys().copied().collect()).unwrap_or_default();
        numbers.iter().for_each(|number| self.drop_frame(flow, *number));
        if let Some(known) = self.flows.remove(flow) {
            self.by_group.remove(&(known.group, *flow));
        }
        numbers.len() as u64
    }

    fn weigh(&mut self, publisher: CredentialHash, bytes: usize, more: bool) {
        let weight = self.weights.get(&publisher).copied().unwrap_or(0);
        self.heaviest.remove(&(weight, publisher));
        let after = if more { weight + bytes } else { weight.saturating_sub(bytes) };
        self.bytes = if more { self.bytes + bytes } else { self.bytes.saturating_sub(bytes) };
        if after == 0 {
            self.weights.remove(&publisher);
        } else {
            self.weights.insert(publisher, after);
            self.heaviest.insert((after, publisher));
        }
    }
}

/// Returns ascending numbers as ranges.
fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Tag = Tag([7; Tag::LEN]);

    fn flow(publisher: u8, salt: u8) -> Flow {
        (CredentialHash([publisher; CredentialHash::LEN]), [salt; 16])
    }

    fn frame(bytes: usize, came: u64, until: u64) -> Kept {
        let (came, until) = (Time(came), Time(until));
        Kept { data: vec![1; bytes].into(), came, until, expiry: Unix(0), segment: 0, send_policy: None }
    }

    /// Invariant 1.
    #[test]
    fn what_has_been_here_stays_known_when_its_frame_has_gone() {
        let mut shelf = Shelf::new(MAX_BYTES);
        for number in [0, 1, 3] {
            shelf.put(GROUP, flow(1, 1), number, frame(10, number, 100 + number));
        }
        assert_eq!(shelf.kept(&GROUP, |_| true).collect::<Vec<_>>(), [(flow(1, 1), vec![(0, 1), (3, 3)])]);
        assert_eq!(shelf.next_wake(), Some(Time(100)));
        shelf.expire(Time(101));
        assert_eq!(shelf.kept(&GROUP, |_| true).collect::<Vec<_>>(), [(flow(1, 1), vec![(3, 3)])]);
        assert!([0, 1, 3].into_iter().all(|number| shelf.has_seen(&flow(1, 1), number)));
        assert_eq!(shelf.missing(&flow(1, 1), (0, 5)), [(2, 2), (4, 5)]);
        assert_eq!(shelf.gap_before(&flow(1, 1), 3), Some((2, 2)));
        shelf.expire(Time(103));
        assert_eq!((shelf.bytes(), shelf.kept(&GROUP, |_| true).count(), shelf.flows()), (0, 0, 1));
    }

    /// Invariant 2.
    #[test]
    fn who_publishes_much_loses_its_own_frames_first() {
        let mut shelf = Shelf::new(10 * (100 + FRAME_BYTES));
        for number in 0..3 {
            assert_eq!(shelf.put(GROUP, flow(1, 1), number, frame(100, number, 1_000)), Gone::default());
        }
        let gone: u64 = (0..30).map(|n| shelf.put(GROUP, flow(2, n as u8), n, frame(100, 10 + n, 1_000)).frames).sum();
        assert_eq!(gone, 23);
        assert!((0..3).all(|number| shelf.get(&flow(1, 1), number).is_some()));
        assert!(shelf.get(&flow(2, 22), 22).is_none() && shelf.get(&flow(2, 23), 23).is_some());
        assert!(shelf.bytes() <= 10 * (100 + FRAME_BYTES));
    }
}
