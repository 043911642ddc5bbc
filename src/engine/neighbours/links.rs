//! Neighbours: the links that are up, who is at their other end, and when they must close.
//!
//! Invariants
//! 1. A link's credential has been verified, at admission or at its last refresh, and its key is the link's.
//! 2. A link whose credential has lapsed is closed.
//! 3. Of several links to one device each message takes the one that its policy likes best (see `link_metrics`).

use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::event_log::Event;
use crate::id::{Handle, LinkId, Name, Pseudonym, Tag};
use crate::identity::credential::PeerCredential;
use crate::routing::graph::Metrics;
use crate::wire::frame::{self, Kind};
use core::time::Duration;
use std::collections::BTreeMap;

/// A neighbour.
#[derive(Debug)]
pub(in crate::engine) struct Link {
    /// Its present credential.
    pub peer: PeerCredential,
    /// Its name, if it is a contact.
    pub name: Option<Name>,
    /// Takes no data for now.
    pub blocked: bool,
    /// Its clock less ours in microseconds as of the hello, where they differ by more than that can tell; else 0.
    pub clock_offset: i64,
    /// By how many microseconds this device's clock was set forward since the hello.
    pub set_forward: i64,
    /// By how many its own was, as it says.
    pub theirs_set_forward: i64,
    /// Where it listens, as it says.
    pub addresses: Vec<Vec<u8>>,
    /// Number of the bearer that carries it.
    pub bearer: u8,
    /// It was asked and does not answer.
    pub silent: bool,
    /// What a lab says that it costs, in micro-units per MB.
    pub price: Option<u64>,
    /// What it is worth, in our direction.
    pub metrics: Metrics,
    /// Whether it may carry data now.
    pub usable: bool,
    /// Whether the neighbour forwards for others, as it says.
    pub forwarding: bool,
    /// The area that it is in.
    pub area: u32,
    /// Number of its process, as it says, once it has said so.
    pub process: Option<u64>,
    /// What a leaf offers, and listens to.
    pub services: Vec<Tag>,
    pub groups: Vec<Tag>,
}

impl Link {
    /// Its clock less ours in microseconds, where they differ by more than a hello can tell; else 0.
    pub(in crate::engine) fn clock(&self) -> i64 {
        moved(self.clock_offset, self.theirs_set_forward.saturating_sub(self.set_forward))
    }

    /// The same of its clock as it would go if nobody had set it since its hello. What it says of publishers' clocks is by that, so that it
    /// does not matter what of it was under way when the clock was set.
    pub(in crate::engine) fn clock_of_hello(&self) -> i64 {
        moved(self.clock_offset, self.set_forward.saturating_neg())
    }

    /// Whether the neighbour, a leaf, listens to a group.
    pub(in crate::engine) fn listens_to(&self, group: &Tag) -> bool {
        self.groups.binary_search(group).is_ok()
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

    /// This device's clock was set, forward by so many microseconds: what hellos have told of others' was by the old one.
    pub(in crate::engine) fn handle_clock_step(&mut self, by: i64) {
        for link in self.links.values_mut() {
            link.set_forward = link.set_forward.saturating_add(by);
        }
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    pub(in crate::engine) fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// The link that carries messages to a device.
    pub(in crate::engine) fn to(&self, name: &Name) -> Option<(LinkId, &Link)> {
        let id = *self.by_name.get(name)?.last()?;
        self.links.get(&id).map(|link| (id, link))
    }

    /// Links to a neighbour, the oldest first.
    pub(in crate::engine) fn of(&self, key: &Pseudonym) -> impl Iterator<Item = (LinkId, &Link)> {
        let ids = self.by_key.get(key).into_iter().flatten();
        ids.filter_map(|id| self.links.get(id).map(|link| (*id, link)))
    }

    /// Neighbours, each once.
    pub(in crate::engine) fn neighbours(&self) -> impl Iterator<Item = &Pseudonym> {
        self.by_key.keys()
    }

    /// A link to the neighbour with that handle.
    pub(in crate::engine) fn by_handle(&self, handle: &Handle) -> Option<&Link> {
        self.links.values().find(|link| link.peer.body.handle == *handle)
    }

    pub(in crate::engine) fn set_blocked(&mut self, link: LinkId, blocked: bool) {
        if let Some(link) = self.links.get_mut(&link) {
            link.blocked = blocked;
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
    /// Two processes have one identity.
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

    /// Queues a frame that waits for nothing, in the control class.
    pub(in crate::engine) fn send_frame(&mut self, core: &mut Core, link: LinkId, frame: Vec<u8>) {
        core.outputs.push_back(Output::Send {
            link,
            class: crate::wire::data::Class::Control,
            frame: frame.into(),
            after: crate::id::Lsn(0),
            until: None,
        });
    }

    pub(in crate::engine) fn name_of(&mut self, core: &mut Core, handle: &Handle) -> Option<Name> {
        let unix = core.now.unix;
        core.membership.contacts().resolve(handle, unix).map(|card| card.name.clone())
    }
}

/// How far another's clock is from this one in microseconds, where a hello can tell, which was written at most so long ago. It may say
/// anything. Of what it may be this is the most: what comes from there is of use no longer than it should be.
pub(in crate::engine) fn clock_offset(theirs: u64, ours: u64, age: Duration) -> i64 {
    let seconds = |seconds| i64::try_from(seconds).unwrap_or(i64::MAX);
    let least = seconds(theirs).saturating_sub(seconds(ours));
    let most = least.saturating_add(seconds((age + Duration::from_millis(500)).as_secs()));
    let differs = least > HELLO_PRECISION || most < -HELLO_PRECISION;
    if differs { most.saturating_mul(1_000_000) } else { 0 }
}

/// How far another's clock is from this one when it was set forward by so much against this one: the most that it may be, as above.
fn moved(offset: i64, by: i64) -> i64 {
    let precision = HELLO_PRECISION * 1_000_000;
    let unknown = if offset == 0 && by != 0 { precision } else { 0 };
    let most = offset.saturating_add(by).saturating_add(unknown);
    if most.saturating_abs() > precision { most } else { 0 }
}

/// Clock differences that a hello, which tells whole seconds, cannot distinguish from none.
const HELLO_PRECISION: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_say_anything() {
        let at_once = |theirs, ours| clock_offset(theirs, ours, Duration::ZERO);
        assert_eq!([at_once(1_001, 1_000), at_once(1_010, 1_000)], [0, 10_000_000]);
        assert_eq!(at_once(990, 1_000), -10_000_000);
        for theirs in [u64::MAX, 1 << 63, (1 << 63) - 1] {
            assert_eq!(at_once(theirs, 1_700_000_000), i64::MAX);
        }
        assert_eq!(at_once(0, u64::MAX), i64::MIN);
    }

    #[test]
    fn a_clock_that_is_set_is_further_from_others_or_right_again() {
        let second = 1_000_000;
        assert_eq!(
            [moved(0, -3 * second), moved(0, -100 * second), moved(0, 100 * second)],
            [0, -98 * second, 102 * second]
        );
        assert_eq!([moved(0, 0), moved(100 * second, -100 * second)], [0, 0]);
        assert_eq!(moved(i64::MIN, i64::MIN), i64::MIN);
    }

    #[test]
    fn a_hello_that_was_long_under_way_says_nothing_of_clocks() {
        let age = Duration::from_millis(3_700);
        assert_eq!([clock_offset(996, 1_000, age), clock_offset(994, 1_000, age)], [0, 0]);
        // It is behind by ten seconds, or six; ahead by ten, or fourteen.
        assert_eq!(clock_offset(990, 1_000, age), -6_000_000);
        assert_eq!(clock_offset(1_010, 1_000, age), 14_000_000);
    }
}
