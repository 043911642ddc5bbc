//! Fetch: which chunk of a blob is asked of which holder, and when again.
//!
//! **Mechanism.** A chunk is missing, asked for, being written, or there. Missing chunks are asked for in order, those
//! first that were asked for before; each holder is asked for as many at a time as its [`Window`] allows, whatever others are
//! asked for, so that a fast holder brings more. A chunk that does not come in time, or whose path breaks, is missing
//! again, and whoever has room next is asked for it. Until the first chunk is verified, only that one is asked for: it proves the
//! blob's length.
//!
//! Invariants
//! 1. A chunk is asked of one holder at a time, and not again once it has come, unless the disk loses it.
//! 2. A holder that brings a wrong chunk is asked for nothing of this blob again.
//! 3. As long as a holder has the blob and answers now and then, every chunk comes.
//! - At most [`MAX_HOLDERS`] holders are asked. Drop policy: the newest is left out.
//! - At most [`MAX_STORING`] chunks of all blobs wait for the disk, and one more of each: beyond that nothing is asked for.

use super::bits::Bits;
use super::tree::Shape;
use super::window::Window;
use crate::id::Name;
use crate::time::Time;
use crate::wire::blob::{CHUNK, MAX_WANTED};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most holders that are asked.
pub const MAX_HOLDERS: usize = 16;
/// Most chunks that wait for the disk, of all blobs: 8 MiB, so that a sync that takes long does not hold up what comes meanwhile.
pub const MAX_STORING: usize = 256;

#[derive(Clone, Debug)]
struct Asked {
    of: Name,
    at: Time,
    due: Time,
}

#[derive(Clone, Debug)]
struct Holder {
    window: Window,
    under_way: usize,
    /// It is asked for nothing before then.
    rests: Time,
}

/// What becomes of a chunk that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It is to be written.
    New,
    /// It was not asked for, or it is there.
    Unwanted,
}

/// The fetching of one blob. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Fetch {
    shape: Option<Shape>,
    /// Whether the disk has said which chunks are there.
    open: bool,
    have: Bits,
    storing: BTreeSet<u32>,
    asked: BTreeMap<u32, Asked>,
    /// Chunks that were asked for in vain.
    again: BTreeSet<u32>,
    /// All chunks below this are there, or were asked for.
    next: u32,
    holders: BTreeMap<Name, Holder>,
    liars: BTreeSet<Name>,
}

impl Fetch {
    /// Begins to fetch a blob: with its shape if part of it is there, which the disk is to say.
    pub fn new(shape: Option<Shape>) -> Self {
        Self {
            shape,
            open: shape.is_none(),
            have: Bits::default(),
            storing: BTreeSet::new(),
            asked: BTreeMap::new(),
            again: BTreeSet::new(),
            next: 0,
            holders: BTreeMap::new(),
            liars: BTreeSet::new(),
        }
    }

    /// The shape, once it is proven.
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// The first chunk has proven the shape.
    pub fn prove(&mut self, shape: Shape) {
        self.shape = Some(shape);
    }

    /// Whether the disk has yet to say which chunks are there.
    pub fn awaits_disk(&self) -> bool {
        !self.open
    }

    /// The disk says which chunks are there.
    pub fn opened(&mut self, have: Bits) {
        (self.open, self.have, self.next) = (true, have, 0);
        self.storing.clear();
        self.again.clear();
    }

    /// Bytes that are there.
    pub fn bytes(&self) -> u64 {
        let Some(shape) = self.shape else { return 0 };
        (u64::from(self.have.len()) * CHUNK as u64).min(shape.length())
    }

    /// How many chunks wait for the disk.
    pub fn storing(&self) -> usize {
        self.storing.len()
    }

    /// Whether all chunks are there.
    pub fn is_whole(&self) -> bool {
        self.open && self.shape.is_some_and(|shape| self.have.len() == shape.chunks())
    }

    /// Adds a holder. Returns whether it is asked from now on, or was before.
    pub fn add_holder(&mut self, name: &Name, now: Time) -> bool {
        if self.liars.contains(name) {
            return false;
        }
        if self.holders.len() < MAX_HOLDERS && !self.holders.contains_key(name) {
            let holder = Holder { window: Window::new(now), under_way: 0, rests: now };
            self.holders.insert(name.clone(), holder);
        }
        self.holders.contains_key(name)
    }

    /// Whether nobody is left to ask.
    pub fn is_forsaken(&self) -> bool {
        self.holders.is_empty()
    }

    /// The holders that may be asked for something now, if no more than `most` chunks wait for the disk.
    pub fn holders_with_room(&self, most: usize, now: Time) -> Vec<Name> {
        if !self.open || self.storing.len() >= most || self.peek().is_none() {
            return Vec::new();
        }
        let room = |(_, holder): &(&Name, &Holder)| holder.rests <= now && holder.under_way < holder.window.size();
        self.holders.iter().filter(room).map(|(name, _)| name.clone()).collect()
    }

    /// The next chunk to ask for.
    fn peek(&self) -> Option<u32> {
        if let Some(first) = self.again.first() {
            return Some(*first);
        }
        let Some(shape) = self.shape else { return (self.asked.is_empty() && self.next == 0).then_some(0) };
        let there =
            |chunk: &u32| self.have.contains(*chunk) || self.storing.contains(chunk) || self.asked.contains_key(chunk);
        (self.next..shape.chunks()).find(|chunk| !there(chunk))
    }

    /// Takes the chunks that a holder is to be asked for now, and how many of them were asked for before. No more than `most`
    /// are to wait for the disk.
    pub fn take(&mut self, name: &Name, most: usize, now: Time) -> (Vec<u32>, u64) {
        let (mut chunks, mut repeated) = (Vec::new(), 0);
        let Some(holder) = self.holders.get(name) else { return (chunks, 0) };
        let (room, due) = (holder.window.size().saturating_sub(holder.under_way), now + holder.window.patience());
        while chunks.len() < room.min(MAX_WANTED)
            && self.asked.len() + self.storing.len() < most + MAX_HOLDERS
            && let Some(chunk) = self.peek()
        {
            match self.again.remove(&chunk) {
                true => repeated += 1,
                false => self.next = chunk + 1,
            }
            self.asked.insert(chunk, Asked { of: name.clone(), at: now, due });
            chunks.push(chunk);
            if self.shape.is_none() {
                break;
            }
        }
        if let Some(holder) = self.holders.get_mut(name) {
            holder.under_way += chunks.len();
        }
        (chunks, repeated)
    }

    /// What was just taken could not be asked for: it is as if it had not been taken.
    pub fn put_back(&mut self, chunks: &[u32], repeated: u64) {
        for (at, chunk) in (0..).zip(chunks) {
            self.settle(*chunk);
            match at < repeated {
                true => {
                    self.again.insert(*chunk);
                }
                false => self.next = self.next.min(*chunk),
            }
        }
    }

    /// A holder is asked for nothing before then.
    pub fn rest(&mut self, name: &Name, until: Time) {
        if let Some(holder) = self.holders.get_mut(name) {
            holder.rests = until;
        }
    }

    /// No holder rests any longer: there may be ways to all.
    pub fn wake(&mut self, now: Time) {
        self.holders.values_mut().for_each(|holder| holder.rests = holder.rests.min(now));
    }

    /// Whether a chunk of a holder is wanted, so that it is worth being verified.
    pub fn wants(&self, name: &Name, chunk: u32) -> bool {
        self.holders.contains_key(name) && (self.asked.contains_key(&chunk) || self.again.contains(&chunk))
    }

    /// A chunk has come and is verified.
    pub fn came(&mut self, name: &Name, chunk: u32, now: Time) -> Took {
        match self.asked.get(&chunk) {
            Some(asked) if asked.of == *name => {
                let took = now.since(asked.at);
                if let Some(holder) = self.holders.get_mut(name) {
                    holder.window.came(took, now);
                }
            }
            // It comes late, and another was asked for it meanwhile.
            Some(_) => {}
            None if self.again.contains(&chunk) => {}
            None => return Took::Unwanted,
        }
        self.settle(chunk);
        self.again.remove(&chunk);
        self.storing.insert(chunk);
        Took::New
    }

    /// A chunk is durable.
    pub fn stored(&mut self, chunk: u32) {
        if self.storing.remove(&chunk) {
            self.have.insert(chunk);
        }
    }

    /// A holder has brought what is not the chunk that it says it is. Returns whether it was asked before.
    pub fn lied(&mut self, name: &Name) -> bool {
        self.liars.insert(name.clone());
        self.leave(name)
    }

    /// A holder has nothing of the blob. Returns whether it was asked before.
    pub fn leave(&mut self, name: &Name) -> bool {
        self.give_up(name);
        self.holders.remove(name).is_some()
    }

    /// The path to a holder is lost or another: what is under way there does not come.
    pub fn broken(&mut self, name: &Name, now: Time) {
        self.give_up(name);
        if let Some(holder) = self.holders.get_mut(name) {
            holder.window.begin_anew(now);
            holder.rests = now;
        }
    }

    fn give_up(&mut self, name: &Name) {
        let lost: Vec<u32> =
            self.asked.iter().filter(|(_, asked)| asked.of == *name).map(|(chunk, _)| *chunk).collect();
        for chunk in lost {
            self.settle(chunk);
            self.again.insert(chunk);
        }
    }

    /// A chunk is not under way any more.
    fn settle(&mut self, chunk: u32) {
        if let Some(asked) = self.asked.remove(&chunk)
            && let Some(holder) = self.holders.get_mut(&asked.of)
        {
            holder.under_way = holder.under_way.saturating_sub(1);
        }
    }

    /// Chunks that have not come in time are missing again.
    pub fn handle_timeout(&mut self, now: Time) {
        let late: Vec<u32> = self.asked.iter().filter(|(_, asked)| asked.due <= now).map(|(chunk, _)| *chunk).collect();
        let mut slow = BTreeSet::new();
        for chunk in late {
            if let Some(asked) = self.asked.get(&chunk) {
                slow.insert(asked.of.clone());
            }
            self.settle(chunk);
            self.again.insert(chunk);
        }
        // What is lost at once is lost for one reason.
        for name in slow {
            if let Some(holder) = self.holders.get_mut(&name) {
                holder.window.lost();
            }
        }
    }

    /// When something is due.
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        let due = self.asked.values().map(|asked| asked.due).min();
        let rests = self.holders.values().map(|holder| holder.rests).filter(|at| *at > now).min();
        let rests = rests.filter(|_| self.peek().is_some());
        [due, rests].into_iter().flatten().min()
    }

    /// How long a holder that cannot be reached rests.
    pub const REST: Duration = Duration::from_secs(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    /// What happens to chunks on their way, and to the fetcher.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive,
        Lose,
        Lie,
        Break,
        Flush,
        Crash,
        Wait,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Arrive), 2 => Just(Step::Lose), 1 => Just(Step::Lie), 1 => Just(Step::Break),
            4 => Just(Step::Flush), 1 => Just(Step::Crash), 2 => Just(Step::Wait),
        ]
    }

    /// A fetcher with its holders and its disk, of which only what was flushed survives a crash.
    struct World {
        fetch: Fetch,
        shape: Shape,
        now: Time,
        /// Chunks that holders have been asked for and have not answered.
        under_way: Vec<(Name, u32)>,
        unsynced: Vec<u32>,
        durable: Bits,
        asked: BTreeMap<u32, u32>,
    }

    impl World {
        fn ask(&mut self) {
            for holder in self.fetch.holders_with_room(MAX_STORING, self.now) {
                let (chunks, again) = self.fetch.take(&holder, MAX_STORING, self.now);
                // There may be no way to it, and then there is.
                self.fetch.put_back(&chunks, again);
                assert_eq!(self.fetch.take(&holder, MAX_STORING, self.now), (chunks.clone(), again));
                for chunk in chunks {
                    let twice = self.fetch.have.contains(chunk) || self.fetch.storing.contains(&chunk);
                    assert!(!twice, "asked for what is there");
                    *self.asked.entry(chunk).or_default() += 1;
                    self.under_way.push((holder.clone(), chunk));
                }
            }
        }

        fn arrive(&mut self, (from, chunk): (Name, u32)) {
            if self.fetch.wants(&from, chunk) && self.fetch.came(&from, chunk, self.now) == Took::New {
                assert!(!self.durable.contains(chunk) && !self.unsynced.contains(&chunk));
                self.unsynced.push(chunk);
            }
        }

        fn flush(&mut self) {
            for chunk in core::mem::take(&mut self.unsynced) {
                self.durable.insert(chunk);
                self.fetch.stored(chunk);
            }
        }

        fn crash(&mut self) {
            self.unsynced.clear();
            self.under_way.clear();
            self.fetch = Fetch::new(Some(self.shape));
            self.fetch.opened(self.durable.clone());
            ["a", "b", "c"].iter().for_each(|holder| assert!(self.fetch.add_holder(&name(holder), self.now)));
        }
    }

    proptest! {
        /// Invariants 1, 2 and 3.
        #[test]
        fn every_chunk_comes_whatever_is_lost(chunks in 1u32..40, steps in prop::collection::vec(step(), 0..200)) {
            let shape = Shape::new(u64::from(chunks) * CHUNK as u64).expect("a length");
            let mut world = World {
                fetch: Fetch::new(None), shape, now: Time(0), under_way: vec![], unsynced: vec![],
                durable: Bits::default(), asked: BTreeMap::new(),
            };
            world.fetch.prove(shape);
            ["a", "b", "c"].iter().for_each(|holder| assert!(world.fetch.add_holder(&name(holder), Time(0))));
            let mut lied = false;
            for step in steps {
                world.ask();
                let first = (!world.under_way.is_empty()).then(|| world.under_way.remove(0));
                world.now = world.now + Duration::from_millis(10);
                match (step, first) {
                    (Step::Arrive, Some(first)) => world.arrive(first),
                    (Step::Lie, Some(first)) if !lied => {
                        // One of the three lies, once found it is asked no more.
                        lied = true;
                        world.fetch.lied(&first.0);
                        world.under_way.retain(|(of, _)| *of != first.0);
                        prop_assert!(!world.fetch.add_holder(&first.0, world.now));
                        prop_assert!(!world.fetch.holders_with_room(MAX_STORING, world.now).contains(&first.0));
                        prop_assert!(!world.fetch.wants(&first.0, first.1));
                    }
                    (Step::Break, Some(first)) => {
                        world.fetch.broken(&first.0, world.now);
                        world.under_way.retain(|(of, _)| *of != first.0);
                    }
                    (Step::Flush, first) => { world.under_way.splice(0..0, first); world.flush() }
                    (Step::Crash, _) => { lied = false; world.crash() }
                    (Step::Wait, first) => {
                        world.under_way.splice(0..0, first);
                        world.now = world.now + Duration::from_secs(90);
                        world.fetch.handle_timeout(world.now);
                    }
                    (Step::Lose | Step::Lie, _) | (_, None) => {}
                }
                prop_assert!(world.fetch.asked.len() + world.fetch.storing.len() <= MAX_STORING + MAX_HOLDERS);
            }
            for _ in 0..500 {
                world.ask();
                while let Some(one) = world.under_way.pop() { world.arrive(one) }
                world.flush();
                world.now = world.now + Duration::from_secs(70);
                world.fetch.handle_timeout(world.now);
                if world.fetch.is_whole() { break }
            }
            prop_assert!(world.fetch.is_whole(), "{:?}", world.fetch);
            prop_assert_eq!((world.durable.len(), world.fetch.bytes()), (chunks, shape.length()));
        }
    }

    /// Invariant 1.
    #[test]
    fn without_losses_each_chunk_is_asked_for_once_of_several_holders() {
        let shape = Shape::new(200 * CHUNK as u64).expect("a length");
        let mut world = World {
            fetch: Fetch::new(None),
            shape,
            now: Time(0),
            under_way: vec![],
            unsynced: vec![],
            durable: Bits::default(),
            asked: BTreeMap::new(),
        };
        ["a", "b"].iter().for_each(|holder| assert!(world.fetch.add_holder(&name(holder), Time(0))));
        world.ask();
        assert_eq!(world.under_way.len(), 1, "the first chunk proves the length");
        world.fetch.prove(shape);
        let mut brought: BTreeMap<Name, u32> = BTreeMap::new();
        while !world.fetch.is_whole() {
            world.ask();
            world.now = world.now + Duration::from_millis(20);
            for one in core::mem::take(&mut world.under_way) {
                *brought.entry(one.0.clone()).or_default() += 1;
                world.arrive(one);
            }
            world.flush();
        }
        assert!(world.asked.values().all(|times| *times == 1) && world.asked.len() == 200);
        assert!(brought.values().all(|chunks| *chunks > 50), "{brought:?}");
        assert_eq!(world.fetch.came(&name("a"), 7, world.now), Took::Unwanted);
        assert_eq!(world.fetch.next_wake(world.now), None);
    }
}
