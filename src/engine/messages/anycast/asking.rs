//! Asking: the steps of a send to a service, from the command to the device that gets it.

use super::{Devices, Entry, GATHER, LIST, MAX_BYTES, MAX_OPEN, PAUSE, Step, WAVE, Why};
use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Fate, Submission};
use crate::engine::api::{Anycast, AnycastKind, Outcome, Refused, Reply, Send, Timing, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::anycast::choosing::Candidate;
use crate::engine::messages::endings::FAILED;
use crate::engine::messages::objectives::Asked;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::sender::Sender;
use crate::id::{InnerId, Name};
use crate::time::Time;
use crate::wire;
use crate::wire::batch::{Ack, Message, Purpose};
use crate::wire::offer::Offer;
use crate::wire::receipt::Verdict;
use std::collections::{BTreeMap, BTreeSet};

impl Messages {
    /// Takes a message or request for any device that offers a service.
    pub(in crate::engine) fn anycast(&mut self, core: &mut Core, token: Token, anycast: Anycast, timing: &Timing) {
        let Anycast { service, payload, class, policy, lifetime, kind } = anycast;
        if !self.may_send(core, token, &payload) {
            return;
        }
        if timing.holds() || timing.wait.is_some() {
            return core.finish(token, Reply::Refused(Refused::AtOnce(format!("any:{service}"))));
        }
        if let Some(id) = kind.id() {
            if self.request_again(core, token, Some(id)) {
                return;
            }
            if let Some(entry) = self.anycasts.by_id.get(&id).and_then(|at| self.anycasts.entries.get_mut(at)) {
                return entry.also.push(token);
            }
        }
        let asked = Asked { policy: policy.as_deref(), class, service: Some(&service), wait: None };
        let named = match asked.policy {
            None => core.policies.of(class, asked.service),
            Some(name) => core.policies.get(name),
        };
        let Some(named) = named else {
            core.refuse_policy::<()>(token, policy.as_deref());
            return;
        };
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        let send_policy = core.send_policies.get(&named.name).cloned().unwrap_or_default();
        let entry = Entry {
            token,
            also: Vec::new(),
            service,
            payload,
            policy,
            lane: Lane { class, send_policy },
            kind,
            since: core.now.time,
            deadline: core.now.time + lifetime,
            step: Step::Pausing { until: core.now.time },
            devices: Devices::default(),
            pause: PAUSE.0,
            questions: BTreeSet::new(),
            lists: false,
            unsure: false,
        };
        self.enter(core, entry);
    }

    /// Takes a send, unless there are too many.
    pub(super) fn enter(&mut self, core: &mut Core, entry: Entry) {
        let anycasts = &mut self.anycasts;
        if anycasts.entries.len() >= MAX_OPEN || anycasts.bytes + entry.payload.len() > MAX_BYTES {
            let reason = format!("{} messages to services look for a device already", anycasts.entries.len());
            core.count(Counter::AnycastsRefused, 1);
            return core.finish(entry.token, Reply::Refused(Refused::Full(reason)));
        }
        anycasts.last += 1;
        let number = anycasts.last;
        anycasts.bytes += entry.payload.len();
        anycasts.by_token.insert(entry.token, number);
        if let Some(id) = entry.kind.id() {
            anycasts.by_id.insert(id, number);
        }
        anycasts.entries.insert(number, entry);
        anycasts.ready.insert(number);
    }

    /// Notes which sends are due.
    pub(in crate::engine) fn timeout_anycasts(&mut self, core: &Core) {
        let now = core.now.time;
        let due = self.anycasts.entries.iter().filter(|(_, entry)| entry.due().is_some_and(|due| due <= now));
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        self.anycasts.ready.extend(due);
        self.anycasts.note_due_tags(now);
    }

    /// Does what is next for every send to a service that may have something to do.
    pub(in crate::engine) fn advance_anycasts(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        while let Some(number) = self.anycasts.ready.pop_first() {
            self.advance(core, neighbours, routing, number);
        }
    }

    fn advance(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing, number: u64) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        let over = entry.step.until().is_some_and(|until| until <= now);
        match &mut entry.step {
            Step::Ordered { to, id, until: Some(_) } if over => {
                // Repetition is allowed, and no receipt came: another device may try.
                let (to, id, token) = (to.clone(), *id, entry.token);
                entry.devices.note(&to, Why::Silent);
                entry.unsure = true;
                self.sends.withdraw(&to, id, now);
                self.services.forget_request(token);
                self.choose(core, neighbours, routing, number);
            }
            Step::Ordered { .. } => {}
            _ if entry.deadline <= now && !entry.lists => self.give_up(core, number),
            Step::Enquiring { waiting, .. } if entry.lists && (over || waiting.is_empty()) => self.list(core, number),
            Step::Pausing { .. } if over => self.seek(core, neighbours, routing, number),
            Step::Enquiring { waiting, .. } if over || waiting.is_empty() => {
                for (name, id) in core::mem::take(waiting) {
                    if !entry.devices.found.contains(&name) {
                        entry.devices.note(&name, Why::Silent);
                        self.sends.withdraw(&name, id, now);
                    }
                }
                self.choose(core, neighbours, routing, number);
            }
            Step::Reserving { to, id, .. } if over => {
                let (to, id) = (to.clone(), *id);
                entry.devices.note(&to, Why::Silent);
                self.sends.withdraw(&to, id, now);
                self.choose(core, neighbours, routing, number);
            }
            Step::Pausing { .. } | Step::Enquiring { .. } | Step::Reserving { .. } => {}
        }
    }

    /// Looks for devices, and asks those not tried yet.
    fn seek(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing, number: u64) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        for question in core::mem::take(&mut entry.questions) {
            self.anycasts.asked.remove(&question);
        }
        let (service, tried, lists) = (entry.service.clone(), entry.devices.tried.clone(), entry.lists);
        let request = matches!(entry.kind, AnycastKind::Request { .. });
        let mut names = self.offering(core, neighbours, routing, &service);
        names.retain(|name| !tried.contains_key(name) && self.anycasts.fresh(&service, name, now) != Some(None));
        let candidates = self.reachable(core, neighbours, routing, number, &names);
        if request && !lists {
            let known = |one: &&Candidate| matches!(self.anycasts.fresh(&service, &one.name, now), Some(Some(_)));
            let known: Vec<Candidate> = candidates.iter().filter(known).cloned().collect();
            if let Some(best) = self.best(core, &service, &known, true) {
                return self.reserve(core, neighbours, routing, number, best);
            }
        }
        if candidates.is_empty() {
            if lists {
                return self.list(core, number);
            }
            let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
            entry.devices.tried.clear();
            entry.step = Step::Pausing { until: now + entry.pause };
            entry.pause = (entry.pause * 2).min(PAUSE.1);
            return;
        }
        let mut waiting = BTreeMap::new();
        let mut until = now;
        for Candidate { name, patience, .. } in candidates.into_iter().take(if lists { LIST } else { WAVE }) {
            match self.ask(core, number, &name, Purpose::Enquiry) {
                Some(id) => {
                    until = until.max(now + patience);
                    waiting.insert(name, id);
                }
                None => {
                    if let Some(entry) = self.anycasts.entries.get_mut(&number) {
                        entry.devices.note(&name, Why::Silent);
                    }
                }
            }
        }
        if let Some(entry) = self.anycasts.entries.get_mut(&number) {
            entry.step = Step::Enquiring { waiting, since: now, until };
        }
    }

    /// Asks a device for its offer, or for a place. `None` if there is no room for the question.
    fn ask(&mut self, core: &mut Core, number: u64, to: &Name, purpose: Purpose) -> Option<InnerId> {
        let entry = self.anycasts.entries.get(&number)?;
        let service = entry.service.clone();
        let message = Submission {
            token: Sender::Asking(number, to.clone()),
            payload: Vec::new(),
            content: Content::Call { purpose, service: Some(service.clone()), replies_to: None },
            ack: Ack::End,
            lane: entry.lane.clone(),
            lifetime: entry.deadline.since(core.now.time),
            keep: false,
            latest: None,
            id: None,
        };
        let id = self.submit(core, Token(0), to, message)?;
        self.anycasts.asked.insert(id, (to.clone(), service));
        if let Some(entry) = self.anycasts.entries.get_mut(&number) {
            entry.questions.insert(id);
        }
        Some(id)
    }

    /// Goes on with the best of those that have answered, or looks for others.
    fn choose(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing, number: u64) {
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        let Devices { found, tried, .. } = &mut entry.devices;
        found.retain(|name| !tried.contains_key(name));
        let (service, found) = (entry.service.clone(), entry.devices.found.clone());
        let request = matches!(entry.kind, AnycastKind::Request { .. });
        let candidates = self.reachable(core, neighbours, routing, number, &found);
        match self.best(core, &service, &candidates, request) {
            Some(best) if request => self.reserve(core, neighbours, routing, number, best),
            Some(best) => self.send_to_one(core, neighbours, routing, number, best.name),
            None => {
                if let Some(entry) = self.anycasts.entries.get_mut(&number) {
                    for name in core::mem::take(&mut entry.devices.found) {
                        entry.devices.note(&name, Why::Full);
                    }
                }
                self.seek(core, neighbours, routing, number);
            }
        }
    }

    fn reserve(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        number: u64,
        best: Candidate,
    ) {
        let Candidate { name: to, patience, .. } = best;
        let asked = self.ask(core, number, &to, Purpose::Reservation);
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        entry.devices.found.remove(&to);
        match asked {
            Some(id) => entry.step = Step::Reserving { to, id, until: core.now.time + patience },
            None => {
                entry.devices.note(&to, Why::Silent);
                self.choose(core, neighbours, routing, number);
            }
        }
    }

    /// Hands a message to one device. From here on it is a message like any other.
    fn send_to_one(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        number: u64,
        to: Name,
    ) {
        let Some(entry) = self.anycasts.remove(number) else { return };
        let lifetime = entry.deadline.since(core.now.time);
        let Entry { token, also, payload, policy, lane, kind, .. } = entry;
        let AnycastKind::Message { ack, id } = kind else { return };
        for token in core::iter::once(token).chain(also) {
            let (payload, policy) = (payload.clone(), policy.clone());
            let send = Send { to: to.clone(), payload, ack, class: lane.class, policy, lifetime, id, latest: None };
            self.send(core, neighbours, routing, token, send, &Timing::default());
        }
    }

    /// Orders a request from the device that keeps a place for it.
    fn order(&mut self, core: &mut Core, number: u64, to: Name, place: InnerId) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        let (token, since, deadline) = (entry.token, entry.since, entry.deadline);
        let (name, others) = (entry.kind.id(), core::mem::take(&mut entry.also));
        let message = Submission {
            token: Sender::Request(token, to.clone()),
            payload: entry.payload.clone(),
            content: Content::Call {
                purpose: Purpose::Request,
                service: Some(entry.service.clone()),
                replies_to: Some(place),
            },
            ack: Ack::End,
            lane: entry.lane.clone(),
            lifetime: deadline.since(now),
            // As any request.
            keep: name.is_some(),
            latest: None,
            id: name,
        };
        let service = entry.service.clone();
        let patience = entry.repeats().then(|| self.sends.silent_after(&to, now.since(since)));
        let Some(id) = self.submit(core, Token(0), &to, message) else {
            if let Some(entry) = self.anycasts.entries.get_mut(&number) {
                entry.also = others;
                entry.devices.note(&to, Why::Silent);
                entry.step = Step::Pausing { until: now };
            }
            return;
        };
        self.name_request(core, (name, others), token, (to.clone(), id), deadline.since(now));
        self.services.awaits(id, token, to.clone(), since, deadline);
        self.count_order(&service, &to);
        if let Some(entry) = self.anycasts.entries.get_mut(&number) {
            entry.step = Step::Ordered { to, id, until: patience.map(|patience| now + patience) };
        }
    }

    /// Processes what became of a question.
    pub(in crate::engine) fn question_ended(&mut self, core: &mut Core, number: u64, of: &Name, fate: Fate) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.entries.get_mut(&number) else { return };
        let why = match fate {
            Fate::Delivered { .. } | Fate::Sent => None,
            Fate::Refused(Verdict::NoService) => Some(Why::Without),
            Fate::Refused(Verdict::ServiceBusy) => Some(Why::Full),
            _ => Some(Why::Silent),
        };
        let without = (why == Some(Why::Without)).then(|| entry.service.clone());
        let mut reserved = None;
        match &mut entry.step {
            Step::Enquiring { waiting, since, until } => match why {
                None => {
                    // The answer comes behind the receipt; those of others may take as long again.
                    if !entry.lists {
                        *until = (*until).min(now + now.since(*since) + GATHER);
                    }
                    entry.devices.found.insert(of.clone());
                }
                Some(why) => {
                    waiting.remove(of);
                    entry.devices.note(of, why);
                }
            },
            Step::Reserving { to, id, .. } if to == of => match why {
                None => reserved = Some(*id),
                Some(why) => {
                    entry.devices.note(of, why);
                    entry.step = Step::Enquiring { waiting: BTreeMap::new(), since: now, until: now };
                }
            },
            _ => {}
        }
        if let Some(service) = without {
            self.anycasts.learn(&service, of, None, now);
        }
        if let Some(place) = reserved {
            self.order(core, number, of.clone(), place);
        }
        self.anycasts.ready.insert(number);
    }

    /// Processes what a device says of its offer.
    pub(in crate::engine) fn hear_offer(&mut self, core: &mut Core, from: &Name, message: &Message<'_>) {
        let asked = message.replies_to.and_then(|id| Some((id, self.anycasts.asked.get(&id)?)));
        let Some((id, service)) =
            asked.filter(|(_, (of, _))| of == from).map(|(id, (_, service))| (id, service.clone()))
        else {
            return core.count(Counter::OffersUnasked, 1);
        };
        let Ok(offer) = wire::decode::<Offer>(message.payload) else { return core.count(Counter::DataMalformed, 1) };
        self.anycasts.asked.remove(&id);
        self.anycasts.learn(&service, from, Some(offer), core.now.time);
        for (number, entry) in &mut self.anycasts.entries {
            if let Step::Enquiring { waiting, .. } = &mut entry.step
                && waiting.get(from) == Some(&id)
            {
                waiting.remove(from);
                entry.devices.found.insert(from.clone());
                self.anycasts.ready.insert(*number);
            }
        }
    }

    /// Whether a request that has ended without a response goes on to another device: its device has said that it did not
    /// take it, or repetition is allowed.
    pub(in crate::engine) fn goes_on(&mut self, now: Time, token: Token, fate: Fate) -> bool {
        let entry = self.anycasts.by_token.get(&token).and_then(|number| self.anycasts.entries.get_mut(number));
        let Some(entry) = entry else { return false };
        let Step::Ordered { to, until, .. } = &mut entry.step else { return false };
        let why = match fate {
            Fate::Delivered { .. } | Fate::Sent => {
                // From here on the response is waited for.
                *until = None;
                return false;
            }
            Fate::Refused(Verdict::NoService | Verdict::Forbidden) => Why::Without,
            Fate::Refused(Verdict::ServiceBusy) => Why::Full,
            Fate::Revoked { left: false } => Why::Silent,
            _ => return false,
        };
        let to = to.clone();
        entry.devices.note(&to, why);
        entry.step = Step::Pausing { until: now };
        self.services.forget_request(token);
        self.anycasts.ready.extend(self.anycasts.by_token.get(&token));
        true
    }

    /// Whether a request that was interrupted at its device goes on to another: if repetition is allowed.
    pub(in crate::engine) fn repeats(&mut self, now: Time, token: Token) -> bool {
        let Some(number) = self.anycasts.by_token.get(&token).copied() else { return false };
        let Some(entry) = self.anycasts.entries.get_mut(&number).filter(|entry| entry.repeats()) else { return false };
        if let Step::Ordered { to, .. } = &entry.step {
            let to = to.clone();
            entry.devices.note(&to, Why::Silent);
        }
        entry.unsure = true;
        entry.step = Step::Pausing { until: now };
        self.anycasts.ready.insert(number);
        true
    }

    /// Ends a send for which no device was found.
    fn give_up(&mut self, core: &mut Core, number: u64) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.remove(number) else { return };
        for (to, id) in entry.step.asked() {
            self.sends.withdraw(&to, id, now);
        }
        let reason = entry.failure();
        let to = format!("any:{}", entry.service);
        let outcome = match entry.unsure {
            true => Outcome::Expired { reason: format!("{reason}; whether one of them has executed it is not known") },
            false => Outcome::Unreachable { reason },
        };
        core.note_failure(&to, &outcome);
        core.count(FAILED[entry.lane.class as usize], 1);
        let id = entry.kind.id();
        self.forget_named(core, entry.token);
        // Under its name it has ended, whoever asks.
        let asked = id.map_or_else(Vec::new, |id| self.outcomes.ended(id, &outcome));
        for token in core::iter::once(entry.token).chain(entry.also).chain(asked) {
            let reply = Reply::Outcome(outcome.clone());
            if id.is_some() && !core.journal.disk_fails {
                core.journal.finish_with(token, reply);
            } else {
                core.finish(token, reply);
            }
        }
    }

    /// The application waits no more.
    pub(in crate::engine) fn cancel_anycast(&mut self, core: &Core, token: Token) {
        let Some(number) = self.anycasts.by_token.get(&token).copied() else { return };
        let Some(entry) = self.anycasts.remove(number) else { return };
        for (to, id) in entry.step.asked() {
            self.sends.withdraw(&to, id, core.now.time);
        }
    }
}

impl Entry {
    /// Why no device has got it.
    fn failure(&self) -> String {
        let of = |why: Why| {
            let names: Vec<&str> =
                self.devices.heard.iter().filter(|(_, of)| **of == why).map(|(name, _)| name.as_str()).collect();
            names.join(", ")
        };
        let (full, silent, service) = (of(Why::Full), of(Why::Silent), &self.service);
        match (full.is_empty(), silent.is_empty()) {
            (true, true) => format!("no device within reach offers {service}, as far as is known"),
            (true, false) => format!("no device that offers {service} has answered: {silent}"),
            (false, true) => {
                format!("all that offer {service} had as many requests as they take until the deadline: {full}")
            }
            (false, false) => {
                format!("no device has taken it for {service}: full were {full}, and silent {silent}")
            }
        }
    }
}
