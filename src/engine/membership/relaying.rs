//! Relaying: enrolment requests of other devices on their way to an issuer, and its answers on their way back.
//!
//! A device that enrols at this node's admission hands in one sealed request. If this node has the issuer's key, its
//! issuer answers. Otherwise the request goes to neighbours, to more of them as time goes by
//! ([`issuer_search`](super::issuer_search)), each of which hands it on in the same manner, once, and the answer
//! retraces the steps in pieces. No relay can read either. Each piece is signed by the issuer for the very request that
//! it answers, and a piece that is not goes no further: a neighbour that answers in the issuer's place holds up no
//! request.
//!
//! ```text
//! request ─▶ issuer listed? ── no ─▶ dropped
//!         ─▶ room, by shares? ── no ─▶ dropped, Busy to a device
//!         ─▶ issuer here? ── yes ─▶ answer, in pieces     no ─▶ to other neighbours, until it is answered
//! piece   ─▶ for an open request, not from where that came, signed by its issuer? ── no ─▶ dropped, link ignored
//!         ─▶ back, once; a device at admission gets all pieces together
//! ```
//!
//! Invariants
//! 1. At most [`MAX_OPEN`] requests wait for their answer, [`SHARE`] of them from one link or from this node's own
//!    admission. Drop policy: where there is no room, the oldest request of the party that has most gives way to one of
//!    a party that has fewer; otherwise the newest is refused (`Busy`).
//! 2. Only pieces that the issuer has signed for a request are handed back.
//! 3. A request is under way for at most [`RELAY_TIME`], plus the time that the links take, after it was last handed to
//!    a neighbour or a piece of its answer came, and for at most [`MOST`] in all.
//! - A request that has been answered is remembered besides these until [`MOST`] after its arrival, so that later
//!   copies of it are recognised. Drop policy: of more than [`MAX_ANSWERED`], the first goes.
//! - Each piece is handed back once.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::membership::issuer_search::Rounds;
use crate::engine::neighbours::Neighbours;
use crate::engine::{Origin, Output};
use crate::id::{IssuerId, LinkId, OuterId};
use crate::identity::kdf;
use crate::identity::sign::verify_signed;
use crate::time::Time;
use crate::wire::codec::decode_within;
use crate::wire::enrol_relay::{CONTEXT, EnrolAnswer, EnrolRelay, MAX_HOPS, MAX_PIECES, PIECE};
use crate::wire::enrolment::{MAX_REQUEST, Refusal};
use crate::wire::frame::{self, Kind};
use crate::wire::hello::{EnrolHello, EnrolReply};
use crate::wire::{self, Signed};
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Most requests that wait for their answer.
const MAX_OPEN: usize = 64;
/// Most of these from one link, or from this node's admission.
const SHARE: usize = 16;
/// Most requests that are remembered after they have been answered.
const MAX_ANSWERED: usize = 256;
/// How long a request may take after it was handed on, besides the time that the links take.
const RELAY_TIME: Duration = Duration::from_secs(15);
/// How long a request may take in all.
const MOST: Duration = Duration::from_secs(180);
/// Allowance, in bytes, for a signed piece besides its payload.
const PIECE_OVERHEAD: usize = 256;

/// Where an answer goes.
#[derive(Debug)]
enum Back {
    /// To a device at this node's admission, when all pieces have come.
    Admission { id: u64, pieces: BTreeMap<u16, Vec<u8>> },
    /// To a neighbour, piece by piece.
    Link { link: LinkId, passed: BTreeSet<u16> },
}

/// A party with a share of the requests: a link, or `None` for this node's admission.
type Party = Option<LinkId>;

#[derive(Debug)]
struct Relay {
    back: Back,
    issuer: IssuerId,
    /// The sealed request; empty once it is answered.
    sealed: Vec<u8>,
    /// The SHA-256 hash of the sealed request.
    request: [u8; 32],
    /// The hop count that the next neighbours are told.
    hops: u8,
    /// The neighbours that have not been asked yet.
    rounds: Rounds,
    /// When the next round of these is asked, at the earliest.
    next: Time,
    /// Whether it waits for the neighbour through which the issuer answered before.
    learnt: bool,
    /// The time that the last round is given.
    patience: Duration,
    since: Time,
    /// Its number in the order of arrival.
    number: u64,
    until: Time,
    /// How many pieces its answer has; `None` before the first one.
    pieces: Option<u16>,
    answered: bool,
    /// The links over which an answer came that the issuer had not signed.
    liars: BTreeSet<LinkId>,
}

/// The requests that are relayed.
#[derive(Debug, Default)]
pub(in crate::engine) struct Relays {
    relays: BTreeMap<OuterId, Relay>,
    last_number: u64,
}

impl Relay {
    fn party(&self) -> Party {
        match &self.back {
            Back::Admission { .. } => None,
            Back::Link { link, .. } => Some(*link),
        }
    }

    fn is_widening(&self) -> bool {
        !self.answered && !self.rounds.is_empty()
    }

    /// Starts the wait anew, after the request was handed on or a piece of its answer came.
    fn wait(&mut self, now: Time) {
        self.next = now + self.patience;
        self.until = (now + RELAY_TIME + self.patience).min(self.since + MOST);
    }
}

impl Relays {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.relays
            .values()
            .map(|relay| if relay.is_widening() { relay.next.min(relay.until) } else { relay.until })
            .min()
    }

    /// Makes room for one more request of a party. Returns the request that has to give way, if one has.
    ///
    /// # Errors
    /// Fails if the party's share is used up, or if there is no room and no party has enough requests to give way.
    fn room(&self, party: Party) -> Result<Option<OuterId>, ()> {
        let mut held: BTreeMap<Party, Vec<(u64, OuterId)>> = BTreeMap::new();
        for (id, relay) in self.relays.iter().filter(|(_, relay)| !relay.answered) {
            held.entry(relay.party()).or_default().push((relay.number, *id));
        }
        let own = held.get(&party).map_or(0, Vec::len);
        if own >= SHARE {
            return Err(());
        }
        if held.values().map(Vec::len).sum::<usize>() < MAX_OPEN {
            return Ok(None);
        }
        let most = held.values().max_by_key(|relays| relays.len()).filter(|relays| relays.len() > own + 1).ok_or(())?;
        Ok(most.iter().min().map(|(_, id)| *id))
    }

    fn insert(&mut self, id: OuterId, back: Back, request: &EnrolRelay<'_>, now: Time) {
        self.last_number += 1;
        let relay = Relay {
            back,
            issuer: request.issuer,
            sealed: request.sealed.to_vec(),
            request: kdf::sha256(&[request.sealed]),
            hops: request.hops,
            rounds: Rounds::new(),
            next: now,
            learnt: false,
            patience: Duration::ZERO,
            since: now,
            number: self.last_number,
            until: now + RELAY_TIME,
            pieces: None,
            answered: false,
            liars: BTreeSet::new(),
        };
        self.relays.insert(id, relay);
    }

    /// Marks a request as answered, and keeps the number of answered ones within its bound.
    fn mark_answered(&mut self, id: &OuterId) {
        if let Some(relay) = self.relays.get_mut(id) {
            relay.answered = true;
            (relay.sealed, relay.rounds) = (Vec::new(), Rounds::new());
            relay.until = relay.since + MOST;
        }
        let answered = || self.relays.iter().filter(|(_, relay)| relay.answered);
        if answered().count() > MAX_ANSWERED
            && let Some(first) = answered().min_by_key(|(_, relay)| relay.number).map(|(id, _)| *id)
        {
            self.relays.remove(&first);
        }
    }
}

impl Member {
    pub(in crate::engine) fn forget_link_in_relays(&mut self, link: LinkId) {
        self.relaying.relays.retain(|_, relay| relay.party() != Some(link));
    }

    /// Whether the bulletin lists an issuer; a request for another one is counted, and leads nowhere.
    fn knows_issuer(&mut self, core: &mut Core, issuer: &IssuerId) -> bool {
        let known = core.membership.bulletin().issuer_at(issuer, core.now.unix).is_some();
        core.count(Counter::EnrolmentsUnlisted, u64::from(!known));
        known
    }

    fn remember_relay(&mut self, core: &mut Core, back: Back, request: &EnrolRelay<'_>) -> bool {
        let party = match &back {
            Back::Admission { .. } => None,
            Back::Link { link, .. } => Some(*link),
        };
        let room = self.relaying.room(party);
        core.count(Counter::EnrolmentsDroppedBusy, u64::from(!matches!(room, Ok(None))));
        let Ok(gives_way) = room else { return false };
        if let Some(other) = gives_way {
            self.give_up_relay(core, &other, Refusal::Busy);
        }
        self.relaying.insert(request.id, back, request, core.now.time);
        true
    }

    fn give_up_relay(&mut self, core: &mut Core, id: &OuterId, refused: Refusal) {
        let relay = self.relaying.relays.remove(id);
        if let Some(Relay { back: Back::Admission { id, .. }, answered: false, .. }) = relay {
            self.refuse_enrolment(core, id, refused);
        }
    }

    fn refuse_enrolment(&mut self, core: &mut Core, id: u64, refused: Refusal) {
        let reply = EnrolReply { sealed: None, refused: Some(refused) };
        core.outputs.push_back(Output::Enrolled { id, reply });
    }

    /// Handles a device that wants to enrol at this node.
    pub(in crate::engine) fn handle_enrol(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        id: u64,
        hello: EnrolHello,
    ) {
        if hello.realm != core.membership.realm() {
            return self.refuse_enrolment(core, id, Refusal::ForeignRealm);
        }
        if !self.knows_issuer(core, &hello.issuer) {
            return self.refuse_enrolment(core, id, Refusal::NoIssuer);
        }
        if self.issuer == Some(hello.issuer) {
            return core.outputs.push_back(Output::Issue { origin: Origin::Admission(id), hello });
        }
        if neighbours.links.ids().is_empty() {
            return self.refuse_enrolment(core, id, Refusal::NoIssuer);
        }
        let mut relay = [0; OuterId::LEN];
        core.rng.fill_bytes(&mut relay);
        let relay = OuterId(relay);
        let request = EnrolRelay { id: relay, hops: 0, issuer: hello.issuer, sealed: &hello.sealed };
        if !self.remember_relay(core, Back::Admission { id, pieces: BTreeMap::new() }, &request) {
            return self.refuse_enrolment(core, id, Refusal::Busy);
        }
        self.begin_search(core, neighbours, &relay, None);
    }

    pub(in crate::engine) fn handle_enrol_relay(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        body: &[u8],
    ) {
        let Ok(relay) = wire::decode::<EnrolRelay<'_>>(body) else {
            return neighbours.note_malformed(core, from, Counter::ControlMalformed);
        };
        let known = self.relaying.relays.contains_key(&relay.id);
        if relay.sealed.len() > MAX_REQUEST || relay.hops >= MAX_HOPS || known {
            return;
        }
        if !self.knows_issuer(core, &relay.issuer) {
            return;
        }
        let back = Back::Link { link: from, passed: BTreeSet::new() };
        let onward = EnrolRelay { hops: relay.hops + 1, ..relay };
        if !self.remember_relay(core, back, &onward) {
            return;
        }
        if self.issuer == Some(relay.issuer) {
            let realm = core.membership.realm();
            let hello = EnrolHello { realm, issuer: relay.issuer, sealed: relay.sealed.to_vec() };
            return core.outputs.push_back(Output::Issue { origin: Origin::Relay(relay.id), hello });
        }
        self.begin_search(core, neighbours, &relay.id, Some(from));
    }

    fn begin_search(&mut self, core: &mut Core, neighbours: &mut Neighbours, id: &OuterId, from: Option<LinkId>) {
        let Some(issuer) = self.relaying.relays.get(id).map(|relay| relay.issuer) else { return };
        let (rounds, learnt) = self.plan_rounds(neighbours, &issuer, from);
        if let Some(relay) = self.relaying.relays.get_mut(id) {
            (relay.rounds, relay.learnt) = (rounds, learnt);
        }
        self.widen(core, neighbours, id);
    }

    /// Hands a request to the neighbours of the next round that has any with a link.
    fn widen(&mut self, core: &mut Core, neighbours: &mut Neighbours, id: &OuterId) {
        while let Some(relay) = self.relaying.relays.get_mut(id)
            && let Some(round) = relay.rounds.pop_front()
        {
            let frame = EnrolRelay { id: *id, hops: relay.hops, issuer: relay.issuer, sealed: &relay.sealed };
            let (frame, request) = (frame::of(Kind::EnrolRelay, &frame), relay.sealed.len());
            let links: Vec<LinkId> =
                round.iter().filter_map(|key| Some(self.cheapest_link(neighbours, key)?.0)).collect();
            if links.is_empty() {
                continue;
            }
            let (patience, now) = (self.time_of_round(neighbours, &links, request), core.now.time);
            if let Some(relay) = self.relaying.relays.get_mut(id) {
                relay.patience = patience;
                relay.wait(now);
            }
            for link in links {
                neighbours.send_frame(core, link, frame.clone());
            }
            return;
        }
    }

    pub(in crate::engine) fn handle_enrol_answer(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let decoded = decode_within::<Signed<'_>>(body, PIECE + PIECE_OVERHEAD);
        let answer = decoded.and_then(|signed| Ok((wire::decode::<EnrolAnswer<'_>>(signed.body)?, signed)));
        let Ok((answer, signed)) = answer else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let Some(relay) = self.relaying.relays.get_mut(&answer.id) else { return };
        if relay.answered || relay.party() == Some(link) || relay.liars.contains(&link) {
            return;
        }
        let key = core.membership.bulletin().issuer_at(&relay.issuer, core.now.unix).map(|issuer| issuer.key);
        let sound = answer.pieces <= MAX_PIECES
            && answer.piece < answer.pieces
            && answer.bytes.len() <= PIECE
            && answer.request == relay.request
            && relay.pieces.is_none_or(|pieces| pieces == answer.pieces);
        if !sound || !key.is_some_and(|key| verify_signed(CONTEXT, &key, &signed)) {
            relay.liars.insert(link);
            return core.count(Counter::EnrolmentAnswersForged, 1);
        }
        relay.pieces = Some(answer.pieces);
        relay.wait(core.now.time);
        let (id, all, issuer) = (answer.id, usize::from(answer.pieces), relay.issuer);
        match &mut relay.back {
            Back::Link { link: back, passed } => {
                if !passed.insert(answer.piece) {
                    return;
                }
                let (back, whole) = (*back, passed.len() == all);
                neighbours.send_frame(core, back, frame::raw(Kind::EnrolAnswer, body));
                if whole {
                    self.relaying.mark_answered(&id);
                    self.learn_responder(neighbours, issuer, link);
                }
            }
            Back::Admission { id: device, pieces } => {
                pieces.insert(answer.piece, answer.bytes.to_vec());
                if pieces.len() < all {
                    return;
                }
                let (device, reply) = (*device, pieces.values().flatten().copied().collect::<Vec<u8>>());
                pieces.clear();
                self.relaying.mark_answered(&id);
                self.learn_responder(neighbours, issuer, link);
                match wire::decode(&reply) {
                    Ok(reply) => core.outputs.push_back(Output::Enrolled { id: device, reply }),
                    Err(_) => self.refuse_enrolment(core, device, Refusal::Malformed),
                }
            }
        }
    }

    pub(in crate::engine) fn timeout_relays(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        let widening = self.relaying.relays.iter().filter(|(_, relay)| relay.is_widening() && relay.next <= now);
        for id in widening.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(relay) = self.relaying.relays.get_mut(&id)
                && core::mem::take(&mut relay.learnt)
            {
                let issuer = relay.issuer;
                self.issuer_search.unlearn(&issuer);
            }
            self.widen(core, neighbours, &id);
        }
        let late: Vec<OuterId> =
            self.relaying.relays.iter().filter(|(_, relay)| relay.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.give_up_relay(core, &id, Refusal::NoIssuer);
        }
    }

    fn learn_responder(&mut self, neighbours: &mut Neighbours, issuer: IssuerId, link: LinkId) {
        if let Some(by) = neighbours.links.get(link).map(|link| link.peer.body.key) {
            self.issuer_search.learn(issuer, by);
        }
    }
}

impl Member {
    /// Handles the answer of this node's issuer to a request that came over a relay: its pieces go back over the link
    /// that the request came from.
    pub(in crate::engine) fn send_issued(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        id: OuterId,
        pieces: &[Vec<u8>],
    ) {
        let back = self.relaying.relays.get(&id).and_then(Relay::party);
        self.relaying.mark_answered(&id);
        for piece in pieces.iter().take(usize::from(MAX_PIECES)) {
            if let Some(link) = back {
                neighbours.send_frame(core, link, frame::raw(Kind::EnrolAnswer, piece));
            }
        }
    }
}
