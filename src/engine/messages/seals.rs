//! Seals: how data frames are sealed for a contact, and opened.
//!
//! ```text
//! record, session known ─▶ opens? ── yes ─▶ batch, parcel or receipts          no, 16 in a row ─▶ session-nack
//!         unknown ─▶ session-nack
//! opener, known ─▶ its session ─▶ the record opens? ── yes ─▶ as above
//!         spent ─▶ session-nack
//!         new ─▶ credential, card, handshake ── fails ─▶ session-nack
//!                                            ── holds ─▶ the record opens? ── no ─▶ nothing
//!                                                                          ── yes ─▶ the session is kept
//! ```
//!
//! A record of a session that is not known here, since this node was restarted or has dropped the session, is answered
//! with a signed NACK. The NACK returns on the path of the record; the sender then opens a new session and sends again
//! what was in flight: at once, if the session was confirmed and this has not happened within a second.
//!
//! Invariants
//! 1. A session is kept only after a record has opened under it, and with the record its header.
//! 2. Records and openers that fail under the id of a known session do not end that session; see
//!    [`MAX_FAILURES`](super::sessions::MAX_FAILURES).
//! - A NACK is believed only if the device that the session is with has signed it, and only for the session that this
//!   device knows by that id.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::receipts::Back;
use crate::engine::messages::sessions::Early;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::path_of;
use crate::engine::routing::routes::Route;
use crate::id::{Handle, LinkId, Lsn, Name, OuterId, SessionId};
use crate::identity::credential::{OwnCredential, PeerCredential, acceptance};
use crate::identity::session::{End, Session, SessionError, Suite, early_id};
use crate::identity::sign::verify_signed;
use crate::time::Unix;
use crate::wire::data::{Class, DataFrame, Form, Header, Policy, put_prefixed, split_record};
use crate::wire::frame::{self, Kind};
use crate::wire::opener::{MAX_OPENER, Opener};
use crate::wire::receipt::{NACK_CONTEXT, SessionNack};
use crate::wire::{self, Signed};
use core::time::Duration;

/// The age at which a NACK is no longer believed.
const NACK_AGE: Duration = Duration::from_secs(600);

/// What a header states besides the receiver.
pub(in crate::engine) struct Envelope<'a> {
    pub class: Class,
    pub policy: &'a Policy,
    pub outer: OuterId,
    pub expiry: Unix,
}

impl Messages {
    /// Opens a session to a contact. `None` if the contact is unknown or the handshake cannot begin.
    fn open_to(
        &mut self,
        core: &mut Core,
        name: &Name,
        own: &OwnCredential,
        peer: &PeerCredential,
    ) -> Option<SessionId> {
        let id = self.sessions.fresh_id(&mut core.rng);
        let peer_contact = core.membership.contacts().get(name)?.contact_key;
        let end = End { id, suites: self.suites(core), own, contact: core.membership.contact_secret() };
        let session = Session::open(&mut core.rng, end, peer, &peer_contact).ok()?;
        self.keep(core, session, name.clone(), own, peer);
        Some(id)
    }

    fn keep(&mut self, core: &mut Core, session: Session, name: Name, own: &OwnCredential, peer: &PeerCredential) {
        let until = |body| acceptance(body).map_or(Unix(0), |(_, until)| until);
        let until = until(&own.body).min(until(&peer.body));
        let dropped = self.sessions.insert(session, name, (own.hash, peer.hash), until, core.now.time);
        core.count(Counter::SessionsForgotten, dropped);
    }

    /// The cipher suites that this node supports, as a bit mask.
    fn suites(&self, core: &Core) -> u8 {
        let aes = if core.settings.aes { Suite::Aes256Gcm.bit() } else { 0 };
        Suite::ChaCha20Poly1305.bit() | aes
    }

    fn called(&self, name: &Name, nack: &SessionNack) -> Option<SessionId> {
        self.sessions.called(name, &nack.by, &nack.session)
    }

    /// Seals a plaintext into a data frame for a device. `under` names the session under which receipts go back: the
    /// one that their messages came under. `None` if a credential of either device is unknown, no session can be
    /// opened, or the two devices share no segment.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn seal(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        (route, price): (&Route, u64),
        envelope: &Envelope<'_>,
        plain: &[u8],
        under: Option<SessionId>,
    ) -> Option<Vec<u8>> {
        let own = core.credential()?.clone();
        let peer = routing.credential_at_end(core, neighbours, name, route)?;
        let answering = under.filter(|id| self.sessions.can_answer(id, name));
        let id = match answering.or_else(|| self.sessions.sealing(name, (own.hash, peer.hash))) {
            Some(id) => id,
            None => self.open_to(core, name, &own, &peer)?,
        };
        let segment = neighbours.segment_to(core, &peer)?;
        let entry = self.sessions.sealing_with(&id, core.now.time)?;
        entry.carries |= under.is_none();
        let Envelope { class, policy, outer: _, expiry } = envelope;
        let header = wire::encode(&Header {
            to: peer.body.handle,
            class: *class,
            form: entry.session.form(),
            expiry: expiry.0,
            policy: Policy::clone(policy),
            segment,
            mail: None,
        });
        // The price counts the bytes that relays count too: those that a relay forwards unchanged.
        let paid = header.len() + entry.session.overhead() + plain.len();
        let path = wire::encode(&path_of(route, price, paid, envelope.outer));
        let room = frame::HEADER + 4 + header.len() + path.len() + entry.session.overhead() + plain.len();
        let mut frame = Vec::with_capacity(room);
        let start = frame::begin(&mut frame, Kind::Data);
        put_prefixed(&mut frame, &header);
        put_prefixed(&mut frame, &path);
        entry.session.seal_into(&header, plain, &mut frame);
        frame::finish(&mut frame, start);
        Some(frame)
    }

    fn open_record(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        id: SessionId,
        data: &DataFrame<'_>,
        plain: &mut Vec<u8>,
    ) -> Option<(Name, SessionId)> {
        let Some(entry) = self.sessions.using(&id, core.now.time) else {
            core.count(Counter::SessionsUnknown, 1);
            self.send_nack(core, neighbours, link, id, data);
            // The record may have held receipts, which are not sent again: so the messages that they were for are sent
            // again, and confirmed anew.
            let direct = data.path.visited.is_empty();
            if let Some(name) = neighbours.links.get(link).filter(|_| direct).and_then(|link| link.name.clone()) {
                self.sends.handle_path_broken(&name);
                self.retry_later(core, name);
            }
            return None;
        };
        let confirmed = entry.session.is_confirmed();
        match entry.session.open_record(data.header_bytes, data.header.form, data.sealed, plain) {
            Ok(()) => {
                let name = entry.peer.clone();
                self.sessions.opened(&id, confirmed);
                if data.header.form == Form::Opener {
                    self.sessions.owes_answer(id, &data.path.visited);
                }
                Some((name, id))
            }
            Err(SessionError::Replay) => {
                core.count(Counter::DataReplayed, 1);
                None
            }
            Err(_) => {
                core.count(Counter::DataNotOpened, 1);
                // Anybody may have made an opener that names this session.
                if data.header.form != Form::Opener && self.sessions.failed(&id, core.now.time) {
                    core.count(Counter::SessionsDisagreed, 1);
                    self.send_nack(core, neighbours, link, id, data);
                }
                None
            }
        }
    }

    /// Answers a frame with a signed NACK: its session is not known to the device that the frame is for.
    fn send_nack(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        session: SessionId,
        data: &DataFrame<'_>,
    ) {
        if neighbours.key_of(link).is_none_or(|by| !self.sessions.nacks.take(&by, core.now.time)) {
            return core.count(Counter::NacksWithheld, 1);
        }
        let unix = core.now.unix;
        let Some(own) = core.membership.credential_of(&data.header.to, unix).cloned() else { return };
        let body = wire::encode(&SessionNack { session, by: own.hash, at: unix.0 });
        let signature = own.sign(NACK_CONTEXT, &body);
        neighbours.send_frame(core, link, frame::of(Kind::SessionNack, &Signed { body: &body, signature }));
    }

    /// Processes a NACK: it concerns a session of this device, or one whose frames pass through here.
    pub(in crate::engine) fn handle_nack(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(signed) = wire::decode::<Signed<'_>>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let Ok(nack) = wire::decode::<SessionNack>(signed.body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let by = neighbours.peers.get(&nack.by).map(|peer| (peer.body.handle, peer.body.key));
        let known = by.and_then(|(handle, key)| Some((neighbours.name_of(core, &handle)?, key)));
        let called = known.and_then(|(name, key)| Some((self.called(&name, &nack)?, name, key)));
        let Some((session, name, key)) = called else {
            let back = routing.flows.back(&nack.session).filter(|back| *back != link);
            return match back {
                Some(back) => neighbours.send_frame(core, back, frame::raw(Kind::SessionNack, body)),
                None => core.count(Counter::NacksRefused, 1),
            };
        };
        let stale = core.now.unix.since(Unix(nack.at)) > NACK_AGE;
        if stale || !verify_signed(NACK_CONTEXT, &key, &signed) {
            return core.count(Counter::NacksRefused, 1);
        }
        if let Some(entry) = self.sessions.forget(&session).filter(|entry| entry.carries) {
            self.sends.handle_path_broken(&name);
            self.blobs.broken(&name);
            // A peer that had the keys has lost them, and takes others. One that has never confirmed may go on to refuse.
            if entry.session.is_confirmed() && self.sessions.reopens(&name, core.now.time) {
                self.sends.wake(name);
            } else {
                self.retry_later(core, name);
            }
        }
    }

    /// Opens a frame's sealed part into `plain`. Returns who sealed it, and under which session.
    pub(in crate::engine) fn open_sealed(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        data: &DataFrame<'_>,
        plain: &mut Vec<u8>,
    ) -> Option<(Name, SessionId)> {
        let Some(id) = data.session() else {
            core.count(Counter::DataMalformed, 1);
            return None;
        };
        if data.header.form != Form::Opener {
            return self.open_record(core, neighbours, link, id, data, plain);
        }
        match self.sessions.early(&id) {
            Some(Early::Live(session)) => self.open_record(core, neighbours, link, session, data, plain),
            Some(Early::Spent) => {
                core.count(Counter::OpenersReplayed, 1);
                self.send_nack(core, neighbours, link, id, data);
                None
            }
            None => self.accept(core, neighbours, routing, link, id, data, plain),
        }
    }

    /// Processes an opener that has not been seen before, and opens the record behind it.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    fn accept(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        early: SessionId,
        data: &DataFrame<'_>,
        plain: &mut Vec<u8>,
    ) -> Option<(Name, SessionId)> {
        let (encoded, _) = split_record(data.header.form, data.sealed)?;
        let opener: Option<Opener> = (encoded.len() <= MAX_OPENER).then(|| wire::decode(encoded).ok()).flatten();
        let Some(opener) = opener.filter(|opener| early_id(&opener.message) == early) else {
            core.count(Counter::DataMalformed, 1);
            return None;
        };
        let own = core.membership.credential_of(&data.header.to, core.now.unix)?.clone();
        let by = neighbours.key_of(link)?;
        if !neighbours.may_ask(core, link, Asked::Opener) {
            return None;
        }
        let (id, suites) = (self.sessions.fresh_id(&mut core.rng), self.suites(core));
        let (rng, now, mut too_often) = (&mut core.rng, core.now, false);
        let mut may = |handle: &Handle| {
            too_often = !neighbours.allowances.may_open(by, handle, now.time);
            !too_often
        };
        match core.membership.accept_session(rng, (id, suites), &opener, &own, now.unix, &mut may) {
            Err(_) if too_often => {
                core.count(Counter::OpenersTooOften, 1);
                None
            }
            Ok((_, peer)) if !neighbours.takes_from(core, &peer, data.header.segment) => {
                core.count(Counter::DataOfOtherSegments, 1);
                None
            }
            Ok((mut session, peer)) => {
                if session.open_record(data.header_bytes, data.header.form, data.sealed, plain).is_err() {
                    core.count(Counter::DataNotOpened, 1);
                    return None;
                }
                let name = neighbours.name_of(core, &peer.body.handle)?;
                routing.learn_credential(core, neighbours, peer.clone());
                routing.learn_where(core, &peer);
                self.keep(core, session, name.clone(), &own, &peer);
                self.sessions.owes_answer(id, &data.path.visited);
                Some((name, id))
            }
            Err(SessionError::UnknownContact(_)) => {
                // The operator may have introduced the device since: ask the issuer, and let the device try again.
                core.count(Counter::SessionsOfStrangers, 1);
                self.asks.newer_cards = true;
                self.send_nack(core, neighbours, link, early, data);
                None
            }
            Err(_) => {
                core.count(Counter::SessionsRefused, 1);
                self.send_nack(core, neighbours, link, early, data);
                None
            }
        }
    }

    /// Answers the openers of sessions whose peers have had no answer yet, if the turn has sent them nothing else.
    pub(in crate::engine) fn send_answers(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        for (name, session, came) in self.sessions.take_owing(core.now.time) {
            let back = Back { came: &came, returns: false, left: None };
            self.send_receipts(core, neighbours, routing, &name, Vec::new(), &back, Some(session), Lsn(0));
        }
    }
}
