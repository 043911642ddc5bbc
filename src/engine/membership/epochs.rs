//! Epochs: the turn of epochs, and the erasure of keys that open past ones.
//!
//! At the turn of an epoch, the node takes its next credential, tells its neighbours
//! ([`Kind::Refresh`](crate::wire::frame::Kind::Refresh)), publishes a new admission view, and closes the links whose
//! credential has lapsed.
//!
//! Keys are erased by a *sure* time: the time at which a neighbour last showed a credential that is valid by this
//! clock, plus the time that has passed since by the monotonic clock. Only a neighbour whose clock is equally wrong
//! shows such a credential to a clock that is wrong by days; so the keys of that device wait until its clock is right.
//!
//! Links lapse by the *witnessed* time, which is the same without regard to this clock: a clock that leaps by hours, and may be right again
//! in seconds, costs no link. Without a link nothing is to be kept, and it is this clock's time.
//!
//! Invariants
//! 1. Keys are erased by the sure time, never by the time of a clock that no neighbour has confirmed.

use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::event_log::Event;
use crate::id::LinkId;
use crate::identity::credential::acceptance;
use crate::time::{Now, Time, Unix};
use crate::wire::credential::Credential;

/// The times of the next epoch and the next erasure, and the last confirmation of this clock.
#[derive(Debug, Default)]
pub(in crate::engine) struct Epochs {
    next_epoch: Option<Time>,
    /// When the keys of past epochs are to be erased.
    next_erasure: Option<Time>,
    /// Whether erasure waits for a neighbour to confirm the time.
    erasure_waits: bool,
    /// When a neighbour last confirmed the time, by both clocks.
    witnessed: Option<Now>,
}

impl Epochs {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        [self.next_epoch, self.next_erasure].into_iter().flatten().min()
    }
}

impl Member {
    /// A neighbour has shown a credential that holds by this clock.
    pub(in crate::engine) fn witness_time(&mut self, core: &mut Core, shown: &Credential) {
        if !core.clock.is_sure() {
            return;
        }
        self.note_shown(core, shown);
        self.epochs.witnessed = Some(core.now);
        if core::mem::take(&mut self.epochs.erasure_waits) {
            self.epochs.next_erasure = Some(core.now.time);
        }
    }

    /// The time by what neighbours have last confirmed; by this clock if none has, or none is left: who has no link may have been suspended for
    /// days since, while the monotonic clock stood still.
    pub(in crate::engine) fn witnessed_time(&self, core: &Core, neighbours: &Neighbours) -> Unix {
        let witnessed = self.epochs.witnessed.filter(|_| !neighbours.links.is_empty());
        witnessed.map_or(core.now.unix, |at| at.unix + core.now.time.since(at.time))
    }

    /// Returns the sure time: no later than this clock's, and 0 if no neighbour has confirmed it.
    pub(in crate::engine) fn sure_time(&self, core: &Core) -> Unix {
        let shown = self.epochs.witnessed.map(|at| at.unix + core.now.time.since(at.time));
        shown.unwrap_or(Unix(0)).min(core.now.unix)
    }

    /// Closes the links whose neighbour has not refreshed its credential in time, or is revoked.
    pub(in crate::engine) fn close_lapsed_links(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        if !core.clock.is_sure() {
            return;
        }
        let (unix, bulletin) = (self.witnessed_time(core, neighbours), core.membership.bulletin().clone());
        let lapsed: Vec<LinkId> = neighbours
            .links
            .iter()
            .filter(|(_, link)| {
                acceptance(&link.peer.body).is_none_or(|(_, until)| until <= unix)
                    || bulletin.recheck(&link.peer, unix).is_err()
            })
            .map(|(id, _)| id)
            .collect();
        for link in lapsed {
            neighbours.close(core, link, "its credential has lapsed");
        }
    }
}

impl Member {
    /// Whether the epoch that the node last began is over.
    pub(in crate::engine) fn epoch_is_over(&self, core: &Core) -> bool {
        self.epochs.next_epoch.is_some_and(|at| at <= core.now.time)
    }

    /// Begins the present epoch, as far as this device alone is concerned.
    pub(in crate::engine) fn begin_epoch(&mut self, core: &mut Core) {
        let length = core.membership.epoch_length();
        let epoch = length.epoch_at(core.now.unix);
        self.epochs.next_epoch = Some(core.now.time + length.end(epoch).since(core.now.unix));
        // This also holds at a start and after a step of the clock: a clock that is wrong by days is given time to be
        // set.
        self.epochs.next_erasure = Some(core.now.time + length.skew() * 2);
        core.record(Event::EpochChanged { epoch: epoch.0 });
        core.outputs.push_back(Output::MembershipChanged { save: false });
    }

    /// Whether the keys of past epochs are to be erased now.
    pub(in crate::engine) fn erasure_is_due(&self, core: &Core) -> bool {
        self.epochs.next_erasure.is_some_and(|at| at <= core.now.time)
    }

    /// Erases the keys of epochs that are no longer accepted, here and on disk, together with their sessions' keys.
    pub(in crate::engine) fn erase_past(&mut self, core: &mut Core) {
        self.epochs.next_erasure = None;
        let sure = self.sure_time(core);
        self.epochs.erasure_waits = sure < core.now.unix;
        if core.membership.erase_past(sure) {
            core.outputs.push_back(Output::MembershipChanged { save: true });
        }
    }
}
