//! Tags: under which tags this device's services are advertised, and those of others found.
//!
//! A tag is of an epoch of the realm's default length. From S before a turn to S after it the tags of both epochs are
//! advertised and looked for, so that clocks need not agree.

use super::Anycasts;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::id::Tag;
use crate::time::{Epoch, Time, Unix};
use std::collections::BTreeSet;

/// When the tags change next.
#[derive(Debug, Default)]
pub(super) struct Tags {
    pub(super) next: Option<Time>,
    stale: bool,
}

/// The epochs whose tags hold now, and when that changes.
fn epochs(core: &Core) -> (Vec<Epoch>, Option<Unix>) {
    let (length, skew, unix) = (core.membership.bulletin().epoch_length(), core.skew(), core.now.unix);
    let present = length.epoch_at(unix);
    let mut epochs = vec![present];
    let (early, late) = (length.start(present) + skew, length.end(present) - skew);
    if unix < early {
        epochs.push(Epoch(present.0.saturating_sub(1)));
    }
    if unix >= late {
        epochs.push(Epoch(present.0 + 1));
    }
    (epochs, [early, late, length.end(present)].into_iter().filter(|at| *at > unix).min())
}

/// The tags of a service that hold now.
pub(super) fn tags_of(core: &Core, service: &str) -> Vec<Tag> {
    let keys = core.membership.groups();
    let tags = epochs(core).0.into_iter().map(|epoch| keys.service_tag(service, epoch));
    // Who has no key of the root group makes no tags.
    tags.filter(|tag| *tag != Tag([0; Tag::LEN])).collect()
}

impl Anycasts {
    /// The services that are offered here, the epoch or the clock has changed.
    pub(in crate::engine) fn tags_changed(&mut self) {
        self.tags.stale = true;
    }

    pub(super) fn note_due_tags(&mut self, now: Time) {
        self.tags.stale |= self.tags.next.is_some_and(|next| next <= now);
    }
}

impl Messages {
    /// Advertises the services of this device under their present tags, if that may have changed.
    pub(in crate::engine) fn advertise_services(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        if !core::mem::take(&mut self.anycasts.tags.stale) {
            return;
        }
        let own: BTreeSet<Tag> = self.services.offered().flat_map(|service| tags_of(core, service)).collect();
        let next = epochs(core).1.filter(|_| !own.is_empty());
        self.anycasts.tags.next = next.map(|at| core.now.time + at.since(core.now.unix));
        if own != neighbours.own_services {
            neighbours.own_services = own;
            neighbours.links_changed = true;
            if !core.settings.forwarding {
                neighbours.announce_again(core);
            }
        }
    }
}
