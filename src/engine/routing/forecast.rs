//! Forecast: the way that will be there when a link of this device opens.
//!
//! **Mechanism.** A link that is up, and may not be used now because of an access window or a spent quota of its bearer,
//! may be used again at a time that is known (`link::forecast`). Its neighbour is either the destination or one from which
//! a path of the present graph leads there. Of the ways that this gives, the cheapest is the forecast. The windows of
//! other routers' links are not known here: such a link is in the graph while it may be used, and is not otherwise.
//!
//! Invariants
//! - A forecast changes nothing: no route is chosen and nothing is recorded.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::pathfinding::Avoided;
use crate::engine::routing::routes::{Location, keeps};
use crate::id::{Name, Pseudonym};
use crate::link::forecast::{Need, air_time};
use crate::routing::graph::Metrics;
use crate::routing::policy::Wants;
use crate::routing::totals::Totals;
use crate::time::Unix;
use crate::wire::data::Policy;
use core::time::Duration;

/// What a message asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Asked<'a> {
    pub policy: &'a Policy,
    /// The bytes of its frame.
    pub bytes: usize,
    /// The bytes that leave before it.
    pub ahead: usize,
    /// When it must leave at the latest.
    pub leaves: Unix,
    /// When it must be there at the latest.
    pub arrives: Unix,
}

/// A way that will be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Forecast {
    /// When it will be there.
    pub opens: Unix,
    /// The name of the bearer that opens.
    pub bearer: String,
    /// What the message costs there, in micro-units.
    pub cost: u64,
    /// What it would cost now; `None` if there is no way now.
    pub instead: Option<u64>,
}

/// The most that a way's time is multiplied by because frames get lost on it.
const MOST_ATTEMPTS: u32 = 8;

impl Routing {
    /// The cheapest way that will be there in time, among those that cost less than `below`. Of ways that cost the same,
    /// the first to be there.
    pub(in crate::engine) fn forecast(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: &Name,
        asked: &Asked<'_>,
        below: Option<u64>,
    ) -> Option<Forecast> {
        let closed: Vec<(Pseudonym, Metrics, u8, bool)> = neighbours
            .links
            .iter()
            .filter(|(_, link)| !link.usable && !link.silent && core.carries(&link.own))
            .map(|(_, link)| (link.peer.body.key, link.metrics, link.bearer, link.forwarding))
            .collect();
        if closed.is_empty() {
            return None;
        }
        let location = self.location(core, neighbours, to).ok()?;
        let wants = Wants { policy: asked.policy.clone(), time: None, bytes: 0 };
        let wants = Wants { bytes: u32::try_from(asked.bytes).unwrap_or(u32::MAX), ..wants };
        let mut best: Option<Forecast> = None;
        for (peer, metrics, bearer, forwarding) in closed {
            let class = neighbours.link_metrics.bearer(bearer).class as u8;
            let mut totals = Totals::default();
            totals.add(&metrics, class, None);
            let Some(rest) = self.totals_beyond(core, neighbours, &peer, forwarding, &location, &wants) else {
                continue;
            };
            add(&mut totals, &rest);
            let cost = totals.cost_of(asked.bytes as u64);
            let known = best.as_ref().map(|best| best.cost).or(below.map(|below| below.saturating_sub(1)));
            if known.is_some_and(|known| cost > known) || !keeps(&totals, &wants) {
                continue;
            }
            let success = u32::from(totals.success()).max(1);
            let attempts = u32::from(u16::MAX).div_ceil(success).min(MOST_ATTEMPTS);
            let need = Need {
                air: air_time((asked.bytes + asked.ahead) as u64, metrics.rate),
                way: Duration::from_micros(totals.delay).saturating_mul(2 * attempts - 1),
                leaves: asked.leaves,
                arrives: asked.arrives,
            };
            let Some(opens) = neighbours.link_metrics.opens(bearer, core.now.unix, &need) else { continue };
            if opens <= core.now.unix || best.as_ref().is_some_and(|best| (best.cost, best.opens) <= (cost, opens)) {
                continue;
            }
            let bearer = neighbours.link_metrics.bearer(bearer).name.clone();
            best = Some(Forecast { opens, bearer, cost, instead: below });
        }
        best
    }

    /// The totals of the path from a neighbour to a destination; `None` if none leads there.
    fn totals_beyond(
        &mut self,
        core: &Core,
        neighbours: &Neighbours,
        peer: &Pseudonym,
        forwarding: bool,
        location: &Location,
        wants: &Wants,
    ) -> Option<Totals> {
        match location {
            Location::NextToUs(to) => (to.body.key == *peer).then(Totals::default),
            Location::BeyondRouter(to) => (to.body.key == *peer || forwarding).then(Totals::default),
            Location::At(routers, leaf) => {
                if routers.contains(peer) || leaf.as_ref().is_some_and(|leaf| leaf.body.key == *peer) {
                    return Some(Totals::default());
                }
                let segment = self.segment_towards(core, neighbours, routers, leaf.as_ref());
                let past = [core.own];
                let from = self.routes.graph.index(peer).filter(|_| forwarding)?;
                let to: Vec<_> = routers.iter().filter_map(|router| self.routes.graph.index(router)).collect();
                let found = self.search_graph(from, &to, wants, &Avoided { nodes: &past, segment }).ok()?;
                Some(found.best.totals)
            }
        }
    }
}

fn add(totals: &mut Totals, rest: &Totals) {
    totals.price = totals.price.saturating_add(rest.price);
    totals.delay = totals.delay.saturating_add(rest.delay);
    totals.deviation = totals.deviation.saturating_add(rest.deviation);
    totals.failures = totals.failures.saturating_add(rest.failures);
    totals.energy = totals.energy.saturating_add(rest.energy);
    totals.bearers |= rest.bearers;
}
