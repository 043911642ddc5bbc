//! Groups: a frame of a publication goes along its group's tree once, and not after its deadline.

use super::{Going, Witness};
use crate::world::checks::Promise;
use crate::world::medium::now;
use m2mesh::wire;
use m2mesh::wire::Signed;
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::group_repair::Again;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The pushes of group frames between devices.
#[derive(Default)]
pub struct Pushes {
    /// By giver and taker, the frames by a hash of their name, with the end of their time in nanoseconds.
    given: BTreeMap<(usize, usize), BTreeMap<u64, u64>>,
    /// The number of frames in total, and the number above which those that have expired are forgotten.
    count: usize,
    limit: usize,
}

impl Pushes {
    fn note(&mut self, from: usize, to: usize, frame: u64, until: u64) -> bool {
        if self.count >= self.limit {
            let now = now();
            self.given.values_mut().for_each(|frames| frames.retain(|_, until| *until > now));
            self.count = self.given.values().map(BTreeMap::len).sum();
            self.limit = (2 * self.count).max(LEAST_LIMIT);
        }
        self.count += 1;
        self.given.entry((from, to)).or_default().insert(frame, until).is_none()
    }

    /// Forgets the pushes of a process that is gone.
    pub fn forget(&mut self, device: usize) {
        self.given.retain(|(from, to), _| *from != device && *to != device);
    }

    /// Forgets the pushes between two devices, since frames that were under way between them may be lost.
    pub fn forget_between(&mut self, one: usize, other: usize) {
        self.given.remove(&(one, other));
        self.given.remove(&(other, one));
    }
}

impl Witness {
    pub(super) fn handle_push(&mut self, going: &Going<'_>) {
        self.note_spending(going);
        let Some((frame, late, expiry)) = self.group_frame(going.body) else { return };
        let until = crate::world::medium::NANOS + expiry.saturating_sub(self.start).saturating_mul(1_000);
        let first = self.pushes.note(going.from, going.to, frame, until);
        let (from, to) = (going.from, going.to);
        self.look(Promise::PushedOnce, first, |known| {
            format!("{} pushes a frame to {} again", known.device(from), known.device(to))
        });
        self.look_at_lateness(going, late);
    }

    pub(super) fn handle_again(&mut self, going: &Going<'_>) {
        self.note_spending(going);
        let Some((_, data)) = Again::split(going.body) else { return };
        if let Some((_, late, _)) = self.group_frame(data) {
            self.look_at_lateness(going, late);
        }
    }

    fn look_at_lateness(&mut self, going: &Going<'_>, late: u64) {
        let (from, allowed) = (going.from, self.skew + SLACK);
        self.look(Promise::WithinLimits, late <= allowed, |known| {
            format!("{} gives a publication {} ms after its deadline", known.device(from), late / 1_000)
        });
    }

    /// Returns a hash of the frame's name, the microseconds by which it is late, and its deadline.
    fn group_frame(&self, data: &[u8]) -> Option<(u64, u64, u64)> {
        let signed: Signed<'_> = wire::decode(data).ok()?;
        let frame: GroupFrame<'_> = wire::decode(signed.body).ok()?;
        let mut hasher = DefaultHasher::new();
        (frame.sender, frame.salt, frame.counter).hash(&mut hasher);
        Some((hasher.finish(), self.unix().saturating_sub(frame.expiry), frame.expiry))
    }
}

/// The least number of pushes above which those that have expired are searched for.
const LEAST_LIMIT: usize = 65_536;
/// The microseconds for which a frame may wait for its turn after its node has read the time.
const SLACK: u64 = 5_000_000;
