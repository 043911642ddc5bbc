//! Group frames: frames from neighbours, verified before they are handed on, then kept, and opened if this device
//! listens to the group.
//!
//! ```text
//! frame ─▶ well-formed? in time? not here before? ──no──▶ dropped
//!             │ publisher's credential known? ──no──▶ waits, and the neighbour that it came from is asked
//!             ▼
//!          permit and signature hold? of a segment of ours? ──no──▶ dropped
//!             ▼
//!          shelf ─▶ pushed on along the tree ─▶ of a group listened to? ─▶ open ─▶ streams
//! ```
//!
//! **Deadlines** are given by the publisher's clock, which may differ from this one by as much as admission allows. The
//! difference is estimated from the apparent transit times of its frames ([`lag`](super::lag)), and subtracted.
//!
//! Invariants
//! 1. No frame is handed on, kept or opened before its publisher's signature has been verified.
//! 2. A frame is handed on once, however often it comes, and not after its deadline.
//! 3. A forged frame with the number of a frame that is wanted leaves that frame wanted.
//! 4. No frame of a restricted group is handed on, kept or opened whose publisher has no permit of an issuer.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::lag::{self, Lag};
use crate::engine::groups::multicast::{MAX_WAITING, MAX_WAITING_BYTES, WAIT};
use crate::engine::groups::publishing::FRAME_OVERHEAD;
use crate::engine::groups::shelf::{Flow, Gone, Kept};
use crate::engine::groups::streams::Received;
use crate::engine::groups::tree::Handed;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialHash, LinkId, Pseudonym, Tag};
use crate::identity::credential::{acceptance, epoch_length};
use crate::identity::permit::Found;
use crate::identity::sign::verify_signed;
use crate::time::{Time, Unix};
use crate::wire::credential::Role;
use crate::wire::data::Policy;
use crate::wire::group::{CONTEXT, GroupFrame, MAX_GROUP_FRAME};
use crate::wire::group_repair::Again;
use crate::wire::{self, Signed};
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How a frame came to this device.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// When it came, here or to the device that it was fetched from.
    came: Time,
    /// How far its publisher's clock is behind in microseconds, as its giver says; `None` for a frame that was pushed.
    behind: Option<i64>,
}

/// A frame of a publisher whose credential is not known yet.
#[derive(Debug)]
pub(in crate::engine) struct Waiting {
    link: LinkId,
    sender: CredentialHash,
    data: Bytes,
    arrival: Arrival,
    pub(in crate::engine) until: Time,
}

impl Waiting {
    /// The size of the frame in bytes.
    pub(in crate::engine) fn size(&self) -> usize {
        self.data.len()
    }
}

impl Groups {
    /// Makes room for a frame of so many bytes that waits for a credential: the newest frame of the link that has most
    /// bytes waiting is dropped. Returns `false` if that would be the new frame itself.
    fn make_room_to_wait(&mut self, core: &mut Core, link: LinkId, bytes: usize) -> bool {
        let waiting = &mut self.multicast.waiting;
        let mut dropped = 0;
        let fits = loop {
            let mut shares: BTreeMap<LinkId, (usize, usize)> = BTreeMap::new();
            for (at, one) in waiting.iter().enumerate() {
                let (size, newest) = shares.entry(one.link).or_default();
                (*size, *newest) = (*size + one.size(), at);
            }
            let size: usize = shares.values().map(|(size, _)| size).sum();
            if waiting.len() < MAX_WAITING && size + bytes <= MAX_WAITING_BYTES {
                break true;
            }
            let own = shares.get(&link).map_or(0, |(size, _)| *size);
            match shares.into_values().max() {
                Some((most, newest)) if most > own => drop(waiting.remove(newest)),
                _ => break false,
            }
            dropped += 1;
        };
        core.count(Counter::GroupFramesWithoutCredential, dropped + u64::from(!fits));
        fits
    }

    /// Drops the frames whose publishers' credentials have not come in time.
    pub(in crate::engine) fn give_up_waiting(&mut self, core: &mut Core) {
        let now = core.now.time;
        while self.multicast.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.multicast.waiting.pop_front();
            core.count(Counter::GroupFramesWithoutCredential, 1);
        }
    }

    /// Returns a frame's deadline by this device's clock; `None` if it has passed.
    fn deadline(&self, core: &Core, frame: &GroupFrame<'_>, lag: &Lag) -> Option<Time> {
        let behind = lag.behind(frame.counter, Unix(frame.sent));
        let left = signed(frame.expiry).saturating_sub(signed(core.now.unix.0)).saturating_add(behind);
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some(core.now.time + Duration::from_micros(left))
    }

    /// Puts one of this device's own frames on the shelf.
    pub(in crate::engine) fn keep_own(&mut self, core: &mut Core, group: Tag, flow: Flow, number: u64, frame: Kept) {
        self.keep_numbered(core, group, flow, number, frame);
    }

    fn keep_numbered(&mut self, core: &mut Core, group: Tag, flow: Flow, number: u64, frame: Kept) {
        self.repair.came(&flow, number, core.now.time);
        let gone = self.shelf.put(group, flow, number, frame);
        self.count_gone(core, gone);
        self.repair.note(group, flow, number, core.now.time);
    }

    fn count_gone(&mut self, core: &mut Core, gone: Gone) {
        core.count(Counter::GroupFramesUnkept, gone.frames);
        core.count(Counter::GroupFlowsForgotten, gone.flows);
    }

    /// Returns what is known of a publisher's clock once the arrival of this frame is taken into account.
    fn lag_with(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        link: LinkId,
        frame: &GroupFrame<'_>,
        flow: &Flow,
        arrival: Arrival,
    ) -> Lag {
        let mut lag = self.shelf.lag(flow);
        lag.note_sealed(frame.counter, Unix(frame.sent));
        let waited = signed(core.now.time.0.saturating_sub(arrival.came.0));
        let took = signed(core.now.unix.0).saturating_sub(waited).saturating_sub(signed(frame.sent));
        if arrival.behind.is_some() && lag::is_usual(took) {
            // The giver's clock may have been set since its hello.
            lag.note_told(0);
            return lag;
        }
        let giver = neighbours.links.get(link).map_or(0, |link| link.clocks.of_hello().saturating_neg());
        lag.note_told(arrival.behind.unwrap_or(0).saturating_add(giver));
        // A fetched frame may have waited; but it cannot arrive before it was sealed, however long its giver says that
        // it has kept it.
        let at_least = took.saturating_add(waited);
        if arrival.behind.is_none() || at_least < 0 {
            lag.note(frame.counter, Unix(frame.sent), if arrival.behind.is_none() { took } else { at_least });
        }
        lag
    }

    /// Whether this node takes part in a group: it listens to it, is in its tree, or has a leaf that listens.
    pub(in crate::engine) fn takes_part(&self, neighbours: &Neighbours, group: &Tag) -> bool {
        let leaf =
            |(_, link): (LinkId, &crate::engine::neighbours::links::Link)| !link.forwarding && link.listens_to(group);
        self.multicast.tags.contains_key(group) || self.tree.carries(group) || neighbours.links.iter().any(leaf)
    }

    /// Returns the neighbour at the other end of a link.
    pub(in crate::engine) fn neighbour_at(&self, neighbours: &Neighbours, link: LinkId) -> Option<Pseudonym> {
        neighbours.links.get(link).map(|link| link.peer.body.key)
    }

    /// Handles a group frame that a neighbour has pushed.
    pub(in crate::engine) fn handle_group_frame(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        data: &[u8],
    ) {
        self.take_group_frame(core, neighbours, routing, link, data, Arrival { came: core.now.time, behind: None });
    }

    /// Handles a group frame that was fetched by this node or by one before it, or whose publisher's clock is wrong.
    pub(in crate::engine) fn handle_group_again(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        body: &[u8],
    ) {
        let Some((again, data)) = Again::split(body) else {
            return neighbours.note_malformed(core, link, Counter::GroupFramesMalformed);
        };
        let came = core.now.time - Duration::from_millis(again.kept.into());
        let most = i64::try_from(core.skew().as_micros()).unwrap_or(i64::MAX);
        let behind = Some((i64::from(again.behind) * 1_000).clamp(-most, most));
        self.take_group_frame(core, neighbours, routing, link, data, Arrival { came, behind });
    }

    fn take_group_frame(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        data: &[u8],
        arrival: Arrival,
    ) {
        let Some((_, frame)) = parse(data) else {
            return neighbours.note_malformed(core, link, Counter::GroupFramesMalformed);
        };
        if Unix(frame.expiry) + core.skew() < core.now.unix {
            return core.count(Counter::GroupFramesExpired, 1);
        }
        let flow = (frame.sender, frame.salt);
        if self.shelf.has_seen(&flow, frame.counter) {
            return core.count(Counter::GroupFramesDuplicate, 1);
        }
        if neighbours.peers.knows(&frame.sender) {
            return self.judge_frame(core, neighbours, routing, link, data, arrival);
        }
        if !self.make_room_to_wait(core, link, data.len()) {
            return;
        }
        let (sender, until) = (frame.sender, core.now.time + WAIT);
        if !self.multicast.waiting.iter().any(|waiting| waiting.sender == sender) {
            neighbours.ask_credential(core, link, sender);
        }
        self.multicast.waiting.push_back(Waiting { link, sender, data: Bytes::copy_from_slice(data), arrival, until });
    }

    /// Handles the frames that waited for a credential that has come.
    pub(in crate::engine) fn release_waiting(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        hash: CredentialHash,
    ) {
        let (ready, still): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.multicast.waiting).into_iter().partition(|waiting| waiting.sender == hash);
        self.multicast.waiting = still;
        for waiting in ready {
            self.judge_frame(core, neighbours, routing, waiting.link, &waiting.data, waiting.arrival);
        }
    }

    /// Verifies a frame whose publisher's credential is known, then keeps it, pushes it on, and opens it for
    /// subscribers here.
    fn judge_frame(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        data: &[u8],
        arrival: Arrival,
    ) {
        let Some((signed, frame)) = parse(data) else { return };
        let Some(sender) = neighbours.peers.get(&frame.sender) else { return };
        let flow = (frame.sender, frame.salt);
        let (key, handle) = (sender.body.key, sender.body.handle);
        let broadcast = self.broadcast.is(core, &frame.group);
        let forbidden = broadcast && !sender.body.has_role(Role::Broadcast);
        if !neighbours.takes_from(core, sender, frame.segment) || !neighbours.admits(core, link, frame.segment) {
            return core.count(Counter::GroupFramesOfOtherSegments, 1);
        }
        let accepted = acceptance(&sender.body).filter(|(from, until)| (*from..*until).contains(&core.now.unix));
        let (length, epoch) = (epoch_length(&sender.body), sender.body.epoch);
        if self.shelf.has_seen(&flow, frame.counter) {
            return core.count(Counter::GroupFramesDuplicate, 1);
        }
        if !neighbours.trusts(core, link) {
            return;
        }
        if forbidden {
            return neighbours.note_forgery(core, link, Counter::BroadcastsForbidden);
        }
        match self.judge_permit(core, &frame, &flow, &key) {
            Found::Holds => {}
            Found::UnknownIssuer => return core.count(Counter::GroupFramesForbidden, 1),
            Found::Forged => return neighbours.note_forgery(core, link, Counter::GroupFramesForbidden),
        }
        if !verify_signed(CONTEXT, &key, &signed) {
            return neighbours.note_forgery(core, link, Counter::GroupFramesForged);
        }
        if broadcast {
            if !self.broadcast.admit(core, frame.sender) {
                return;
            }
            self.hear_broadcasts(core, neighbours, arrival.came);
            self.span(core, neighbours, routing, frame.group);
        }
        let lag = self.lag_with(core, neighbours, link, &frame, &flow, arrival);
        let gone = self.shelf.set_lag(frame.group, flow, lag);
        self.count_gone(core, gone);
        if let Some(permit) = frame.permit {
            self.shelf.set_permit(&flow, (frame.epoch, permit));
        }
        let until = self.deadline(core, &frame, &lag);
        let (Some((_, accepted)), Some(length), Some(until)) = (accepted, length, until) else {
            return core.count(Counter::GroupFramesExpired, 1);
        };
        let Some(from) = self.neighbour_at(neighbours, link) else { return };
        let data = Bytes::copy_from_slice(data);
        let (group, segment, number, came) = (frame.group, frame.segment, frame.counter, arrival.came);
        let kept = Kept { data, came, until, expiry: Unix(frame.expiry), segment, send_policy: None };
        self.keep_numbered(core, group, flow, number, kept.clone());
        if core.is_own(&key) {
            // This device published the frame before this process began: subscribers had it then, and neighbours may
            // still lack it.
            core.count(Counter::GroupFramesOwn, 1);
        }
        self.want_before(core, &from, group, flow, number);
        let next_hops = self.next_hops(core, neighbours, routing, (&group, segment), Some(&from), &Policy::default());
        let behind = lag.behind(number, Unix(frame.sent));
        let fetched = arrival.behind.map(|_| core.now.time.since(came));
        self.push(core, neighbours, &group, &next_hops, &kept, Handed { fetched, behind });
        let Some(name) = self.multicast.tags.get(&group).filter(|_| !core.is_own(&key)).cloned() else {
            return;
        };
        let Ok(plain) = core.membership.groups().open(&frame, &name, &key) else {
            return core.count(Counter::GroupFramesNotOpened, 1);
        };
        let term = crate::engine::groups::heard::Term { end: length.end(epoch), until: accepted };
        let (from, sent, start) = (neighbours.name_of(core, &handle), Unix(frame.sent), length.start(epoch));
        let received = Received { group: name, from, sender: key, flow, number, sent, came, until, term, start };
        self.receive(core, received, plain);
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// Parses a group frame. Returns the signed envelope and the frame in it; `None` if either is malformed or too large.
pub(in crate::engine) fn parse(data: &[u8]) -> Option<(Signed<'_>, GroupFrame<'_>)> {
    let signed: Signed<'_> = wire::codec::decode_within(data, MAX_GROUP_FRAME + FRAME_OVERHEAD).ok()?;
    let frame = wire::decode(signed.body).ok()?;
    Some((signed, frame))
}
