//! Founding: the realm, and every device with its membership, before the run begins.
//!
//! The first device holds the issuer's key, as an operator's first device does. The plan determines which devices can
//! address each other: devices that can link, and senders with their receivers; in a small mesh, all devices.

use super::device::{Device, Making};
use super::host::Clock;
use super::medium::{address, network};
use crate::plan::{self, FaultKind, FlowKind, Plan};
use m2mesh::delivery::mailbox;
use m2mesh::engine::{Settings, SleepSettings};
use m2mesh::id::Name;
use m2mesh::identity::invitation::{Invitation, InviteError, MemoryRealm};
use m2mesh::identity::ledger::{Contacts, Ledger};
use m2mesh::identity::membership::Membership;
use m2mesh::link::bearer::{Bearers, Profile, Quota, Rule};
use m2mesh::link::duty::Limit;
use m2mesh::net::Multiaddr;
use m2mesh::wire::bulletin::Segment;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Returns all devices of a plan; their nodes do not run yet.
pub fn found(plan: &Plan) -> Result<Vec<Device>, String> {
    let mut rng = ChaCha20Rng::from_seed(super::device::seed_of(plan.seed, FOUNDING));
    let names: Vec<Name> = plan.devices.iter().map(|device| device.name.clone()).collect();
    let mut realm = MemoryRealm::found(plan.epoch, plan.start, &mut rng).map_err(|error| error.to_string())?;
    realm.anonymity = plan.anonymity;
    let members = enrol(plan, &mut realm, &names, &mut rng);
    let members = members.map_err(|error| format!("the realm's devices cannot be made: {error}"))?;
    let (issuer, realm) = (realm.issuer.id(), Arc::new(Mutex::new(realm)));
    let (mut bootstrap, mut bearers) =
        (BTreeMap::<usize, Vec<Multiaddr>>::new(), BTreeMap::<usize, BTreeSet<usize>>::new());
    for edge in &plan.edges {
        if edge.known {
            bootstrap.entry(edge.a).or_default().push(address(edge.b, edge.bearer));
        }
        for device in [edge.a, edge.b] {
            bearers.entry(device).or_default().insert(edge.bearer);
        }
    }
    let again = restarted(plan);
    let profiles = profiles(plan);
    let making = members.into_iter().zip(&plan.devices).enumerate().map(|(index, (membership, planned))| {
        Device::new(Making {
            index,
            seed: plan.seed,
            membership,
            issuer: (index == 0).then(|| (issuer, realm.clone())),
            clock: Clock::new(plan.start),
            bearers: bearers.remove(&index).map_or_else(|| vec![0], |bearers| bearers.into_iter().collect()),
            profiles: profiles.clone(),
            bootstrap: bootstrap.remove(&index).unwrap_or_default(),
            target_links: planned.target_links,
            start_within: planned.start_within,
            settings: settings(plan, planned, &profiles),
            flush: planned.flush,
            work: planned.work,
            start_up: planned.start_up,
            keep: again.contains(&index),
        })
    });
    Ok(making.collect())
}

/// Enrols the devices, with their roles, segments and contacts.
fn enrol(
    plan: &Plan,
    realm: &mut MemoryRealm,
    names: &[Name],
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Membership>, InviteError> {
    let all = names.len() <= EVERYBODY;
    let invitation = |(device, name): (usize, &Name)| {
        let contacts = if all { Contacts::All } else { Contacts::Some(Vec::new()) };
        let (segments, roles) = (plan.layout.segments_of(device), plan.devices[device].roles);
        Invitation { segments, roles, anonymity: plan.anonymity, ..Invitation::new(name.clone(), contacts) }
    };
    let invitations = names.iter().enumerate().map(invitation).collect();
    let entered = realm.enter(invitations, plan.epochs, plan.start, rng)?;
    for (one, other) in if all { BTreeSet::new() } else { pairs(plan) } {
        realm.book.allow(&names[one], &names[other])?;
    }
    if !plan.layout.is_plain() {
        lay_out(plan, realm, names, rng)?;
    }
    realm.grant(&entered, plan.start, rng)
}

/// Makes the segments of a realm, and the groups whose readers are listed.
fn lay_out(plan: &Plan, realm: &mut MemoryRealm, names: &[Name], rng: &mut ChaCha20Rng) -> Result<(), InviteError> {
    realm.amend(plan.start, |body| {
        let segments = plan.layout.segments.iter();
        body.segments = segments
            .map(|segment| Segment {
                bit: segment.bit,
                name: segment.name.clone(),
                reaches: segment.reaches.to_be_bytes(),
            })
            .collect();
        body.segments.sort_by_key(|segment| segment.bit);
    })?;
    for keyed in &plan.layout.groups {
        let readers = keyed.readers.as_ref();
        let readers: Option<Vec<Name>> =
            readers.map(|readers| readers.iter().map(|device| names[*device].clone()).collect());
        realm.add_group(&keyed.group, readers.as_deref(), plan.start, rng)?;
    }
    Ok(())
}

/// Returns the settings of a device's engine.
fn settings(plan: &Plan, device: &plan::Device, bearers: &Bearers) -> Settings {
    Settings {
        forwarding: device.forwarding,
        area: device.area,
        anonymity: plan.anonymity,
        bearers: bearers.profiles().to_vec(),
        policies: plan.policies.clone(),
        mail: device.post.takes,
        mail_quota: device.post.quota.unwrap_or(mailbox::QUOTA),
        sleep: sleep(plan, device),
        ..Settings::default()
    }
}

/// Returns what a device's node is told of its rest.
fn sleep(plan: &Plan, device: &plan::Device) -> Option<SleepSettings> {
    let parents: Vec<Name> = device.post.parents.iter().map(|parent| plan.devices[*parent].name.clone()).collect();
    (!parents.is_empty()).then(|| SleepSettings { parents, awake: plan.awake(device) })
}

/// The span of a duty cycle.
const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the profiles of the plan's bearers that devices are told; each bearer has its own network of addresses.
pub(super) fn profiles(plan: &Plan) -> Bearers {
    let bearer = |(index, bearer): (usize, &plan::Bearer)| {
        let usual = Profile::default();
        let kilobits = |bits: u64| u32::try_from(bits.div_ceil(1_000)).unwrap_or(u32::MAX);
        let profile = Profile {
            name: bearer.name.clone(),
            class: bearer.class,
            price: bearer.told_price(),
            energy: bearer.energy,
            mtu: bearer.mtu.unwrap_or(usual.mtu),
            rate: bearer.rate.or(bearer.channel).map_or(usual.rate, kilobits),
            overhead: usual.overhead,
            shares: usual.shares,
            duty: bearer.duty.map(|part| Limit { budget: HOUR.mul_f64(part), over: HOUR, preamble: Duration::ZERO }),
            quota: bearer.quota.map(|(bytes, every)| Quota { bytes, every }),
            windows: bearer.windows.clone(),
            metered: bearer.metered,
            setup: bearer.setup,
            keep_alive: bearer.keep_alive,
        };
        (profile, Rule { addresses: vec![network(index)], ..Rule::default() })
    };
    Bearers::new(plan.bearers.iter().enumerate().map(bearer))
}

/// Returns the pairs of devices that address each other.
fn pairs(plan: &Plan) -> BTreeSet<(usize, usize)> {
    let ordered = |one: usize, other: usize| (one.min(other), one.max(other));
    let mut pairs: BTreeSet<_> = plan.edges.iter().map(|edge| ordered(edge.a, edge.b)).collect();
    for flow in &plan.flows {
        let all: Vec<usize>;
        let (one, many) = match &flow.kind {
            FlowKind::Send(to) | FlowKind::Request(to) => (&to[..], None),
            FlowKind::Any { servers, .. } => (&[][..], Some(servers)),
            FlowKind::Broadcast => {
                all = (0..plan.devices.len()).collect();
                (&[][..], Some(&all))
            }
            FlowKind::Publish { .. } => continue,
        };
        let each = flow.from.iter().zip(one);
        pairs.extend(each.flat_map(|(from, to)| to.iter().map(|to| ordered(*from, *to))));
        for to in many.into_iter().flatten() {
            pairs.extend(flow.from.iter().map(|from| ordered(*from, *to)));
        }
    }
    pairs.retain(|(one, other)| one != other);
    pairs
}

/// Returns the devices that are started more than once.
fn restarted(plan: &Plan) -> BTreeSet<usize> {
    let down = plan.faults.iter().filter_map(|fault| match &fault.what {
        FaultKind::Crash(devices) | FaultKind::PowerCut(devices) => Some(devices),
        _ => None,
    });
    down.flatten().copied().collect()
}

/// The largest number of devices with which all devices can address each other.
const EVERYBODY: usize = 64;
/// The part of the realm's seed that distinguishes it from others made from the plan's seed.
const FOUNDING: u64 = 0xf0;
