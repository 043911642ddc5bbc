//! Witness: the frames on the wires, compared with what nodes promise of them.
//!
//! The applications and disks of a run report the outcome of each message ([`ledger`](super::ledger)), but not its
//! path. The witness reads every frame as the node wrote it, before a hostile member's medium has changed it, so that
//! the node itself is judged. It reads the parts that a relay can read: header, path, link state and group frames. It
//! cannot open sealed parts.
//!
//! Files: `cutter` whole frames · `attempts` data frames and their paths · `groups` publications · `link_state` what
//! routers advertise of their links · `spending` quotas and access windows · `rest` devices that sleep · `custody` mail · `dials` how many at once.
//!
//! Invariants
//! - The witness changes nothing: no byte, no time, no order.
//! - The memory of the witness is bounded: entries that have expired are forgotten.

mod attempts;
mod custody;
mod cutter;
mod dials;
mod groups;
mod link_state;
#[cfg(test)]
mod mail_tests;
mod rest;
mod spending;
#[cfg(test)]
mod tests;

pub use cutter::Cutter;

use super::checks::{Checks, Promise};
use super::medium::{NANOS, now};
use crate::plan::{FaultKind, Plan};
use attempts::Attempts;
use custody::Custodies;
use dials::Dials;
use groups::Pushes;
use libp2p::PeerId;
use link_state::Told;
use m2mesh::id::{CredentialHash, CredentialPrefix, Handle, Pseudonym};
use m2mesh::wire::frame::Kind;
use rest::Rest;
use spending::Spending;
use std::collections::BTreeMap;

/// A witness: see the module's documentation.
pub struct Witness {
    /// The results so far.
    pub checks: Checks,
    known: Known,
    /// The wall time at the start, in microseconds.
    start: u64,
    /// The microseconds by which the clocks of nodes may differ from each other: what admission allows, plus what
    /// faults add.
    skew: u64,
    /// The device of each credential.
    owners: BTreeMap<CredentialPrefix, usize>,
    /// The pseudonym of each credential, if it is known.
    pseudonyms: BTreeMap<CredentialPrefix, Pseudonym>,
    attempts: Attempts,
    pushes: Pushes,
    told: Told,
    spending: Spending,
    rest: Rest,
    dials: Dials,
    custodies: Custodies,
    /// The device of each handle.
    handles: BTreeMap<Handle, usize>,
    /// By device, the versions of bulletins that it has kept, each with the time of the first moment.
    bulletins: BTreeMap<usize, BTreeMap<u64, u64>>,
}

/// The facts that the witness knows of devices, edges and bearers, by index.
struct Known {
    devices: Vec<String>,
    /// Whether each device forwards for others.
    forwarding: Vec<bool>,
    /// The area of each device.
    areas: Vec<u32>,
    bearers: Vec<Bearer>,
}

impl Known {
    fn device(&self, device: usize) -> &str {
        self.devices.get(device).map_or("a stranger", String::as_str)
    }
}

/// The facts that the witness knows of a bearer.
struct Bearer {
    name: String,
    /// The price in micro-units of money a megabyte, as nodes are told.
    price: u64,
    class: u8,
    /// The bytes that may be spent in a period, and the length of the period in microseconds.
    quota: Option<(u64, u64)>,
    /// The nanoseconds in any hour for which a device may be on air, and the bits a second.
    duty: Option<(u64, u64)>,
}

/// A frame that a node writes.
#[derive(Clone, Copy)]
pub struct Going<'a> {
    /// The index of the device that writes it.
    pub from: usize,
    /// The index of the device at the other end of the link.
    pub to: usize,
    /// The keys of the networks at the two ends, once they are known.
    pub under: [Option<PeerId>; 2],
    /// The index of the bearer.
    pub bearer: usize,
    /// The kind of the frame.
    pub kind: Kind,
    /// The length of the frame in bytes, with its head.
    pub length: usize,
    /// The body, which follows the head.
    pub body: &'a [u8],
}

impl Witness {
    /// Returns a witness that has seen nothing.
    pub fn new(plan: &Plan) -> Self {
        let bearer = |bearer: &crate::plan::Bearer| Bearer {
            name: bearer.name.clone(),
            price: bearer.told_price(),
            class: bearer.class as u8,
            quota: bearer.quota.map(|(bytes, every)| (bytes, u64::try_from(every.as_micros()).unwrap_or(u64::MAX))),
            duty: bearer.duty.zip(bearer.rate.or(bearer.channel)).map(|(part, rate)| ((part * 3.6e12) as u64, rate)),
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
            pseudonyms: BTreeMap::new(),
            attempts: Attempts::default(),
            pushes: Pushes::default(),
            told: Told::new(plan),
            spending: Spending::new(plan),
            rest: Rest::new(plan),
            dials: Dials::default(),
            custodies: Custodies::new(plan),
            handles: BTreeMap::new(),
            bulletins: BTreeMap::new(),
        }
    }

    /// Notes that a device has these credentials.
    pub fn note_credentials(&mut self, device: usize, hashes: impl IntoIterator<Item = CredentialHash>) {
        for hash in hashes {
            self.owners.insert(hash.prefix(), device);
        }
    }

    /// Notes which pseudonyms credentials are under.
    pub fn note_pseudonyms(&mut self, all: impl IntoIterator<Item = (CredentialHash, Pseudonym)>) {
        self.pseudonyms.extend(all.into_iter().map(|(hash, pseudonym)| (hash.prefix(), pseudonym)));
    }

    /// Notes by which handles a device is addressed.
    pub fn note_handles(&mut self, device: usize, handles: impl IntoIterator<Item = Handle>) {
        self.handles.extend(handles.into_iter().map(|handle| (handle, device)));
    }

    /// Returns the number of frames of messages and publications that were sent outside of access windows, by devices whose
    /// clocks are right.
    pub fn sent_outside(&self) -> u64 {
        self.spending.outside
    }

    /// Returns the number of data frames that were handed to a device which had had them under another pseudonym.
    pub fn returned_beside(&self) -> u64 {
        self.attempts.beside
    }

    /// Notes that a device keeps a bulletin of this version.
    pub fn note_bulletin(&mut self, device: usize, version: u64) {
        self.bulletins.entry(device).or_default().entry(version).or_insert_with(now);
    }

    /// Returns the time at which a device has kept a bulletin of this version or a later one for the first time.
    pub fn kept_since(&self, device: usize, version: u64) -> Option<u64> {
        self.bulletins.get(&device)?.range(version..).map(|(_, at)| *at).min()
    }

    /// Returns the device that has a credential.
    pub fn device_of(&self, credential: &CredentialPrefix) -> Option<usize> {
        self.owners.get(credential).copied()
    }

    /// Notes that a device's process is gone, and with it the process's memory.
    pub fn note_down(&mut self, device: usize) {
        self.pushes.forget(device);
        let owners = &self.owners;
        self.told.forget(|credential| owners.get(&credential.prefix()) == Some(&device));
        self.spending.note_down(device);
        self.rest.note_down(device);
        self.attempts.note_down(device);
    }

    /// Notes that a connection between two devices has ended: frames that were under way may be sent again over the
    /// next.
    pub fn note_lost(&mut self, one: usize, other: usize) {
        self.pushes.forget_between(one, other);
    }

    /// Examines a frame that a node writes.
    pub fn handle(&mut self, going: &Going<'_>) {
        self.note_air(going);
        self.look_at_rest(going);
        if matches!(going.kind, Kind::Data | Kind::Group | Kind::GroupAgain) {
            self.look_at_window(going);
        }
        match going.kind {
            Kind::Data => self.handle_data(going),
            Kind::Group => self.handle_push(going),
            Kind::GroupAgain => self.handle_again(going),
            Kind::Lsa => self.handle_lsa(going),
            Kind::Rest => self.handle_rest(going),
            Kind::Custody => self.handle_custody(going),
            _ => {}
        }
    }

    /// Returns the number of frames of publications that were pushed to a neighbour again, under another pseudonym of
    /// either end.
    pub fn pushed_beside(&self) -> u64 {
        self.pushes.beside
    }

    /// Returns the number of frames of publications and broadcasts that were pushed to neighbours.
    pub fn pushed(&self) -> u64 {
        self.pushes.given_in_all
    }

    /// Returns the bytes of frames that a device has forwarded for others.
    pub fn forwarded(&self, device: usize) -> u64 {
        self.attempts.forwarded.get(&device).copied().unwrap_or_default()
    }

    /// Returns the amount paid for the frames that a device sent first, by all devices that forwarded them, in
    /// micro-units of money.
    pub fn paid_for(&self, device: usize) -> f64 {
        self.attempts.paid.get(&device).copied().unwrap_or_default()
    }

    fn look(&mut self, promise: Promise, holds: bool, found: impl FnOnce(&Known) -> String) {
        let known = &self.known;
        self.checks.look(promise, holds, || found(known));
    }

    /// Returns the true wall time, in microseconds.
    fn unix(&self) -> u64 {
        self.start + now().saturating_sub(NANOS) / 1_000
    }
}
