//! Moving: changes by the clock, which are the positions of devices, the times of their radios, and the access windows
//! of bearers.

use super::agenda::{Agenda, Item};
use super::medium::{Medium, NANOS, now};
use crate::plan::{Plan, place, wakings};
use m2mesh::link::windows::Windows;
use std::time::Duration;

/// Enters all these changes into the agenda.
pub fn begin(plan: &Plan, agenda: &Agenda) {
    if plan.devices.iter().any(|device| device.track.len() > 1) {
        agenda.enter(STEP, Item::Move);
    }
    for (bearer, planned) in plan.bearers.iter().enumerate() {
        begin_windows(plan, bearer, &planned.windows, agenda);
    }
    for (device, planned) in plan.devices.iter().enumerate() {
        if planned.schedules.is_empty() {
            continue;
        }
        // The radio is on during the warm-up; then it is off whenever no schedule has it awake, until traffic ends.
        let asleep = |from: Duration, to: Duration| {
            if from < to {
                agenda.enter(plan.warmup + from, Item::Sleep { device, asleep: true });
                agenda.enter(plan.warmup + to, Item::Sleep { device, asleep: false });
            }
        };
        let mut at = Duration::ZERO;
        for (from, to) in wakings(&planned.schedules, plan.duration) {
            asleep(at, from);
            at = to;
        }
        asleep(at, plan.duration);
    }
}

fn begin_windows(plan: &Plan, bearer: usize, windows: &Windows, agenda: &Agenda) {
    if windows.is_empty() {
        return;
    }
    let (mut at, ends) = (plan.start, plan.start + (plan.warmup + plan.duration + plan.settle));
    while at < ends {
        let (after, open) = (at.since(plan.start), windows.open_at(at));
        agenda.enter(after, Item::Window { bearer, open });
        if !open {
            agenda.enter(after + LINGERS, Item::Shut(bearer));
        }
        let Some(next) = windows.next_change(at) else { return };
        at = next;
    }
}

/// Moves the devices.
pub fn step(plan: &Plan, medium: &Medium, agenda: &Agenda) {
    let after = Duration::from_nanos(now().saturating_sub(NANOS));
    let moving = plan.devices.iter().enumerate().filter(|(_, device)| device.track.len() > 1);
    let places: Vec<_> = moving.map(|(index, device)| (index, place(&device.track, after))).collect();
    medium.set_places(&places);
    agenda.enter(after + STEP, Item::Move);
}

/// The time for which a line still exists after the end of its access window, so that the nodes themselves have to stop
/// using it.
const LINGERS: Duration = Duration::from_secs(20);
/// The interval at which positions are updated.
const STEP: Duration = Duration::from_secs(1);
