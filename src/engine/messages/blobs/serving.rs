//! Serving: contacts are told whether this device has a blob, and given its chunks.
//!
//! A contact that may not have a blob is told the same as if it were not here.

use crate::blob::disk::{Done, Order};
use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::{Blobs, Sent};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::event_log::Event;
use crate::id::{BlobHash, Lsn, Name};
use crate::wire::blob::{ChunkHead, Holds, Said, Want};

impl Messages {
    pub(super) fn handle_ask(&mut self, _core: &mut Core, from: &Name, hash: &BlobHash) {
        let length = self.blobs.shelf.readable(hash, from);
        self.blobs.say(from, Said::Holds(Holds { hash: *hash, length }));
    }

    pub(super) fn handle_want(&mut self, core: &mut Core, from: &Name, want: &Want) {
        let Some(_) = self.blobs.shelf.readable(&want.hash, from) else {
            core.count(Counter::BlobWantsDropped, want.chunks.len() as u64);
            return self.blobs.say(from, Said::Holds(Holds { hash: want.hash, length: None }));
        };
        if let Some(entry) = self.blobs.shelf.get_mut(&want.hash) {
            entry.used = core.now.unix;
        }
        let dropped = self.blobs.serving.want(from, want.hash, &want.chunks);
        core.count(Counter::BlobWantsDropped, dropped);
    }

    /// Loads chunks ahead, or sends one to whose turn it is. Returns whether anything was done.
    pub(super) fn pump_chunks(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing) -> bool {
        let loads = self.blobs.serving.loads();
        let loading = !loads.is_empty();
        for (hash, chunk) in loads {
            Blobs::order(core, Order::Load { hash, chunk });
        }
        for name in self.blobs.serving.ready() {
            let Some(loaded) = self.blobs.serving.peek(&name) else { continue };
            let Some(length) = self.blobs.shelf.readable(&loaded.hash, &name) else {
                self.blobs.serving.left(&name);
                continue;
            };
            let head = ChunkHead { hash: loaded.hash, length, chunk: loaded.chunk, proof: loaded.proof.clone() };
            let (hash, bytes) = (loaded.hash, loaded.bytes.clone());
            match self.say_now(core, neighbours, routing, &name, &Said::Chunk(head, &bytes), Lsn(0)) {
                Sent::Left { hops, price } => {
                    let again = self.blobs.serving.left(&name);
                    core.count(Counter::BlobChunksServedAgain, u64::from(again));
                    self.note_served(&name, &hash, hops, price);
                    return true;
                }
                Sent::Blocked => {}
                Sent::NoWay => self.blobs.serving.park(&name),
            }
        }
        loading
    }

    /// Takes the disk's answer.
    pub(in crate::engine) fn handle_disk(&mut self, core: &mut Core, done: Done) {
        match done {
            Done::Loaded { hash, chunk, found } => {
                let damaged = found.is_none() && self.blobs.shelf.get(&hash).is_some();
                self.blobs.serving.loaded(hash, chunk, found);
                if damaged {
                    self.lose_blob(core, &hash, "a chunk on the disk is not what it was");
                }
            }
            Done::Opened { hash, have } => self.handle_opened_blob(core, hash, have),
            Done::Stored { hash, chunk } => self.handle_stored(core, hash, chunk),
            Done::Finished { hash } => self.handle_finished(core, hash),
            Done::Failed { hash, reason } => self.handle_failed(core, hash, &reason),
        }
    }

    /// A blob on the disk is damaged: it is given to nobody. What consists of it in the inbox cannot be read.
    pub(super) fn lose_blob(&mut self, core: &mut Core, hash: &BlobHash, reason: &str) {
        core.count(Counter::BlobsDamaged, 1);
        core.record(Event::BlobFailed { with: "the disk".to_owned(), reason: reason.to_owned() });
        self.blobs.serving.withdraw(hash);
        if let Some(entry) = self.blobs.shelf.get_mut(hash) {
            entry.whole = false;
        }
        self.blobs.write_entry(core, hash);
    }
}
