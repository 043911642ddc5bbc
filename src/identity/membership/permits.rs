//! What a device may publish, and when it asks the issuer for permits.

use super::Membership;
use crate::identity::credential::OwnCredential;
use crate::identity::group::Right;
use crate::identity::permit;
use crate::time::{Epoch, Unix};
use std::sync::Arc;

/// Whether a publication may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayPublish {
    /// It may.
    Now,
    /// The issuer has to be asked: a bulletin has come since it was asked last, or the permits have run out.
    Ask,
    /// It may not: the issuer was asked after the bulletin had come, and has given no permit.
    No,
}

impl Membership {
    /// Whether this device may publish to a group at the time `at`.
    pub fn may_publish(&self, group: &str, at: Unix) -> MayPublish {
        match self.groups.right(group, self.bulletin.epoch_length().epoch_at(at)) {
            Right::Everybody | Right::Permitted => MayPublish::Now,
            Right::RunOut => MayPublish::Ask,
            Right::None if self.cards_are_due() => MayPublish::Ask,
            Right::None => MayPublish::No,
        }
    }

    /// Whether the rights that it had are those of another generation, and the issuer has not been asked since.
    pub fn permits_are_stale(&self) -> bool {
        self.cards_are_due() && self.groups.permits_are_stale()
    }

    /// Its credentials of the epoch that `at` is in and of the one before, under which it may have published what is still accepted.
    pub fn latest_credentials(&self, at: Unix) -> Vec<Arc<OwnCredential>> {
        let present = self.batch.epoch_length.epoch_at(at);
        let latest = self.credentials.range(Epoch(present.0.saturating_sub(1))..=present);
        latest.map(|(_, own)| own.clone()).collect()
    }

    /// Whether its permits end before its credentials do, and more than half of their time is over.
    pub fn permits_run_out(&self, at: Unix) -> bool {
        let length = self.bulletin.epoch_length();
        let Some((first, last)) = permit::span(&self.batch.permits) else { return false };
        let (start, end) = (length.start(first), length.end(last));
        end < self.valid_until() && at >= start + end.since(start) / 2
    }
}
