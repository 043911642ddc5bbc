//! Link state: what this node tells of its links, and what it hears of those of others.
//!
//! ```text
//! neighbour says that it forwards ─▶ LsaDigest, with entries if the database is small
//! LsaDigest ─▶ same summary? done · no entries? ours, with entries · else LsaRequest for what is missing or newer
//! LsaRequest ─▶ each LSA asked for, before it its origin's credential, if the neighbour has not had it from us
//! Lsa ─▶ origin's credential known? no ─▶ CredentialRequest, wait · signature? · newer? ─▶ keep, to all other routers
//!                                                                              older? ─▶ ours back
//! own links change ─▶ origin says when it is told ─▶ sign, keep, to all routers
//! ```
//!
//! Only routers take part; a leaf is listed by the routers that it has links to. An LSA goes to each neighbour once,
//! over the link that costs least.
//!
//! Invariants
//! 1. Nothing gets into the database whose signature has not been verified under a verified credential.
//! 2. An LSA is handed on only when it was news, and never to where it came from.
//! 3. What waits for credentials is bounded by [`MAX_WAITING`] and [`WAIT`]; drop policy: the newest is dropped, and asked
//!    for again with the next digest (`lsas_without_credential`).

use super::Engine;
use crate::id::{CredentialHash, Handle, LinkId, Name, Pseudonym, Tag};
use crate::identity::sign::verify_signed;
use crate::routing::lsdb::{Inserted, Lsdb, OwnLink};
use crate::routing::origin::{Claim, Claims, Origin};
use crate::time::Time;
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{CONTEXT, Lsa, LsaDigest, LsaLink, LsaRequest, MAX_ENTRIES, MAX_LSA};
use crate::wire::{self, Signed};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most LSAs that wait for a credential.
const MAX_WAITING: usize = 256;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(3);
/// What one origin may tell at once, and how often after that: an honest one tells less. Drop policy: what comes too often
/// is dropped, and asked for with the next digest (`lsas_too_often`).
const BURST: u32 = 32;
const PACE: Duration = Duration::from_millis(100);
/// What has been asked of one neighbour is not asked of another within this.
const ASKED: Duration = Duration::from_secs(2);
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
    asked: BTreeMap<CredentialHash, Time>,
    /// Credentials that each neighbour has had from us, or we from it.
    had: BTreeMap<LinkId, BTreeSet<CredentialHash>>,
    digests: BTreeMap<LinkId, Time>,
    names: BTreeMap<Name, Pseudonym>,
    named: BTreeMap<Pseudonym, Name>,
    again: Option<Time>,
    /// How many advertisements each origin may still have taken at once, and when it had one last.
    allowance: BTreeMap<CredentialHash, (u32, Time)>,
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
            asked: BTreeMap::new(),
            had: BTreeMap::new(),
            digests: BTreeMap::new(),
            names: BTreeMap::new(),
            named: BTreeMap::new(),
            again: None,
            allowance: BTreeMap::new(),
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

    /// A neighbour has lost what we handed it.
    pub(super) fn forget_had(&mut self, link: LinkId) {
        self.had.remove(&link);
    }

    /// Whether an origin may have another advertisement taken: [`BURST`] at once, then one in each [`PACE`].
    fn allows(&mut self, origin: CredentialHash, now: Time) -> bool {
        if self.allowance.len() > MAX_ENTRIES {
            self.allowance.retain(|_, (_, at)| *at + PACE * BURST > now);
        }
        let (left, at) = self.allowance.entry(origin).or_insert((BURST, now));
        let earned = now.since(*at).as_micros() / PACE.as_micros();
        *left = left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
        if earned > 0 {
            *at = now;
        }
        let allowed = *left > 0;
        *left = left.saturating_sub(1);
        allowed
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
        [digest, waiting, self.again, self.origin.next_wake()].into_iter().flatten().min()
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
        self.routing.had.remove(&link);
        self.routing.digests.remove(&link);
        self.routing.links_changed = true;
    }

    fn send_digest(&mut self, link: LinkId, whole: bool) {
        let summary = self.routing.lsdb.summary();
        let entries = whole.then(|| self.routing.lsdb.digest());
        self.send_control(link, Kind::LsaDigest, &LsaDigest { summary, entries });
    }

    pub(super) fn handle_lsa_digest(&mut self, link: LinkId, body: &[u8]) {
        if !self.settings.forwarding {
            return;
        }
        let Ok(digest) = wire::decode::<LsaDigest>(body) else { return self.count("control_malformed", 1) };
        if digest.summary == self.routing.lsdb.summary() {
            return;
        }
        let Some(entries) = digest.entries else { return self.send_digest(link, true) };
        let now = self.now.time;
        self.routing.asked.retain(|_, until| *until > now);
        let theirs = self.routing.lsdb.compare(&entries).theirs_newer;
        let origins: Vec<_> = theirs.into_iter().filter(|hash| !self.routing.asked.contains_key(hash)).collect();
        for hash in &origins {
            self.routing.asked.insert(*hash, now + ASKED);
        }
        for origins in origins.chunks(MAX_ENTRIES) {
            self.send_control(link, Kind::LsaRequest, &LsaRequest { origins: origins.to_vec() });
        }
    }

    pub(super) fn handle_lsa_request(&mut self, link: LinkId, body: &[u8]) {
        let Ok(request) = wire::decode::<LsaRequest>(body) else { return self.count("control_malformed", 1) };
        for hash in request.origins.iter().take(MAX_ENTRIES) {
            if let Some(signed) = self.routing.lsdb.get(hash).map(|entry| entry.signed.clone()) {
                self.send_lsa(link, *hash, &signed);
            }
        }
    }

    /// An LSA, and before it the credential that it is to be verified with, if the neighbour may not have it.
    fn send_lsa(&mut self, link: LinkId, origin: CredentialHash, signed: &Arc<[u8]>) {
        let neighbour = self.links.get(link).map(|link| link.peer.hash);
        let had = self.routing.had.entry(link).or_default();
        if neighbour != Some(origin)
            && had.insert(origin)
            && let Some(credential) = self.multicast.credential(&origin)
        {
            self.send_frame(link, frame::raw(Kind::Credential, &credential));
        }
        self.send_frame(link, frame::raw(Kind::Lsa, signed));
    }

    pub(super) fn handle_lsa(&mut self, link: LinkId, body: &[u8]) {
        if !self.settings.forwarding {
            return;
        }
        let Some((signed, lsa)) = parse(body) else { return self.count("control_malformed", 1) };
        if self.routing.lsdb.get(&lsa.origin).is_some_and(|entry| *entry.signed == *body) {
            self.routing.had.entry(link).or_default().insert(lsa.origin);
            return;
        }
        let Some(credential) = self.multicast.credentials.get(&lsa.origin) else {
            return self.wait_for_origin(link, lsa.origin, body);
        };
        if !verify_signed(CONTEXT, &credential.body.key, &signed) {
            return self.count("lsas_forged", 1);
        }
        // Only what an origin has signed is counted: made-up ones take no room, and forged ones nobody's turn.
        if !self.routing.allows(lsa.origin, self.now.time) {
            return self.count("lsas_too_often", 1);
        }
        let credential = credential.clone();
        self.routing.had.entry(link).or_default().insert(lsa.origin);
        let (origin, body): (_, Arc<[u8]>) = (lsa.origin, body.into());
        match self.routing.lsdb.insert(&credential, lsa, body.clone(), self.now) {
            Inserted::Newer => {
                self.learn_router(&credential.body.handle, credential.body.key);
                self.flood(Some(link), origin, &body);
            }
            Inserted::Same => {}
            Inserted::Older(ours) => {
                if let Some(hash) = self.routing.hash_of(&credential.body.key) {
                    self.send_lsa(link, hash, &ours);
                }
            }
            Inserted::OwnAhead(sequence) => {
                self.routing.origin.jump_past(sequence, self.now.time);
                self.routing.links_changed = true;
            }
            Inserted::Full => self.count("lsas_beyond_area", 1),
            Inserted::OtherArea => self.count("lsas_of_other_areas", 1),
            Inserted::Expired => self.count("lsas_expired", 1),
            Inserted::Malformed(_) => self.count("control_malformed", 1),
        }
    }

    fn wait_for_origin(&mut self, from: LinkId, origin: CredentialHash, signed: &[u8]) {
        let waiting = &self.routing.waiting;
        if waiting.len() >= MAX_WAITING {
            return self.count("lsas_without_credential", 1);
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

    /// To every router next to us but one, each over one link.
    fn flood(&mut self, but: Option<LinkId>, origin: CredentialHash, signed: &Arc<[u8]>) {
        let source = but.and_then(|link| self.links.get(link)).map(|link| link.peer.body.key);
        let neighbours: Vec<Pseudonym> = self.links.neighbours().filter(|key| Some(**key) != source).copied().collect();
        for neighbour in neighbours {
            if let Some(link) = self.control_link(&neighbour) {
                self.send_lsa(link, origin, signed);
            }
        }
    }

    /// Of the links to a router the one that costs least.
    fn control_link(&self, neighbour: &Pseudonym) -> Option<LinkId> {
        let routers = self.links.of(neighbour).filter(|(_, link)| link.forwarding && link.area == self.settings.area);
        routers.min_by_key(|(id, link)| (link.silent, link.metrics.price, *id)).map(|(id, _)| id)
    }

    fn learn_router(&mut self, handle: &Handle, router: Pseudonym) {
        if let Some(name) = self.name_of(handle) {
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

    /// Our own links as we see them, for the graph.
    pub(super) fn own_links(&self) -> Vec<OwnLink> {
        let told = |(_, link): (LinkId, &super::links::Link)| OwnLink {
            to: link.peer.body.key,
            bearer: self.worth.bearer(link.bearer).class as u8,
            metrics: link.metrics,
            usable: link.usable,
        };
        self.links.iter().filter(|(_, link)| link.forwarding && link.area == self.settings.area).map(told).collect()
    }

    /// What our next LSA would say.
    fn claims(&mut self) -> Claims {
        let mut links: BTreeMap<(Pseudonym, u8), LsaLink> = BTreeMap::new();
        let mut leaves = BTreeSet::new();
        let (mut groups, mut services): (BTreeSet<Tag>, BTreeSet<Tag>) = (self.own_groups(), BTreeSet::new());
        let mut borders = BTreeSet::new();
        for (_, link) in self.links.iter().filter(|(_, link)| link.usable) {
            if !link.forwarding {
                leaves.insert(link.peer.body.handle);
                groups.extend(&link.groups);
                services.extend(&link.services);
                continue;
            }
            if link.area != self.settings.area {
                borders.insert(link.area);
                continue;
            }
            let bearer = self.worth.bearer(link.bearer).class as u8;
            let m = &link.metrics;
            let claim = LsaLink {
                to: link.peer.hash,
                bearer,
                price: m.price,
                delay: m.delay,
                deviation: m.deviation,
                success: m.success,
                energy: m.energy,
                rate: m.rate,
                mtu: m.mtu,
            };
            let known = links.entry((link.peer.body.key, bearer)).or_insert_with(|| claim.clone());
            if (claim.price, claim.delay) < (known.price, known.delay) {
                *known = claim;
            }
        }
        Claims {
            area: self.settings.area,
            leaving: false,
            links: links.into_iter().map(|((neighbour, _), link)| Claim { neighbour, link }).collect(),
            leaves: leaves.into_iter().collect(),
            groups: groups.into_iter().collect(),
            services: services.into_iter().collect(),
            borders: borders.into_iter().collect(),
        }
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

    /// Tells our own LSA if it is due.
    fn tell_own(&mut self) {
        if !self.settings.forwarding {
            return;
        }
        let Some(own) = self.membership.credential(self.now.unix).cloned() else { return };
        self.routing.origin.take_credential(own.hash, self.skew());
        let Some(lsa) = self.routing.origin.due(self.now.time) else { return };
        let signed: Arc<[u8]> = own.sign_document(CONTEXT, &wire::encode(&lsa)).into();
        if let Inserted::OwnAhead(sequence) = self.routing.lsdb.tell(own.hash, &own.body, lsa, signed.clone(), self.now)
        {
            self.routing.origin.jump_past(sequence, self.now.time);
            self.routing.links_changed = true;
            return;
        }
        self.flood(None, own.hash, &signed);
    }

    pub(super) fn timeout_link_state(&mut self) {
        let now = self.now.time;
        while self.routing.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.routing.waiting.pop_front();
            self.count("lsas_without_credential", 1);
        }
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
