//! Reach: the pairs of devices that can send to each other, over a link of their own or over devices that forward.
//!
//! All given links count, even those that may be up only for a while, or that are found only when a device comes near.

use super::Planning;
use crate::plan::{Device, Edge};
use std::collections::BTreeSet;

/// The reach of devices: see the module's documentation.
pub struct Reach {
    /// By device: the devices with which it can link.
    pub near: Vec<BTreeSet<usize>>,
    /// By device: the parts of the network to which it belongs. A device that does not forward may belong to several.
    parts: Vec<BTreeSet<usize>>,
}

impl Planning<'_> {
    pub(super) fn reach(&self) -> Reach {
        Reach::over(&self.devices, &self.edges)
    }
}

impl Reach {
    /// Returns the reach over these links alone.
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

    /// Returns whether a message can get from one device to the other.
    pub fn can(&self, from: usize, to: usize) -> bool {
        from != to && (self.near[from].contains(&to) || !self.parts[from].is_disjoint(&self.parts[to]))
    }
}
