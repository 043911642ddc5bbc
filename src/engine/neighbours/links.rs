//! Links: the links that are up, who is at their other end, and when they must be closed.
//!
//! Invariants
//! 1. A link's credential has been verified, at admission or at its last refresh; a refresh that does not verify closes
//!    the link.
//! 2. Of several links to one device each frame takes the one that its policy ranks best (see `link_metrics`).
//! - The key of a link's credential is the key that the link was admitted with.
//! - A link whose credential has lapsed is closed.

use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::clocks::Clocks;
use crate::engine::neighbours::fragments::Leaving;
use crate::event_log::Event;
use crate::id::{Handle, LinkId, Name, Pseudonym, Tag};
use crate::identity::credential::PeerCredential;
use crate::link::duty::Use;
use crate::routing::graph::Metrics;
use crate::wire::data::Class;
use crate::wire::frame::{self, Kind};
use std::collections::BTreeMap;

/// A link, and the neighbour at its other end.
#[derive(Debug)]
pub(in crate::engine) struct Link {
    /// The pseudonym of this device that the link is under.
    pub own: Pseudonym,
    /// The neighbour's present credential.
    pub peer: PeerCredential,
    /// The neighbour's name, if it is a contact.
    pub name: Option<Name>,
    /// What the link accepts no data of for now.
    pub blocked: Blocked,
    /// How the neighbour's clock differs from this device's.
    pub clocks: Clocks,
    /// The addresses at which the neighbour listens, as it says.
    pub addresses: Vec<Vec<u8>>,
    /// Number of the bearer that carries it.
    pub bearer: u8,
    /// Whether the neighbour does not answer.
    pub silent: bool,
    /// The price that a lab has set, in micro-units per MB.
    pub price: Option<u64>,
    /// The metrics of the link, from this device to the neighbour.
    pub metrics: Metrics,
    /// Whether it may carry data now.
    pub usable: bool,
    /// Whether the neighbour forwards for others, as it says.
    pub forwarding: bool,
    /// The area that the neighbour is in, as it says.
    pub area: u32,
    /// The number of the neighbour's process, once it has announced it.
    pub process: Option<u64>,
    /// What a leaf offers and listens to, by tags.
    pub tags: LeafTags,
}

/// Classes of which a link accepts no data, each with all that are less urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Blocked {
    /// Those for which its queues have no room.
    pub full: Option<Class>,
    /// Those of which messages are held until the bearer may carry them.
    pub held: Option<Class>,
}

/// What a leaf has its routers advertise for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct LeafTags {
    /// The services that it offers.
    pub services: Vec<Tag>,
    /// The groups that it listens to, in ascending order.
    pub groups: Vec<Tag>,
}

impl Link {
    /// Whether the link accepts data of a class now.
    pub(in crate::engine) fn takes(&self, class: Class) -> bool {
        [self.blocked.full, self.blocked.held].into_iter().flatten().all(|blocked| class < blocked)
    }

    /// Whether the neighbour, a leaf, listens to a group.
    pub(in crate::engine) fn listens_to(&self, group: &Tag) -> bool {
        self.tags.groups.binary_search(group).is_ok()
    }
}

/// All links, bounded by the network's `max_links`.
#[derive(Debug, Default)]
pub(in crate::engine) struct Links {
    links: BTreeMap<LinkId, Link>,
    by_key: BTreeMap<Pseudonym, Vec<LinkId>>,
    by_name: BTreeMap<Name, Vec<LinkId>>,
}

impl Links {
    pub(in crate::engine) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub(in crate::engine) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// Notes that this device's clock was set forward by `by` microseconds: the offsets of hellos refer to the clock as
    /// it was before.
    pub(in crate::engine) fn handle_clock_step(&mut self, by: i64) {
        for link in self.links.values_mut() {
            link.clocks.set_forward = link.clocks.set_forward.saturating_add(by);
        }
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    pub(in crate::engine) fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// The link to the device of that name that was added or named last.
    pub(in crate::engine) fn to(&self, name: &Name) -> Option<(LinkId, &Link)> {
        let id = *self.by_name.get(name)?.last()?;
        self.links.get(&id).map(|link| (id, link))
    }

    /// The links to a neighbour, the oldest first.
    pub(in crate::engine) fn of(&self, key: &Pseudonym) -> impl Iterator<Item = (LinkId, &Link)> {
        let ids = self.by_key.get(key).into_iter().flatten();
        ids.filter_map(|id| self.links.get(id).map(|link| (*id, link)))
    }

    /// All neighbours, each once.
    pub(in crate::engine) fn neighbours(&self) -> impl Iterator<Item = &Pseudonym> {
        self.by_key.keys()
    }

    /// A link to the neighbour with that handle.
    pub(in crate::engine) fn by_handle(&self, handle: &Handle) -> Option<&Link> {
        self.links.values().find(|link| link.peer.body.handle == *handle)
    }

    pub(in crate::engine) fn set_blocked(&mut self, link: LinkId, full: Option<Class>) {
        if let Some(link) = self.links.get_mut(&link) {
            link.blocked.full = full;
        }
    }

    pub(in crate::engine) fn insert(&mut self, id: LinkId, link: Link) {
        if let Some(name) = &link.name {
            self.by_name.entry(name.clone()).or_default().push(id);
        }
        self.by_key.entry(link.peer.body.key).or_default().push(id);
        self.links.insert(id, link);
    }

    pub(in crate::engine) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.unname(id, link.name.as_ref());
        if let Some(ids) = self.by_key.get_mut(&link.peer.body.key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&link.peer.body.key);
            }
        }
        Some(link)
    }

    fn unname(&mut self, id: LinkId, name: Option<&Name>) {
        if let Some(name) = name
            && let Some(ids) = self.by_name.get_mut(name)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    pub(in crate::engine) fn rename(&mut self, id: LinkId, name: Option<Name>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.name == name {
            return;
        }
        let old = core::mem::replace(&mut link.name, name.clone());
        self.unname(id, old.as_ref());
        if let Some(name) = name {
            self.by_name.entry(name).or_default().push(id);
        }
    }
}

impl Neighbours {
    /// Records that two processes have one identity: that of a link's neighbour, or this device's own if `link` is
    /// `None`.
    pub(in crate::engine) fn handle_twins(&mut self, core: &mut Core, link: Option<LinkId>, addresses: Vec<String>) {
        let name = match link {
            Some(link) => self.links.get(link).and_then(|link| link.name.clone()),
            None => Some(core.membership.name().clone()),
        };
        core.record(Event::Twins { name, addresses });
    }

    pub(in crate::engine) fn close(&mut self, core: &mut Core, id: LinkId, reason: &str) {
        core.outputs.push_back(Output::Close { link: id, reason: reason.to_owned() });
    }

    /// Queues a control frame.
    pub(in crate::engine) fn send_control<T: serde::Serialize>(
        &mut self,
        core: &mut Core,
        link: LinkId,
        kind: Kind,
        body: &T,
    ) {
        self.send_frame(core, link, frame::of(kind, body));
    }

    /// Queues a frame in the control class that depends on no commit.
    pub(in crate::engine) fn send_frame(&mut self, core: &mut Core, link: LinkId, frame: Vec<u8>) {
        self.leave(core, Leaving::at_once(link, Class::Control, frame.into()), Use::Mesh);
    }

    pub(in crate::engine) fn name_of(&mut self, core: &mut Core, handle: &Handle) -> Option<Name> {
        let unix = core.now.unix;
        core.membership.contacts().resolve(handle, unix).map(|card| card.name.clone())
    }
}
