//! Ordinals of this device's streams to groups: which of those under one credential came first.
//!
//! A stream's id begins with its ordinal, so that a subscriber that gets streams from before and after a restart of their
//! publisher in any order, or at once, knows their order. Times do not say it: the publisher's clock may have been set meanwhile.
//! Ordinals begin anew in each epoch, so that they tie no pseudonym to another.
//!
//! ```text
//!  id = continues:1 ‖ start of the process in this epoch:15 ‖ stream of that process:16 ‖ random:96     (bits)
//! ```
//!
//! `continues` says that the device published to the group in the epoch before as well: who has heard nothing of that has missed
//! something.
//!
//! Invariants
//! 1. A process gives none that one before it gave in the same epoch, as far as what that wrote has become durable.
//! 2. At most [`MAX_EPOCHS`] epochs are remembered. Drop policy: the earliest goes.

use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::StreamId;
use crate::time::Epoch;
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};

/// Key in [`Table::Meta`].
const KEY: &[u8] = b"stream-ordinals";
/// How many a process takes at a time.
const BLOCK: u32 = 1 << 16;
/// Most epochs remembered: a clock that is set back does not begin anew.
const MAX_EPOCHS: usize = 8;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ordinals {
    /// The next in each epoch.
    next: BTreeMap<Epoch, u32>,
    /// Epochs in which this process has given some.
    given: BTreeSet<Epoch>,
}

impl Ordinals {
    /// What the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let next = store.get(Table::Meta, KEY)?.and_then(|value| wire::decode(&value).ok()).unwrap_or_default();
        Ok(Self { next, given: BTreeSet::new() })
    }

    /// The next in an epoch, and what is to be written with it.
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
        // What is stored is where a process after this one begins.
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

/// Which of its publisher's streams under one credential this is.
pub(in crate::engine) fn ordinal_of(stream: &StreamId) -> u32 {
    first(stream) & !CONTINUES
}

/// Which start of its publisher's process in the epoch it is of.
pub(in crate::engine) fn process_of(stream: &StreamId) -> u32 {
    ordinal_of(stream) / BLOCK
}

/// Whether there was one to the group in the epoch before.
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
        // Back and forth between epochs, and further than a block.
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
