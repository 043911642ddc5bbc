//! Receiving mail: it is opened with the prekey of its day, and what is in it is judged like what comes under a session.
//!
//! A frame whose header names an earlier handle of this device is mail for it too: it may have been kept for days. So a device
//! that takes mail tries to open what its path ends with.
//!
//! Invariants
//! 1. Whoever hands mail over is told that this device has it only once all that was in it is settled and durable; while
//!    there is no room for some of it, nothing is said, and the mail comes again.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::engine::routing::Routing;
use crate::id::LinkId;
use crate::wire;
use crate::wire::batch::{PLAIN_BATCH, PLAIN_RECEIPTS};
use crate::wire::custody::CustodyVerdict;
use crate::wire::data::{DataFrame, MailBox};
use crate::wire::frame::{self, Kind};
use crate::wire::mail::Mail;
use crate::wire::parcel::PLAIN_PARCEL;
use crate::wire::receipt::HopAck;

impl Messages {
    /// Opens mail for this device. Returns whether it is for it.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(super) fn open_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        flags: u8,
        data: &DataFrame<'_>,
        mailbox: MailBox,
    ) -> bool {
        if !core.settings.mail {
            return false;
        }
        let Ok(mail) = wire::decode::<Mail<'_>>(data.sealed) else { return false };
        if !neighbours.may_ask(core, link, Asked::Opener) {
            return true;
        }
        let (now, at) = (core.now.unix, (mailbox, &data.header.to));
        let opened = core.membership.open_mail(at, data.header_bytes, &mail, now);
        let Ok((peer, plain)) = opened else { return false };
        if !neighbours.takes_from(core, &peer, data.header.segment) {
            core.count(Counter::DataOfOtherSegments, 1);
            return true;
        }
        let epoch =
            crate::identity::credential::epoch_length(&peer.body).map_or(now, |length| length.start(peer.body.epoch));
        let name = core.membership.contacts().resolve(&peer.body.handle, epoch).map(|card| card.name.clone());
        let Some(from) = name else { return true };
        if flags & frame::HOP_ACK != 0 {
            neighbours.send_frame(core, link, frame::of(Kind::HopAck, &HopAck { frames: vec![data.path.outer] }));
        }
        let before = unplaced(core);
        let visited = &data.path.visited;
        match plain.split_first() {
            Some((&PLAIN_PARCEL, parcel)) => self.handle_parcel(core, &from, 0, visited, parcel),
            Some((&PLAIN_BATCH, batch)) => self.handle_batch(core, &from, 0, visited, batch),
            Some((&PLAIN_RECEIPTS, receipts)) => self.handle_receipts(core, neighbours, routing, &from, receipts),
            _ => core.count(Counter::DataMalformed, 1),
        }
        core.count(Counter::MailOpened, 1);
        if unplaced(core) == before {
            self.mail.state(link, data, CustodyVerdict::Kept);
        }
        true
    }
}

/// How many messages have found no room so far.
fn unplaced(core: &Core) -> u64 {
    let full = [Counter::InboxFull, Counter::MessagesBeyondWindow];
    full.iter().map(|counter| core.counters.get(counter).copied().unwrap_or(0)).sum()
}
