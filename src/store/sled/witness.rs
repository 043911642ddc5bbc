//! What the store must hold at least, kept beside it: a second opinion on where it ends.
//!
//! **Mechanism.** sled takes the first message of its log that it cannot read for the end, whether it was being written when the
//! power went or was damaged later. Which of the two it is, only somebody else can say. After each group is durable in the
//! tree, the [`Known`] of it is written to the file `store.witness`: the [`Sum`], small facts that must not go back to
//! older ones ([`WITNESSED`]), and the last number of the inbox.
//!
//! The file is not synced with each group, which would double what a commit waits for. It is half a second after the first
//! group since, once there is nothing else to do, after one second in any case, and at closing. Whatever the kernel writes of it in between, and in
//! which order, it claims nothing but what was durable before: it may lag, and is never wrong. A process that is killed
//! leaves it exact. After a loss of power it may know nothing of the last second, in which a damaged byte is then taken for
//! the torn end that a loss of power leaves. Within the group that was
//! being written the two look alike: a disk writes what was not synced in any order. Of an earlier group, a whole later one
//! behind the damage would tell; it takes a reader of sled's log, which there is not.
//!
//! It has two slots, each with a checksum; what is written goes to the one that is not the last synced.
//!
//! Invariants
//! 1. What a slot says was durable in the tree before it was written.
//! 2. The slot synced last is not written to before the other has been synced.

use super::sum::Sum;
use crate::engine::store::WITNESSED;
use crate::wire;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the store is known to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Of its entries.
    pub sum: Sum,
    /// Those of [`WITNESSED`] that there are, in their order.
    pub facts: [Option<Vec<u8>>; WITNESSED.len()],
    /// Last number given to a message of the inbox; 0 if none was.
    pub inbox: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    batch: u64,
    entries: u64,
    sum: u64,
    facts: Vec<Fact>,
    inbox: u64,
}

#[derive(Serialize, Deserialize)]
struct Fact {
    /// Which of [`WITNESSED`].
    which: u8,
    value: ByteBuf,
}

/// The file of a store that is open.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    generation: u64,
    /// Which slot may be written to.
    free: u64,
    /// Whether it was, since the last sync.
    written: bool,
}

impl Witness {
    /// Opens or makes the file of the store in a node's directory. Answers besides what it knows.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<Known>)> {
        let path = directory.join(FILE);
        let file = make(&path)?;
        // What a process that was killed has left in the kernel's memory is made sure of.
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        let newest = newest(&file)?;
        if newest.is_none() && file.metadata()?.len() > 0 {
            tracing::warn!(file = %path.display(), "it cannot be read: this start cannot tell whether the store is whole");
        }
        let (generation, free) = newest.as_ref().map_or((0, 0), |(generation, slot, _)| (*generation, 1 - slot));
        let witness = Self { path, file, generation, free, written: false };
        Ok((witness, newest.map(|(_, _, known)| known)))
    }

    /// What it knows, for whoever only looks.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Known>> {
        match File::open(directory.join(FILE)) {
            Ok(file) => Ok(newest(&file)?.map(|(_, _, known)| known)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down what is durable now.
    pub(super) fn note(&mut self, known: &Known) -> io::Result<()> {
        self.generation += 1;
        let slot = encode(self.generation, known);
        self.file.write_all_at(&slot, self.free * SLOT as u64)?;
        self.written = true;
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn sync(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        if !self.written {
            return Ok(());
        }
        if self.file.metadata()?.nlink() == 0 {
            self.make_again(fsyncs)?;
        }
        self.file.sync_data()?;
        *fsyncs += 1;
        self.free = 1 - self.free;
        self.written = false;
        Ok(())
    }

    /// Somebody has removed the file.
    fn make_again(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        tracing::warn!(file = %self.path.display(), "it was removed while the node runs, and is made again");
        let (mut content, file) = (vec![0; 2 * SLOT], make(&self.path)?);
        let length = read_all(&self.file, &mut content)?;
        file.write_all_at(&content[..length], 0)?;
        file.sync_all()?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        *fsyncs += 2;
        self.file = file;
        Ok(())
    }
}

fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The newest slot that can be read: its generation, which it is, and what it says.
fn newest(file: &File) -> io::Result<Option<(u64, u64, Known)>> {
    let mut content = vec![0; 2 * SLOT];
    read_all(file, &mut content)?;
    let slots = [(0, &content[..SLOT]), (1, &content[SLOT..])];
    let readable =
        slots.into_iter().filter_map(|(slot, raw)| decode(raw).map(|(generation, known)| (generation, slot, known)));
    Ok(readable.max_by_key(|(generation, ..)| *generation))
}

/// How much there is, at most as much as fits.
fn read_all(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < into.len() {
        match file.read_at(&mut into[at..], at as u64)? {
            0 => break,
            count => at += count,
        }
    }
    Ok(at)
}

/// checksum u32 | generation u64 | length u32 | CBOR; the checksum is over all that follows it.
fn encode(generation: u64, known: &Known) -> Vec<u8> {
    let Known { sum: Sum { batch, entries, sum }, facts, inbox } = known;
    let there = (0..).zip(facts).filter_map(|(which, fact)| Some(Fact { which, value: fact.clone()?.into() }));
    // One that does not fit is left out: then it may go back to an older one.
    let mut room = SLOT - HEAD - FIXED;
    let mut fits = |fact: &Fact| {
        let left = room.checked_sub(fact.value.len() + 8);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let facts = there.filter(|fact| fits(fact)).collect();
    let body = wire::encode(&Written { batch: *batch, entries: *entries, sum: *sum, facts, inbox: *inbox });
    let mut slot = vec![0; 4];
    slot.extend(generation.to_be_bytes());
    slot.extend((body.len() as u32).to_be_bytes());
    slot.extend(&body);
    let checksum = crc32fast::hash(&slot[4..]);
    slot[..4].copy_from_slice(&checksum.to_be_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Known)> {
    let (checksum, rest) = slot.split_first_chunk()?;
    let (generation, after) = rest.split_first_chunk()?;
    let (length, body) = after.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let body = body.get(..length)?;
    if crc32fast::hash(rest.get(..HEAD - 4 + length)?) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let Written { batch, entries, sum, facts, inbox } = wire::decode(body).ok()?;
    let mut known = Known { sum: Sum { batch, entries, sum }, inbox, ..Known::default() };
    for Fact { which, value } in facts {
        *known.facts.get_mut(usize::from(which))? = Some(value.into_vec());
    }
    Some((u64::from_be_bytes(*generation), known))
}

/// The file, beside the store: it must not go with it.
pub(super) const FILE: &str = "store.witness";
/// Bytes of a slot: what a disk writes whole, or a few of it.
const SLOT: usize = 4_096;
/// Bytes of a slot before its body.
const HEAD: usize = 16;
/// Bytes of a body that are not facts, at most.
const FIXED: usize = 64;
