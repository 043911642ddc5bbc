//! Links: the wanted state of the links, which each node is told: which are cut, and the shape of each direction of the
//! others.
//!
//! Several faults may affect one link at a time: it stays cut until the last of them is over, and of those that degrade
//! it the last is in force.

use super::layout::node;
use crate::plan::Plan;
use m2mesh::gateway::dto::{Lab, Shape};
use m2mesh::net::emulation;

/// The wanted state of the links: see the module's documentation.
pub struct Links {
    devices: usize,
    links: Vec<Link>,
}

struct Link {
    ends: [usize; 2],
    planned: [emulation::Shape; 2],
    degraded: [Option<emulation::Shape>; 2],
    /// The number of faults that cut it, and of those the number that do so silently.
    cuts: u32,
    silent: u32,
}

impl Links {
    /// Returns the links as planned.
    pub fn new(plan: &Plan) -> Self {
        let link = |edge: &crate::plan::Edge| Link {
            ends: [edge.a, edge.b],
            planned: edge.shapes,
            degraded: [None; 2],
            cuts: 0,
            silent: 0,
        };
        Self { devices: plan.devices.len(), links: plan.edges.iter().map(link).collect() }
    }

    /// Notes that a fault cuts a link, or no longer does. Returns the link's ends.
    pub fn cut(&mut self, link: usize, silent: bool, begins: bool) -> [usize; 2] {
        let link = &mut self.links[link];
        let change = |count: &mut u32| *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        change(&mut link.cuts);
        if silent {
            change(&mut link.silent);
        }
        link.ends
    }

    /// Sets the shapes of a link, in the directions for which one is given. Returns the link's ends.
    pub fn degrade(&mut self, link: usize, shapes: [Option<emulation::Shape>; 2]) -> [usize; 2] {
        let link = &mut self.links[link];
        link.degraded = shapes;
        link.ends
    }

    /// Returns whether a link is not cut.
    pub fn is_open(&self, link: usize) -> bool {
        self.links[link].cuts == 0
    }

    /// Returns the settings for a device's node.
    pub fn of(&self, device: usize) -> Lab {
        let mut told = Lab { only: Some(Default::default()), ..Lab::default() };
        for link in &self.links {
            let Some(end) = link.ends.iter().position(|end| *end == device) else { continue };
            let other = node(link.ends[1 - end]);
            if link.cuts > link.silent {
                told.cut.insert(other.clone());
            } else if link.cuts > 0 {
                told.silent.insert(other.clone());
            }
            let price = link.planned[end].price;
            let shape = link.degraded[end].map_or(link.planned[end], |shape| emulation::Shape { price, ..shape });
            if !shape.is_plain() {
                told.shape.insert(other.clone(), Shape::from(shape));
            }
            told.only.get_or_insert_default().insert(other);
        }
        told
    }

    /// Returns the settings for each node.
    pub fn all(&self) -> impl Iterator<Item = (usize, Lab)> {
        (0..self.devices).map(|device| (device, self.of(device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn a_link_is_cut_until_the_last_fault_is_over_and_each_direction_has_its_shape() {
        let set = ["devices.node.count=3", "traffic=[]", "expect=[]"].map(str::to_owned);
        let plan = load(Path::new("multi-hop-line"), &set).and_then(|loaded| loaded.plan(None)).expect("sound");
        let mut links = Links::new(&plan);
        let told = links.of(1);
        assert_eq!(told.only, Some(["node-1", "node-3"].map(str::to_owned).into()));
        assert!(told.cut.is_empty() && told.silent.is_empty() && told.shape.len() == 2, "{told:?}");
        let cuts = |links: &Links| (links.of(1).cut.len(), links.of(1).silent.len(), links.is_open(0));
        assert_eq!(links.cut(0, true, true), [0, 1]);
        assert_eq!(cuts(&links), (0, 1, false));
        // Of two cuts, the one that is reported to the ends is in force.
        links.cut(0, false, true);
        assert_eq!(cuts(&links), (1, 0, false));
        links.cut(0, false, false);
        assert_eq!(cuts(&links), (0, 1, false));
        links.cut(0, true, false);
        assert_eq!(cuts(&links), (0, 0, true));
        let slow = emulation::Shape { delay: Duration::from_millis(90), ..emulation::Shape::default() };
        assert_eq!(links.degrade(1, [Some(slow), None]), [1, 2]);
        let delay = |device: usize, to: &str| links.of(device).shape[to].delay.map(|delay| delay.0.as_millis());
        assert_eq!([delay(1, "node-3"), delay(2, "node-2")], [Some(90), Some(20)]);
    }
}
