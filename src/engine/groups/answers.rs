//! Answers: what subscribers' programs answer to publications that are requests.
//!
//! **Mechanism.** A request is a publication that says so. A program that gets it answers with a message to its publisher, sealed from
//! end to end, which is confirmed and repeated like any other. The publisher hands over the first answer of each contact as it
//! comes, and tells how many there were when as many have come as were wanted, or at the deadline.
//!
//! **Named requests.** A request that the application has named outlives the process that asks, from when it has left: it is written, and so
//! is each answer, in the commit that takes it, before it is handed over. Who asks again under the name gets all the answers, and the one outcome.
//! One that left in the moment before a crash, and is not written yet, is published anew.
//!
//! Invariants
//! 1. A request takes one answer of each contact, and ends once.
//! 2. Who asks again for a named request that has left gets each of its answers once, and the same outcome, through restarts.
//! - At most [`MAX_ASKED`] requests wait for answers, of [`MAX_ANSWERS`] each. Drop policy: the newest request is refused; it
//!   ends with so many answers.
//! - Named requests are kept for [`KEPT`] after their deadline, [`MAX_PAST`] that have ended at most, and answers of at most [`MAX_BYTES`], [`RECORD`] for
//!   each included. Drop policy: the request with the earliest deadline is forgotten; further answers are handed over and not kept
//!   (`answers_not_kept`).
//! - At most [`MAX_ASKERS`] wait for one request. Drop policy: the newest is refused.

use crate::counter::Counter;
use crate::engine::api::{Outcome, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::{InnerId, Name, SendId};
use crate::time::{Now, Time, Unix};
use crate::wire;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most requests that wait for answers.
const MAX_ASKED: usize = 256;
/// Most answers to one request.
pub(in crate::engine) const MAX_ANSWERS: u32 = 4_096;
/// Most bytes of answers to named requests that are kept.
pub(in crate::engine) const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that an answer takes besides its payload.
const RECORD: usize = 256;
/// Most named requests that have ended and are kept.
const MAX_PAST: usize = 4_096;
/// For how long a named request is kept after its deadline.
const KEPT: Duration = Duration::from_secs(600);
/// Most who wait for one named request, besides the first.
const MAX_ASKERS: usize = 64;
/// The tokens of requests from before a restart, for which nobody waits yet, begin here.
const RESTORED: u64 = 3 << 61;

/// How many answers are wanted, and the application's name for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Wanted {
    pub(in crate::engine) most: u32,
    pub(in crate::engine) id: Option<SendId>,
}

/// A request that has left.
#[derive(Debug)]
pub(in crate::engine) struct Asked {
    pub(in crate::engine) token: Token,
    pub(in crate::engine) topic: String,
    pub(in crate::engine) wanted: Wanted,
    pub(in crate::engine) neighbours: u32,
    pub(in crate::engine) since: Time,
    pub(in crate::engine) deadline: Time,
}

/// A named request that has left, as it is stored in [`Table::GroupRequests`] under its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    message: InnerId,
    topic: String,
    most: u32,
    neighbours: u32,
    expiry: Unix,
    /// Once it has ended, how long it took, in microseconds, and how many have answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<(u64, u32)>,
}

/// An answer, as it is stored under the request's name and that of the device that gave it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    /// The time from request to answer, in microseconds.
    latency: u64,
}

/// What is known of a named request.
#[derive(Debug, Default)]
struct Named {
    /// Those who have asked besides the first, and wait.
    askers: Vec<Token>,
    /// `None` until it has left.
    stored: Option<Stored>,
    answers: BTreeMap<Name, Answer>,
}

impl Answer {
    fn bytes(&self) -> usize {
        RECORD + self.payload.len()
    }
}

impl Named {
    fn outcome(&self) -> Option<Outcome> {
        let stored = self.stored.as_ref()?;
        let (latency, answers) = stored.ended?;
        Some(outcome(answers, latency, stored.neighbours))
    }
}

/// The requests that wait for answers.
#[derive(Debug, Default)]
pub(in crate::engine) struct Answers {
    asked: BTreeMap<InnerId, (Asked, BTreeSet<Name>)>,
    /// Those that have not left.
    leaving: BTreeMap<Token, Option<SendId>>,
    named: BTreeMap<SendId, Named>,
    /// The named ones that have ended, by their deadlines.
    past: BTreeSet<(Unix, SendId)>,
    /// Bytes of all answers that are kept.
    bytes: usize,
}

fn outcome(answers: u32, latency_us: u64, neighbours: u32) -> Outcome {
    match answers {
        0 => Outcome::Expired { reason: format!("{neighbours} neighbours got it, and nobody has answered") },
        subscribers => Outcome::Heard { latency_us, subscribers, neighbours },
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn key(id: &SendId, of: Option<&Name>) -> Vec<u8> {
    [id.as_bytes(), of.map_or(&[][..], |of| of.as_str().as_bytes())].concat()
}

impl Answers {
    /// Takes up the named requests of an earlier process.
    pub(in crate::engine) fn load(store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        let mut answers = Self::default();
        store.scan(Table::GroupRequests, &[], &mut |key, value| {
            let Some((id, of)) = key.split_at_checked(SendId::LEN) else { return true };
            let Some(id) = SendId::from_slice(id) else { return true };
            if of.is_empty() {
                let stored = wire::decode::<Stored>(value).ok();
                answers.named.insert(id, Named { stored, ..Named::default() });
            } else if let Some(named) = answers.named.get_mut(&id)
                && let Some(of) = core::str::from_utf8(of).ok().and_then(|of| Name::new(of).ok())
                && let Ok(answer) = wire::decode::<Answer>(value)
            {
                answers.bytes += answer.bytes();
                named.answers.insert(of, answer);
            }
            true
        })?;
        answers.named.retain(|_, named| named.stored.is_some());
        let ended = |(id, named): (&SendId, &Named)| {
            named.stored.as_ref().filter(|stored| stored.ended.is_some()).map(|stored| (stored.expiry, *id))
        };
        answers.past = answers.named.iter().filter_map(ended).collect();
        for (id, named) in &answers.named {
            let Some(stored) = named.stored.clone().filter(|stored| stored.ended.is_none()) else { continue };
            let Stored { message, topic, most, neighbours, expiry, ended: _ } = stored;
            let token = Token(RESTORED + answers.asked.len() as u64);
            let wanted = Wanted { most, id: Some(*id) };
            let deadline = now.time + expiry.since(now.unix);
            let asked = Asked { token, topic, wanted, neighbours, since: now.time, deadline };
            answers.asked.insert(message, (asked, named.answers.keys().cloned().collect()));
        }
        Ok(answers)
    }

    pub(in crate::engine) fn next_wake(&self, now: Now) -> Option<Time> {
        let due = self.asked.values().map(|(asked, _)| asked.deadline).min();
        let over = self.past.first().map(|(expiry, _)| now.time + (*expiry + KEPT).since(now.unix));
        [due, over].into_iter().flatten().min()
    }

    /// Bytes of the answers that are kept.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one more request, unless there are too many.
    pub(in crate::engine) fn take(&mut self, token: Token, id: Option<SendId>) -> Result<(), Refused> {
        if self.asked.len() + self.leaving.len() >= MAX_ASKED {
            return Err(Refused::Full(format!("{MAX_ASKED} requests to groups wait for answers already")));
        }
        self.leaving.insert(token, id);
        self.named.extend(id.map(|id| (id, Named::default())));
        Ok(())
    }

    /// A request has not left, and will not. Returns who else waits for it.
    pub(in crate::engine) fn never_left(&mut self, token: Token) -> Vec<Token> {
        let id = self.leaving.remove(&token).flatten();
        id.and_then(|id| self.named.remove(&id)).map(|named| named.askers).unwrap_or_default()
    }

    /// Nobody waits for a request any more. A named one goes on: who has asked may ask again.
    pub(in crate::engine) fn forget(&mut self, token: Token) {
        if self.leaving.get(&token).is_some_and(Option::is_none) {
            self.leaving.remove(&token);
        }
        self.asked.retain(|_, (asked, _)| asked.token != token || asked.wanted.id.is_some());
    }

    /// A request has left.
    pub(in crate::engine) fn left(&mut self, core: &mut Core, message: InnerId, asked: Asked) {
        self.leaving.remove(&asked.token);
        if let Some(id) = asked.wanted.id {
            let expiry = core.now.unix + asked.deadline.since(core.now.time);
            let (topic, most, neighbours) = (asked.topic.clone(), asked.wanted.most, asked.neighbours);
            let stored = Stored { message, topic, most, neighbours, expiry, ended: None };
            write(core, &id, &stored);
            self.named.entry(id).or_default().stored = Some(stored);
        }
        self.asked.insert(message, (asked, BTreeSet::new()));
    }

    /// Answers a request whose name is known already. Returns `false` if it is not known.
    pub(in crate::engine) fn ask_again(&mut self, core: &mut Core, token: Token, id: Option<SendId>) -> bool {
        let Some(named) = id.and_then(|id| self.named.get_mut(&id)) else { return false };
        let outcome = named.outcome();
        if outcome.is_none() && named.askers.len() >= MAX_ASKERS {
            let reason = format!("{MAX_ASKERS} wait for the answers to that request already");
            core.finish(token, Reply::Refused(Refused::Full(reason)));
            return true;
        }
        // What has come only just now is handed over with the commit that holds it.
        for (from, Answer { payload, latency }) in named.answers.clone() {
            core.journal.defer(token, Reply::Response { from, payload, latency: Duration::from_micros(latency) });
        }
        match outcome {
            Some(outcome) => core.journal.finish_with(token, Reply::Outcome(outcome)),
            None => named.askers.push(token),
        }
        true
    }

    /// Keeps an answer to a named request. Returns who has asked besides the first; `None` if it has no name.
    fn keep(&mut self, core: &mut Core, id: Option<SendId>, from: &Name, answer: Answer) -> Option<Vec<Token>> {
        let (id, named) = id.and_then(|id| Some((id, self.named.get_mut(&id)?)))?;
        if self.bytes + answer.bytes() > MAX_BYTES {
            core.count(Counter::AnswersNotKept, 1);
            return Some(named.askers.clone());
        }
        self.bytes += answer.bytes();
        let (table, key) = (Table::GroupRequests, key(&id, Some(from)));
        core.journal.write(Write::Put { table, key, value: wire::encode(&answer) });
        named.answers.insert(from.clone(), answer);
        Some(named.askers.clone())
    }

    /// Forgets named requests that have been kept for long enough, or that are too many.
    fn forget_past(&mut self, core: &mut Core) {
        let (now, table) = (core.now.unix, Table::GroupRequests);
        while let Some((expiry, id)) = self.past.first().copied()
            && (expiry + KEPT <= now || self.past.len() > MAX_PAST)
        {
            self.past.pop_first();
            let Some(named) = self.named.remove(&id) else { continue };
            self.bytes -= named.answers.values().map(Answer::bytes).sum::<usize>();
            for of in core::iter::once(None).chain(named.answers.keys().map(Some)) {
                core.journal.write(Write::Delete { table, key: key(&id, of) });
            }
        }
    }
}

fn write(core: &mut Core, id: &SendId, stored: &Stored) {
    let (table, key) = (Table::GroupRequests, key(id, None));
    core.journal.write(Write::Put { table, key, value: wire::encode(stored) });
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
        let (latency, token, wanted) = (core.now.time.since(asked.since), asked.token, asked.wanted);
        let enough = told.len() >= wanted.most.clamp(1, MAX_ANSWERS) as usize;
        let answer = Answer { payload: payload.clone(), latency: micros(latency) };
        let others = self.answers.keep(core, wanted.id, &from, answer);
        let reply = Reply::Response { from, payload, latency };
        match others {
            None => core.reply(token, reply),
            Some(others) => {
                core::iter::once(token).chain(others).for_each(|token| core.journal.defer(token, reply.clone()));
            }
        }
        if enough {
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
        self.answers.forget_past(core);
    }

    fn end_request(&mut self, core: &mut Core, id: InnerId) {
        let Some((asked, told)) = self.answers.asked.remove(&id) else { return };
        let Asked { token, topic, wanted, neighbours, since, .. } = asked;
        let latency = micros(core.now.time.since(since));
        let told = u32::try_from(told.len()).unwrap_or(u32::MAX);
        let outcome = outcome(told, latency, neighbours);
        core.note_failure(crate::wire::topic::group(&topic), &outcome);
        let named = wanted.id.and_then(|id| Some((id, self.answers.named.get_mut(&id)?)));
        let Some((id, named)) = named else { return core.finish(token, Reply::Outcome(outcome)) };
        if let Some(stored) = &mut named.stored {
            stored.ended = Some((latency, told));
            write(core, &id, stored);
            self.answers.past.insert((stored.expiry, id));
        }
        for token in core::iter::once(token).chain(core::mem::take(&mut named.askers)) {
            core.journal.finish_with(token, Reply::Outcome(outcome.clone()));
        }
    }
}
