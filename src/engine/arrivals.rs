//! Data frames that come in: opened here, or handed on.
//!
//! The header names the receiver by handle. If it is not us, the frame is forwarded (`forward`). If it is, the sealed
//! part is opened and holds a batch or receipts. A record of a session that we do not know, since we restarted or dropped
//! it, is answered by a signed NACK, which goes back the way the record came; the sender opens a new session and sends
//! again what was in flight.
//!
//! Invariants
//! 1. What has been opened before is not opened again: every session has a replay window.
//! 2. A NACK is believed only from the device that the session is with.

use super::Engine;
use crate::counter::Counter;
use crate::id::{LinkId, Name, SessionId};
use crate::identity::session::SessionError;
use crate::identity::sign::verify_signed;
use crate::time::Unix;
use crate::wire::batch::{PLAIN_BATCH, PLAIN_RECEIPTS};
use crate::wire::data::{DataFrame, Form, prefixed};
use crate::wire::frame::{self, Kind};
use crate::wire::opener::{MAX_OPENER, Opener};
use crate::wire::parcel::PLAIN_PARCEL;
use crate::wire::receipt::{HopAck, NACK_CONTEXT, Receipts, SessionNack};
use crate::wire::{self, Signed};
use bytes::Bytes;
use core::time::Duration;

/// A NACK older than this is not believed.
const NACK_AGE: Duration = Duration::from_secs(600);
/// Most frames in one acknowledgement of a hop.
const MAX_HOP_ACKS: usize = 256;

impl Engine {
    /// `buffer` is what the frame was read into.
    pub(super) fn handle_data(&mut self, link: LinkId, flags: u8, body: &[u8], buffer: &Bytes) {
        let Ok(data) = DataFrame::parse(body) else {
            self.count(Counter::DataMalformed, 1);
            return;
        };
        if self.membership.credential_of(&data.header.to, self.now.unix).is_none() {
            return self.forward(link, flags, &data, buffer);
        }
        // The clock of a neighbour is known, that of a device beyond it is not.
        let direct = data.path.visited.is_empty();
        let offset = self.links.get(link).filter(|_| direct).map_or(0, |link| link.clock_offset);
        let expiry = Unix(data.header.expiry.saturating_add_signed(offset.saturating_neg()));
        if expiry < self.now.unix {
            self.count(Counter::DataExpired, 1);
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
                self.count(Counter::MailNotKept, 1);
                None
            }
        };
        let Some(from) = opened else { return };
        match plain.split_first() {
            Some((&PLAIN_PARCEL, parcel)) => self.handle_parcel(&from, offset, &data.path.visited, parcel),
            Some((&PLAIN_BATCH, batch)) => self.handle_batch(&from, offset, &data.path.visited, batch),
            Some((&PLAIN_RECEIPTS, receipts)) => self.handle_receipts(&from, receipts),
            _ => self.count(Counter::DataMalformed, 1),
        }
    }

    fn open_record(&mut self, link: LinkId, data: &DataFrame<'_>, plain: &mut Vec<u8>) -> Option<Name> {
        let id = data.sealed.get(..SessionId::LEN).and_then(SessionId::from_slice)?;
        let Some(entry) = self.sessions.opening(&id, self.now.time) else {
            self.count(Counter::SessionsUnknown, 1);
            self.send_nack(link, id);
            // It may have held receipts, which are not sent again: what they were for is, and is confirmed anew.
            let direct = data.path.visited.is_empty();
            if let Some(name) = self.links.get(link).filter(|_| direct).and_then(|link| link.name.clone()) {
                self.outgoing.handle_path_broken(&name);
                self.retry_later(name);
            }
            return None;
        };
        match entry.session.open_record(data.header_bytes, data.sealed, plain) {
            Ok(()) => Some(entry.peer.clone()),
            Err(SessionError::Replay) => {
                self.count(Counter::DataReplayed, 1);
                None
            }
            Err(_) => {
                self.count(Counter::DataNotOpened, 1);
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
                self.learn_where(&peer);
                let dropped = self.sessions.insert(session, name, (own.hash, peer.hash), self.now.time);
                self.count(Counter::SessionsForgotten, u64::from(dropped));
                self.open_record(link, &DataFrame { sealed: record, ..data.clone() }, plain)
            }
            Err(SessionError::UnknownContact(_)) => {
                // Perhaps the operator has introduced it since: ask the issuer, and have it try again.
                self.count(Counter::SessionsOfStrangers, 1);
                self.pull_cards();
                self.send_nack(link, opener.session);
                None
            }
            Err(_) => {
                self.count(Counter::SessionsRefused, 1);
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

    /// Somebody does not know a session: ours, or one that passes through here.
    pub(super) fn handle_nack(&mut self, link: LinkId, body: &[u8]) {
        let Ok(signed) = wire::decode::<Signed<'_>>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let Ok(nack) = wire::decode::<SessionNack>(signed.body) else {
            return self.count(Counter::ControlMalformed, 1);
        };
        let Some((name, peer)) = self.sessions.with(&nack.session) else {
            let back = self.flows.back(&nack.session).filter(|back| *back != link);
            return match back {
                Some(back) => self.send_frame(back, frame::raw(Kind::SessionNack, body)),
                None => self.count(Counter::NacksRefused, 1),
            };
        };
        let key = self.multicast.pseudonym(&nack.by).filter(|_| nack.by == peer);
        let stale = self.now.unix.since(Unix(nack.at)) > NACK_AGE;
        if stale || key.is_none_or(|key| !verify_signed(NACK_CONTEXT, &key, &signed)) {
            return self.count(Counter::NacksRefused, 1);
        }
        if self.sessions.forget(&nack.session, &name) {
            self.outgoing.handle_path_broken(&name);
            self.retry_later(name);
        }
    }

    pub(super) fn handle_hop_ack(&mut self, link: LinkId, body: &[u8]) {
        let Ok(ack) = wire::decode::<HopAck>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let Some(by) = self.links.get(link).map(|link| link.peer.body.key) else { return };
        let mut ends = Vec::new();
        for frame in ack.frames.iter().take(MAX_HOP_ACKS) {
            match self.flights.hop_acked(frame, &by) {
                Some(name) => self.outgoing.handle_hop_ack(&name, &[*frame], self.now.time, &mut ends),
                None => self.count(Counter::HopAcksRefused, 1),
            }
        }
        self.report(ends);
    }

    fn handle_receipts(&mut self, from: &Name, body: &[u8]) {
        let Ok(receipts) = wire::decode::<Receipts>(body) else { return self.count(Counter::DataMalformed, 1) };
        let mut ends = Vec::new();
        for receipt in &receipts.receipts {
            self.outgoing.handle_receipt(from, receipt, self.now.time, &mut ends);
        }
        self.report(ends);
    }
}
