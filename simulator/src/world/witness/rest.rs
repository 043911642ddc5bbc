//! Rest: devices that sleep by their own word, and who disturbs them.
//!
//! A device that rests tells each neighbour for how long it is away, before its radio is off. From then on until the radio is on again it
//! writes and dials nothing, and no neighbour that was told does so to it. A neighbour whose process was killed meanwhile has
//! forgotten it.

use super::{Going, Witness};
use crate::plan::{FaultKind, Plan};
use crate::world::checks::Promise;
use crate::world::medium::now;
use m2mesh::wire;
use m2mesh::wire::rest;
use std::collections::{BTreeMap, BTreeSet};

/// The rest of devices.
pub struct Rest {
    /// The devices that rest, each with whether its radio is off.
    off: BTreeMap<usize, bool>,
    /// By the device that was told and the one that told it, the time until which that one is away.
    told: BTreeMap<(usize, usize), u64>,
    /// The devices whose clock is wrong, which wake at other times.
    excused: BTreeSet<usize>,
}

impl Rest {
    pub(super) fn new(plan: &Plan) -> Self {
        let resting = plan.devices.iter().enumerate().filter(|(_, device)| device.rests());
        let wrong = plan.faults.iter().filter_map(|fault| match &fault.what {
            FaultKind::ClockStep { devices, .. } | FaultKind::ClockDrift { devices, .. } => Some(devices),
            _ => None,
        });
        Self {
            off: resting.map(|(device, _)| (device, false)).collect(),
            told: BTreeMap::new(),
            excused: wrong.flatten().copied().collect(),
        }
    }

    pub(super) fn note_down(&mut self, device: usize) {
        self.told.retain(|(told, _), _| *told != device);
    }

    /// Returns whether the radio of a device that rests is off; `None` for a device that does not rest.
    fn is_off(&self, device: usize) -> Option<bool> {
        self.off.get(&device).copied()
    }

    /// Returns whether a device was told that another is away.
    fn knows(&self, device: usize, other: usize) -> bool {
        self.told.get(&(device, other)).is_some_and(|until| *until > now())
    }
}

impl Witness {
    /// Notes that the radio of a device goes off by its schedule, or on.
    pub fn note_sleep(&mut self, device: usize, asleep: bool) {
        if let Some(off) = self.rest.off.get_mut(&device) {
            *off = asleep;
        }
    }

    /// Notes what a device tells a neighbour of its rest.
    pub(super) fn handle_rest(&mut self, going: &Going<'_>) {
        let Ok(rest::Rest { away, .. }) = wire::decode(going.body) else { return };
        let key = (going.to, going.from);
        if away > 0 {
            self.rest.told.insert(key, now().saturating_add(away.saturating_mul(1_000)));
        } else {
            self.rest.told.remove(&key);
        }
    }

    /// Examines a frame to or from a device that rests.
    pub(super) fn look_at_rest(&mut self, going: &Going<'_>) {
        self.look_at_sleep(going.from, going.to, "sends");
    }

    /// Examines a dial to or from a device that rests.
    pub fn note_call(&mut self, from: usize, to: usize) {
        self.count_dial();
        self.look_at_sleep(from, to, "dials");
    }

    fn look_at_sleep(&mut self, from: usize, to: usize, does: &str) {
        let (own, other) = (self.rest.is_off(from), self.rest.is_off(to));
        if own.is_none() && other.is_none() || self.rest.excused.contains(&from) || self.rest.excused.contains(&to) {
            return;
        }
        let asleep = own == Some(true);
        self.look(Promise::RestKept, !asleep, |known| {
            format!("{} {does} to {} while it sleeps", known.device(from), known.device(to))
        });
        let disturbs = !asleep && other == Some(true) && self.rest.knows(from, to);
        self.look(Promise::RestKept, !disturbs, |known| {
            format!("{} {does} to {}, which has said that it sleeps", known.device(from), known.device(to))
        });
    }
}
