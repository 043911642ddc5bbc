//! Data frames, out and in: batches under seals to neighbours, and what comes back.
//!
//! **Out.** [`Engine::pump_unicast`] serves the ready destinations in turn: one batch, one seal, one frame, to a
//! link that takes data. The first frame of a session carries its opener.
//!
//! **In.** The header names the receiver by handle. If it is us, the sealed part is opened and holds a batch or
//! receipts. A record of a session that we do not know, since we restarted or dropped it, is answered by a signed
//! NACK; the sender opens a new session and sends again what was in flight.
//!
//! Invariants
//! 1. Nothing is sealed for a link that takes no data: what cannot go waits unsealed, and may still be batched.
//! 2. A receipt leaves with the number of the commit that made its messages durable.

use super::api::{Outcome, Reply, Token};
use super::store::{Read, ReadError, Table};
use super::{Engine, Output};
use crate::delivery::kept::KeptRecord;
use crate::delivery::outgoing::{Departure, End, Fate};
use crate::delivery::unconfirmed::Gone;
use crate::id::{InnerId, LinkId, Lsn, Name, OuterId, SessionId};
use crate::identity::session::{Session, SessionError};
use crate::identity::sign::verify_signed;
use crate::time::Unix;
use crate::wire::batch::{Ack, MAX_REPLY_HANDLES, PLAIN_BATCH, PLAIN_RECEIPTS};
use crate::wire::data::{Class, DataFrame, Form, Header, Path, Policy, prefixed, put_prefixed};
use crate::wire::frame::{self, Kind};
use crate::wire::opener::{MAX_OPENER, Opener};
use crate::wire::parcel::PLAIN_PARCEL;
use crate::wire::receipt::{HopAck, NACK_CONTEXT, Receipt, Receipts, SessionNack, Verdict};
use crate::wire::{self, Signed};
use core::time::Duration;
use rand_chacha::rand_core::Rng;

/// Counters of messages that ended without success, by class.
const FAILED: [&str; 4] = ["failed_alarm", "failed_control", "failed_telemetry", "failed_bulk"];
/// Receipts and calls' answers may take this long.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(60);
/// How far ahead a batch names the handles under which a receipt finds us.
const REPLY_HORIZON: Duration = Duration::from_secs(6 * 3_600);
/// A NACK older than this is not believed.
const NACK_AGE: Duration = Duration::from_secs(600);

/// Who waits for the end of a message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The application, for the message's outcome; nobody yet after a restart.
    Message(Option<Token>, Name),
    /// The application, for a response.
    Request(Token, Name),
    /// Nobody: it is our answer to a call.
    Answer,
}

impl Engine {
    /// Seals and queues one batch, if some destination has messages and a link that takes them.
    pub(super) fn pump_unicast(&mut self) -> bool {
        while let Some(name) = self.next_ready() {
            let link = match self.links.to(&name) {
                Some((id, link)) if !link.blocked => id,
                _ => {
                    self.ready.remove(&name);
                    continue;
                }
            };
            let waits = |class: &Class| self.outgoing.waits(&name, *class) || self.unconfirmed.waits(&name, *class);
            let Some(class) = Class::ALL.into_iter().find(waits) else {
                self.ready.remove(&name);
                continue;
            };
            self.served = Some(name.clone());
            if self.send_batch(&name, link, class) {
                return true;
            }
            self.ready.remove(&name);
        }
        false
    }

    /// The next destination after the one served last, in order of names, all in turn.
    fn next_ready(&self) -> Option<Name> {
        use core::ops::Bound::{Excluded, Unbounded};
        let after = self.served.as_ref().and_then(|served| self.ready.range((Excluded(served), Unbounded)).next());
        after.or_else(|| self.ready.first()).cloned()
    }

    fn send_batch(&mut self, name: &Name, link: LinkId, class: Class) -> bool {
        let attempt = self.outer_id();
        let mut plain = core::mem::take(&mut self.plain);
        plain.clear();
        let (mut ends, mut gone) = (Vec::new(), Vec::new());
        // In turn, where both wait: neither can keep the other from leaving.
        self.confirmed_last = !self.confirmed_last;
        let first = self.confirmed_last && self.outgoing.waits(name, class);
        let taken = if first || !self.unconfirmed.waits(name, class) {
            let reply = self.membership.handles(self.now.unix, self.now.unix + REPLY_HORIZON, MAX_REPLY_HANDLES);
            let departure = Departure { attempt, reply: &reply, now: self.now };
            self.outgoing.take_batch(name, class, &departure, &mut plain, &mut ends)
        } else {
            let departure = Departure { attempt, reply: &[], now: self.now };
            self.unconfirmed.take(name, class, &departure, &mut plain, &mut gone)
        };
        if let Some(taken) = taken {
            if let Some(mut frame) = self.seal(name, link, class, attempt, taken.expiry, &plain) {
                frame[5] = if taken.ack == Ack::Hop { frame::HOP_ACK } else { 0 };
                self.outputs.push_back(Output::Send { link, class, frame, after: Lsn(0) });
            } else {
                self.outgoing.handle_path_broken(name);
                // These are not queued again, and did not leave.
                gone.iter_mut().for_each(|gone| gone.left = false);
                self.ready.remove(name);
            }
        }
        self.plain = plain;
        self.report(ends);
        self.report_gone(gone);
        taken.is_some()
    }

    /// A data frame for a neighbour around a sealed plaintext.
    fn seal(
        &mut self,
        name: &Name,
        link: LinkId,
        class: Class,
        outer: OuterId,
        expiry: Unix,
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let own = self.membership.credential(self.now.unix)?.clone();
        let peer = &self.links.get(link)?.peer;
        let between = (own.hash, peer.hash);
        let (mut opener, mut dropped) = (None, false);
        if self.sessions.sealing(name, between, self.now.time).is_none() {
            let contact = self.membership.contacts().get(name)?.contact_key;
            let secret = self.membership.contact_secret();
            let (session, first) = Session::open(&mut self.rng, &own, secret, peer, &contact).ok()?;
            opener = Some(first);
            dropped = self.sessions.insert(session, name.clone(), between, self.now.time);
        }
        let form = if opener.is_some() { Form::Opener } else { Form::Session };
        let policy = Policy::default();
        let header = wire::encode(&Header { to: peer.body.handle, class, form, expiry: expiry.0, outer, policy });
        let mut frame = Vec::with_capacity(plain.len() + header.len() + 512);
        let start = frame::begin(&mut frame, Kind::Data);
        put_prefixed(&mut frame, &header);
        put_prefixed(&mut frame, &wire::encode(&Path::default()));
        if let Some(opener) = opener {
            put_prefixed(&mut frame, &wire::encode(&opener));
        }
        self.sessions.sealing(name, between, self.now.time)?.seal_into(&header, plain, &mut frame);
        frame::finish(&mut frame, start);
        self.count("sessions_forgotten", u64::from(dropped));
        Some(frame)
    }

    /// Queues receipts for a device, to be released when `after` is durable.
    pub(super) fn send_receipts(&mut self, name: &Name, receipts: Vec<Receipt>, after: Lsn) {
        let Some((link, _)) = self.links.to(name) else {
            self.count("receipts_without_link", receipts.len() as u64);
            return;
        };
        let mut plain = vec![PLAIN_RECEIPTS];
        wire::codec::encode_into(&Receipts { receipts }, &mut plain);
        let (outer, expiry) = (self.outer_id(), self.now.unix + RECEIPT_LIFETIME);
        if let Some(frame) = self.seal(name, link, Class::Control, outer, expiry, &plain) {
            self.outputs.push_back(Output::Send { link, class: Class::Control, frame, after });
        }
    }

    pub(super) fn handle_data(&mut self, link: LinkId, flags: u8, body: &[u8]) {
        let Ok(data) = DataFrame::parse(body) else {
            self.count("data_malformed", 1);
            return;
        };
        if self.membership.credential_of(&data.header.to, self.now.unix).is_none() {
            self.count("data_for_others", 1);
            return;
        }
        let offset = self.links.get(link).map_or(0, |link| link.clock_offset);
        let expiry = Unix(data.header.expiry.saturating_add_signed(offset.saturating_neg()));
        if expiry < self.now.unix {
            self.count("data_expired", 1);
            return;
        }
        if flags & frame::HOP_ACK != 0 {
            self.send_frame(link, frame::of(Kind::HopAck, &HopAck { frames: vec![data.header.outer] }));
        }
        let mut plain = Vec::new();
        let opened = match data.header.form {
            Form::Session => self.open_record(link, &data, &mut plain),
            Form::Opener => self.open_session(link, &data, &mut plain),
            Form::Mail => {
                self.count("mail_not_kept", 1);
                None
            }
        };
        let Some(from) = opened else { return };
        match plain.split_first() {
            Some((&PLAIN_PARCEL, parcel)) => self.handle_parcel(&from, offset, parcel),
            Some((&PLAIN_BATCH, batch)) => self.handle_batch(&from, offset, batch),
            Some((&PLAIN_RECEIPTS, receipts)) => self.handle_receipts(&from, receipts),
            _ => self.count("data_malformed", 1),
        }
    }

    fn open_record(&mut self, link: LinkId, data: &DataFrame<'_>, plain: &mut Vec<u8>) -> Option<Name> {
        let id = data.sealed.get(..SessionId::LEN).and_then(SessionId::from_slice)?;
        let Some(entry) = self.sessions.opening(&id, self.now.time) else {
            self.count("sessions_unknown", 1);
            self.send_nack(link, id);
            // It may have held receipts, which are not sent again: what they were for is, and is confirmed anew.
            if let Some(name) = self.links.get(link).and_then(|link| link.name.clone()) {
                self.outgoing.handle_path_broken(&name);
                self.retry_later(name);
            }
            return None;
        };
        match entry.session.open_record(data.header_bytes, data.sealed, plain) {
            Ok(()) => Some(entry.peer.clone()),
            Err(SessionError::Replay) => {
                self.count("data_replayed", 1);
                None
            }
            Err(_) => {
                self.count("data_not_opened", 1);
                None
            }
        }
    }

    fn open_session(&mut self, link: LinkId, data: &DataFrame<'_>, plain: &mut Vec<u8>) -> Option<Name> {
        let (encoded, record) = prefixed(data.sealed, MAX_OPENER).ok()?;
        let opener: Opener = wire::decode(encoded).ok()?;
        let own = self.membership.credential_of(&data.header.to, self.now.unix)?.clone();
        match self.membership.accept_session(&opener, &own, self.now.unix) {
            Ok((session, peer)) => {
                let name = self.name_of(&peer.body.handle)?;
                self.learn_credential(peer.clone());
                let dropped = self.sessions.insert(session, name, (own.hash, peer.hash), self.now.time);
                self.count("sessions_forgotten", u64::from(dropped));
                self.open_record(link, &DataFrame { sealed: record, ..data.clone() }, plain)
            }
            Err(SessionError::UnknownContact(_)) => {
                // Perhaps the operator has introduced it since: ask the issuer, and have it try again.
                self.count("sessions_of_strangers", 1);
                self.pull_cards();
                self.send_nack(link, opener.session);
                None
            }
            Err(_) => {
                self.count("sessions_refused", 1);
                self.send_nack(link, opener.session);
                None
            }
        }
    }

    fn send_nack(&mut self, link: LinkId, session: SessionId) {
        let Some(own) = self.membership.credential(self.now.unix).cloned() else { return };
        let body = wire::encode(&SessionNack { session, by: own.hash, at: self.now.unix.0 });
        let signature = own.sign(NACK_CONTEXT, &body);
        self.send_frame(link, frame::of(Kind::SessionNack, &Signed { body: &body, signature }));
    }

    pub(super) fn handle_nack(&mut self, link: LinkId, body: &[u8]) {
        let Some((peer, Some(name))) = self.links.get(link).map(|link| (link.peer.clone(), link.name.clone())) else {
            return;
        };
        let Ok(signed) = wire::decode::<Signed<'_>>(body) else { return self.count("control_malformed", 1) };
        let Ok(nack) = wire::decode::<SessionNack>(signed.body) else { return self.count("control_malformed", 1) };
        let stale = self.now.unix.since(Unix(nack.at)) > NACK_AGE;
        if stale || nack.by != peer.hash || !verify_signed(NACK_CONTEXT, &peer.body.key, &signed) {
            return self.count("nacks_refused", 1);
        }
        if self.sessions.forget(&nack.session, &name) {
            self.outgoing.handle_path_broken(&name);
            self.retry_later(name);
        }
    }

    pub(super) fn handle_hop_ack(&mut self, link: LinkId, body: &[u8]) {
        let Some(name) = self.links.get(link).and_then(|link| link.name.clone()) else { return };
        let Ok(ack) = wire::decode::<HopAck>(body) else { return self.count("control_malformed", 1) };
        let mut ends = Vec::new();
        self.outgoing.handle_hop_ack(&name, &ack.frames, self.now.time, &mut ends);
        self.report(ends);
    }

    fn handle_receipts(&mut self, from: &Name, body: &[u8]) {
        let Ok(receipts) = wire::decode::<Receipts>(body) else { return self.count("data_malformed", 1) };
        let mut ends = Vec::new();
        for receipt in &receipts.receipts {
            self.outgoing.handle_receipt(from, receipt, self.now.time, &mut ends);
        }
        self.report(ends);
    }

    pub(super) fn timeout_unicast(&mut self) {
        let mut ends = Vec::new();
        self.outgoing.handle_timeout(self.now.time, &mut ends);
        let mut gone = Vec::new();
        self.unconfirmed.handle_timeout(self.now.time, &mut gone);
        let waiting = self.outgoing.destinations_waiting().chain(self.unconfirmed.destinations());
        self.ready.extend(waiting.cloned());
        self.report(ends);
        self.report_gone(gone);
    }

    /// Takes up what an earlier process has left to be sent. What has ended is not sent again.
    pub(super) fn restore_outgoing(&mut self, store: &dyn Read) -> Result<(), ReadError> {
        let mut damaged = 0;
        store.scan(Table::Outbox, &[], &mut |_, value| {
            let Ok(record) = wire::decode::<KeptRecord<'_>>(value) else {
                damaged += 1;
                return true;
            };
            let (to, stream) = (record.to.clone(), record.stream);
            let outcomes = &mut self.outcomes;
            self.outgoing.restore(record, self.now, &mut |message| {
                if let Some(id) = message.id {
                    if outcomes.has_ended(&id) {
                        return None;
                    }
                    outcomes.opened(id, to.clone(), inner(stream, message.sequence));
                }
                Some(if message.purpose.is_some() { Sender::Answer } else { Sender::Message(None, to.clone()) })
            });
            self.ready.insert(to);
            true
        })?;
        self.count("outgoing_damaged", damaged);
        Ok(())
    }

    /// Tells whoever waits how messages ended.
    fn report(&mut self, ends: Vec<End<Sender>>) {
        for End { token, id, class, fate, latency } in ends {
            let (token, to, request) = match token {
                Sender::Message(token, to) => (token, to, false),
                Sender::Request(token, to) => (Some(token), to, true),
                Sender::Answer => continue,
            };
            if request && matches!(fate, Fate::Delivered { .. } | Fate::Sent) {
                // The service has it: from here on the response counts, see `services`.
                continue;
            }
            let outcome = outcome(&to, fate, latency);
            if !outcome.is_success() {
                self.note_failure(to.as_str(), &outcome);
                self.count(FAILED[class as usize], 1);
            }
            if let Some(id) = id {
                self.outcomes.ended(id, &outcome);
            }
            let Some(token) = token else { continue };
            if request {
                self.services.forget_request(token);
            }
            // A crash could let a message be sent again that was refused: its end is written before it is told.
            if matches!(outcome, Outcome::Refused { .. }) && !request {
                self.journal.finish_with(token, Reply::Outcome(outcome));
            } else {
                self.finish(token, Reply::Outcome(outcome));
            }
        }
    }

    fn report_gone(&mut self, gone: Vec<Gone<(Token, Name)>>) {
        for Gone { token: (token, to), count, class, left, latency } in gone {
            let fate = if left { Fate::Sent } else { Fate::Unreachable };
            let outcome = outcome(&to, fate, latency);
            if !left {
                self.note_failure(to.as_str(), &outcome);
                self.count(FAILED[class as usize], count.into());
            }
            self.finish(token, Reply::Outcome(outcome));
        }
    }

    pub(super) fn note_failure(&mut self, to: &str, outcome: &Outcome) {
        let (kind, reason) = match outcome {
            Outcome::Delivered { .. } | Outcome::Sent { .. } => return,
            Outcome::Expired { reason } => ("expired", reason),
            Outcome::Refused { reason } => ("refused", reason),
            Outcome::Unreachable { reason } => ("unreachable", reason),
        };
        self.log.note_failed(to, kind, reason);
        self.timeout_log();
    }

    fn outer_id(&mut self) -> OuterId {
        let mut id = [0; OuterId::LEN];
        self.rng.fill_bytes(&mut id);
        OuterId(id)
    }
}

fn outcome(to: &Name, fate: Fate, latency: Duration) -> Outcome {
    let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    match fate {
        Fate::Delivered { hops } => Outcome::Delivered { latency_us, hops, price: 0 },
        Fate::Sent => Outcome::Sent { latency_us, neighbours: 1 },
        Fate::Expired => Outcome::Expired { reason: format!("it left, but no receipt of {to} came by the deadline") },
        Fate::Unreachable => Outcome::Unreachable { reason: format!("there was no link to {to} by the deadline") },
        Fate::Refused(verdict) => Outcome::Refused {
            reason: match verdict {
                Verdict::InboxFull => format!("the inbox of {to} is full; `m2mesh receive` there empties it"),
                Verdict::NoService => format!("{to} offers no such service"),
                Verdict::ServiceBusy => format!("the service of {to} has too many calls waiting"),
                Verdict::Forbidden => format!("{to} does not permit it"),
                Verdict::NotStored => format!("the disk of {to} takes nothing at the moment"),
                Verdict::Delivered | Verdict::Expired => format!("{to} says {verdict:?}"),
            },
        },
    }
}

/// A message's identity, for logs.
pub(super) fn inner(stream: crate::id::StreamId, sequence: u64) -> InnerId {
    InnerId { stream, sequence }
}
