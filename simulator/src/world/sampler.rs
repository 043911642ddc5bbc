//! Samples: figures and pictures of the network at equal distances.

use super::agenda::{Agenda, Item};
use super::ledger::Ledger;
use super::medium::{Kinds, Medium, NANOS, Spent, Tally, Watch, now};
use super::spending::Spending;
use crate::plan::Plan;
use crate::record::{Frame, Sample};
use std::collections::BTreeSet;
use std::time::Duration;

/// See the module's documentation.
pub struct Sampler {
    every: Duration,
    /// Every so many samples is a frame.
    frames_each: usize,
    /// What has been sampled.
    pub samples: Vec<Sample>,
    /// Pictures.
    pub frames: Vec<Frame>,
    /// Bytes by edge, at the frame before, and when that was.
    before: (Vec<u64>, f64),
    /// Bytes and lost links when the warm-up ended.
    pub warm: Option<Warm>,
    /// By device and bearer.
    pub spending: Spending,
    /// When all links that could stood first, in nanoseconds.
    pub ready: Option<u64>,
}

/// How far things were when the warm-up ended.
#[derive(Clone, Debug, Default)]
pub struct Warm {
    /// Bytes by purpose.
    pub purposes: Vec<u64>,
    /// Money.
    pub cost: f64,
    /// Of that, for streams of messages.
    pub cost_of_payload: f64,
    /// On control streams.
    pub kinds: Kinds,
    /// By bearer, device and class.
    pub tally: Tally,
    /// Links that had been lost.
    pub lost: u64,
}

impl Sampler {
    /// Nothing sampled yet.
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

    /// Takes figures, and enters the next sample.
    pub fn sample(&mut self, plan: &Plan, medium: &Medium, ledger: &Ledger, agenda: &Agenda) {
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        let Spent { purposes, bearers, cost, cost_of_payload } = medium.spent();
        let Watch { up, lost, missing, whole_at, .. } = medium.watch();
        if self.ready.is_none() && missing == 0 {
            self.ready = whole_at.or(Some(now()));
        }
        if self.warm.is_none() && after >= plan.warmup {
            self.warm = Some(Warm {
                purposes: purposes.clone(),
                cost,
                cost_of_payload,
                kinds: medium.kinds(),
                tally: medium.tally(),
                lost,
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

/// Share of pairs of devices that are on and connected over some way; 1 where there are no two.
fn reachable(plan: &Plan, medium: &Medium) -> f64 {
    let mut parts = Parts::new(plan.devices.len());
    let forwards = |device: usize| plan.devices[device].forwarding;
    let mut attached = BTreeSet::new();
    for (_, planned) in plan.edges.iter().enumerate().filter(|(edge, _)| medium.stands(*edge)) {
        let leaf = [planned.a, planned.b].into_iter().find(|device| !forwards(*device));
        // A leaf joins nothing: it counts with the first device that it has a link to.
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
    /// Each by itself.
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The one that stands for the set.
    pub fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Makes one set of two.
    pub fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one] = other;
    }
}

/// Samples of a run.
const SAMPLES: u32 = 240;
/// Characters of all frames together, so that a report of a large network stays readable.
const MOST_CHARACTERS: usize = 400_000;
