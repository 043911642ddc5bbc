//! Taking: blobs that contacts send to this device's inbox.
//!
//! An offer is remembered, durably, until its time is over, and with it whether its blob is in the inbox: so an offer that
//! comes again is answered as it was, and its blob is delivered once.
//!
//! Invariants
//! 1. A blob enters the inbox in one commit with the note that its offer has been taken.
//! 2. At most [`MAX_TAKES`] offers are remembered, and of one contact at most as many as there are free places. Drop policy:
//!    the newest is answered as busy (`blob_offers_refused`), and comes again.

use crate::blob::shelf::Entry;
use crate::counter::Counter;
use crate::engine::api::{Attached, InboxRecord};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::{TAKES, delete, key, put};
use crate::engine::store::{Table, Write};
use crate::event_log::Event;
use crate::id::{BlobHash, Name, OfferId, StreamId};
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::blob::{MAX_LENGTH, Offer, Said, State, Told};
use crate::wire::parcel::put_record;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Most offers that are remembered.
pub(in crate::engine) const MAX_TAKES: usize = 1_024;
/// How long after its time an offer is remembered, for a sender whose clock is behind.
const MARGIN: Duration = Duration::from_secs(600);
/// The longest time for which an offer is remembered.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// How long a blob waits for room in the inbox before that is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An offer, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Kept {
    hash: BlobHash,
    length: u64,
    name: String,
    sent: Unix,
    /// By this device's clock.
    expiry: Unix,
    state: State,
    /// By how many microseconds `sent` is wrong at most, as the sender says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<u64>,
}

/// An offer of a contact.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Taking {
    kept: Kept,
    /// Whether the blob is whole, and waits for room in the inbox; since when.
    waits: Option<Time>,
}

impl Taking {
    pub(super) fn restored(rest: &[u8], kept: Kept) -> Option<((Name, OfferId), Self)> {
        let (id, name) = rest.split_at_checked(OfferId::LEN)?;
        let name = Name::new(core::str::from_utf8(name).ok()?).ok()?;
        Some(((name, OfferId::from_slice(id)?), Self { kept, waits: None }))
    }

    pub(super) fn is_open(&self) -> bool {
        self.kept.state == State::Fetching
    }

    pub(super) fn length(&self) -> u64 {
        self.kept.length
    }

    fn until(&self) -> Unix {
        match self.is_open() {
            true => self.kept.expiry,
            false => self.kept.expiry + MARGIN,
        }
    }

    pub(super) fn next_wake(&self, now: Now) -> Option<Time> {
        let over = now.time + self.until().since(now.unix) + Duration::from_micros(1);
        Some(self.waits.map_or(over, |at| over.min(at + RETRY)))
    }
}

fn take_key((name, id): &(Name, OfferId)) -> Vec<u8> {
    key(TAKES, &[id.as_bytes(), name.as_str().as_bytes()])
}

impl Messages {
    fn write_taking(&self, core: &mut Core, of: &(Name, OfferId)) {
        core.journal.write(match self.blobs.takes.get(of) {
            Some(taking) => put(take_key(of), &taking.kept),
            None => delete(take_key(of)),
        });
    }

    /// Tells the sender of an offer how far it is, once that is durable.
    fn tell_taking(&mut self, of: &(Name, OfferId)) {
        let Some(taking) = self.blobs.takes.get(of) else { return };
        let bytes = match taking.kept.state {
            State::Taken => taking.kept.length,
            _ => self.blobs.fetches.get(&taking.kept.hash).map_or(0, |fetching| fetching.fetch.bytes()),
        };
        let told = Told { id: of.1, state: taking.kept.state, bytes };
        self.blobs.say_after_commit(&of.0, Said::Told(told));
    }

    pub(super) fn handle_offer(&mut self, core: &mut Core, from: &Name, offset: i64, offer: Offer) {
        let of = (from.clone(), offer.id);
        if let Some(taking) = self.blobs.takes.get(&of) {
            let (hash, open) = (taking.kept.hash, taking.is_open());
            if open && let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
                fetching.fetch.add_holder(from, core.now.time);
            }
            return self.tell_taking(&of);
        }
        let refuse = |state| Said::Told(Told { id: offer.id, state, bytes: 0 });
        let expiry = Unix(offer.expiry.saturating_add_signed(offset.saturating_neg()));
        let expiry = expiry.min(core.now.unix + LONGEST);
        if expiry <= core.now.unix || offer.length > MAX_LENGTH {
            let state = if offer.length > MAX_LENGTH { State::OverQuota } else { State::Expired };
            core.count(Counter::BlobOffersRefused, 1);
            return self.blobs.say(from, refuse(state));
        }
        let own = self.blobs.takes.keys().filter(|(name, _)| name == from).count();
        if own >= MAX_TAKES - self.blobs.takes.len() {
            core.count(Counter::BlobOffersRefused, 1);
            return self.blobs.say(from, refuse(State::Busy));
        }
        let known = self.blobs.shelf.get(&offer.hash).is_some_and(|entry| entry.whole || entry.length == offer.length);
        if !known {
            let entry = Entry { by: Some(from.clone()), ..Entry::new(offer.length, core.now.unix) };
            self.blobs.shelf.hold(offer.hash);
            let entered = self.blobs.enter(core, offer.hash, entry);
            self.blobs.shelf.release(&offer.hash);
            if let Err(no_room) = entered {
                core.count(Counter::BlobOffersRefused, 1);
                core.record(Event::BlobFailed { with: from.to_string(), reason: no_room.to_string() });
                return self.blobs.say(from, refuse(State::OverQuota));
            }
        }
        let Offer { id: _, hash, length, name, sent, error, .. } = offer;
        let kept = Kept { hash, length, name, sent: Unix(sent), expiry, state: State::Fetching, error };
        self.blobs.takes.insert(of.clone(), Taking { kept, waits: None });
        self.write_taking(core, &of);
        self.begin_taking(core, of);
    }

    /// Begins to fetch the blob of an offer, or goes on with it.
    pub(super) fn begin_taking(&mut self, core: &mut Core, of: (Name, OfferId)) {
        let Some(taking) = self.blobs.takes.get(&of) else { return };
        let (hash, length) = (taking.kept.hash, taking.kept.length);
        if self.blobs.shelf.get(&hash).is_some_and(|entry| entry.whole) {
            return self.complete_taking(core, &of);
        }
        if !self.begin_fetch(core, hash, Some(length)) {
            core.count(Counter::BlobOffersRefused, 1);
            self.blobs.takes.remove(&of);
            self.write_taking(core, &of);
            let told = Told { id: of.1, state: State::Busy, bytes: 0 };
            return self.blobs.say(&of.0, Said::Told(told));
        }
        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
            fetching.fetch.add_holder(&of.0, core.now.time);
            fetching.offers.insert(of.clone());
        }
        self.tell_taking(&of);
    }

    /// The blob of an offer is here: it enters the inbox, or waits for room there.
    pub(super) fn complete_taking(&mut self, core: &mut Core, of: &(Name, OfferId)) {
        let Some(taking) = self.blobs.takes.get_mut(of).filter(|taking| taking.is_open()) else { return };
        let (from, kept) = (&of.0, &taking.kept);
        let wrong = self.blobs.shelf.get(&kept.hash).is_none_or(|entry| entry.length != kept.length);
        if wrong {
            return self.refuse_taking(core, of, State::Damaged);
        }
        if self.inbox.is_full(from, 1, 0) {
            core.count(Counter::InboxFull, 1);
            if taking.waits.replace(core.now.time).is_none() {
                self.blobs.shelf.hold(taking.kept.hash);
            }
            return;
        }
        if taking.waits.take().is_some() {
            self.blobs.shelf.release(&taking.kept.hash);
        }
        let Kept { hash, length, name, sent, error, .. } = taking.kept.clone();
        taking.kept.state = State::Taken;
        let mut records = Vec::new();
        put_record(&mut records, 0, &[]);
        let record = InboxRecord {
            first: self.inbox.last + 1,
            from: from.clone(),
            stream: StreamId(of.1.0),
            base: 1,
            sent,
            received: core.now.unix,
            records: Cow::Owned(records),
            blob: Some(Attached { hash, length, name }),
            sent_error: error,
        };
        self.inbox.last = record.last();
        self.inbox.enter(&record);
        self.inbox.grown = true;
        let key = record.first.to_be_bytes().to_vec();
        core.journal.write(Write::Put { table: Table::Inbox, key, value: wire::encode(&record) });
        if let Some(entry) = self.blobs.shelf.get_mut(&hash) {
            entry.inbox.push(record.first);
        }
        self.blobs.write_entry(core, &hash);
        self.write_taking(core, of);
        core.record(Event::BlobReceived { from: from.clone(), bytes: length });
        self.tell_taking(of);
    }

    /// An offer is not taken, which is remembered as long as the offer is of use.
    pub(super) fn refuse_taking(&mut self, core: &mut Core, of: &(Name, OfferId), state: State) {
        let Some(taking) = self.blobs.takes.get_mut(of).filter(|taking| taking.is_open()) else { return };
        let hash = taking.kept.hash;
        taking.kept.state = state;
        if taking.waits.take().is_some() {
            self.blobs.shelf.release(&hash);
        }
        core.count(Counter::BlobOffersRefused, 1);
        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
            fetching.offers.remove(of);
        }
        self.write_taking(core, of);
        self.tell_taking(of);
        self.end_idle_fetch(&hash);
    }

    /// Ends the offers of a contact that brings something else than the blob.
    pub(super) fn end_offers(&mut self, core: &mut Core, hash: &BlobHash, from: &Name, state: State) {
        let Some(fetching) = self.blobs.fetches.get(hash) else { return };
        let of_liar: Vec<(Name, OfferId)> = fetching.offers.iter().filter(|(name, _)| name == from).cloned().collect();
        of_liar.iter().for_each(|of| self.refuse_taking(core, of, state));
    }

    pub(super) fn timeout_takes(&mut self, core: &mut Core) {
        let (now, mut over, mut waiting) = (core.now, Vec::new(), Vec::new());
        for (of, taking) in &self.blobs.takes {
            if taking.until() < now.unix {
                over.push(of.clone());
            } else if taking.waits.is_some_and(|since| since + RETRY <= now.time) {
                waiting.push(of.clone());
            }
        }
        for of in over {
            self.refuse_taking(core, &of, State::Expired);
            if self.blobs.takes.get(&of).is_some_and(|taking| taking.until() < now.unix) {
                self.blobs.takes.remove(&of);
                self.write_taking(core, &of);
            }
        }
        for of in waiting {
            self.complete_taking(core, &of);
        }
    }

    pub(super) fn end_takes_from(&mut self, core: &mut Core, name: &Name) {
        let open = self.blobs.takes.iter().filter(|((from, _), taking)| from == name && taking.is_open());
        let open: Vec<(Name, OfferId)> = open.map(|(of, _)| of.clone()).collect();
        open.iter().for_each(|of| self.refuse_taking(core, of, State::Expired));
    }

    /// What the application has consumed of the inbox needs its blobs no more.
    pub(in crate::engine) fn let_blobs_go(&mut self, core: &mut Core) {
        let below = self.inbox.first_kept();
        for hash in self.blobs.shelf.consumed(below) {
            self.blobs.write_entry(core, &hash);
        }
    }
}
