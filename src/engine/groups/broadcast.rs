//! Broadcast: messages to the inbox of every device of the area.
//!
//! **Mechanism.** A broadcast is a publication in a group of its own, [`GROUP`], of which every device is a member without
//! advertising it: its key follows from the root group's key. It goes along a tree of all routers ([`span`](super::tree)) and to
//! all leaves, instead of over every link. Who sends needs the role `broadcast` in its credential; every node that has such a
//! frame in hands checks that, and hands on no more frames of one credential than the rate allows. A receiver puts the message into its
//! inbox, as if it had been sent to it alone.
//!
//! **Narrowed.** If only one other device is within reach, the message is sent to that one, and is one like any other. What is taken instead of a
//! flood is recorded, with what both cost in transmissions.
//!
//! Invariants
//! 1. No broadcast is handed on, kept or opened whose sender has not the role (`broadcasts_forbidden`).
//! 2. Of one sender no more is handed on and taken than [`BURST`] at once and then one every [`EVERY`], twice as much as it may
//!    send. What is beyond is dropped (`broadcasts_refused`).
//! - At most [`MAX_SENDERS`] rates are known. Drop policy: those that are as new are forgotten, then the newest is refused.

use crate::counter::Counter;
use crate::engine::api::{Broadcast, Past, Published, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::tree::Reach;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::event_log::Event;
use crate::id::{CredentialHash, Name, Tag};
use crate::time::{Epoch, Time};
use crate::wire::credential::Role;
use crate::wire::topic;
use core::time::Duration;
use std::collections::BTreeMap;

/// The group of broadcasts.
pub const GROUP: &str = "$all";
/// The subscription of the device itself.
pub(super) const OWN: Token = Token(u64::MAX);
/// Broadcasts of one sender that are taken at once.
const BURST: u32 = 8;
/// How often one more is taken.
const EVERY: Duration = Duration::from_secs(5);
/// Senders whose rates are known.
const MAX_SENDERS: usize = 1_024;
/// How long tags are taken for those of the present.
const TAGS: Duration = Duration::from_secs(5);

/// How much each of many has used of a rate.
#[derive(Debug)]
struct Rates<K> {
    /// When each has nothing used any more.
    used: BTreeMap<K, Time>,
    burst: u32,
    every: Duration,
}

impl<K: Ord> Rates<K> {
    fn new(burst: u32, every: Duration) -> Self {
        Self { used: BTreeMap::new(), burst, every }
    }

    /// Whether one more is within the rate. It is counted if it is.
    fn admit(&mut self, of: K, now: Time) -> bool {
        if self.used.len() >= MAX_SENDERS {
            self.used.retain(|_, until| *until > now);
        }
        let until = self.used.get(&of).copied().unwrap_or(now).max(now);
        let fits = until.since(now) <= self.every * (self.burst - 1);
        let room = self.used.len() < MAX_SENDERS || self.used.contains_key(&of);
        if fits && room {
            self.used.insert(of, until + self.every);
        }
        fits && room
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Broadcasts {
    tags: Vec<Tag>,
    tags_until: Time,
    frames: Rates<CredentialHash>,
    messages: Rates<Name>,
    own: Rates<()>,
    /// What has come for this device, and is to be put into its inbox.
    pub(in crate::engine) arrived: Vec<Published>,
}

impl Default for Broadcasts {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            tags_until: Time::default(),
            frames: Rates::new(BURST, EVERY),
            messages: Rates::new(BURST, EVERY),
            own: Rates::new(BURST / 2, EVERY * 2),
            arrived: Vec::new(),
        }
    }
}

impl Broadcasts {
    /// Whether a frame of this group is for every device.
    pub(super) fn is(&mut self, core: &Core, group: &Tag) -> bool {
        let now = core.now.time;
        if now >= self.tags_until {
            let present = core.membership.bulletin().epoch_length().epoch_at(core.now.unix);
            let epochs = [present.0.saturating_sub(1), present.0, present.0 + 1];
            let keys = core.membership.groups();
            self.tags = epochs.iter().flat_map(|epoch| keys.tags(GROUP, Epoch(*epoch))).collect();
            self.tags_until = now + TAGS;
        }
        self.tags.contains(group)
    }

    /// Whether a frame goes to all leaves, as far as was looked at last.
    pub(super) fn known(&self, group: &Tag) -> bool {
        self.tags.contains(group)
    }

    /// Whether a frame of a sender is within its rate.
    pub(super) fn admit(&mut self, core: &mut Core, sender: CredentialHash) -> bool {
        let admitted = self.frames.admit(sender, core.now.time);
        core.count(Counter::BroadcastsRefused, u64::from(!admitted));
        admitted
    }

    /// A broadcast has come for this device.
    pub(super) fn take(&mut self, core: &mut Core, published: Published) {
        let own = core.membership.name();
        match &published.from {
            Some(from) if from == own => {}
            Some(from) if self.messages.admit(from.clone(), core.now.time) => self.arrived.push(published),
            // An inbox knows its senders by name.
            _ => core.count(Counter::BroadcastsRefused, 1),
        }
    }
}

/// How a broadcast is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Way {
    /// To this device, since it is the only one.
    One(Name),
    /// Along the tree; it may be confirmed by so many.
    All(u32),
}

impl Groups {
    /// Listens to broadcasts, from the first one on.
    pub(super) fn hear_broadcasts(&mut self, core: &mut Core, neighbours: &mut Neighbours, came: Time) {
        if self.multicast.subscription(OWN).is_none() {
            self.listen(core, neighbours, OWN, "$all/#", Past::default());
            // The first one may have waited for its sender's credential.
            if let Some(subscription) = self.multicast.subscription_mut(OWN) {
                (subscription.since, subscription.from) = (came, came);
            }
        }
    }

    /// Decides how a broadcast is sent; `None` if it is refused, and the application has been told.
    pub(in crate::engine) fn narrow(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
    ) -> Option<Way> {
        if !core.credential().is_some_and(|own| own.body.has_role(Role::Broadcast)) {
            core.finish(token, Reply::Refused(Refused::NoBroadcast));
            return None;
        }
        if !self.broadcast.own.admit((), core.now.time) {
            let (most, every) = (BURST / 2, (EVERY * 2).as_secs());
            let reason = format!("a device broadcasts at most {most} messages at once, and then one every {every} s");
            core.count(Counter::BroadcastsRefused, 1);
            core.finish(token, Reply::Refused(Refused::Full(reason)));
            return None;
        }
        let Reach { devices, tree, flood } = self.reach(core, neighbours, routing);
        let count = |count: usize| count as u64;
        let one = (devices == 1).then(|| self.only_one(core, neighbours, routing)).flatten();
        if devices > 0 {
            let to = if one.is_some() { "unicast" } else { "multicast" }.to_owned();
            let (receivers, transmissions, flood) = (count(devices), count(tree), count(flood));
            core.record(Event::BroadcastNarrowed { to, receivers, transmissions, flood });
        }
        Some(one.map_or(Way::All(u32::try_from(devices).unwrap_or(u32::MAX)), Way::One))
    }

    /// The name of the only other device, if it is a contact.
    fn only_one(&self, core: &mut Core, neighbours: &Neighbours, routing: &Routing) -> Option<Name> {
        let entries = routing.link_state.lsdb.entries();
        let routers = entries.filter(|entry| !core.is_own(&entry.router) && !entry.lsa.leaving);
        let named = routers.filter_map(|entry| routing.link_state.name_of_router(&entry.router).cloned());
        let named: Vec<Name> = named.chain(neighbours.links.iter().filter_map(|(_, link)| link.name.clone())).collect();
        let first = named.first()?.clone();
        (named.iter().all(|name| *name == first) && core.membership.contacts().get(&first).is_some()).then_some(first)
    }

    /// Publishes a broadcast, which as many as `confirm` says may confirm.
    pub(in crate::engine) fn broadcast(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (token, confirm): (Token, Option<u32>),
        broadcast: Broadcast,
    ) {
        let Broadcast { payload, ack: _, policy, lifetime } = broadcast;
        let topic = format!("{GROUP}/message");
        let checked = self.check_publication(core, token, (&topic, &payload), policy.as_deref(), lifetime);
        let Some((send_policy, lifetime)) = checked else { return };
        let how = (token, confirm, false);
        self.publish(core, neighbours, routing, how, None, (topic, payload), send_policy, lifetime);
    }

    /// Grows the tree of all routers, if a group is that of broadcasts.
    pub(super) fn span_for(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
    ) {
        if topic::group(group) == GROUP {
            let tag = self.tag_of(core, group);
            self.broadcast.is(core, &tag);
            self.span(core, neighbours, routing, tag);
        }
    }
}
