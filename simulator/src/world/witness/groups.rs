//! Groups: a frame of a publication goes along its group's tree once, and not after its deadline.
//!
//! A tree has pseudonyms for nodes. While a device changes its pseudonym it has two places in each tree, so a frame may
//! go to it twice, once over the links of either. That is what a change costs, and it is counted; over the links of one
//! pair of pseudonyms a frame goes once.

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
    /// The number of frames that were given again under another pseudonym of either.
    pub beside: u64,
    /// The number of frames that were given.
    pub given_in_all: u64,
}

/// How a frame comes to a neighbour.
enum Push {
    First,
    /// It was given before, under another pseudonym of either end.
    Beside,
    /// It was given before, between the same pseudonyms.
    Again,
}

impl Pushes {
    fn note(&mut self, (from, to): (usize, usize), frame: u64, under: u64, until: u64) -> Push {
        if self.count >= self.limit {
            let now = now();
            self.given.values_mut().for_each(|frames| frames.retain(|_, until| *until > now));
            self.count = self.given.values().map(BTreeMap::len).sum();
            self.limit = (2 * self.count).max(LEAST_LIMIT);
        }
        self.count += 2;
        self.given_in_all += 1;
        let given = self.given.entry((from, to)).or_default();
        let (new, here) = (given.insert(frame, until).is_none(), given.insert(frame ^ under, until).is_none());
        match (new, here) {
            (true, _) => Push::First,
            (false, true) => {
                self.beside += 1;
                Push::Beside
            }
            (false, false) => Push::Again,
        }
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
        let (from, to) = (going.from, going.to);
        let push = self.pushes.note((from, to), frame, hash(going.under).max(1), until);
        self.look(Promise::PushedOnce, !matches!(push, Push::Again), |known| {
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
        let name = hash((frame.sender, frame.salt, frame.counter));
        Some((name, self.unix().saturating_sub(frame.expiry), frame.expiry))
    }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The least number of pushes above which those that have expired are searched for.
const LEAST_LIMIT: usize = 2 * 65_536;
/// The microseconds for which a frame may wait for its turn after its node has read the time.
const SLACK: u64 = 5_000_000;
