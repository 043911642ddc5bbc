//! Tellers: how many addresses a neighbour may have tried on its word alone.
//!
//! A neighbour can name any address, and every member that hears of it dials it. Each neighbour therefore has a *share*
//! of addresses that have not led to a member yet. An address that is given up costs the neighbour that named it one
//! place of its share, down to [`LEAST`]; an address that leads to a member wins one back. A neighbour that has lost no
//! place has the whole share.
//!
//! Invariants
//! - Shares of at most [`MAX_TELLERS`] neighbours are remembered. Drop policy: the neighbour with the largest share is
//!   forgotten.

use libp2p::PeerId;
use std::collections::BTreeMap;

/// The whole share: a neighbour's own addresses and those of its neighbours, as many as an announcement holds.
const WHOLE: usize = 48;
/// The share that is left to a neighbour that has only named addresses that failed.
const LEAST: usize = 2;
/// The maximum number of neighbours whose share is remembered.
const MAX_TELLERS: usize = 256;

/// The shares that are not whole, by neighbour.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    shares: BTreeMap<PeerId, usize>,
}

impl Tellers {
    /// Returns how many addresses that have not led to a member a neighbour may have tried.
    pub(super) fn share(&self, teller: &PeerId) -> usize {
        self.shares.get(teller).copied().unwrap_or(WHOLE)
    }

    /// Notes that an address that the neighbour named has been given up.
    pub(super) fn in_vain(&mut self, teller: PeerId) {
        let share = self.share(&teller).saturating_sub(1).max(LEAST);
        self.shares.insert(teller, share);
        if self.shares.len() > MAX_TELLERS
            && let Some(least) = self.shares.iter().max_by_key(|(_, share)| **share).map(|(teller, _)| *teller)
        {
            self.shares.remove(&least);
        }
    }

    /// Notes that an address that the neighbour named has led to a member.
    pub(super) fn proved(&mut self, teller: &PeerId) {
        if let Some(share) = self.shares.get_mut(teller) {
            *share += 1;
            if *share >= WHOLE {
                self.shares.remove(teller);
            }
        }
    }
}
