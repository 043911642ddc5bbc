//! Certified: which keys an issuer has certified for a device, epoch by epoch.
//!
//! Consecutive epochs under one Ed25519 key are kept as one run, with an X25519 key for each: a device that keeps its
//! pseudonym has a single run.
//!
//! Invariants
//! 1. An epoch has one pair of keys, which is never replaced.
//! 2. Epochs that have passed are forgotten, so that the entries of a device are bounded by a batch and the epochs
//!    beside it.

use crate::id::Pseudonym;
use crate::time::Epoch;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Bytes of a request for one epoch: an Ed25519 and an X25519 public key.
pub const EPOCH_KEYS: usize = 64;

/// The keys certified for one device. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// Runs in ascending order of their epochs; none is empty.
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    first: Epoch,
    pseudonym: Pseudonym,
    /// The X25519 public keys, 32 bytes for each epoch.
    agreements: ByteBuf,
}

impl Certified {
    /// Whether other keys than these are certified for the epoch.
    pub fn conflicts(&self, epoch: Epoch, keys: &[u8; EPOCH_KEYS]) -> bool {
        self.get(epoch).is_some_and(|known| known != *keys)
    }

    /// Enters the keys of an epoch; keys that the epoch has already stay.
    pub fn insert(&mut self, epoch: Epoch, keys: &[u8; EPOCH_KEYS]) {
        if self.get(epoch).is_some() {
            return;
        }
        let (pseudonym, agreement) = keys.split_at(32);
        let Some(pseudonym) = Pseudonym::from_slice(pseudonym) else { return };
        match self.runs.iter_mut().find(|run| run.end() == epoch.0 && run.pseudonym == pseudonym) {
            Some(run) => run.agreements.extend_from_slice(agreement),
            None => {
                let at = self.runs.partition_point(|run| run.first < epoch);
                self.runs.insert(at, Run { first: epoch, pseudonym, agreements: ByteBuf::from(agreement) });
            }
        }
    }

    /// Returns the first epoch at or after `from` that has these keys.
    pub fn epoch_of(&self, keys: &[u8; EPOCH_KEYS], from: Epoch) -> Option<Epoch> {
        let (pseudonym, agreement) = keys.split_at(32);
        self.runs.iter().filter(|run| run.pseudonym.0 == *pseudonym).find_map(|run| {
            let mut epochs = (run.first.0..).zip(run.agreements.chunks_exact(32));
            epochs.find(|(epoch, known)| *epoch >= from.0 && *known == agreement).map(|(epoch, _)| Epoch(epoch))
        })
    }

    /// Forgets all epochs before `epoch`. Returns whether there were any.
    pub fn forget_before(&mut self, epoch: Epoch) -> bool {
        let mut any = false;
        self.runs.retain_mut(|run| {
            let passed = usize::try_from(epoch.0.saturating_sub(run.first.0)).unwrap_or(usize::MAX).min(run.len());
            if passed > 0 {
                any = true;
                run.agreements.drain(..32 * passed);
                run.first = epoch;
            }
            run.len() > 0
        });
        any
    }

    /// The epochs that have keys, in ascending order, each with its pseudonym.
    pub fn epochs(&self) -> impl Iterator<Item = (Epoch, Pseudonym)> {
        self.runs.iter().flat_map(|run| (run.first.0..run.end()).map(|epoch| (Epoch(epoch), run.pseudonym)))
    }

    /// The pseudonyms of all runs.
    pub fn pseudonyms(&self) -> impl Iterator<Item = Pseudonym> {
        self.runs.iter().map(|run| run.pseudonym)
    }

    /// The epoch after the last one that has keys; `None` if there is none.
    pub fn end(&self) -> Option<Epoch> {
        self.runs.iter().map(Run::end).max().map(Epoch)
    }

    /// Whether no epoch has keys.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    fn get(&self, epoch: Epoch) -> Option<[u8; EPOCH_KEYS]> {
        self.runs.iter().find_map(|run| {
            let place = usize::try_from(epoch.0.checked_sub(run.first.0)?).ok()?;
            let agreement = run.agreements.chunks_exact(32).nth(place)?;
            let mut keys = [0; EPOCH_KEYS];
            keys[..32].copy_from_slice(&run.pseudonym.0);
            keys[32..].copy_from_slice(agreement);
            Some(keys)
        })
    }
}

impl Run {
    fn len(&self) -> usize {
        self.agreements.len() / 32
    }

    fn end(&self) -> u64 {
        self.first.0.saturating_add(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pseudonym: u8, agreement: u8) -> [u8; EPOCH_KEYS] {
        let mut keys = [pseudonym; EPOCH_KEYS];
        keys[32..].fill(agreement);
        keys
    }

    /// Invariants 1 and 2.
    #[test]
    fn an_epoch_keeps_its_keys_until_it_has_passed() {
        let mut certified = Certified::default();
        for epoch in [7, 8, 9, 3] {
            certified.insert(Epoch(u64::from(epoch)), &keys(1, epoch));
        }
        certified.insert(Epoch(10), &keys(2, 10));
        certified.insert(Epoch(8), &keys(1, 99));
        assert!(certified.conflicts(Epoch(8), &keys(1, 99)) && !certified.conflicts(Epoch(8), &keys(1, 8)));
        assert!(certified.conflicts(Epoch(9), &keys(2, 9)) && !certified.conflicts(Epoch(11), &keys(9, 9)));
        assert_eq!(certified.epoch_of(&keys(1, 9), Epoch(0)), Some(Epoch(9)));
        assert_eq!(certified.epoch_of(&keys(1, 9), Epoch(10)), None);
        assert_eq!(certified.end(), Some(Epoch(11)));
        assert!(certified.forget_before(Epoch(9)) && !certified.forget_before(Epoch(9)));
        assert!(!certified.conflicts(Epoch(8), &keys(5, 5)) && certified.conflicts(Epoch(9), &keys(5, 5)));
        assert_eq!(certified.pseudonyms().collect::<Vec<_>>(), [Pseudonym([1; 32]), Pseudonym([2; 32])]);
        assert!(certified.forget_before(Epoch(u64::MAX)) && certified.is_empty());
    }
}
