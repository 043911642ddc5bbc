//! Expected: expectations that are decided before the run, since no value could miss them, or none could satisfy them.
//!
//! Every metric has a range that follows from its unit: a share is from 0 to 1, and no metric is less than 0. The plan
//! narrows some ranges: without prices there is no cost, without faults there is no healing, messages are not handed
//! over after their deadlines (unless clocks or disks are faulty), and no time is longer than the run.

use super::{Looking, Warning};
use crate::metrics::{self, Unit};
use crate::plan::{Comparison, Expectation, FaultKind, Flow, Plan, Wanted};
use std::time::Duration;

impl Looking<'_> {
    pub(super) fn expected(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (expected, model) in self.plan.expectations.iter().zip(&self.model.expect) {
            for one in std::iter::once(expected).chain(&expected.or) {
                let (what, hint) = match decided(self.plan, one) {
                    Some((true, why)) => (
                        format!("no value could miss `{}`: {why}", one.text),
                        "write a limit that a run could miss, or remove it",
                    ),
                    Some((false, why)) => (
                        format!("no value could hold `{}`: {why}", one.text),
                        "write a limit that a run could hold, or remove it",
                    ),
                    None => continue,
                };
                found.push(self.warning(&model.span(), what, hint));
            }
        }
        found
    }
}

/// The range of a metric's values, and the reason for it.
struct Bounds {
    least: f64,
    most: f64,
    why: String,
}

/// Returns whether an expectation always or never holds, and why; `None` if the run decides.
fn decided(plan: &Plan, expected: &Expectation) -> Option<(bool, String)> {
    use Comparison::{AtLeast, AtMost, Equal, Less, More};
    let wanted = match &expected.wanted {
        Wanted::Metric(other) if *other == expected.metric => {
            let holds = matches!(expected.comparison, AtMost | AtLeast | Equal);
            return Some((holds, "it compares a metric with itself".to_owned()));
        }
        Wanted::Metric(_) => return None,
        Wanted::Value(wanted) => *wanted,
    };
    let Bounds { least, most, why } = bounds(plan, &expected.metric)?;
    let (always, never) = match expected.comparison {
        AtMost => (most <= wanted, least > wanted),
        Less => (most < wanted, least >= wanted),
        AtLeast => (least >= wanted, most < wanted),
        More => (least > wanted, most <= wanted),
        Equal => (least == wanted && most == wanted, wanted < least || wanted > most),
    };
    (always || never).then_some((always, why))
}

fn bounds(plan: &Plan, key: &str) -> Option<Bounds> {
    let (name, selector) =
        key.split_once('[').map_or((key, None), |(name, rest)| (name, Some(rest.trim_end_matches(']'))));
    let metric = metrics::find(name)?;
    let upto = |most: f64, why: String| Some(Bounds { least: 0.0, most, why });
    let priced = plan.bearers.iter().any(|bearer| bearer.is_priced());
    let run = plan.warmup + plan.duration + plan.settle;
    match name {
        "converged" if plan.faults.is_empty() => upto(0.0, "there are no faults from which to heal".to_owned()),
        _ if name.starts_with("turn.") && !plan.anonymity.rotates() => {
            upto(0.0, "no device changes its pseudonym".to_owned())
        }
        _ if name.starts_with("revocation.") && !plan.faults.iter().any(|fault| revokes(&fault.what)) => {
            upto(0.0, "no device is revoked".to_owned())
        }
        "radio.collided" if plan.bearers.iter().all(|bearer| bearer.collisions.is_none()) => {
            upto(0.0, "no bearer has `collisions`".to_owned())
        }
        "radio.faded" if plan.bearers.iter().all(|bearer| bearer.bursts.is_none()) => {
            upto(0.0, "no bearer has `bursts`".to_owned())
        }
        "battery.life" => upto(f64::INFINITY, NOTHING_LESS.to_owned()),
        _ => match metric.unit {
            Unit::Share => upto(1.0, "it is a share, from 0 to 1".to_owned()),
            Unit::Money if !priced => upto(0.0, "no bearer has a price".to_owned()),
            Unit::Seconds if name.starts_with("latency.") => match longest(plan, selector) {
                Some(deadline) => {
                    let why = format!(
                        "nothing is handed over after its deadline, {} at most",
                        humantime::format_duration(deadline)
                    );
                    let flush = plan.devices.iter().map(|device| device.flush).max().unwrap_or_default();
                    upto((deadline + flush * 3 + MOMENT).as_secs_f64(), why)
                }
                None => upto(run.as_secs_f64(), within(run)),
            },
            Unit::Seconds => upto(run.as_secs_f64(), within(run)),
            _ => upto(f64::INFINITY, NOTHING_LESS.to_owned()),
        },
    }
}

fn revokes(what: &FaultKind) -> bool {
    matches!(what, FaultKind::Revoke { .. })
}

/// Returns the longest deadline of the messages to which a metric refers; `None` if clocks or disks are faulty or a
/// process is paused, which may delay messages.
fn longest(plan: &Plan, selector: Option<&str>) -> Option<Duration> {
    use FaultKind::{ClockDrift, ClockStep, DiskFull, Pause};
    let unsound = |what: &FaultKind| matches!(what, ClockStep { .. } | ClockDrift { .. } | DiskFull(_) | Pause(_));
    if plan.faults.iter().any(|fault| unsound(&fault.what)) {
        return None;
    }
    let of = |flow: &&Flow| match selector.and_then(|selector| selector.split_once('=')) {
        None => true,
        Some(("flow", name)) => flow.name == name,
        Some(("class", name)) => metrics::class(flow.class) == name,
        Some(("policy", name)) => flow.policy.as_deref() == Some(name),
        Some(("group", name)) => flow.from.iter().any(|from| plan.devices[*from].group == name),
        Some(_) => true,
    };
    plan.flows.iter().filter(of).map(|flow| flow.deadline).max()
}

fn within(run: Duration) -> String {
    format!("the whole run takes {}", humantime::format_duration(run))
}

const NOTHING_LESS: &str = "it is never less than 0";
/// The time by which a message may be handed over later than its deadline, in addition to the disks' flushes, with a
/// margin.
const MOMENT: Duration = Duration::from_secs(1);
