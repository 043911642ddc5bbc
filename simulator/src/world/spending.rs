//! Spending: what each device sent over each bearer in the measured time, and what that cost.

use super::medium::Medium;
use crate::plan::Plan;
use crate::record;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Spending {
    /// By edge and direction, when the warm-up ended: bytes and their cost.
    before: Option<Vec<[(u64, f64); 2]>>,
}

impl Spending {
    /// It is so late now.
    pub fn handle_time(&mut self, plan: &Plan, medium: &Medium, after: Duration) {
        if self.before.is_none() && after >= plan.warmup {
            self.before = Some((0..plan.edges.len()).map(|edge| medium.edge_sent(edge)).collect());
        }
    }

    /// What has been sent since, device by device; those with nothing are left out.
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
