//! The witness: what goes over the wires, held against what nodes promise of it.
//!
//! The applications and disks of a run say what became of each message ([`ledger`](super::ledger)); how it got there, they do not. The
//! witness reads every frame that a node writes, as the node wrote it: before a hostile member's medium has changed it, so that
//! what is judged is always the node. What relays may read it reads too, header, path, link state and group frames; what is
//! sealed it cannot open.
//!
//! Files: `cutter` whole frames · `attempts` data frames and their paths · `groups` publications · `link_state` what
//! routers tell of their links · `spending` quotas and access windows.
//!
//! Invariants
//! 1. The witness changes nothing: no byte, no time, no order.
//! 2. Nobody's memory grows without bound by it: what has expired is forgotten.

mod attempts;
mod cutter;
mod groups;
mod link_state;
mod spending;
#[cfg(test)]
mod tests;

pub use cutter::Cutter;

use super::checks::{Checks, Promise};
use super::medium::{NANOS, now};
use crate::plan::{FaultKind, Plan};
use attempts::Attempts;
use groups::Pushes;
use link_state::Told;
use m2mesh::id::{CredentialHash, CredentialPrefix};
use m2mesh::wire::frame::Kind;
use spending::Spending;
use std::collections::BTreeMap;

/// See the module's documentation.
pub struct Witness {
    /// What was found so far.
    pub checks: Checks,
    known: Known,
    /// Wall time at the start, in microseconds.
    start: u64,
    /// By how much clocks of nodes may differ from each other, in microseconds: what admission allows, and what faults add.
    skew: u64,
    /// Whose credential it is.
    owners: BTreeMap<CredentialPrefix, usize>,
    attempts: Attempts,
    pushes: Pushes,
    told: Told,
    spending: Spending,
}

/// Whom and what the witness knows, by index.
struct Known {
    devices: Vec<String>,
    /// Which devices forward for others.
    forwarding: Vec<bool>,
    /// The area of each.
    areas: Vec<u32>,
    bearers: Vec<Bearer>,
}

impl Known {
    fn device(&self, device: usize) -> &str {
        self.devices.get(device).map_or("a stranger", String::as_str)
    }
}

/// What the witness knows of a bearer.
struct Bearer {
    name: String,
    /// Micro-units of money a megabyte, as nodes are told.
    price: u64,
    class: u8,
    /// Bytes, and microseconds after which they may be spent again.
    quota: Option<(u64, u64)>,
}

/// A frame on its way out of a node.
#[derive(Clone, Copy)]
pub struct Going<'a> {
    /// Index of the device that writes it.
    pub from: usize,
    /// Index of the device at the link's other end.
    pub to: usize,
    /// Index of the bearer.
    pub bearer: usize,
    /// What its body is.
    pub kind: Kind,
    /// Bytes with its head.
    pub length: usize,
    /// What follows its head.
    pub body: &'a [u8],
}

impl Witness {
    /// Nothing seen yet.
    pub fn new(plan: &Plan) -> Self {
        let bearer = |bearer: &crate::plan::Bearer| Bearer {
            name: bearer.name.clone(),
            price: bearer.told_price(),
            class: bearer.class as u8,
            quota: bearer.quota.map(|(bytes, every)| (bytes, u64::try_from(every.as_micros()).unwrap_or(u64::MAX))),
        };
        let wrong = plan.faults.iter().map(|fault| match &fault.what {
            FaultKind::ClockStep { seconds, .. } => seconds.abs(),
            FaultKind::ClockDrift { ppm, .. } => ppm.abs() / 1e6 * plan.duration.as_secs_f64(),
            _ => 0.0,
        });
        let wrong = (wrong.sum::<f64>() * 1e6) as u64;
        Self {
            checks: Checks::new(),
            known: Known {
                devices: plan.devices.iter().map(|device| device.name.to_string()).collect(),
                forwarding: plan.devices.iter().map(|device| device.forwarding).collect(),
                areas: plan.devices.iter().map(|device| device.area).collect(),
                bearers: plan.bearers.iter().map(bearer).collect(),
            },
            start: plan.start.0,
            skew: plan.epoch.skew().as_micros() as u64 + 2 * wrong,
            owners: BTreeMap::new(),
            attempts: Attempts::default(),
            pushes: Pushes::default(),
            told: Told::new(plan),
            spending: Spending::new(plan),
        }
    }

    /// A device has these credentials.
    pub fn note_credentials(&mut self, device: usize, hashes: impl IntoIterator<Item = CredentialHash>) {
        for hash in hashes {
            self.owners.insert(hash.prefix(), device);
        }
    }

    /// The device that has a credential.
    pub fn device_of(&self, credential: &CredentialPrefix) -> Option<usize> {
        self.owners.get(credential).copied()
    }

    /// A device's process is gone: what it knew of the present is gone with it.
    pub fn note_down(&mut self, device: usize) {
        self.pushes.forget(device);
        let owners = &self.owners;
        self.told.forget(|credential| owners.get(&credential.prefix()) == Some(&device));
        self.spending.note_down(device);
        self.attempts.note_down(device);
    }

    /// A connection between two devices has ended: what was on its way may be sent again over the next.
    pub fn note_lost(&mut self, one: usize, other: usize) {
        self.pushes.forget_between(one, other);
    }

    /// A node writes a frame.
    pub fn handle(&mut self, going: &Going<'_>) {
        if matches!(going.kind, Kind::Data | Kind::Group | Kind::GroupAgain) {
            self.look_at_window(going);
        }
        match going.kind {
            Kind::Data => self.handle_data(going),
            Kind::Group => self.handle_push(going),
            Kind::GroupAgain => self.handle_again(going),
            Kind::Lsa => self.handle_lsa(going),
            _ => {}
        }
    }

    /// Bytes of frames that a device has handed on for others.
    pub fn forwarded(&self, device: usize) -> u64 {
        self.attempts.forwarded.get(&device).copied().unwrap_or_default()
    }

    /// What a device has paid for the frames that it sent first, whoever carried them on, in micro-units of money.
    pub fn paid_for(&self, device: usize) -> f64 {
        self.attempts.paid.get(&device).copied().unwrap_or_default()
    }

    fn look(&mut self, promise: Promise, holds: bool, found: impl FnOnce(&Known) -> String) {
        let known = &self.known;
        self.checks.look(promise, holds, || found(known));
    }

    /// The right wall time, in microseconds.
    fn unix(&self) -> u64 {
        self.start + now().saturating_sub(NANOS) / 1_000
    }
}
