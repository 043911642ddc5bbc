//! Links as they are to be: which are cut, and how each direction of the others behaves, for each node to be told.
//!
//! Several faults may bear on one link at a time: it stays cut until the last of them is over, and of those that degrade it the last holds.

use super::layout::node;
use crate::plan::Plan;
use m2mesh::gateway::dto::{Lab, Shape};
use m2mesh::net::emulation;

/// See the module's documentation.
pub struct Links {
    devices: usize,
    links: Vec<Link>,
}

struct Link {
    ends: [usize; 2],
    planned: [emulation::Shape; 2],
    degraded: [Option<emulation::Shape>; 2],
    /// How many faults cut it, and of those how many without telling its ends.
    cuts: u32,
    silent: u32,
}

impl Links {
    /// As planned.
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

    /// A fault cuts a link, or no longer does. Answers its ends.
    pub fn cut(&mut self, link: usize, silent: bool, begins: bool) -> [usize; 2] {
        let link = &mut self.links[link];
        let change = |count: &mut u32| *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        change(&mut link.cuts);
        if silent {
            change(&mut link.silent);
        }
        link.ends
    }

    /// A link behaves otherwise, in the directions of which that is said. Answers its ends.
    pub fn degrade(&mut self, link: usize, shapes: [Option<emulation::Shape>; 2]) -> [usize; 2] {
        let link = &mut self.links[link];
        link.degraded = shapes;
        link.ends
    }

    /// Whether a link is not cut.
    pub fn is_open(&self, link: usize) -> bool {
        self.links[link].cuts == 0
    }

    /// What a device's node is to be told.
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

    /// What each node is to be told.
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
        // Of two, the one that is told of holds.
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
