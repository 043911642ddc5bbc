//! Origin: when this router tells anew what its links are, and what it tells.
//!
//! **Mechanism.** The node notes what it could say whenever something changes ([`Origin::note`]). That is compared with what
//! was told last, and by what differs it is told sooner or later:
//!
//! 1. A new credential, and that the node is leaving: at once.
//! 2. Structure (a link more or less, a leaf, a group, a service), what is configured of a link (price, energy, rate, MTU),
//!    and that what was told before a restart is ahead: the first at once, then with a wait between that doubles from
//!    [`FIRST_WAIT`] to [`LONGEST_WAIT`] while changes keep coming, and is gone after [`QUIET`] without one. Routers of link
//!    state protocols throttle so, to be quick when one thing happens and slow when many do. The very
//!    first waits until [`STILL`] has passed without a change, for [`GATHERED`] at most: when a router starts, its links come up one
//!    after the other. One that has nothing to say yet says nothing.
//! 3. What is measured of a link (delay, deviation, success): once it differs by more than a hysteresis and still does so
//!    after [`SETTLE`], at most [`BURST`] times at once and one in [`METRICS_EVERY`] in an area of up to [`SMALL_AREA`] routers; in a
//!    larger one as much fewer and more rarely as it is larger, so that measurements cost a router the same in any.
//! 4. That a neighbour has a new credential: within [`RENAME_WAIT`], or half the allowed skew if that is shorter. The old one
//!    names it as well while it is accepted, and all of an area's change in the same hour.
//!
//! Whatever the reason, all that differs is told, except measurements within the hysteresis: of those what was told stays.
//! Nothing is told again merely because time has passed: neighbours compare digests.
//!
//! Invariants
//! 1. Sequence numbers only grow under one credential, and begin at 1.
//! 2. What differs for good is told, however much changes beside it.
//! 3. Links, leaves, groups and services ascend and keep their bounds. Drop policy: the last in order are left out, counted.

mod claims;
#[cfg(test)]
mod tests;

pub use claims::{Claim, Claims};

use crate::id::CredentialHash;
use crate::time::Time;
use crate::wire::lsa::Lsa;
use claims::Differs;
use core::time::Duration;
use std::collections::VecDeque;

/// Wait after the first of several changes.
pub const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait between two changes of structure.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Without a change for so long, the next is told at once.
pub const QUIET: Duration = Duration::from_secs(10);
/// The first telling is this long after the last change;
pub const STILL: Duration = Duration::from_millis(100);
/// and this long after the first in any case.
pub const GATHERED: Duration = Duration::from_millis(400);
/// How long a measurement has to differ, so that a spike is not told and several links go together.
pub const SETTLE: Duration = Duration::from_secs(1);
/// Tellings for the sake of measurements: one in so long,
pub const METRICS_EVERY: Duration = Duration::from_secs(180);
/// and so many at once.
pub const BURST: u32 = 3;
/// In an area of up to so many routers.
pub const SMALL_AREA: u32 = 50;
/// As many times as a small area is the largest.
const MOST_LARGER: u32 = 21;
/// Credentials of which the last number is remembered: those of the epochs between which a clock can be set back and forth.
const REMEMBERED: usize = 4;
/// Longest wait until a neighbour's new credential is told.
pub const RENAME_WAIT: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Origin {
    credential: Option<CredentialHash>,
    /// Used last.
    sequence: u64,
    /// Credentials before this one with the number used last under each, the latest first.
    before: VecDeque<(CredentialHash, u64)>,
    wanted: Option<Claims>,
    told: Option<Told>,
    /// The number told last is known to be behind.
    behind: bool,
    since: Since,
    /// When structure was last seen to change.
    moved: Time,
    throttle: Throttle,
    allowance: Allowance,
    rename_wait: Duration,
    left_out: u64,
    /// There is no credential to tell under for now.
    rests: bool,
}

#[derive(Debug)]
struct Told {
    claims: Claims,
    credential: CredentialHash,
    at: Time,
}

/// Since when what is wanted differs from what is told, by kind.
#[derive(Debug, Default)]
struct Since {
    structure: Option<Time>,
    metrics: Option<Time>,
    names: Option<Time>,
}

impl Origin {
    /// A router that has told nothing, and has no credential yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The area has so many routers.
    pub fn set_area(&mut self, routers: usize) {
        let larger = u32::try_from(routers).unwrap_or(u32::MAX).div_ceil(SMALL_AREA).clamp(1, MOST_LARGER);
        self.allowance.every = METRICS_EVERY * larger;
        self.allowance.burst = (BURST / larger).max(1);
    }

    /// From now on it tells under this credential, beginning with sequence number 1, or after the last that it has told under it. `skew` is what the credential's epoch
    /// allows clocks to be off.
    pub fn take_credential(&mut self, credential: CredentialHash, skew: Duration) {
        self.rests = false;
        if self.credential != Some(credential) {
            // A clock that is set back may bring back a credential under which something has been told.
            if let Some(before) = self.credential.replace(credential) {
                self.before.push_front((before, self.sequence));
                self.before.truncate(REMEMBERED);
            }
            let known = self.before.iter().find(|(before, _)| *before == credential);
            self.sequence = known.map_or(0, |(_, sequence)| *sequence);
            self.behind = false;
            self.rename_wait = RENAME_WAIT.min(skew / 2);
        }
    }

    /// It has no credential for now, and nothing is due until it takes one.
    pub fn rest(&mut self) {
        self.rests = true;
    }

    /// What it told before a restart is out there under this number: the next has a higher one, and is due.
    pub fn jump_past(&mut self, sequence: u64, now: Time) {
        if sequence >= self.sequence {
            self.sequence = sequence;
            self.behind = true;
            self.throttle.changed(now);
        }
    }

    /// What it could say now.
    pub fn note(&mut self, mut claims: Claims, now: Time) {
        self.left_out += claims.put_in_order();
        if self.wanted.as_ref().is_none_or(|wanted| wanted.differs(&claims).structure) {
            self.throttle.changed(now);
            self.moved = now;
        }
        self.wanted = Some(claims);
        self.compare(now);
    }

    /// When [`Self::due`] has something to tell, if nothing changes until then; [`Time`] zero for at once.
    pub fn next_wake(&self) -> Option<Time> {
        let (credential, wanted) = (self.credential?, self.wanted.as_ref()?);
        if self.sequence == u64::MAX || self.rests {
            return None;
        }
        let told = match &self.told {
            Some(told) if told.credential == credential => told,
            Some(_) => return Some(Time(0)),
            None if self.behind => return Some(Time(0)),
            None if wanted.is_empty() => return None,
            None => {
                let first = self.since.structure.unwrap_or(self.moved);
                return Some((self.moved + STILL).min(first + GATHERED));
            }
        };
        if wanted.leaving && !told.claims.leaving {
            return Some(Time(0));
        }
        let structure = self.since.structure.or(self.behind.then_some(Time(0)));
        let structure = structure.map(|since| since.max(self.throttle.free_at));
        let metrics = self.since.metrics.map(|since| (since + SETTLE).max(self.allowance.free_at()));
        let names = self.since.names.map(|since| since + self.rename_wait);
        [structure, metrics, names].into_iter().flatten().min()
    }

    /// What is to be told now, if anything: the caller signs it, puts it into its database and sends it to all neighbours.
    pub fn due(&mut self, now: Time) -> Option<Lsa> {
        if self.next_wake()? > now {
            return None;
        }
        let (credential, wanted) = (self.credential?, self.wanted.as_ref()?);
        let renewed = self.told.as_ref().is_none_or(|told| told.credential != credential);
        let structure = renewed || self.behind || self.since.structure.is_some();
        let metrics_alone = !structure && self.since.metrics.is_some_and(|since| since + SETTLE <= now);
        if structure {
            self.throttle.told(now);
        } else if metrics_alone {
            self.allowance.take(now);
        }
        let before = self.told.as_ref().map(|told| &told.claims);
        let claims = before.map_or_else(|| wanted.clone(), |before| wanted.damped(before));
        self.sequence += 1;
        self.behind = false;
        let lsa = claims.lsa(credential, self.sequence);
        self.told = Some(Told { claims, credential, at: now });
        self.compare(now);
        Some(lsa)
    }

    /// Number told last; 0 if nothing has been told under the credential.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it has told last.
    pub fn told_at(&self) -> Option<Time> {
        self.told.as_ref().map(|told| told.at)
    }

    /// What it has told last.
    pub fn told(&self) -> Option<&Claims> {
        self.told.as_ref().map(|told| &told.claims)
    }

    /// Links, leaves, groups and services that had no place, in all notes so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn compare(&mut self, now: Time) {
        let keep = |since: Option<Time>, differs: bool| differs.then(|| since.unwrap_or(now));
        let Some(wanted) = &self.wanted else { return };
        let Some(told) = &self.told else {
            self.since.structure = keep(self.since.structure, !wanted.is_empty());
            return;
        };
        let Differs { structure, metrics, names } = told.claims.differs(wanted);
        self.since = Since {
            structure: keep(self.since.structure, structure),
            metrics: keep(self.since.metrics, metrics),
            names: keep(self.since.names, names),
        };
    }
}

/// Spaces changes of structure.
#[derive(Debug, Default)]
struct Throttle {
    /// Wait after the last telling.
    wait: Duration,
    free_at: Time,
    changed_at: Option<Time>,
}

impl Throttle {
    fn changed(&mut self, now: Time) {
        if self.changed_at.is_none_or(|before| now.since(before) >= QUIET) {
            *self = Self::default();
        }
        self.changed_at = Some(now);
    }

    fn told(&mut self, now: Time) {
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.free_at = now + self.wait;
    }
}

/// A token bucket, kept as the moment at which it is full again.
#[derive(Debug)]
struct Allowance {
    full_at: Time,
    /// One in so long.
    every: Duration,
    /// So many at once.
    burst: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { full_at: Time::default(), every: METRICS_EVERY, burst: BURST }
    }
}

impl Allowance {
    fn free_at(&self) -> Time {
        let ahead = self.every * (self.burst - 1);
        Time::default() + self.full_at.since(Time::default() + ahead)
    }

    fn take(&mut self, now: Time) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}
