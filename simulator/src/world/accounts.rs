//! Accounts: bytes and money by bearer, class, group and device, and energy by group and device, as metrics.
//!
//! Metrics of single devices are measured only if an expectation names them, since a large mesh has many devices.

use super::energy::Reading;
use super::medium::{Bill, NANOS, Tally};
use crate::metrics;
use crate::plan::{Expectation, Plan, Wanted};
use m2mesh::wire::data::Class;
use std::collections::{BTreeMap, BTreeSet};

/// Enters all these metrics. `tally` is the traffic since the warm-up, and `readings` the energy that devices have
/// taken in the measured time.
pub fn enter(plan: &Plan, tally: &Tally, readings: &[Reading], metrics: &mut BTreeMap<String, f64>) {
    let mut put = |name: &str, selector: &str, value: f64| {
        metrics.insert(format!("{name}{selector}"), value);
    };
    let total = tally.bearers.iter().fold(Bill::default(), |sum, bill| sum + *bill);
    let mut bill = |selector: &str, bill: Bill| {
        put("bytes", selector, bill.bytes);
        put("cost", selector, bill.cost);
        if total.bytes > 0.0 {
            put("bytes.share", selector, bill.bytes / total.bytes);
        }
    };
    bill("", total);
    for (bearer, of_it) in plan.bearers.iter().zip(&tally.bearers) {
        bill(&format!("[bearer={}]", bearer.name), *of_it);
    }
    for (class, of_it) in Class::ALL.iter().zip(tally.classes) {
        bill(&format!("[class={}]", metrics::class(*class)), of_it);
    }
    let groups = groups(plan);
    let named = named(plan);
    for (selector, devices) in groups.iter().chain(&named) {
        bill(
            selector,
            devices.iter().filter_map(|device| tally.devices.get(*device)).fold(Bill::default(), |a, b| a + *b),
        );
    }
    let radio = |which: usize| tally.radio.iter().map(|lost| lost[which] as f64).sum::<f64>();
    put("radio.collided", "", radio(0));
    put("radio.faded", "", radio(1));
    for (bearer, [collided, faded]) in plan.bearers.iter().zip(&tally.radio) {
        put("radio.collided", &format!("[bearer={}]", bearer.name), *collided as f64);
        put("radio.faded", &format!("[bearer={}]", bearer.name), *faded as f64);
    }
    let everybody = (String::new(), (0..plan.devices.len()).collect());
    for (selector, devices) in std::iter::once(&everybody).chain(&groups).chain(&named) {
        of_devices(plan, readings, devices, &mut |name, value| put(name, selector, value));
    }
    for (selector, devices) in std::iter::once(&everybody).chain(&groups) {
        of_groups(tally, readings, devices, &mut |name, value| put(name, selector, value));
    }
}

/// Enters the metrics of a group as a whole, such as the largest value of one device.
fn of_groups(tally: &Tally, readings: &[Reading], devices: &[usize], put: &mut dyn FnMut(&str, f64)) {
    let bills = || devices.iter().filter_map(|device| tally.devices.get(*device));
    put("bytes.device.max", bills().map(|bill| bill.bytes).fold(0.0, f64::max));
    put("cost.device.max", bills().map(|bill| bill.cost).fold(0.0, f64::max));
    let own = || devices.iter().filter_map(|device| readings.get(*device));
    put("energy.device.max", own().map(|reading| reading.used).fold(0.0, f64::max));
    if own().any(|reading| reading.battery.is_some()) {
        put("battery.empty", own().filter(|reading| reading.empty.is_some()).count() as f64);
    }
}

/// Enters the metrics of one or more devices.
fn of_devices(plan: &Plan, readings: &[Reading], devices: &[usize], put: &mut dyn FnMut(&str, f64)) {
    let own: Vec<&Reading> = devices.iter().filter_map(|device| readings.get(*device)).collect();
    put("energy.total", own.iter().map(|reading| reading.used).sum());
    let sum = |of: &dyn Fn(&Reading) -> f64| own.iter().map(|reading| of(reading)).sum::<f64>();
    for (at, [standing, radio]) in
        [["energy.awake", "energy.sent"], ["energy.asleep", "energy.received"]].iter().enumerate()
    {
        put(standing, sum(&|reading| reading.standing[at]));
        put(radio, sum(&|reading| reading.duty.radio[at]));
    }
    let [awake, asleep] = [0, 1].map(|at| sum(&|reading| reading.duty.spans[at]));
    if awake + asleep > 0.0 {
        put("awake.share", awake / (awake + asleep));
    }
    let batteries: Vec<(&Reading, f64)> = own.iter().filter_map(|reading| Some((*reading, reading.battery?))).collect();
    if batteries.is_empty() {
        return;
    }
    let left = batteries.iter().map(|(reading, held)| (1.0 - reading.used / held).clamp(0.0, 1.0));
    put("battery.min", left.fold(1.0, f64::min));
    let measured = plan.duration.as_secs_f64();
    let lives = batteries.iter().filter(|(reading, _)| reading.used > 0.0).map(|(reading, held)| match reading.empty {
        Some(at) => (at.saturating_sub(NANOS) as f64 / NANOS as f64 - plan.warmup.as_secs_f64()).max(0.0),
        None => held / reading.used * measured,
    });
    if let Some(life) = lives.min_by(f64::total_cmp) {
        put("battery.life", life);
    }
}

/// Returns the selectors of groups, with their devices.
fn groups(plan: &Plan) -> Vec<(String, Vec<usize>)> {
    let mut groups = BTreeMap::<&str, Vec<usize>>::new();
    for (index, device) in plan.devices.iter().enumerate() {
        groups.entry(&device.group).or_default().push(index);
    }
    groups.into_iter().map(|(group, devices)| (format!("[group={group}]"), devices)).collect()
}

/// Returns the selectors of devices that expectations name.
fn named(plan: &Plan) -> Vec<(String, Vec<usize>)> {
    fn keys<'a>(expected: &'a Expectation, found: &mut BTreeSet<&'a str>) {
        let other = if let Wanted::Metric(key) = &expected.wanted { Some(key) } else { None };
        let named = std::iter::once(&expected.metric).chain(other);
        found.extend(named.filter_map(|key| key.split_once("[device=")?.1.strip_suffix(']')));
        expected.or.iter().for_each(|other| keys(other, found));
    }
    let mut found = BTreeSet::new();
    plan.expectations.iter().for_each(|expected| keys(expected, &mut found));
    let place = |name: &&str| plan.devices.iter().position(|device| device.name.as_str() == *name);
    found.iter().filter_map(|name| Some((format!("[device={name}]"), vec![place(name)?]))).collect()
}
