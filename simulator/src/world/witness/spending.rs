//! Spending: quotas and access windows, by what a device sends over a bearer, when it sends it, and when it dials.
//!
//! A quota limits the messages that a device sends in each of the quota's periods. A process that is killed forgets the
//! spending that it has not written yet, which is at most what it sends in [`UNWRITTEN`].

use super::{Going, Witness};
use crate::plan::{FaultKind, Plan};
use crate::world::checks::Promise;
use crate::world::medium::now;
use m2mesh::wire::frame::MAX_FRAME;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The spending of devices.
pub struct Spending {
    /// By device and bearer: the period, and the bytes in it.
    spent: BTreeMap<(usize, usize), (u64, u64)>,
    /// By device and bearer, the recent transmissions: their times and bytes.
    late: BTreeMap<(usize, usize), VecDeque<(u64, u64)>>,
    /// By device and bearer, the bytes that a process had not written before it was killed, in the present period.
    forgiven: BTreeMap<(usize, usize), u64>,
    /// The devices whose clock is wrong, and whose periods therefore differ.
    excused: BTreeSet<usize>,
    /// The time since which each bearer is closed, in nanoseconds.
    closed: BTreeMap<usize, u64>,
    /// The frames of messages and publications that were sent while their bearer was closed.
    pub(super) outside: u64,
    /// By device and bearer, what was on air in the last hour.
    aired: BTreeMap<(usize, usize), Aired>,
}

/// The frames on air in the last hour: the ends, and their nanoseconds; and the sum of these.
type Aired = (VecDeque<(u64, u64)>, u64);

impl Spending {
    pub(super) fn new(plan: &Plan) -> Self {
        let unsound = plan.faults.iter().filter_map(|fault| match &fault.what {
            FaultKind::ClockStep { devices, .. } | FaultKind::ClockDrift { devices, .. } => Some(devices),
            // Spending that cannot be written is forgotten at a restart.
            FaultKind::DiskFull(devices) => Some(devices),
            _ => None,
        });
        Self {
            spent: BTreeMap::new(),
            late: BTreeMap::new(),
            forgiven: BTreeMap::new(),
            excused: unsound.flatten().copied().collect(),
            closed: BTreeMap::new(),
            outside: 0,
            aired: BTreeMap::new(),
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
    /// Counts bytes of messages that go over a bearer.
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

    /// Adds up how long a device is on air over a bearer, with the headers of each frame, over the last hour.
    pub(super) fn note_air(&mut self, going: &Going<'_>) {
        let (from, bearer) = (going.from, going.bearer);
        let Some((budget, rate)) = self.known.bearers[bearer].duty else { return };
        let bits = (going.length as u64 + HEADERS) * 8;
        let on_air = bits * 1_000_000_000 / rate.max(1);
        let (frames, sum) = self.spending.aired.entry((from, bearer)).or_default();
        frames.push_back((now(), on_air));
        *sum += on_air;
        while let Some((_, gone)) = frames.pop_front_if(|(at, _)| *at + HOUR <= now()) {
            *sum -= gone;
        }
        let within = *sum <= budget;
        self.look(Promise::DutyKept, within, |known| {
            let (device, bearer) = (known.device(from), &known.bearers[bearer].name);
            format!("{device} has been on air over {bearer} for longer than allowed in the last hour")
        });
    }

    /// Notes that a bearer's access window begins or ends.
    pub fn note_window(&mut self, bearer: usize, open: bool) {
        if open {
            self.spending.closed.remove(&bearer);
        } else {
            self.spending.closed.entry(bearer).or_insert_with(now);
        }
    }

    /// Returns whether an access window is open, or has just ended.
    fn is_within(&self, bearer: usize) -> bool {
        let since = self.spending.closed.get(&bearer).copied();
        since.is_none_or(|since| now() <= since + GRACE.as_nanos() as u64)
    }

    /// Checks the time at which a device sends messages or publications over a bearer.
    pub(super) fn look_at_window(&mut self, going: &Going<'_>) {
        let Going { from, bearer, .. } = *going;
        let excused = self.spending.excused.contains(&from);
        self.spending.outside += u64::from(!excused && self.spending.closed.contains_key(&bearer));
        let within = self.is_within(bearer) || excused;
        self.look(Promise::WindowsKept, within, |known| {
            let (device, bearer) = (known.device(from), &known.bearers[bearer].name);
            format!("{device} sends over {bearer} outside of its access windows")
        });
    }

    /// Checks the time at which a device dials over a bearer.
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

/// The bytes of the headers of a frame's packet.
const HEADERS: u64 = 70;
/// The span of a duty cycle, in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;
/// The time within which a node writes down what it has spent.
const UNWRITTEN: Duration = Duration::from_secs(12);
/// The bytes that a node may have queued before the quota ended, and may send afterwards.
const QUEUED: u64 = 2 * MAX_FRAME as u64;
/// The time after the end of a window in which a dial or a queued frame may still be under way; windows are of whole
/// minutes.
const GRACE: Duration = Duration::from_secs(5);
