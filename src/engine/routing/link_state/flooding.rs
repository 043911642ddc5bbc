//! Flooding: how an LSA gets to every router of the area, to each about once.
//!
//! **Mechanism.** An LSA is large beside its name, and a router has many neighbours, so only those get it unasked to whom it
//! is surely new, or who must not wait:
//!
//! 1. The own LSA goes to all neighbours at once.
//! 2. One that takes something away, a link, a leaf or its router, is handed on at once to all who are not known to have it:
//!    messages run into a hole until it is there.
//! 3. A neighbour whose only link is ours hears it from nobody else, and gets it at once.
//! 4. To others it is *news*: it is gathered for [`HOLD`], and for [`GAP`] after news was told last. Then every neighbour is told in one
//!    digest what there is (credential and number, a thirtieth of the LSA), but for what it is known to have: it sent it,
//!    or named it itself.
//! 5. A neighbour's digest is an offer. What is newer there is asked for where it was offered first, together with
//!    credentials that are not known here. Later offers are kept: if the neighbour that was asked is gone, or gives nothing for
//!    [`PATIENCE`], the next one is asked.
//!
//! What many links offer is fetched over one; several changes of one router within a moment are fetched as one. It is the
//! lazy part of epidemic broadcast trees (Leitão et al., SRDS 2007), with the neighbours of the origin as the eager part.
//!
//! The digest of news has a summary of zeros, as it is not of the whole database.
//!
//! Invariants
//! 1. What is asked for is asked of one neighbour at a time.
//! 2. At most [`MAX_ENTRIES`] names are gathered; drop policy: none, they are told at once.
//! 3. At most [`MAX_ENTRIES`] LSAs are asked for; drop policy: no more are, until the next digest (`lsas_not_asked`). One that nobody
//!    gives within [`LONGEST`] is given up till then (`lsas_not_given`).
//! 4. Of each no more than [`MAX_KNOWN`] neighbours are remembered that have it; drop policy: of later ones it is forgotten.

use super::LinkState;
use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialHash, LinkId, Pseudonym};
use crate::time::Time;
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{LsaDigest, LsaKey, LsaRequest, MAX_ENTRIES};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long news is gathered at least: what comes over several links comes within the difference of their delays.
const HOLD: Duration = Duration::from_millis(10);
/// Least time between two tellings of news: while a network starts there is some in each millisecond.
const GAP: Duration = Duration::from_millis(50);
/// How long a neighbour may give nothing that it was asked for: several round trips of a slow link.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to get an LSA, whoever is asked.
const LONGEST: Duration = Duration::from_secs(30);
/// Most neighbours of which it is remembered that they have an LSA.
const MAX_KNOWN: usize = 32;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Flooding {
    /// By origin: neighbours that have it.
    news: BTreeMap<CredentialHash, Vec<Pseudonym>>,
    /// When news is told.
    due: Option<Time>,
    /// When it was told last.
    told: Option<Time>,
    /// By origin.
    wanted: BTreeMap<CredentialHash, Wanted>,
    /// When it is looked whether what is wanted has come.
    look: Option<Time>,
    /// When each link last brought an LSA.
    brought: BTreeMap<LinkId, Time>,
}

/// An LSA that was asked for.
#[derive(Debug)]
struct Wanted {
    /// Who was asked last, for which number at least, and when.
    asked: LinkId,
    sequence: u64,
    asked_at: Time,
    since: Time,
    /// What else has been offered, by whom.
    offers: Vec<(u64, LinkId)>,
}

impl Wanted {
    fn take_offer(&mut self, link: LinkId, sequence: u64) {
        if link == self.asked && sequence <= self.sequence {
            return;
        }
        if let Some((known, _)) = self.offers.iter_mut().find(|(_, offering)| *offering == link) {
            *known = sequence.max(*known);
        } else if self.offers.len() < MAX_KNOWN {
            self.offers.push((sequence, link));
        }
    }

    /// Takes out the highest offer, of several the first.
    fn next_offer(&mut self) -> Option<(u64, LinkId)> {
        let best = self.offers.iter().map(|(sequence, _)| *sequence).max()?;
        let at = self.offers.iter().position(|(sequence, _)| *sequence == best)?;
        Some(self.offers.remove(at))
    }
}

impl Flooding {
    pub(super) fn next_wake(&self) -> Option<Time> {
        [self.due, self.look].into_iter().flatten().min()
    }

    /// Takes an offer of something newer; answers whether it is to be asked for there.
    fn take_offer(&mut self, link: LinkId, key: &LsaKey, now: Time) -> bool {
        if let Some(wanted) = self.wanted.get_mut(&key.origin) {
            wanted.take_offer(link, key.sequence);
            return false;
        }
        let (asked, sequence, offers) = (link, key.sequence, Vec::new());
        self.wanted.insert(key.origin, Wanted { asked, sequence, asked_at: now, since: now, offers });
        self.look.get_or_insert(now + PATIENCE);
        true
    }

    /// An LSA has come: who is known to have it, or a later one, and whether another offer of it is to be taken up.
    fn arrived(&mut self, from: LinkId, origin: &CredentialHash, sequence: u64) -> (Vec<LinkId>, bool) {
        let Some(wanted) = self.wanted.get_mut(origin) else { return (vec![from], false) };
        let offers = wanted.offers.iter().filter(|(offered, _)| *offered >= sequence);
        let having = [from].into_iter().chain(offers.map(|(_, link)| *link)).collect();
        wanted.offers.retain(|(offered, _)| *offered > sequence);
        if wanted.asked != from && wanted.sequence > sequence {
            return (having, false);
        }
        let more = !wanted.offers.is_empty();
        if !more {
            self.wanted.remove(origin);
        }
        (having, more)
    }

    /// Takes up the next offer, if there is one; answers whose.
    fn ask_next(&mut self, origin: &CredentialHash, now: Time) -> Option<LinkId> {
        let wanted = self.wanted.get_mut(origin)?;
        match wanted.next_offer().filter(|_| wanted.since + LONGEST > now) {
            Some((sequence, link)) => {
                (wanted.asked, wanted.sequence, wanted.asked_at) = (link, sequence, now);
                Some(link)
            }
            None => {
                self.wanted.remove(origin);
                None
            }
        }
    }
}

impl Routing {
    /// To every router next to us but these.
    pub(super) fn flood(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        having: &[Pseudonym],
        signed: &Arc<[u8]>,
    ) {
        let lacking: Vec<Pseudonym> =
            neighbours.links.neighbours().filter(|key| !having.contains(key)).copied().collect();
        for neighbour in lacking {
            if let Some(link) = self.control_link(core, neighbours, &neighbour) {
                neighbours.send_frame(core, link, frame::raw(Kind::Lsa, signed));
            }
        }
    }

    /// To neighbours that nobody else tells; answers who has it now.
    pub(super) fn flood_to_stubs(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        mut having: Vec<Pseudonym>,
        signed: &Arc<[u8]>,
    ) -> Vec<Pseudonym> {
        let lsdb = &self.link_state.lsdb;
        let stubs = neighbours.links.neighbours().filter(|key| !having.contains(key) && lsdb.hangs_on_this(key));
        let stubs: Vec<Pseudonym> = stubs.take(MAX_KNOWN.saturating_sub(having.len())).copied().collect();
        for stub in stubs {
            if let Some(link) = self.control_link(core, neighbours, &stub) {
                neighbours.send_frame(core, link, frame::raw(Kind::Lsa, signed));
                having.push(stub);
            }
        }
        having
    }

    /// An origin has told something that these neighbours have.
    pub(super) fn note_news(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        origin: CredentialHash,
        having: Vec<Pseudonym>,
    ) {
        let now = core.now.time;
        let flooding = &mut self.link_state.flooding;
        flooding.news.insert(origin, having);
        let free = flooding.told.map_or(now, |told| told + GAP);
        flooding.due.get_or_insert(free.max(now + HOLD));
        if flooding.news.len() >= MAX_ENTRIES {
            self.tell_news(core, neighbours);
        }
    }

    /// An LSA has come that is no older than ours, or that we had: who is known to have it.
    pub(super) fn note_arrival(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        origin: CredentialHash,
        sequence: u64,
    ) -> Vec<Pseudonym> {
        let now = core.now.time;
        // What waited for its credential may come from a link that is gone since.
        if neighbours.links.get(from).is_some() {
            self.link_state.flooding.brought.insert(from, now);
        }
        let (having, more) = self.link_state.flooding.arrived(from, &origin, sequence);
        if more {
            self.ask_others(core, neighbours, &[origin]);
        }
        let having: Vec<Pseudonym> =
            having.into_iter().filter_map(|link| neighbours.links.get(link)).map(|link| link.peer.body.key).collect();
        if let (Some(known), Some(from)) = (self.link_state.flooding.news.get_mut(&origin), having.first())
            && known.len() < MAX_KNOWN
        {
            known.push(*from);
        }
        having
    }

    /// A neighbour has named what it has.
    pub(super) fn handle_offer(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        entries: &[LsaKey],
    ) {
        let now = core.now.time;
        let Some(neighbour) = neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        let LinkState { lsdb, flooding, .. } = &mut self.link_state;
        if !flooding.news.is_empty() {
            for key in entries.iter().take(MAX_ENTRIES) {
                let even = lsdb.get(&key.origin).is_some_and(|entry| entry.lsa.sequence <= key.sequence);
                if let Some(known) = flooding.news.get_mut(&key.origin).filter(|_| even)
                    && known.len() < MAX_KNOWN
                {
                    known.push(neighbour);
                }
            }
        }
        let mut origins = Vec::new();
        let mut beyond = 0;
        for key in lsdb.newer(entries) {
            if flooding.wanted.len() >= MAX_ENTRIES && !flooding.wanted.contains_key(&key.origin) {
                beyond += 1;
            } else if flooding.take_offer(link, &key, now) {
                origins.push(key.origin);
            }
        }
        core.count(Counter::LsasNotAsked, beyond);
        self.ask(core, neighbours, link, origins);
    }

    /// Asks a neighbour for LSAs, and before them for the credentials that they are to be verified with.
    fn ask(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId, origins: Vec<CredentialHash>) {
        if origins.is_empty() {
            return;
        }
        for hash in &origins {
            if !neighbours.peers.knows(hash) {
                neighbours.ask_credential(core, link, *hash);
            }
        }
        neighbours.send_control(core, link, Kind::LsaRequest, &LsaRequest { origins });
    }

    /// What was asked for over a link will not come.
    pub(in crate::engine) fn ask_elsewhere(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        let flooding = &mut self.link_state.flooding;
        flooding.brought.remove(&link);
        for wanted in flooding.wanted.values_mut() {
            wanted.offers.retain(|(_, offering)| *offering != link);
        }
        let asked = flooding.wanted.iter().filter(|(_, wanted)| wanted.asked == link);
        let origins: Vec<CredentialHash> = asked.map(|(origin, _)| *origin).collect();
        self.ask_others(core, neighbours, &origins);
    }

    /// Asks for each the next that has offered it.
    fn ask_others(&mut self, core: &mut Core, neighbours: &mut Neighbours, origins: &[CredentialHash]) {
        let now = core.now.time;
        let mut by_link: BTreeMap<LinkId, Vec<CredentialHash>> = BTreeMap::new();
        let mut lost = 0;
        for origin in origins {
            match self.link_state.flooding.ask_next(origin, now) {
                Some(link) => by_link.entry(link).or_default().push(*origin),
                None => lost += 1,
            }
        }
        core.count(Counter::LsasNotGiven, lost);
        for (link, origins) in by_link {
            self.ask(core, neighbours, link, origins);
        }
    }

    pub(super) fn timeout_flooding(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        if self.link_state.flooding.due.is_some_and(|due| due <= now) {
            self.tell_news(core, neighbours);
        }
        if self.link_state.flooding.look.is_none_or(|look| look > now) {
            return;
        }
        let flooding = &self.link_state.flooding;
        let heard = |wanted: &Wanted| {
            let brought = flooding.brought.get(&wanted.asked).copied().unwrap_or_default();
            brought.max(wanted.asked_at).min(wanted.since + LONGEST)
        };
        let late = flooding.wanted.iter().filter(|(_, wanted)| heard(wanted) + PATIENCE <= now);
        let origins: Vec<CredentialHash> = late.map(|(origin, _)| *origin).collect();
        self.ask_others(core, neighbours, &origins);
        let flooding = &mut self.link_state.flooding;
        flooding.look = (!flooding.wanted.is_empty()).then(|| now + PATIENCE / 2);
    }

    /// Tells every neighbour what it is not known to have.
    fn tell_news(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let flooding = &mut self.link_state.flooding;
        (flooding.due, flooding.told) = (None, Some(core.now.time));
        let lsdb = &self.link_state.lsdb;
        let news: Vec<(LsaKey, Vec<Pseudonym>)> = core::mem::take(&mut flooding.news)
            .into_iter()
            .filter_map(|(origin, having)| {
                let sequence = lsdb.get(&origin)?.lsa.sequence;
                Some((LsaKey { origin, sequence }, having))
            })
            .collect();
        let all: Vec<Pseudonym> = neighbours.links.neighbours().copied().collect();
        for neighbour in all {
            let Some(link) = self.control_link(core, neighbours, &neighbour) else { continue };
            let missing = news.iter().filter(|(_, having)| !having.contains(&neighbour));
            let entries: Vec<LsaKey> = missing.map(|(key, _)| key.clone()).collect();
            if !entries.is_empty() {
                neighbours.send_control(core, link, Kind::LsaDigest, &LsaDigest::of_news(entries));
            }
        }
    }
}
