//! Faults: the plan's faults, carried out at their times.
//!
//! A fault is a value of the plan. This module carries it out when its time comes, and reverts it when it is over.
//! Several faults may affect the same device or edge at a time: a device stays down, and an edge cut, until the last of
//! them is over. When traffic ends, everything that can be healed is healed.

use super::agenda::{Agenda, Item};
use super::device::Device;
use super::events::What;
use super::executor;
use super::medium::{Medium, NANOS, SimTransport, address, now};
use super::{World, nanos};
use crate::plan::{FaultKind, Plan};
use libp2p::core::Transport;
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::identity::kdf::Secret;
use m2mesh::identity::membership::Membership;
use m2mesh::net::{self, LinkIds, NetConfig, Network};
use m2mesh::node::Gate;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Enters all faults into the agenda.
pub fn begin(plan: &Plan, agenda: &Agenda) {
    for (fault, planned) in plan.faults.iter().enumerate() {
        agenda.enter(plan.warmup + planned.at, Item::Fault { fault, begins: true });
        if let Some(until) = planned.until.filter(|until| *until < plan.duration) {
            agenda.enter(plan.warmup + until, Item::Fault { fault, begins: false });
        }
    }
    agenda.enter(plan.warmup + plan.duration, Item::Calm);
}

/// Returns the nodes whose clock or disk is faulty, or that are paused, in some part of the run, each with the
/// nanoseconds by which this can delay something: for a clock its error plus the error that hellos do not show; for a
/// disk or a paused process no bound.
pub fn excused(plan: &Plan) -> BTreeMap<usize, u64> {
    let mut excused = BTreeMap::<usize, u64>::new();
    for fault in &plan.faults {
        let (devices, seconds) = match &fault.what {
            FaultKind::ClockStep { devices, seconds } => (devices, Some(seconds.abs())),
            FaultKind::ClockDrift { devices, ppm } => (devices, Some(ppm.abs() / 1e6 * plan.duration.as_secs_f64())),
            FaultKind::DiskFull(devices) | FaultKind::Pause(devices) => (devices, None),
            _ => continue,
        };
        let by = seconds.map_or(u64::MAX / 4, |seconds| nanos(Duration::from_secs_f64(seconds + UNSEEN)));
        for device in devices {
            let sum = excused.entry(*device).or_default();
            *sum = sum.saturating_add(by);
        }
    }
    excused
}

/// Returns the devices outside the plan, each with the devices with which it tries to link.
pub fn strangers(plan: &Plan) -> Vec<Vec<usize>> {
    plan.faults.iter().filter_map(|fault| Some(fault.what.outsider()?.to_vec())).collect()
}

/// Returns the membership of a stranger: of a realm of its own, or that of a member whose credential it has.
fn membership_of(plan: &Plan, devices: &[Device], what: &FaultKind, seed: [u8; 32]) -> Result<Membership, String> {
    let made = match what {
        FaultKind::Impostor(victims) => {
            // The credential of a member that is not among its victims.
            let other = (0..devices.len()).find(|member| !victims.contains(member)).unwrap_or_default();
            return devices[other].membership();
        }
        _ => {
            let mut rng = ChaCha20Rng::from_seed(seed);
            let realm = MemoryRealm::found(plan.epoch, plan.start, &mut rng).map_err(|error| error.to_string());
            let name = m2mesh::id::Name::new("stranger").map_err(|error| error.to_string())?;
            realm?.enrol([name], plan.epochs, plan.start, &mut rng).map_err(|error| error.to_string())?
        }
    };
    made.into_iter().next().ok_or_else(|| "nobody was enrolled".to_owned())
}

/// Starts the devices outside the plan; their edges are closed until their faults begin.
pub fn start_strangers(plan: &Plan, devices: &[Device], medium: &Medium) -> Result<(), String> {
    let faults = plan.faults.iter().filter_map(|fault| Some((&fault.what, fault.what.outsider()?)));
    for (number, (what, victims)) in faults.enumerate() {
        let device = plan.devices.len() + number;
        let seed = super::device::seed_of(plan.seed, u64::MAX - number as u64);
        let membership =
            membership_of(plan, devices, what, seed).map_err(|error| format!("a stranger cannot be made: {error}"))?;
        // An impostor has what a member shows, and not what it keeps.
        let secret =
            if matches!(what, FaultKind::Impostor(_)) { Secret::new(seed) } else { membership.libp2p_seed(plan.start) };
        let key = net::keypair(&secret);
        let local = key.public().to_peer_id();
        let clock = super::host::Clock::new(plan.start);
        let gate = Gate::new(membership.admission_view(), device as u64, move || clock.now());
        let owner = (device as u64) << 32;
        let bearer = |victim: &usize| {
            let edge = plan.edges.iter().find(|edge| edge.a == *victim || edge.b == *victim);
            edge.map_or(0, |edge| edge.bearer)
        };
        let config = NetConfig {
            listen: Vec::new(),
            bootstrap: victims.iter().map(|victim| address(*victim, bearer(victim))).collect(),
            mdns: false,
            ..NetConfig::default()
        };
        let transport = SimTransport::new(medium.clone(), device, local).boxed();
        let spawn: net::Executor = Box::new(move |task| executor::spawn(owner, task));
        let mut network = Network::new(transport, local, spawn, gate, &config, seed, &LinkIds::default());
        medium.set_dark(device, true);
        executor::spawn(
            owner,
            poll_fn(move |cx| {
                while network.poll(cx).is_ready() {}
                Poll::Pending
            }),
        );
    }
    Ok(())
}

impl World {
    pub(super) fn handle_fault(&mut self, fault: usize, begins: bool) {
        let Some(planned) = self.plan.faults.get(fault).cloned() else { return };
        let label = planned.label.as_str();
        self.events.note(usize::MAX, &if begins { What::Fault { label } } else { What::Healed { label } });
        if begins {
            self.note_fault(fault, true);
        }
        match planned.what {
            FaultKind::Crash(devices) => devices.into_iter().for_each(|device| self.set_down(device, begins)),
            FaultKind::PowerCut(devices) => devices.into_iter().for_each(|device| self.set_power(device, !begins)),
            FaultKind::BatteryEmpty(devices) if begins => {
                devices.into_iter().for_each(|device| self.lose_power(device));
            }
            FaultKind::BatteryEmpty(_) => {}
            FaultKind::Cut { edges, silent } => {
                edges.into_iter().for_each(|edge| self.medium.cut(edge, silent, begins));
            }
            FaultKind::Flap { .. } => {
                if begins {
                    self.handle_flap(fault, true);
                }
            }
            FaultKind::Degrade { edges, shapes } => {
                let shapes = if begins { shapes } else { [None; 2] };
                edges.into_iter().for_each(|edge| self.medium.set_shapes(edge, shapes));
            }
            FaultKind::ClockStep { devices, seconds } => {
                let seconds = if begins { seconds } else { -seconds };
                for device in devices {
                    let wrong = self.devices[device].clock.step(seconds);
                    self.ledger.handle_set(device, wrong);
                }
            }
            FaultKind::ClockDrift { devices, ppm } => {
                let ppm = if begins { ppm } else { 0.0 };
                devices.into_iter().for_each(|device| self.devices[device].clock.drift(ppm));
            }
            FaultKind::DiskFull(devices) => {
                let failure = begins.then_some("no space left on device");
                devices.into_iter().for_each(|device| self.devices[device].set_disk_failure(failure));
            }
            FaultKind::Pause(devices) => devices.into_iter().for_each(|device| self.set_paused(device, begins)),
            FaultKind::Overload { flow, factor } => self.workload.set_factor(flow, if begins { factor } else { 1.0 }),
            FaultKind::Hostile { devices, how } => {
                devices.into_iter().for_each(|device| self.medium.set_hostile(device, begins.then_some(how)));
            }
            FaultKind::Revoke { devices, through } if begins => self.revoke(fault, devices, through),
            FaultKind::Revoke { .. } => {}
            FaultKind::Stranger(_) | FaultKind::Impostor(_) => self.medium.set_dark(self.stranger(fault), !begins),
        }
        if !begins {
            self.note_fault(fault, false);
        }
    }

    /// Returns the index of the device of a stranger's fault.
    pub(super) fn stranger(&self, fault: usize) -> usize {
        let before = self.plan.faults[..fault].iter();
        let number = before.filter(|fault| fault.what.outsider().is_some()).count();
        self.plan.devices.len() + number
    }

    /// Takes a flapping link down or up, and enters the next change.
    pub(super) fn handle_flap(&mut self, fault: usize, goes: bool) {
        let Some(planned) = self.plan.faults.get(fault) else { return };
        let FaultKind::Flap { edges, down, up } = &planned.what else { return };
        edges.iter().for_each(|edge| self.medium.cut(*edge, false, goes));
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        let next = after + if goes { *down } else { *up };
        let over = self.plan.warmup + planned.until.unwrap_or(self.plan.duration).min(self.plan.duration);
        if goes || next < over {
            // A link that is down comes up at the end of the fault at the latest.
            self.agenda.enter(if goes { next.min(over) } else { next }, Item::Flap { fault, down: !goes });
        }
    }

    /// Heals everything.
    pub(super) fn handle_calm(&mut self) {
        self.read_meters_at_calm();
        let open = |fault: &crate::plan::Fault| fault.until.is_none_or(|until| until >= self.plan.duration);
        let faults: Vec<usize> = (0..self.plan.faults.len()).filter(|fault| open(&self.plan.faults[*fault])).collect();
        for fault in faults {
            self.handle_fault(fault, false);
        }
        debug_assert!(now() >= NANOS + nanos(self.plan.warmup));
    }

    /// Kills a device's process, or starts it again.
    fn set_down(&mut self, device: usize, down: bool) {
        let reasons = &mut self.down[device];
        *reasons = if down { *reasons + 1 } else { reasons.saturating_sub(1) };
        match (down, *reasons) {
            (true, 1) => {
                self.effects.note_killed(device);
                self.kill(device);
            }
            (false, 0) => self.start(device),
            _ => {}
        }
    }

    /// Pauses a device's process, or resumes it; a process that is started meanwhile is not paused.
    fn set_paused(&mut self, device: usize, still: bool) {
        match (still, self.paused.remove(&device)) {
            (true, Some(before)) => drop(self.paused.insert(device, before)),
            (true, None) => {
                if let Some(owner) = self.devices[device].application().map(|application| application.owner) {
                    self.effects.note_stopped(device);
                    executor::pause(owner);
                    self.paused.insert(device, owner);
                }
            }
            (false, Some(owner)) => executor::go_on(owner),
            (false, None) => {}
        }
    }

    /// Takes a device's power away for good.
    pub(super) fn lose_power(&mut self, device: usize) {
        self.set_power(device, false);
    }

    /// Takes a device's power away, before its process is killed, or gives it back, before the process is started.
    fn set_power(&mut self, device: usize, power: bool) {
        if !power {
            self.medium.set_dark(device, true);
        }
        self.set_down(device, !power);
        if power {
            self.medium.set_dark(device, false);
        }
    }
}

/// The seconds by which clocks may differ without a hello showing it.
const UNSEEN: f64 = 3.0;
