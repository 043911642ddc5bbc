//! Tree: for each group, the neighbours that its frames are pushed to.
//!
//! **Mechanism.** Routers advertise in their link state which groups they or their leaves listen or publish to. From
//! the same database every router computes the same tree between a group's members; a router in the tree that is not a
//! member is a *connector*. A router pushes each frame that is new to it to its neighbours in the tree, except the one
//! that it came from, and to its leaves that listen. A leaf is in no tree: it hands what it publishes to one of its
//! routers, and to neighbouring leaves that listen. Of several links to a neighbour the publisher takes the one that
//! the publication's policy likes best, and none over a bearer that the policy avoids; a group frame does not say its
//! policy, so relays take the link that `balanced` likes best.
//!
//! Frames belong to a segment, and go along the tree of the group's members that are in it or reach it, over routers of which the same
//! is true. Where all routers reach all segments that there are, these are one tree.
//!
//! A publisher that the tree has not reached yet begins with the routers next to it. While routers' databases differ,
//! trees may have loops and gaps. The shelf ends the loops. Gaps, and losses with a link or a relay, are closed by
//! `repair`: the two ends of each new edge of a tree compare what they keep, and each frame is announced to some
//! neighbours beside the tree as well. This is epidemic broadcast over a tree (J. Leitão et al., "Epidemic Broadcast
//! Trees", 2007), with a tree that follows from the link-state database instead of one that grows from duplicates.
//!
//! While a router changes its pseudonym it is in the database under both, and other routers' trees may lead through either. It therefore takes the
//! places of both, and pushes to the neighbours of both. A neighbour that is in a tree under two pseudonyms, and has named one the successor of the
//! other, is pushed to once.
//!
//! Trees are computed again a moment after the network or a group has changed, not at each of many changes in a row.
//!
//! Invariants
//! 1. A frame is pushed to a neighbour at most once.
//! 2. When a frame cannot be pushed, since a link takes no frames or is gone, a digest is owed: the neighbour is told
//!    what is kept here as soon as it can be.
//! 3. A group that one router alone advertises needs no tree, and takes no place.
//! - There are trees of at most [`MAX_TREES`] groups. Drop policy: this device's own groups come first, then those with
//!   most routers; the others are not carried (`trees_refused`).

mod span;

pub(in crate::engine) use span::Reach;

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::shelf::Kept;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::neighbours::{Neighbours, segments};
use crate::engine::routing::Routing;
use crate::id::{LinkId, Lsn, Pseudonym, Tag};
use crate::routing::graph::Graph;
use crate::routing::tree;
use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::{Class, Policy};
use crate::wire::frame::{self, Kind};
use crate::wire::group_repair::Again;
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most groups whose trees are kept: enough for a node that listens to as many groups as it may, at the turn of an
/// epoch.
pub(in crate::engine) const MAX_TREES: usize = 2_048;
/// How long after a change trees are computed again.
const SETTLE: Duration = Duration::from_millis(200);
/// With how many neighbouring routers a publisher begins that the tree has not reached yet.
const AT_HAND: usize = 3;
/// How long a device counts as a member of a group after it has published to it, at least; as long as its stream rests.
const LINGER: Duration = Duration::from_secs(600);

/// A neighbour that a frame is pushed to, and the link to it; `None` if no link may carry the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct NextHop {
    pub(in crate::engine) to: Pseudonym,
    pub(in crate::engine) link: Option<LinkId>,
}

/// What is said about a frame that is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Handed {
    /// How long it was kept; `None` unless this device or one before it had fetched it.
    pub(in crate::engine) fetched: Option<Duration>,
    /// By how many microseconds the clock that sealed it is behind this device's present clock.
    pub(in crate::engine) behind: i64,
}

/// This router's place in a group's trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Its neighbours in the trees, each with the segments along whose trees frames go to it, as a bit map.
    branches: Vec<(Pseudonym, u64)>,
    /// Its neighbours that are in a tree, but not next to it there.
    beside: Vec<Pseudonym>,
}

impl Place {
    /// The place of a router in trees, each that of the frames of some segments, under all pseudonyms that it has at present, or `None` if the
    /// router is in none of them.
    fn of(trees: &[(u64, tree::Tree)], own: &[Pseudonym], neighbours: &BTreeSet<Pseudonym>) -> Option<Self> {
        let mut branches: BTreeMap<Pseudonym, u64> = BTreeMap::new();
        let mut beside: BTreeSet<Pseudonym> = BTreeSet::new();
        let mut held = false;
        for (segments, tree) in trees {
            for own in own.iter().filter(|own| tree.holds(own)) {
                held = true;
                for branch in tree.branches(own) {
                    *branches.entry(branch.to).or_default() |= segments;
                }
                beside.extend(tree.routers().filter(|router| neighbours.contains(router)));
            }
        }
        branches.retain(|to, _| !own.contains(to));
        beside.retain(|router| !branches.contains_key(router));
        let place = Self { branches: branches.into_iter().collect(), beside: beside.into_iter().collect() };
        held.then_some(place)
    }

    fn joins(&self, neighbour: &Pseudonym) -> bool {
        self.branches.iter().any(|(to, _)| to == neighbour)
    }
}

/// The trees of all groups, as far as this router is concerned.
#[derive(Debug, Default)]
pub(in crate::engine) struct GroupTrees {
    /// This router's places in the trees of the groups that it carries.
    places: BTreeMap<Tag, Place>,
    due: Option<Time>,
    /// The groups that this device has published to, and until when it counts as a member of each.
    publishing: BTreeMap<String, Option<Time>>,
}

impl GroupTrees {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.publishing.values().flatten().copied().chain(self.due).min()
    }

    /// Returns the groups in whose trees this node is.
    pub(in crate::engine) fn carried(&self) -> impl Iterator<Item = &Tag> {
        self.places.keys()
    }

    /// Whether this node is in a group's tree.
    pub(in crate::engine) fn carries(&self, group: &Tag) -> bool {
        self.places.contains_key(group)
    }

    /// The stream to a group has ended: the device is a member for a while, and no longer for the sake of a stream that rests.
    pub(in crate::engine) fn note_stream_over(&mut self, group: &str, now: Time) {
        if let Some(until @ None) = self.publishing.get_mut(group) {
            *until = Some(now + LINGER);
        }
    }

    /// Returns the groups that have been published to lately, and count as such.
    pub(in crate::engine) fn lately_published(&self) -> impl Iterator<Item = &str> {
        self.publishing.iter().filter(|(_, until)| until.is_some()).map(|(group, _)| group.as_str())
    }

    /// Returns the groups that count as published to by this device, those whose streams rest among them.
    pub(in crate::engine) fn published(&self) -> impl Iterator<Item = &str> {
        self.publishing.keys().map(String::as_str)
    }

    /// Whether a group counts as published to by this device.
    pub(in crate::engine) fn publishes(&self, group: &str) -> bool {
        self.publishing.contains_key(group)
    }

    /// Whether a neighbour is next to this node in a group's tree.
    pub(in crate::engine) fn joins(&self, group: &Tag, neighbour: &Pseudonym) -> bool {
        self.places.get(group).is_some_and(|place| place.joins(neighbour))
    }

    /// Returns the groups in whose trees a neighbour is next to this node.
    pub(in crate::engine) fn joined_by(&self, neighbour: &Pseudonym) -> impl Iterator<Item = &Tag> {
        self.places.iter().filter(|(_, place)| place.joins(neighbour)).map(|(group, _)| group)
    }

    /// Returns the neighbours that are in a group's tree without being next to this node in it.
    pub(in crate::engine) fn beside(&self, group: &Tag) -> &[Pseudonym] {
        self.places.get(group).map_or(&[], |place| &place.beside)
    }
}

/// The segments whose frames go along trees of their own, as bit maps: each that a router of the graph is in, or all together if every router
/// reaches each of them.
fn segments_apart(
    core: &Core,
    neighbours: &Neighbours,
    routing: &Routing,
    (graph, reaches): (&Graph, &[u64]),
) -> Vec<u64> {
    let own = |node: &Pseudonym| {
        let hash = routing.link_state.hash_of(node)?;
        Some(neighbours.peers.get(&hash)?.body.segments())
    };
    let all = graph.nodes().iter().filter_map(own).fold(neighbours.own_segments(core), |all, own| all | own);
    if reaches.iter().all(|reach| all & !reach == 0) {
        return vec![u64::MAX];
    }
    (0..u64::BITS).map(|bit| 1 << bit).filter(|segment| all & segment != 0).collect()
}

impl Groups {
    /// Has the trees computed again soon, since the network or a group has changed.
    pub(in crate::engine) fn regrow(&mut self, core: &Core) {
        let at = core.now.time + SETTLE;
        self.tree.due.get_or_insert(at);
    }

    fn grow_trees(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing) {
        if !core.settings.forwarding {
            return;
        }
        // This device's own groups count at once; its link state tells others a moment later.
        let own = neighbours.own_groups.clone();
        let groups: BTreeSet<Tag> = routing.link_state.lsdb.groups().into_iter().chain(own.iter().copied()).collect();
        let mut groups: Vec<(Tag, BTreeSet<Pseudonym>)> = groups
            .into_iter()
            .map(|group| {
                let told = routing.link_state.lsdb.members_of(&group).into_iter();
                (group, told.chain(own.contains(&group).then_some(core.own)).collect())
            })
            .filter(|(_, members): &(Tag, BTreeSet<Pseudonym>)| members.len() > 1)
            .collect();
        if groups.is_empty() && self.tree.places.is_empty() {
            return;
        }
        groups.sort_by_key(|(group, members)| (!own.contains(group), Reverse(members.len()), *group));
        let graph = {
            let peers = &neighbours.peers;
            routing.link_state.lsdb.told_graph(&|hash| peers.pseudonym(hash))
        };
        let mut reaches = routing.reaches_in(core, neighbours, &graph);
        if let Some(here) = graph.index(&core.own).and_then(|here| reaches.get_mut(here as usize)) {
            *here = neighbours.own_reach(core);
        }
        let kinds = segments_apart(core, neighbours, routing, (&graph, &reaches));
        let within = |segments: &u64| {
            let takes_part = |node: u32| reaches.get(node as usize).is_none_or(|reach| reach & segments != 0);
            (*segments, tree::SteinerTrees::within(&graph, takes_part))
        };
        let kinds: Vec<(u64, tree::SteinerTrees<'_>)> = kinds.iter().map(within).collect();
        let reach_of = |router: &Pseudonym| {
            let node = graph.index(router).and_then(|node| reaches.get(node as usize));
            node.copied().unwrap_or(u64::MAX)
        };
        let refused = groups.len().saturating_sub(MAX_TREES);
        let neighbours: BTreeSet<Pseudonym> = neighbours.links.neighbours().copied().collect();
        // Groups with the same members have the same tree.
        let mut known: BTreeMap<BTreeSet<Pseudonym>, Option<Place>> = BTreeMap::new();
        // While the former pseudonym is in force others may compute trees through either.
        let pseudonyms: Vec<Pseudonym> = [Some(core.own), core.former].into_iter().flatten().collect();
        let mut places = BTreeMap::new();
        for (group, members) in groups.into_iter().take(MAX_TREES) {
            let place = match known.get(&members) {
                Some(place) => place.clone(),
                None => {
                    let trees = kinds.iter().map(|(segments, trees)| {
                        let members = members.iter().filter(|member| reach_of(member) & segments != 0);
                        (*segments, trees.of(&members.copied().collect()))
                    });
                    let place = Place::of(&trees.collect::<Vec<_>>(), &pseudonyms, &neighbours);
                    known.insert(members, place.clone());
                    place
                }
            };
            places.extend(place.map(|place| (group, place)));
        }
        core.count(Counter::TreesRefused, refused as u64);
        let before = core::mem::replace(&mut self.tree.places, places);
        let mut fresh: Vec<(Pseudonym, Tag)> = Vec::new();
        for (group, place) in &self.tree.places {
            let known = |to: &Pseudonym| before.get(group).is_some_and(|place| place.joins(to));
            fresh.extend(place.branches.iter().filter(|(to, _)| !known(to)).map(|(to, _)| (*to, *group)));
        }
        for (neighbour, group) in fresh {
            self.repair.owe(neighbour, group, true, core.now.time);
        }
    }

    /// Returns the neighbours that a frame of a group and a segment is pushed to from here; `from` is the neighbour that it
    /// came from, `None` for a frame of this device.
    pub(in crate::engine) fn next_hops(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        routing: &Routing,
        (group, segment): (&Tag, u8),
        from: Option<&Pseudonym>,
        policy: &Policy,
    ) -> Vec<NextHop> {
        let all = self.broadcast.known(group);
        let leaves = neighbours.links.iter().filter(|(_, link)| !link.forwarding && (all || link.listens_to(group)));
        let leaves = leaves.map(|(_, link)| link.peer.body.key);
        let mut next: BTreeSet<Pseudonym> = BTreeSet::new();
        let mut next_hops = Vec::new();
        if core.settings.forwarding {
            let branches = self.tree.places.get(group).into_iter().flat_map(|place| &place.branches);
            next.extend(branches.filter(|(_, segments)| segments::has(*segments, segment)).map(|(to, _)| to));
            if next.is_empty() && from.is_none() && self.is_joining(core, routing, group) {
                next.extend(self.routers_at_hand(neighbours));
            }
            next.extend(leaves);
        } else if from.is_none() {
            next_hops.extend(self.next_hop_out(neighbours, policy));
            next.extend(leaves);
        }
        // A neighbour that goes on under another pseudonym takes it under that.
        let went_on: Vec<Pseudonym> = next
            .iter()
            .filter(|to| neighbours.successors.of(to).is_some_and(|successor| next.contains(&successor)))
            .copied()
            .collect();
        let others = next.into_iter().filter(|to| from != Some(to) && !went_on.contains(to));
        next_hops
            .extend(others.map(|to| NextHop { to, link: neighbours.link_under(&to, policy).map(|(link, _)| link) }));
        next_hops
    }

    /// Returns the neighbouring routers that a publication begins with while its device is in no tree: those of them
    /// that are in the tree hand it on.
    fn routers_at_hand(&self, neighbours: &Neighbours) -> BTreeSet<Pseudonym> {
        let routers = neighbours.links.iter().filter(|(_, link)| link.forwarding && link.usable);
        let mut routers: Vec<_> = routers.map(|(_, link)| (link.metrics.price, link.peer.body.key)).collect();
        routers.sort_unstable();
        routers.into_iter().map(|(_, key)| key).take(AT_HAND).collect()
    }

    /// Returns the router that a leaf hands its publications to.
    fn next_hop_out(&self, neighbours: &Neighbours, policy: &Policy) -> Option<NextHop> {
        let link = neighbours.router_under(policy);
        let router = match link {
            Some(link) => neighbours.links.get(link),
            None => neighbours.links.iter().map(|(_, link)| link).find(|link| link.forwarding),
        };
        router.map(|router| NextHop { to: router.peer.body.key, link })
    }

    /// Whether the tree of a group has yet to reach this device, though another router is a member.
    pub(in crate::engine) fn is_joining(&self, core: &Core, routing: &Routing, group: &Tag) -> bool {
        routing.link_state.lsdb.members_of(group).iter().any(|member| !core.is_own(member))
    }

    pub(in crate::engine) fn timeout_tree(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        let now = core.now.time;
        let due = self.tree.publishing.iter().filter(|(_, until)| until.is_some_and(|until| until <= now));
        let due: Vec<String> = due.map(|(group, _)| group.clone()).collect();
        for group in &due {
            if self.rest_stream(core, neighbours, routing, group) {
                self.tree.publishing.insert(group.clone(), None);
            } else {
                self.tree.publishing.remove(group);
            }
        }
        if !due.is_empty() {
            self.update_groups(core, neighbours);
        }
        if self.tree.due.is_some_and(|due| due <= now) {
            self.tree.due = None;
            self.grow_trees(core, neighbours, routing);
        }
    }

    /// Pushes a frame to next hops. Returns how many of them took it; the others are later told what is kept here. A
    /// frame that was fetched goes with the time for which it has been kept, which its receiver would otherwise take
    /// for a difference of the clocks.
    pub(in crate::engine) fn push(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        group: &Tag,
        next_hops: &[NextHop],
        kept: &Kept,
        lag: Handed,
    ) -> u32 {
        let (mut pushed, data) = (0, &kept.data);
        for NextHop { to, link } in next_hops {
            let Some(link) = *link else {
                core.count(Counter::GroupFramesWithoutWay, 1);
                self.repair.owe(*to, *group, false, core.now.time);
                continue;
            };
            if !neighbours.admits(core, link, kept.segment) {
                // It is not for that neighbour, now or later.
                core.count(Counter::GroupFramesWithoutWay, 1);
                continue;
            }
            if !neighbours.has_room(core, link, Class::Telemetry, data.len()) {
                core.count(Counter::GroupFramesPutOff, 1);
                self.repair.owe(*to, *group, false, core.now.time);
                continue;
            }
            let mut head = Vec::with_capacity(frame::HEADER + 8);
            let behind =
                lag.behind.saturating_sub(neighbours.links.get(link).map_or(0, |link| link.clocks.set_forward));
            let again =
                (lag.fetched.is_some() || behind != 0).then(|| Again::of(lag.fetched.unwrap_or_default(), behind));
            frame::begin(&mut head, if again.is_some() { Kind::GroupAgain } else { Kind::Group });
            head.extend(again.into_iter().flat_map(Again::to_bytes));
            neighbours.send_data(
                core,
                Leaving {
                    link,
                    class: Class::Telemetry,
                    frame: OutFrame::around(head, data, data),
                    after: Lsn(0),
                    until: Some(kept.until),
                },
            );
            pushed += 1;
        }
        pushed
    }

    /// Notes that this device publishes to a group.
    pub(in crate::engine) fn note_publishing(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
    ) {
        let until = core.now.time + LINGER;
        if self.tree.publishing.insert(group.to_owned(), Some(until)).is_none() {
            self.update_groups(core, neighbours);
            self.grow_trees(core, neighbours, routing);
        }
    }

    /// Handles a change of the groups that this device listens or publishes to: routers advertise it in their link
    /// state, leaves announce it to their routers.
    pub(in crate::engine) fn groups_changed(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        neighbours.links_changed = true;
        if !core.settings.forwarding {
            neighbours.announce_again(core);
        }
        self.regrow(core);
    }
}
