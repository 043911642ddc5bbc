//! Ordinals: the order of this device's streams to groups under one credential.
//!
//! A stream's id begins with its ordinal, so that a subscriber that gets streams from before and after a restart of
//! their publisher, in any order or at once, knows which came first. Times do not tell, since the publisher's clock may
//! have been set meanwhile. Ordinals start again from 0 in each epoch, so that they tie no pseudonym to another.
//!
//! ```text
//!  id = continues:1 ‖ start of the process in this epoch:15 ‖ stream of that process:16 ‖ random:96     (bits)
//! ```
//!
//! `continues` says that the device published to the group in the epoch before as well, or in this epoch before the group
//! had another key: a subscriber that has heard
//! none of that has missed messages.
//!
//! Invariants
//! 1. A process gives no ordinal that a process before it gave in the same epoch, provided that the earlier one's write
//!    has become durable.
//! 2. At most [`MAX_EPOCHS`] epochs are remembered. Drop policy: the earliest goes.

use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::StreamId;
use crate::time::Epoch;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};

/// Key in [`Table::Meta`] of the next ordinal in each epoch.
const KEY: &[u8] = b"stream-ordinals";
/// How many ordinals a process takes at a time.
const BLOCK: u32 = 1 << 16;
/// Most epochs that are remembered, so that a clock that is set back does not make ordinals start again.
const MAX_EPOCHS: usize = 8;

/// The next ordinals of this device, by epoch.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ordinals {
    /// The next ordinal in each epoch.
    next: BTreeMap<Epoch, u32>,
    /// The epochs in which this process has given ordinals.
    given: BTreeSet<Epoch>,
}

impl Ordinals {
    /// Loads the next ordinals that the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let next = store.get(Table::Meta, KEY)?.and_then(|value| wire::decode(&value).ok()).unwrap_or_default();
        Ok(Self { next, given: BTreeSet::new() })
    }

    /// Returns the next ordinal in an epoch, and the write, if any, that must become durable with it.
    pub(in crate::engine) fn take(&mut self, epoch: Epoch) -> (u32, Option<Write>) {
        let fresh = self.given.insert(epoch);
        let next = self.next.entry(epoch).or_default();
        let ordinal = *next;
        *next = ordinal.saturating_add(1);
        if !fresh && !ordinal.is_multiple_of(BLOCK) {
            return (ordinal, None);
        }
        while self.next.len() > MAX_EPOCHS {
            self.next.pop_first();
        }
        self.given.retain(|epoch| self.next.contains_key(epoch));
        // The stored numbers are those at which the next process begins.
        let mut stored = self.next.clone();
        for epoch in &self.given {
            stored.entry(*epoch).and_modify(|next| *next = next.div_ceil(BLOCK).saturating_mul(BLOCK));
        }
        (ordinal, Some(Write::Put { table: Table::Meta, key: KEY.to_vec(), value: wire::encode(&stored) }))
    }
}

/// The bit of an id that says that its stream continues one of the epoch before.
const CONTINUES: u32 = 1 << 31;

/// Puts an ordinal into a random id.
pub(in crate::engine) fn mark(mut random: [u8; StreamId::LEN], ordinal: u32, continues: bool) -> StreamId {
    let first = ordinal & !CONTINUES | if continues { CONTINUES } else { 0 };
    random[..4].copy_from_slice(&first.to_be_bytes());
    StreamId(random)
}

/// Returns the ordinal of a stream among its publisher's streams under one credential.
pub(in crate::engine) fn ordinal_of(stream: &StreamId) -> u32 {
    first(stream) & !CONTINUES
}

/// Returns the number of the publisher's process, among those that it started in the epoch, that began the stream.
pub(in crate::engine) fn process_of(stream: &StreamId) -> u32 {
    ordinal_of(stream) / BLOCK
}

/// Whether the publisher had a stream to the group in the epoch before, or before the group had another key.
pub(in crate::engine) fn continues(stream: &StreamId) -> bool {
    first(stream) & CONTINUES != 0
}

fn first(stream: &StreamId) -> u32 {
    let [a, b, c, d, ..] = stream.0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::store::Entry;

    struct Disk(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Read for Disk {
        fn get(&self, _: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
            Ok(self.0.get(key).cloned())
        }

        fn last(&self, _: Table) -> Result<Option<Entry>, ReadError> {
            Ok(None)
        }

        fn scan(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
            Ok(())
        }
    }

    impl Disk {
        fn take(&mut self, ordinals: &mut Ordinals, epoch: u64) -> u32 {
            let (ordinal, write) = ordinals.take(Epoch(epoch));
            if let Some(Write::Put { key, value, .. }) = write {
                self.0.insert(key, value);
            }
            ordinal
        }
    }

    /// Invariant 1.
    #[test]
    fn they_ascend_in_an_epoch_through_restarts_and_begin_anew_in_the_next() {
        let mut disk = Disk(BTreeMap::new());
        let mut first = Ordinals::load(&disk).expect("a disk");
        assert_eq!([1, 1, 2].map(|epoch| disk.take(&mut first, epoch)), [0, 1, 0]);
        let mut second = Ordinals::load(&disk).expect("a disk");
        assert_eq!([1, 1, 2].map(|epoch| disk.take(&mut second, epoch)), [BLOCK, BLOCK + 1, BLOCK]);
        // The process goes back and forth between epochs, and further than a block.
        let far = (0..BLOCK).map(|_| disk.take(&mut second, 2)).last();
        assert_eq!(far, Some(2 * BLOCK));
        let mut third = Ordinals::load(&disk).expect("a disk");
        assert_eq!([2, 1].map(|epoch| disk.take(&mut third, epoch)), [3 * BLOCK, 2 * BLOCK]);
        let id = mark([9; StreamId::LEN], 2 * BLOCK + 7, true);
        assert_eq!((process_of(&id), ordinal_of(&id), continues(&id)), (2, 2 * BLOCK + 7, true));
        assert!(!continues(&mark([9; StreamId::LEN], 2 * BLOCK + 7, false)));
    }

    /// Invariant 2.
    #[test]
    fn the_earliest_epochs_are_forgotten() {
        let mut disk = Disk(BTreeMap::new());
        let mut ordinals = Ordinals::default();
        for epoch in 0..20 {
            disk.take(&mut ordinals, epoch);
        }
        let again = Ordinals::load(&disk).expect("a disk");
        assert_eq!((again.next.len(), again.next.contains_key(&Epoch(12))), (MAX_EPOCHS, true));
    }
}
