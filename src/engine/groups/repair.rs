//! Repair: neighbours tell each other which group frames they keep, and fetch those that they lack.
//!
//! **Telling.** Links are reliable streams, so a frame that is pushed over one arrives unless the link breaks, takes no
//! frames, or a relay drops it. Hence a node owes a neighbour a digest of what it keeps of a group when the two become
//! neighbours in the group's tree, when a link between them comes up or breaks, and when a frame could not be pushed;
//! both sides send one. Besides, every [`NAMING`] new frames are announced to up to [`BESIDE`] neighbours beside the
//! tree, over links without a price: these have the frames already, unless a relay has failed them.
//!
//! **Fetching.** A frame that a digest names and that has not been here is asked for: at once if the teller is next to
//! this node in the tree, after [`GRACE`] if it is not, since the frame is then probably on its way. Missing numbers
//! before a pushed frame are asked for as well. `wanted` chooses among several tellers. A neighbour that cannot answer
//! because its link takes no frames sends a new digest when the link does. Answers are sent in the lowest class, behind
//! pushed frames; an answered frame is handled as if it had been pushed, so it goes on along the tree.
//!
//! **Asking again.** A frame that is not given in time is given up: it may have expired, its teller may lie, or the
//! link may be so full that nothing gets through. Which of these it was shows later. So a neighbour that has not given
//! a frame is asked for another digest of the group after [`LATER`], and if it then gives none of the frames it is
//! asked for, again after twice as long each time; the wait doubles up to [`LATEST`] times. The frames that it still
//! has then are wanted anew.
//!
//! Invariants
//! 1. The requests and digests that a neighbour may send are limited in rate, and so are the digests that a neighbour is
//!    sent.
//! 2. A frame is given only over links that its publisher's policy allows, if this device is the publisher, and that
//!    admit its segment.
//! - At most [`WINDOW`] frames are answered to one request.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::shelf::Flow;
use crate::engine::groups::wanted::{WINDOW, Wants};
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::id::{LinkId, Lsn, Pseudonym, Tag};
use crate::share::Rates;
use crate::time::Time;
use crate::wire::data::{Class, Policy};
use crate::wire::frame::{self, Kind};
use crate::wire::group_repair::{self as wire_repair, Again, GroupHave, GroupWant, MAX_ASKED, MAX_FLOWS, MAX_RANGES};
use crate::wire::{self, OutFrame};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most frames that one digest adds to the wanted ones. Drop policy: its teller is asked for another digest.
const MOST_TOLD: u64 = 2_048;
/// How many neighbours beside the tree a new frame is announced to.
pub(in crate::engine) const BESIDE: usize = 2;
/// How often new frames are announced to neighbours beside the tree.
const NAMING: Duration = Duration::from_millis(250);
/// How long this node waits before it asks for a frame that was announced by a neighbour beside the tree.
const GRACE: Duration = Duration::from_millis(250);
/// How long digests that become owed at about the same time are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Least time between two digests to a neighbour, so that one that asks again and again causes little work.
pub(in crate::engine) const SPACING: Duration = Duration::from_millis(200);
/// How long after a digest could not be sent it is tried again.
pub(in crate::engine) const AGAIN: Duration = Duration::from_millis(500);
/// How long after it has failed to give a frame a neighbour is asked for a digest the first time, and how many times
/// that wait doubles.
const LATER: Duration = Duration::from_secs(4);
const LATEST: u32 = 3;
/// Most groups whose digests are owed to a neighbour one by one; beyond them it is sent the digests of all common
/// groups.
const MAX_OWED: usize = 256;
/// Most flows announced beside the tree at a time. Drop policy: further ones are not announced.
const MAX_FRESH: usize = 1_024;
/// Digests that a link may send at once, and the interval in which it earns one more. Drop policy: further ones are
/// ignored (`group_requests_too_often`).
const DIGESTS: (u32, Duration) = (128, Duration::from_millis(50));
/// Requests that a link may send at once, and the interval in which it earns one more. Drop policy: further ones are
/// not answered (`group_requests_too_often`).
pub(in crate::engine) const REQUESTS: (u32, Duration) = (64, Duration::from_millis(10));

/// A digest that is owed to a neighbour.
#[derive(Debug)]
pub(in crate::engine) struct Owed {
    pub(in crate::engine) at: Time,
    /// The groups that it is about; `None` for all that the two have in common.
    pub(in crate::engine) groups: Option<BTreeSet<Tag>>,
    /// Whether the neighbour is asked for its own digest of these groups in turn.
    pub(in crate::engine) asks: bool,
}

/// A neighbour that has not given a frame that it announced.
#[derive(Debug, Default)]
struct Silent {
    /// How often it has been doubted since it last gave a frame that it was asked for.
    times: u32,
    /// When it is asked for a digest again, and of which groups.
    at: Option<Time>,
    groups: BTreeSet<Tag>,
}

/// The state of repair: digests that are owed, frames that are wanted, and the rates of each neighbour.
#[derive(Debug)]
pub(in crate::engine) struct Repair {
    pub(in crate::engine) owed: BTreeMap<Pseudonym, Owed>,
    /// The frames that have come since the last announcement beside the tree, by flow: the group, and the lowest and
    /// highest number.
    pub(in crate::engine) fresh: BTreeMap<Flow, (Tag, u64, u64)>,
    pub(in crate::engine) naming: Option<Time>,
    pub(in crate::engine) wants: Wants,
    rates: Rates,
    digests: Rates,
    /// When each neighbour was last sent a digest, if that was within [`SPACING`].
    pub(in crate::engine) told: BTreeMap<Pseudonym, Time>,
    silent: BTreeMap<Pseudonym, Silent>,
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            owed: BTreeMap::new(),
            fresh: BTreeMap::new(),
            naming: None,
            wants: Wants::default(),
            rates: Rates::new(REQUESTS.0, REQUESTS.1),
            digests: Rates::new(DIGESTS.0, DIGESTS.1),
            told: BTreeMap::new(),
            silent: BTreeMap::new(),
        }
    }
}

impl Repair {
    /// Notes that a neighbour is owed a digest of a group, and is to be asked for one in turn if `asks`.
    pub(in crate::engine) fn owe(&mut self, neighbour: Pseudonym, group: Tag, asks: bool, now: Time) {
        let owed = self.owed(neighbour, asks, now);
        if let Some(groups) = &mut owed.groups {
            groups.insert(group);
            if groups.len() > MAX_OWED {
                owed.groups = None;
            }
        }
    }

    /// Notes that a neighbour is owed a digest of all groups that the two have in common, and is to be asked for one in
    /// turn.
    pub(in crate::engine) fn owe_all(&mut self, neighbour: Pseudonym, now: Time) {
        self.owed(neighbour, true, now).groups = None;
    }

    fn owed(&mut self, neighbour: Pseudonym, asks: bool, now: Time) -> &mut Owed {
        let spaced = self.told.get(&neighbour).map_or(now, |told| *told + SPACING);
        let none = || Owed { at: spaced.max(now + GATHER), groups: Some(BTreeSet::new()), asks: false };
        let owed = self.owed.entry(neighbour).or_insert_with(none);
        owed.asks |= asks;
        owed
    }

    /// Notes that a neighbour has not given a frame that it announced in a group: it is asked for another digest of the
    /// group later.
    fn doubt(&mut self, neighbour: Pseudonym, group: Tag, now: Time) {
        let silent = self.silent.entry(neighbour).or_default();
        silent.groups.insert(group);
        if silent.at.is_none() {
            silent.at = Some(now + LATER * (1 << silent.times.min(LATEST)));
            silent.times = silent.times.saturating_add(1);
        }
    }

    /// Asks the neighbours that have failed to give frames, and are due, for a digest.
    fn ask_silent(&mut self, now: Time) {
        let due = |(_, silent): &(&Pseudonym, &mut Silent)| silent.at.is_some_and(|at| at <= now);
        let due = self.silent.iter_mut().filter(due);
        let due: Vec<_> =
            due.map(|(of, silent)| (*of, silent.at.take(), core::mem::take(&mut silent.groups))).collect();
        for (neighbour, _, groups) in due {
            groups.into_iter().for_each(|group| self.owe(neighbour, group, true, now));
        }
    }

    /// Notes that a frame has come, whether or not a neighbour had been asked for it.
    pub(in crate::engine) fn came(&mut self, flow: &Flow, number: u64, now: Time) {
        if let Some(giver) = self.wants.came(flow, number, now) {
            self.silent.entry(giver).and_modify(|silent| silent.times = 0);
        }
    }

    /// Notes a new frame on the shelf, which is to be announced beside the tree.
    pub(in crate::engine) fn note(&mut self, group: Tag, flow: Flow, number: u64, now: Time) {
        if let Some((_, first, last)) = self.fresh.get_mut(&flow) {
            (*first, *last) = (number.min(*first), number.max(*last));
        } else if self.fresh.len() < MAX_FRESH {
            self.fresh.insert(flow, (group, number, number));
        }
        self.naming.get_or_insert(now + NAMING);
    }

    /// Makes the digest that is owed to a neighbour due now, since a link to it takes frames again.
    pub(in crate::engine) fn hurry(&mut self, neighbour: &Pseudonym, now: Time) {
        if let Some(owed) = self.owed.get_mut(neighbour) {
            owed.at = self.told.get(neighbour).map_or(now, |told| now.max(*told + SPACING));
        }
    }

    /// Forgets the doubts about a neighbour whose last link is gone; its next link begins with a comparison.
    pub(in crate::engine) fn forget_neighbour(&mut self, neighbour: &Pseudonym) {
        self.silent.remove(neighbour);
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let owed = self.owed.values().map(|owed| owed.at).min();
        let silent = self.silent.values().filter_map(|silent| silent.at).min();
        [owed, self.naming, silent, self.wants.next_wake()].into_iter().flatten().min()
    }
}

impl Groups {
    /// Handles a pushed frame: the missing numbers just before it in its flow are wanted too.
    pub(in crate::engine) fn want_before(
        &mut self,
        core: &mut Core,
        from: &Pseudonym,
        group: Tag,
        flow: Flow,
        number: u64,
    ) {
        let Some((first, last)) = self.shelf.gap_before(&flow, number) else { return };
        let first = first.max(last.saturating_sub(WINDOW as u64));
        let at = core.now.time + GRACE;
        self.want_all(core, *from, group, flow, (first, last), at);
    }

    /// Wants a range of numbers of a flow from a teller. Returns how many numbers the range has.
    fn want_all(
        &mut self,
        core: &mut Core,
        teller: Pseudonym,
        group: Tag,
        flow: Flow,
        (first, last): (u64, u64),
        at: Time,
    ) -> u64 {
        let mut dropped = 0;
        for number in first..=last {
            dropped += u64::from(self.repair.wants.want(teller, group, (flow, number), at));
        }
        core.count(Counter::GroupRepairsDropped, dropped);
        last - first + 1
    }

    /// Has this node and a neighbour whose link has come up or recovered exchange digests of their common groups.
    pub(in crate::engine) fn compare_groups(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        if let Some(neighbour) = self.neighbour_at(neighbours, link) {
            self.repair.owe_all(neighbour, core.now.time);
        }
    }

    pub(in crate::engine) fn handle_group_have(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let Some(teller) = self.neighbour_at(neighbours, link) else { return };
        let have =
            wire::decode::<GroupHave>(body).ok().filter(|have| have.tell.len() <= MAX_ASKED && sound(&have.flows));
        let Some(have) = have else { return neighbours.note_malformed(core, link, Counter::GroupFramesMalformed) };
        if !self.repair.digests.take(&teller, core.now.time) {
            return core.count(Counter::GroupRequestsTooOften, 1);
        }
        let now = core.now.time;
        let mut told = 0;
        for flow in
            have.flows.iter().filter(|flow| self.takes_part(neighbours, &flow.group)).cloned().collect::<Vec<_>>()
        {
            let near = self.tree.joins(&flow.group, &teller) || !core.settings.forwarding;
            let at = if near { now } else { now + GRACE };
            let key = (flow.sender, flow.salt);
            let missing: Vec<_> = flow.ranges.iter().flat_map(|range| self.shelf.missing(&key, *range)).collect();
            for (first, last) in missing {
                if told >= MOST_TOLD {
                    self.repair.owe(teller, flow.group, true, now);
                    break;
                }
                let last = last.min(first.saturating_add(MOST_TOLD - told));
                told += self.want_all(core, teller, flow.group, key, (first, last), at);
            }
        }
        for group in have.tell.into_iter().filter(|group| self.takes_part(neighbours, group)).collect::<Vec<_>>() {
            self.repair.owe(teller, group, false, now);
        }
    }

    /// Whether the publisher's policy, where it is known, and the frame's segment allow that a frame is given over a
    /// link.
    pub(in crate::engine) fn may_go(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        link: LinkId,
        kept: &crate::engine::groups::shelf::Kept,
    ) -> bool {
        let Some(bearer) =
            neighbours.links.get(link).map(|link| neighbours.link_metrics.bearer(link.bearer).class as u16)
        else {
            return false;
        };
        let avoided = kept.send_policy.as_ref().and_then(|send_policy| send_policy.policy.avoid).unwrap_or(0);
        avoided & (1 << bearer) == 0 && neighbours.admits(core, link, kept.segment)
    }

    pub(in crate::engine) fn timeout_repair(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        self.shelf.expire(now);
        self.repair.ask_silent(now);
        self.tell(core, neighbours);
        self.name_fresh(core, neighbours);
        self.fetch(core, neighbours);
    }

    pub(in crate::engine) fn handle_group_want(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let want = wire::decode::<GroupWant>(body).ok().filter(|want| sound(&want.flows));
        let Some(want) = want else { return neighbours.note_malformed(core, link, Counter::GroupFramesMalformed) };
        let Some(by) = self.neighbour_at(neighbours, link) else { return };
        if !self.repair.rates.take(&by, core.now.time) {
            return core.count(Counter::GroupRequestsTooOften, 1);
        }
        let numbers = want.flows.iter().flat_map(|flow| {
            let key = (flow.sender, flow.salt);
            flow.ranges.iter().flat_map(move |(first, last)| (*first..=*last).map(move |number| (key, number)))
        });
        for (flow, number) in numbers.take(WINDOW) {
            let kept = self.shelf.get(&flow, number).filter(|kept| kept.until > core.now.time);
            let Some(kept) = kept.cloned() else { continue };
            // The frame before this one may have spent a quota.
            if !neighbours.has_room(core, link, Class::Bulk, kept.data.len()) {
                if let (Some(neighbour), Some(group)) =
                    (self.neighbour_at(neighbours, link), self.shelf.group_of(&flow))
                {
                    self.repair.owe(neighbour, group, false, core.now.time);
                }
                continue;
            }
            if !self.may_go(core, neighbours, link, &kept) {
                continue;
            }
            let mut head = Vec::with_capacity(frame::HEADER + 8);
            frame::begin(&mut head, Kind::GroupAgain);
            let set_forward = neighbours.links.get(link).map_or(0, |link| link.clocks.set_forward);
            let behind = kept.behind(core.now).saturating_sub(set_forward);
            head.extend_from_slice(&Again::of(core.now.time.since(kept.came), behind).to_bytes());
            core.count(Counter::GroupFramesRepaired, 1);
            neighbours.send_data(
                core,
                Leaving {
                    link,
                    class: Class::Bulk,
                    frame: OutFrame::around(head, &kept.data, &kept.data),
                    after: Lsn(0),
                    until: Some(kept.until),
                },
            );
        }
    }

    /// Sends the requests for frames that are due.
    fn fetch(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let (questions, given_up) = self.repair.wants.due(core.now.time);
        core.count(Counter::GroupRepairsFailed, given_up.frames);
        for (teller, group) in given_up.of {
            self.repair.doubt(teller, group, core.now.time);
        }
        for (teller, frames) in questions {
            let Some((link, _)) = neighbours.link_under(&teller, &Policy::default()) else { continue };
            let mut flows: Vec<wire_repair::Flow> = Vec::new();
            for (group, (sender, salt), number) in frames {
                let same = |flow: &&mut wire_repair::Flow| (flow.sender, flow.salt) == (sender, salt);
                match flows.last_mut().filter(same) {
                    Some(flow) if flow.ranges.last().is_some_and(|(_, last)| last.checked_add(1) == Some(number)) => {
                        if let Some((_, last)) = flow.ranges.last_mut() {
                            *last = number;
                        }
                    }
                    Some(flow) if flow.ranges.len() < MAX_RANGES => flow.ranges.push((number, number)),
                    _ => flows.push(wire_repair::Flow { group, sender, salt, ranges: vec![(number, number)] }),
                }
            }
            neighbours.send_data(
                core,
                Leaving::at_once(link, Class::Control, frame::of(Kind::GroupWant, &GroupWant { flows }).into()),
            );
        }
    }
}

/// Whether a digest or a request keeps the bounds of the protocol and its ranges ascend.
fn sound(flows: &[wire_repair::Flow]) -> bool {
    let ascends = |flow: &wire_repair::Flow| {
        flow.ranges.len() <= MAX_RANGES && flow.ranges.iter().all(|(first, last)| first <= last)
    };
    flows.len() <= MAX_FLOWS && flows.iter().all(ascends)
}
