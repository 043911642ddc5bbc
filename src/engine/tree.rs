//! Groups over several hops: who has to carry a group's frames, and over which links they go that carry no gossip.
//!
//! **Mechanism.** Routers tell in their link state which groups they, or their leaves, listen to or publish to. From the
//! same database every router computes the same tree between a group's members. A router that stands in it without being
//! a member is a *connector*: it listens to the group's gossip topic as a member does, so that gossip, which goes from
//! neighbour to neighbour, reaches all of them. Where an edge of the tree has a link that carries no gossip, since it is
//! metered, its two ends hand the frames over it themselves: of several links between them, whoever publishes takes the
//! one that the publication's policy likes best, and none over a bearer that the policy avoids. A group frame tells no policy,
//! so relays take the one that `balanced` likes best. A leaf stands in no tree: over such links each of its routers hands it what
//! it listens to, and it hands what it publishes to one of them.
//!
//! Trees are made anew a moment after the network or a group has changed, not at each of many changes in a row.
//!
//! Invariants
//! 1. A frame goes over such a link once in each direction, by its hash.
//! 2. At most [`MAX_TREES`] groups and [`MAX_SEEN`] frames are remembered; drop policy: groups beyond are not carried for
//!    others (`trees_refused`), the hash learnt first is forgotten.

use super::Engine;
use super::segments::bits;
use super::share::Shares;
use crate::counter::Counter;
use crate::id::{LinkId, Lsn, Pseudonym, Tag};
use crate::identity::kdf;
use crate::routing::tree;
use crate::time::{Epoch, Time};
use crate::wire::data::{Class, Policy};
use crate::wire::frame::{self, Kind};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most groups whose trees are kept.
pub(super) const MAX_TREES: usize = 1_024;
/// Most frames remembered. Drop policy: of the neighbour that most came from, the one that came first is forgotten.
pub(super) const MAX_SEEN: usize = 4_096;
/// How long after a change trees are made anew.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a device counts as a member after it has published.
const LINGER: Duration = Duration::from_secs(600);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Trees {
    /// Groups that this node carries, with its neighbours in their trees.
    branches: BTreeMap<Tag, Vec<Pseudonym>>,
    due: Option<Time>,
    /// Frames that have been here, by the neighbour that they came from first.
    pub(super) seen: Shares<[u8; 8], Option<Pseudonym>>,
    /// Groups that are published to here, and until when they count.
    publishing: BTreeMap<String, Time>,
}

impl Default for Trees {
    fn default() -> Self {
        let seen = Shares::new(MAX_SEEN);
        Self { branches: BTreeMap::new(), due: None, seen, publishing: BTreeMap::new() }
    }
}

impl Trees {
    pub(super) fn next_wake(&self) -> Option<Time> {
        [self.due, self.publishing.values().min().copied()].into_iter().flatten().min()
    }

    /// Groups carried.
    pub(super) fn carried(&self) -> impl Iterator<Item = &Tag> {
        self.branches.keys()
    }

    /// Whether a frame is new here.
    fn is_new(&mut self, from: Option<Pseudonym>, data: &[u8]) -> bool {
        let full = kdf::sha256(&[data]);
        let mut short = [0; 8];
        short.copy_from_slice(&full[..8]);
        let known = self.seen.contains(&short);
        if !known {
            self.seen.enter(from, short);
        }
        !known
    }
}

impl Engine {
    /// The network or a group has changed.
    pub(super) fn regrow(&mut self) {
        let at = self.now.time + SETTLE;
        self.tree.due.get_or_insert(at);
    }

    pub(super) fn timeout_tree(&mut self) {
        let now = self.now.time;
        let before = self.tree.publishing.len();
        self.tree.publishing.retain(|_, until| *until > now);
        if self.tree.publishing.len() < before {
            self.groups_changed();
        }
        if self.tree.due.is_some_and(|due| due <= now) {
            self.tree.due = None;
            self.grow_trees();
        }
    }

    fn grow_trees(&mut self) {
        if !self.settings.forwarding {
            return;
        }
        let groups = self.routing.lsdb.groups();
        if groups.is_empty() && self.tree.branches.is_empty() {
            return;
        }
        let graph = {
            let multicast = &self.multicast;
            self.routing.lsdb.told_graph(&|hash| multicast.pseudonym(hash))
        };
        let trees = tree::Trees::new(&graph);
        let refused = groups.len().saturating_sub(MAX_TREES);
        let mut branches = BTreeMap::new();
        for group in groups.into_iter().take(MAX_TREES) {
            let members = self.routing.lsdb.members_of(&group).into_iter().collect();
            let tree = trees.of(&members);
            if tree.holds(&self.own) {
                branches.insert(group, tree.branches(&self.own).iter().map(|branch| branch.to).collect());
            }
        }
        self.count(Counter::TreesRefused, refused as u64);
        if self.tree.branches != branches {
            self.tree.branches = branches;
            self.update_topics();
        }
    }

    /// Hands a frame of a group to those next to us that it concerns and that no gossip reaches, and answers to how many.
    pub(super) fn carry(&mut self, group: &Tag, from: Option<LinkId>, policy: &Policy, data: &[u8]) -> u32 {
        let ways = match (self.settings.forwarding, from) {
            (true, _) => self.ways_on(group, from, policy),
            (false, None) => self.way_out(policy),
            (false, Some(_)) => return 0,
        };
        let links: Vec<LinkId> = ways.iter().flatten().copied().collect();
        let source = from.and_then(|link| self.links.get(link)).map(|link| link.peer.body.key);
        if !links.is_empty() && !self.tree.is_new(source, data) {
            return 0;
        }
        self.count(Counter::GroupFramesWithoutWay, (ways.len() - links.len()) as u64);
        for link in &links {
            self.send_data(*link, Class::Telemetry, frame::raw(Kind::Group, data).into(), Lsn(0));
        }
        u32::try_from(links.len()).unwrap_or(u32::MAX)
    }

    /// A router's: to its neighbours in the tree, and to its leaves that listen.
    fn ways_on(&self, group: &Tag, from: Option<LinkId>, policy: &Policy) -> Vec<Option<LinkId>> {
        let source = from.and_then(|link| self.links.get(link)).map(|link| link.peer.body.key);
        let branches = self.tree.branches.get(group).into_iter().flatten();
        let leaves = self.links.iter().filter(|(_, link)| {
            !link.forwarding && self.worth.bearer(link.bearer).metered && link.groups.contains(group)
        });
        let next: BTreeSet<&Pseudonym> = branches.chain(leaves.map(|(_, link)| &link.peer.body.key)).collect();
        let silent = next.into_iter().filter(|key| Some(**key) != source && !self.gossips_with(key));
        silent.map(|key| self.link_under(key, policy).map(|(link, _)| link)).collect()
    }

    /// A leaf's: to one router, unless gossip reaches one.
    fn way_out(&self, policy: &Policy) -> Vec<Option<LinkId>> {
        let mut routers = self.links.iter().filter(|(_, link)| link.forwarding).peekable();
        if routers.peek().is_none() || routers.any(|(_, link)| self.gossips_with(&link.peer.body.key)) {
            return Vec::new();
        }
        vec![self.router_under(policy)]
    }

    /// Whether gossip may yet reach somebody next to us in a group's tree, or the tree has yet to be grown.
    pub(super) fn gossip_joins(&self, group: &Tag) -> bool {
        let branches = self.tree.branches.get(group).filter(|branches| !branches.is_empty());
        branches.is_none_or(|branches| branches.iter().any(|key| self.gossips_with(key)))
    }

    /// Whether gossip runs over some link to a neighbour.
    fn gossips_with(&self, neighbour: &Pseudonym) -> bool {
        self.links.of(neighbour).any(|(_, link)| link.usable && !self.worth.bearer(link.bearer).metered)
    }

    /// Tags of the groups that this device listens to, or publishes to: what its link state, or its routers, tell.
    pub(super) fn own_groups(&self) -> BTreeSet<Tag> {
        let length = self.membership.bulletin().epoch_length();
        let present = length.epoch_at(self.now.unix);
        let keys = self.membership.groups();
        let published = self.tree.publishing.keys().flat_map(|group| keys.tags(group, present));
        self.multicast.tags.keys().copied().chain(published).collect()
    }

    /// This device publishes to a group.
    pub(super) fn note_publishing(&mut self, group: &str) {
        let until = self.now.time + LINGER;
        if self.tree.publishing.insert(group.to_owned(), until).is_none() {
            self.groups_changed();
        }
    }

    /// What this device listens to or publishes to has changed: routers tell it in their link state, leaves their routers.
    pub(super) fn groups_changed(&mut self) {
        self.routing.links_changed = true;
        if !self.settings.forwarding {
            self.announce_again();
        }
        self.regrow();
    }

    /// The tag of a group in the present epoch.
    pub(super) fn tag_of(&self, group: &str) -> Tag {
        let epoch: Epoch = self.membership.bulletin().epoch_length().epoch_at(self.now.unix);
        self.membership.groups().tag(group, epoch)
    }

    /// Gossip topics of groups that are carried for others: those whose trees we stand in, and those of our leaves.
    pub(super) fn carried_topics(&self) -> BTreeSet<String> {
        let keys = self.membership.groups();
        let leaves = self.links.iter().filter(|(_, link)| !link.forwarding).flat_map(|(_, link)| &link.groups);
        let carried: BTreeSet<&Tag> =
            if self.settings.forwarding { self.tree.carried().chain(leaves).collect() } else { BTreeSet::new() };
        let reach = self.own_reach();
        carried.into_iter().flat_map(|tag| bits(reach).flat_map(move |segment| keys.topics(tag, segment))).collect()
    }
}
