//! The handles that a bulletin revokes, epoch by epoch.
//!
//! A revocation publishes a device's resolution key, from which a handle follows for each epoch by stepping through the
//! days in between. That is done once an epoch for all revocations, and kept: whoever checks a credential looks its handle
//! up. What is asked for are the epochs beside the present one, of each length that the realm's devices have.
//!
//! Invariants
//! 1. The handles of an epoch are computed once while they are kept.
//! 2. At most [`MAX_TABLES`] epochs are kept. Drop policy: the one that begins first goes.

use crate::id::Handle;
use crate::identity::handle::{DayKey, day_of};
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::bulletin::Revocation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's documentation. Clones share what has been computed.
#[derive(Clone, Default)]
pub(super) struct Revoked {
    tables: Arc<Mutex<Tables>>,
}

/// By the beginning of the epoch and its length in seconds.
type Tables = BTreeMap<(Unix, u64), BTreeSet<Handle>>;

impl Revoked {
    /// Whether one of the revocations yields that handle in an epoch.
    pub(super) fn contains(
        &self,
        revocations: &[Revocation],
        founded: u64,
        (epoch, length): (Epoch, EpochLength),
        handle: &Handle,
    ) -> bool {
        if revocations.is_empty() {
            return false;
        }
        // A table is whole before it is put in, so a panic elsewhere does not spoil it.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (length.start(epoch), length.seconds());
        if !tables.contains_key(&key) {
            if tables.len() >= MAX_TABLES {
                tables.pop_first();
            }
            tables.insert(key, handles(revocations, founded, epoch, length));
        }
        tables.get(&key).is_some_and(|handles| handles.contains(handle))
    }
}

fn handles(revocations: &[Revocation], founded: u64, epoch: Epoch, length: EpochLength) -> BTreeSet<Handle> {
    let day = day_of(epoch, length, founded);
    let holds = |revocation: &&Revocation| revocation.epoch_length == length && day >= revocation.day;
    let handle = |found: &Revocation| DayKey::of(found.day, found.resolution_key).handle(epoch, length, founded);
    revocations.iter().filter(holds).filter_map(handle).collect()
}

/// Most epochs that are kept: the three whose credentials may be accepted, for a few lengths.
const MAX_TABLES: usize = 16;
