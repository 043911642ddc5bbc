//! Fetching: blobs that are on their way here, for offers of contacts and for the application.
//!
//! Who holds a blob is known from the offer, or is asked: at most [`MAX_ASKED`] contacts, again every [`ASK_AGAIN`] while none
//! has said that it has the blob.
//!
//! Invariants
//! 1. At most [`MAX_FETCHES`] blobs are fetched at a time. Drop policy: the newest is refused, or its offer is answered as
//!    busy (`blob_offers_refused`).

use crate::blob::bits::Bits;
use crate::blob::disk::Order;
use crate::blob::fetch::{Fetch, MAX_STORING, Took};
use crate::blob::shelf::{Entry, NoRoom};
use crate::blob::tree::Shape;
use crate::counter::Counter;
use crate::engine::api::{BlobProgress, Outcome, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::{Blobs, PROGRESS, Sent};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::event_log::Event;
use crate::id::{BlobHash, Lsn, Name, OfferId};
use crate::time::Time;
use crate::wire::blob::{Ask, ChunkHead, Holds, Said, State, Want};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most blobs that are fetched at a time.
pub(in crate::engine) const MAX_FETCHES: usize = 16;
/// Most contacts that are asked who has a blob.
const MAX_ASKED: usize = 64;
/// How long contacts have to say that they have a blob before they are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the application waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Get {
    pub(super) shared: bool,
    pub(super) until: Time,
}

/// A blob that is on its way here.
#[derive(Debug)]
pub(in crate::engine) struct Fetching {
    pub(in crate::engine) fetch: Fetch,
    /// The offers that it is fetched for.
    pub(super) offers: BTreeSet<(Name, OfferId)>,
    /// The application's conversations that wait for it.
    pub(in crate::engine) gets: BTreeMap<Token, Get>,
    /// The contacts that are asked whether they have it.
    asked: Vec<Name>,
    /// When they are asked next; `None` while the holders are known.
    asks: Option<Time>,
    /// Whether the disk was told to make it whole.
    finishing: bool,
}

impl Fetching {
    pub(super) fn next_wake(&self, now: Time) -> Option<Time> {
        let gets = self.gets.values().map(|get| get.until).min();
        [self.fetch.next_wake(now), self.asks, gets].into_iter().flatten().min()
    }

    pub(super) fn progress(&self, hash: &BlobHash) -> BlobProgress {
        let length = self.fetch.shape().map(Shape::length);
        BlobProgress { hash: *hash, length, bytes: self.fetch.bytes(), whole: false }
    }
}

impl Messages {
    /// Begins to fetch a blob whose length is known, or goes on with it. `false` if too many are fetched.
    pub(super) fn begin_fetch(&mut self, core: &mut Core, hash: BlobHash, length: Option<u64>) -> bool {
        if self.blobs.fetches.contains_key(&hash) {
            return true;
        }
        if self.blobs.fetches.len() >= MAX_FETCHES {
            return false;
        }
        let shape = length.and_then(Shape::new);
        if let Some(shape) = shape {
            Blobs::order(core, Order::Open { hash, length: shape.length() });
        }
        let (offers, gets, asked) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let fetching = Fetching { fetch: Fetch::new(shape), offers, gets, asked, asks: None, finishing: false };
        self.blobs.fetches.insert(hash, fetching);
        self.blobs.shelf.hold(hash);
        true
    }

    /// Lets contacts be asked whether they have a blob.
    pub(super) fn ask_for(&mut self, core: &Core, hash: &BlobHash, contacts: Vec<Name>) {
        let Some(fetching) = self.blobs.fetches.get_mut(hash) else { return };
        for name in contacts {
            if fetching.asked.len() < MAX_ASKED && !fetching.asked.contains(&name) {
                fetching.asked.push(name);
            }
        }
        fetching.asks = Some(core.now.time);
    }

    /// A blob is not fetched any more.
    pub(super) fn end_fetch(&mut self, hash: &BlobHash) -> Option<Fetching> {
        let fetching = self.blobs.fetches.remove(hash)?;
        self.blobs.shelf.release(hash);
        Some(fetching)
    }

    /// Ends the fetching of a blob that nobody waits for any more; what has come of it stays, as cached.
    pub(super) fn end_idle_fetch(&mut self, hash: &BlobHash) {
        let idle = |fetching: &Fetching| fetching.offers.is_empty() && fetching.gets.is_empty();
        if self.blobs.fetches.get(hash).is_some_and(idle) && !self.blobs.calls.wait_for(hash) {
            self.end_fetch(hash);
        }
    }

    pub(super) fn handle_holds(&mut self, core: &mut Core, from: &Name, holds: &Holds) {
        let Some(fetching) = self.blobs.fetches.get_mut(&holds.hash) else { return };
        match holds.length {
            // Whoever was not asked is not believed: it would take the place of one who has the blob.
            Some(_) if fetching.asked.contains(from) => {
                if fetching.fetch.add_holder(from, core.now.time) {
                    fetching.asks = None;
                }
            }
            Some(_) => {}
            None => {
                fetching.fetch.leave(from);
                self.forsake_calls(core, &holds.hash, &format!("{from} does not have it"));
            }
        }
    }

    /// Ends the calls that wait for a blob which nobody is left to give.
    fn forsake_calls(&mut self, core: &mut Core, hash: &BlobHash, reason: &str) {
        if self.blobs.fetches.get(hash).is_some_and(|fetching| fetching.fetch.is_forsaken()) {
            self.fail_calls(core, hash, reason);
            self.end_idle_fetch(hash);
        }
    }

    pub(super) fn handle_chunk(&mut self, core: &mut Core, from: &Name, head: &ChunkHead, bytes: &[u8]) {
        let fetching = self.blobs.fetches.get_mut(&head.hash);
        let Some(fetching) = fetching.filter(|fetching| fetching.fetch.wants(from, head.chunk)) else {
            return core.count(Counter::BlobChunksUnwanted, 1);
        };
        let shape = Shape::new(head.length);
        let verified = shape.filter(|shape| shape.verify(&head.hash, head.chunk, bytes, &head.proof).is_some());
        let Some(shape) = verified else {
            core.count(Counter::BlobChunksForged, 1);
            fetching.fetch.lied(from);
            let reason =
                "it sent a chunk that is not of the blob; it is asked for nothing of this blob again".to_owned();
            core.record(Event::BlobFailed { with: from.to_string(), reason });
            self.end_offers(core, &head.hash, from, State::Damaged);
            return self.forsake_calls(core, &head.hash, &format!("{from} has sent something else"));
        };
        match fetching.fetch.shape() {
            Some(known) if known != shape => return self.correct_length(core, head.hash, shape),
            Some(_) => {}
            None => {
                if let Err(no_room) = self.prove(core, head.hash, shape) {
                    return self.end_gets(core, &head.hash, &no_room.to_string());
                }
            }
        }
        let Some(fetching) = self.blobs.fetches.get_mut(&head.hash) else { return };
        match fetching.fetch.came(from, head.chunk, core.now.time) {
            Took::New => {
                let order = Order::Store { hash: head.hash, chunk: head.chunk, bytes: bytes.to_vec() };
                Blobs::order(core, order);
            }
            Took::Unwanted => core.count(Counter::BlobChunksUnwanted, 1),
        }
    }

    /// The first chunk proves the length: room is made for the blob.
    fn prove(&mut self, core: &mut Core, hash: BlobHash, shape: Shape) -> Result<(), NoRoom> {
        self.blobs.enter(core, hash, Entry::new(shape.length(), core.now.unix))?;
        Blobs::order(core, Order::Open { hash, length: shape.length() });
        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
            fetching.fetch.prove(shape);
        }
        Ok(())
    }

    /// A chunk proves another length than an offer has said: that offer is none of this blob.
    fn correct_length(&mut self, core: &mut Core, hash: BlobHash, shape: Shape) {
        let wrong =
            |of: &&(Name, OfferId)| self.blobs.takes.get(*of).is_some_and(|taking| taking.length() != shape.length());
        let Some(fetching) = self.blobs.fetches.get(&hash) else { return };
        let wrong: Vec<(Name, OfferId)> = fetching.offers.iter().filter(wrong).cloned().collect();
        for of in wrong {
            self.refuse_taking(core, &of, State::Damaged);
        }
        self.fail_calls(core, &hash, "it is of another length than was said");
        let Some(fetching) = self.end_fetch(&hash) else { return };
        self.blobs.drop_blob(core, &hash);
        if fetching.gets.is_empty() {
            return;
        }
        let asked = fetching.asked;
        if self.begin_fetch(core, hash, None) {
            self.ask_for(core, &hash, asked);
            if let Some(anew) = self.blobs.fetches.get_mut(&hash) {
                anew.gets = fetching.gets;
            }
        }
    }

    /// The disk has said which chunks there are.
    pub(super) fn handle_opened_blob(&mut self, core: &mut Core, hash: BlobHash, have: Bits) {
        let Some(fetching) = self.blobs.fetches.get_mut(&hash) else { return };
        // A blob that was proven by its first chunk is new: that chunk is being written.
        if have.is_empty() && !fetching.fetch.awaits_disk() {
            return;
        }
        fetching.fetch.opened(have);
        self.finish_if_whole(core, hash);
    }

    pub(super) fn handle_stored(&mut self, core: &mut Core, hash: BlobHash, chunk: u32) {
        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
            fetching.fetch.stored(chunk);
            self.finish_if_whole(core, hash);
        }
    }

    fn finish_if_whole(&mut self, core: &mut Core, hash: BlobHash) {
        let Some(fetching) = self.blobs.fetches.get_mut(&hash) else { return };
        if fetching.fetch.is_whole() && !core::mem::replace(&mut fetching.finishing, true) {
            Blobs::order(core, Order::Finish { hash });
        }
    }

    /// The blob is whole and durable: everybody who waits for it has it.
    pub(super) fn handle_finished(&mut self, core: &mut Core, hash: BlobHash) {
        let Some(fetching) = self.end_fetch(&hash) else { return };
        if let Some(entry) = self.blobs.shelf.get_mut(&hash) {
            (entry.whole, entry.used) = (true, core.now.unix);
            entry.kept |= !fetching.gets.is_empty();
            entry.shared |= fetching.gets.values().any(|get| get.shared);
        }
        self.blobs.write_entry(core, &hash);
        let progress = BlobProgress { whole: true, ..fetching.progress(&hash) };
        for token in fetching.gets.keys() {
            core.journal.finish_with(*token, Reply::Blob(progress.clone()));
        }
        for of in fetching.offers {
            self.complete_taking(core, &of);
        }
        self.complete_calls(core, &hash);
    }

    /// The disk has failed: whoever waits is told, and offers are repeated by their senders.
    pub(super) fn handle_failed(&mut self, core: &mut Core, hash: BlobHash, reason: &str) {
        core.count(Counter::BlobsDamaged, 1);
        core.record(Event::BlobFailed { with: "the disk".to_owned(), reason: reason.to_owned() });
        self.end_gets(core, &hash, reason);
        let offers = self.blobs.fetches.get(&hash).map(|fetching| fetching.offers.clone()).unwrap_or_default();
        for of in offers {
            self.refuse_taking(core, &of, State::NotStored);
        }
        self.fail_calls(core, &hash, reason);
        self.end_fetch(&hash);
        if self.blobs.shelf.get(&hash).is_some_and(|entry| !entry.whole) {
            self.blobs.drop_blob(core, &hash);
        }
    }

    /// Tells the application that a blob does not come.
    fn end_gets(&mut self, core: &mut Core, hash: &BlobHash, reason: &str) {
        let Some(fetching) = self.blobs.fetches.get_mut(hash) else { return };
        for token in core::mem::take(&mut fetching.gets).into_keys() {
            core.finish(token, Reply::Outcome(Outcome::Refused { reason: reason.to_owned() }));
        }
        self.end_idle_fetch(hash);
    }

    /// Asks contacts who has blobs, and holders for chunks. Returns whether anything was said.
    pub(super) fn pump_wants(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing) -> bool {
        let now = core.now.time;
        let due = self.blobs.fetches.iter_mut().filter(|(_, fetching)| fetching.asks.is_some_and(|at| at <= now));
        let mut asks = Vec::new();
        for (hash, fetching) in due {
            fetching.asks = fetching.fetch.is_forsaken().then_some(now + ASK_AGAIN);
            asks.extend(fetching.asked.iter().map(|name| (name.clone(), Ask { hash: *hash })));
        }
        for (name, ask) in &asks {
            self.say_now(core, neighbours, routing, name, &Said::Ask(*ask), Lsn(0));
        }
        let hashes: Vec<BlobHash> = self.blobs.fetches.keys().copied().collect();
        let storing: usize = self.blobs.fetches.values().map(|fetching| fetching.fetch.storing()).sum();
        let free = MAX_STORING.saturating_sub(storing);
        let mut said = !asks.is_empty();
        for hash in hashes {
            let Some(fetching) = self.blobs.fetches.get(&hash) else { continue };
            let most = (fetching.fetch.storing() + free).max(1);
            for name in fetching.fetch.holders_with_room(most, now) {
                let Some(fetching) = self.blobs.fetches.get_mut(&hash) else { continue };
                let (chunks, again) = fetching.fetch.take(&name, most, now);
                if chunks.is_empty() {
                    continue;
                }
                let taken = chunks.clone();
                let want = Said::Want(Want { hash, chunks });
                match self.say_now(core, neighbours, routing, &name, &want, Lsn(0)) {
                    Sent::Left { .. } => {
                        core.count(Counter::BlobChunksAskedAgain, again);
                        said = true;
                    }
                    Sent::Blocked | Sent::NoWay => {
                        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
                            fetching.fetch.put_back(&taken, again);
                            fetching.fetch.rest(&name, now + Fetch::REST);
                        }
                    }
                }
            }
        }
        said
    }

    pub(super) fn timeout_fetches(&mut self, core: &mut Core) {
        let now = core.now.time;
        let tell = self.blobs.tells <= now;
        if tell {
            self.blobs.tells = now + PROGRESS;
        }
        let mut late = Vec::new();
        for (hash, fetching) in &mut self.blobs.fetches {
            fetching.fetch.handle_timeout(now);
            if fetching.fetch.is_forsaken() && fetching.asks.is_none() && !fetching.gets.is_empty() {
                fetching.asks = Some(now + ASK_AGAIN);
            }
            let over = fetching.gets.iter().filter(|(_, get)| get.until <= now);
            late.extend(over.map(|(token, _)| (*token, *hash)));
            if tell {
                let progress = fetching.progress(hash);
                fetching.gets.keys().for_each(|token| core.reply(*token, Reply::Blob(progress.clone())));
            }
        }
        for (token, hash) in late {
            let Some(fetching) = self.blobs.fetches.get_mut(&hash) else { continue };
            fetching.gets.remove(&token);
            let reason = match fetching.fetch.is_forsaken() {
                true => format!(
                    "none of the {} contacts that were asked says that it gives it to this device",
                    fetching.asked.len()
                ),
                false => format!("{} bytes came in time; the next attempt goes on from there", fetching.fetch.bytes()),
            };
            core.finish(token, Reply::Outcome(Outcome::Expired { reason }));
            self.end_idle_fetch(&hash);
        }
    }
}
