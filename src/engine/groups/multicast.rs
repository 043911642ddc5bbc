//! Multicast: the subscriptions on this device, the tags of their groups, and frames that wait for a publisher's
//! credential.
//!
//! ```text
//! publish ─▶ publishing ─▶ tree ─────────▶ neighbours
//!                            ▲   ╲
//! neighbours ─▶ group_frames ┘    shelf ◀─▶ repair ◀─▶ neighbours
//!                   ╰─▶ streams ─▶ subscriptions
//! ```
//!
//! **What a subscriber is promised.** It hears what each publisher publishes while it subscribes, in the publisher's
//! order, each message once and before its deadline, as far as it, or a router on the path, comes within reach until
//! then. The messages that it misses of a topic that it subscribes to are reported to it, with the next message of that
//! topic or when the publisher's stream ends, and to no other subscriber. `publishing` numbers and seals, `tree`
//! pushes, `shelf` and `repair` have missed frames fetched, `group_frames` verifies, `streams` puts in order, and
//! `missing` counts what is missing.
//!
//! A group's tag changes with the epoch: this device knows the tags of both epochs from one clock-skew allowance before
//! the boundary to one after it.
//!
//! Invariants
//! 1. A subscription sees the messages of a stream in order and each once, and none of another device that may have
//!    been handed over before this device was restarted (`heard`).
//! 2. Waiting frames, subscriptions and groups have bounds; a frame that is dropped is counted, and a subscription
//!    beyond them is refused.

use crate::engine::api::{Past, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::broadcast;
use crate::engine::groups::group_frames::Waiting;
use crate::engine::groups::past::Gather;
use crate::engine::groups::streams::Streams;
use crate::engine::neighbours::Neighbours;
use crate::id::Tag;
use crate::time::{Epoch, Time};
use crate::wire::topic;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most frames that wait for a credential, and most bytes of them. Drop policy: the newest frame of the link over which
/// most bytes came is dropped (`group_frames_without_credential`).
pub(in crate::engine) const MAX_WAITING: usize = 256;
pub(in crate::engine) const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;
/// How long a frame waits for a credential.
pub(in crate::engine) const WAIT: Duration = Duration::from_secs(3);
/// Most subscriptions of a node.
const MAX_SUBSCRIPTIONS: usize = 1_024;
/// Most groups that this device listens or publishes to at a time.
pub(in crate::engine) const MAX_GROUPS: usize = 1_024;

/// A subscription of an application on this device.
#[derive(Debug)]
pub(in crate::engine) struct Subscription {
    /// The filter: which topics it is for.
    pub filter: String,
    /// When it began: messages missed before then do not concern it.
    pub since: Time,
    /// Frames that came before this time, here or at a neighbour, are not for it. Equal to `since`, unless it asks for
    /// the past.
    pub from: Time,
    /// The version of its group's key when it began; `None` if this device had no key then.
    pub version: Option<u32>,
    /// The messages that it gathers, if it asks for the last few.
    pub gather: Option<Gather>,
}

/// The subscriptions, and the frames that wait for the credentials of their publishers.
#[derive(Debug)]
pub(in crate::engine) struct Multicast {
    subscriptions: BTreeMap<Token, Subscription>,
    by_group: BTreeMap<String, BTreeSet<Token>>,
    /// The groups with a subscription, by their tags in the current epochs.
    pub(in crate::engine) tags: BTreeMap<Tag, String>,
    /// The tags of every group that this device listens or publishes to, as last computed.
    known: BTreeMap<String, Vec<Tag>>,
    pub(in crate::engine) streams: Streams,
    pub(in crate::engine) waiting: VecDeque<Waiting>,
    next_tags: Option<Time>,
}

impl Multicast {
    pub(in crate::engine) fn new() -> Self {
        Self {
            subscriptions: BTreeMap::new(),
            by_group: BTreeMap::new(),
            tags: BTreeMap::new(),
            known: BTreeMap::new(),
            streams: Streams::new(),
            waiting: VecDeque::new(),
            next_tags: None,
        }
    }

    /// Returns the subscriptions in a group.
    pub(in crate::engine) fn listening(&self, group: &str) -> impl Iterator<Item = (Token, &Subscription)> {
        let tokens = self.by_group.get(group).into_iter().flatten();
        tokens.filter_map(|token| Some((*token, self.subscriptions.get(token)?)))
    }

    /// Returns a subscription.
    pub(in crate::engine) fn subscription(&self, token: Token) -> Option<&Subscription> {
        self.subscriptions.get(&token)
    }

    /// Returns a subscription, to be changed.
    pub(in crate::engine) fn subscription_mut(&mut self, token: Token) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(&token)
    }

    /// Returns the subscriptions that have gathered for long enough.
    pub(in crate::engine) fn gathered(&self, now: Time) -> Vec<Token> {
        let due = |one: &Subscription| one.gather.as_ref().is_some_and(|gather| gather.until <= now);
        self.subscriptions.iter().filter(|(_, one)| due(one)).map(|(token, _)| *token).collect()
    }

    /// Returns the tags of a group that this device listens or publishes to, in the current epochs.
    pub(in crate::engine) fn tags_of(&self, group: &str) -> Vec<Tag> {
        self.known.get(group).cloned().unwrap_or_default()
    }

    /// Whether there is any subscription.
    pub(in crate::engine) fn listens(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Returns the beginning of the oldest subscription in a group, or `None` if there is none.
    pub(in crate::engine) fn listens_since(&self, group: &str) -> Option<Time> {
        self.listening(group).map(|(_, subscription)| subscription.since).min()
    }

    pub(in crate::engine) fn next_wake(&self, now: Time) -> Option<Time> {
        let waiting = self.waiting.front().map(|waiting| waiting.until);
        let gathers =
            self.subscriptions.values().filter_map(|one| one.gather.as_ref()).map(|gather| gather.until).min();
        [self.streams.next_wake(now), waiting, self.next_tags, gathers].into_iter().flatten().min()
    }
}

impl Groups {
    /// Whether this device may listen or publish to a group, besides those that it listens or publishes to.
    pub(in crate::engine) fn has_room_for_group(&self, group: &str) -> bool {
        let listened = &self.multicast.by_group;
        let besides = self.tree.lately_published().filter(|published| !listened.contains_key(*published)).count();
        listened.len() + besides < MAX_GROUPS || listened.contains_key(group) || self.tree.publishes(group)
    }

    pub(in crate::engine) fn subscribe(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        token: Token,
        filter: String,
        past: Past,
    ) {
        if let Err(error) = topic::check_filter(&filter) {
            return core.finish(token, Reply::Refused(Refused::Filter(error.to_string())));
        }
        if self.multicast.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let reason = format!("a node has at most {MAX_SUBSCRIPTIONS} subscriptions");
            return core.finish(token, Reply::Refused(Refused::Full(reason)));
        }
        if !self.has_room_for_group(topic::group(&filter)) {
            return core.finish(token, Reply::Refused(Refused::Full(too_many_groups())));
        }
        let (now, from) = (core.now.time, past.from(core.now.time));
        self.listen(core, neighbours, token, &filter, past);
        core.reply(token, Reply::Ready);
        if from < now {
            self.replay(core, neighbours, token, &filter, from);
        }
    }

    /// Begins a subscription that has been checked.
    pub(in crate::engine) fn listen(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        token: Token,
        filter: &str,
        past: Past,
    ) {
        self.multicast.by_group.entry(topic::group(filter).to_owned()).or_default().insert(token);
        let (now, from) = (core.now.time, past.from(core.now.time));
        let gather = Gather::of(&past, now);
        let version = core.membership.groups().version(topic::group(filter));
        let subscription = Subscription { filter: filter.to_owned(), since: now, from, version, gather };
        self.multicast.subscriptions.insert(token, subscription);
        self.update_groups(core, neighbours);
    }

    /// Ends a subscription. Returns whether there was one.
    pub(in crate::engine) fn unsubscribe(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        token: Token,
    ) -> bool {
        let Some(subscription) = self.multicast.subscriptions.remove(&token) else { return false };
        let group = topic::group(&subscription.filter);
        if let Some(tokens) = self.multicast.by_group.get_mut(group) {
            tokens.remove(&token);
            if tokens.is_empty() {
                self.multicast.by_group.remove(group);
                self.update_groups(core, neighbours);
            }
        }
        true
    }

    pub(in crate::engine) fn timeout_multicast(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        self.give_up_waiting(core);
        self.timeout_streams(core);
        self.timeout_gathering(core);
        self.timeout_publishing(core);
        if self.multicast.next_tags.is_some_and(|at| at <= now) {
            self.update_tags(core, neighbours);
        }
    }

    /// Computes the tags of all groups anew, since an epoch or a group key has changed.
    pub(in crate::engine) fn update_tags(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        self.multicast.known.clear();
        self.update_groups(core, neighbours);
    }

    /// Finds the tags of the groups that this device listens or publishes to, in the current epochs.
    pub(in crate::engine) fn update_groups(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let (length, skew, unix) = (core.membership.bulletin().epoch_length(), core.skew(), core.now.unix);
        let present = length.epoch_at(unix);
        let mut epochs = vec![present];
        let (early, late) = (length.start(present) + skew, length.end(present) - skew);
        if unix < early {
            epochs.push(Epoch(present.0.saturating_sub(1)));
        }
        if unix >= late {
            epochs.push(Epoch(present.0 + 1));
        }
        let listened = self.multicast.by_group.keys().map(String::as_str);
        let groups: BTreeSet<&str> = listened.chain(self.tree.published()).collect();
        let keys = core.membership.groups();
        let mut before = core::mem::take(&mut self.multicast.known);
        let tags_of = |group: &str| epochs.iter().flat_map(|epoch| keys.tags(group, *epoch)).collect::<Vec<_>>();
        let known: BTreeMap<String, Vec<Tag>> = groups
            .into_iter()
            .map(|group| before.remove_entry(group).unwrap_or_else(|| (group.to_owned(), tags_of(group))))
            .collect();
        let turns = [early, late, length.end(present)].into_iter().filter(|at| *at > unix && !known.is_empty());
        let next = turns.chain(keys.next_change()).min();
        let multicast = &mut self.multicast;
        multicast.next_tags = next.map(|at| core.now.time + at.since(unix));
        let listened = known.iter().filter(|(group, _)| multicast.by_group.contains_key(*group));
        multicast.tags = listened.flat_map(|(group, tags)| tags.iter().map(move |tag| (*tag, group.clone()))).collect();
        multicast.known = known;
        // All listen to broadcasts, and nobody has to be told.
        let own = self.multicast.known.iter().filter(|(group, _)| *group != broadcast::GROUP);
        let own: BTreeSet<Tag> = own.flat_map(|(_, tags)| tags).copied().collect();
        if own != neighbours.own_groups {
            neighbours.own_groups = own;
            self.groups_changed(core, neighbours);
        }
    }
}

/// The reason for which one more group is refused.
pub(in crate::engine) fn too_many_groups() -> String {
    format!(
        "a node listens and publishes to at most {MAX_GROUPS} groups at a time; one that is not published to counts for ten minutes"
    )
}
