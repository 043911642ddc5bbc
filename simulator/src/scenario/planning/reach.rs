//! Who can send to whom: over a link of its own, or over devices that forward.
//!
//! All links count that are given: some may stand only for a while, or be found only when somebody comes near.

use super::Planning;
use crate::plan::{Device, Edge};
use std::collections::BTreeSet;

/// See the module's documentation.
pub struct Reach {
    /// By device: those with which it can link.
    pub near: Vec<BTreeSet<usize>>,
    /// By device: the parts of the network that it is in. One that does not forward may be in several.
    parts: Vec<BTreeSet<usize>>,
}

impl Planning<'_> {
    pub(super) fn reach(&self) -> Reach {
        Reach::over(&self.devices, &self.edges)
    }
}

impl Reach {
    /// Over these links alone.
    pub fn over<'e>(devices: &[Device], edges: impl IntoIterator<Item = &'e Edge>) -> Self {
        let mut near = vec![BTreeSet::new(); devices.len()];
        for edge in edges {
            near[edge.a].insert(edge.b);
            near[edge.b].insert(edge.a);
        }
        let forwards = |device: usize| devices[device].forwarding;
        let mut parts = vec![BTreeSet::new(); devices.len()];
        for first in (0..devices.len()).filter(|device| forwards(*device)) {
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
        Self { near, parts }
    }

    /// Whether a message can get from one to the other.
    pub fn can(&self, from: usize, to: usize) -> bool {
        from != to && (self.near[from].contains(&to) || !self.parts[from].is_disjoint(&self.parts[to]))
    }
}
