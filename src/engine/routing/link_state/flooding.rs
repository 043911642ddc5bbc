//! Flooding: how an LSA gets to every router of the area, to each about once.
//!
//! **Mechanism.** An LSA is large beside its name, and a router has many neighbours, so only those get it unasked to whom it
//! is surely new, or who must not wait:
//!
//! 1. The own LSA goes to all neighbours at once.
//! 2. One that takes something away, a link, a leaf or its router, is handed on at once to all who are not known to have it:
//!    messages run into a hole until it is there.
//! 3. A neighbour whose only link is ours hears it from nobody else, and gets it at once.
//! 4. To others it is *news* ([`News`](crate::routing::flooding::News)): it is gathered, and then every neighbour is told in one
//!    digest what there is (credential and number, a thirtieth of the LSA), but for what it is known to have: it sent it,
//!    or named it itself.
//! 5. A neighbour's digest is an offer. What is newer there is asked for where it was offered first ([`Requests`](crate::routing::flooding::Requests)), together with
//!    credentials that are not known here.
//!
//! What many links offer is fetched over one; several changes of one router within a moment are fetched as one. It is the
//! lazy part of epidemic broadcast trees (Leitão et al., SRDS 2007), with the neighbours of the origin as the eager part.
//!
//! The digest of news has a summary of zeros, as it is not of the whole database. What is news, and what is asked for of whom, is
//! decided by [`crate::routing::flooding`], with its bounds: what is offered beyond them counts as `lsas_not_asked`, what nobody gives as
//! `lsas_not_given`.

use super::LinkState;
use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialHash, LinkId, Pseudonym};
use crate::routing::flooding::{MAX_KNOWN, Offer};
use crate::wire::frame::{self, Kind};
use crate::wire::lsa::{LsaDigest, LsaKey, LsaRequest, MAX_ENTRIES};
use std::collections::BTreeMap;
use std::sync::Arc;

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
        if self.link_state.news.note(origin, having, now) {
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
            self.link_state.requests.note_brought(from, now);
        }
        let (having, more) = self.link_state.requests.arrived(from, &origin, sequence);
        if more {
            self.ask_others(core, neighbours, &[origin]);
        }
        let having: Vec<Pseudonym> =
            having.into_iter().filter_map(|link| neighbours.links.get(link)).map(|link| link.peer.body.key).collect();
        if let Some(from) = having.first() {
            self.link_state.news.note_having(&origin, *from);
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
        let LinkState { lsdb, news, requests, .. } = &mut self.link_state;
        if !news.is_empty() {
            for key in entries.iter().take(MAX_ENTRIES) {
                let even = lsdb.get(&key.origin).is_some_and(|entry| entry.lsa.sequence <= key.sequence);
                if even {
                    news.note_having(&key.origin, neighbour);
                }
            }
        }
        let mut origins = Vec::new();
        let mut beyond = 0;
        for key in lsdb.newer(entries) {
            match requests.take_offer(link, &key, now) {
                Offer::Ask => origins.push(key.origin),
                Offer::Kept => {}
                Offer::Beyond => beyond += 1,
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
        let origins = self.link_state.requests.forget_link(link);
        self.ask_others(core, neighbours, &origins);
    }

    /// Asks for each the next that has offered it.
    fn ask_others(&mut self, core: &mut Core, neighbours: &mut Neighbours, origins: &[CredentialHash]) {
        let now = core.now.time;
        let mut by_link: BTreeMap<LinkId, Vec<CredentialHash>> = BTreeMap::new();
        let mut lost = 0;
        for origin in origins {
            match self.link_state.requests.ask_next(origin, now) {
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
        if self.link_state.news.next_wake().is_some_and(|due| due <= now) {
            self.tell_news(core, neighbours);
        }
        if self.link_state.requests.next_wake().is_none_or(|look| look > now) {
            return;
        }
        let origins = self.link_state.requests.overdue(now);
        self.ask_others(core, neighbours, &origins);
        self.link_state.requests.note_looked(now);
    }

    /// Tells every neighbour what it is not known to have.
    fn tell_news(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let LinkState { lsdb, news, .. } = &mut self.link_state;
        let news: Vec<(LsaKey, Vec<Pseudonym>)> = news
            .take(core.now.time)
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
