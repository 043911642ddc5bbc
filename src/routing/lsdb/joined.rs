//! Joined: from advertisements to a graph, by joining the claims of both ends of each link.
//!
//! 1. Every router that is not leaving claims its links. Neighbours are resolved to routers; if two claims turn out to
//!    be of one link, the worse of them counts for each metric.
//! 2. This node's own claims are the links that it sees now, in place of those that it has advertised.
//! 3. A link counts if the other end claims a link of the same bearer; each metric is the worse of both claims. For the
//!    outgoing direction of an own link, the metrics that this node measures (delay, deviation, success) are taken from
//!    its own claim alone.
//! 4. Nobody claims a link to a node that has advertised nothing: its own links count as it sees them.

use super::{Entry, Lsdb};
use crate::id::{CredentialHash, Pseudonym};
use crate::routing::graph::{Graph, Metrics};
use crate::wire::lsa::LsaLink;
use std::collections::BTreeMap;

/// A link of this node, as it sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLink {
    /// The neighbour.
    pub to: Pseudonym,
    /// The bearer class.
    pub bearer: u8,
    /// The metrics in the direction of the neighbour.
    pub metrics: Metrics,
    /// Whether the link can be used now: it is up, not silent, and within its windows and quota.
    pub usable: bool,
}

/// The node where a link begins, the node where it leads, and the bearer class.
type Key = (u32, u32, u8);

impl Lsdb {
    /// The graph as this node sees it: its own links are those given, as they are now, and no others. `resolve` finds a
    /// router by a credential that no advertisement here has used.
    pub fn graph(&self, resolve: &dyn Fn(&CredentialHash) -> Option<Pseudonym>, own: &[OwnLink]) -> Graph {
        self.join(resolve, Some(own))
    }

    /// The graph that follows from the advertisements alone, the own one included: it is the same for all nodes with
    /// the same database.
    pub fn told_graph(&self, resolve: &dyn Fn(&CredentialHash) -> Option<Pseudonym>) -> Graph {
        self.join(resolve, None)
    }

    fn join(&self, resolve: &dyn Fn(&CredentialHash) -> Option<Pseudonym>, own: Option<&[OwnLink]>) -> Graph {
        let former = |router: &Pseudonym| own.is_some() && self.former.as_ref() == Some(router);
        let entries = self.entries.values().filter(|entry| !former(&entry.router));
        let alive: Vec<&Entry> = entries.clone().filter(|entry| !entry.lsa.leaving).collect();
        let mut nodes: Vec<Pseudonym> = entries.map(|entry| entry.router).chain([self.own]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let place = |router: &Pseudonym| nodes.binary_search(router).ok().and_then(|at| u32::try_from(at).ok());
        let places: BTreeMap<CredentialHash, u32> =
            alive.iter().filter_map(|entry| Some((entry.lsa.origin, place(&entry.router)?))).collect();
        let find = |hash: &CredentialHash| {
            let other = || place(&self.router_of(hash).or_else(|| resolve(hash))?);
            places.get(hash).copied().or_else(other)
        };
        let this = place(&self.own).unwrap_or(u32::MAX);

        let mut claims: Vec<(Key, Metrics)> = Vec::new();
        for entry in &alive {
            let Some(from) = place(&entry.router).filter(|from| own.is_none() || *from != this) else { continue };
            let links = entry.lsa.links.iter();
            claims.extend(links.filter_map(|link| Some(((from, find(&link.to)?, link.bearer), metrics(link)))));
        }
        let own_links = own.unwrap_or_default().iter().filter(|link| link.usable);
        claims.extend(own_links.filter_map(|link| Some(((this, place(&link.to)?, link.bearer), link.metrics))));
        claims.sort_by_key(|(key, _)| *key);
        claims.dedup_by(|(key, metrics), (kept, worst)| {
            let same = key == kept;
            if same {
                *worst = worse(worst, metrics);
            }
            same
        });

        let claim = |key: Key| claims.binary_search_by_key(&key, |(key, _)| *key).ok().map(|at| &claims[at].1);
        let silent = own.is_some() && self.entries.get(&self.own).is_none_or(|entry| entry.lsa.leaving);
        let joined = claims.iter().filter_map(|((from, to, bearer), one)| {
            let ours = own.is_some() && *from == this;
            let metrics = match claim((*to, *from, *bearer)) {
                Some(other) if ours => {
                    Metrics { delay: one.delay, deviation: one.deviation, success: one.success, ..worse(one, other) }
                }
                Some(other) => worse(one, other),
                None if ours && silent && places.values().any(|place| place == to) => *one,
                None => return None,
            };
            Some((nodes[*from as usize], nodes[*to as usize], *bearer, metrics))
        });
        let edges: Vec<_> = joined.collect();
        Graph::new(nodes.iter().copied(), edges)
    }
}

fn metrics(link: &LsaLink) -> Metrics {
    let LsaLink { to: _, bearer: _, price, delay, deviation, success, energy, rate, mtu } = *link;
    Metrics { price, delay, deviation, success, energy, rate, mtu }
}

fn worse(one: &Metrics, other: &Metrics) -> Metrics {
    Metrics {
        price: one.price.max(other.price),
        delay: one.delay.max(other.delay),
        deviation: one.deviation.max(other.deviation),
        success: one.success.min(other.success),
        energy: one.energy.max(other.energy),
        rate: one.rate.min(other.rate),
        mtu: one.mtu.min(other.mtu),
    }
}
