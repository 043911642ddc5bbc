//! World: devices, medium, faults and time, on one thread.
//!
//! **Mechanism.** [`simulate`] starts a fresh thread, seeds its randomness, installs a virtual clock and builds
//! everything that a [`Plan`] names. Then it repeats two steps: tasks run until none is ready ([`executor`]); then the
//! clock moves to the next item that is due, which is an arrival ([`medium`]), a timer of a node, or an entry of the
//! [`agenda`]: a message to send, a fault, a sample. The world itself never waits; virtual time passes only where the
//! medium, disks and timers take time.
//!
//! Events are reported to the [`ledger`], which checks them, and measured by the [`sampler`]; [`results`] makes a
//! [`Record`] of both.
//!
//! A process runs one simulation only: libp2p counts connections for the whole process, so a second simulation would
//! differ.
//!
//! Invariants
//! 1. The same plan gives the same record, except for [`Performance`](crate::record::Performance).
//! 2. All randomness comes from the plan's seed.

mod accounts;
pub mod agenda;
mod agreement;
pub mod application;
pub mod asking;
mod balance;
pub mod checks;
pub mod clock;
mod device;
mod disk;
mod effects;
mod energy;
pub mod events;
pub mod executor;
pub mod faults;
mod founding;
mod host;
pub mod ledger;
mod medium;
mod missed;
mod moving;
pub mod onlooker;
mod opener;
mod publications;
pub mod results;
mod revocations;
mod sampler;
pub mod selections;
mod spending;
pub mod verdicts;
mod windows;
mod witness;
pub mod workload;

use crate::plan::{FlowKind, Plan};
use crate::record::Record;
use crate::virtual_os;
use agenda::{Agenda, Item};
use asking::Routed;
use checks::{Checks, Promise};
use device::Device;
use effects::Effects;
use energy::Energy;
use events::{Events, What};
use futures_timer::virtual_time;
use ledger::Ledger;
use m2mesh::link::bearer::Profile;
use medium::{Capture, Medium, NANOS, now};
use onlooker::{Onlooker, Sink};
use revocations::Revocations;
use sampler::Sampler;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use workload::Workload;

/// The options of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file for events, with a JSON object a line.
    pub events: Option<PathBuf>,
    /// The virtual time in seconds at which the run ends, instead of at its own end.
    pub until: Option<f64>,
    /// The only node whose events are written.
    pub node: Option<String>,
    /// The file for the bytes of the links between two devices, as packets, and the names of the devices.
    pub capture: Option<(PathBuf, [String; 2])>,
    /// The place for what could be seen of pseudonyms.
    pub sink: Option<Sink>,
}

/// The progress of a run, sent whenever there is something new to draw. A report is dropped if the receiver has not
/// taken the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The virtual time in seconds.
    pub virtual_s: f64,
    /// The virtual time of the whole run in seconds.
    pub total_s: f64,
    /// The number of events so far.
    pub events: u64,
    /// The number of messages delivered so far.
    pub delivered: u64,
}

/// Runs a plan on a thread of its own and waits for its end. The caller fills in `source` of the record.
pub fn simulate(plan: Plan, options: Options, progress: SyncSender<Progress>) -> Result<Record, String> {
    let began = std::time::Instant::now();
    let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(STACK);
    let run = thread.spawn(move || {
        // This precedes everything else on this thread: see `virtual_os`.
        virtual_os::seed(plan.seed ^ 0x5eed, plan.start.seconds().saturating_sub(1));
        virtual_time::install(NANOS);
        m2mesh::identity::sign::memoise(MEMOISED);
        m2mesh::identity::audit::begin();
        let cpu = virtual_os::cpu_time();
        let record = World::new(plan, &options).map(|mut world| {
            world.run(&progress);
            if let Some((sink, onlooker)) = options.sink.as_ref().zip(world.medium.take_onlooker()) {
                onlooker.leave(sink);
            }
            let mut record = world.into_record();
            record.performance.cpu_s = (virtual_os::cpu_time() - cpu) as f64 / NANOS as f64;
            record
        });
        executor::clear();
        virtual_time::uninstall();
        record
    });
    let run = run.map_err(|error| format!("the simulation's thread does not start: {error}"))?;
    let mut record = run.join().map_err(|_| "the simulation has failed; this is a defect of the program")??;
    record.performance.wall_s = began.elapsed().as_secs_f64();
    Ok(record)
}

/// The state of a simulation.
struct World {
    plan: Plan,
    devices: Vec<Device>,
    medium: Medium,
    ledger: Ledger,
    agenda: Agenda,
    workload: Workload,
    sampler: Sampler,
    routed: Routed,
    events: Events,
    /// The number of faults that keep each device down, and their effects: see [`faults`].
    down: Vec<u32>,
    /// The devices whose process is paused, each with its life.
    paused: BTreeMap<usize, executor::Owner>,
    /// The effects of the faults.
    effects: Effects,
    energy: Energy,
    revocations: Revocations,
    /// The reasons for which devices could not be started again.
    broken: Vec<String>,
    end: u64,
}

impl World {
    fn new(plan: Plan, options: &Options) -> Result<Self, String> {
        let names: Vec<String> = plan.devices.iter().map(|device| device.name.to_string()).collect();
        let events = match &options.events {
            Some(path) => {
                let only = options.node.as_ref().map(|node| names.iter().position(|name| name == node));
                if let Some(None) = only {
                    let node = options.node.as_deref().unwrap_or_default();
                    return Err(format!(
                        "no node is called {node}; the nodes are {} to {}",
                        names[0],
                        names[names.len() - 1]
                    ));
                }
                let flows = plan.flows.iter().map(|flow| flow.name.clone()).collect();
                Events::create(path, names.clone(), flows, only.flatten())
                    .map_err(|error| format!("{}: {error}; check the path", path.display()))?
            }
            None => Events::default(),
        };
        let slowest = plan.devices.iter().map(|device| device.flush).max().unwrap_or_default();
        let ledger = Ledger::new(&names, slowest, events.clone());
        let medium = Medium::new(&plan, &faults::strangers(&plan));
        if let Some((path, ends)) = &options.capture {
            medium.set_capture(Capture::create(path, &plan, ends)?);
        }
        let devices = founding::found(&plan)?;
        if options.sink.is_some() {
            let mut onlooker = Onlooker::new(&plan);
            onlooker.note_contacts(&devices, &plan)?;
            medium.set_onlooker(onlooker);
        }
        let agenda = Agenda::default();
        let length = plan.warmup + plan.duration + plan.settle;
        let end = options.until.map_or(length, |until| Duration::from_secs_f64(until.max(0.0)).min(length));
        let mut world = Self {
            down: vec![0; plan.devices.len()],
            workload: Workload::new(&plan),
            sampler: Sampler::new(&plan),
            routed: Routed::new(&plan),
            devices,
            medium,
            ledger,
            agenda,
            events,
            paused: BTreeMap::new(),
            effects: Effects::default(),
            energy: Energy::new(&plan),
            revocations: Revocations::default(),
            broken: Vec::new(),
            end: NANOS + nanos(end),
            plan,
        };
        world.ledger.lock().excused = faults::excused(&world.plan);
        world.ledger.lock().narrowed.heard =
            world.plan.flows.iter().any(|flow| matches!(flow.kind, FlowKind::Broadcast));
        world.prepare()?;
        Ok(world)
    }

    /// Starts all devices, and enters into the agenda what is known in advance.
    fn prepare(&mut self) -> Result<(), String> {
        faults::start_strangers(&self.plan, &self.devices, &self.medium)?;
        for device in 0..self.devices.len() {
            self.start(device);
        }
        if let Some(broken) = self.broken.first() {
            return Err(format!("a device does not start: {broken}"));
        }
        self.sampler.begin(&self.agenda);
        self.routed.begin(&self.agenda);
        moving::begin(&self.plan, &self.agenda);
        faults::begin(&self.plan, &self.agenda);
        self.energy.begin(&self.plan, &self.agenda);
        self.workload.begin(&self.plan, &self.agenda);
        Ok(())
    }

    fn run(&mut self, progress: &SyncSender<Progress>) {
        let mut told = 0;
        loop {
            executor::run_ready();
            while let Some(item) = self.agenda.pop() {
                self.handle(item);
                executor::run_ready();
            }
            if let Some(owner) = executor::spins() {
                let device =
                    |device: &Device| device.application().is_some_and(|application| application.owner == owner);
                let at = self.devices.iter().position(device);
                let name = at.map_or("a device", |at| self.plan.devices[at].name.as_str());
                self.broken.push(format!(
                    "at {:.6} s {name} goes on for ever, and time no longer passes",
                    results::seconds(now())
                ));
                return;
            }
            if now() - told > self.end / 200 {
                told = now();
                // A reader that still draws the previous report does not need another.
                let _ = progress.try_send(self.progress());
            }
            if !virtual_time::advance(self.end) {
                return;
            }
        }
    }

    fn handle(&mut self, item: Item) {
        let changes_ways = !matches!(item, Item::Send(_) | Item::Sample | Item::Ask | Item::Meter);
        match item {
            Item::Send(sender) => self.send(sender),
            Item::Sample => self.sample(),
            Item::Ask => self.routed.ask(&self.devices, &self.agenda),
            Item::Move => self.move_devices(),
            Item::Window { bearer, open } => self.medium.set_window(bearer, open),
            Item::Shut(bearer) => self.medium.set_open(bearer, false),
            Item::Sleep { device, asleep } => {
                self.energy.set_asleep(device, asleep);
                self.medium.set_dark(device, asleep);
                self.medium.witness(|witness| witness.note_sleep(device, asleep));
            }
            Item::Meter => self.read_meters(),
            Item::Fault { fault, begins } => self.handle_fault(fault, begins),
            Item::Flap { fault, down } => self.handle_flap(fault, down),
            Item::Calm => self.handle_calm(),
        }
        if changes_ways && !self.revocations.is_empty() {
            self.follow_ways();
        }
    }

    /// Starts a device's node, and its application's part of the workload.
    fn start(&mut self, device: usize) {
        self.events.note(device, &What::Up);
        match self.devices[device].start(&self.medium, &self.ledger) {
            Ok(application) => {
                self.medium.set_gone(device, false);
                self.energy.set_on(device, true);
                self.workload.join(&self.plan, application);
            }
            Err(error) => self.broken.push(format!("{}: {error}", self.plan.devices[device].name)),
        }
    }

    /// Kills a device's node at once.
    fn kill(&mut self, device: usize) {
        self.events.note(device, &What::Down);
        self.medium.set_gone(device, true);
        self.medium.witness(|witness| witness.note_down(device));
        self.energy.set_on(device, false);
        self.devices[device].kill();
        self.ledger.handle_down(device);
    }

    fn send(&mut self, sender: usize) {
        self.workload.send(&self.plan, (sender, now()), &self.devices[..], &self.ledger, &self.agenda);
    }

    fn sample(&mut self) {
        self.sampler.sample(&self.plan, &self.medium, &self.ledger, &self.agenda);
    }

    fn move_devices(&mut self) {
        moving::step(&self.plan, &self.medium, &self.agenda);
    }

    fn progress(&self) -> Progress {
        let seconds = |at: u64| at.saturating_sub(NANOS) as f64 / NANOS as f64;
        let delivered = self.ledger.lock().delivered;
        Progress { virtual_s: seconds(now()), total_s: seconds(self.end), events: virtual_time::fired(), delivered }
    }

    /// Makes the final checks and the record of the run.
    fn into_record(mut self) -> Record {
        let leaked = self.check_end();
        let totals = asking::totals(&self.devices);
        if let Err(error) = self.events.finish() {
            tracing::error!(%error, "the events could not all be written");
        }
        if let Err(error) = self.medium.finish_capture() {
            tracing::error!(%error, "the packets could not all be written");
        }
        let readings = self.energy.readings(&self.medium);
        let ended = results::Ended {
            sampler: self.sampler,
            routed: self.routed.at,
            totals,
            readings: &readings,
            revocations: &self.revocations,
            leaked,
        };
        results::record(&self.plan, &self.medium, &self.ledger, ended)
    }

    /// Makes the checks of a run that is over; returns the number of messages that came in spite of a revocation.
    fn check_end(&mut self) -> u64 {
        // Ask first, since the nodes may report to the ledger.
        let said = agreement::ask(&self.devices);
        let mut book = self.ledger.lock();
        let book = &mut *book;
        let leaked = self.revocations.settle(&self.plan, &self.medium, book);
        results::check_layout(&self.plan, &self.medium, book);
        for broken in &self.broken {
            book.checks.look(Promise::NothingLost, false, || broken.clone());
        }
        for (device, planned) in self.devices.iter().zip(&self.plan.devices) {
            let verdict = device.verify_log();
            let what = || format!("{}: {}", planned.name, verdict.as_ref().err().cloned().unwrap_or_default());
            book.checks.look(Promise::LogsVerify, verdict.is_ok(), what);
        }
        if let Some(seals) = m2mesh::identity::audit::end() {
            book.checks.tally(Promise::FreshNonces, seals.seals, seals.repeated);
        }
        let lying: Vec<BTreeSet<u64>> = self.devices.iter().map(Device::lying).collect();
        let is_on = |device: usize| self.devices[device].application().is_some();
        results::check_messages(book, &lying, is_on, self.end);
        agreement::check(book, &self.plan, &self.devices, &self.medium, said);
        book.checks.merge(self.medium.witness(|witness| std::mem::replace(&mut witness.checks, Checks::new())));
        results::check_publications(book, &self.plan, &self.revocations.rekeyed(&self.medium), self.end);
        let cut_short = self.end < NANOS + nanos(self.plan.warmup + self.plan.duration + self.plan.settle);
        if !cut_short {
            self.check_effects(&mut book.checks);
            let bearers = founding::profiles(&self.plan);
            for (number, edge) in self.plan.edges.iter().enumerate().filter(|(_, edge)| edge.known) {
                let ends = [edge.a, edge.b].map(|device| &self.plan.devices[device]);
                let moves = ends.iter().any(|device| device.track.len() > 1);
                let rest = bearers.profiles().get(edge.bearer).and_then(|bearer| may_rest(bearer, moves));
                let since = self.medium.missing(number);
                let missing = since.is_some_and(|since| rest.is_none_or(|rest| now() - since > rest));
                let what = || format!("{} and {} have no link", ends[0].name, ends[1].name);
                book.checks.look(Promise::Converged, !missing, what);
            }
        }
        if self.plan.faults.iter().any(|fault| fault.what.outsider().is_some()) {
            let foreign = self.medium.watch().foreign;
            book.checks.look(Promise::NoStranger, foreign == 0, || format!("{foreign} links with strangers"));
        }
        leaked
    }
}

/// Returns the time in nanoseconds for which a possible link may be left down at the end of a run. If a device has just
/// come near, or dials cost money, it is the time for which a node may pause between two dials, plus the time that a
/// dial takes.
fn may_rest(bearer: &Profile, moves: bool) -> Option<u64> {
    (moves || bearer.metered).then(|| nanos(bearer.longest_rest(LONGEST_REST) + bearer.setup_time(DIAL)))
}

/// Returns a duration in nanoseconds.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The longest time for which a node may leave alone an address that it has never reached, if dials cost nothing.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The time that a dial takes if its bearer does not state one.
const DIAL: Duration = Duration::from_secs(15);
/// The size of the simulation's stack in bytes: the futures of a node nest deeply in an unoptimised build.
const STACK: usize = 64 * 1024 * 1024;
/// The number of signatures whose verification is remembered: more than a run of thousands of nodes meets.
const MEMOISED: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_to_stand_at_the_end_unless_its_ends_may_rest_that_long_between_dials() {
        let seconds = |bearer: &Profile, moves| may_rest(bearer, moves).map(|rest| rest / NANOS);
        let free = Profile::default();
        assert_eq!([seconds(&free, false), seconds(&free, true)], [None, Some(75)]);
        let dear = Profile { price: 4_000_000, metered: true, ..Profile::default() };
        assert_eq!([seconds(&dear, false), seconds(&dear, true)], [Some(591); 2]);
    }
}
