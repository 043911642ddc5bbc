//! Receiving: data frames that arrive are opened here, or forwarded.
//!
//! The header names the receiver by its handle. If that is another device, the frame is forwarded (`forward`). If it is
//! this one, the sealed part is opened (`seals`); it holds a parcel, a batch or receipts.
//!
//! Invariants
//! 1. A record that has been opened before is not opened again: every session has a replay window.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::Arrival;
use crate::id::{LinkId, Name};
use crate::time::Unix;
use crate::wire;
use crate::wire::batch::{PLAIN_BATCH, PLAIN_RECEIPTS};
use crate::wire::blob::PLAIN_BLOB;
use crate::wire::data::{DataFrame, Form};
use crate::wire::frame::Frame;
use crate::wire::parcel::PLAIN_PARCEL;
use crate::wire::receipt::{HopAck, Receipts, Verdict};
use bytes::Bytes;

/// Most frames in one acknowledgement by a hop.
const MAX_HOP_ACKS: usize = 256;

impl Messages {
    pub(in crate::engine) fn handle_hop_ack(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(ack) = wire::decode::<HopAck>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let Some(by) = neighbours.links.get(link).map(|link| link.peer.body.key) else { return };
        let mut ends = Vec::new();
        for frame in ack.frames.iter().take(MAX_HOP_ACKS) {
            match routing.flights.hop_acked(frame, &by) {
                Some(name) => self.sends.handle_hop_ack(&name, *frame, core.now.time, &mut ends),
                None => core.count(Counter::HopAcksRefused, 1),
            }
        }
        self.report(core, neighbours, routing, ends);
    }

    pub(super) fn handle_receipts(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        from: &Name,
        body: &[u8],
    ) {
        let Ok(receipts) = wire::decode::<Receipts>(body) else { return core.count(Counter::DataMalformed, 1) };
        let mut ends = Vec::new();
        let mut put_off = Vec::new();
        for receipt in &receipts.receipts {
            if receipt.verdict == Verdict::PushOnly {
                self.sessions.pushers.told(from, true, core.now.time);
            }
            put_off.extend(self.sends.handle_receipt(from, receipt, core.now.time, &mut ends));
        }
        // The route has done what it should, even if there is no room at its end.
        put_off.into_iter().for_each(|flight| self.arrived(core, neighbours, routing, flight));
        self.report(core, neighbours, routing, ends);
        self.note_fullness(core, from);
    }

    /// Processes a data frame that has arrived over a link. `buffer` is the buffer into which the frame was read.
    pub(in crate::engine) fn handle_data(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        frame: &Frame<'_>,
        buffer: &Bytes,
    ) {
        let Ok(data) = DataFrame::parse(frame.body) else {
            return neighbours.note_malformed(core, link, Counter::DataMalformed);
        };
        if !neighbours.admits(core, link, data.header.segment) {
            return core.count(Counter::DataOfOtherSegments, 1);
        }
        let arrival = Arrival { link, flags: frame.flags, data: &data, buffer };
        if data.header.form == Form::Mail {
            return self.handle_mail(core, neighbours, routing, arrival);
        }
        if core.membership.credential_of(&data.header.to, core.now.unix).is_none() {
            return routing.forward(core, neighbours, arrival);
        }
        // The offset of a neighbour's clock is known, that of a device beyond it is not.
        let direct = data.path.visited.is_empty();
        let offset = neighbours.links.get(link).filter(|_| direct).map_or(0, |link| link.clocks.between());
        let expiry = Unix(data.header.expiry.saturating_add_signed(offset.saturating_neg()));
        if expiry < core.now.unix {
            core.count(Counter::DataExpired, 1);
            return;
        }
        arrival.acknowledge(core, neighbours);
        let mut plain = Vec::new();
        let Some((from, session)) = self.open_sealed(core, neighbours, routing, link, &data, &mut plain) else {
            return;
        };
        if matches!(plain.first(), Some(&(PLAIN_PARCEL | PLAIN_BATCH))) {
            self.sessions.messages_came(&from, session);
        }
        if self.turn_down(core, &from, &data.path.visited, &plain) {
            return;
        }
        match plain.split_first() {
            Some((&PLAIN_PARCEL, parcel)) => self.handle_parcel(core, &from, offset, &data.path.visited, parcel),
            Some((&PLAIN_BATCH, batch)) => self.handle_batch(core, &from, offset, &data.path.visited, batch),
            Some((&PLAIN_RECEIPTS, receipts)) => self.handle_receipts(core, neighbours, routing, &from, receipts),
            Some((&PLAIN_BLOB, said)) => self.handle_blob(core, &from, offset, said),
            _ => core.count(Counter::DataMalformed, 1),
        }
    }
}
