//! Announcements: what neighbours tell each other about themselves.
//!
//! ```text
//! link up ─▶ Announce ⇄ Announce, and again whenever something in it has changed
//!         ─▶ the one with the older bulletin (versions were in the hellos) gets the newer (`bulletins`)
//! a connection of the link broke, or the neighbour's process is another ─▶ both greet again
//! ```
//!
//! **A process that has followed another** on a link that stood is told where that one listened, as if it were another
//! neighbour. After a restart nobody answers there. If the other process still runs, since somebody has copied the
//! device's directory, the two meet, and both tell their operators.
//!
//! Invariants
//! - Of what a neighbour announces, no more is kept than the protocol allows a device to announce.

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::LeafTags;
use crate::id::{LinkId, Pseudonym, Tag};
use crate::identity::anonymity::Anonymity;
use crate::wire;
use crate::wire::announce::{Announce, MAX_ADDRESSES, MAX_GROUPS, MAX_OTHERS, MAX_SERVICES};
use crate::wire::frame::Kind;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Longest multiaddress accepted, in bytes of its binary form.
const MAX_ADDRESS: usize = 128;

impl Neighbours {
    /// The addresses at which the other neighbours listen, as they say, to be told to one neighbour. The first address
    /// of each comes before the second of any, so that none crowds out the others with its own.
    fn addresses_of_others(&self, to: LinkId) -> Vec<Vec<u8>> {
        let told: BTreeMap<Pseudonym, &[Vec<u8>]> = self
            .links
            .iter()
            .filter(|(id, link)| {
                *id != to && self.links.get(to).is_none_or(|to| to.peer.body.key != link.peer.body.key)
            })
            .map(|(_, link)| (link.peer.body.key, link.addresses.as_slice()))
            .collect();
        let mut known = BTreeSet::new();
        let former = self.formers.get(&to).into_iter().flatten();
        let in_turn = (0..MAX_ADDRESSES).flat_map(|at| told.values().filter_map(move |addresses| addresses.get(at)));
        former.chain(in_turn).filter(|address| known.insert(*address)).take(MAX_OTHERS).cloned().collect()
    }

    pub(in crate::engine) fn handle_listening(&mut self, core: &mut Core, own: Pseudonym, addresses: Vec<Vec<u8>>) {
        if self.addresses.get(&own) == Some(&addresses) {
            return;
        }
        self.addresses.insert(own, addresses);
        self.announce_again(core);
    }

    /// Announces this device to all neighbours again, since something that they know of it has changed.
    pub(in crate::engine) fn announce_again(&mut self, core: &mut Core) {
        for link in self.links.ids() {
            self.announce(core, link);
        }
    }

    /// The addresses at which this device listens, for neighbours under one of its pseudonyms. If it has named its successor to them, those of
    /// that come first: a neighbour that cannot be dialled dials them when the link is closed.
    fn addresses_for(&self, core: &Core, own: Option<&Pseudonym>) -> Vec<Vec<u8>> {
        let of = |own: &Pseudonym| self.addresses.get(own).map_or(&[][..], Vec::as_slice);
        let present = core.membership.credential(core.now.unix).map(|own| own.pseudonym());
        let next = present.filter(|next| core.membership.anonymity() != Anonymity::Strict && own != Some(next));
        let all = next.as_ref().into_iter().chain(own).flat_map(of);
        all.cloned().collect()
    }

    fn announcement(&self, core: &Core, to: LinkId) -> Announce {
        let pack = |addresses: &[Vec<u8>], most| addresses.iter().take(most).cloned().map(ByteBuf::from).collect();
        let others = self.addresses_of_others(to);
        let own = self.links.get(to).map(|link| link.own);
        let addresses = self.addresses_for(core, own.as_ref());
        Announce {
            forwarding: core.settings.forwarding,
            addresses: pack(&addresses, MAX_ADDRESSES),
            others: pack(&others, MAX_OTHERS),
            // A router advertises its services and groups in its link state.
            services: self
                .own_services
                .iter()
                .filter(|_| !core.settings.forwarding)
                .take(MAX_SERVICES)
                .copied()
                .collect(),
            groups: self.own_groups.iter().filter(|_| !core.settings.forwarding).take(MAX_GROUPS).copied().collect(),
            area: core.settings.area,
            process: own.map_or(0, |own| core.process_as(&own)),
            set_forward: self.links.get(to).map_or(0, |link| link.clocks.set_forward / 1_000),
            push_only: core.settings.push_only,
        }
    }
}

/// What a neighbour has announced of itself that other wings have to know.
pub(in crate::engine) struct Announced {
    /// The neighbour.
    pub(in crate::engine) neighbour: Pseudonym,
    /// The groups that it listens to and did not before.
    pub(in crate::engine) fresh_groups: Vec<Tag>,
    /// Whether its process has been replaced while the link was up.
    pub(in crate::engine) restarted: bool,
    /// Whether it is a router of this area that has not been met as one yet.
    pub(in crate::engine) meets: bool,
}

impl Neighbours {
    /// Processes a neighbour's announcement. `None` if it cannot be decoded, or the link is gone.
    pub(in crate::engine) fn handle_announce(
        &mut self,
        core: &mut Core,
        link: LinkId,
        body: &[u8],
    ) -> Option<Announced> {
        let Ok(announce) = wire::decode::<Announce>(body) else {
            self.note_malformed(core, link, Counter::ControlMalformed);
            return None;
        };
        let Announce { forwarding, addresses, others, services, groups, area, process, set_forward, push_only } =
            announce;
        let unpack = |addresses: Vec<ByteBuf>, most| -> Vec<Vec<u8>> {
            let fit = addresses.into_iter().filter(|address| address.len() <= MAX_ADDRESS);
            fit.take(most).map(ByteBuf::into_vec).collect()
        };
        let (own, others) = (unpack(addresses, MAX_ADDRESSES), unpack(others, MAX_OTHERS));
        let neighbour = self.links.get_mut(link)?;
        let mut former = std::mem::replace(&mut neighbour.addresses, own.clone());
        former.retain(|address| !own.contains(address));
        neighbour.clocks.theirs_set_forward = set_forward.saturating_mul(1_000);
        core.outputs.push_back(Output::Addresses { link, own, others });
        let trim = |tags: Vec<Tag>, most| tags.into_iter().take(most).collect::<Vec<_>>();
        let (services, mut groups) = (trim(services, MAX_SERVICES), trim(groups, MAX_GROUPS));
        groups.sort_unstable();
        groups.dedup();
        let fresh: Vec<Tag> = groups.iter().filter(|group| !neighbour.listens_to(group)).copied().collect();
        let news = (neighbour.forwarding, neighbour.area, &neighbour.tags.services, &neighbour.tags.groups)
            != (forwarding, area, &services, &groups);
        let restarted = neighbour.process.replace(process).is_some_and(|before| before != process);
        if restarted {
            self.formers.insert(link, former);
        }
        let meets = forwarding && (!neighbour.forwarding || neighbour.area != area || restarted);
        (neighbour.forwarding, neighbour.area) = (forwarding, area);
        neighbour.tags = LeafTags { services, groups };
        self.links_changed |= news;
        let key = neighbour.peer.body.key;
        self.sleepers.note_pusher(link, push_only);
        Some(Announced { neighbour: key, fresh_groups: fresh, restarted, meets })
    }

    /// Announces this device to a neighbour.
    pub(in crate::engine) fn announce(&mut self, core: &mut Core, to: LinkId) {
        let announce = self.announcement(core, to);
        self.send_control(core, to, Kind::Announce, &announce);
    }
}
