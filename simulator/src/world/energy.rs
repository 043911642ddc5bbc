//! Energy: the energy that each device takes, and the time at which its battery is empty.
//!
//! A device that is on takes its power, awake or asleep; one that is off takes none. Its radios take energy for each
//! byte in addition, including repetitions ([`books`](super::medium)). A battery is full when the warm-up ends. Meters
//! are read from time to time. If one shows more than the battery held, its device loses power for good: this fault
//! follows from the model and is listed in no scenario.
//!
//! Invariants
//! 1. The reading of a meter never decreases.
//! - Without batteries nothing here changes what happens.

use super::agenda::{Agenda, Item};
use super::events::What;
use super::medium::{Medium, NANOS, now};
use super::{World, nanos};
use crate::plan::Plan;
use std::time::Duration;

/// The energy meters of all devices: see the module's documentation.
pub struct Energy {
    meters: Vec<Meter>,
    /// The interval at which meters are read.
    every: Duration,
    /// Whether they were read at the end of the warm-up, and at the end of the traffic.
    read: [bool; 2],
}

/// The meter of one device. Times are nanoseconds, energies joules.
#[derive(Clone, Debug, Default)]
struct Meter {
    /// The power in watts, awake and asleep.
    power: [f64; 2],
    on: bool,
    asleep: bool,
    /// The time up to which `used` is computed.
    since: u64,
    /// The energy that it has taken without its radios' bytes.
    used: f64,
    battery: Option<f64>,
    /// The readings, with its radios' bytes, at the end of the warm-up and at the end of the traffic.
    read: [f64; 2],
    /// The time at which its battery was found empty.
    empty: Option<u64>,
}

/// The energy that a device has taken in the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The energy in joules.
    pub used: f64,
    /// The energy that its battery held in joules, if it has one.
    pub battery: Option<f64>,
    /// The time in nanoseconds at which the battery was found empty, if it was.
    pub empty: Option<u64>,
}

impl Energy {
    /// Returns the meters of a world that begins.
    pub fn new(plan: &Plan) -> Self {
        let meter = |device: &crate::plan::Device| Meter {
            power: device.power,
            since: now(),
            battery: device.battery,
            ..Meter::default()
        };
        let every = (plan.duration / READINGS).clamp(SHORTEST, LONGEST);
        Self { meters: plan.devices.iter().map(meter).collect(), every, read: [false; 2] }
    }

    /// Enters the first reading into the agenda.
    pub fn begin(&self, plan: &Plan, agenda: &Agenda) {
        agenda.enter(plan.warmup, Item::Meter);
    }

    /// Notes that a device is switched on or off.
    pub fn set_on(&mut self, device: usize, on: bool) {
        self.meters[device].change(|meter| meter.on = on);
    }

    /// Notes that a device falls asleep or awakes.
    pub fn set_asleep(&mut self, device: usize, asleep: bool) {
        self.meters[device].change(|meter| meter.asleep = asleep);
    }

    /// Reads all meters, at the end of the warm-up or of the traffic.
    fn note(&mut self, medium: &Medium, which: usize) {
        if std::mem::replace(&mut self.read[which], true) {
            return;
        }
        for device in 0..self.meters.len() {
            self.meters[device].read[which] = self.shows(medium, device);
        }
    }

    /// Returns the energy in joules that a device has taken so far.
    fn shows(&self, medium: &Medium, device: usize) -> f64 {
        self.meters[device].used_by(now()) + medium.joules(device)
    }

    /// Returns the energy that each device has taken from the end of the warm-up until traffic ended, or until now.
    pub fn readings(&self, medium: &Medium) -> Vec<Reading> {
        let reading = |(device, meter): (usize, &Meter)| {
            let last = if self.read[1] { meter.read[1] } else { self.shows(medium, device) };
            let used = if self.read[0] { last - meter.read[0] } else { 0.0 };
            Reading { used, battery: meter.battery, empty: meter.empty }
        };
        self.meters.iter().enumerate().map(reading).collect()
    }

    /// Returns the devices whose batteries have become empty since the last call.
    fn run_down(&mut self, medium: &Medium) -> Vec<usize> {
        let down = |device: &usize| {
            let meter = &self.meters[*device];
            let used = || self.shows(medium, *device) - meter.read[0];
            meter.empty.is_none() && meter.battery.is_some_and(|battery| used() >= battery)
        };
        let down: Vec<usize> = (0..self.meters.len()).filter(down).collect();
        down.iter().for_each(|device| self.meters[*device].empty = Some(now()));
        down
    }
}

impl Meter {
    fn used_by(&self, at: u64) -> f64 {
        let watts = if self.on { self.power[usize::from(self.asleep)] } else { 0.0 };
        self.used + watts * at.saturating_sub(self.since) as f64 / NANOS as f64
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let now = now();
        (self.used, self.since) = (self.used_by(now), now);
        change(self);
    }
}

impl World {
    /// Reads the meters: at the end of the warm-up, and afterwards to find empty batteries.
    pub(super) fn read_meters(&mut self) {
        self.energy.note(&self.medium, 0);
        for device in self.energy.run_down(&self.medium) {
            let label = format!("battery of {}", self.plan.devices[device].name);
            self.events.note(usize::MAX, &What::Fault { label: &label });
            self.lose_power(device);
        }
        let next = Duration::from_nanos(now().saturating_sub(NANOS)) + self.energy.every;
        if self.plan.devices.iter().any(|device| device.battery.is_some()) && nanos(next) < self.calm() {
            self.agenda.enter(next, Item::Meter);
        }
    }

    /// Reads the meters when traffic has ended.
    pub(super) fn read_meters_at_calm(&mut self) {
        self.energy.note(&self.medium, 1);
    }

    fn calm(&self) -> u64 {
        nanos(self.plan.warmup + self.plan.duration)
    }
}

/// The largest number of readings of meters in a run, and the bounds of the interval between them.
const READINGS: u32 = 1_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn a_meter_shows_what_a_device_takes_awake_asleep_and_off() {
        let mut meter = Meter { power: [2.0, 0.5], since: 0, ..Meter::default() };
        let second = |second: u64| second * NANOS;
        assert_eq!(meter.used_by(second(9)), 0.0);
        let step = |meter: &mut Meter, at: u64, change: &dyn Fn(&mut Meter)| {
            (meter.used, meter.since) = (meter.used_by(second(at)), second(at));
            change(meter);
        };
        step(&mut meter, 10, &|meter| meter.on = true);
        step(&mut meter, 13, &|meter| meter.asleep = true);
        assert_eq!(meter.used_by(second(15)), 7.0);
        step(&mut meter, 15, &|meter| meter.on = false);
        assert_eq!(meter.used_by(second(99)), 7.0);
    }
}
