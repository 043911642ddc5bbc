//! Answers: what subscribers' programs answer to publications that are requests.
//!
//! **Mechanism.** A request is a publication that says so. A program that gets it answers with a message to its publisher, sealed from
//! end to end, which is confirmed and repeated like any other. The publisher hands over the first answer of each contact as it
//! comes, and tells how many there were when as many have come as were wanted, or at the deadline.
//!
//! Invariants
//! 1. A request takes one answer of each contact, and ends once.
//! - At most [`MAX_ASKED`] requests wait for answers, of [`MAX_ANSWERS`] each. Drop policy: the newest request is refused; it
//!   ends with so many answers.

use crate::counter::Counter;
use crate::engine::api::{Outcome, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::id::{InnerId, Name};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Most requests that wait for answers.
const MAX_ASKED: usize = 256;
/// Most answers to one request.
pub(in crate::engine) const MAX_ANSWERS: u32 = 4_096;

/// A request that has left.
#[derive(Debug)]
pub(in crate::engine) struct Asked {
    pub(in crate::engine) token: Token,
    pub(in crate::engine) topic: String,
    pub(in crate::engine) most: u32,
    pub(in crate::engine) neighbours: u32,
    pub(in crate::engine) since: Time,
    pub(in crate::engine) deadline: Time,
}

/// The requests that wait for answers.
#[derive(Debug, Default)]
pub(in crate::engine) struct Answers {
    asked: BTreeMap<InnerId, (Asked, BTreeSet<Name>)>,
    /// Those that have not left.
    leaving: BTreeSet<Token>,
}

impl Answers {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.asked.values().map(|(asked, _)| asked.deadline).min()
    }

    /// Takes one more request, unless there are too many.
    pub(in crate::engine) fn take(&mut self, token: Token) -> Result<(), Refused> {
        if self.asked.len() + self.leaving.len() >= MAX_ASKED {
            return Err(Refused::Full(format!("{MAX_ASKED} requests to groups wait for answers already")));
        }
        self.leaving.insert(token);
        Ok(())
    }

    /// A request has not left, and will not.
    pub(in crate::engine) fn forget(&mut self, token: Token) {
        self.leaving.remove(&token);
        self.asked.retain(|_, (asked, _)| asked.token != token);
    }

    /// A request has left.
    pub(in crate::engine) fn left(&mut self, id: InnerId, asked: Asked) {
        self.leaving.remove(&asked.token);
        self.asked.insert(id, (asked, BTreeSet::new()));
    }
}

impl Groups {
    /// Handles a contact's answer to a request of this device.
    pub(in crate::engine) fn handle_group_answer(
        &mut self,
        core: &mut Core,
        from: Name,
        id: InnerId,
        payload: Vec<u8>,
    ) {
        let Some((asked, told)) = self.answers.asked.get_mut(&id) else {
            return core.count(Counter::ResponsesUnasked, 1);
        };
        if !told.insert(from.clone()) {
            return core.count(Counter::ResponsesUnasked, 1);
        }
        let (latency, token) = (core.now.time.since(asked.since), asked.token);
        core.reply(token, Reply::Response { from, payload, latency });
        if told.len() >= asked.most.clamp(1, MAX_ANSWERS) as usize {
            self.end_request(core, id);
        }
    }

    /// Ends the requests whose time is over.
    pub(in crate::engine) fn timeout_answers(&mut self, core: &mut Core) {
        let now = core.now.time;
        let due = self.answers.asked.iter().filter(|(_, (asked, _))| asked.deadline <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_request(core, id);
        }
    }

    fn end_request(&mut self, core: &mut Core, id: InnerId) {
        let Some((asked, told)) = self.answers.asked.remove(&id) else { return };
        let Asked { token, topic, neighbours, since, .. } = asked;
        let latency_us = u64::try_from(core.now.time.since(since).as_micros()).unwrap_or(u64::MAX);
        let outcome = match u32::try_from(told.len()).unwrap_or(u32::MAX) {
            0 => Outcome::Expired { reason: format!("{neighbours} neighbours got it, and nobody has answered") },
            subscribers => Outcome::Heard { latency_us, subscribers, neighbours },
        };
        core.note_failure(crate::wire::topic::group(&topic), &outcome);
        core.finish(token, Reply::Outcome(outcome));
    }
}
