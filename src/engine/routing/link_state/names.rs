//! Names: credentials by which advertisements name neighbours, and that are unknown to this node.
//!
//! **Mechanism.** At the turn of an epoch a router goes on under its next credential at once, while others name it by
//! the previous one for up to [`RENAME_WAIT`], or until something else changes. A router that has been started since
//! then knows its peers by their next credentials alone, and cannot join the two ends of a link if one end names the
//! other by its previous credential. It requests the credentials that it does not know from a neighbour, [`WAIT`] after
//! the last news, and from another neighbour each time.
//!
//! ```text
//! news, and a router's epoch is young ─▶ no more for WAIT ─▶ unknown names ─▶ CredentialRequest, ATTEMPTS times
//! Credential ─▶ the graph is built anew
//! ```
//!
//! Invariants
//! 1. Nothing is requested while no router's epoch is young: then a name is unknown because the advertisement of that
//!    router itself is still under way.
//! 2. In each [`WAIT`] at most [`OF_ORIGIN`] names of one advertisement are requested, and each at most [`ATTEMPTS`]
//!    times; so names that an insider invents cost each router that many short frames. Drop policy: the rest wait.
//! 3. What has been requested is remembered while an advertisement names it, at most [`MAX_NAMES`] names. Drop policy:
//!    no more are requested (`names_not_asked`).
//! - In each [`WAIT`] at most [`AT_ONCE`] names are requested in all. Drop policy: the rest wait.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialHash, LinkId};
use crate::routing::origin::RENAME_WAIT;
use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// How long the advertisement of the router itself is waited for, and the answer to a request.
const WAIT: Duration = Duration::from_secs(1);
/// How long it is waited for at most while other news arrives.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How many times a credential is requested.
const ATTEMPTS: u8 = 4;
/// Most names of one advertisement that are requested at once.
const OF_ORIGIN: usize = 16;
/// Most names of all advertisements that are requested at once.
const AT_ONCE: usize = 64;
/// Most names that are remembered as requested.
const MAX_NAMES: usize = 1_024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// How many times each was requested.
    asked: BTreeMap<CredentialHash, u8>,
    /// When names are looked at next, and when the first news arrived that caused it.
    due: Option<(Time, Time)>,
}

impl Names {
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.due.map(|(at, _)| at)
    }

    /// Notes that an advertisement has arrived.
    pub(super) fn note_news(&mut self, now: Time) {
        let first = self.due.map_or(now, |(_, first)| first);
        self.due = Some(((now + WAIT).min(first + LONGEST_WAIT), first));
    }

    /// Notes that a credential has arrived; returns whether an advertisement names a router by it.
    pub(super) fn take(&mut self, hash: &CredentialHash) -> bool {
        self.asked.remove(hash).is_some()
    }
}

impl Routing {
    pub(super) fn timeout_names(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now;
        if self.link_state.names_unknown.next_wake().is_none_or(|due| due > now.time) {
            return;
        }
        self.link_state.names_unknown.due = None;
        let lsdb = &self.link_state.lsdb;
        let young = core.membership.epoch_length().skew() + RENAME_WAIT;
        if !lsdb.entries().any(|entry| entry.router != core.own && entry.since + young > now.unix) {
            return self.link_state.names_unknown.asked.clear();
        }
        let unknown = |hash: &CredentialHash| lsdb.router_of(hash).is_none() && !neighbours.peers.knows(hash);
        let (mut named, mut turn) = (BTreeMap::new(), Vec::new());
        let asked = &self.link_state.names_unknown.asked;
        for entry in lsdb.entries() {
            let mut of_origin = 0;
            for hash in entry.lsa.links.iter().map(|link| link.to).filter(unknown) {
                let times = asked.get(&hash).copied().unwrap_or(0);
                let known = named.insert(hash, times).is_some();
                if !known && times < ATTEMPTS && of_origin < OF_ORIGIN && turn.len() < AT_ONCE {
                    of_origin += 1;
                    turn.push(hash);
                }
            }
        }
        self.link_state.names_unknown.asked.retain(|hash, _| named.contains_key(hash));
        let routers: Vec<LinkId> = self.routers_near(core, neighbours);
        if routers.is_empty() || turn.is_empty() {
            return;
        }
        for hash in turn {
            let asked = &mut self.link_state.names_unknown.asked;
            if asked.len() >= MAX_NAMES && !asked.contains_key(&hash) {
                core.count(Counter::NamesNotAsked, 1);
                continue;
            }
            let times = asked.entry(hash).or_default();
            let link = routers[usize::from(*times) % routers.len()];
            *times += 1;
            neighbours.ask_credential(core, link, hash);
        }
        self.link_state.names_unknown.due = Some((now.time + WAIT, now.time));
    }

    /// The links to neighbouring routers of this area: those that are not silent first, of these the cheapest.
    fn routers_near(&self, core: &Core, neighbours: &Neighbours) -> Vec<LinkId> {
        let near = neighbours.links.iter().filter(|(_, link)| link.forwarding && link.area == core.settings.area);
        let mut near: Vec<_> = near.map(|(id, link)| (link.silent, link.metrics.price, id)).collect();
        near.sort_unstable();
        near.into_iter().map(|(_, _, id)| id).collect()
    }
}
