//! Ways: flows between devices that never meet, and between devices that are more hops apart than a path may have.
//!
//! A path is searched over all links that can ever be up, regardless of their times: a message may wait under way for a
//! link that comes up later. A publication has no limit of hops.

use super::standing::Never;
use super::{Looking, Warning};
use crate::plan::{Device, Flow, FlowKind};
use crate::scenario::model::Traffic;
use crate::scenario::planning::Reach;
use m2mesh::wire::data::MAX_HOPS;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use toml::Spanned;

impl Looking<'_> {
    pub(super) fn ways(&self) -> Vec<Warning> {
        let stands = |(number, _): &(usize, _)| self.standing.never(*number).is_none();
        let edges = self.plan.edges.iter().enumerate().filter(stands).map(|(_, edge)| edge);
        let reach = Reach::over(&self.plan.devices, edges);
        let each = self.plan.flows.iter().zip(&self.model.traffic);
        let of = |(flow, traffic): (&Flow, &Spanned<Traffic>)| {
            let mut pairs = pairs(flow);
            pairs.extend(self.left_out(flow, traffic.get_ref(), &reach));
            let apart: Vec<_> = pairs.iter().copied().filter(|(from, to)| !reach.can(*from, *to)).collect();
            let span = traffic.span();
            let never = apart.first().map(|pair| {
                let which = self.pairs(*pair, apart.len(), pairs.len());
                let what = format!("the flow `{}` never finds a way from {which}", flow.name);
                self.warning(&span, what, self.why(&reach, pair.0))
            });
            never.or_else(|| self.far(flow, &pairs, &reach).map(|(what, hint)| self.warning(&span, what, hint)))
        };
        each.filter_map(|(flow, traffic)| of((flow, traffic))).collect()
    }

    /// Warns of receivers that a flow names and that none of its senders can reach, each with a sender: planning has no
    /// messages sent to them.
    fn left_out(&self, flow: &Flow, traffic: &Traffic, reach: &Reach) -> Vec<(usize, usize)> {
        let (Some(to), false) = (&traffic.to, !matches!(flow.kind, FlowKind::Send(_) | FlowKind::Request(_))) else {
            return Vec::new();
        };
        let named = |device: usize| {
            let Device { name, group, .. } = &self.plan.devices[device];
            to.get_ref().0.iter().any(|word| word == group || word == name.as_str())
        };
        let reached = |to: usize| flow.from.iter().any(|from| *from == to || reach.can(*from, to));
        let lost = (0..self.plan.devices.len()).filter(|to| named(*to) && !reached(*to));
        lost.filter_map(|to| Some((*flow.from.first()?, to))).collect()
    }

    /// Describes the first of this number of pairs, of all pairs.
    fn pairs(&self, (from, to): (usize, usize), count: usize, all: usize) -> String {
        let [from, to] = [from, to].map(|device| &self.plan.devices[device].name);
        match count {
            1 => format!("{from} to {to}"),
            _ => format!("{from} to {to}, as for {count} of its {all} pairs"),
        }
    }

    /// Returns what to do for a device that reaches too few, which follows from the first link out of its part that is
    /// never up.
    fn why(&self, reach: &Reach, from: usize) -> String {
        let own = |device: usize| device == from || reach.can(from, device);
        let edges = self.plan.edges.iter().enumerate();
        let mut out = edges.filter(|(_, edge)| own(edge.a) != own(edge.b));
        let Some((edge, never)) = out.find_map(|(edge, _)| Some((edge, self.standing.never(edge)?))) else {
            return "add [[links]] between them, or over devices that forward".to_owned();
        };
        let (ends, bearer) = (self.ends(edge), &self.plan.bearers[self.plan.edges[edge].bearer]);
        let name = &bearer.name;
        match never {
            Never::Far(nearest) => {
                let reach = bearer.reach.unwrap_or_default();
                format!(
                    "raise `reach` of [bearers.{name}], which is {reach} m, or place {ends} nearer than {nearest:.0} m"
                )
            }
            Never::Closed => format!("let a window of [bearers.{name}] open during the run, which {ends} would need"),
            Never::Slow => format!("give [bearers.{name}] a longer `setup`, or a lower delay, for the link of {ends}"),
        }
    }

    /// Returns the pair of a flow with the most hops, if these are more than messages can take.
    fn far(&self, flow: &Flow, pairs: &BTreeSet<(usize, usize)>, reach: &Reach) -> Option<(String, String)> {
        // A path with too many hops needs at least as many relays.
        if !matches!(flow.kind, FlowKind::Send(_) | FlowKind::Request(_)) || self.plan.devices.len() <= MAX_HOPS + 1 {
            return None;
        }
        let mut of = BTreeMap::<usize, Vec<usize>>::new();
        pairs.iter().for_each(|(from, to)| of.entry(*from).or_default().push(*to));
        let mut far = Vec::new();
        for (from, to) in of {
            let hops = self.hops(from, reach);
            far.extend(to.into_iter().filter_map(|to| Some((hops[to].filter(|hops| *hops > MAX_HOPS)?, from, to))));
        }
        let (hops, from, to) = far.iter().copied().max()?;
        let pair = self.pairs((from, to), far.len(), pairs.len());
        let what = format!("the flow `{}` has {hops} hops to go from {pair}, and messages go {MAX_HOPS}", flow.name);
        Some((what, "add [[links]] that shorten the way, or send to devices that are nearer".to_owned()))
    }

    /// Returns, by device, the number of links to it, over devices that forward.
    fn hops(&self, from: usize, reach: &Reach) -> Vec<Option<usize>> {
        let mut hops = vec![None; reach.near.len()];
        hops[from] = Some(0);
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            if at != from && !self.plan.devices[at].forwarding {
                continue;
            }
            for near in &reach.near[at] {
                if hops[*near].is_none() {
                    hops[*near] = hops[at].map(|hops| hops + 1);
                    next.push_back(*near);
                }
            }
        }
        hops
    }
}

/// Returns the pairs of devices that are to reach each other, each once.
fn pairs(flow: &Flow) -> BTreeSet<(usize, usize)> {
    let lists: Vec<&Vec<usize>> = match &flow.kind {
        FlowKind::Send(lists) | FlowKind::Request(lists) => lists.iter().collect(),
        FlowKind::Publish { subscribers, .. } => vec![subscribers; flow.from.len()],
        // One of the servers is enough, and who is within reach is who gets a broadcast.
        FlowKind::Any { .. } | FlowKind::Broadcast => Vec::new(),
    };
    let each = flow.from.iter().zip(lists).flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)));
    each.filter(|(from, to)| from != to).collect()
}
