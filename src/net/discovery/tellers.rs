//! Tellers: how many addresses a neighbour may have tried on its word alone.
//!
//! A neighbour can name any address, and every member that hears of it dials it. So each has a *share* of addresses that
//! have not led to a member yet. One that is given up in vain takes a place from the share of who told it, down to
//! [`LEAST`]; one that leads to a member gives a place back. Neighbours that have lost nothing have the whole share.
//!
//! Invariants
//! 1. Shares of at most [`MAX_TELLERS`] are remembered; drop policy: who has lost least is forgotten.

use libp2p::PeerId;
use std::collections::BTreeMap;

/// Addresses of a neighbour and of its neighbours, as many as an announcement holds.
const WHOLE: usize = 48;
/// What is left to one that has named nothing but what is in vain.
const LEAST: usize = 2;
/// Most neighbours whose share is remembered.
const MAX_TELLERS: usize = 256;

/// Shares that are not whole.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    shares: BTreeMap<PeerId, usize>,
}

impl Tellers {
    /// How many addresses that have not led to a member a neighbour may have known here.
    pub(super) fn share(&self, teller: &PeerId) -> usize {
        self.shares.get(teller).copied().unwrap_or(WHOLE)
    }

    /// An address that it named has been given up.
    pub(super) fn in_vain(&mut self, teller: PeerId) {
        let share = self.share(&teller).saturating_sub(1).max(LEAST);
        self.shares.insert(teller, share);
        if self.shares.len() > MAX_TELLERS
            && let Some(least) = self.shares.iter().max_by_key(|(_, share)| **share).map(|(teller, _)| *teller)
        {
            self.shares.remove(&least);
        }
    }

    /// An address that it named has led to a member.
    pub(super) fn proved(&mut self, teller: &PeerId) {
        if let Some(share) = self.shares.get_mut(teller) {
            *share += 1;
            if *share >= WHOLE {
                self.shares.remove(teller);
            }
        }
    }
}
