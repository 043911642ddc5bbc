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
    /// The time up to which `spans` are computed.
    since: u64,
    /// The seconds that it was on, awake and asleep.
    spans: [f64; 2],
    battery: Option<f64>,
    /// The readings at the end of the warm-up and at the end of the traffic.
    read: [Duty; 2],
    /// The time at which its battery was found empty.
    empty: Option<u64>,
}

/// What a device was on for, and what its radios took: the duty by which its energy is reckoned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Duty {
    /// The seconds that it was awake, and asleep.
    pub spans: [f64; 2],
    /// The joules of its radios, for what they sent and what they received.
    pub radio: [f64; 2],
}

impl Duty {
    /// Returns the duty since an earlier reading.
    fn since(&self, before: &Self) -> Self {
        let less = |now: [f64; 2], before: [f64; 2]| [now[0] - before[0], now[1] - before[1]];
        Self { spans: less(self.spans, before.spans), radio: less(self.radio, before.radio) }
    }

    /// Returns the joules of being awake and of being asleep, at these powers in watts.
    fn standing(&self, power: [f64; 2]) -> [f64; 2] {
        [self.spans[0] * power[0], self.spans[1] * power[1]]
    }

    /// Returns all joules.
    fn joules(&self, power: [f64; 2]) -> f64 {
        self.standing(power).iter().sum::<f64>() + self.radio.iter().sum::<f64>()
    }
}

/// The energy that a device has taken in the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The energy in joules.
    pub used: f64,
    /// The part of it that the device took awake and asleep, without its radios.
    pub standing: [f64; 2],
    /// What it was on for, and the part of its radios.
    pub duty: Duty,
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

    /// Returns what a device was on for so far, and what its radios took.
    fn shows(&self, medium: &Medium, device: usize) -> Duty {
        Duty { spans: self.meters[device].spans_by(now()), radio: medium.joules(device) }
    }

    /// Returns the energy that each device has taken from the end of the warm-up until traffic ended, or until now.
    pub fn readings(&self, medium: &Medium) -> Vec<Reading> {
        let reading = |(device, meter): (usize, &Meter)| {
            let last = if self.read[1] { meter.read[1] } else { self.shows(medium, device) };
            let duty = if self.read[0] { last.since(&meter.read[0]) } else { Duty::default() };
            let (used, standing) = (duty.joules(meter.power), duty.standing(meter.power));
            Reading { used, standing, duty, battery: meter.battery, empty: meter.empty }
        };
        self.meters.iter().enumerate().map(reading).collect()
    }

    /// Returns the devices whose batteries have become empty since the last call.
    fn run_down(&mut self, medium: &Medium) -> Vec<usize> {
        let down = |device: &usize| {
            let meter = &self.meters[*device];
            let used = || self.shows(medium, *device).since(&meter.read[0]).joules(meter.power);
            meter.empty.is_none() && meter.battery.is_some_and(|battery| used() >= battery)
        };
        let down: Vec<usize> = (0..self.meters.len()).filter(down).collect();
        down.iter().for_each(|device| self.meters[*device].empty = Some(now()));
        down
    }
}

impl Meter {
    /// Returns the seconds awake and asleep until a time.
    fn spans_by(&self, at: u64) -> [f64; 2] {
        let mut spans = self.spans;
        if self.on {
            spans[usize::from(self.asleep)] += at.saturating_sub(self.since) as f64 / NANOS as f64;
        }
        spans
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let now = now();
        (self.spans, self.since) = (self.spans_by(now), now);
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
        let used = |meter: &Meter, at: u64| Duty { spans: meter.spans_by(at), radio: [0.5, 0.0] }.joules(meter.power);
        assert_eq!(used(&meter, second(9)), 0.5);
        let step = |meter: &mut Meter, at: u64, change: &dyn Fn(&mut Meter)| {
            (meter.spans, meter.since) = (meter.spans_by(second(at)), second(at));
            change(meter);
        };
        step(&mut meter, 10, &|meter| meter.on = true);
        step(&mut meter, 13, &|meter| meter.asleep = true);
        assert_eq!((used(&meter, second(15)), meter.spans_by(second(15))), (7.5, [3.0, 2.0]));
        step(&mut meter, 15, &|meter| meter.on = false);
        assert_eq!(used(&meter, second(99)), 7.5);
    }
}
