//! Serve: in which order chunks leave for those who want them.
//!
//! **Mechanism.** Each asker has a queue. Its next chunks are loaded from the disk, a few ahead of their departure, and askers
//! are served in turn, one chunk each, so that one that asks for much takes nothing from the others. What is wanted by an asker to
//! whom there is no way is parked until there is one, which costs no memory for its bytes.
//!
//! Invariants
//! 1. Askers are served in turn.
//! 2. At most [`MAX_ASKERS`] are served at a time, with at most [`MAX_QUEUED`] chunks each. Drop policy: the newest is dropped
//!    (`blob_wants_dropped`), and is asked for again.
//! - At most [`AHEAD`] chunks of an asker, and [`MAX_LOADED`] of all, are in memory or being loaded.

use super::bits::Bits;
use crate::id::{BlobHash, Name};
use std::collections::{BTreeMap, VecDeque};

/// Most askers that are served at a time.
pub const MAX_ASKERS: usize = 64;
/// Most chunks in the queue of one asker: as many as one may want of two blobs at a time.
pub const MAX_QUEUED: usize = 64;
/// Chunks of an asker that are loaded ahead.
const AHEAD: usize = 4;
/// Chunks that are loaded or being loaded.
const MAX_LOADED: usize = 32;
/// Blobs of an asker of which it is known what was sent.
const MAX_SENT: usize = 4;

/// A chunk that can leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The blob.
    pub hash: BlobHash,
    /// The number of the chunk.
    pub chunk: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its proof.
    pub proof: Vec<u8>,
}

#[derive(Debug, Default)]
struct Queue {
    wanted: VecDeque<(BlobHash, u32)>,
    loading: Vec<(BlobHash, u32)>,
    loaded: VecDeque<Loaded>,
    /// What was sent before, for the count of what is sent again.
    sent: VecDeque<(BlobHash, Bits)>,
    /// There is no way to the asker.
    parked: bool,
}

impl Queue {
    fn in_memory(&self) -> usize {
        self.loading.len() + self.loaded.len()
    }

    fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.in_memory() == 0
    }

    fn has(&self, one: &(BlobHash, u32)) -> bool {
        let loaded = self.loaded.iter().any(|loaded| (loaded.hash, loaded.chunk) == *one);
        loaded || self.wanted.contains(one) || self.loading.contains(one)
    }
}

/// The queues of all askers. See the module's documentation.
#[derive(Debug, Default)]
pub struct Serving {
    queues: BTreeMap<Name, Queue>,
    turn: VecDeque<Name>,
}

impl Serving {
    /// An asker wants chunks of a blob. Returns how many found no room.
    pub fn want(&mut self, from: &Name, hash: BlobHash, chunks: &[u32]) -> u64 {
        if !self.queues.contains_key(from) {
            if self.queues.len() >= MAX_ASKERS && !self.make_room() {
                return chunks.len() as u64;
            }
            self.queues.insert(from.clone(), Queue::default());
            self.turn.push_back(from.clone());
        }
        let Some(queue) = self.queues.get_mut(from) else { return 0 };
        let mut dropped = 0;
        for chunk in chunks {
            if queue.has(&(hash, *chunk)) {
                continue;
            }
            match queue.wanted.len() < MAX_QUEUED {
                true => queue.wanted.push_back((hash, *chunk)),
                false => dropped += 1,
            }
        }
        dropped
    }

    /// Forgets an asker that wants nothing at the moment, or to whom there is no way, if there is one.
    fn make_room(&mut self) -> bool {
        let needless = |queue: &Queue| queue.is_idle() || queue.parked;
        let idle = self.turn.iter().position(|name| self.queues.get(name).is_none_or(needless));
        let idle = idle.and_then(|at| self.turn.remove(at));
        idle.is_some_and(|name| self.queues.remove(&name).is_some())
    }

    /// Whether nobody wants anything.
    pub fn is_idle(&self) -> bool {
        self.queues.values().all(Queue::is_idle)
    }

    /// The chunks that are to be loaded now.
    pub fn loads(&mut self) -> Vec<(BlobHash, u32)> {
        let mut loads = Vec::new();
        let mut room = MAX_LOADED.saturating_sub(self.queues.values().map(Queue::in_memory).sum());
        for name in &self.turn {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            while room > 0
                && !queue.parked
                && queue.in_memory() < AHEAD
                && let Some(next) = queue.wanted.pop_front()
            {
                queue.loading.push(next);
                loads.push(next);
                room -= 1;
            }
        }
        loads
    }

    /// A chunk was loaded, or could not be.
    pub fn loaded(&mut self, hash: BlobHash, chunk: u32, found: Option<(Vec<u8>, Vec<u8>)>) {
        let queue = self.queues.values_mut().find_map(|queue| {
            let at = queue.loading.iter().position(|one| *one == (hash, chunk))?;
            queue.loading.swap_remove(at);
            Some(queue)
        });
        match (queue, found) {
            (Some(queue), Some(_)) if queue.parked => queue.wanted.push_front((hash, chunk)),
            (Some(queue), Some((bytes, proof))) => queue.loaded.push_back(Loaded { hash, chunk, bytes, proof }),
            (None, _) | (_, None) => {}
        }
    }

    /// The askers for whom something can leave, whose turn it is first.
    pub fn ready(&self) -> Vec<Name> {
        let ready = |name: &&Name| self.queues.get(*name).is_some_and(|queue| !queue.loaded.is_empty());
        self.turn.iter().filter(ready).cloned().collect()
    }

    /// The next chunk for an asker.
    pub fn peek(&self, name: &Name) -> Option<&Loaded> {
        self.queues.get(name)?.loaded.front()
    }

    /// The next chunk of an asker has left: others have their turn. Returns whether it had left before.
    pub fn left(&mut self, name: &Name) -> bool {
        if let Some(at) = self.turn.iter().position(|one| one == name) {
            self.turn.remove(at);
            self.turn.push_back(name.clone());
        }
        let Some((queue, left)) = self.queues.get_mut(name).and_then(|queue| {
            let left = queue.loaded.pop_front()?;
            Some((queue, left))
        }) else {
            return false;
        };
        match queue.sent.iter_mut().find(|(hash, _)| *hash == left.hash) {
            Some((_, sent)) => !sent.insert(left.chunk),
            None => {
                queue.sent.truncate(MAX_SENT - 1);
                queue.sent.push_front((left.hash, [left.chunk].into_iter().collect()));
                false
            }
        }
    }

    /// There is no way to an asker: what waits for it is loaded when there is one.
    pub fn park(&mut self, name: &Name) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.parked = true;
        while let Some(loaded) = queue.loaded.pop_back() {
            queue.wanted.push_front((loaded.hash, loaded.chunk));
        }
    }

    /// There may be a way to an asker.
    pub fn unpark(&mut self, name: &Name) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.parked = false;
        }
    }

    /// There may be ways to all askers.
    pub fn unpark_all(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.parked = false);
    }

    /// Forgets an asker.
    pub fn forget(&mut self, name: &Name) {
        self.queues.remove(name);
        self.turn.retain(|one| one != name);
    }

    /// Drops what waits of a blob.
    pub fn withdraw(&mut self, hash: &BlobHash) {
        for queue in self.queues.values_mut() {
            queue.wanted.retain(|(of, _)| of != hash);
            queue.loading.retain(|(of, _)| of != hash);
            queue.loaded.retain(|loaded| loaded.hash != *hash);
        }
    }

    /// How many chunks wait for the asker that waits for most.
    pub fn longest(&self) -> usize {
        self.queues.values().map(|queue| queue.wanted.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: BlobHash = BlobHash([1; BlobHash::LEN]);

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn load(serving: &mut Serving) {
        for (hash, chunk) in serving.loads() {
            serving.loaded(hash, chunk, Some((vec![chunk as u8], vec![])));
        }
    }

    /// Invariant 1.
    #[test]
    fn one_that_asks_for_much_takes_nothing_from_others() {
        let mut serving = Serving::default();
        assert_eq!(serving.want(&name("a"), HASH, &(0..32).collect::<Vec<_>>()), 0);
        assert_eq!(serving.want(&name("b"), HASH, &[7]), 0);
        assert_eq!(serving.want(&name("b"), HASH, &[7]), 0, "asked for twice, it waits once");
        let mut left = Vec::new();
        for _ in 0..4 {
            load(&mut serving);
            let Some(next) = serving.ready().first().cloned() else { break };
            left.push((next.as_str().to_owned(), serving.peek(&next).map(|loaded| loaded.chunk)));
            assert!(!serving.left(&next));
        }
        let at = |name: &str, chunk| (name.to_owned(), Some(chunk));
        assert_eq!(left, [at("a", 0), at("b", 7), at("a", 1), at("a", 2)]);
        serving.want(&name("b"), HASH, &[7]);
        load(&mut serving);
        assert!(serving.left(&name("b")), "it left before");
        serving.withdraw(&HASH);
        assert!(serving.ready().is_empty());
    }

    #[test]
    fn what_is_parked_is_not_in_memory_and_leaves_when_there_is_a_way() {
        let mut serving = Serving::default();
        serving.want(&name("a"), HASH, &[0, 1, 2, 3, 4, 5]);
        let loads = serving.loads();
        for (hash, chunk) in &loads[1..] {
            serving.loaded(*hash, *chunk, Some((vec![*chunk as u8], vec![])));
        }
        serving.park(&name("a"));
        // One that was being loaded comes only now.
        serving.loaded(HASH, 0, Some((vec![0], vec![])));
        assert!(serving.ready().is_empty() && serving.loads().is_empty());
        assert_eq!(serving.want(&name("a"), HASH, &[2, 9]), 0);
        serving.unpark(&name("b"));
        assert!(serving.loads().is_empty());
        serving.unpark(&name("a"));
        let mut left = Vec::new();
        while !serving.is_idle() {
            load(&mut serving);
            left.extend(serving.peek(&name("a")).map(|loaded| loaded.chunk));
            serving.left(&name("a"));
        }
        assert_eq!(left, [0, 1, 2, 3, 4, 5, 9]);
    }

    /// Invariant 2.
    #[test]
    fn queues_are_bounded() {
        let mut serving = Serving::default();
        let many: Vec<u32> = (0..100).collect();
        assert_eq!(serving.want(&name("a"), HASH, &many), 100 - MAX_QUEUED as u64);
        for at in 1..MAX_ASKERS {
            assert_eq!(serving.want(&name(&format!("n{at}")), HASH, &[1]), 0);
        }
        assert_eq!(serving.want(&name("late"), HASH, &[1, 2]), 2, "all others wait for something");
        assert!(serving.loads().len() <= MAX_LOADED);
        serving.park(&name("n7"));
        assert_eq!(serving.want(&name("later"), HASH, &[1, 2]), 0, "one is out of reach");
        serving.withdraw(&HASH);
        assert_eq!(serving.want(&name("late"), HASH, &[1, 2]), 0);
        assert_eq!((serving.queues.len(), serving.turn.len()), (MAX_ASKERS, MAX_ASKERS));
    }
}
