//! Group frames from neighbours: judged before they are handed on, then kept, and opened if somebody here listens.
//!
//! ```text
//! frame ─▶ well-formed? in time? not here before? ──no──▶ dropped
//!             │ publisher's credential known? ──no──▶ waits, and the neighbour that it came from is asked
//!             ▼
//!          signature holds? of a segment of ours? ──no──▶ dropped
//!             ▼
//!          shelf ─▶ pushed on along the tree ─▶ of a group listened to? ─▶ open ─▶ streams
//! ```
//!
//! **Deadlines** are told by the publisher's clock, which may differ from this one by as much as admission allows. What the
//! quickest of its frames seemed to take is mostly the way if it is less than [`USUAL`], and mostly the clocks if it is more, or less
//! than nothing; in the latter case it is taken off. So clocks that are set are trusted, and those that are not do no harm.
//!
//! Invariants
//! 1. Nothing is handed on, kept or opened before its publisher's signature has been verified.
//! 2. A frame is handed on once, however often it comes, and not after its deadline.

use super::Engine;
use super::multicast::{MAX_WAITING, WAIT};
use super::publishing::FRAME_OVERHEAD;
use super::shelf::{Flow, Kept};
use super::streams::Received;
use crate::counter::Counter;
use crate::id::{CredentialHash, LinkId, Pseudonym, Tag};
use crate::identity::credential::{acceptance, epoch_length};
use crate::identity::sign::verify_signed;
use crate::time::{Time, Unix};
use crate::wire::data::Policy;
use crate::wire::group::{CONTEXT, GroupFrame, MAX_GROUP_FRAME};
use crate::wire::group_repair::Again;
use crate::wire::{self, Signed};
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Longer than frames take, unless they go by satellite.
const USUAL: Duration = Duration::from_secs(2);

/// A frame of a publisher whose credential is not known yet.
#[derive(Debug)]
pub(super) struct Waiting {
    link: LinkId,
    sender: CredentialHash,
    data: Bytes,
    came: Time,
    pub(super) until: Time,
}

impl Engine {
    /// A group frame, pushed by a neighbour.
    pub(super) fn handle_group_frame(&mut self, link: LinkId, data: &[u8]) {
        self.take_group_frame(link, data, self.now.time);
    }

    /// A group frame that this node has asked for.
    pub(super) fn handle_group_again(&mut self, link: LinkId, body: &[u8]) {
        let Some((again, data)) = Again::split(body) else { return self.count(Counter::GroupFramesMalformed, 1) };
        self.take_group_frame(link, data, self.now.time - Duration::from_millis(again.kept.into()));
    }

    /// A frame that came here, or to those whom it was fetched from, at that time.
    fn take_group_frame(&mut self, link: LinkId, data: &[u8], came: Time) {
        let Some((_, frame)) = parse(data) else { return self.count(Counter::GroupFramesMalformed, 1) };
        if Unix(frame.expiry) + self.skew() < self.now.unix {
            return self.count(Counter::GroupFramesExpired, 1);
        }
        let flow = (frame.sender, frame.salt);
        self.repair.wants.came(&flow, frame.counter, self.now.time);
        if self.shelf.has_seen(&flow, frame.counter) {
            return self.count(Counter::GroupFramesDuplicate, 1);
        }
        if self.multicast.credentials.contains_key(&frame.sender) {
            return self.judge_frame(link, data, came);
        }
        if self.multicast.waiting.len() >= MAX_WAITING {
            self.count(Counter::GroupFramesWithoutCredential, 1);
            if !self.make_room_to_wait(link) {
                return;
            }
        }
        let (sender, until) = (frame.sender, self.now.time + WAIT);
        if !self.multicast.waiting.iter().any(|waiting| waiting.sender == sender) {
            self.ask_credential(link, sender);
        }
        self.multicast.waiting.push_back(Waiting { link, sender, data: Bytes::copy_from_slice(data), came, until });
    }

    /// Room for a frame that waits for a credential: the newest of the link that has most gives way. `false`: that is this one.
    fn make_room_to_wait(&mut self, link: LinkId) -> bool {
        let mut shares: BTreeMap<LinkId, (usize, usize)> = BTreeMap::new();
        for (at, waiting) in self.multicast.waiting.iter().enumerate() {
            let (count, newest) = shares.entry(waiting.link).or_default();
            (*count, *newest) = (*count + 1, at);
        }
        let own = shares.get(&link).map_or(0, |(count, _)| *count);
        match shares.into_values().max() {
            Some((count, newest)) if count > own => self.multicast.waiting.remove(newest).is_some(),
            _ => false,
        }
    }

    /// A credential has come: what waited for it is judged.
    pub(super) fn release_waiting(&mut self, hash: CredentialHash) {
        let (ready, still): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.multicast.waiting).into_iter().partition(|waiting| waiting.sender == hash);
        self.multicast.waiting = still;
        for waiting in ready {
            self.judge_frame(waiting.link, &waiting.data, waiting.came);
        }
    }

    /// The credentials of some publishers have not come.
    pub(super) fn give_up_waiting(&mut self) {
        let now = self.now.time;
        while self.multicast.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.multicast.waiting.pop_front();
            self.count(Counter::GroupFramesWithoutCredential, 1);
        }
    }

    /// A frame whose publisher is known.
    fn judge_frame(&mut self, link: LinkId, data: &[u8], came: Time) {
        let Some((signed, frame)) = parse(data) else { return };
        let Some(sender) = self.multicast.credentials.get(&frame.sender) else { return };
        let flow = (frame.sender, frame.salt);
        let (key, handle) = (sender.body.key, sender.body.handle);
        if !self.takes_from(sender, frame.segment) || !self.admits(link, frame.segment) {
            return self.count(Counter::GroupFramesOfOtherSegments, 1);
        }
        let accepted = acceptance(&sender.body).filter(|(from, until)| (*from..*until).contains(&self.now.unix));
        let (length, epoch) = (epoch_length(&sender.body), sender.body.epoch);
        if self.shelf.has_seen(&flow, frame.counter) {
            return self.count(Counter::GroupFramesDuplicate, 1);
        }
        if !verify_signed(CONTEXT, &key, &signed) {
            return self.count(Counter::GroupFramesForged, 1);
        }
        let (took, until) = self.deadline(&frame, &flow, came);
        let (Some((_, accepted)), Some(length), Some(until)) = (accepted, length, until) else {
            return self.count(Counter::GroupFramesExpired, 1);
        };
        let Some(from) = self.neighbour_at(link) else { return };
        let data = Bytes::copy_from_slice(data);
        let (group, segment, number) = (frame.group, frame.segment, frame.counter);
        let kept = Kept { data: data.clone(), came, until, segment, terms: None };
        self.keep_numbered(group, flow, (number, took), kept);
        if key == self.own {
            // Published here before this process: subscribers had it then, and neighbours may still lack it.
            self.count(Counter::GroupFramesOwn, 1);
        }
        self.want_before(&from, group, flow, number);
        let ways = self.ways(&group, Some(&from), &Policy::default());
        self.push(&group, segment, &ways, &data);
        let Some(name) = self.multicast.tags.get(&group).filter(|_| key != self.own).cloned() else { return };
        let Ok(plain) = self.membership.groups().open(&frame, &name, &key) else {
            return self.count(Counter::GroupFramesNotOpened, 1);
        };
        let term = super::heard::Term { end: length.end(epoch), until: accepted };
        let (from, sent, start) = (self.name_of(&handle), Unix(frame.sent), length.start(epoch));
        let received = Received { group: name, from, sender: key, flow, number, sent, came, until, term, start };
        self.receive(received, plain);
    }

    /// How long a frame seemed to take, in microseconds, if it was pushed all the way, and its deadline by this device's clock;
    /// `None` when that has passed. What was fetched may have waited long for its turn, and says nothing of clocks.
    fn deadline(&self, frame: &GroupFrame<'_>, flow: &Flow, came: Time) -> (Option<i64>, Option<Time>) {
        let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
        let (now, sent, expiry) = (signed(self.now.unix.0), signed(frame.sent), signed(frame.expiry));
        let took = (came == self.now.time).then(|| now.saturating_sub(sent));
        let lag = [self.shelf.lag(flow), took].into_iter().flatten().min().unwrap_or(0);
        let usual = i64::try_from(USUAL.as_micros()).unwrap_or(i64::MAX);
        let off = if (0..=usual).contains(&lag) { 0 } else { lag };
        let left = u64::try_from(expiry.saturating_sub(now).saturating_add(off)).ok().filter(|left| *left > 0);
        (took, left.map(|left| self.now.time + Duration::from_micros(left)))
    }

    /// Puts one of this device's own frames on the shelf.
    pub(super) fn keep_own(&mut self, group: Tag, flow: Flow, number: u64, frame: Kept) {
        self.keep_numbered(group, flow, (number, None), frame);
    }

    fn keep_numbered(&mut self, group: Tag, flow: Flow, (number, took): (u64, Option<i64>), frame: Kept) {
        let gone = self.shelf.put(group, flow, (number, took), frame);
        self.count(Counter::GroupFramesUnkept, gone.frames);
        self.count(Counter::GroupFlowsForgotten, gone.flows);
        self.repair.note(group, flow, number, self.now.time);
    }

    /// Whether a neighbour's word about a group is of use here.
    pub(super) fn takes_part(&self, group: &Tag) -> bool {
        let leaf = |(_, link): (LinkId, &super::links::Link)| !link.forwarding && link.listens_to(group);
        self.multicast.tags.contains_key(group) || self.tree.carries(group) || self.links.iter().any(leaf)
    }

    /// The neighbour at the other end of a link.
    pub(super) fn neighbour_at(&self, link: LinkId) -> Option<Pseudonym> {
        self.links.get(link).map(|link| link.peer.body.key)
    }
}

/// A group frame, and what is signed of it.
pub(super) fn parse(data: &[u8]) -> Option<(Signed<'_>, GroupFrame<'_>)> {
    let signed: Signed<'_> = wire::codec::decode_within(data, MAX_GROUP_FRAME + FRAME_OVERHEAD).ok()?;
    let frame = wire::decode(signed.body).ok()?;
    Some((signed, frame))
}
