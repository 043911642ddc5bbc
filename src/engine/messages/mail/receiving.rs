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
use crate::engine::routing::data_frames::Arrival;
use crate::identity::membership::MailError;
use crate::wire;
use crate::wire::batch::{PLAIN_BATCH, PLAIN_RECEIPTS};
use crate::wire::custody::CustodyVerdict;
use crate::wire::data::MailBox;
use crate::wire::mail::Mail;
use crate::wire::parcel::PLAIN_PARCEL;
use core::time::Duration;

impl Messages {
    /// Opens mail for this device. Returns whether it is for it.
    pub(super) fn open_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        arrival: Arrival<'_>,
        mailbox: MailBox,
    ) -> bool {
        let Arrival { link, data, .. } = arrival;
        if !core.settings.mail {
            return false;
        }
        let Ok(mail) = wire::decode::<Mail<'_>>(data.sealed) else { return false };
        if !neighbours.may_ask(core, link, Asked::Opener) {
            return true;
        }
        let (now, at) = (core.now.unix, (mailbox, &data.header.to));
        let (peer, plain) = match core.membership.open_mail(at, data.header_bytes, &mail, now) {
            Ok(opened) => opened,
            Err(MailError::UnknownContact) if self.awaits_card(core) => return true,
            Err(_) => return false,
        };
        if !neighbours.takes_from(core, &peer, data.header.segment) {
            core.count(Counter::DataOfOtherSegments, 1);
            return true;
        }
        let epoch =
            crate::identity::credential::epoch_length(&peer.body).map_or(now, |length| length.start(peer.body.epoch));
        let name = core.membership.contacts().resolve(&peer.body.handle, epoch).map(|card| card.name.clone());
        let Some(from) = name else { return true };
        arrival.acknowledge(core, neighbours);
        if core.membership.bulletin().recheck(&peer, now).is_ok() {
            routing.learn_credential(core, neighbours, peer.clone());
            routing.learn_where(core, &peer);
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

    /// Mail has come of a device without a card. Returns whether that card may be on its way, so that the mail is neither opened nor refused.
    fn awaits_card(&mut self, core: &mut Core) -> bool {
        let now = core.now.time;
        if self.mail.strangers_came.is_none_or(|at| at + CARDS <= now) {
            self.mail.strangers_came = Some(now);
            self.asks.newer_cards = true;
        }
        core.count(Counter::MailOfStrangers, 1);
        self.mail.strangers_came.is_some_and(|at| now < at + COMING)
    }
}

/// For how long mail of a device without a card is taken for that of one whose card is on its way, once cards have been asked for: a custodian hands it
/// on again within that time.
const COMING: Duration = Duration::from_secs(40);
/// How often cards are asked for, for mail of such devices.
const CARDS: Duration = Duration::from_secs(80);

/// How many messages have found no room so far.
fn unplaced(core: &Core) -> u64 {
    let full = [Counter::InboxFull, Counter::MessagesBeyondWindow];
    full.iter().map(|counter| core.counters.get(counter).copied().unwrap_or(0)).sum()
}
