//! Origin: when this router advertises its links again, and what it advertises.
//!
//! **Mechanism.** The node notes its present claims whenever something changes ([`Origin::note`]). They are compared
//! with the last advertisement, and the kind of difference decides how soon the next one is sent:
//!
//! 1. A new credential, and that the node is leaving: at once.
//! 2. Structure (an added or removed link, leaf, group or service), what is configured of a link (price, energy, rate,
//!    MTU), and an earlier advertisement from before a restart that is ahead: the first change at once, later ones with
//!    a wait in between that doubles from [`FIRST_WAIT`] to [`LONGEST_WAIT`] while changes keep coming, and is reset
//!    after [`QUIET`] without one. This is the usual throttling of link-state protocols: quick for one change, slow for
//!    many. The very first advertisement waits until [`STILL`] has passed without a change, but at most [`GATHERED`],
//!    because the links of a router come up one after the other when it starts. A router with nothing to advertise
//!    sends nothing.
//! 3. Measured metrics of a link (delay, deviation, success), or their means over the links of one kind to leaves: once they differ by more than a hysteresis and still do
//!    so after [`SETTLE`]; at most [`BURST`] times at once and once in [`METRICS_EVERY`], in an area of up to
//!    [`SMALL_AREA`] routers. In a larger area both the number and the rate fall with its size, so that measurements
//!    cost each router the same in any area.
//! 4. A neighbour's new credential: within [`RENAME_WAIT`], or half the allowed skew if that is shorter. The old
//!    credential also names the neighbour until it expires, and all credentials of an area change in the same hour.
//!
//! Whatever the reason, an advertisement contains all differences, except measurements within the hysteresis, for which
//! the previous value is repeated. Nothing is sent again merely because time has passed: neighbours compare digests.
//!
//! Invariants
//! 1. Sequence numbers only grow under one credential, and begin at 1.
//! 2. A difference that lasts is advertised, however much else changes.
//! 3. Links, leaves, groups and services ascend and keep their bounds. Drop policy: the last in order are left out,
//!    counted.

mod accesses;
mod claims;
#[cfg(test)]
mod tests;

pub use accesses::Access;
pub use claims::{Claim, Claims};

use crate::id::CredentialHash;
use crate::time::Time;
use crate::wire::lsa::Lsa;
use claims::Differs;
use core::time::Duration;
use std::collections::VecDeque;

/// The wait after the first of several changes.
pub const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two changes of structure.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After this time without a change, the next one is advertised at once.
pub const QUIET: Duration = Duration::from_secs(10);
/// The first advertisement is sent this long after the last change,
pub const STILL: Duration = Duration::from_millis(100);
/// but at the latest this long after the first change.
pub const GATHERED: Duration = Duration::from_millis(400);
/// How long a measurement must differ, so that a spike is not advertised and several links are advertised together.
pub const SETTLE: Duration = Duration::from_secs(1);
/// Advertisements caused by measurements alone: at most one in this time,
pub const METRICS_EVERY: Duration = Duration::from_secs(180);
/// and at most this many at once,
pub const BURST: u32 = 3;
/// in an area of up to this many routers.
pub const SMALL_AREA: u32 = 50;
/// The size of the largest area, as a multiple of a small one.
const MOST_LARGER: u32 = 21;
/// The number of credentials whose last sequence number is remembered: those of the epochs that a clock can be set back
/// and forth between.
const REMEMBERED: usize = 4;
/// The longest wait until a neighbour's new credential is advertised.
pub const RENAME_WAIT: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Origin {
    credential: Option<CredentialHash>,
    /// The sequence number used last.
    sequence: u64,
    /// Earlier credentials, each with the sequence number used last under it, the latest first.
    before: VecDeque<(CredentialHash, u64)>,
    wanted: Option<Claims>,
    told: Option<Told>,
    /// Whether the sequence number used last is known to be behind.
    behind: bool,
    since: Since,
    /// When the structure was last seen to change.
    moved: Time,
    throttle: Throttle,
    allowance: Allowance,
    rename_wait: Duration,
    left_out: u64,
    /// Whether there is no credential to advertise under for now.
    rests: bool,
}

#[derive(Debug)]
struct Told {
    claims: Claims,
    credential: CredentialHash,
    at: Time,
}

/// Since when the present claims differ from the advertised ones, by kind.
#[derive(Debug, Default)]
struct Since {
    structure: Option<Time>,
    metrics: Option<Time>,
    names: Option<Time>,
}

impl Origin {
    /// Creates the state of a router that has advertised nothing and has no credential yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of routers in the area.
    pub fn set_area(&mut self, routers: usize) {
        let larger = u32::try_from(routers).unwrap_or(u32::MAX).div_ceil(SMALL_AREA).clamp(1, MOST_LARGER);
        self.allowance.every = METRICS_EVERY * larger;
        self.allowance.burst = (BURST / larger).max(1);
    }

    /// Sets the credential for the next advertisements, which begin with sequence number 1, or continue after the last
    /// number used under this credential. `skew` is the clock difference that the credential's epoch allows.
    pub fn take_credential(&mut self, credential: CredentialHash, skew: Duration) {
        self.rests = false;
        if self.credential != Some(credential) {
            // A clock that is set back may bring back a credential that was already used.
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

    /// Notes that there is no credential for now: nothing is due until [`Self::take_credential`] is called.
    pub fn rest(&mut self) {
        self.rests = true;
    }

    /// Notes that an advertisement from before a restart is in the network under this number: the next one has a higher
    /// number, and is due.
    pub fn jump_past(&mut self, sequence: u64, now: Time) {
        if sequence >= self.sequence {
            self.sequence = sequence;
            self.behind = true;
            self.throttle.changed(now);
        }
    }

    /// Notes the present claims.
    pub fn note(&mut self, mut claims: Claims, now: Time) {
        self.left_out += claims.put_in_order();
        if self.wanted.as_ref().is_none_or(|wanted| wanted.differs(&claims).structure) {
            self.throttle.changed(now);
            self.moved = now;
        }
        self.wanted = Some(claims);
        self.compare(now);
    }

    /// When [`Self::due`] next returns something, if nothing changes until then; zero [`Time`] means at once.
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

    /// Returns the advertisement that is due, if any. The caller signs it, puts it into its database and sends it to
    /// all neighbours.
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

    /// The sequence number used last; 0 if nothing has been advertised under the credential.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the last advertisement was made.
    pub fn told_at(&self) -> Option<Time> {
        self.told.as_ref().map(|told| told.at)
    }

    /// The claims of the last advertisement.
    pub fn told(&self) -> Option<&Claims> {
        self.told.as_ref().map(|told| &told.claims)
    }

    /// The number of links, leaves, groups and services that had no place, in all calls of [`Self::note`] so far.
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

/// Spaces out changes of structure.
#[derive(Debug, Default)]
struct Throttle {
    /// The wait after the last advertisement.
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

/// A token bucket, stored as the time at which it is full again.
#[derive(Debug)]
struct Allowance {
    full_at: Time,
    /// The time in which one token is added.
    every: Duration,
    /// The number of tokens of a full bucket.
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
