//! Sum: a sum over all entries of the tree, kept in the tree itself.
//!
//! **Mechanism.** sled silently leaves out what it cannot read of its log: the rest of a segment, or all that came
//! after. So each batch carries, under [`key`], the number of batches so far, the number of entries in the tree after
//! it, and the sum of their checksums (CRC-32 over key and value). Opening reads every entry anyway, and sums them up
//! again.
//!
//! Invariants
//! 1. After each batch, count and sum in the tree are those of its entries, without their own.
//! 2. Batches are numbered without a break: a store that replaces another continues its numbers.

use super::full_key;
use crate::engine::store::Table;
use std::collections::BTreeMap;

/// The number of batches, and the sum over all entries of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// The number of the latest batch.
    pub batch: u64,
    /// The number of entries after that batch.
    pub entries: u64,
    /// The sum of their checksums, modulo 2⁶⁴.
    pub sum: u64,
}

impl Sum {
    /// Adds the checksum of an entry.
    pub(super) fn add(&mut self, checksum: u32) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum.into());
    }

    fn take(&mut self, checksum: u32) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum.into());
    }

    /// Encodes the sum for the tree.
    pub(super) fn encode(&self) -> [u8; ENCODED] {
        let mut encoded = [0; ENCODED];
        let parts = [self.batch, self.entries, self.sum];
        encoded.as_chunks_mut().0.iter_mut().zip(parts).for_each(|(chunk, part)| *chunk = part.to_be_bytes());
        encoded
    }

    /// Decodes a sum; `None` if it is malformed.
    pub(super) fn decode(raw: &[u8]) -> Option<Self> {
        let raw: [u8; ENCODED] = raw.try_into().ok()?;
        let mut parts = raw.as_chunks().0.iter().map(|chunk| u64::from_be_bytes(*chunk));
        Some(Self { batch: parts.next()?, entries: parts.next()?, sum: parts.next()? })
    }
}

/// Returns the checksum of an entry in its form in the tree.
pub(super) fn checksum(key: &[u8], raw: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(raw);
    hasher.finalize()
}

/// Returns the key of the sum in the tree.
pub(super) fn key() -> Vec<u8> {
    full_key(Table::Meta, b"sum")
}

/// A batch of changes that carries the sum.
pub(super) struct Batch<'a> {
    tree: &'a sled::Db,
    sum: &'a mut Sum,
    batch: sled::Batch,
    /// The future checksums of the keys that it changes; `None` for keys that it removes.
    changed: BTreeMap<Vec<u8>, Option<u32>>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    /// Creates an empty batch for a tree that has this sum.
    pub(super) fn new(tree: &'a sled::Db, sum: &'a mut Sum) -> Self {
        Self { tree, sum, batch: sled::Batch::default(), changed: BTreeMap::new(), bytes: 0 }
    }

    /// Sets a key. A later change of a key replaces an earlier one.
    pub(super) fn insert(&mut self, key: Vec<u8>, raw: &[u8]) -> sled::Result<()> {
        let checksum = checksum(&key, raw);
        self.change(&key, Some(checksum))?;
        self.bytes += key.len() + raw.len();
        self.batch.insert(key, raw);
        Ok(())
    }

    /// Removes a key, if it exists.
    pub(super) fn remove(&mut self, key: Vec<u8>) -> sled::Result<()> {
        self.change(&key, None)?;
        self.bytes += key.len();
        self.batch.remove(key);
        Ok(())
    }

    /// Returns the number of bytes of the keys and values that it changes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Applies the changes, if there are any, and empties the batch.
    pub(super) fn apply(&mut self) -> sled::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        self.sum.batch += 1;
        let mut batch = std::mem::take(&mut self.batch);
        batch.insert(key(), &self.sum.encode());
        self.changed.clear();
        self.bytes = 0;
        self.tree.apply_batch(batch)
    }

    fn change(&mut self, key: &[u8], after: Option<u32>) -> sled::Result<()> {
        let before = match self.changed.get(key) {
            Some(known) => *known,
            None => self.tree.get(key)?.map(|raw| checksum(key, &raw)),
        };
        if let Some(before) = before {
            self.sum.take(before);
        }
        if let Some(after) = after {
            self.sum.add(after);
        }
        self.changed.insert(key.to_vec(), after);
        Ok(())
    }
}

/// Bytes of an encoded sum.
const ENCODED: usize = 24;
