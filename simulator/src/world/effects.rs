//! Effects: a count of what each fault does, since a fault without an effect tests nothing, and its scenario would hold
//! whatever the node does.
//!
//! The effect of each fault is the growth of a count from its beginning until its end: processes killed or stopped,
//! links cut and pieces lost on them, bytes over degraded links, frames that a hostile member has kept, changed or sent
//! too often, dials of strangers, devices that keep a bulletin, commits that a full disk delayed, messages of an overload. The effects of an entry of
//! the scenario are those of all its occurrences, since one of several drawn crashes may hit a device that is down
//! already. An entry without any effect violates the check `faults-strike`.

use super::World;
use super::checks::{Checks, Promise};
use crate::plan::FaultKind;
use std::collections::BTreeMap;

/// The counts of the faults' effects.
#[derive(Default)]
pub struct Effects {
    /// By fault that has begun: the count at its beginning.
    before: BTreeMap<usize, u64>,
    /// By fault that has ended: its effect.
    done: BTreeMap<usize, u64>,
    /// By device: the number of times that its process was killed, and in the next field stopped.
    killed: BTreeMap<usize, u64>,
    stopped: BTreeMap<usize, u64>,
}

impl Effects {
    /// Counts that a device's process was killed.
    pub fn note_killed(&mut self, device: usize) {
        *self.killed.entry(device).or_default() += 1;
    }

    /// Counts that a device's process was paused.
    pub fn note_stopped(&mut self, device: usize) {
        *self.stopped.entry(device).or_default() += 1;
    }
}

impl World {
    /// Notes that a fault begins, before it has any effect, or ends.
    pub(super) fn note_fault(&mut self, fault: usize, begins: bool) {
        let count = self.count_of(fault);
        if begins {
            let at_once = self.clocks_of(fault);
            *self.effects.done.entry(fault).or_default() += at_once;
            self.effects.before.insert(fault, count);
        } else if let Some(before) = self.effects.before.remove(&fault) {
            *self.effects.done.entry(fault).or_default() += count.saturating_sub(before);
        }
    }

    /// Returns the number of devices whose clock a fault sets, which has its effect at once.
    fn clocks_of(&self, fault: usize) -> u64 {
        match &self.plan.faults[fault].what {
            FaultKind::ClockStep { devices, .. } | FaultKind::ClockDrift { devices, .. } => {
                devices.iter().filter(|device| self.devices[**device].application().is_some()).count() as u64
            }
            _ => 0,
        }
    }

    /// Returns the count that belongs to a fault, since the run began.
    fn count_of(&self, fault: usize) -> u64 {
        let of = |table: &BTreeMap<usize, u64>, devices: &[usize]| {
            devices.iter().filter_map(|device| table.get(device)).sum::<u64>()
        };
        match &self.plan.faults[fault].what {
            FaultKind::Crash(devices) | FaultKind::PowerCut(devices) | FaultKind::BatteryEmpty(devices) => {
                of(&self.effects.killed, devices)
            }
            FaultKind::Pause(devices) => of(&self.effects.stopped, devices),
            FaultKind::Cut { edges, .. } | FaultKind::Flap { edges, .. } => {
                edges.iter().map(|edge| self.medium.struck(*edge)).sum()
            }
            FaultKind::Degrade { edges, .. } => edges.iter().flat_map(|edge| self.medium.edge_bytes(*edge).0).sum(),
            FaultKind::ClockStep { .. } | FaultKind::ClockDrift { .. } => 0,
            FaultKind::DiskFull(devices) => of(&self.ledger.lock().put_off, devices),
            FaultKind::Overload { flow, .. } => {
                self.ledger.lock().messages.iter().filter(|message| message.flow == *flow).count() as u64
            }
            FaultKind::Hostile { devices, .. } => devices.iter().map(|device| self.medium.misdeeds(*device)).sum(),
            FaultKind::Revoke { .. } => self.revocations.aware(&self.medium, fault),
            FaultKind::Stranger(_) | FaultKind::Impostor(_) => self.medium.misdeeds(self.stranger(fault)),
        }
    }

    /// Checks that each entry of the scenario has had an effect.
    pub(super) fn check_effects(&self, checks: &mut Checks) {
        let mut entries: BTreeMap<usize, (u64, String)> = BTreeMap::new();
        for (number, fault) in self.plan.faults.iter().enumerate() {
            let done = self.effects.done.get(&number).copied().unwrap_or_default();
            let entry = entries.entry(fault.entry).or_insert_with(|| (0, fault.label.clone()));
            entry.0 += done;
        }
        for (done, label) in entries.into_values() {
            let what =
                || format!("the fault {label:?} has struck nothing; see what it names, and when traffic passes there");
            checks.look(Promise::FaultsStrike, done > 0, what);
        }
    }
}
