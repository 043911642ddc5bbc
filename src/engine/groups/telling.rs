//! Telling: how neighbours are told which group frames this node keeps, in digests that are owed to them and in short
//! notices of new frames.
//!
//! `repair` decides which digest is owed to which neighbour and when; it also fetches what neighbours announce in turn.

use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::repair::{AGAIN, BESIDE, SPACING};
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::id::{LinkId, Pseudonym, Tag};
use crate::wire::data::{Class, Policy};
use crate::wire::frame::{self, Kind};
use crate::wire::group_repair::{self as wire_repair, GroupHave, MAX_ASKED, MAX_FLOWS, MAX_RANGES};
use std::collections::{BTreeMap, BTreeSet};

impl Groups {
    /// Sends the digests that are due. A neighbour with no usable link that takes frames is tried again after
    /// [`AGAIN`].
    pub(in crate::engine) fn tell(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        self.repair.told.retain(|_, told| *told + SPACING > now);
        let due: Vec<Pseudonym> =
            self.repair.owed.iter().filter(|(_, owed)| owed.at <= now).map(|(to, _)| *to).collect();
        for neighbour in due {
            let Some(mut owed) = self.repair.owed.remove(&neighbour) else { continue };
            if neighbours.links.of(&neighbour).next().is_none() {
                // The neighbour has no link; its next link begins with a comparison.
                continue;
            }
            let link = neighbours.link_under(&neighbour, &Policy::default()).map(|(link, _)| link);
            let Some(link) =
                link.filter(|link| neighbours.links.get(*link).is_some_and(|link| link.takes(Class::Telemetry)))
            else {
                owed.at = now + AGAIN;
                self.repair.owed.insert(neighbour, owed);
                continue;
            };
            let groups = owed.groups.unwrap_or_else(|| self.common_groups(core, neighbours, link, &neighbour));
            let asks = if owed.asks { groups.iter().copied().take(MAX_ASKED).collect() } else { Vec::new() };
            self.repair.told.insert(neighbour, now);
            self.tell_groups(core, neighbours, link, &groups, asks);
        }
    }

    fn tell_groups(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        groups: &BTreeSet<Tag>,
        tell: Vec<Tag>,
    ) {
        let mut flows: Vec<wire_repair::Flow> = Vec::new();
        for group in groups {
            let kept = self.shelf.kept(group, |frame| self.may_go(core, neighbours, link, frame));
            flows.extend(kept.map(|((sender, salt), mut ranges)| {
                // Where there are too many ranges, the newest are kept: they are of use for longest.
                ranges.drain(..ranges.len().saturating_sub(MAX_RANGES));
                wire_repair::Flow { group: *group, sender, salt, ranges }
            }));
        }
        if flows.is_empty() && tell.is_empty() {
            return;
        }
        let mut parts = flows.chunks(MAX_FLOWS);
        let first = GroupHave { flows: parts.next().unwrap_or_default().to_vec(), tell };
        let rest = parts.map(|flows| GroupHave { flows: flows.to_vec(), tell: Vec::new() });
        for have in core::iter::once(first).chain(rest).collect::<Vec<_>>() {
            // The digest queues behind the frames that were pushed, so that the neighbour does not ask for those.
            neighbours
                .send_data(core, Leaving::at_once(link, Class::Telemetry, frame::of(Kind::GroupHave, &have).into()));
        }
    }

    /// Announces new frames to neighbours that are in a group's tree but not next to this node in it.
    pub(in crate::engine) fn name_fresh(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        if self.repair.naming.is_none_or(|at| at > now) {
            return;
        }
        self.repair.naming = None;
        let fresh = core::mem::take(&mut self.repair.fresh);
        let mut told: BTreeMap<LinkId, Vec<wire_repair::Flow>> = BTreeMap::new();
        for (flow, (group, first, last)) in fresh {
            let beside = self.tree.beside(&group);
            // The choice varies with the flow and its last number, so that it is not always the same neighbours.
            let from = usize::from(flow.1[0]).wrapping_add(usize::try_from(last).unwrap_or(0));
            for at in 0..beside.len().min(BESIDE) {
                let neighbour = beside[(from + at) % beside.len()];
                let Some((link, price)) = neighbours.link_under(&neighbour, &Policy::default()) else { continue };
                let Some(of) = neighbours.links.get(link) else { continue };
                if !of.takes(Class::Telemetry) || price > 0 || neighbours.link_metrics.bearer(of.bearer).metered {
                    continue;
                }
                // Not what it would not be given: frames of a segment that is not its own, for one.
                if !self.shelf.get(&flow, last).is_some_and(|kept| self.may_go(core, neighbours, link, kept)) {
                    continue;
                }
                let ranges = vec![(first, last)];
                told.entry(link).or_default().push(wire_repair::Flow { group, sender: flow.0, salt: flow.1, ranges });
            }
        }
        for (link, flows) in told {
            for flows in flows.chunks(MAX_FLOWS) {
                let have = GroupHave { flows: flows.to_vec(), tell: Vec::new() };
                neighbours.send_data(
                    core,
                    Leaving::at_once(link, Class::Telemetry, frame::of(Kind::GroupHave, &have).into()),
                );
            }
        }
    }

    /// The groups that this node and a neighbour have in common: as neighbours in a tree, as a router and its leaf, or
    /// as two leaves.
    fn common_groups(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        link: LinkId,
        neighbour: &Pseudonym,
    ) -> BTreeSet<Tag> {
        let mut groups: BTreeSet<Tag> = self.tree.joined_by(neighbour).copied().collect();
        if let Some(link) = neighbours.links.get(link) {
            groups.extend(&link.tags.groups);
            if link.forwarding && !core.settings.forwarding {
                groups.extend(&neighbours.own_groups);
            }
        }
        groups
    }
}
