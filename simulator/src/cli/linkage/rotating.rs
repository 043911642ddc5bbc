//! Rotating: the plan of a scenario, changed so that all devices rotate for a number of whole epochs.

use super::Arguments;
use crate::cli::failure::Failure;
use crate::plan::Plan;
use crate::scenario;
use crate::virtual_os::splitmix;
use std::collections::BTreeSet;
use std::time::Duration;

/// Returns the plan to be run. The run begins with an epoch, and ends just before another would begin.
pub(super) fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let planned = scenario::load(&arguments.scenario, &arguments.set)?.plan(arguments.seed)?;
    let epoch = arguments.epoch.unwrap_or(Duration::from_secs(planned.epoch.seconds()));
    let whole = epoch * u32::from(arguments.epochs);
    let duration = whole.saturating_sub(planned.warmup + planned.settle + END);
    if duration.is_zero() {
        let length = humantime::format_duration(whole);
        let error = format!("{} epochs last {length}, and warming up and settling more", arguments.epochs);
        return Err(Failure::new(error, "lengthen --epoch, or shorten `warmup` and `settle` by --set"));
    }
    let mut set = arguments.set.clone();
    set.push(format!("realm.epoch={}s", epoch.as_secs()));
    set.push(format!("realm.epochs={}", arguments.epochs + SPARE));
    set.push(format!("duration={}ms", duration.as_millis()));
    if !planned.anonymity.rotates() {
        set.push("realm.anonymity=rotating".to_owned());
    }
    let mut plan = scenario::load(&arguments.scenario, &set)?.plan(arguments.seed)?;
    let length = plan.epoch;
    plan.start = length.start(length.epoch_at(plan.start));
    plan.expectations = Vec::new();
    if let Some(share) = arguments.leaves {
        make_leaves(&mut plan, share);
    }
    Ok(plan)
}

/// Makes devices leaves. The issuer's device stays a router, the routers stay connected as far as they are, and each
/// leaf can be linked to one of them.
fn make_leaves(plan: &mut Plan, share: f64) {
    let wanted = (plan.devices.len() as f64 * share).round() as usize;
    let mut neighbours = vec![BTreeSet::new(); plan.devices.len()];
    for edge in &plan.edges {
        neighbours[edge.a].insert(edge.b);
        neighbours[edge.b].insert(edge.a);
    }
    let mut routers: BTreeSet<usize> = (0..plan.devices.len()).filter(|at| plan.devices[*at].forwarding).collect();
    let mut tried: Vec<usize> = routers.iter().copied().filter(|at| *at > 0).collect();
    let mut state = plan.seed ^ LEAVES;
    let parts = parts(&neighbours, &routers);
    while plan.devices.len() - routers.len() < wanted && !tried.is_empty() {
        let device = tried.swap_remove((splitmix(&mut state) % tried.len() as u64) as usize);
        routers.remove(&device);
        let linked = |leaf: &usize| neighbours[*leaf].iter().any(|other| routers.contains(other));
        let leaves = (0..plan.devices.len()).filter(|at| !routers.contains(at));
        if self::parts(&neighbours, &routers) <= parts && leaves.into_iter().all(|leaf| linked(&leaf)) {
            plan.devices[device].forwarding = false;
        } else {
            routers.insert(device);
        }
    }
}

/// Returns the number of parts into which routers fall.
fn parts(neighbours: &[BTreeSet<usize>], routers: &BTreeSet<usize>) -> usize {
    let (mut left, mut parts) = (routers.clone(), 0);
    while let Some(first) = left.pop_first() {
        parts += 1;
        let mut next = vec![first];
        while let Some(at) = next.pop() {
            next.extend(neighbours[at].iter().copied().filter(|other| left.remove(other)));
        }
    }
    parts
}

/// The time before the end of the last epoch at which a run ends.
const END: Duration = Duration::from_secs(1);
/// The number of epochs of credentials beyond those that are observed, so that none is renewed.
const SPARE: u16 = 3;
/// What distinguishes this draw from others with the run's seed.
const LEAVES: u64 = 0x1eaf;
