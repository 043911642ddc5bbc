//! Founding: the realm, and every device with its membership, before the run begins.
//!
//! The first device holds the issuer's key, as an operator's first device does. Who can address whom follows from the
//! plan: devices that can link, and senders with their receivers; in a small mesh, everybody.

use super::device::{Device, Making};
use super::host::Clock;
use super::medium::{address, network};
use crate::plan::{self, FaultKind, FlowKind, Plan};
use m2mesh::id::Name;
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::link::bearer::{Bearers, Profile, Rule};
use m2mesh::net::Multiaddr;
use m2mesh::wire::lsa::Bearer as Class;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// All devices of a plan, off.
pub fn found(plan: &Plan) -> Result<Vec<Device>, String> {
    let mut rng = ChaCha20Rng::from_seed(super::device::seed_of(plan.seed, FOUNDING));
    let names: Vec<Name> = plan.devices.iter().map(|device| device.name.clone()).collect();
    let mut realm = MemoryRealm::found(plan.epoch, plan.start, &mut rng).map_err(|error| error.to_string())?;
    let members = if names.len() <= EVERYBODY {
        realm.enrol(names, plan.epochs, plan.start, &mut rng)
    } else {
        realm.enrol_pairs(&names, pairs(plan), plan.epochs, plan.start, &mut rng)
    };
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
            flush: planned.flush,
            keep: again.contains(&index),
        })
    });
    Ok(making.collect())
}

/// What a device is told of the plan's bearers: each has its network of addresses, the last has all others. None is metered,
/// so that gossip runs wherever there are links.
fn profiles(plan: &Plan) -> Bearers {
    let last = plan.bearers.len().saturating_sub(1);
    let bearer = |(index, bearer): (usize, &plan::Bearer)| {
        let class = Class::ALL.into_iter().find(|class| class.name() == bearer.name).unwrap_or_default();
        let price = (bearer.price * 1e6).round() as u64;
        let rate = bearer.channel.map_or(u32::MAX, |bits| u32::try_from(bits.div_ceil(1_000)).unwrap_or(u32::MAX));
        let addresses = if index == last { Vec::new() } else { vec![network(index)] };
        let profile = Profile { name: bearer.name.clone(), class, price, rate, ..Profile::default() };
        (profile, Rule { addresses, ..Rule::default() })
    };
    Bearers::new(plan.bearers.iter().enumerate().map(bearer))
}

/// Devices that address each other.
fn pairs(plan: &Plan) -> BTreeSet<(usize, usize)> {
    let ordered = |one: usize, other: usize| (one.min(other), one.max(other));
    let mut pairs: BTreeSet<_> = plan.edges.iter().map(|edge| ordered(edge.a, edge.b)).collect();
    for flow in &plan.flows {
        if let FlowKind::Send(to) | FlowKind::Request(to) = &flow.kind {
            let each = flow.from.iter().zip(to);
            pairs.extend(each.flat_map(|(from, to)| to.iter().map(|to| ordered(*from, *to))));
        }
    }
    pairs.retain(|(one, other)| one != other);
    pairs
}

/// Devices that are started more than once.
fn restarted(plan: &Plan) -> BTreeSet<usize> {
    let down = plan.faults.iter().filter_map(|fault| match &fault.what {
        FaultKind::Crash(devices) | FaultKind::PowerCut(devices) => Some(devices),
        _ => None,
    });
    down.flatten().copied().collect()
}

/// Up to so many devices, everybody can address everybody.
const EVERYBODY: usize = 64;
/// Of the plan's seed, what the realm is made from.
const FOUNDING: u64 = 0xf0;
