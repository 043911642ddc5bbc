//! Flooding: how an LSA reaches every router of the area, each about once.
//!
//! **Mechanism.** An LSA is large compared with its name, and a router has many neighbours, so an LSA is sent unasked
//! only to those to whom it is surely new, or for whom it is urgent:
//!
//! 1. A router sends its own LSA to all neighbours at once.
//! 2. An LSA that removes something, a link, a leaf or its router, is forwarded at once to all who are not known to
//!    have it: until it arrives, messages are sent into a black hole.
//! 3. A neighbour whose only link is the one to this router hears of an LSA from nobody else, and is sent it at once.
//! 4. For all others an LSA is *news* ([`News`](crate::routing::flooding::News)): news is gathered, and then each
//!    neighbour is told in one digest what there is (credential and sequence number, a thirtieth of the LSA), except
//!    what it is known to have because it has sent or named it itself.
//! 5. A neighbour's digest is an offer. What is newer there is requested from the neighbour that offered it first
//!    ([`Requests`](crate::routing::flooding::Requests)), together with credentials that are not known here.
//!
//! What many links offer is fetched over one; several changes of one router within a moment are fetched as one. This is
//! the lazy part of epidemic broadcast trees (Leitão et al., SRDS 2007), with the neighbours of the origin as the eager
//! part.
//!
//! The digest of news has a summary of zeros, since it does not cover the whole database. What is news, and what is
//! requested from whom, is decided by [`crate::routing::flooding`], with its bounds: offers beyond them count as
//! `lsas_not_asked`, and what nobody sends as `lsas_not_given`.

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
    /// Sends an LSA to every neighbouring router that is not known to have it.
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

    /// Sends an LSA to the neighbours that hear of it from nobody else. Returns all that have it now.
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

    /// Notes an LSA of an origin as news; the neighbours in `having` have it already.
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

    /// Notes that an LSA has arrived that is no older than ours, or that was known. Returns the neighbours that are
    /// known to have it.
    pub(super) fn note_arrival(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        origin: CredentialHash,
        sequence: u64,
    ) -> Vec<Pseudonym> {
        let now = core.now.time;
        // What waited for a credential may have come over a link that is gone by now.
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

    /// Processes a neighbour's list of what it has.
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

    /// Requests LSAs from a neighbour, and before them the credentials that verify them.
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

    /// Requests from other neighbours what a link was asked for and will not bring any more.
    pub(in crate::engine) fn ask_elsewhere(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        let origins = self.link_state.requests.forget_link(link);
        self.ask_others(core, neighbours, &origins);
    }

    /// Requests each LSA from the next neighbour that has offered it.
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
