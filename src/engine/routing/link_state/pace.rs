//! Pace: how often an origin may have something taken, and how often a neighbour that lags is set right.
//!
//! **Mechanism.** What an origin has signed is taken [`BURST`] times at once, and then once in each [`PACE`]: an honest router
//! tells less. What comes faster is *held*, the latest of each origin, and taken when there is a turn: whoever sends much of
//! one origin, its own or recorded, delays it by no more than [`PACE`]. Only what is later than what is known costs a turn.
//!
//! Who sends something older is sent the later one, but once in [`AGAIN`] over a link: what else was older in the meantime
//! is named to it at the end of that time, in one digest, and it asks for what it lacks.
//!
//! Invariants
//! 1. At most [`MAX_ENTRIES`] origins have an allowance, and at most [`MAX_HELD`] something held; drop policy: of others the
//!    newest is dropped (`lsas_not_held`), and all databases of neighbours are compared [`AGAIN`] later.
//! 2. At most [`SMALL`] names for each link; beyond that the summary alone is told, which leads to all of them.

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

/// What one origin may have taken at once, and how often after that.
const BURST: u32 = 32;
const PACE: Duration = Duration::from_millis(100);
/// Most origins of which something is held.
const MAX_HELD: usize = 64;
/// How often a neighbour that sends what is old is answered.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many advertisements each origin may still have taken at once, and since when it earns more.
    allowance: BTreeMap<CredentialHash, (u32, Time)>,
    held: BTreeMap<CredentialHash, Held>,
    /// Neighbours that have sent something old: when they may be answered again.
    lagging: BTreeMap<LinkId, Lag>,
}

/// What waits for its origin's next turn.
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
    /// What else it has sent that is old.
    origins: BTreeSet<CredentialHash>,
}

/// What becomes of an advertisement that is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is taken.
    Now,
    /// It waits, or a later one does.
    Held,
    /// There is no room for it to wait.
    Dropped,
}

impl Pace {
    /// Whether an origin may have an advertisement taken now.
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

    /// What may be taken now.
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
    /// A neighbour has sent something that is older than ours.
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
