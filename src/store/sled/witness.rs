//! Witness: the least that the store must hold, kept beside it as a second record of where it ends.
//!
//! **Mechanism.** sled takes the first message of its log that it cannot read for the end, no matter whether this was
//! being written when the power went or was damaged later. Only another record can tell the two apart. After each group
//! is durable in the tree, its [`Known`] is written to the file `store.witness`: the [`Sum`], small facts that must not
//! go back to older values ([`WITNESSED`]), and the last number of the inbox.
//!
//! The file is not synced with each group, as this would double what a commit waits for. It is synced half a second
//! after the first unsynced group if there is nothing else to do, after one second in any case, and when the store
//! closes. It claims only what was durable before, whatever the kernel writes of it in between and in which order: it
//! may lag, and is never wrong. A process that is killed leaves it exact. After a loss of power it may lack the last
//! second; damage there is then taken for the torn end that a loss of power leaves. Within the group that was being
//! written the two look alike, since a disk writes unsynced data in any order. In an earlier group, a whole later group
//! behind the damage would tell them apart, but this takes a reader of sled's log, which does not exist.
//!
//! The file has two slots, each with a checksum. Writes go to the slot that was not synced last.
//!
//! Invariants
//! 1. What a slot claims was durable in the tree before the slot was written.
//! - The slot that was synced last is not written to before the other has been synced.

use super::sum::Sum;
use crate::engine::store::WITNESSED;
use crate::wire;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The least that the store is known to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The sum of its entries.
    pub sum: Sum,
    /// The facts named by [`WITNESSED`], in the same order; `None` for those that do not exist.
    pub facts: [Option<Vec<u8>>; WITNESSED.len()],
    /// The last number given to a message of the inbox; 0 if none was given.
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
    /// The index of the fact in [`WITNESSED`].
    which: u8,
    value: ByteBuf,
}

/// The witness file of an open store.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    generation: u64,
    /// The slot that may be written to.
    free: u64,
    /// Whether that slot was written to since the last sync.
    written: bool,
}

impl Witness {
    /// Opens or creates the file in a node's directory. Also returns what it holds; `None` if nothing in it can be
    /// read.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<Known>)> {
        let path = directory.join(FILE);
        let file = make(&path)?;
        // A process that was killed may have left data in the kernel's memory only.
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

    /// Returns what the file holds, without opening it for writing.
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

    /// Creates the file again after somebody has removed it.
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

/// Returns the newest slot that can be read: its generation, its index, and its content.
fn newest(file: &File) -> io::Result<Option<(u64, u64, Known)>> {
    let mut content = vec![0; 2 * SLOT];
    read_all(file, &mut content)?;
    let slots = [(0, &content[..SLOT]), (1, &content[SLOT..])];
    let readable =
        slots.into_iter().filter_map(|(slot, raw)| decode(raw).map(|(generation, known)| (generation, slot, known)));
    Ok(readable.max_by_key(|(generation, ..)| *generation))
}

/// Reads as much as there is, up to the length of the buffer, and returns how much that is.
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

/// Encodes a slot: checksum u32 | generation u64 | length u32 | CBOR. The checksum is over all that follows it.
fn encode(generation: u64, known: &Known) -> Vec<u8> {
    let Known { sum: Sum { batch, entries, sum }, facts, inbox } = known;
    let there = (0..).zip(facts).filter_map(|(which, fact)| Some(Fact { which, value: fact.clone()?.into() }));
    // A fact that does not fit is left out, and could then go back to an older value.
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

/// The file's name. It is beside the store, so that it is not lost with it.
pub(super) const FILE: &str = "store.witness";
/// Bytes of a slot: what a disk writes whole, or a few of these units.
const SLOT: usize = 4_096;
/// Bytes of a slot before its body.
const HEAD: usize = 16;
/// The maximum number of bytes of a body besides the facts.
const FIXED: usize = 64;
