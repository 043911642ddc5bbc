//! Struck: faults without effect, which are never drawn to strike, or strike what they do not change.

use super::{Looking, Warning};
use crate::plan::{Fault, FaultKind, Hostility, Plan};
use std::collections::BTreeSet;
use std::time::Duration;

impl Looking<'_> {
    /// Warns of entries of faults of which no strike has an effect.
    pub(super) fn struck(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (number, entry) in self.model.faults.iter().enumerate() {
            let strikes: Vec<&Fault> = self.plan.faults.iter().filter(|fault| fault.entry == number).collect();
            let Some(first) = strikes.first() else {
                let what = format!("this fault is not drawn to strike once with the seed {}", self.plan.seed);
                let hint = "raise its `rate`, lengthen `duration`, or let it strike `at` a time";
                found.push(self.warning(&entry.span(), what, hint));
                continue;
            };
            let idle: Option<Vec<Idle>> = strikes.iter().map(|fault| self.idle(fault)).collect();
            let Some((what, hint)) = idle.and_then(|idle| idle.into_iter().next()) else { continue };
            found.push(self.warning(&entry.span(), format!("the fault `{}` does nothing: {what}", first.label), hint));
        }
        found
    }

    /// Returns the reason for which a strike has no effect, if there is one, and what to do about it.
    fn idle(&self, fault: &Fault) -> Option<Idle> {
        let until = fault.until.unwrap_or(self.plan.duration);
        match &fault.what {
            FaultKind::Cut { edges, .. } | FaultKind::Flap { edges, .. } | FaultKind::Degrade { edges, .. }
                if edges.iter().all(|edge| self.standing.never(*edge).is_some()) =>
            {
                Some(("none of its links ever stands", "strike links that come up"))
            }
            FaultKind::Degrade { edges, shapes } => {
                let same = |edge: &usize| {
                    let own = &self.plan.edges[*edge].shapes;
                    shapes.iter().zip(own).all(|(then, own)| then.as_ref().is_none_or(|then| then == own))
                };
                let same = edges.iter().all(same);
                same.then_some(("its links behave so already", "write a `shape` that differs from theirs"))
            }
            FaultKind::Overload { factor: 1.0, .. } => {
                Some(("a factor of 1 is as much as always", "write another `factor`, as 10"))
            }
            FaultKind::Overload { flow, .. } => {
                let flow = &self.plan.flows[*flow];
                let apart = flow.end <= fault.at || flow.begin >= until;
                apart.then_some(("its flow sends nothing then", "let it strike between `begin` and `end` of the flow"))
            }
            FaultKind::Hostile { how: Hostility::Drop(0.0), .. } => {
                Some(("a share of 0 drops nothing", "write a `share` above 0, or leave it out for all"))
            }
            FaultKind::Crash(devices)
            | FaultKind::PowerCut(devices)
            | FaultKind::BatteryEmpty(devices)
            | FaultKind::Pause(devices)
            | FaultKind::DiskFull(devices)
            | FaultKind::ClockStep { devices, .. }
            | FaultKind::ClockDrift { devices, .. }
            | FaultKind::Hostile { devices, .. }
            | FaultKind::Stranger(devices)
            | FaultKind::Revoke { devices, .. }
            | FaultKind::Impostor(devices) => {
                let empty = empty(self.plan, fault.at);
                let all = devices.iter().all(|device| empty.contains(device));
                all.then_some(("the batteries of all that it strikes are empty by then", "strike others, or earlier"))
            }
            FaultKind::Cut { .. } | FaultKind::Flap { .. } => None,
        }
    }
}

/// Returns the devices that faults have left without power for good before a time.
fn empty(plan: &Plan, at: Duration) -> BTreeSet<usize> {
    let before = plan.faults.iter().filter(|fault| fault.at < at);
    let devices = before.filter_map(|fault| match &fault.what {
        FaultKind::BatteryEmpty(devices) => Some(devices),
        _ => None,
    });
    devices.flatten().copied().collect()
}

/// The reason for which a fault has no effect, and what to do next.
type Idle = (&'static str, &'static str);
