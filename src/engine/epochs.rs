//! The turn of epochs, and the erasure of what opens past ones.
//!
//! At the turn of an epoch the node takes its next credential, tells its neighbours ([`Kind::Refresh`](crate::wire::frame::Kind::Refresh)), publishes a new
//! admission view, and closes links whose credential has lapsed.
//!
//! Invariant: keys are erased by a *sure* time: that at which a neighbour last showed a credential that this clock takes for one of now, and what
//! has passed since by the monotonic clock. Nobody but a neighbour whose clock is wrong by as much shows such a one to a clock that is wrong by
//! days; so its keys wait until it is right.

use super::{Engine, Output};
use crate::event_log::Event;
use crate::id::LinkId;
use crate::identity::credential::acceptance;
use crate::time::{Now, Time, Unix};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    next_epoch: Option<Time>,
    /// When keys of past epochs are erased.
    next_erasure: Option<Time>,
    /// It waits for somebody to show what the time is.
    erasure_waits: bool,
    /// When somebody last did.
    witnessed: Option<Now>,
}

impl Epochs {
    pub(super) fn next_wake(&self) -> Option<Time> {
        [self.next_epoch, self.next_erasure].into_iter().flatten().min()
    }
}

impl Engine {
    pub(super) fn timeout_epochs(&mut self) {
        let now = self.now.time;
        if self.epochs.next_epoch.is_some_and(|at| at <= now) {
            self.start_epoch();
            self.update_tags();
        }
        if self.epochs.next_erasure.is_some_and(|at| at <= now) {
            self.erase_past();
        }
    }

    /// Takes up the present epoch.
    pub(super) fn start_epoch(&mut self) {
        let length = self.membership.epoch_length();
        let epoch = length.epoch_at(self.now.unix);
        self.epochs.next_epoch = Some(self.now.time + length.end(epoch).since(self.now.unix));
        // At a start and after a step of the clock too: a clock that is wrong by days is given time to be set.
        self.epochs.next_erasure = Some(self.now.time + length.skew() * 2);
        self.record(Event::EpochChanged { epoch: epoch.0 });
        self.outputs.push_back(Output::MembershipChanged { save: false });
        self.learn_own();
        self.send_refresh();
        self.close_lapsed_links();
        self.end_streams();
        self.plan_renewal();
        self.watch_bulletin();
    }

    /// Erases what opens the past: keys of epochs that are accepted no more, here and on disk, and the sessions of these.
    fn erase_past(&mut self) {
        self.epochs.next_erasure = None;
        self.sessions.retire(self.now.unix);
        let sure = self.sure_time();
        self.epochs.erasure_waits = sure < self.now.unix;
        if self.membership.erase_past(sure) {
            self.outputs.push_back(Output::MembershipChanged { save: true });
        }
    }

    /// A neighbour has shown a credential that holds by this clock.
    pub(super) fn witness_time(&mut self) {
        self.epochs.witnessed = Some(self.now);
        if core::mem::take(&mut self.epochs.erasure_waits) {
            self.epochs.next_erasure = Some(self.now.time);
        }
    }

    /// Invariant 4.
    pub(super) fn sure_time(&self) -> Unix {
        let shown = self.epochs.witnessed.map(|at| at.unix + self.now.time.since(at.time));
        shown.unwrap_or(Unix(0)).min(self.now.unix)
    }

    /// Closes links whose neighbour has not refreshed its credential in time, or is revoked.
    pub(super) fn close_lapsed_links(&mut self) {
        let (unix, bulletin) = (self.now.unix, self.membership.bulletin().clone());
        let lapsed: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                acceptance(&link.peer.body).is_none_or(|(_, until)| until <= unix)
                    || bulletin.recheck(&link.peer, unix).is_err()
            })
            .map(|(id, _)| id)
            .collect();
        for link in lapsed {
            self.close(link, "its credential has lapsed");
        }
    }
}
