//! Services: offers of the local application, calls that reach them, and requests that wait for a response.
//!
//! A call is handed to the offer's stream once the dedupe state that accepted it is durable, so that it is made at
//! most once, also across a restart. It waits for [`Command::Respond`](super::api::Command::Respond); the answer
//! goes back as a message of its own. A request is a message out, and a place here until the response has come or
//! the deadline has passed.
//!
//! Invariants
//! 1. A service is offered by one stream at a time.
//! 2. At most [`MAX_CALLS`] calls wait for answers, and [`MAX_REQUESTS`] requests for responses. Drop policy: the
//!    newest is refused (`ServiceBusy`, `Full`).
//! 3. A request ends in one response or one outcome.

use super::api::{Call, Outcome, Refused, Reply, Send, Token};
use super::unicast::Sender;
use super::{Engine, Output};
use crate::delivery::outgoing::Submission;
use crate::id::{InnerId, Name};
use crate::time::Time;
use crate::wire::batch::{Ack, Message, Purpose};
use crate::wire::data::Class;
use crate::wire::receipt::Verdict;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most calls that wait for an answer.
const MAX_CALLS: usize = 1_024;
/// Most requests that wait for a response.
const MAX_REQUESTS: usize = 4_096;
/// Most services offered.
const MAX_SERVICES: usize = 64;
/// A call whose sender named no lifetime waits this long.
const CALL_LIFETIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Waiting {
    from: Name,
    id: InnerId,
    offer: Token,
    deadline: Time,
}

#[derive(Debug)]
struct Request {
    token: Token,
    to: Name,
    since: Time,
    deadline: Time,
}

/// Offers, calls and requests.
#[derive(Debug, Default)]
pub(super) struct Services {
    offers: BTreeMap<String, Token>,
    calls: BTreeMap<u64, Waiting>,
    last_call: u64,
    requests: BTreeMap<InnerId, Request>,
    by_token: BTreeMap<Token, InnerId>,
    deadlines: BTreeSet<(Time, InnerId)>,
    /// Calls accepted in this turn: released with its commit.
    released: Vec<(Token, Call)>,
}

impl Services {
    pub(super) fn next_wake(&self) -> Option<Time> {
        let calls = self.calls.values().map(|call| call.deadline).min();
        [calls, self.deadlines.first().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    /// The request ended otherwise.
    pub(super) fn forget_request(&mut self, token: Token) {
        if let Some(id) = self.by_token.remove(&token)
            && let Some(request) = self.requests.remove(&id)
        {
            self.deadlines.remove(&(request.deadline, id));
        }
    }

    /// Ends an offer. Answers whether there was one.
    pub(super) fn withdraw(&mut self, token: Token) -> bool {
        let before = self.offers.len();
        self.offers.retain(|_, offer| *offer != token);
        self.calls.retain(|_, call| call.offer != token);
        before != self.offers.len()
    }
}

impl Engine {
    pub(super) fn offer(&mut self, token: Token, service: String) {
        let valid = !service.is_empty()
            && service.len() <= Name::MAX
            && service.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let refused = if !valid {
            Some(format!("{service:?} is no service name: 1 to 64 letters, digits, '-', '_' and '.'"))
        } else if self.services.offers.contains_key(&service) {
            Some(format!("{service} is offered by another program of this device"))
        } else if self.services.offers.len() >= MAX_SERVICES {
            Some(format!("a device offers at most {MAX_SERVICES} services"))
        } else {
            None
        };
        match refused {
            Some(reason) => self.finish(token, Reply::Refused(Refused::Service(reason))),
            None => {
                self.services.offers.insert(service, token);
                self.reply(token, Reply::Ready);
            }
        }
    }

    pub(super) fn request(&mut self, token: Token, send: Send, service: Option<String>) {
        if self.services.requests.len() >= MAX_REQUESTS {
            let reason = format!("{MAX_REQUESTS} requests are waiting for responses already");
            return self.finish(token, Reply::Refused(Refused::Full(reason)));
        }
        let (to, lifetime) = (send.to.clone(), send.lifetime);
        let sender = Sender::Request(token, to.clone());
        let Some(id) = self.submit(token, sender, send, Purpose::Request, service, None) else { return };
        let deadline = self.now.time + lifetime;
        self.services.requests.insert(id, Request { token, to, since: self.now.time, deadline });
        self.services.by_token.insert(token, id);
        self.services.deadlines.insert((deadline, id));
    }

    /// A contact calls.
    pub(super) fn handle_call(&mut self, from: &Name, id: InnerId, message: &Message<'_>) -> Verdict {
        let offers = &self.services.offers;
        let found = match message.service {
            Some(service) => offers.get_key_value(service),
            None if offers.len() == 1 => offers.first_key_value(),
            None => None,
        };
        let Some((service, &offer)) = found else {
            self.count("calls_without_service", 1);
            return Verdict::NoService;
        };
        if self.services.calls.len() >= MAX_CALLS {
            self.count("calls_refused_busy", 1);
            return Verdict::ServiceBusy;
        }
        let service = service.clone();
        let lifetime = message.lifetime.map_or(CALL_LIFETIME, Duration::from_micros);
        self.services.last_call += 1;
        let call = self.services.last_call;
        let waiting = Waiting { from: from.clone(), id, offer, deadline: self.now.time + lifetime };
        self.services.calls.insert(call, waiting);
        let payload = message.payload.to_vec();
        self.services.released.push((offer, Call { call, service, from: from.clone(), id, payload }));
        Verdict::Delivered
    }

    /// The application answers a call.
    pub(super) fn respond(&mut self, token: Token, call: u64, answer: Result<Vec<u8>, String>) {
        let Some(waiting) = self.services.calls.remove(&call) else {
            return self.finish(token, Reply::Refused(Refused::NoSuchCall(call)));
        };
        let (purpose, payload) = match answer {
            Ok(payload) => (Purpose::Reply, payload),
            Err(reason) => (Purpose::Failure, reason.into_bytes()),
        };
        if let Err(refused) = check_size(&payload) {
            return self.finish(token, Reply::Refused(refused));
        }
        let lifetime = waiting.deadline.since(self.now.time).max(Duration::from_secs(1));
        let message = Submission {
            token: Sender::Answer,
            payload,
            purpose,
            service: None,
            replies_to: Some(waiting.id),
            ack: Ack::End,
            class: Class::Control,
            lifetime,
        };
        match self.outgoing.submit(&waiting.from, message, self.now.time, self.now.unix, &mut self.rng) {
            Ok(_) => {
                self.ready.insert(waiting.from);
                self.finish(token, Reply::Ready);
            }
            Err(full) => self.finish(token, Reply::Refused(Refused::Full(full.to_string()))),
        }
    }

    /// A contact's answer to a request of ours.
    pub(super) fn handle_answer(&mut self, from: &Name, message: &Message<'_>) {
        let request = message.replies_to.filter(|id| self.services.requests.get(id).is_some_and(|r| r.to == *from));
        let Some(request) = request.and_then(|id| {
            let request = self.services.requests.remove(&id)?;
            self.services.deadlines.remove(&(request.deadline, id));
            self.services.by_token.remove(&request.token);
            Some(request)
        }) else {
            return self.count("responses_unasked", 1);
        };
        let reply = if message.purpose == Purpose::Reply {
            let latency = self.now.time.since(request.since);
            Reply::Response { from: from.clone(), payload: message.payload.to_vec(), latency }
        } else {
            let reason = String::from_utf8_lossy(message.payload).into_owned();
            Reply::Outcome(Outcome::Refused { reason: format!("{from} answers: {reason}") })
        };
        self.finish(request.token, reply);
    }

    /// Hands calls over, once the commit that accepted them is durable.
    pub(super) fn release_calls(&mut self, after: crate::id::Lsn) {
        for (token, call) in core::mem::take(&mut self.services.released) {
            self.outputs.push_back(Output::Reply { token, reply: Reply::Call(call), after, last: false });
        }
    }

    pub(super) fn timeout_services(&mut self) {
        let now = self.now.time;
        let before = self.services.calls.len();
        self.services.calls.retain(|_, call| call.deadline > now);
        let dropped = before - self.services.calls.len();
        self.count("calls_unanswered", dropped as u64);
        while let Some((at, id)) = self.services.deadlines.first().copied()
            && at <= now
        {
            self.services.deadlines.remove(&(at, id));
            let Some(request) = self.services.requests.remove(&id) else { continue };
            self.services.by_token.remove(&request.token);
            let reason = format!("no response of {} came by the deadline", request.to);
            let outcome = Outcome::Expired { reason };
            self.note_failure(request.to.as_str(), &outcome);
            self.finish(request.token, Reply::Outcome(outcome));
        }
    }
}

/// Refuses a payload over the bound.
pub(super) fn check_size(payload: &[u8]) -> Result<(), Refused> {
    let limit = crate::wire::batch::MAX_PAYLOAD;
    if payload.len() > limit { Err(Refused::TooLarge { found: payload.len(), limit }) } else { Ok(()) }
}
