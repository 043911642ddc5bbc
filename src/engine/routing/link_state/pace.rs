//! Pace: how often an origin may have an LSA accepted, and how often a neighbour that lags is corrected.
//!
//! **Mechanism.** Of what an origin has signed, [`BURST`] LSAs are accepted at once, and then one in each [`PACE`]; an
//! honest router sends fewer. What arrives faster is *held*, the latest LSA of each origin, and accepted when there is
//! a turn: whoever sends many LSAs of one origin, its own or recorded ones, delays that origin by no more than
//! [`PACE`]. Only an LSA that is later than the known one takes a turn.
//!
//! A neighbour that sends something older is sent the later LSA, but only once in [`AGAIN`] over a link: whatever else
//! it has sent in the meantime that is older is named to it at the end of that time, in one digest, and it requests
//! what it lacks.
//!
//! Invariants
//! 1. Of one origin at most [`BURST`] LSAs are accepted at once, and after that one in each [`PACE`].
//! - At most [`MAX_ENTRIES`] origins have an allowance, and of at most [`MAX_HELD`] something is held. Drop policy: the
//!   newest LSA of any other origin is dropped (`lsas_not_held`), and the database is compared [`AGAIN`] later with the
//!   neighbour that sent it.
//! - At most [`SMALL`] names are told over a link at a time; if there are more, the summary alone is told, which leads
//!   to all of them.

use super::SMALL;
use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialHash, LinkId};
use crate::time::Time;
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{LsaDigest, LsaKey, MAX_ENTRIES};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many LSAs of one origin are accepted at once, and how often one is accepted after that.
const BURST: u32 = 32;
const PACE: Duration = Duration::from_millis(100);
/// Most origins of which an LSA is held.
const MAX_HELD: usize = 64;
/// How often a neighbour that sends old LSAs is answered.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many LSAs of each origin may still be accepted at once, and since when the origin earns more.
    allowance: BTreeMap<CredentialHash, (u32, Time)>,
    held: BTreeMap<CredentialHash, Held>,
    /// The links over which something old has come, and when each may be answered again.
    lagging: BTreeMap<LinkId, Lag>,
}

/// An LSA that waits for its origin's next turn.
#[derive(Debug)]
struct Held {
    from: LinkId,
    sequence: u64,
    signed: Vec<u8>,
    due: Time,
}

#[derive(Debug)]
struct Lag {
    next: Time,
    /// The origins of the other old LSAs that have come over the link.
    origins: BTreeSet<CredentialHash>,
}

/// What becomes of an LSA that is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The LSA is accepted.
    Now,
    /// The LSA waits, or a later one does.
    Held,
    /// There is no room for the LSA to wait.
    Dropped,
}

impl Pace {
    /// Whether an origin may have an LSA accepted now; if not, the LSA is held if there is room.
    pub(super) fn turn(
        &mut self,
        origin: CredentialHash,
        from: LinkId,
        sequence: u64,
        signed: &[u8],
        now: Time,
    ) -> Turn {
        if self.allowance.len() >= MAX_ENTRIES && !self.allowance.contains_key(&origin) {
            self.allowance.retain(|_, (_, at)| *at + PACE * BURST > now);
            if self.allowance.len() >= MAX_ENTRIES {
                return Turn::Dropped;
            }
        }
        let (left, at) = self.allowance.entry(origin).or_insert((BURST, now));
        let earned = u32::try_from(now.since(*at).as_micros() / PACE.as_micros()).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            *left = left.saturating_add(earned).min(BURST);
            *at = now;
        }
        let known = self.held.get(&origin);
        if *left > 0 {
            *left -= 1;
            if known.is_some_and(|held| held.sequence <= sequence) {
                self.held.remove(&origin);
            }
            return Turn::Now;
        }
        let due = *at + PACE;
        if known.is_some_and(|held| (held.sequence, held.signed.as_slice()) >= (sequence, signed)) {
            return Turn::Held;
        }
        if known.is_none() && self.held.len() >= MAX_HELD {
            return Turn::Dropped;
        }
        self.held.insert(origin, Held { from, sequence, signed: signed.to_vec(), due });
        Turn::Held
    }

    /// Takes the held LSAs whose turn has come, each with the link over which it came.
    fn take_due(&mut self, now: Time) -> Vec<(LinkId, Vec<u8>)> {
        let due: Vec<CredentialHash> =
            self.held.iter().filter(|(_, held)| held.due <= now).map(|(origin, _)| *origin).collect();
        due.iter().filter_map(|origin| self.held.remove(origin)).map(|held| (held.from, held.signed)).collect()
    }

    pub(super) fn forget_link(&mut self, link: LinkId) {
        self.lagging.remove(&link);
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let held = self.held.values().map(|held| held.due).min();
        let lagging = self.lagging.values().map(|lag| lag.next).min();
        [held, lagging].into_iter().flatten().min()
    }
}

impl Routing {
    /// Corrects a neighbour that has sent something older than ours.
    pub(super) fn set_right(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        origin: CredentialHash,
        ours: &Arc<[u8]>,
    ) {
        core.count(Counter::LsasOutdated, 1);
        if neighbours.links.get(link).is_none() {
            return;
        }
        let next = core.now.time + AGAIN;
        match self.link_state.pace.lagging.get_mut(&link) {
            Some(lag) => drop(lag.origins.insert(origin)),
            None => {
                self.link_state.pace.lagging.insert(link, Lag { next, origins: BTreeSet::new() });
                neighbours.send_frame(core, link, frame::raw(Kind::Lsa, ours));
            }
        }
    }

    pub(super) fn timeout_pace(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        for (from, signed) in self.link_state.pace.take_due(now) {
            self.handle_lsa(core, neighbours, from, &signed);
        }
        let due = self.link_state.pace.lagging.iter().filter(|(_, lag)| lag.next <= now);
        let due: Vec<LinkId> = due.map(|(link, _)| *link).collect();
        for link in due {
            let Some(lag) = self.link_state.pace.lagging.remove(&link).filter(|lag| !lag.origins.is_empty()) else {
                continue;
            };
            self.link_state.pace.lagging.insert(link, Lag { next: now + AGAIN, origins: BTreeSet::new() });
            if lag.origins.len() > SMALL {
                self.send_digest(core, neighbours, link, false);
                continue;
            }
            let known = lag.origins.iter().filter_map(|origin| self.link_state.lsdb.latest_of(origin));
            let keys: BTreeSet<LsaKey> = known.collect();
            let digest = LsaDigest::of_news(keys.into_iter().collect());
            neighbours.send_control(core, link, Kind::LsaDigest, &digest);
        }
    }
}
