//! Blobs: large payloads on their way between this device and contacts.
//!
//! **Mechanism.** What is said about blobs ([`wire::blob`]) travels sealed, in frames of class bulk, outside the
//! streams of messages: nothing of it is confirmed, and whoever misses something says it again. Chunks are asked for by who
//! wants them ([`blob::fetch`](crate::blob::fetch)), so a lost chunk, path, session or process costs what was
//! under way and no more. All that lasts is kept by the names of devices and blobs, in one table of the store:
//!
//! | what | stays until | module |
//! |-|-|-|
//! | blobs | they are removed, or their room is needed | [`shelf`](crate::blob::shelf) |
//! | sendings | the receiver has the blob, refuses it, or the time is over | [`sending`] |
//! | offers of others | their time is over | [`taking`] |
//!
//! ```text
//! sender: Send ─▶ offer ──▶ receiver: room? ─▶ want ──▶ load, chunk ──▶ verified ─▶ disk: durable ─┐
//!           ▲      ▲ again       every chunk there ◀──────────────────────────────────────────────┘
//!           └ outcome ◀── taken ◀── commit: inbox, offer ◀── whole on the disk
//! ```
//!
//! Frames leave after everything else of a turn, and only over a link that takes data ([`Messages::pump_blobs`]).
//!
//! Invariants
//! 1. A blob that is sent is in the receiver's inbox once, whole and verified, before its sender is told that it is
//!    delivered; both hold through a restart of either.
//! 2. A contact gets chunks of a blob only if the blob was sent to it, or is shared.
//! 3. A chunk is verified before it is handed to the disk, and a blob is given to others only when it is whole.

mod calls;
pub(in crate::engine) mod commands;
pub(in crate::engine) mod fetching;
pub(in crate::engine) mod sending;
pub(in crate::engine) mod serving;
pub(in crate::engine) mod taking;

use crate::blob::disk::Order;
use crate::blob::serve::Serving;
use crate::blob::shelf::{Entry, Shelf};
use crate::counter::Counter;
use crate::delivery::lane::SendPolicy;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::departures::AROUND;
use crate::engine::messages::seals::Envelope;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::of_use_until;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::{BlobHash, Lsn, Name, OfferId};
use crate::time::{Now, Time};
use crate::wire;
use crate::wire::blob::Said;
use crate::wire::data::Class;
use core::time::Duration;
use fetching::Fetching;
use sending::Sending;
use serde::Serialize;
use std::collections::BTreeMap;
use taking::Taking;

/// How long a frame about blobs may be on its way: no chunk is waited for any longer.
const FRAME_LIFETIME: Duration = Duration::from_secs(60);
/// How often whoever waits is told how far a transfer is.
const PROGRESS: Duration = Duration::from_millis(250);

/// See the module's documentation.
pub(in crate::engine) struct Blobs {
    pub(in crate::engine) shelf: Shelf,
    pub(in crate::engine) fetches: BTreeMap<BlobHash, Fetching>,
    pub(in crate::engine) serving: Serving,
    /// What this device sends.
    pub(in crate::engine) sends: BTreeMap<OfferId, Sending>,
    /// What contacts offer to this device, or have offered.
    pub(in crate::engine) takes: BTreeMap<(Name, OfferId), Taking>,
    /// Questions and responses that are blobs.
    calls: calls::Calls,
    /// What is to be said, and the commit that it waits for.
    leaving: Vec<(Name, Said<'static>, bool)>,
    /// Devices to which there is a way again, and whether the former one is lost; taken up when the turn ends.
    paths: BTreeMap<Name, bool>,
    /// Whether there may be ways to all.
    all_paths: bool,
    /// When those who wait are told next how far transfers are.
    tells: Time,
}

/// What became of saying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It has left, over so many hops, at this price.
    Left { hops: u32, price: u64 },
    /// The link takes no data now.
    Blocked,
    /// There is no way to the receiver.
    NoWay,
}

/// Parts of the table, by the first byte of a key.
const ENTRIES: u8 = 0;
const SENDS: u8 = 1;
const TAKES: u8 = 2;

fn key(part: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![part];
    rest.iter().for_each(|bytes| key.extend_from_slice(bytes));
    key
}

fn put(key: Vec<u8>, value: &impl Serialize) -> Write {
    Write::Put { table: Table::Blobs, key, value: wire::encode(value) }
}

fn delete(key: Vec<u8>) -> Write {
    Write::Delete { table: Table::Blobs, key }
}

fn entry_key(hash: &BlobHash) -> Vec<u8> {
    key(ENTRIES, &[hash.as_bytes()])
}

impl Blobs {
    /// What the store holds.
    pub(in crate::engine) fn load(store: &dyn Read, quota: u64, now: Now) -> Result<Self, ReadError> {
        let mut blobs = Self {
            shelf: Shelf::new(quota),
            fetches: BTreeMap::new(),
            serving: Serving::default(),
            sends: BTreeMap::new(),
            takes: BTreeMap::new(),
            calls: calls::Calls::default(),
            leaving: Vec::new(),
            paths: BTreeMap::new(),
            all_paths: false,
            tells: Time(0),
        };
        store.scan(Table::Blobs, &[], &mut |key, value| {
            match key.split_first() {
                Some((&ENTRIES, hash)) => {
                    if let (Some(hash), Ok(entry)) = (BlobHash::from_slice(hash), wire::decode::<Entry>(value)) {
                        blobs.shelf.restore(hash, entry);
                    }
                }
                Some((&SENDS, id)) => {
                    if let (Some(id), Ok(kept)) = (OfferId::from_slice(id), wire::decode(value)) {
                        blobs.sends.insert(id, Sending::restored(kept, now));
                    }
                }
                Some((&TAKES, rest)) => {
                    if let Ok(kept) = wire::decode(value)
                        && let Some((of, taking)) = Taking::restored(rest, kept)
                    {
                        blobs.takes.insert(of, taking);
                    }
                }
                _ => {}
            }
            true
        })?;
        for sending in blobs.sends.values() {
            blobs.shelf.hold(sending.kept.hash);
        }
        Ok(blobs)
    }

    fn is_idle(&self) -> bool {
        self.fetches.is_empty() && self.sends.is_empty() && self.leaving.is_empty() && self.serving.is_idle()
    }

    /// When something is due.
    pub(in crate::engine) fn next_wake(&self, now: Now) -> Option<Time> {
        let fetches = self.fetches.values().filter_map(|fetching| fetching.next_wake(now.time)).min();
        let sends = self.sends.values().map(Sending::next_wake).min();
        let takes = self.takes.values().filter_map(|taking| taking.next_wake(now)).min();
        let waits = |fetching: &Fetching| !fetching.gets.is_empty();
        let tells = self.fetches.values().any(waits).then_some(self.tells);
        [fetches, sends, takes, tells, self.calls.next_wake()].into_iter().flatten().min()
    }

    /// The path to a device is lost, or another: what is under way there does not come.
    pub(in crate::engine) fn broken(&mut self, name: &Name) {
        self.paths.insert(name.clone(), true);
    }

    /// There is a way to a device.
    pub(in crate::engine) fn found(&mut self, name: &Name) {
        self.paths.entry(name.clone()).or_insert(false);
    }

    /// There may be ways to all devices.
    pub(in crate::engine) fn found_all(&mut self) {
        self.all_paths = true;
    }

    /// Takes up what has become of paths.
    fn follow_paths(&mut self, now: Time) {
        for (name, broken) in core::mem::take(&mut self.paths) {
            for fetching in self.fetches.values_mut() {
                match broken {
                    true => fetching.fetch.broken(&name, now),
                    false => fetching.fetch.rest(&name, now),
                }
            }
            self.serving.unpark(&name);
            for sending in self.sends.values_mut().filter(|sending| sending.kept.to == name) {
                sending.hurry(now);
            }
        }
        if core::mem::take(&mut self.all_paths) {
            self.fetches.values_mut().for_each(|fetching| fetching.fetch.wake(now));
            self.serving.unpark_all();
            self.sends.values_mut().for_each(|sending| sending.hurry(now));
        }
    }

    pub(super) fn say(&mut self, to: &Name, said: Said<'static>) {
        self.leaving.push((to.clone(), said, false));
    }

    fn say_after_commit(&mut self, to: &Name, said: Said<'static>) {
        self.leaving.push((to.clone(), said, true));
    }

    /// Writes what is known of a blob, or that nothing is.
    fn write_entry(&self, core: &mut Core, hash: &BlobHash) {
        core.journal.write(match self.shelf.get(hash) {
            Some(entry) => put(entry_key(hash), entry),
            None => delete(entry_key(hash)),
        });
    }

    fn order(core: &mut Core, order: Order) {
        core.outputs.push_back(Output::Blob(order));
    }

    /// Removes a blob, and what waits of it for others.
    fn drop_blob(&mut self, core: &mut Core, hash: &BlobHash) {
        self.shelf.remove(hash);
        self.serving.withdraw(hash);
        self.write_entry(core, hash);
        Self::order(core, Order::Remove { hash: *hash });
    }

    /// Enters a blob, for which others may have to go. `false` if there is no room for it.
    fn enter(&mut self, core: &mut Core, hash: BlobHash, entry: Entry) -> Result<(), crate::blob::shelf::NoRoom> {
        let gone = self.shelf.enter(hash, entry)?;
        core.count(Counter::BlobsEvicted, gone.len() as u64);
        gone.iter().for_each(|hash| self.drop_blob(core, hash));
        self.write_entry(core, &hash);
        Ok(())
    }
}

impl Messages {
    /// Takes up what an earlier process left: the disk keeps what is known, and fetching goes on.
    pub(in crate::engine) fn restore_blobs(&mut self, core: &mut Core) {
        let below = self.inbox.first_kept();
        for hash in self.blobs.shelf.consumed(below) {
            self.blobs.write_entry(core, &hash);
        }
        let known: Vec<BlobHash> = self.blobs.shelf.iter().map(|(hash, _)| *hash).collect();
        Blobs::order(core, Order::Keep(known));
        let open = self.blobs.takes.iter().filter(|(_, taking)| taking.is_open());
        let open: Vec<(Name, OfferId)> = open.map(|(of, _)| of.clone()).collect();
        for of in open {
            self.begin_taking(core, of);
        }
    }

    /// Says something to a contact, at once and if there is a way.
    fn say_now(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        to: &Name,
        said: &Said<'_>,
        after: Lsn,
    ) -> Sent {
        let policy = core.policies.of(Class::Bulk, None).map(|named| named.name.clone()).unwrap_or_default();
        let send_policy = core.send_policies.get(&policy).cloned().unwrap_or_default();
        let bytes = if let Said::Chunk(_, bytes) = said { bytes.len() } else { 0 };
        let choice = routing.route(core, neighbours, to, &send_policy, FRAME_LIFETIME, bytes + AROUND);
        self.reroute(routing);
        let Ok(choice) = choice else { return Sent::NoWay };
        let route = choice.route;
        let link = route.first().and_then(|first| neighbours.link_under(&first, &send_policy.policy));
        let Some((link, price)) = link else { return Sent::NoWay };
        let class = Class::Bulk;
        if bytes > 0
            && (neighbours.is_busy(core, link, class) || !neighbours.has_room(core, link, class, bytes + AROUND))
        {
            return Sent::Blocked;
        }
        let mut plain = core::mem::take(&mut self.plain);
        plain.clear();
        said.put(&mut plain);
        let (outer, expiry) = (routing.outer_id(core), core.now.unix + FRAME_LIFETIME);
        let SendPolicy { policy, .. } = &*send_policy;
        let envelope = Envelope { class: Class::Bulk, policy, outer, expiry };
        let frame = self.seal(core, neighbours, routing, to, (&route, price), &envelope, &plain, None);
        self.plain = plain;
        let Some(frame) = frame else { return Sent::NoWay };
        let (bytes, hops) = (frame.len() as u64, u32::try_from(route.nodes.len()).unwrap_or(u32::MAX));
        let price = route.totals.cost_of(bytes);
        let until = Some(of_use_until(expiry, core.now));
        neighbours.send_data(core, Leaving { link, class: Class::Bulk, frame: frame.into(), after, until });
        Sent::Left { hops, price }
    }

    /// Processes what a contact says about blobs. `offset` is the contact's clock less ours, in microseconds.
    pub(in crate::engine) fn handle_blob(&mut self, core: &mut Core, from: &Name, offset: i64, body: &[u8]) {
        let Ok(said) = Said::parse(body) else { return core.count(Counter::DataMalformed, 1) };
        match said {
            Said::Ask(ask) => self.handle_ask(core, from, &ask.hash),
            Said::Holds(holds) => self.handle_holds(core, from, &holds),
            Said::Want(want) => self.handle_want(core, from, &want),
            Said::Chunk(head, bytes) => self.handle_chunk(core, from, &head, bytes),
            Said::Offer(offer) => self.handle_offer(core, from, offset, offer),
            Said::Told(told) => self.handle_told(core, from, &told),
        }
    }

    /// Says what is to be said once the turn's commit is durable, and what waits for nothing.
    pub(in crate::engine) fn say_about_blobs(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        let last = core.journal.last();
        for (to, said, waits) in core::mem::take(&mut self.blobs.leaving) {
            // What does not find a way is asked for again.
            self.say_now(core, neighbours, routing, &to, &said, if waits { last } else { Lsn(0) });
        }
    }

    /// Sends one thing about blobs, after all else has been sent. Returns whether anything was done.
    pub(in crate::engine) fn pump_blobs(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) -> bool {
        self.blobs.follow_paths(core.now.time);
        if self.blobs.is_idle() {
            return false;
        }
        self.pump_offers(core, neighbours, routing)
            || self.pump_wants(core, neighbours, routing)
            || self.pump_chunks(core, neighbours, routing)
    }

    /// Does what is due.
    pub(in crate::engine) fn timeout_blobs(&mut self, core: &mut Core) {
        self.timeout_fetches(core);
        self.timeout_sends(core);
        self.timeout_takes(core);
        self.timeout_calls(core);
    }

    /// Nothing goes to a contact any more, and nothing is taken from it.
    pub(in crate::engine) fn end_blobs(&mut self, core: &mut Core, with: &Name) {
        self.blobs.serving.forget(with);
        for fetching in self.blobs.fetches.values_mut() {
            fetching.fetch.leave(with);
        }
        self.end_sends_to(core, with);
        self.end_takes_from(core, with);
    }
}
