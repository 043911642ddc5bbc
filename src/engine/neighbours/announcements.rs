//! Announcements: what neighbours tell each other about themselves.
//!
//! ```text
//! link up ─▶ Announce ⇄ Announce, and again whenever something in it has changed
//!         ─▶ the one with the older bulletin (versions were in the hellos) gets the newer (`bulletins`)
//! a connection of the link broke, or the neighbour's process is another ─▶ both greet again
//! ```
//!
//! Invariant: of what a neighbour announces no more is kept than the protocol allows to be announced.

use crate::counter::Counter;
use crate::engine::neighbours::Neighbours;
use crate::engine::{Engine, Output};
use crate::id::{LinkId, Pseudonym, Tag};
use crate::wire;
use crate::wire::announce::{Announce, MAX_ADDRESSES, MAX_GROUPS, MAX_OTHERS, MAX_SERVICES};
use crate::wire::bulletin::BulletinRequest;
use crate::wire::frame::Kind;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Longest multiaddress in binary form, in bytes.
const MAX_ADDRESS: usize = 128;

impl Neighbours {
    /// Where neighbours listen, as they say, for one of them: the first address of each before the second of any, so that
    /// none fills the room of the others with its own.
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
        let in_turn = (0..MAX_ADDRESSES).flat_map(|at| told.values().filter_map(move |addresses| addresses.get(at)));
        in_turn.filter(|address| known.insert(*address)).take(MAX_OTHERS).cloned().collect()
    }
}

impl Engine {
    /// The first words to a new neighbour, whose bulletin has that version.
    pub(in crate::engine) fn greet(&mut self, link: LinkId, bulletin: u64) {
        let announce = self.announcement(link);
        self.neighbours.send_control(&mut self.core, link, Kind::Announce, &announce);
        let have = self.core.membership.bulletin().version();
        if bulletin > have {
            self.neighbours.send_control(&mut self.core, link, Kind::BulletinRequest, &BulletinRequest { have });
        } else if bulletin < have {
            self.member.send_bulletin(&mut self.core, &mut self.neighbours, link);
        }
        self.member.fetch_documents(&mut self.core, &mut self.neighbours);
    }

    /// What was under way over this link is lost, and what the neighbour knew of us may be.
    fn greet_again(&mut self, link: LinkId) {
        self.routing.ask_elsewhere(&mut self.core, &mut self.neighbours, link);
        let announce = self.announcement(link);
        self.neighbours.send_control(&mut self.core, link, Kind::Announce, &announce);
        self.member.send_bulletin(&mut self.core, &mut self.neighbours, link);
        let Some(key) = self.neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        for name in self.routing.routes.over(&key) {
            self.messages.outgoing.handle_path_broken(&name);
            self.messages.schedule.wake(name);
        }
    }

    /// The other end is told so too, and greets as well.
    pub(in crate::engine) fn handle_broken(&mut self, link: LinkId) {
        let Some(forwarding) = self.neighbours.links.get(link).map(|link| link.forwarding) else { return };
        self.core.count(Counter::ConnectionsBroken, 1);
        self.greet_again(link);
        self.groups.compare_groups(&mut self.core, &mut self.neighbours, link);
        if forwarding {
            self.routing.meet_router(&mut self.core, &mut self.neighbours, link);
        }
    }

    pub(in crate::engine) fn handle_listening(&mut self, addresses: Vec<Vec<u8>>) {
        if self.neighbours.addresses == addresses {
            return;
        }
        self.neighbours.addresses = addresses;
        self.announce_again();
    }

    /// Something that neighbours know of us has changed.
    pub(in crate::engine) fn announce_again(&mut self) {
        for link in self.neighbours.links.ids() {
            let announce = self.announcement(link);
            self.neighbours.send_control(&mut self.core, link, Kind::Announce, &announce);
        }
    }

    fn announcement(&self, to: LinkId) -> Announce {
        let pack = |addresses: &[Vec<u8>], most| addresses.iter().take(most).cloned().map(ByteBuf::from).collect();
        let others = self.neighbours.addresses_of_others(to);
        Announce {
            forwarding: self.core.settings.forwarding,
            addresses: pack(&self.neighbours.addresses, MAX_ADDRESSES),
            others: pack(&others, MAX_OTHERS),
            services: Vec::new(),
            // A router tells of its groups in its link state.
            groups: self
                .groups
                .own_groups()
                .into_iter()
                .filter(|_| !self.core.settings.forwarding)
                .take(MAX_GROUPS)
                .collect(),
            area: self.core.settings.area,
            process: self.core.process,
            set_forward: self.neighbours.links.get(to).map_or(0, |link| link.set_forward / 1_000),
        }
    }

    pub(in crate::engine) fn handle_announce(&mut self, link: LinkId, body: &[u8]) {
        let Ok(announce) = wire::decode::<Announce>(body) else { return self.core.count(Counter::ControlMalformed, 1) };
        let Announce { forwarding, addresses, others, services, groups, area, process, set_forward } = announce;
        let unpack = |addresses: Vec<ByteBuf>, most| -> Vec<Vec<u8>> {
            let fit = addresses.into_iter().filter(|address| address.len() <= MAX_ADDRESS);
            fit.take(most).map(ByteBuf::into_vec).collect()
        };
        let (own, others) = (unpack(addresses, MAX_ADDRESSES), unpack(others, MAX_OTHERS));
        let Some(neighbour) = self.neighbours.links.get_mut(link) else { return };
        neighbour.addresses.clone_from(&own);
        neighbour.theirs_set_forward = set_forward.saturating_mul(1_000);
        self.core.outputs.push_back(Output::Addresses { link, own, others });
        let trim = |tags: Vec<Tag>, most| tags.into_iter().take(most).collect::<Vec<_>>();
        let (services, mut groups) = (trim(services, MAX_SERVICES), trim(groups, MAX_GROUPS));
        groups.sort_unstable();
        groups.dedup();
        let fresh: Vec<Tag> = groups.iter().filter(|group| !neighbour.listens_to(group)).copied().collect();
        let news = (neighbour.forwarding, neighbour.area, &neighbour.services, &neighbour.groups)
            != (forwarding, area, &services, &groups);
        let restarted = neighbour.process.replace(process).is_some_and(|before| before != process);
        let meets = forwarding && (!neighbour.forwarding || neighbour.area != area || restarted);
        (neighbour.forwarding, neighbour.area) = (forwarding, area);
        (neighbour.services, neighbour.groups) = (services, groups);
        self.routing.link_state.links_changed |= news;
        let key = neighbour.peer.body.key;
        for group in fresh {
            self.groups.repair.owe(key, group, true, self.core.now.time);
        }
        if restarted {
            // The link stayed up at our end.
            self.core.count(Counter::NeighboursRestarted, 1);
            self.greet_again(link);
        }
        if meets {
            self.groups.compare_groups(&mut self.core, &mut self.neighbours, link);
            self.routing.meet_router(&mut self.core, &mut self.neighbours, link);
        }
    }
}
