//! Handing on: kept mail goes to its receiver as soon as there is a way, in the order of its class and at a rate of its own.
//!
//! A receiver that wakes, or a part of the network that is joined again, is not met with a wave: of a box one mail leaves each
//! [`PACE`], and no more than [`WINDOW`] are under way that the next one has not stated to have. What is more urgent leaves first, also if
//! it came later. The links are shared with all that is sent now, by class; those that take nothing now are looked at less and less often.
//!
//! The receiver is found by its name, if it is a contact, whatever handle the header names; otherwise by that handle, which
//! serves for its epoch. A custodian that is none of the receiver's parents hands its mail on to one of these when it knows one: of a
//! receiver that is no contact, those that advertise the box that the header names.
//!
//! Invariants
//! 1. A mail that is under way is not handed on again before [`PATIENCE`] is over.

use super::awaited::{Entry, Held};
use super::statements::MAX_SHUNNED;
use super::{Shunned, key};
use crate::counter::Counter;
use crate::delivery::mailbox::Owner;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::{of_use_until, put_data};
use crate::engine::store::{Table, Write};
use crate::id::{Handle, LinkId, Lsn, Name, Pseudonym};
use crate::routing::policy::Wants;
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::data::{Class, Header, Path};
use core::time::Duration;

/// From one mail of a box to the next.
const PACE: Duration = Duration::from_millis(20);
/// The most mails of a box that are under way.
const WINDOW: usize = 8;
/// How often the time between two looks at links that take nothing now doubles, from [`PACE`]: up to 160 ms.
const MOST_DOUBLINGS: u32 = 3;
/// How long the next one has to state that it has a mail.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon ways are looked for again, if nothing changes.
const LOOK: Duration = Duration::from_secs(30);
/// The most mails of a box that are looked at for one that has a way.
const MOST_TRIED: usize = 64;

/// What came of looking into a box.
enum Tried {
    /// One has left.
    Left,
    /// There is a way, but not now.
    Later,
    /// There is no way.
    NoWay,
}

impl Messages {
    /// Lets go of mail whose time is over, and hands on what has a way.
    pub(in crate::engine) fn timeout_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        for (number, _) in self.mail.mailbox.expire(core.now.unix) {
            core.count(Counter::MailExpired, 1);
            core.journal.write(Write::Delete { table: Table::Mail, key: key(number) });
        }
        self.mail.paced.retain(|_, next| *next > core.now.time);
        let back = self.mail.mailbox.take_back(core.now.time);
        let due = self.mail.due.is_some_and(|due| due <= core.now.time);
        if !(core::mem::take(&mut self.mail.changed) || back || due) {
            return;
        }
        let owners: Vec<Owner> = self.mail.mailbox.owners().cloned().collect();
        let (mut soon, mut later, waits) = (false, false, !owners.is_empty());
        for owner in owners {
            if self.mail.paced.contains_key(&owner) {
                soon = true;
                continue;
            }
            if self.mail.mailbox.under_way(&owner) >= WINDOW {
                continue;
            }
            match self.hand_on(core, neighbours, routing, &owner) {
                Tried::Left => soon = true,
                Tried::Later => later = true,
                Tried::NoWay => {}
            }
        }
        self.mail.put_off = if later && !soon { (self.mail.put_off + 1).min(MOST_DOUBLINGS) } else { 0 };
        let pause = if soon || later { PACE * (1 << self.mail.put_off) } else { LOOK };
        self.mail.due = waits.then(|| core.now.time + pause);
    }

    /// Hands on the first mail of a box that has a way.
    fn hand_on(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing, owner: &Owner) -> Tried {
        // Of a contact all mail takes one way; of others each has its own.
        let most = if owner.is_some() { 1 } else { MOST_TRIED };
        let first: Vec<u64> = self.mail.mailbox.waiting(owner).take(most).map(|(number, _)| number).collect();
        for number in first {
            let Some(item) = self.mail.mailbox.get(number) else { continue };
            let Ok(header) = wire::decode::<Header>(&item.frame.header) else { continue };
            let bytes = item.bytes;
            let Some((link, mut path)) = self.way_on(core, neighbours, routing, owner.as_ref(), &header, bytes) else {
                continue;
            };
            // The receiver's confirmation may come back this way.
            path.visited.extend(core.credential().map(|own| own.hash.prefix()));
            if neighbours.links.get(link).is_none_or(|link| !link.takes(header.class))
                || neighbours.is_busy(core, link, header.class)
                || neighbours.await_air(core, link, header.class, bytes).is_some()
            {
                return Tried::Later;
            }
            self.hand(core, neighbours, number, link, path, &header);
            self.mail.paced.insert(owner.clone(), core.now.time + PACE);
            return Tried::Left;
        }
        Tried::NoWay
    }

    fn hand(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        number: u64,
        link: LinkId,
        path: Path,
        header: &Header,
    ) {
        let Some(item) = self.mail.mailbox.get(number) else { return };
        let entry = Entry {
            to: item.owner.clone(),
            handle: header.to,
            seal: item.seal,
            held: Held::Kept(number),
            class: header.class,
            expiry: Unix(header.expiry),
        };
        self.mail.awaited.insert(path.outer, entry);
        let sealed = item.frame.sealed.clone();
        let frame = put_data(&item.frame.header, &path, &sealed, &sealed);
        self.mail.mailbox.hand(number, core.now.time + PATIENCE);
        let until = of_use_until(Unix(header.expiry), core.now);
        neighbours.send_data(core, Leaving { link, class: header.class, frame, after: Lsn(0), until: Some(until) });
    }

    /// The link over which mail goes on, and its path: to the receiver, or to another custodian that is nearer to it.
    fn way_on(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        owner: Option<&Name>,
        header: &Header,
        bytes: usize,
    ) -> Option<(LinkId, Path)> {
        let outer = routing.outer_id(core);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let linked = owner.and_then(|name| neighbours.links.to(name)).map(|(_, link)| link.peer.body.key);
        if let Some((link, price)) = linked.and_then(|key| neighbours.link_under(&key, &header.policy)) {
            let spent = price.saturating_mul(bytes.into()) / 1_000_000;
            return Some((link, Path { outer, spent, ..Path::default() }));
        }
        let left = Unix(header.expiry).since(core.now.unix);
        let time = Some(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let wants = Wants { policy: header.policy.clone(), time, bytes };
        let handles: Vec<Handle> = match owner {
            Some(name) => core.membership.contacts().handles_of(name, core.now.unix).collect(),
            None => vec![header.to],
        };
        for handle in handles {
            if !routing.is_listed(neighbours, &handle) {
                continue;
            }
            if owner.is_some() && handle != header.to && !routing.can_be_named(core, neighbours, &handle) {
                // Its router does not know it by the handle in the header: the path has to name it.
                routing.ask_where(core, neighbours, handle);
                continue;
            }
            let route = routing.route_to_handle(core, neighbours, &handle, header.segment, &wants, &[]);
            if let Some(way) = route.and_then(|route| routing.leave_on(neighbours, &route, &wants, outer)) {
                return Some(way);
            }
        }
        let (parents, shunned) = match owner {
            Some(name) if neighbours.sleepers.is_child(name) => return None,
            Some(name) => (routing.parents_of(core, name), self.shunned_for(name, header.class, core.now.time)),
            None => (routing.advertising(core, header.mail.iter().map(|mail| &mail.tag)), Vec::new()),
        };
        if parents.is_empty() || shunned.len() >= MAX_SHUNNED {
            return None;
        }
        let segment = Some(header.segment);
        let route = routing.route_to_custodian(core, neighbours, segment, &wants, (&parents, &shunned))?;
        let to_parent = route.nodes.last().is_some_and(|end| parents.contains(end));
        if to_parent { routing.leave_on(neighbours, &route, &wants, outer) } else { None }
    }

    /// Custodians that do not take mail of a class for a receiver now.
    pub(super) fn shunned_for(&self, to: &Name, class: Class, now: Time) -> Vec<Pseudonym> {
        self.shunning(to, class, now).map(|(by, _)| by).collect()
    }

    /// The same, each with the time at which it may be asked again.
    pub(super) fn shunning(&self, to: &Name, class: Class, now: Time) -> impl Iterator<Item = (Pseudonym, Time)> {
        let shuns = move |by: &Shunned| by.until > now && by.class <= class;
        let shunned = self.mail.shunned.iter().filter(move |((name, _), by)| name == to && shuns(by));
        shunned.map(|((_, by), shunned)| (*by, shunned.until))
    }
}
