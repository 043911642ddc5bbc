//! Quotas and access windows: what a device sends over a bearer, when it does, and when it dials.
//!
//! A quota is on what a device sends of messages, in each period of its own; a process that is killed forgets what it has not
//! written yet, which is as much as it sends in [`UNWRITTEN`].

use super::{Going, Witness};
use crate::plan::{FaultKind, Plan};
use crate::world::checks::Promise;
use crate::world::medium::now;
use m2mesh::wire::frame::MAX_FRAME;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What devices have spent.
pub struct Spending {
    /// By device and bearer: the period, and bytes in it.
    spent: BTreeMap<(usize, usize), (u64, u64)>,
    /// By device and bearer, what was sent of late: when, and bytes.
    late: BTreeMap<(usize, usize), VecDeque<(u64, u64)>>,
    /// What a process has not written before it was killed, in the present period.
    forgiven: BTreeMap<(usize, usize), u64>,
    /// Whose clock is not right: their periods are others.
    excused: BTreeSet<usize>,
    /// Since when each bearer is closed, in nanoseconds.
    closed: BTreeMap<usize, u64>,
}

impl Spending {
    pub(super) fn new(plan: &Plan) -> Self {
        let unsound = plan.faults.iter().filter_map(|fault| match &fault.what {
            FaultKind::ClockStep { devices, .. } | FaultKind::ClockDrift { devices, .. } => Some(devices),
            // What cannot be written is forgotten at a restart.
            FaultKind::DiskFull(devices) => Some(devices),
            _ => None,
        });
        Self {
            spent: BTreeMap::new(),
            late: BTreeMap::new(),
            forgiven: BTreeMap::new(),
            excused: unsound.flatten().copied().collect(),
            closed: BTreeMap::new(),
        }
    }

    pub(super) fn note_down(&mut self, device: usize) {
        let of = self.late.extract_if(.., |(of, _), _| *of == device).collect::<Vec<_>>();
        for (key, sent) in of {
            *self.forgiven.entry(key).or_default() += sent.into_iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
    }
}

impl Witness {
    /// Bytes of messages go over a bearer.
    pub(super) fn note_spending(&mut self, going: &Going<'_>) {
        let (from, bearer) = (going.from, going.bearer);
        let Some((quota, every)) = self.known.bearers[bearer].quota else { return };
        if self.spending.excused.contains(&from) {
            return;
        }
        let (key, period, now) = ((from, bearer), self.unix() / every.max(1), now());
        let spent = self.spending.spent.entry(key).or_default();
        if spent.0 != period {
            *spent = (period, 0);
            self.spending.forgiven.remove(&key);
        }
        let before = spent.1;
        spent.1 += going.length as u64;
        let late = self.spending.late.entry(key).or_default();
        late.push_back((now, going.length as u64));
        while late.pop_front_if(|(at, _)| *at + UNWRITTEN.as_nanos() as u64 <= now).is_some() {}
        let allowed = quota + self.spending.forgiven.get(&key).copied().unwrap_or_default() + QUEUED;
        self.look(Promise::QuotasKept, before <= allowed, |known| {
            let (device, bearer) = (known.device(from), &known.bearers[bearer].name);
            format!("{device} sends over {bearer} after {before} bytes of {quota} in the period")
        });
    }

    /// A bearer's access window begins or ends.
    pub fn note_window(&mut self, bearer: usize, open: bool) {
        if open {
            self.spending.closed.remove(&bearer);
        } else {
            self.spending.closed.entry(bearer).or_insert_with(now);
        }
    }

    /// Whether an access window is open, or was just now.
    fn is_within(&self, bearer: usize) -> bool {
        let since = self.spending.closed.get(&bearer).copied();
        since.is_none_or(|since| now() <= since + GRACE.as_nanos() as u64)
    }

    /// A device sends messages or publications over a bearer.
    pub(super) fn look_at_window(&mut self, going: &Going<'_>) {
        let Going { from, bearer, .. } = *going;
        let within = self.is_within(bearer) || self.spending.excused.contains(&from);
        self.look(Promise::WindowsKept, within, |known| {
            let (device, bearer) = (known.device(from), &known.bearers[bearer].name);
            format!("{device} sends over {bearer} outside of its access windows")
        });
    }

    /// A device dials over a bearer.
    pub fn note_dial(&mut self, device: usize, bearer: usize) {
        if device >= self.known.devices.len() || self.spending.excused.contains(&device) {
            return;
        }
        let within = self.is_within(bearer);
        self.look(Promise::WindowsKept, within, |known| {
            let (device, bearer) = (known.device(device), &known.bearers[bearer].name);
            format!("{device} dials over {bearer} outside of its access windows")
        });
    }
}

/// A node writes down what it has spent so soon after it has.
const UNWRITTEN: Duration = Duration::from_secs(12);
/// What a node has queued before the quota ended may go afterwards.
const QUEUED: u64 = 2 * MAX_FRAME as u64;
/// Windows are of whole minutes, and a dial may be under way when one ends, or a frame in a queue.
const GRACE: Duration = Duration::from_secs(5);
