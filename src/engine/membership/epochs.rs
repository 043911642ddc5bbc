//! The turn of epochs, and the erasure of what opens past ones.
//!
//! At the turn of an epoch the node takes its next credential, tells its neighbours ([`Kind::Refresh`](crate::wire::frame::Kind::Refresh)), publishes a new
//! admission view, and closes links whose credential has lapsed.
//!
//! Invariant: keys are erased by a *sure* time: that at which a neighbour last showed a credential that this clock takes for one of now, and what
//! has passed since by the monotonic clock. Nobody but a neighbour whose clock is wrong by as much shows such a one to a clock that is wrong by
//! days; so its keys wait until it is right.

use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::event_log::Event;
use crate::id::LinkId;
use crate::identity::credential::acceptance;
use crate::time::{Now, Time, Unix};
use crate::wire::credential::Credential;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Epochs {
    next_epoch: Option<Time>,
    /// When keys of past epochs are erased.
    next_erasure: Option<Time>,
    /// It waits for somebody to show what the time is.
    erasure_waits: bool,
    /// When somebody last did.
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

    /// Invariant 4.
    pub(in crate::engine) fn sure_time(&self, core: &Core) -> Unix {
        let shown = self.epochs.witnessed.map(|at| at.unix + core.now.time.since(at.time));
        shown.unwrap_or(Unix(0)).min(core.now.unix)
    }

    /// Closes links whose neighbour has not refreshed its credential in time, or is revoked.
    pub(in crate::engine) fn close_lapsed_links(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        if !core.clock.is_sure() {
            return;
        }
        let (unix, bulletin) = (core.now.unix, core.membership.bulletin().clone());
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
    /// Whether the epoch that was taken up last is over.
    pub(in crate::engine) fn epoch_is_over(&self, core: &Core) -> bool {
        self.epochs.next_epoch.is_some_and(|at| at <= core.now.time)
    }

    /// Takes up the present epoch, as far as this device alone is concerned.
    pub(in crate::engine) fn begin_epoch(&mut self, core: &mut Core) {
        let length = core.membership.epoch_length();
        let epoch = length.epoch_at(core.now.unix);
        self.epochs.next_epoch = Some(core.now.time + length.end(epoch).since(core.now.unix));
        // At a start and after a step of the clock too: a clock that is wrong by days is given time to be set.
        self.epochs.next_erasure = Some(core.now.time + length.skew() * 2);
        core.record(Event::EpochChanged { epoch: epoch.0 });
        core.outputs.push_back(Output::MembershipChanged { save: false });
    }

    /// Whether keys of past epochs are to be erased.
    pub(in crate::engine) fn erasure_is_due(&self, core: &Core) -> bool {
        self.epochs.next_erasure.is_some_and(|at| at <= core.now.time)
    }

    /// Erases what opens the past: keys of epochs that are accepted no more, here and on disk. The sessions of these go with them.
    pub(in crate::engine) fn erase_past(&mut self, core: &mut Core) {
        self.epochs.next_erasure = None;
        let sure = self.sure_time(core);
        self.epochs.erasure_waits = sure < core.now.unix;
        if core.membership.erase_past(sure) {
            core.outputs.push_back(Output::MembershipChanged { save: true });
        }
    }
}
