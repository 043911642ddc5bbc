//! Services: offers of the local application, calls that reach them, and requests that wait for a response.
//!
//! A call is handed to the offer's stream once the commit is durable that holds both the call and the dedupe state that
//! accepted it: so it is made at most once, also across a restart. It then waits for [`Command::Respond`]; the answer
//! goes back as a message of its own. If the node is restarted, or the offer ends, while a call waits, nobody knows how
//! far the application came: the caller is told that the call was interrupted, and the call is not made again. A
//! request is an outgoing message, and an entry here until the response has come or the deadline has passed.
//!
//! Invariants
//! 1. At most [`MAX_CALLS`] calls wait for answers, and of one caller at most as many as there are free places. Drop
//!    policy: the newest is refused (`ServiceBusy`).
//! 2. A request ends with one response or one outcome.
//! 3. A call that was handed over is answered, unless its deadline passes: by the application, or as interrupted.
//! - A service is offered by one stream at a time.
//! - At most [`MAX_REQUESTS`] requests wait for responses. Drop policy: the newest is refused (`Full`).

mod unfinished;

use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Submission};
use crate::engine::Output;
use crate::engine::api::{Call, Command, Outcome, Refused, Reply, Send, Timing, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::held::Parked;
use crate::engine::messages::objectives::Asked;
use crate::engine::messages::submission::later;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::sender::Sender;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::event_log::Event;
use crate::id::{InnerId, Name};
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::batch::{Ack, Message, Purpose};
use crate::wire::data::Class;
use crate::wire::receipt::Verdict;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most calls that wait for an answer.
pub(in crate::engine) const MAX_CALLS: usize = 1_024;
/// Most requests that wait for a response.
const MAX_REQUESTS: usize = 4_096;
/// Most services offered.
const MAX_SERVICES: usize = 64;
/// The shortest lifetime of an answer.
const LEAST_LIFETIME: Duration = Duration::from_secs(1);
/// How long a call waits for its answer if its sender has named no lifetime.
pub(super) const CALL_LIFETIME: Duration = Duration::from_secs(60);

/// A service that a program of this device offers.
#[derive(Clone, Copy, Debug)]
struct Offered {
    token: Token,
    /// How many reserved requests it answers at a time.
    capacity: u32,
}

#[derive(Debug)]
struct Waiting {
    from: Name,
    id: InnerId,
    service: String,
    offer: Token,
    deadline: Time,
}

/// A call that was handed over, as stored in [`Table::Calls`].
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    from: Name,
    id: InnerId,
    service: String,
    expiry: Unix,
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
pub(in crate::engine) struct Services {
    offers: BTreeMap<String, Offered>,
    calls: BTreeMap<u64, Waiting>,
    last_call: u64,
    requests: BTreeMap<InnerId, Request>,
    by_token: BTreeMap<Token, InnerId>,
    deadlines: BTreeSet<(Time, InnerId)>,
    /// The calls accepted in this turn, which are released with its commit.
    released: Vec<(Token, Call)>,
}

impl Services {
    /// How many calls wait for their answers.
    pub(in crate::engine) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Starts with no offers. Calls are numbered from the current time on, so that no number is used again after a
    /// restart.
    pub(in crate::engine) fn new(now: Now) -> Self {
        Self { last_call: now.unix.0, ..Self::default() }
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let calls = self.calls.values().map(|call| call.deadline).min();
        [calls, self.deadlines.first().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    /// Whether a request waits for its response.
    pub(in crate::engine) fn waits(&self, token: Token) -> bool {
        self.by_token.contains_key(&token)
    }

    /// The services that are offered here.
    pub(in crate::engine) fn offered(&self) -> impl Iterator<Item = &str> {
        self.offers.keys().map(String::as_str)
    }

    /// How many reserved requests a service answers at a time; `None` if it is not offered here.
    pub(in crate::engine) fn capacity(&self, service: &str) -> Option<u32> {
        self.offers.get(service).map(|offer| offer.capacity)
    }

    /// How many calls of a service wait for their answers.
    pub(in crate::engine) fn calls_of(&self, service: &str) -> usize {
        self.calls.values().filter(|call| call.service == service).count()
    }

    /// Why no more requests are taken, if so many wait.
    pub(super) fn refuses_requests(&self) -> Option<Refused> {
        let full = || Refused::Full(format!("{MAX_REQUESTS} requests are waiting for responses already"));
        (self.requests.len() >= MAX_REQUESTS).then(full)
    }

    /// Waits for the response to a request.
    pub(in crate::engine) fn awaits(&mut self, id: InnerId, token: Token, to: Name, since: Time, deadline: Time) {
        self.requests.insert(id, Request { token, to, since, deadline });
        self.by_token.insert(token, id);
        self.deadlines.insert((deadline, id));
    }

    /// Removes a request that has ended without a response.
    pub(in crate::engine) fn forget_request(&mut self, token: Token) {
        if let Some(id) = self.by_token.remove(&token)
            && let Some(request) = self.requests.remove(&id)
        {
            self.deadlines.remove(&(request.deadline, id));
        }
    }
}

impl Messages {
    pub(in crate::engine) fn offer(&mut self, core: &mut Core, token: Token, service: String, capacity: Option<u32>) {
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
            Some(reason) => core.finish(token, Reply::Refused(Refused::Service(reason))),
            None => {
                let capacity = capacity.unwrap_or(MAX_CALLS as u32);
                self.services.offers.insert(service, Offered { token, capacity });
                self.anycasts.tags_changed();
                core.reply(token, Reply::Ready);
            }
        }
    }

    /// Processes a call by a contact. Returns the verdict for its sender.
    pub(in crate::engine) fn handle_call(
        &mut self,
        core: &mut Core,
        from: &Name,
        id: InnerId,
        message: &Message<'_>,
        ends: Option<Unix>,
    ) -> Verdict {
        let offers = &self.services.offers;
        let found = match message.service {
            Some(service) => offers.get_key_value(service),
            None if offers.len() == 1 => offers.first_key_value(),
            None => None,
        };
        let Some((service, &Offered { token: offer, .. })) = found else {
            core.count(Counter::CallsWithoutService, 1);
            return Verdict::NoService;
        };
        // A caller may have no more calls waiting than there are free places, so that there is always room for others.
        let own = self.services.calls.values().filter(|call| call.from == *from).count();
        if own >= MAX_CALLS - self.services.calls.len() {
            core.count(Counter::CallsRefusedBusy, 1);
            return Verdict::ServiceBusy;
        }
        let service = service.clone();
        if let Some(place) = message.replies_to
            && !self.take_place(core, from, &service, place)
        {
            core.count(Counter::CallsRefusedBusy, 1);
            return Verdict::ServiceBusy;
        }
        let left = ends.map_or(CALL_LIFETIME, |ends| ends.since(core.now.unix));
        self.services.last_call += 1;
        let call = self.services.last_call;
        let stored = Stored { from: from.clone(), id, service: service.clone(), expiry: core.now.unix + left };
        core.journal.write(Write::Put { table: Table::Calls, key: key(call), value: wire::encode(&stored) });
        let deadline = core.now.time + left;
        self.services.calls.insert(call, Waiting { from: from.clone(), id, service: service.clone(), offer, deadline });
        let payload = message.payload.to_vec();
        self.services.released.push((offer, Call { call, service, from: from.clone(), id, payload, blob: None }));
        Verdict::Delivered
    }

    /// Processes the application's answer to a call.
    pub(in crate::engine) fn respond(
        &mut self,
        core: &mut Core,
        token: Token,
        call: u64,
        answer: Result<Vec<u8>, String>,
    ) {
        let Some(waiting) = self.services.calls.get(&call) else {
            return core.finish(token, Reply::Refused(Refused::NoSuchCall(call)));
        };
        let (purpose, payload) = match answer {
            Ok(payload) => (Purpose::Reply, payload),
            Err(reason) => (Purpose::Failure, reason.into_bytes()),
        };
        if let Err(refused) = check_size(&payload) {
            return core.finish(token, Reply::Refused(refused));
        }
        let lifetime = waiting.deadline.since(core.now.time);
        let (to, id) = (waiting.from.clone(), waiting.id);
        if self.answer(core, token, &to, id, purpose, payload, lifetime) {
            self.forget_call(core, call);
            core.journal.finish_with(token, Reply::Ready);
        }
    }

    /// Submits an answer to a call. Returns whether it was accepted.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(super) fn answer(
        &mut self,
        core: &mut Core,
        token: Token,
        to: &Name,
        id: InnerId,
        purpose: Purpose,
        payload: Vec<u8>,
        lifetime: Duration,
    ) -> bool {
        let message = Submission {
            token: Sender::Answer,
            payload,
            content: Content::Call { purpose, service: None, replies_to: Some(id) },
            ack: Ack::End,
            lane: Lane { class: Class::Control, send_policy: Arc::default() },
            lifetime: lifetime.max(LEAST_LIFETIME),
            keep: true,
            latest: None,
            id: None,
        };
        self.submit(core, token, to, message).is_some()
    }

    pub(super) fn forget_call(&mut self, core: &mut Core, call: u64) {
        self.services.calls.remove(&call);
        core.journal.write(Write::Delete { table: Table::Calls, key: key(call) });
    }

    /// Ends an offer, and answers its calls as interrupted. Returns whether there was an offer.
    pub(in crate::engine) fn withdraw(&mut self, core: &mut Core, token: Token) -> bool {
        let before = self.services.offers.len();
        self.services.offers.retain(|_, offer| offer.token != token);
        let left = self.services.calls.extract_if(.., |_, call| call.offer == token).collect::<Vec<_>>();
        for (number, Waiting { from, id, service, deadline, .. }) in left {
            self.forget_call(core, number);
            self.interrupted(
                core,
                from,
                id,
                service,
                deadline.since(core.now.time),
                "the program that offers it ended",
            );
        }
        let withdrawn = before != self.services.offers.len();
        if withdrawn {
            self.anycasts.tags_changed();
        }
        withdrawn
    }

    /// Ends the calls that were handed over before the node was restarted: nobody will answer them.
    pub(in crate::engine) fn end_interrupted_calls(
        &mut self,
        core: &mut Core,
        store: &dyn Read,
    ) -> Result<(), ReadError> {
        let mut left = Vec::new();
        store.scan(Table::Calls, &[], &mut |key, value| {
            left.push((key.to_vec(), wire::decode::<Stored>(value).ok()));
            true
        })?;
        for (key, stored) in left {
            core.journal.write(Write::Delete { table: Table::Calls, key });
            if let Some(Stored { from, id, service, expiry }) = stored {
                self.interrupted(core, from, id, service, expiry.since(core.now.unix), "the device was restarted");
            }
        }
        Ok(())
    }

    /// Ends a call that was handed over and will not be answered: tells the event log and the caller.
    fn interrupted(
        &mut self,
        core: &mut Core,
        from: Name,
        id: InnerId,
        service: String,
        lifetime: Duration,
        reason: &str,
    ) {
        let text =
            format!("{reason} while {service} was at it; whether it was done is not known, and it is not repeated");
        core.record(Event::CallInterrupted { service, from: from.clone(), reason: reason.to_owned() });
        // A caller that has no card any more, or for whom there is no room, waits until its deadline.
        self.answer(core, Token(0), &from, id, Purpose::Interrupted, text.into_bytes(), lifetime);
    }

    /// Processes a contact's answer to a request of this device.
    pub(in crate::engine) fn handle_answer(&mut self, core: &mut Core, from: &Name, message: &Message<'_>) {
        if let Some(id) = message.replies_to.filter(|id| !self.services.requests.contains_key(id)) {
            if message.purpose == Purpose::Reply {
                self.asks.answers.push((from.clone(), id, message.payload.to_vec()));
            } else {
                core.count(Counter::ResponsesUnasked, 1);
            }
            return;
        }
        let request = message.replies_to.filter(|id| self.services.requests.get(id).is_some_and(|r| r.to == *from));
        let Some(request) = request.and_then(|id| {
            let request = self.services.requests.remove(&id)?;
            self.services.deadlines.remove(&(request.deadline, id));
            self.services.by_token.remove(&request.token);
            Some(request)
        }) else {
            return core.count(Counter::ResponsesUnasked, 1);
        };
        if message.purpose == Purpose::Interrupted && self.repeats(core.now.time, request.token) {
            return;
        }
        self.anycasts.ended(request.token);
        if message.purpose == Purpose::Reply {
            let latency = core.now.time.since(request.since);
            return self.hand_over(core, request.token, from.clone(), (message.payload, None), latency);
        }
        let reason = format!("{from} answers: {}", String::from_utf8_lossy(message.payload));
        self.end_request(core, request.token, Outcome::Refused { reason });
    }

    /// A device is one of the realm no more: nobody waits for its responses, and its calls are answered no more.
    pub(in crate::engine) fn end_conversations(&mut self, core: &mut Core, with: &Name) {
        let calls = self.services.calls.iter().filter(|(_, call)| call.from == *with);
        for call in calls.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget_call(core, call);
        }
        let requests = self.services.requests.values().filter(|request| request.to == *with);
        for token in requests.map(|request| request.token).collect::<Vec<_>>() {
            self.services.forget_request(token);
            self.anycasts.ended(token);
            let outcome = Outcome::Expired { reason: format!("{with} was revoked before it responded") };
            core.note_failure(with.as_str(), &outcome);
            self.end_request(core, token, outcome);
        }
    }

    /// Hands calls over, once the commit that accepted them is durable.
    pub(in crate::engine) fn release_calls(&mut self, core: &mut Core, after: crate::id::Lsn) {
        for (token, call) in core::mem::take(&mut self.services.released) {
            core.outputs.push_back(Output::Reply { token, reply: Reply::Call(call), after, last: false });
        }
    }

    pub(in crate::engine) fn timeout_services(&mut self, core: &mut Core) {
        let now = core.now.time;
        let late: Vec<u64> =
            self.services.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(number, _)| *number).collect();
        core.count(Counter::CallsUnanswered, late.len() as u64);
        for call in late {
            self.forget_call(core, call);
        }
        while let Some((at, id)) = self.services.deadlines.first().copied()
            && at <= now
        {
            self.services.deadlines.remove(&(at, id));
            let Some(request) = self.services.requests.remove(&id) else { continue };
            self.services.by_token.remove(&request.token);
            self.anycasts.ended(request.token);
            let reason = format!("no response of {} came by the deadline", request.to);
            let outcome = Outcome::Expired { reason };
            core.note_failure(request.to.as_str(), &outcome);
            self.end_request(core, request.token, outcome);
        }
        self.forget_responses(core);
    }

    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn request(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        send: Send,
        service: Option<String>,
        timing: &Timing,
    ) {
        if self.request_again(core, token, send.id) {
            return;
        }
        if let Some(full) = self.services.refuses_requests() {
            return core.finish(token, Reply::Refused(full));
        }
        let to = send.to.clone();
        if !self.may_send(core, token, &send.payload) {
            return;
        }
        if core.membership.contacts().get(&to).is_none() {
            return self.submit_after_pull(core, token, to, later(timing, Command::Request { send, service }));
        }
        if self.refuse_contact(core, token, &to) {
            return;
        }
        let (class, wait) = (send.class, timing.wait);
        let asked = Asked { policy: send.policy.as_deref(), class, service: service.as_deref(), wait };
        let Some((send_policy, lifetime)) =
            self.send_policy_of(core, neighbours, routing, token, &to, &asked, send.lifetime, send.payload.len())
        else {
            return;
        };
        let (mut send, mut service) = (send, service);
        if timing.holds() {
            match self.hold(core, token, Parked::Request { send, service }, timing, lifetime) {
                Some(Parked::Request { send: back, service: of }) => (send, service) = (back, of),
                _ => return,
            }
        }
        let message = Submission {
            token: Sender::Request(token, to.clone()),
            payload: send.payload,
            content: Content::Call { purpose: Purpose::Request, service, replies_to: None },
            ack: Ack::End,
            lane: Lane { class: send.class, send_policy },
            lifetime,
            // After a restart nobody knows a request without a name, and a response would find nobody.
            keep: send.id.is_some(),
            latest: None,
            id: send.id,
        };
        let Some(id) = self.submit(core, token, &to, message) else { return };
        self.name_request(core, (send.id, Vec::new()), token, (to.clone(), id), lifetime);
        self.services.awaits(id, token, to, core.now.time, core.now.time + lifetime);
    }
}

fn key(call: u64) -> Vec<u8> {
    call.to_be_bytes().to_vec()
}

/// Refuses a payload that is larger than the protocol allows.
pub(in crate::engine) fn check_size(payload: &[u8]) -> Result<(), Refused> {
    let limit = crate::wire::batch::MAX_PAYLOAD;
    if payload.len() > limit { Err(Refused::TooLarge { found: payload.len(), limit }) } else { Ok(()) }
}
