//! Epoch chain: the chain that the keys of a device's epochs come from.
//!
//! Each epoch has an X25519 secret of its own, and an Ed25519 key where the device rotates its pseudonyms. All of them follow from one chain, so that a request whose answer was
//! lost, a request that is repeated after a crash, and a request from a disk that was restored to an earlier state name
//! the same keys for the same epochs: an issuer certifies one key for an epoch and no second. The chain goes forward
//! only. Whoever steals it computes the keys to come and none of those that were erased.
//!
//! A device's first epoch is at a place some way along the chain: an issuer whose clock was ahead may have granted a
//! later epoch than the first that is needed. A chain of blocks runs along with that of places, so that a device that
//! was off for years skips what it missed in few steps, and comes to the same keys as if it had taken each step:
//!
//! ```text
//! block 0 ───────────────► block 1 ───────────────► block 2 …
//!   └► place 0 ► place 1 … place 1,023   └► place 1,024 …
//!        └► secret   └► secret
//! ```
//!
//! Invariants
//! 1. The secret of a place is the same from wherever the chain is followed, and follows from no later state.

use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

/// A chain at one place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochChain {
    place: u64,
    /// The key of that place; the place's secret and the next place's key follow from it.
    #[serde(with = "kdf::secret")]
    key: Secret,
    /// The key of the block after the one that the place is in.
    #[serde(with = "kdf::secret")]
    next_block: Secret,
}

/// The secrets of one epoch.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct EpochSecrets {
    /// X25519 secret.
    pub(super) agreement: Secret,
    /// Seed of an Ed25519 key, for a device that rotates its pseudonyms.
    pub(super) pseudonym: Secret,
}

impl EpochChain {
    /// Generates a new chain, at place 0.
    pub(super) fn generate(rng: &mut ChaCha20Rng) -> Self {
        Self::at_block(0, &seal::random(rng))
    }

    /// Returns the chain at a later place; `None` for an earlier place, or one more than [`MAX_BLOCKS`] further on.
    pub(super) fn at(&self, place: u64) -> Option<Self> {
        let blocks = (place / BLOCK).checked_sub(self.place / BLOCK).filter(|blocks| *blocks <= MAX_BLOCKS)?;
        let mut chain = self.clone();
        for _ in 0..blocks {
            chain = Self::at_block(chain.place / BLOCK + 1, &chain.next_block);
        }
        for _ in 0..place.checked_sub(chain.place)? {
            chain.key = kdf::derive(chain.key.as_slice(), label::EPOCH_CHAIN, &[]);
        }
        chain.place = place;
        Some(chain)
    }

    /// Returns the secrets of `count` places, from this one on.
    pub(super) fn secrets(&self, count: usize) -> Vec<EpochSecrets> {
        let mut chain = Some(self.clone());
        let next = |_| {
            let present = chain.take()?;
            chain = present.at(present.place + 1);
            Some(EpochSecrets {
                agreement: kdf::derive(present.key.as_slice(), label::EPOCH_SECRET, &[]),
                pseudonym: kdf::derive(present.key.as_slice(), label::EPOCH_PSEUDONYM, &[]),
            })
        };
        (0..count).map_while(next).collect()
    }

    /// The place that the chain is at.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    fn at_block(number: u64, block: &Secret) -> Self {
        Self {
            place: number * BLOCK,
            key: kdf::derive(block.as_slice(), label::EPOCH_CHAIN, &[&[0]]),
            next_block: kdf::derive(block.as_slice(), label::EPOCH_BLOCK, &[]),
        }
    }
}

/// Places in a block.
const BLOCK: u64 = 1_024;
/// Most blocks that are skipped at once, which bounds the cost of a clock that is far off: more than a thousand years
/// of epochs of an hour, nineteen years of epochs of a minute.
const MAX_BLOCKS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeSet;

    /// Invariant 1.
    #[test]
    fn a_secret_is_the_same_from_wherever_it_is_reached_and_no_two_are() {
        let first = EpochChain::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        let all = first.secrets(2_100);
        assert_eq!(all.iter().flat_map(|of| [*of.agreement, *of.pseudonym]).collect::<BTreeSet<_>>().len(), 4_200);
        for (from, to) in [(0, 1), (0, 1_023), (3, 1_024), (1_023, 2_050), (1_024, 1_024), (1_500, 2_099)] {
            let chain = first.at(from).and_then(|chain| chain.at(to)).expect("a later place");
            assert_eq!(chain.place(), to);
            assert!(chain.secrets(1)[0] == all[usize::try_from(to).expect("few")], "{from} to {to}");
        }
        assert!(first.at(5).expect("later").at(4).is_none(), "there is no way back");
        assert!(first.at(u64::MAX).is_none(), "and none into an unbounded future");
    }
}
