//! Sampler: figures and states of the network at equal intervals.

use super::agenda::{Agenda, Item};
use super::ledger::Ledger;
use super::medium::{Kinds, Medium, NANOS, Spent, Tally, Watch, now};
use super::spending::Spending;
use super::witness::Witness;
use crate::plan::Plan;
use crate::record::{Frame, Sample};
use std::collections::BTreeSet;
use std::time::Duration;

/// A sampler: see the module's documentation.
pub struct Sampler {
    every: Duration,
    /// The number of samples from one frame to the next.
    frames_each: usize,
    /// The samples so far.
    pub samples: Vec<Sample>,
    /// The frames so far.
    pub frames: Vec<Frame>,
    /// The bytes by edge at the previous frame, and its time.
    before: (Vec<u64>, f64),
    /// The figures at the end of the warm-up.
    pub warm: Option<Warm>,
    /// The spending by device and bearer.
    pub spending: Spending,
    /// The time at which all possible links were up for the first time, in nanoseconds.
    pub ready: Option<u64>,
}

/// The figures at the end of the warm-up.
#[derive(Clone, Debug, Default)]
pub struct Warm {
    /// The bytes by purpose.
    pub purposes: Vec<u64>,
    /// The cost, in units of money.
    pub cost: f64,
    /// The part of the cost that is for streams of messages.
    pub cost_of_payload: f64,
    /// The bytes and frames on control streams.
    pub kinds: Kinds,
    /// The traffic by bearer, device and class.
    pub tally: Tally,
    /// The number of links that had been lost.
    pub lost: u64,
    /// The number of links that had ended with a former pseudonym.
    pub turned: u64,
}

impl Sampler {
    /// Returns a sampler without samples.
    pub fn new(plan: &Plan) -> Self {
        let length = plan.warmup + plan.duration + plan.settle;
        let every = (length / SAMPLES).max(Duration::from_millis(10));
        let characters = plan.edges.len() + plan.devices.len();
        let frames = (MOST_CHARACTERS / characters.max(1)).clamp(8, SAMPLES as usize);
        Self {
            every,
            frames_each: (SAMPLES as usize).div_ceil(frames),
            samples: Vec::new(),
            frames: Vec::new(),
            before: (vec![0; plan.edges.len()], 0.0),
            warm: None,
            spending: Spending::default(),
            ready: None,
        }
    }

    /// Enters the first sample into the agenda.
    pub fn begin(&self, agenda: &Agenda) {
        agenda.enter(Duration::ZERO, Item::Sample);
    }

    /// Takes a sample, and enters the next one into the agenda.
    pub fn sample(&mut self, plan: &Plan, medium: &Medium, ledger: &Ledger, agenda: &Agenda) {
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        let Spent { purposes, bearers, cost, cost_of_payload } = medium.spent();
        let Watch { up, lost, turned, missing, whole_at, .. } = medium.watch();
        if self.ready.is_none() && missing == 0 {
            self.ready = whole_at.or(Some(now()));
        }
        if self.warm.is_none() && after >= plan.warmup {
            medium.witness(Witness::forget_dials);
            self.warm = Some(Warm {
                purposes: purposes.clone(),
                cost,
                cost_of_payload,
                kinds: medium.kinds(),
                tally: medium.tally(),
                lost,
                turned: turned.links,
            });
        }
        if self.samples.len().is_multiple_of(self.frames_each) {
            self.frame(plan, medium, after.as_secs_f64());
        }
        self.spending.handle_time(plan, medium, after);
        let book = ledger.lock();
        self.samples.push(Sample {
            at_s: after.as_secs_f64(),
            sent: book.expected,
            delivered: book.delivered,
            failed: book.failed,
            reachable: reachable(plan, medium),
            links: up,
            queued: book.open.iter().sum(),
            queued_most: book.open.iter().copied().max().unwrap_or_default(),
            purposes,
            bearers,
            cost,
        });
        agenda.enter(after + self.every, Item::Sample);
    }

    fn frame(&mut self, plan: &Plan, medium: &Medium, at_s: f64) {
        let passed = (at_s - self.before.1).max(1e-9);
        let mut edges = String::with_capacity(plan.edges.len());
        for (edge, before) in self.before.0.iter_mut().enumerate() {
            let bytes: u64 = medium.edge_bytes(edge).0.iter().sum();
            let rate = (bytes - std::mem::replace(before, bytes)) as f64 / passed;
            let load = if rate < 1.0 { u32::from(rate > 0.0) } else { 1 + (rate.log10() as u32).min(8) };
            edges.push(if medium.stands(edge) { char::from_digit(load, 10).unwrap_or('9') } else { '-' });
        }
        self.before.1 = at_s;
        let moving = plan.devices.iter().any(|device| device.track.len() > 1);
        self.frames.push(Frame {
            at_s,
            nodes: (0..plan.devices.len()).map(|device| medium.look(device)).collect(),
            edges,
            places: if moving {
                (0..plan.devices.len()).map(|device| medium.place(device)).collect()
            } else {
                Vec::new()
            },
        });
    }
}

/// Returns the share of pairs of devices that are on and connected over some path; 1 if fewer than two are on.
fn reachable(plan: &Plan, medium: &Medium) -> f64 {
    let mut parts = Parts::new(plan.devices.len());
    let forwards = |device: usize| plan.devices[device].forwarding;
    let mut attached = BTreeSet::new();
    for (_, planned) in plan.edges.iter().enumerate().filter(|(edge, _)| medium.stands(*edge)) {
        let leaf = [planned.a, planned.b].into_iter().find(|device| !forwards(*device));
        // A leaf does not join others: it counts with the first device to which it has a link.
        if leaf.is_none_or(|leaf| attached.insert(leaf)) {
            parts.join(planned.a, planned.b);
        }
    }
    let on: Vec<usize> = (0..plan.devices.len()).filter(|device| medium.look(*device) != '0').collect();
    let mut sizes = vec![0u64; plan.devices.len()];
    for device in &on {
        sizes[parts.find(*device)] += 1;
    }
    let pairs = |count: u64| (count * count.saturating_sub(1)) as f64;
    let all = pairs(on.len() as u64);
    if all == 0.0 { 1.0 } else { sizes.into_iter().map(pairs).sum::<f64>() / all }
}

/// Disjoint sets with path halving (Tarjan 1975).
pub struct Parts(Vec<usize>);

impl Parts {
    /// Returns this number of sets of one element each.
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// Returns the representative of an element's set.
    pub fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Joins the sets of two elements.
    pub fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one] = other;
    }
}

/// The number of samples of a run.
const SAMPLES: u32 = 240;
/// The number of characters of all frames together, which keeps the report of a large network readable.
const MOST_CHARACTERS: usize = 400_000;
