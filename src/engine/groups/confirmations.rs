//! Confirmations: which devices have handed a publication to a subscriber, for publications that ask for it.
//!
//! **Mechanism.** A publisher may ask for confirmations; the batch then says so under its seal. A device that hands
//! consecutive messages of such a batch to a subscriber, and has a card of the publisher, sends the publisher one
//! message of the purpose `Heard` for all of them. It is sealed from end to end and confirmed and repeated like any
//! other message, until the publications' deadline. The publisher counts devices, not subscribers, and each once. It
//! cannot know how many devices there are, so it waits for as many as the application names, or until the deadline. No
//! part of this is kept on disk: after a restart of the publisher its publications are no longer waited for.
//!
//! Invariants
//! 1. A publication that is to be confirmed ends once: `heard` with how many have confirmed it, or `expired` if none
//!    has.
//! 2. At most [`MAX_AWAITED`] publications that are to be confirmed have not ended, whether they have left or not. Drop
//!    policy: the newest is refused (`Full`).
//! - Only a contact's confirmation counts, and only if it names a publication by its number, which members of the group
//!   alone know.

use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Submission};
use crate::engine::api::{Outcome, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::streams::Received;
use crate::engine::sender::Sender;
use crate::id::{InnerId, Name};
use crate::time::Time;
use crate::wire::batch::{Ack, Purpose};
use crate::wire::data::Class;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most publications that wait to be confirmed.
const MAX_AWAITED: usize = 4_096;

/// The reason for which one more is refused.
pub(in crate::engine) fn too_many() -> String {
    format!("{MAX_AWAITED} publications wait to be confirmed already")
}

/// A publication that has left and is to be confirmed.
#[derive(Debug)]
pub(in crate::engine) struct Awaited {
    pub(in crate::engine) token: Token,
    pub(in crate::engine) topic: String,
    /// How many confirmations it waits for.
    pub(in crate::engine) enough: u32,
    /// How many neighbours it was sent to.
    pub(in crate::engine) neighbours: u32,
    pub(in crate::engine) since: Time,
    pub(in crate::engine) deadline: Time,
}

/// The confirmations that this device waits for, and those that it has to send.
#[derive(Debug, Default)]
pub(in crate::engine) struct Confirmations {
    awaited: BTreeMap<InnerId, (Awaited, BTreeSet<Name>, Time)>,
    deadlines: BTreeSet<(Time, InnerId)>,
    /// How many publications that are to be confirmed have been taken and have not ended: the awaited ones, and those
    /// that have not left.
    open: usize,
    /// Confirmations of others' publications, which are to be sent to their publishers.
    pub(in crate::engine) leaving: Vec<(Name, Submission<Sender>)>,
}

impl Confirmations {
    /// Takes one more publication that is to be confirmed. Returns whether there is room for it.
    pub(in crate::engine) fn take(&mut self) -> bool {
        let has_room = self.open < MAX_AWAITED;
        self.open += usize::from(has_room);
        has_room
    }

    /// Notes that one publication that was to be confirmed has ended.
    pub(in crate::engine) fn ended(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

impl Groups {
    /// Waits for the confirmations of a publication that has left.
    pub(in crate::engine) fn await_confirmations(&mut self, id: InnerId, awaited: Awaited) {
        self.confirmations.deadlines.insert((awaited.deadline, id));
        let since = awaited.since;
        self.confirmations.awaited.insert(id, (awaited, BTreeSet::new(), since));
    }

    /// Confirms to the publisher of a frame that `count` messages from `first` on were handed to a subscriber here.
    pub(in crate::engine) fn confirm_heard(&mut self, core: &mut Core, frame: &Received, first: InnerId, count: u32) {
        // A device without a card of the publisher cannot address it.
        let Some(name) = frame.from.clone() else { return };
        let message = Submission {
            token: Sender::Answer,
            payload: count.to_be_bytes().to_vec(),
            content: Content::Call { purpose: Purpose::Heard, service: None, replies_to: Some(first) },
            ack: Ack::End,
            lane: Lane { class: Class::Control, send_policy: Arc::default() },
            lifetime: frame.until.since(core.now.time),
            keep: false,
            latest: None,
            id: None,
        };
        self.confirmations.leaving.push((name, message));
    }

    /// Handles a contact's confirmation that it has handed `count` publications from `first` on to a subscriber.
    pub(in crate::engine) fn handle_heard(&mut self, core: &mut Core, from: &Name, first: InnerId, count: u32) {
        for number in 0..u64::from(count) {
            self.note_heard(core, from, InnerId { sequence: first.sequence.saturating_add(number), ..first });
        }
    }

    fn note_heard(&mut self, core: &mut Core, from: &Name, id: InnerId) {
        let now = core.now.time;
        let Some((awaited, heard, last)) = self.confirmations.awaited.get_mut(&id) else {
            return core.count(Counter::ConfirmationsUnasked, 1);
        };
        if heard.insert(from.clone()) {
            *last = now;
        }
        if heard.len() >= awaited.enough.max(1) as usize {
            self.end_confirmations(core, id);
        }
    }

    pub(in crate::engine) fn timeout_confirmations(&mut self, core: &mut Core) {
        while let Some((at, id)) = self.confirmations.deadlines.first().copied()
            && at <= core.now.time
        {
            self.end_confirmations(core, id);
        }
    }

    fn end_confirmations(&mut self, core: &mut Core, id: InnerId) {
        let Some((awaited, heard, last)) = self.confirmations.awaited.remove(&id) else { return };
        self.confirmations.ended();
        self.confirmations.deadlines.remove(&(awaited.deadline, id));
        let subscribers = u32::try_from(heard.len()).unwrap_or(u32::MAX);
        let latency_us = u64::try_from(last.since(awaited.since).as_micros()).unwrap_or(u64::MAX);
        let outcome = if subscribers > 0 {
            Outcome::Heard { latency_us, subscribers, neighbours: awaited.neighbours }
        } else {
            let neighbours = awaited.neighbours;
            Outcome::Expired { reason: format!("{neighbours} neighbours got it, and no subscriber has confirmed it") }
        };
        core.note_failure(crate::wire::topic::group(&awaited.topic), &outcome);
        core.finish(awaited.token, Reply::Outcome(outcome));
    }
}
