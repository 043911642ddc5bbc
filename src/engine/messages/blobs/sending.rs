//! Sending: blobs of this device that are sent to a contact's inbox.
//!
//! A sending is durable before it is offered. It is offered again, after a time that doubles from a second to
//! [`LONGEST_WAIT`] and at once where there is a new way, until the receiver says that it has the blob or does not take it, or the
//! time is over: it ends with one outcome, which is remembered by its name (`outcomes`).
//!
//! Invariants
//! 1. A sending ends with one outcome, and with `delivered` only if the receiver says that the blob is in its inbox.
//! - At most [`MAX_SENDS`] are open. Drop policy: the newest is refused (`Full`).

use crate::counter::Counter;
use crate::engine::api::{BlobProgress, BlobSend, Outcome, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::{SENDS, Sent, delete, key, put};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{BlobHash, Name, OfferId, SendId};
use crate::time::{Now, Time, Unix};
use crate::wire::blob::{Offer, Said, State, Told};
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

/// Most sendings that are open.
pub(in crate::engine) const MAX_SENDS: usize = 1_024;
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A sending, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Kept {
    pub(super) hash: BlobHash,
    pub(super) to: Name,
    length: u64,
    name: String,
    sent: Unix,
    expiry: Unix,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<SendId>,
    /// By how many microseconds `sent` is wrong at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<u64>,
}

/// A blob that is sent to a contact.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Sending {
    pub(super) kept: Kept,
    token: Option<Token>,
    /// When it is offered next, and how long it waits after that.
    next: Time,
    wait: Duration,
    /// When its time is over.
    ends: Time,
    /// Bytes that the receiver is known to have; `None` if nothing has been heard of it.
    bytes: Option<u64>,
    hops: u32,
    price: u64,
}

impl Sending {
    pub(super) fn restored(kept: Kept, now: Now) -> Self {
        let ends = now.time + kept.expiry.since(now.unix);
        Self { kept, token: None, next: now.time, wait: SHORTEST_WAIT, ends, bytes: None, hops: 0, price: 0 }
    }

    pub(super) fn next_wake(&self) -> Time {
        self.next.min(self.ends)
    }

    pub(super) fn hurry(&mut self, now: Time) {
        (self.next, self.wait) = (now, SHORTEST_WAIT);
    }
}

fn send_key(id: &OfferId) -> Vec<u8> {
    key(SENDS, &[id.as_bytes()])
}

impl Messages {
    /// Sends a blob of this node to a device's inbox.
    pub(super) fn send_blob(&mut self, core: &mut Core, token: Token, send: BlobSend, lifetime: Duration) {
        let BlobSend { hash, to, name, lifetime: _, id } = send;
        let length = self.blobs.shelf.get(&hash).filter(|entry| entry.whole).map(|entry| entry.length);
        let Some(length) = length else {
            let reason = format!("no blob {hash} is here; `m2mesh blob put` puts one, `m2mesh blob get` fetches one");
            return core.finish(token, Reply::Refused(Refused::Blob(reason)));
        };
        if self.blobs.sends.len() >= MAX_SENDS || !self.blobs.shelf.admit(&hash, &to) {
            let reason = format!("{MAX_SENDS} blobs are being sent, or one to too many devices");
            return core.finish(token, Reply::Refused(Refused::Full(reason)));
        }
        let mut offer = [0; OfferId::LEN];
        core.rng.fill_bytes(&mut offer);
        let (offer, sent) = (OfferId(offer), core.now.unix);
        let kept = Kept { hash, to, length, name, sent, expiry: sent + lifetime, id, error: core.clock_error() };
        if let Some(entry) = self.blobs.shelf.get_mut(&hash) {
            entry.used = sent;
        }
        self.blobs.write_entry(core, &hash);
        core.journal.write(put(send_key(&offer), &kept));
        self.blobs.shelf.hold(hash);
        let sending = Sending { token: Some(token), ..Sending::restored(kept, core.now) };
        self.blobs.sends.insert(offer, sending);
        core.reply(token, Reply::Blob(BlobProgress { hash, length: Some(length), bytes: 0, whole: false }));
        if let Some(id) = id {
            self.outcomes.opened(id);
        }
    }

    /// The names under which sendings are open, after a restart.
    pub(in crate::engine) fn reopen_blob_sends(&mut self) {
        let open: Vec<SendId> = self.blobs.sends.values().filter_map(|sending| sending.kept.id).collect();
        open.into_iter().for_each(|id| self.outcomes.opened(id));
    }

    /// Offers what is due. Returns whether anything was.
    pub(super) fn pump_offers(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing) -> bool {
        let now = core.now.time;
        let due: Vec<OfferId> =
            self.blobs.sends.iter().filter(|(_, sending)| sending.next <= now).map(|(id, _)| *id).collect();
        for id in &due {
            let Some(sending) = self.blobs.sends.get_mut(id) else { continue };
            sending.next = now + sending.wait;
            sending.wait = (sending.wait * 2).min(LONGEST_WAIT);
            let Kept { hash, to, length, name, sent, expiry, id: _, error } = sending.kept.clone();
            let offer = Offer { id: *id, hash, length, name, sent: sent.0, expiry: expiry.0, error };
            // It is in the turn's commit at the latest.
            let after = core.journal.last();
            let said = self.say_now(core, neighbours, routing, &to, &Said::Offer(offer), after);
            if let (Sent::Left { hops, price, .. }, Some(sending)) = (said, self.blobs.sends.get_mut(id)) {
                sending.hops = hops;
                sending.price = sending.price.saturating_add(price);
            }
        }
        !due.is_empty()
    }

    /// A chunk has left for a contact.
    pub(super) fn note_served(&mut self, to: &Name, hash: &BlobHash, hops: u32, price: u64) {
        let mut sends = self.blobs.sends.values_mut();
        if let Some(sending) = sends.find(|sending| sending.kept.to == *to && sending.kept.hash == *hash) {
            sending.hops = hops;
            sending.price = sending.price.saturating_add(price);
        }
    }

    pub(super) fn handle_told(&mut self, core: &mut Core, from: &Name, told: &Told) {
        let Some(sending) = self.blobs.sends.get_mut(&told.id).filter(|sending| sending.kept.to == *from) else {
            return;
        };
        let outcome = match told.state {
            State::Fetching | State::Busy => {
                if told.state == State::Fetching {
                    sending.bytes = Some(told.bytes);
                    let length = Some(sending.kept.length);
                    let progress = BlobProgress { hash: sending.kept.hash, length, bytes: told.bytes, whole: false };
                    if let Some(token) = sending.token {
                        core.reply(token, Reply::Blob(progress));
                    }
                }
                return;
            }
            State::Taken => {
                let latency = core.now.unix.since(sending.kept.sent);
                let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                Outcome::Delivered { latency_us, hops: sending.hops, price: sending.price }
            }
            State::Expired => Outcome::Expired { reason: format!("the blob was not at {from} by the deadline") },
            State::OverQuota => {
                let length = sending.kept.length;
                Outcome::Refused {
                    reason: format!(
                        "{from} has no room for {length} bytes of this device: it can take what waits there, or raise its `quota` under [blobs]"
                    ),
                }
            }
            State::PushOnly => {
                self.sessions.pushers.told(from, true, core.now.time);
                Outcome::Refused { reason: format!("{from} only pushes: it takes nothing from others") }
            }
            State::NotStored => Outcome::Refused { reason: format!("the disk of {from} takes no blobs at the moment") },
            State::Damaged => Outcome::Refused {
                reason: format!("what came to {from} is not the blob; `m2mesh log --kind blob-failed` there says more"),
            },
        };
        self.end_send(core, &told.id, &outcome);
    }

    /// A sending has ended.
    fn end_send(&mut self, core: &mut Core, id: &OfferId, outcome: &Outcome) {
        let Some(sending) = self.blobs.sends.remove(id) else { return };
        let Sending { kept, token, .. } = sending;
        core.journal.write(delete(send_key(id)));
        self.blobs.shelf.release(&kept.hash);
        if !outcome.is_success() {
            core.note_failure(kept.to.as_str(), outcome);
            core.count(Counter::FailedBulk, 1);
        }
        let asked = kept.id.map_or_else(Vec::new, |id| self.outcomes.ended(id, outcome));
        for token in token.into_iter().chain(asked) {
            core.journal.finish_with(token, Reply::Outcome(outcome.clone()));
        }
    }

    /// The application waits for a sending no more. Returns whether it did.
    pub(super) fn forget_send(&mut self, token: Token) -> bool {
        let mut sends = self.blobs.sends.values_mut();
        sends.find(|sending| sending.token == Some(token)).is_some_and(|sending| sending.token.take().is_some())
    }

    pub(super) fn timeout_sends(&mut self, core: &mut Core) {
        let now = core.now.time;
        let over = self.blobs.sends.iter().filter(|(_, sending)| sending.ends <= now);
        let over: Vec<(OfferId, Name, u64, Option<u64>)> =
            over.map(|(id, sending)| (*id, sending.kept.to.clone(), sending.kept.length, sending.bytes)).collect();
        for (id, to, length, bytes) in over {
            let outcome = match bytes {
                None => Outcome::Unreachable { reason: format!("nothing was heard of {to} by the deadline") },
                Some(bytes) => Outcome::Expired {
                    reason: format!(
                        "{to} had said that it has {bytes} of {length} bytes by the deadline; sent again, it goes on from there"
                    ),
                },
            };
            self.end_send(core, &id, &outcome);
        }
    }

    pub(super) fn end_sends_to(&mut self, core: &mut Core, to: &Name) {
        let open = self.blobs.sends.iter().filter(|(_, sending)| sending.kept.to == *to);
        let open: Vec<OfferId> = open.map(|(id, _)| *id).collect();
        let outcome = Outcome::Expired { reason: format!("{to} was revoked before it said that it has the blob") };
        open.iter().for_each(|id| self.end_send(core, id, &outcome));
    }
}
