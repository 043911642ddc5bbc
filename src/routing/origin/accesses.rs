//! Accesses: what the links of a router to its leaves are worth, gathered by kind of link.
//!
//! A router advertises the handles of its leaves and not each link to them, so that a thousand leaves are cheap. Links of which the same is
//! configured are of one kind, and mostly worth about the same; of what is measured their mean is told. Who looks for a way to
//! a leaf at several routers adds it to the way to each of them.
//!
//! Invariants
//! 1. A leaf is at one access at most.
//! - At most [`MAX_ACCESSES`](crate::wire::lsa::MAX_ACCESSES) are told. Drop policy: the last in order are left out; what links to their
//!   leaves are worth is then not known.

use crate::id::Handle;
use crate::routing::graph::Metrics;
use crate::wire::lsa::LsaAccess;
use std::collections::BTreeMap;

/// The links of one kind to leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The bearer class, see [`Bearer`](crate::wire::lsa::Bearer).
    pub bearer: u8,
    /// What is configured of all of them, and the means of what is measured.
    pub metrics: Metrics,
    /// The leaves at their other ends, ascending.
    pub leaves: Vec<Handle>,
}

impl Access {
    /// Gathers links to leaves, each with its bearer class: of several links to one leaf the cheapest counts, of these the quickest.
    pub fn gathered(links: impl IntoIterator<Item = (Handle, u8, Metrics)>) -> Vec<Self> {
        let mut best: BTreeMap<Handle, (u8, Metrics)> = BTreeMap::new();
        for (leaf, bearer, metrics) in links {
            let known = best.entry(leaf).or_insert((bearer, metrics));
            if (metrics.price, metrics.delay, bearer) < (known.1.price, known.1.delay, known.0) {
                *known = (bearer, metrics);
            }
        }
        let mut kinds: BTreeMap<_, Vec<(Handle, Metrics)>> = BTreeMap::new();
        for (leaf, (bearer, metrics)) in best {
            kinds.entry(kind(bearer, &metrics)).or_default().push((leaf, metrics));
        }
        let mean = |links: &[(Handle, Metrics)], of: fn(&Metrics) -> u64| {
            links.iter().map(|(_, metrics)| of(metrics)).sum::<u64>() / (links.len() as u64).max(1)
        };
        let accesses = kinds.into_iter().map(|((bearer, price, energy, rate, mtu), links)| {
            let time = |of| u32::try_from(mean(&links, of)).unwrap_or(u32::MAX);
            let success = u16::try_from(mean(&links, |metrics| metrics.success.into())).unwrap_or(u16::MAX);
            let (delay, deviation) = (time(|metrics| metrics.delay.into()), time(|metrics| metrics.deviation.into()));
            let metrics = Metrics { price, delay, deviation, success, energy, rate, mtu };
            Self { bearer, metrics, leaves: links.into_iter().map(|(leaf, _)| leaf).collect() }
        });
        accesses.collect()
    }

    /// What tells the kinds of links apart, and orders them.
    pub(super) fn kind(&self) -> (u8, u64, u32, u32, u32) {
        kind(self.bearer, &self.metrics)
    }

    /// The means of what is measured: delay, its deviation, and the chance that a frame arrives.
    pub(super) fn measured(&self) -> (u32, u32, u16) {
        (self.metrics.delay, self.metrics.deviation, self.metrics.success)
    }

    /// Takes what is measured from an earlier access of the kind.
    pub(super) fn repeat(&mut self, earlier: &Self) {
        let Metrics { delay, deviation, success, .. } = earlier.metrics;
        self.metrics = Metrics { delay, deviation, success, ..self.metrics };
    }

    /// The access as it is advertised beside these leaves, which ascend; `None` if none of its own is among them.
    pub(super) fn told(&self, leaves: &[Handle]) -> Option<LsaAccess> {
        let mut places = self.leaves.iter().filter_map(|leaf| leaves.binary_search(leaf).ok()).peekable();
        places.peek()?;
        let leaves = LsaAccess::places(places, leaves.len());
        let Metrics { price, delay, deviation, success, energy, rate, mtu } = self.metrics;
        Some(LsaAccess { bearer: self.bearer, price, delay, deviation, success, energy, rate, mtu, leaves })
    }
}

fn kind(bearer: u8, metrics: &Metrics) -> (u8, u64, u32, u32, u32) {
    (bearer, metrics.price, metrics.energy, metrics.rate, metrics.mtu)
}
