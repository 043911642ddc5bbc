//! Who can send to whom: over a link of its own, or over devices that forward.
//!
//! All links count that can be: some may stand only for a while, or be found only when somebody comes near.

use super::Planning;
use std::collections::BTreeSet;

/// See the module's documentation.
pub(super) struct Reach {
    /// By device: those with which it can link.
    pub(super) near: Vec<BTreeSet<usize>>,
    /// By device: the parts of the network that it is in. One that does not forward may be in several.
    parts: Vec<BTreeSet<usize>>,
}

impl Planning<'_> {
    pub(super) fn reach(&self) -> Reach {
        let mut near = vec![BTreeSet::new(); self.devices.len()];
        for edge in &self.edges {
            near[edge.a].insert(edge.b);
            near[edge.b].insert(edge.a);
        }
        let forwards = |device: usize| self.devices[device].forwarding;
        let mut parts = vec![BTreeSet::new(); self.devices.len()];
        for first in (0..self.devices.len()).filter(|device| forwards(*device)) {
            if !parts[first].is_empty() {
                continue;
            }
            let mut open = vec![first];
            while let Some(at) = open.pop() {
                if parts[at].insert(first) && forwards(at) {
                    open.extend(&near[at]);
                }
            }
        }
        Reach { near, parts }
    }
}

impl Reach {
    /// Whether a message can get from one to the other.
    pub(super) fn can(&self, from: usize, to: usize) -> bool {
        from != to && (self.near[from].contains(&to) || !self.parts[from].is_disjoint(&self.parts[to]))
    }
}
