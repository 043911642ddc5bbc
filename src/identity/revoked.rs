//! Revoked: the handles that a bulletin revokes, epoch by epoch.
//!
//! A revocation publishes a device's resolution key, from which the handle of an epoch follows by stepping through the
//! days in between. That is done once an epoch for all revocations, and kept: a check of a credential looks its handle
//! up. The epochs asked for are those beside the present one, for each epoch length that devices of the realm have.
//!
//! Invariants
//! 1. The handles of an epoch are computed once while they are kept.
//! - At most [`MAX_TABLES`] epochs are kept; drop policy: the one that begins first goes.

use crate::id::Handle;
use crate::identity::handle::{DayKey, day_of};
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::bulletin::Revocation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The revoked handles. See the module's documentation. Clones share what has been computed.
#[derive(Clone, Default)]
pub(super) struct Revoked {
    tables: Arc<Mutex<Tables>>,
}

/// The revoked handles of an epoch, by the beginning of the epoch and its length in seconds.
type Tables = BTreeMap<(Unix, u64), BTreeSet<Handle>>;

impl Revoked {
    /// Whether one of the revocations yields this handle in an epoch.
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
        // A table is complete before it is entered, so a panic elsewhere does not spoil it.
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

/// Most epochs that are kept: the three whose credentials may be accepted, for a few epoch lengths.
const MAX_TABLES: usize = 16;
