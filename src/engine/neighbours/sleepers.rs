//! Sleepers: devices whose parent this one is, and neighbours that are away by their own word.
//!
//! **Mechanism.** A device that sleeps names its parents in its settings. It tells each of them so over their link, whose admission proves who
//! it is ([`Rest`]), and tells all neighbours when it goes, and for how long. A parent advertises the tags of the device's boxes in its link state, as services are
//! advertised: so senders find it, whether the device is there or not. It does so for the day, for the day before, and for the day of the prekey that its own
//! card of the device has.
//!
//! Whoever has heard that a neighbour is away dials it no more until it is back. A neighbour that only pushes is not dialled when its link has
//! ended: it comes when it has something to send.
//!
//! Invariants
//! 1. Who is whose parent outlives a restart of the parent, and is known by names.
//! 2. A neighbour that is away is not dialled before it wakes, as it said.
//! - At most [`MAX_SLEEPERS`] devices have this one for a parent. Drop policy: the newest is not taken (`sleepers_refused`).

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::Link;
use crate::engine::neighbours::sleep::Sleep;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::{LinkId, Name, Tag};
use crate::time::{Day, Time};
use crate::wire;
use crate::wire::credential::Role;
use crate::wire::frame::Kind;
use crate::wire::rest::Rest;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The most devices whose parent this one is.
pub(in crate::engine) const MAX_SLEEPERS: usize = 512;
/// How long a neighbour that only pushes is not looked for when it has gone.
const PUSHES: Duration = Duration::from_secs(86_400);
/// The longest time for which a neighbour is believed to be away.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Sleepers {
    /// When this device is awake.
    pub(in crate::engine) own: Sleep,
    /// Devices whose parent this one is.
    children: BTreeSet<Name>,
    /// The tags of their boxes, as they are advertised.
    pub(in crate::engine) boxes: BTreeSet<Tag>,
    /// Until when neighbours with links are away that are about to end.
    leaving: BTreeMap<LinkId, Time>,
    /// The links to neighbours that only push.
    pushers: BTreeSet<LinkId>,
}

impl Sleepers {
    pub(in crate::engine) fn load(store: &dyn Read, own: Sleep) -> Result<Self, ReadError> {
        let mut sleepers = Self { own, ..Self::default() };
        store.scan(Table::Sleepers, &[], &mut |key, _| {
            let name = core::str::from_utf8(key).ok().and_then(|name| Name::new(name).ok());
            sleepers.children.extend(name);
            true
        })?;
        Ok(sleepers)
    }

    /// Devices whose parent this one is.
    pub(in crate::engine) fn children(&self) -> impl Iterator<Item = &Name> {
        self.children.iter()
    }

    /// Whether this device is the parent of that one.
    pub(in crate::engine) fn is_child(&self, name: &Name) -> bool {
        self.children.contains(name)
    }

    /// A neighbour has said whether it only pushes.
    pub(in crate::engine) fn note_pusher(&mut self, link: LinkId, pushes: bool) {
        match pushes {
            true => self.pushers.insert(link),
            false => self.pushers.remove(&link),
        };
    }

    /// How many there are.
    pub(in crate::engine) fn len(&self) -> usize {
        self.children.len()
    }
}

impl Neighbours {
    /// A neighbour has told of its rest.
    pub(in crate::engine) fn handle_rest(&mut self, core: &mut Core, link: LinkId, body: &[u8]) {
        let Ok(rest) = wire::decode::<Rest>(body) else {
            return self.note_malformed(core, link, Counter::ControlMalformed);
        };
        let Some(name) = self.links.get(link).map(|link| link.name.clone()) else { return };
        if rest.away > 0 {
            let until = core.now.time + Duration::from_micros(rest.away).min(LONGEST);
            self.sleepers.leaving.insert(link, until);
        }
        let Some(name) = name else { return };
        let known = self.sleepers.children.contains(&name);
        if rest.parent && !known {
            let keeps = core.credential().is_some_and(|own| own.body.has_role(Role::Mailbox));
            if !keeps || core.settings.mail_quota == 0 || self.sleepers.children.len() >= MAX_SLEEPERS {
                return core.count(Counter::SleepersRefused, 1);
            }
            let key = name.as_str().as_bytes().to_vec();
            core.journal.write(Write::Put { table: Table::Sleepers, key, value: Vec::new() });
            self.sleepers.children.insert(name);
            self.renew_boxes(core);
        } else if !rest.parent && known {
            self.forget_sleeper(core, &name);
        }
    }

    /// A device has other parents, or is revoked.
    pub(in crate::engine) fn forget_sleeper(&mut self, core: &mut Core, name: &Name) {
        if self.sleepers.children.remove(name) {
            let key = name.as_str().as_bytes().to_vec();
            core.journal.write(Write::Delete { table: Table::Sleepers, key });
            self.renew_boxes(core);
        }
    }

    /// Computes the tags under which boxes are advertised: contacts or the day have changed.
    pub(in crate::engine) fn renew_boxes(&mut self, core: &Core) {
        let book = core.membership.contact_book();
        let today = core.membership.day_of(core.now.unix);
        let mut boxes = BTreeSet::new();
        for name in &self.sleepers.children {
            let prekey = book.get(name).and_then(|card| card.prekey.as_ref()).map(|prekey| prekey.day);
            let days = [Some(today), today.0.checked_sub(1).map(Day), prekey];
            boxes.extend(days.into_iter().flatten().filter_map(|day| book.box_of(name, day)));
        }
        if boxes != self.sleepers.boxes {
            self.sleepers.boxes = boxes;
            self.links_changed = true;
        }
    }

    /// A link has ended: a neighbour that has gone to rest is not dialled before it wakes.
    pub(in crate::engine) fn rest_after(&mut self, core: &mut Core, id: LinkId, link: &Link) {
        // One that only pushes comes by itself.
        let pushes = self.sleepers.pushers.remove(&id).then(|| core.now.time + PUSHES);
        let Some(until) = self.sleepers.leaving.remove(&id).or(pushes) else { return };
        let rest = until.since(core.now.time);
        if !rest.is_zero() {
            core.count(Counter::NeighboursAtRest, 1);
            core.outputs.push_back(Output::Shun { peer: link.peer.body.key, rest });
        }
    }

    /// Tells a neighbour of this device's rest.
    pub(in crate::engine) fn send_rest(&mut self, core: &mut Core, link: LinkId, away: Duration) {
        let Some(sleep) = &core.settings.sleep else { return };
        let name = self.links.get(link).and_then(|link| link.name.as_ref());
        let parent = name.is_some_and(|name| sleep.parents.contains(name));
        let away = u64::try_from(away.as_micros()).unwrap_or(u64::MAX);
        self.send_control(core, link, Kind::Rest, &Rest { parent, away });
    }
}
