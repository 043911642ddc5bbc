//! Revocations: devices that the operator cuts off, and how soon the others know.
//!
//! The operator's bulletin is made by the issuer of the run, and handed to one device as `m2mesh bulletin give` does. A
//! member *refuses* a revoked device from the moment at which it keeps the bulletin. How long that took is counted from
//! when there was a way to the member: over devices that are on and lines that carry, from one that has the bulletin. A
//! member without a way is *parted*, until faults have healed; a way that breaks before it was of use counts for nothing.
//!
//! After the run it is checked that no member that refuses a device has a link with it, has taken from it what was sent
//! since, or has sent it anything that came. Publications are excepted for as long as the former keys are sealed with.
//!
//! What a revocation may have kept from arriving is no longer expected to arrive: messages and calls from and to a
//! revoked device that were of use when it was revoked, and its copies of publications.

use super::checks::{Checks, Promise};
use super::device::{Device, seed_of};
use super::ledger::{Book, Message};
use super::medium::{Medium, NANOS, now};
use super::{World, nanos};
use crate::plan::{FlowKind, Plan};
use m2mesh::client::Command;
use m2mesh::id::Name;
use m2mesh::identity::issuer::LEAD;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

/// The revocations of a run: see the module's documentation.
#[derive(Default)]
pub struct Revocations {
    all: Vec<Revocation>,
    /// By revoked device: the time of its revocation.
    revoked: BTreeMap<usize, u64>,
}

/// One revocation.
struct Revocation {
    fault: usize,
    devices: BTreeSet<usize>,
    /// The device to which the bulletin was brought.
    through: usize,
    at: u64,
    /// The version of the bulletin.
    version: u64,
    /// The bytes of the bulletin.
    bulletin: usize,
    /// The bytes of the largest document that it names.
    document: usize,
    /// By device that has not the bulletin yet: since when there has been a way to it.
    ways: Vec<Option<u64>>,
    /// The members to which there was none at first.
    parted: BTreeSet<usize>,
    /// The edges between the revoked devices and members that stood.
    links: Vec<usize>,
}

impl Revocation {
    /// Returns the time at which a device has kept the bulletin.
    fn aware(&self, medium: &Medium, device: usize) -> Option<u64> {
        medium.witness(|witness| witness.kept_since(device, self.version))
    }
}

impl World {
    /// Revokes devices, and brings the bulletin to one of the others.
    pub(super) fn revoke(&mut self, fault: usize, devices: Vec<usize>, through: usize) {
        let Some(realm) = self.devices.first().and_then(Device::realm) else { return };
        // Of those that were drawn, some may be no members any more.
        let devices: Vec<usize> =
            devices.into_iter().filter(|device| !self.revocations.revoked.contains_key(device)).collect();
        let names: Vec<Name> = devices.iter().map(|device| self.plan.devices[*device].name.clone()).collect();
        let mut rng = ChaCha20Rng::from_seed(seed_of(self.plan.seed, REVOKING ^ fault as u64));
        let unix = self.plan.start + Duration::from_nanos(now().saturating_sub(NANOS));
        let revoked = realm.lock().unwrap_or_else(PoisonError::into_inner).revoke(&names, unix, &mut rng).cloned();
        let bulletin = match revoked {
            Ok(bulletin) => bulletin,
            // The fault has no effect then, which is a violation.
            Err(error) => return tracing::error!(%error, "no device is revoked"),
        };
        let documents: Vec<Vec<u8>> = bulletin.documents().map(|document| document.to_vec()).collect();
        let of_edge = |edge: &usize| {
            let edge = &self.plan.edges[*edge];
            devices.contains(&edge.a) != devices.contains(&edge.b)
        };
        let all = 0..self.plan.edges.len();
        let links = all.filter(|edge| of_edge(edge) && self.medium.stands(*edge)).collect();
        for device in &devices {
            self.medium.set_revoked(*device);
            self.revocations.revoked.entry(*device).or_insert(now());
            self.ledger.lock().publications.handle_revoked(*device, now());
        }
        self.revocations.all.push(Revocation {
            fault,
            devices: devices.into_iter().collect(),
            through,
            at: now(),
            version: bulletin.version(),
            bulletin: bulletin.signed().len(),
            document: documents.iter().map(Vec::len).max().unwrap_or_default(),
            ways: vec![None; self.plan.devices.len()],
            parted: BTreeSet::new(),
            links,
        });
        self.follow_ways();
        if let Some(last) = self.revocations.all.last_mut() {
            let member = |device: &usize| !last.devices.contains(device) && *device != through;
            let without = (0..last.ways.len()).filter(|device| member(device) && last.ways[*device].is_none());
            last.parted = without.collect();
        }
        if let Some(application) = self.devices[through].application() {
            application.order(Command::Bulletin { signed: bulletin.signed().to_vec(), documents });
        }
    }

    /// Notes to which members that do not refuse a revoked device yet there is a way.
    pub(super) fn follow_ways(&mut self) {
        let on: Vec<bool> = self.devices.iter().map(|device| device.application().is_some()).collect();
        for revocation in &mut self.revocations.all {
            let aware: Vec<bool> =
                (0..on.len()).map(|device| revocation.aware(&self.medium, device).is_some()).collect();
            let there = |device: usize| on[device] && !revocation.devices.contains(&device);
            let mut reached: Vec<bool> =
                (0..on.len()).map(|device| there(device) && (aware[device] || device == revocation.through)).collect();
            let carries: Vec<(usize, usize)> = (0..self.plan.edges.len())
                .filter(|edge| self.medium.carries(*edge))
                .map(|edge| (self.plan.edges[edge].a, self.plan.edges[edge].b))
                .filter(|(a, b)| there(*a) && there(*b))
                .collect();
            let mut grows = true;
            while grows {
                grows = false;
                for (a, b) in &carries {
                    if reached[*a] != reached[*b] {
                        (reached[*a], reached[*b], grows) = (true, true, true);
                    }
                }
            }
            for device in (0..on.len()).filter(|device| !aware[*device]) {
                let way = &mut revocation.ways[device];
                *way = if reached[device] { way.or(Some(now())) } else { None };
            }
        }
    }
}

impl Revocations {
    /// Returns whether nobody was revoked.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the number of devices that have kept the bulletin of a fault.
    pub fn aware(&self, medium: &Medium, fault: usize) -> u64 {
        let Some(revocation) = self.all.iter().find(|revocation| revocation.fault == fault) else { return 0 };
        (0..revocation.ways.len()).filter(|device| revocation.aware(medium, *device).is_some()).count() as u64
    }

    /// Returns, by device, the times from which on it seals publications with new keys.
    pub fn rekeyed(&self, medium: &Medium) -> BTreeMap<usize, Vec<u64>> {
        let mut rekeyed = BTreeMap::<usize, Vec<u64>>::new();
        for revocation in &self.all {
            for device in 0..revocation.ways.len() {
                let at = revocation.aware(medium, device).map(|aware| aware.max(revocation.at + nanos(LEAD)));
                rekeyed.entry(device).or_default().extend(at);
            }
        }
        rekeyed.values_mut().for_each(|times| times.sort_unstable());
        rekeyed
    }

    /// Makes the checks of a run that is over, and expects of messages only what revocations have left of them.
    pub fn settle(&self, plan: &Plan, medium: &Medium, book: &mut Book) -> u64 {
        let mut leaked = 0;
        for revocation in &self.all {
            leaked += revocation.check(plan, medium, &book.messages, &mut book.checks);
        }
        if !self.is_empty() {
            book.messages.iter_mut().for_each(|message| self.spare(plan, message));
        }
        leaked
    }

    fn spare(&self, plan: &Plan, message: &mut Message) {
        let cut_off = |device: usize| self.revoked.get(&device).is_some_and(|at| message.deadline >= *at);
        if cut_off(message.from) || message.to.is_some_and(cut_off) {
            message.spared = true;
            return;
        }
        let FlowKind::Publish { subscribers, .. } = &plan.flows[message.flow].kind else { return };
        for device in subscribers.iter().filter(|device| cut_off(**device)) {
            let before = message.received.len();
            message.received.retain(|received| received.node != *device);
            if before > message.received.len() || message.expected as usize > before {
                message.expected = message.expected.saturating_sub(1);
            }
        }
    }

    /// Enters the metrics.
    pub fn measure(&self, plan: &Plan, medium: &Medium, leaked: u64, put: &mut dyn FnMut(&str, f64)) {
        if self.is_empty() {
            return;
        }
        let (mut times, mut parted, mut unaware) = (Vec::new(), Vec::new(), 0u64);
        let (mut slowest, mut standing) = (0, 0u64);
        for revocation in &self.all {
            let members = (0..revocation.ways.len()).filter(|device| !self.revoked.contains_key(device));
            for device in members {
                let took = match (revocation.aware(medium, device), revocation.ways[device]) {
                    (Some(at), way) => at.saturating_sub(way.unwrap_or(at)),
                    (None, Some(_)) => {
                        unaware += 1;
                        u64::MAX
                    }
                    (None, None) => continue,
                };
                times.push(took);
                if revocation.parted.contains(&device) {
                    parted.push(took);
                }
            }
            for edge in &revocation.links {
                let known = &plan.edges[*edge];
                let member = if revocation.devices.contains(&known.a) { known.b } else { known.a };
                if medium.stands(*edge) {
                    standing += 1;
                } else {
                    let since = revocation.ways[member].unwrap_or(revocation.at).max(revocation.at);
                    slowest = slowest.max(medium.fell(*edge).saturating_sub(since));
                }
            }
        }
        times.sort_unstable();
        let rank = |part: f64| times.get(((times.len() as f64 * part).ceil() as usize).saturating_sub(1));
        for (name, part) in [("revocation.p50", 0.5), ("revocation.p99", 0.99), ("revocation.max", 1.0)] {
            if let Some(took) = rank(part).filter(|took| **took < u64::MAX) {
                put(name, *took as f64 / NANOS as f64);
            }
        }
        put("revocation.unaware", unaware as f64);
        put("revocation.parted", parted.len() as f64);
        if let Some(took) = parted.into_iter().max().filter(|took| *took < u64::MAX) {
            put("revocation.parted.max", took as f64 / NANOS as f64);
        }
        put("revocation.links", standing as f64);
        put("revocation.links.max", slowest as f64 / NANOS as f64);
        put("revocation.leaked", leaked as f64);
        let bytes = |of: &dyn Fn(&Revocation) -> usize| self.all.iter().map(of).max().unwrap_or_default() as f64;
        put("revocation.bulletin", bytes(&|revocation| revocation.bulletin));
        put("revocation.document", bytes(&|revocation| revocation.document));
        let first = self.all.first().map_or(0, |revocation| revocation.document);
        put("revocation.document.first", first as f64);
    }
}

impl Revocation {
    /// Makes the checks, and returns how many messages came from or to a revoked device that were not to.
    fn check(&self, plan: &Plan, medium: &Medium, messages: &[Message], checks: &mut Checks) -> u64 {
        let aware: Vec<Option<u64>> = (0..plan.devices.len()).map(|device| self.aware(medium, device)).collect();
        let refuses = |device: usize, at: u64| aware[device].is_some_and(|aware| aware < at);
        let name = |device: usize| plan.devices[device].name.as_str();
        for (number, edge) in plan.edges.iter().enumerate() {
            let (of_a, of_b) = (self.devices.contains(&edge.a), self.devices.contains(&edge.b));
            let member = if of_a { edge.b } else { edge.a };
            if of_a != of_b && aware[member].is_some() {
                let what = || format!("{} and {} are linked, and one of them is revoked", name(edge.a), name(edge.b));
                checks.look(Promise::RevokedAreOut, !medium.stands(number), what);
            }
        }
        let sealed = self.at + nanos(LEAD);
        let mut leaked = 0;
        for (id, message) in messages.iter().enumerate().filter(|(_, message)| message.sent > self.at) {
            let from = self.devices.contains(&message.from);
            let to_all = message.to.is_none();
            if !from && (!refuses(message.from, message.sent) || to_all && message.sent < sealed) {
                continue;
            }
            let wrong = |receiver: usize| {
                if from { refuses(receiver, message.sent) } else { self.devices.contains(&receiver) }
            };
            if let Some(to) = message.to.filter(|to| !from && !self.devices.contains(to)) {
                debug_assert!(!wrong(to));
                continue;
            }
            let came = message.received.iter().filter(|received| wrong(received.node)).count() as u64;
            leaked += came;
            let what = || {
                let way = if from { "from" } else { "to" };
                format!("message {id} of {} came {way} a device that its other end refuses", name(message.from))
            };
            checks.look(Promise::RevokedAreOut, came == 0, what);
        }
        leaked
    }
}

/// The part of the seeds of bulletins that distinguishes them from others made from the plan's seed.
const REVOKING: u64 = 0x4e00_0000_0000_0000;
