//! Asking: what nodes report of themselves, which is not visible on any wire.

use super::agenda::{Agenda, Item};
use super::device::Device;
use super::executor;
use super::medium::{NANOS, now};
use super::sampler::Parts;
use crate::metrics::OfNodes;
use crate::plan::{Edge, Plan};
use m2mesh::client::{Command, Reply, Status};
use m2mesh::metrics::{Gauge, Gauges};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Returns the states of all nodes that are on, in no particular order.
pub fn statuses(devices: &[Device]) -> Vec<Status> {
    let all = Arc::new(Mutex::new(Vec::new()));
    for application in devices.iter().filter_map(Device::application) {
        let (caller, all) = (application.caller.clone(), all.clone());
        executor::spawn(application.owner, async move {
            if let Ok(Reply::Status(status)) = caller.ask(Command::Status).await {
                all.lock().unwrap_or_else(PoisonError::into_inner).push(*status);
            }
        });
    }
    executor::run_ready();
    std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The reports of nodes on themselves, summed.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The counters, by name.
    pub counters: BTreeMap<String, u64>,
    /// The gauges, by name.
    pub gauges: BTreeMap<String, u64>,
}

impl Totals {
    /// Adds the report of a node.
    pub fn add(&mut self, counters: BTreeMap<String, u64>, gauges: &Gauges) {
        for (name, count) in counters {
            *self.counters.entry(name).or_default() += count;
        }
        for gauge in Gauge::ALL {
            *self.gauges.entry(gauge.name.to_owned()).or_default() += gauge.of(gauges);
        }
    }

    /// Returns one of the sums.
    pub fn of(&self, what: OfNodes) -> u64 {
        let value = match what {
            OfNodes::Counter(counter) => self.counters.get(counter.name()),
            OfNodes::Gauge(gauge) => self.gauges.get(gauge.name),
        };
        value.copied().unwrap_or_default()
    }
}

/// Returns the sums over all nodes that are on.
pub fn totals(devices: &[Device]) -> Totals {
    let mut totals = Totals::default();
    for status in statuses(devices) {
        totals.add(status.counters, &status.gauges);
    }
    totals
}

/// A measurement of the time at which the forwarding devices have routes to each other.
pub struct Routed {
    every: Duration,
    /// The number of possible routes.
    wanted: usize,
    /// The time at which 99 % of them existed, in nanoseconds.
    pub at: Option<u64>,
}

impl Routed {
    /// Returns a measurement that has asked nothing yet.
    pub fn new(plan: &Plan) -> Self {
        let routers = |device: &usize| plan.devices[*device].forwarding;
        let within = |edge: &&Edge| plan.devices[edge.a].area == plan.devices[edge.b].area;
        // A device that cannot reach the rest of its area has no route to it, and is not waited for.
        let mut parts = Parts::new(plan.devices.len());
        for edge in plan.edges.iter().filter(|edge| routers(&edge.a) && routers(&edge.b)).filter(within) {
            parts.join(edge.a, edge.b);
        }
        let mut sizes = BTreeMap::<usize, usize>::new();
        for device in (0..plan.devices.len()).filter(routers) {
            *sizes.entry(parts.find(device)).or_default() += 1;
        }
        let scale = u32::try_from(plan.devices.len() / MANY).unwrap_or(u32::MAX).max(1);
        Self { every: EVERY * scale, wanted: sizes.into_values().map(|count| count * (count - 1)).sum(), at: None }
    }

    /// Enters the first question into the agenda.
    pub fn begin(&self, agenda: &Agenda) {
        if self.wanted > 0 {
            agenda.enter(self.every, Item::Ask);
        }
    }

    /// Asks the nodes, and enters the next question, if there is one.
    pub fn ask(&mut self, devices: &[Device], agenda: &Agenda) {
        let routes: u64 = statuses(devices).into_iter().map(|status| status.gauges.routers).sum();
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        if routes * 100 >= self.wanted as u64 * 99 {
            self.at = Some(now());
        } else if after < LONGEST {
            agenda.enter(after + self.every, Item::Ask);
        }
    }
}

/// The interval of questions, and the number of nodes up to which it applies; larger networks are asked less often.
const EVERY: Duration = Duration::from_millis(50);
const MANY: usize = 100;
/// The time after which nodes are no longer asked.
const LONGEST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::of_nodes;

    #[test]
    fn what_nodes_tell_is_added_up_by_name() {
        let mut totals = Totals::default();
        let counters = BTreeMap::from([("data_looped".to_owned(), 2)]);
        for inbox in [3, 4] {
            totals.add(counters.clone(), &Gauges { inbox, ..Gauges::default() });
        }
        let of = |name: &str| of_nodes(name).map(|what| totals.of(what));
        assert_eq!((of("counter.data_looped"), of("gauge.inbox"), of("gauge.outgoing")), (Some(4), Some(7), Some(0)));
        assert_eq!((of("gauge.data_looped"), of("counter.inbox"), of("inbox")), (None, None, None));
    }
}
