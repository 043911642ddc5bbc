//! Spending: the traffic of each device over each bearer in the measured time, and its cost.

use super::medium::Medium;
use crate::plan::Plan;
use crate::record;
use std::collections::BTreeMap;
use std::time::Duration;

/// The spending of all devices: see the module's documentation.
#[derive(Debug, Default)]
pub struct Spending {
    /// The bytes and their cost at the end of the warm-up, by edge and direction.
    before: Option<Vec<[(u64, f64); 2]>>,
}

impl Spending {
    /// Notes that time has passed.
    pub fn handle_time(&mut self, plan: &Plan, medium: &Medium, after: Duration) {
        if self.before.is_none() && after >= plan.warmup {
            self.before = Some((0..plan.edges.len()).map(|edge| medium.edge_sent(edge)).collect());
        }
    }

    /// Returns the traffic since the end of the warm-up, device by device, without entries that are zero.
    pub fn since(&self, plan: &Plan, medium: &Medium) -> Vec<record::Spending> {
        let mut sums = BTreeMap::<(usize, usize), (u64, f64)>::new();
        for (number, edge) in plan.edges.iter().enumerate() {
            let before = self.before.as_ref().and_then(|before| before.get(number)).copied().unwrap_or_default();
            let halves = medium.edge_sent(number).into_iter().zip(before).zip([edge.a, edge.b]);
            for (((bytes, cost), (bytes_before, cost_before)), node) in halves {
                let sum = sums.entry((node, edge.bearer)).or_default();
                *sum = (sum.0 + bytes - bytes_before, sum.1 + cost - cost_before);
            }
        }
        let spent = sums.into_iter().filter(|(_, (bytes, _))| *bytes > 0);
        spent.map(|((node, bearer), (bytes, cost))| record::Spending { node, bearer, bytes, cost }).collect()
    }
}
