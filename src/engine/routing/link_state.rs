//! Link state: what this node advertises of its links, and what it learns of the links of others.
//!
//! ```text
//! neighbour announces that it forwards ─▶ LsaDigest, with entries if the database is small
//! LsaDigest ─▶ no entries? same summary: done, else ours, with entries · entries newer than ours ─▶ LsaRequest
//! LsaRequest ─▶ each LSA requested
//! Lsa ─▶ older than ours? ─▶ ours back, once a second
//!        newer? origin's credential known? no ─▶ CredentialRequest, wait
//!               signature? · origin's turn? ─▶ keep, tell the other neighbours
//! own links change ─▶ origin says when to advertise ─▶ sign, keep, flood to all routers
//! ```
//!
//! Only routers take part; a leaf is listed by the routers that it has links to. A neighbour is sent LSAs over the link
//! to it that costs least. How news travels through the area is described in `flooding`, what this node advertises of
//! itself in `own`, how often others are heard and answered in `pace`, what happens to unknown credentials by which
//! others name their neighbours in `names`, and which routers are contacts in `named`.
//!
//! Invariants
//! 1. No LSA enters the database unless its signature has been verified under a verified credential.
//! 2. An LSA is forwarded only when it is news, and never to where it came from.
//! 3. An LSA that is no news does not take its origin's turn.
//! - Nor is the signature of an LSA verified that is no news.
//! - At most [`MAX_WAITING`] LSAs wait for credentials, of one link at most [`WAITING_OF_LINK`] with [`WAITING_BYTES`],
//!   for [`WAIT`]. Drop policy: the newest is dropped, and requested again after the next digest
//!   (`lsas_without_credential`).

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::engine::routing::Routing;

mod flooding;
mod named;
mod names;
mod own;
mod pace;

use crate::counter::Counter;
use crate::id::{CredentialHash, Handle, LinkId, Name, Pseudonym};
use crate::identity::credential::OwnCredential;
use crate::identity::sign::verify_signed;
use crate::routing::flooding::{News, Requests};
use crate::routing::lsdb::{Inserted, Lsdb};
use crate::routing::origin::Origin;
use crate::time::{Now, Time};
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{CONTEXT, Lsa, LsaDigest, LsaRequest, MAX_LSA};
use crate::wire::{self, Signed};
use core::time::Duration;
use named::Named;
use names::Names;
use pace::{Pace, Turn};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most LSAs that wait for a credential.
const MAX_WAITING: usize = 256;
/// Most LSAs from one link that wait for a credential.
const WAITING_OF_LINK: usize = 64;
/// Most bytes of the LSAs from one link that wait for a credential.
const WAITING_BYTES: usize = 512 * 1024;
/// How long an LSA waits for a credential.
const WAIT: Duration = Duration::from_secs(3);
/// Up to this many entries a digest lists all of them at once.
const SMALL: usize = 64;
/// Changes at other routers within this time enter the graph together: many come at once when a network starts.
const GATHER: Duration = Duration::from_millis(100);
/// How often neighbours compare their databases.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// They also compare once this long after a link came up: frames may be lost while two connections become one.
const SETTLED: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct LinkState {
    pub(in crate::engine) lsdb: Lsdb,
    origin: Origin,
    /// Whether something has changed that routes depend on.
    changed: bool,
    /// The generation of the database from which the graph was built last.
    seen: u64,
    /// The generation of the database from which the trees of groups were grown last.
    grown: u64,
    /// When the graph was built last.
    made: Time,
    waiting: VecDeque<Waiting>,
    news: News,
    requests: Requests,
    names_unknown: Names,
    digests: BTreeMap<LinkId, Time>,
    named: Named,
    again: Option<Time>,
    pace: Pace,
    /// What was advertised under the pseudonym before, while that is drained.
    former: Option<(Origin, Arc<OwnCredential>)>,
}

#[derive(Debug)]
struct Waiting {
    origin: CredentialHash,
    from: LinkId,
    signed: Vec<u8>,
    until: Time,
}

impl LinkState {
    pub(in crate::engine) fn new(own: Pseudonym, area: u32) -> Self {
        Self {
            lsdb: Lsdb::of_area(own, area),
            origin: Origin::new(),
            changed: true,
            seen: 0,
            grown: 0,
            made: Time::default(),
            waiting: VecDeque::new(),
            news: News::default(),
            requests: Requests::default(),
            names_unknown: Names::default(),
            digests: BTreeMap::new(),
            named: Named::default(),
            again: None,
            pace: Pace::default(),
            former: None,
        }
    }

    pub(in crate::engine) fn lsdb_knows(&self, router: &Pseudonym) -> bool {
        self.lsdb.entry(router).is_some()
    }

    /// The router with that handle, if the database knows it.
    pub(in crate::engine) fn router_of(&self, handle: &Handle) -> Option<Pseudonym> {
        self.lsdb.router_with(handle).filter(|router| self.lsdb_knows(router))
    }

    /// The router of that name, if the database knows it.
    pub(in crate::engine) fn router_named(&self, name: &Name) -> Option<Pseudonym> {
        self.named.router(name).filter(|router| self.lsdb_knows(router))
    }

    pub(in crate::engine) fn name_of_router(&self, router: &Pseudonym) -> Option<&Name> {
        self.named.name(router)
    }

    /// The hash of the credential under which a router advertises.
    pub(in crate::engine) fn hash_of(&self, router: &Pseudonym) -> Option<CredentialHash> {
        self.lsdb.entry(router).map(|entry| entry.lsa.origin)
    }

    /// A router is one no more.
    pub(in crate::engine) fn forget_router(&mut self, router: &Pseudonym) {
        self.lsdb.forget(router);
        self.named.forget(router);
        self.changed = true;
    }

    /// Whether routes have to be looked at anew.
    pub(in crate::engine) fn take_changed(&mut self, now: Time) -> bool {
        let generation = self.lsdb.generation();
        let changed = core::mem::take(&mut self.changed) | (generation != self.seen);
        self.seen = generation;
        if changed {
            self.made = now;
        }
        changed
    }

    /// Whether to wait for more changes before the graph is built anew: after the first news of others it is built at
    /// most once in [`GATHER`].
    pub(in crate::engine) fn gathers(&mut self, now: Time) -> bool {
        let next = self.made + GATHER;
        let gathers = !self.changed && self.lsdb.generation() != self.seen && now < next;
        if gathers {
            self.look_again(next, now);
        }
        gathers
    }

    /// Takes whether what routers advertise has changed, so that the trees of groups have to be grown anew.
    fn take_told(&mut self) -> bool {
        let generation = self.lsdb.generation();
        core::mem::replace(&mut self.grown, generation) != generation
    }

    /// Has routes looked at anew.
    pub(in crate::engine) fn reconsider(&mut self) {
        self.changed = true;
    }

    /// Has routes looked at anew if the failure history of a hop has `changed`.
    pub(in crate::engine) fn note_history(&mut self, changed: bool) {
        self.changed |= changed;
    }

    /// Has routes looked at anew at a given time.
    pub(in crate::engine) fn look_again(&mut self, at: Time, now: Time) {
        if at > now {
            self.again = Some(self.again.map_or(at, |known| known.min(at)));
        }
    }

    /// When something is due.
    pub(in crate::engine) fn next_wake(&self, now: Now) -> Option<Time> {
        let expiry = self.lsdb.first_end().map(|end| now.time + end.since(now.unix) + Duration::from_micros(1));
        let digest = self.digests.values().min().copied();
        let waiting = self.waiting.front().map(|waiting| waiting.until);
        let paced = [
            self.origin.next_wake(),
            self.news.next_wake(),
            self.requests.next_wake(),
            self.pace.next_wake(),
            self.names_unknown.next_wake(),
        ];
        [digest, waiting, self.again, expiry].into_iter().chain(paced).flatten().min()
    }
}

impl Routing {
    /// Compares databases with a neighbour again soon.
    fn compare_again(&mut self, core: &Core, link: LinkId) {
        let at = core.now.time + pace::AGAIN;
        if let Some(due) = self.link_state.digests.get_mut(&link) {
            *due = at.min(*due);
        }
    }

    /// Begins to compare databases with a neighbour that forwards for others.
    pub(in crate::engine) fn meet_router(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        if !core.settings.forwarding {
            return;
        }
        neighbours.links_changed = true;
        if neighbours.links.get(link).is_none_or(|link| link.area != core.settings.area) {
            return;
        }
        self.send_digest(core, neighbours, link, self.link_state.lsdb.len() <= SMALL);
        self.link_state.digests.insert(link, core.now.time + SETTLED);
    }

    /// Forgets what concerns a link that is gone, and requests from others what was requested over it.
    pub(in crate::engine) fn forget_link_in_routing(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
    ) {
        self.link_state.digests.remove(&link);
        self.link_state.pace.forget_link(link);
        neighbours.links_changed = true;
        self.ask_elsewhere(core, neighbours, link);
    }

    pub(in crate::engine) fn send_digest(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        whole: bool,
    ) {
        let summary = self.link_state.lsdb.summary();
        let entries = whole.then(|| self.link_state.lsdb.digest());
        neighbours.send_control(core, link, Kind::LsaDigest, &LsaDigest { summary, entries });
    }

    pub(in crate::engine) fn handle_lsa_digest(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        if !core.settings.forwarding {
            return;
        }
        let Ok(digest) = wire::decode::<LsaDigest>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        match digest.entries {
            Some(entries) => self.handle_offer(core, neighbours, link, &entries),
            None if digest.summary == self.link_state.lsdb.summary() => {}
            None if neighbours.may_ask(core, link, Asked::Digest) => self.send_digest(core, neighbours, link, true),
            None => {}
        }
    }

    pub(in crate::engine) fn handle_lsa_request(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(request) = wire::decode::<LsaRequest>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let known = self.link_state.lsdb.answer(&request.origins);
        let given = neighbours.lsas_given(core, link, known.len());
        for signed in known.into_iter().take(given) {
            neighbours.send_frame(core, link, frame::raw(Kind::Lsa, &signed));
        }
    }

    pub(in crate::engine) fn handle_lsa(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        if !core.settings.forwarding {
            return;
        }
        let Some((signed, lsa)) = parse(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let (origin, sequence) = (lsa.origin, lsa.sequence);
        if self.link_state.lsdb.get(&origin).is_some_and(|entry| *entry.signed == *body) {
            self.note_arrival(core, neighbours, link, origin, sequence);
            return;
        }
        if let Some(ours) = self.link_state.lsdb.later_than(&origin, sequence, body).cloned() {
            self.note_arrival(core, neighbours, link, origin, sequence);
            return self.set_right(core, neighbours, link, origin, &ours);
        }
        let Some(credential) = neighbours.peers.get(&origin) else {
            return self.wait_for_origin(core, neighbours, link, origin, body);
        };
        let credential = credential.clone();
        if !neighbours.trusts(core, link) {
            return;
        }
        if !verify_signed(CONTEXT, &credential.body.key, &signed) {
            return neighbours.note_forgery(core, link, Counter::LsasForged);
        }
        // Only an LSA that its origin has signed, and that is news, takes a turn.
        match self.link_state.pace.turn(origin, link, sequence, body, core.now.time) {
            Turn::Now => {}
            Turn::Held => return core.count(Counter::LsasTooOften, 1),
            Turn::Dropped => {
                core.count(Counter::LsasNotHeld, 1);
                return self.compare_again(core, link);
            }
        }
        let body: Arc<[u8]> = body.into();
        let urgent = self.link_state.lsdb.takes_away(&credential.body.key, &lsa);
        match self.link_state.lsdb.insert(&credential, lsa, body.clone(), core.now) {
            Inserted::Newer => {
                self.link_state.names_unknown.note_news(core.now.time);
                self.learn_router(core, neighbours, &credential.body.handle, credential.body.key);
                let having = self.note_arrival(core, neighbours, link, origin, sequence);
                if urgent {
                    self.flood(core, neighbours, &having, &body);
                } else {
                    let having = self.flood_to_stubs(core, neighbours, having, &body);
                    self.note_news(core, neighbours, origin, having);
                }
            }
            Inserted::Same => drop(self.note_arrival(core, neighbours, link, origin, sequence)),
            Inserted::Older(ours) => {
                self.note_arrival(core, neighbours, link, origin, sequence);
                self.set_right(core, neighbours, link, origin, &ours);
            }
            Inserted::OwnAhead(sequence) => {
                self.note_arrival(core, neighbours, link, origin, sequence);
                self.link_state.origin.jump_past(sequence, core.now.time);
                neighbours.links_changed = true;
            }
            Inserted::Full => core.count(Counter::LsasBeyondArea, 1),
            Inserted::SecondOfHandle => core.count(Counter::LsasSecondOfHandle, 1),
            Inserted::OtherArea => core.count(Counter::LsasOfOtherAreas, 1),
            Inserted::Expired => core.count(Counter::LsasExpired, 1),
            Inserted::Malformed(_) => neighbours.note_malformed(core, link, Counter::ControlMalformed),
        }
    }

    fn wait_for_origin(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        origin: CredentialHash,
        signed: &[u8],
    ) {
        let waiting = &self.link_state.waiting;
        let of_link = waiting.iter().filter(|waiting| waiting.from == from);
        let (of_link, bytes) = of_link.fold((0, signed.len()), |(n, bytes), one| (n + 1, bytes + one.signed.len()));
        if waiting.len() >= MAX_WAITING || of_link >= WAITING_OF_LINK || bytes > WAITING_BYTES {
            return core.count(Counter::LsasWithoutCredential, 1);
        }
        if !waiting.iter().any(|waiting| waiting.origin == origin) {
            neighbours.ask_credential(core, from, origin);
        }
        let until = core.now.time + WAIT;
        self.link_state.waiting.push_back(Waiting { origin, from, signed: signed.to_vec(), until });
    }

    /// Processes what waited for a credential that has arrived: LSAs of its device, and links whose ends it names.
    pub(in crate::engine) fn release_lsas(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        hash: CredentialHash,
    ) {
        if self.link_state.names_unknown.take(&hash) {
            self.link_state.lsdb.note_resolved();
        }
        if !self.link_state.waiting.iter().any(|waiting| waiting.origin == hash) {
            return;
        }
        let (ready, still): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.link_state.waiting).into_iter().partition(|waiting| waiting.origin == hash);
        self.link_state.waiting = still;
        for waiting in ready {
            self.handle_lsa(core, neighbours, waiting.from, &waiting.signed);
        }
    }

    /// Of the links to a neighbouring router of this area the one that costs least; silent links come last.
    pub(in crate::engine) fn control_link(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        neighbour: &Pseudonym,
    ) -> Option<LinkId> {
        let routers =
            neighbours.links.of(neighbour).filter(|(_, link)| link.forwarding && link.area == core.settings.area);
        routers.min_by_key(|(id, link)| (link.silent, link.metrics.price, *id)).map(|(id, _)| id)
    }

    pub(in crate::engine) fn timeout_link_state(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        while self.link_state.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.link_state.waiting.pop_front();
            core.count(Counter::LsasWithoutCredential, 1);
        }
        self.timeout_pace(core, neighbours);
        self.timeout_flooding(core, neighbours);
        self.timeout_names(core, neighbours);
        let due: Vec<LinkId> =
            self.link_state.digests.iter().filter(|(_, at)| **at <= now).map(|(link, _)| *link).collect();
        for link in due {
            // Neighbours are not all told at once.
            let jitter = Duration::from_millis(u64::from(core.own.0[0]) * 1_000);
            self.link_state.digests.insert(link, now + REFRESH + jitter);
            self.send_digest(core, neighbours, link, false);
        }
        if self.link_state.again.is_some_and(|at| at <= now) {
            self.link_state.again = None;
            self.link_state.changed = true;
        }
        for router in self.link_state.lsdb.expire(core.now.unix) {
            self.link_state.named.forget(&router);
        }
    }

    /// Ends a turn: advertises this router's own links if they have changed, and looks at routes anew. Returns whether
    /// what routers advertise has changed, so that the trees of groups have to be grown anew. `waiting` tells whether
    /// messages wait for a route.
    pub(in crate::engine) fn settle_routing(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        waiting: bool,
    ) -> bool {
        if core::mem::take(&mut neighbours.links_changed) {
            self.link_state.changed = true;
            if core.settings.forwarding {
                let claims = self.claims(core, neighbours);
                self.link_state.origin.set_area(self.link_state.lsdb.len());
                self.link_state.origin.note(claims, core.now.time);
            }
        }
        self.tell_own(core, neighbours);
        let told = self.link_state.take_told();
        if self.routes_stand(core, waiting) {
            self.follow_graph(core, neighbours);
        }
        told
    }
}

fn parse(body: &[u8]) -> Option<(Signed<'_>, Lsa)> {
    let signed: Signed<'_> = wire::codec::decode_within(body, MAX_LSA).ok()?;
    let lsa = wire::decode(signed.body).ok()?;
    Some((signed, lsa))
}
