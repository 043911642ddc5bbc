//! Calls: requests to services, and their responses, that are longer than a message.
//!
//! **Mechanism.** A question or a response that does not fit a message is a blob of the device that says it. The message only
//! names it ([`Reference`]), and its receiver fetches it from there:
//!
//! ```text
//! caller:  put ─▶ request names it ──▶ accepted, durable ─▶ fetched ─▶ handed to the service, once
//!          told ◀─ fetched ◀────────── response names it ◀─ put ◀──────────── answered
//! ```
//!
//! What is named stays, at the device that says it, until the request's time is over; at the other end it is cached once it has
//! been handed over, and held for [`READING`] so that the application can read it. A question that does not come whole is
//! answered as a failure, and a response that does not ends the request as refused. A response that is being fetched when the
//! process ends is not fetched on: its request expires.
//!
//! Invariants
//! 1. A call is handed to its service once its question is whole, verified and durable, and at most once; it was accepted, and
//!    that is durable, before.
//! 2. A request ends with one response or one outcome, as any other.
//! - Of one caller at most as many questions are fetched as there are free places ([`MAX_FETCHES`]). Drop policy: the newest is
//!   answered as a failure.

use crate::blob::shelf::Entry;
use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Submission};
use crate::engine::api::{Attached, BlobCommand, BlobRequest, Call, Command, Outcome, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::Blobs;
use crate::engine::messages::blobs::fetching::MAX_FETCHES;
use crate::engine::messages::objectives::Asked;
use crate::engine::messages::services::CALL_LIFETIME;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::sender::Sender;
use crate::id::{BlobHash, InnerId, Name};
use crate::time::{Time, Unix};
use crate::wire::batch::{Ack, Message, Purpose};
use crate::wire::blob::Reference;
use crate::wire::receipt::Verdict;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// How long the application has to read what it was handed.
const READING: Duration = Duration::from_secs(600);

/// A call that waits for its question.
#[derive(Debug)]
struct Question {
    offer: Token,
    call: Call,
    hash: BlobHash,
    until: Time,
}

/// A response that is being fetched.
#[derive(Debug)]
struct Response {
    of: Reference,
    from: Name,
    until: Time,
}

/// Questions and responses that are blobs. See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Calls {
    questions: BTreeMap<u64, Question>,
    responses: BTreeMap<InnerId, Response>,
    /// Blobs that stay until a time, with a number that tells apart those that are lent twice.
    lent: BTreeSet<(Time, u64, BlobHash)>,
    last_lent: u64,
}

impl Calls {
    /// When something is due.
    pub(super) fn next_wake(&self) -> Option<Time> {
        let questions = self.questions.values().map(|question| question.until).min();
        let responses = self.responses.values().map(|response| response.until).min();
        [questions, responses, self.lent.first().map(|(at, ..)| *at)].into_iter().flatten().min()
    }

    /// Whether a call or a request waits for a blob.
    pub(super) fn wait_for(&self, hash: &BlobHash) -> bool {
        let question = self.questions.values().any(|question| question.hash == *hash);
        question || self.responses.values().any(|response| response.of.hash == *hash)
    }
}

impl Blobs {
    /// A blob stays until then, whoever else needs it.
    fn lend(&mut self, hash: BlobHash, until: Time) {
        self.shelf.hold(hash);
        self.calls.last_lent += 1;
        self.calls.lent.insert((until, self.calls.last_lent, hash));
    }

    /// Lets a contact read a whole blob of this device until then. Returns what names it.
    fn name_to(&mut self, core: &mut Core, hash: &BlobHash, to: &Name, until: Time) -> Result<Reference, Refused> {
        let whole = self.shelf.get(hash).filter(|entry| entry.whole).map(|entry| entry.length);
        let none = || Refused::Blob(format!("no blob {hash} is here; `m2mesh blob put` puts one"));
        let length = whole.ok_or_else(none)?;
        if !self.shelf.admit(hash, to) {
            return Err(Refused::Full("too many devices may read that blob".to_owned()));
        }
        if let Some(entry) = self.shelf.get_mut(hash) {
            entry.used = core.now.unix;
        }
        self.write_entry(core, hash);
        self.lend(*hash, until);
        Ok(Reference { hash: *hash, length })
    }
}

impl Messages {
    /// Sends a request whose question is a blob of this node.
    pub(super) fn request_blob(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        request: BlobRequest,
    ) {
        if let Some(full) = self.services.refuses_requests() {
            return core.finish(token, Reply::Refused(full));
        }
        if core.membership.contacts().get(&request.to).is_none() {
            let to = request.to.clone();
            return self.submit_after_pull(core, token, to, Command::Blob(BlobCommand::Request(request)));
        }
        let BlobRequest { hash, to, service, class, policy, lifetime } = request;
        if self.refuse_contact(core, token, &to) {
            return;
        }
        let asked = Asked { policy: policy.as_deref(), class, service: service.as_deref(), wait: None };
        let found = self.send_policy_of(core, neighbours, routing, token, &to, &asked, lifetime, Reference::LEN);
        let Some((send_policy, lifetime)) = found else { return };
        let until = core.now.time + lifetime;
        let reference = match self.blobs.name_to(core, &hash, &to, until) {
            Ok(reference) => reference,
            Err(refused) => return core.finish(token, Reply::Refused(refused)),
        };
        let message = Submission {
            token: Sender::Request(token, to.clone()),
            payload: reference.to_bytes().to_vec(),
            content: Content::Call { purpose: Purpose::BlobRequest, service, replies_to: None },
            ack: Ack::End,
            lane: Lane { class, send_policy },
            lifetime,
            // As any request.
            keep: false,
            latest: None,
            id: None,
        };
        let Some(id) = self.submit(core, token, &to, message) else { return };
        self.services.awaits(id, token, to, core.now.time, until);
    }

    /// Processes a call whose question is a blob of the caller's.
    pub(in crate::engine) fn handle_blob_call(
        &mut self,
        core: &mut Core,
        from: &Name,
        id: InnerId,
        message: &Message<'_>,
        ends: Option<Unix>,
    ) -> Verdict {
        let Some(of) = Reference::parse(message.payload) else {
            core.count(Counter::DataMalformed, 1);
            return Verdict::Forbidden;
        };
        let verdict = self.handle_call(core, from, id, message, ends);
        if verdict != Verdict::Delivered {
            return verdict;
        }
        let Some((offer, mut call)) = self.services.withhold() else { return verdict };
        call.payload = Vec::new();
        call.blob = Some(Box::new(Attached { hash: of.hash, length: of.length, name: String::new() }));
        let until = core.now.time + ends.map_or(CALL_LIFETIME, |ends| ends.since(core.now.unix));
        let (number, questions) = (call.call, &mut self.blobs.calls.questions);
        let own = questions.values().filter(|question| question.call.from == *from).count();
        questions.insert(number, Question { offer, call, hash: of.hash, until });
        if own >= MAX_FETCHES.saturating_sub(self.blobs.fetches.len()) {
            self.fail_question(core, number, "too many questions are being fetched");
        } else if self.blobs.shelf.get(&of.hash).is_some_and(|entry| entry.whole && entry.length == of.length) {
            self.complete_question(core, number);
        } else if let Err(reason) = self.fetch_named(core, from, &of) {
            self.fail_question(core, number, &reason);
        }
        verdict
    }

    /// Begins to fetch what a contact has named, for which room is made.
    fn fetch_named(&mut self, core: &mut Core, from: &Name, of: &Reference) -> Result<(), String> {
        if self.blobs.shelf.get(&of.hash).is_none_or(|entry| entry.length != of.length) {
            let entry = Entry { by: Some(from.clone()), ..Entry::new(of.length, core.now.unix) };
            self.blobs.shelf.hold(of.hash);
            let entered = self.blobs.enter(core, of.hash, entry);
            self.blobs.shelf.release(&of.hash);
            entered.map_err(|no_room| format!("{} has no room for it: {no_room}", core.membership.name()))?;
        }
        if !self.begin_fetch(core, of.hash, Some(of.length)) {
            return Err(format!("{} fetches {MAX_FETCHES} blobs already", core.membership.name()));
        }
        let fetching = self.blobs.fetches.get_mut(&of.hash);
        match fetching.is_some_and(|fetching| fetching.fetch.add_holder(from, core.now.time)) {
            true => Ok(()),
            false => Err(format!("{from} does not have it")),
        }
    }

    /// A question is whole: its call is handed to the service, with the turn's commit.
    fn complete_question(&mut self, core: &mut Core, number: u64) {
        let Some(Question { offer, call, hash, .. }) = self.blobs.calls.questions.remove(&number) else { return };
        // Its time may be over, or its offer.
        if self.services.waiting_call(number).is_some() {
            self.blobs.lend(hash, core.now.time + READING);
            self.services.hand_over(offer, call);
        }
    }

    fn fail_question(&mut self, core: &mut Core, number: u64, reason: &str) {
        if self.blobs.calls.questions.remove(&number).is_none() {
            return;
        }
        let reason = format!("the question did not come whole: {reason}");
        self.respond(core, Token(0), number, Err(reason));
    }

    /// Answers a call with a blob of this node.
    pub(super) fn respond_blob(&mut self, core: &mut Core, token: Token, call: u64, hash: &BlobHash) {
        let Some((to, id, until)) = self.services.waiting_call(call) else {
            return core.finish(token, Reply::Refused(Refused::NoSuchCall(call)));
        };
        let reference = match self.blobs.name_to(core, hash, &to, until) {
            Ok(reference) => reference,
            Err(refused) => return core.finish(token, Reply::Refused(refused)),
        };
        let (payload, lifetime) = (reference.to_bytes().to_vec(), until.since(core.now.time));
        if self.answer(core, token, &to, id, Purpose::BlobReply, payload, lifetime) {
            self.forget_call(core, call);
            core.journal.finish_with(token, Reply::Ready);
        }
    }

    /// Processes a response that is a blob of the device that answers.
    pub(in crate::engine) fn handle_blob_answer(&mut self, core: &mut Core, from: &Name, message: &Message<'_>) {
        let asked = message.replies_to.and_then(|id| Some((id, self.services.awaited_of(&id, from)?)));
        let fresh = asked.filter(|(id, _)| !self.blobs.calls.responses.contains_key(id));
        let Some((id, (token, until))) = fresh else { return core.count(Counter::ResponsesUnasked, 1) };
        let Some(of) = Reference::parse(message.payload) else { return core.count(Counter::DataMalformed, 1) };
        // It was executed: no other device is asked.
        self.anycasts.ended(token);
        self.blobs.calls.responses.insert(id, Response { of, from: from.clone(), until });
        if self.blobs.shelf.get(&of.hash).is_some_and(|entry| entry.whole && entry.length == of.length) {
            self.complete_response(core, id);
        } else if let Err(reason) = self.fetch_named(core, from, &of) {
            self.fail_response(core, id, &reason);
        }
    }

    fn complete_response(&mut self, core: &mut Core, id: InnerId) {
        let Some(Response { of, from, .. }) = self.blobs.calls.responses.remove(&id) else { return };
        let Some((token, since)) = self.services.take_request(&id) else { return };
        self.blobs.lend(of.hash, core.now.time + READING);
        let blob = Attached { hash: of.hash, length: of.length, name: String::new() };
        let latency = core.now.time.since(since);
        self.hand_over(core, token, from, (&[], Some(blob)), latency);
    }

    fn fail_response(&mut self, core: &mut Core, id: InnerId, reason: &str) {
        let Some(Response { of, from, .. }) = self.blobs.calls.responses.remove(&id) else { return };
        let Some((token, _)) = self.services.take_request(&id) else { return };
        let length = of.length;
        let reason = format!("{from} has answered with {length} bytes, which did not come whole: {reason}");
        let outcome = Outcome::Refused { reason };
        core.note_failure(from.as_str(), &outcome);
        self.end_request(core, token, outcome);
    }

    /// A blob is whole: calls and requests that wait for it go on.
    pub(super) fn complete_calls(&mut self, core: &mut Core, hash: &BlobHash) {
        let (questions, responses) = self.waiting_for(hash);
        questions.into_iter().for_each(|number| self.complete_question(core, number));
        responses.into_iter().for_each(|id| self.complete_response(core, id));
    }

    /// A blob does not come: calls and requests that wait for it end.
    pub(super) fn fail_calls(&mut self, core: &mut Core, hash: &BlobHash, reason: &str) {
        let (questions, responses) = self.waiting_for(hash);
        questions.into_iter().for_each(|number| self.fail_question(core, number, reason));
        responses.into_iter().for_each(|id| self.fail_response(core, id, reason));
    }

    fn waiting_for(&self, hash: &BlobHash) -> (Vec<u64>, Vec<InnerId>) {
        let Calls { questions, responses, .. } = &self.blobs.calls;
        let questions = questions.iter().filter(|(_, question)| question.hash == *hash).map(|(number, _)| *number);
        let responses = responses.iter().filter(|(_, response)| response.of.hash == *hash).map(|(id, _)| *id);
        (questions.collect(), responses.collect())
    }

    /// Ends what waits for blobs and whose time is over, and what stays no longer.
    pub(super) fn timeout_calls(&mut self, core: &Core) {
        let (now, calls) = (core.now.time, &mut self.blobs.calls);
        let questions = calls.questions.extract_if(.., |_, question| question.until <= now);
        let mut hashes: Vec<BlobHash> = questions.map(|(_, question)| question.hash).collect();
        let responses = calls.responses.extract_if(.., |_, response| response.until <= now);
        hashes.extend(responses.map(|(_, response)| response.of.hash));
        hashes.iter().for_each(|hash| self.end_idle_fetch(hash));
        while let Some(&(at, _, hash)) = self.blobs.calls.lent.first()
            && at <= now
        {
            self.blobs.calls.lent.pop_first();
            self.blobs.shelf.release(&hash);
        }
    }
}
