//! Commands of the local application, each to whom it concerns.

use super::Engine;
use super::api::{Command, Load, Refused, Reply, Send, Token};
use super::routes::explain_no_way;
use super::services::check_size;
use super::unicast::{AROUND, Sender};
use crate::counter::Counter;
use crate::delivery::lane::{Lane, Terms};
use crate::delivery::outgoing::{Content, Submission};
use crate::delivery::unconfirmed::{self, MAX_LOAD};
use crate::id::{InnerId, Name};
use crate::routing::policies::{Impossible, Late, NamedPolicy, Policies};
use crate::wire::batch::{Ack, MAX_MESSAGES};
use crate::wire::data::Class;
use crate::wire::parcel::{RECORD, Records, put_record};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a message says of itself, for its policy.
pub(super) struct Asked<'a> {
    pub policy: Option<&'a str>,
    pub class: Class,
    pub service: Option<&'a str>,
}

impl Engine {
    pub(super) fn handle_command(&mut self, token: Token, command: Command) {
        match command {
            Command::Send(send) => self.send(token, send),
            Command::SendLoad(load) => self.send_load(token, load),
            Command::Request { send, service } => self.request(token, send, service),
            Command::Publish { topic, payload, policy, lifetime, confirm } => {
                self.publish((token, confirm), topic, payload, policy.as_deref(), lifetime);
            }
            Command::Subscribe { filter, past } => self.subscribe(token, filter, past),
            Command::Offer { service } => self.offer(token, service),
            Command::Respond { call, answer } => self.respond(token, call, answer),
            Command::Receive { consumer, live } => match self.inbox.check_consumer(&consumer) {
                Ok(()) => {
                    let extent = self.inbox.extent(&consumer);
                    self.inbox.watch(token, consumer, live);
                    self.journal.defer(token, extent);
                }
                Err(refused) => self.finish(token, Reply::Refused(refused)),
            },
            Command::Consume { consumer, up_to, durable } => match self.inbox.check_consumer(&consumer) {
                Ok(()) => {
                    let writes = self.inbox.consume(&consumer, up_to);
                    self.journal.extend(writes);
                    match durable {
                        true => self.journal.finish_with(token, Reply::Ready),
                        false => self.finish(token, Reply::Ready),
                    }
                }
                Err(refused) => self.finish(token, Reply::Refused(refused)),
            },
            Command::MakeConsumer { consumer } => match self.inbox.make_consumer(&consumer) {
                Ok(writes) => {
                    self.journal.extend(writes);
                    self.journal.finish_with(token, Reply::Ready);
                }
                Err(refused) => self.finish(token, Reply::Refused(refused)),
            },
            Command::Forget { consumer } => match self.inbox.forget(&consumer) {
                Some(writes) => {
                    self.journal.extend(writes);
                    self.journal.finish_with(token, Reply::Ready);
                }
                None => self.finish(token, Reply::Refused(Refused::NoSuchConsumer(consumer))),
            },
            Command::FollowLog => {
                self.journal.watch(token);
                let last = self.log.head().last;
                self.journal.defer(token, Reply::Log { last });
            }
            Command::Links => self.report_links(token),
            Command::Routes => self.report_routes(token),
            Command::Way { to, policy } => self.report_way(token, &to, policy.as_deref()),
            Command::Cancel => self.cancel(token),
            // The node answers these: it knows the network's part.
            Command::Status | Command::Peers | Command::Contacts | Command::Lab(_) => {}
        }
    }

    /// A message to a device's inbox.
    fn send(&mut self, token: Token, send: Send) {
        if self.ask_again(token, &send) || !self.may_send(token, &send.payload) {
            return;
        }
        if self.membership.contacts().get(&send.to).is_none() {
            return self.submit_after_pull(token, send.to.clone(), Command::Send(send));
        }
        let Send { to, payload, ack, class, policy, lifetime, id } = send;
        let asked = Asked { policy: policy.as_deref(), class, service: None };
        let Some((terms, lifetime)) = self.terms_of(token, &to, &asked, lifetime, payload.len()) else { return };
        let lane = Lane { class, terms };
        if ack == Ack::None {
            let mut records = Vec::with_capacity(RECORD + payload.len());
            put_record(&mut records, 0, &payload);
            return self.submit_load(token, to, records, 1, lane, lifetime);
        }
        let sender = Sender::Message(Some(token), to.clone());
        let content = Content::Inbox;
        let message = Submission { token: sender, payload, content, ack, lane, lifetime, keep: true, id };
        if self.submit(token, &to, message).is_some()
            && let Some(id) = id
        {
            self.outcomes.opened(id);
        }
    }

    /// Messages to a device's inbox that ask for no confirmation.
    fn send_load(&mut self, token: Token, load: Load) {
        let (found, limit) = (load.records.len(), MAX_LOAD);
        let count = Records(&load.records).count();
        if found > limit || count > MAX_MESSAGES {
            return self.finish(token, Reply::Refused(Refused::TooLarge { found, limit }));
        }
        if self.membership.contacts().get(&load.to).is_none() {
            return self.submit_after_pull(token, load.to.clone(), Command::SendLoad(load));
        }
        let Load { to, records, class, policy, lifetime } = load;
        let asked = Asked { policy: policy.as_deref(), class, service: None };
        let Some((terms, lifetime)) = self.terms_of(token, &to, &asked, lifetime, found) else { return };
        let lane = Lane { class, terms };
        self.submit_load(token, to, records, u32::try_from(count).unwrap_or(0), lane, lifetime);
    }

    /// What a message asks of its way, and how long it is of use; nothing if it has been refused.
    pub(super) fn terms_of(
        &mut self,
        token: Token,
        to: &Name,
        asked: &Asked<'_>,
        lifetime: Duration,
        bytes: usize,
    ) -> Option<(Arc<Terms>, Duration)> {
        let named = match asked.policy {
            None => self.policies.of(asked.class, asked.service),
            Some(name) => self.policies.get(name),
        };
        let Some(named) = named else { return self.refuse_policy(token, asked.policy) };
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        let refuse = named.impossible == Impossible::Refuse;
        let policy = named.name.clone();
        let terms = self.terms.get(&policy).cloned().unwrap_or_default();
        if refuse && let Err(no_way) = self.way(to, &terms, lifetime, bytes + AROUND) {
            let why = explain_no_way(&no_way);
            self.finish(token, Reply::Refused(Refused::NoPath { to: to.clone(), policy, why }));
            return None;
        }
        Some((terms, lifetime))
    }

    /// What a publication asks of the links that it leaves over, and how long it is of use; nothing if it has been refused.
    pub(super) fn publication_terms(
        &mut self,
        token: Token,
        topic: &str,
        policy: Option<&str>,
        lifetime: Duration,
    ) -> Option<(Arc<Terms>, Duration)> {
        let named = match policy {
            None => self.policies.of_topic(topic),
            Some(name) => self.policies.get(name),
        };
        let Some(named) = named else { return self.refuse_policy(token, policy) };
        // The settings give no such policy to a topic; `balanced` is for everything, and keeps what can be kept.
        if let Some(limit) = named.limit_of_paths().filter(|_| policy.is_some()) {
            let policy = named.name.clone();
            self.finish(token, Reply::Refused(Refused::PathPolicy { policy, limit }));
            return None;
        }
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        Some((self.terms.get(&named.name).cloned().unwrap_or_default(), lifetime))
    }

    /// No policy of that name.
    fn refuse_policy<T>(&mut self, token: Token, name: Option<&str>) -> Option<T> {
        let name = name.unwrap_or_default().to_owned();
        let nearest = nearest(&name, self.policies.names());
        self.finish(token, Reply::Refused(Refused::UnknownPolicy { name, nearest }));
        None
    }

    fn submit_load(&mut self, token: Token, to: Name, records: Vec<u8>, count: u32, lane: Lane, lifetime: Duration) {
        let class = lane.class;
        let load = unconfirmed::Load { token: (token, to.clone()), records, count, lane, lifetime };
        match self.unconfirmed.submit(&to, load, self.now, &mut self.rng) {
            Ok(()) => drop(self.ready.insert(to)),
            Err(load) => {
                self.count(REFUSED[class as usize], load.count.into());
                let reason = format!("{} bytes of messages wait to leave", unconfirmed::MAX_BYTES);
                self.finish(token, Reply::Refused(Refused::Full(reason)));
            }
        }
    }

    /// Puts a message on its way. `None` when it was refused, which has been said then.
    pub(super) fn submit(&mut self, token: Token, to: &Name, message: Submission<Sender>) -> Option<InnerId> {
        let class = message.lane.class;
        match self.outgoing.submit(to, message, self.now, &mut self.rng) {
            Ok(id) => {
                self.ready.insert(to.clone());
                Some(id)
            }
            Err(full) => {
                self.count(REFUSED[class as usize], 1);
                self.finish(token, Reply::Refused(Refused::Full(full.to_string())));
                None
            }
        }
    }

    /// Whether a payload is within its bound; if not, that has been said.
    pub(super) fn may_send(&mut self, token: Token, payload: &[u8]) -> bool {
        match check_size(payload) {
            Ok(()) => true,
            Err(refused) => {
                self.finish(token, Reply::Refused(refused));
                false
            }
        }
    }

    /// No card of that name.
    pub(super) fn refuse_unknown(&mut self, token: Token, name: &Name) {
        if name == self.membership.name() {
            return self.finish(token, Reply::Refused(Refused::Oneself(name.clone())));
        }
        let names = self.membership.contact_book().iter().map(|card| card.name.as_str());
        let nearest = nearest(name.as_str(), names);
        self.finish(token, Reply::Refused(Refused::UnknownContact { name: name.to_string(), nearest }));
    }

    fn cancel(&mut self, token: Token) {
        let known =
            self.inbox.unwatch(token) | self.journal.unwatch(token) | self.withdraw(token) | self.unsubscribe(token);
        if !known {
            self.services.forget_request(token);
        }
    }
}

/// What messages of each policy ask of their way.
pub(super) fn all_terms(policies: &Policies) -> BTreeMap<String, Arc<Terms>> {
    let terms = |named: &NamedPolicy| Terms { policy: named.policy(), yields: named.late == Late::Pay };
    policies.iter().map(|named| (named.name.clone(), Arc::new(terms(named)))).collect()
}

/// Of some names the one most like a given one, if one is like it at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|known| (distance(known, name), known)).min();
    near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known.to_owned())
}

/// Levenshtein distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Counters of messages for which there was no room, by class.
const REFUSED: [Counter; 4] =
    [Counter::RefusedFullAlarm, Counter::RefusedFullControl, Counter::RefusedFullTelemetry, Counter::RefusedFullBulk];
