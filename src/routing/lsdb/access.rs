//! Access: what the link between a router and one of its leaves is worth.

use super::Lsdb;
use crate::id::{Handle, Pseudonym};
use crate::routing::graph::Metrics;
use crate::wire::lsa::LsaAccess;

impl Lsdb {
    /// The bearer class and the metrics of the link between a router and one of its leaves; `None` if the router does not tell them.
    pub fn access(&self, router: &Pseudonym, leaf: &Handle) -> Option<(u8, Metrics)> {
        let access = self.entry(router)?.lsa.access_of(leaf)?;
        let &LsaAccess { bearer, price, delay, deviation, success, energy, rate, mtu, leaves: _ } = access;
        Some((bearer, Metrics { price, delay, deviation, success, energy, rate, mtu }))
    }
}
