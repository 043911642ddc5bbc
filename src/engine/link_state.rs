//! Link state: what this node tells of its links, and what it hears of those of others.
//!
//! ```text
//! neighbour says that it forwards ─▶ LsaDigest, with entries if the database is small
//! LsaDigest ─▶ no entries? same summary: done, else ours, with entries · entries newer than ours ─▶ LsaRequest
//! LsaRequest ─▶ each LSA asked for
//! Lsa ─▶ older than ours? ─▶ ours back, once a second
//!        newer? origin's credential known? no ─▶ CredentialRequest, wait
//!               signature? · origin's turn? ─▶ keep, tell the others
//! own links change ─▶ origin says when it is told ─▶ sign, keep, to all routers
//! ```
//!
//! Only routers take part; a leaf is listed by the routers that it has links to. Neighbours are told over the link that
//! costs least. How news travels through the area is `flooding`; what this node says of itself is `own`; how often others
//! are heard and answered is `pace`.
//!
//! Invariants
//! 1. Nothing gets into the database whose signature has not been verified under a verified credential.
//! 2. An LSA is handed on only when it was news, and never to where it came from.
//! 3. What waits for credentials is bounded by [`MAX_WAITING`], for each link by [`WAITING_OF_LINK`] and [`WAITING_BYTES`], and by [`WAIT`]; drop
//!    policy: the newest is dropped, and asked for again with the next digest (`lsas_without_credential`).
//! 4. What is no news costs neither a signature's verification nor its origin's turn.

mod flooding;
mod own;
mod pace;

use super::Engine;
use crate::counter::Counter;
use crate::id::{CredentialHash, Handle, LinkId, Name, Pseudonym};
use crate::identity::sign::verify_signed;
use crate::routing::lsdb::{Inserted, Lsdb};
use crate::routing::origin::Origin;
use crate::time::Time;
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{CONTEXT, Lsa, LsaDigest, LsaRequest, MAX_LSA};
use crate::wire::{self, Signed};
use core::time::Duration;
use flooding::Flooding;
use pace::{Pace, Turn};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most LSAs that wait for a credential.
const MAX_WAITING: usize = 256;
/// And most of them from one link.
const WAITING_OF_LINK: usize = 64;
/// And most bytes of these.
const WAITING_BYTES: usize = 512 * 1024;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(3);
/// A digest tells all entries at once up to this many.
const SMALL: usize = 64;
/// Changes at other routers within so long go into the graph together: many come at once when a network starts.
const GATHER: Duration = Duration::from_millis(100);
/// How often neighbours compare databases.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// And once this long after the link came up: frames may be lost while two connections become one.
const SETTLED: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) lsdb: Lsdb,
    origin: Origin,
    /// Something about our own links has changed.
    pub(super) links_changed: bool,
    /// Something that routes depend on has changed.
    changed: bool,
    /// As of when the graph was made, and the trees.
    seen: u64,
    grown: u64,
    /// When the graph was made.
    made: Time,
    waiting: VecDeque<Waiting>,
    flooding: Flooding,
    digests: BTreeMap<LinkId, Time>,
    names: BTreeMap<Name, Pseudonym>,
    named: BTreeMap<Pseudonym, Name>,
    again: Option<Time>,
    pace: Pace,
}

#[derive(Debug)]
struct Waiting {
    origin: CredentialHash,
    from: LinkId,
    signed: Vec<u8>,
    until: Time,
}

impl LinkState {
    pub(super) fn new(own: Pseudonym, area: u32) -> Self {
        Self {
            lsdb: Lsdb::of_area(own, area),
            origin: Origin::new(),
            links_changed: true,
            changed: true,
            seen: 0,
            grown: 0,
            made: Time::default(),
            waiting: VecDeque::new(),
            flooding: Flooding::default(),
            digests: BTreeMap::new(),
            names: BTreeMap::new(),
            named: BTreeMap::new(),
            again: None,
            pace: Pace::default(),
        }
    }

    pub(super) fn lsdb_knows(&self, router: &Pseudonym) -> bool {
        self.lsdb.entry(router).is_some()
    }

    /// The router with that handle.
    pub(super) fn router_of(&self, handle: &Handle) -> Option<Pseudonym> {
        self.lsdb.router_with(handle).filter(|router| self.lsdb_knows(router))
    }

    /// The router of that name.
    pub(super) fn router_named(&self, name: &Name) -> Option<Pseudonym> {
        self.names.get(name).copied().filter(|router| self.lsdb_knows(router))
    }

    pub(super) fn name_of_router(&self, router: &Pseudonym) -> Option<&Name> {
        self.named.get(router)
    }

    /// The credential that a router goes by.
    pub(super) fn hash_of(&self, router: &Pseudonym) -> Option<CredentialHash> {
        self.lsdb.entry(router).map(|entry| entry.lsa.origin)
    }

    /// Whether routes have to be looked at anew.
    pub(super) fn take_changed(&mut self, now: Time) -> bool {
        let generation = self.lsdb.generation();
        let changed = core::mem::take(&mut self.changed) | (generation != self.seen);
        self.seen = generation;
        if changed {
            self.made = now;
        }
        changed
    }

    /// Whether what others tell waits for more of it: after the first news, the graph is made anew once in [`GATHER`].
    pub(super) fn gathers(&mut self, now: Time) -> bool {
        let next = self.made + GATHER;
        let gathers = !self.changed && self.lsdb.generation() != self.seen && now < next;
        if gathers {
            self.look_again(next, now);
        }
        gathers
    }

    /// Whether what routers tell has changed: the trees of groups have to be grown anew.
    fn take_told(&mut self) -> bool {
        let generation = self.lsdb.generation();
        core::mem::replace(&mut self.grown, generation) != generation
    }

    /// Routes are to be looked at anew.
    pub(super) fn reconsider(&mut self) {
        self.changed = true;
    }

    /// A hop's name has got better or worse.
    pub(super) fn note_history(&mut self, changed: bool) {
        self.changed |= changed;
    }

    /// Routes are to be looked at anew then.
    pub(super) fn look_again(&mut self, at: Time, now: Time) {
        if at > now {
            self.again = Some(self.again.map_or(at, |known| known.min(at)));
        }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let digest = self.digests.values().min().copied();
        let waiting = self.waiting.front().map(|waiting| waiting.until);
        let paced = [self.origin.next_wake(), self.flooding.next_wake(), self.pace.next_wake()];
        [digest, waiting, self.again].into_iter().chain(paced).flatten().min()
    }
}

impl Engine {
    /// A neighbour forwards for others: compare databases.
    pub(super) fn meet_router(&mut self, link: LinkId) {
        if !self.settings.forwarding {
            return;
        }
        self.routing.links_changed = true;
        if self.links.get(link).is_none_or(|link| link.area != self.settings.area) {
            return;
        }
        self.send_digest(link, self.routing.lsdb.len() <= SMALL);
        self.routing.digests.insert(link, self.now.time + SETTLED);
    }

    /// A link is gone.
    pub(super) fn forget_link_in_routing(&mut self, link: LinkId) {
        self.routing.digests.remove(&link);
        self.routing.pace.forget_link(link);
        self.routing.links_changed = true;
        self.ask_elsewhere(link);
    }

    /// Compares databases with a neighbour before long.
    fn compare_again(&mut self, link: LinkId) {
        let at = self.now.time + pace::AGAIN;
        if let Some(due) = self.routing.digests.get_mut(&link) {
            *due = at.min(*due);
        }
    }

    pub(super) fn send_digest(&mut self, link: LinkId, whole: bool) {
        let summary = self.routing.lsdb.summary();
        let entries = whole.then(|| self.routing.lsdb.digest());
        self.send_control(link, Kind::LsaDigest, &LsaDigest { summary, entries });
    }

    pub(super) fn handle_lsa_digest(&mut self, link: LinkId, body: &[u8]) {
        if !self.settings.forwarding {
            return;
        }
        let Ok(digest) = wire::decode::<LsaDigest>(body) else { return self.count(Counter::ControlMalformed, 1) };
        match digest.entries {
            Some(entries) => self.handle_offer(link, &entries),
            None if digest.summary == self.routing.lsdb.summary() => {}
            None => self.send_digest(link, true),
        }
    }

    pub(super) fn handle_lsa_request(&mut self, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<LsaRequest>(body) else { return self.count(Counter::ControlMalformed, 1) };
        for signed in self.routing.lsdb.answer(&request.origins) {
            self.send_frame(link, frame::raw(Kind::Lsa, &signed));
        }
    }

    pub(super) fn handle_lsa(&mut self, link: LinkId, body: &[u8]) {
        if !self.settings.forwarding {
            return;
        }
        let Some((signed, lsa)) = parse(body) else { return self.count(Counter::ControlMalformed, 1) };
        let (origin, sequence) = (lsa.origin, lsa.sequence);
        if self.routing.lsdb.get(&origin).is_some_and(|entry| *entry.signed == *body) {
            self.note_arrival(link, origin, sequence);
            return;
        }
        if let Some(ours) = self.routing.lsdb.later_than(&origin, sequence, body).cloned() {
            self.note_arrival(link, origin, sequence);
            return self.set_right(link, origin, &ours);
        }
        let Some(credential) = self.peers.get(&origin) else {
            return self.wait_for_origin(link, origin, body);
        };
        let credential = credential.clone();
        if !self.trusts(link) {
            return;
        }
        if !verify_signed(CONTEXT, &credential.body.key, &signed) {
            return self.note_forgery(link, Counter::LsasForged);
        }
        // Only what an origin has signed, and is news, takes a turn.
        match self.routing.pace.turn(origin, link, sequence, body, self.now.time) {
            Turn::Now => {}
            Turn::Held => return self.count(Counter::LsasTooOften, 1),
            Turn::Dropped => {
                self.count(Counter::LsasNotHeld, 1);
                return self.compare_again(link);
            }
        }
        let body: Arc<[u8]> = body.into();
        let urgent = self.routing.lsdb.takes_away(&credential.body.key, &lsa);
        match self.routing.lsdb.insert(&credential, lsa, body.clone(), self.now) {
            Inserted::Newer => {
                self.learn_router(&credential.body.handle, credential.body.key);
                let having = self.note_arrival(link, origin, sequence);
                if urgent {
                    self.flood(&having, &body);
                } else {
                    let having = self.flood_to_stubs(having, &body);
                    self.note_news(origin, having);
                }
            }
            Inserted::Same => drop(self.note_arrival(link, origin, sequence)),
            Inserted::Older(ours) => {
                self.note_arrival(link, origin, sequence);
                self.set_right(link, origin, &ours);
            }
            Inserted::OwnAhead(sequence) => {
                self.note_arrival(link, origin, sequence);
                self.routing.origin.jump_past(sequence, self.now.time);
                self.routing.links_changed = true;
            }
            Inserted::Full => self.count(Counter::LsasBeyondArea, 1),
            Inserted::SecondOfHandle => self.count(Counter::LsasSecondOfHandle, 1),
            Inserted::OtherArea => self.count(Counter::LsasOfOtherAreas, 1),
            Inserted::Expired => self.count(Counter::LsasExpired, 1),
            Inserted::Malformed(_) => self.count(Counter::ControlMalformed, 1),
        }
    }

    fn wait_for_origin(&mut self, from: LinkId, origin: CredentialHash, signed: &[u8]) {
        let waiting = &self.routing.waiting;
        let of_link = waiting.iter().filter(|waiting| waiting.from == from);
        let (of_link, bytes) = of_link.fold((0, signed.len()), |(n, bytes), one| (n + 1, bytes + one.signed.len()));
        if waiting.len() >= MAX_WAITING || of_link >= WAITING_OF_LINK || bytes > WAITING_BYTES {
            return self.count(Counter::LsasWithoutCredential, 1);
        }
        if !waiting.iter().any(|waiting| waiting.origin == origin) {
            self.ask_credential(from, origin);
        }
        let until = self.now.time + WAIT;
        self.routing.waiting.push_back(Waiting { origin, from, signed: signed.to_vec(), until });
    }

    /// A credential has come: LSAs that waited for it.
    pub(super) fn release_lsas(&mut self, hash: CredentialHash) {
        if !self.routing.waiting.iter().any(|waiting| waiting.origin == hash) {
            return;
        }
        let (ready, still): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.routing.waiting).into_iter().partition(|waiting| waiting.origin == hash);
        self.routing.waiting = still;
        for waiting in ready {
            self.handle_lsa(waiting.from, &waiting.signed);
        }
    }

    /// Of the links to a router the one that costs least.
    pub(super) fn control_link(&self, neighbour: &Pseudonym) -> Option<LinkId> {
        let routers = self.links.of(neighbour).filter(|(_, link)| link.forwarding && link.area == self.settings.area);
        routers.min_by_key(|(id, link)| (link.silent, link.metrics.price, *id)).map(|(id, _)| id)
    }

    fn learn_router(&mut self, handle: &Handle, router: Pseudonym) {
        if let Some(name) = self.name_of(handle).filter(|name| self.routing.named.get(&router) != Some(name)) {
            self.routing.names.insert(name.clone(), router);
            self.routing.named.insert(router, name);
        }
    }

    /// Contacts have changed: routers may have got names.
    pub(super) fn name_routers(&mut self) {
        let known: Vec<(Handle, Pseudonym)> =
            self.routing.lsdb.entries().map(|entry| (entry.handle, entry.router)).collect();
        for (handle, router) in known {
            self.learn_router(&handle, router);
        }
        self.routing.changed = true;
    }

    /// At the end of a turn: tells of our own links if they have changed, and looks at routes anew.
    pub(super) fn settle_routing(&mut self) {
        if core::mem::take(&mut self.routing.links_changed) {
            self.routing.changed = true;
            if self.settings.forwarding {
                let claims = self.claims();
                self.routing.origin.set_area(self.routing.lsdb.len());
                self.routing.origin.note(claims, self.now.time);
            }
        }
        self.tell_own();
        if self.routing.take_told() {
            self.regrow();
        }
        if self.routes_stand() {
            self.follow_graph();
        }
    }

    pub(super) fn timeout_link_state(&mut self) {
        let now = self.now.time;
        while self.routing.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.routing.waiting.pop_front();
            self.count(Counter::LsasWithoutCredential, 1);
        }
        self.timeout_pace();
        self.timeout_flooding();
        let due: Vec<LinkId> =
            self.routing.digests.iter().filter(|(_, at)| **at <= now).map(|(link, _)| *link).collect();
        for link in due {
            // Not all at once.
            let jitter = Duration::from_millis(u64::from(self.own.0[0]) * 1_000);
            self.routing.digests.insert(link, now + REFRESH + jitter);
            self.send_digest(link, false);
        }
        if self.routing.again.is_some_and(|at| at <= now) {
            self.routing.again = None;
            self.routing.changed = true;
        }
        for router in self.routing.lsdb.expire(self.now.unix) {
            if let Some(name) = self.routing.named.remove(&router) {
                self.routing.names.remove(&name);
            }
        }
    }
}

fn parse(body: &[u8]) -> Option<(Signed<'_>, Lsa)> {
    let signed: Signed<'_> = wire::codec::decode_within(body, MAX_LSA).ok()?;
    let lsa = wire::decode(signed.body).ok()?;
    Some((signed, lsa))
}
