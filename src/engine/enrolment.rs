//! Enrolment passing through, this node's own renewal, and the turn of its epochs.
//!
//! **Relaying.** A device that enrols at this node's admission hands in one sealed request. If this node has the
//! issuer's key, its issuer answers; else the request goes to every neighbour, each of which hands it on once, and
//! the answer retraces the steps in pieces. Nobody on the way can read either.
//!
//! **Renewal.** Well before its credentials run out the node asks for the next batch in the same way, over a
//! connection of its own under its renewal key. A *pull* is a renewal that asks for no credentials, only for new
//! contact cards and the bulletin: it is made when a stranger speaks to us or the application names a stranger,
//! since the operator may have introduced them meanwhile.
//!
//! **Epochs.** At the turn of an epoch the node takes its next credential, tells its neighbours ([`Kind::Refresh`]),
//! publishes a new admission view, and closes links whose credential has lapsed.
//!
//! ```text
//!  due or pull ─▶ asking ──answer──▶ idle
//!                   └──failure──▶ waiting (10 s, doubling to 10 min) ─▶ asking
//! ```
//!
//! Invariants
//! 1. At most [`MAX_RELAYS`] requests are on their way through. Drop policy: the newest is refused (`Busy`).
//! 2. At most one request of our own at a time; pulls at most every [`PULL_INTERVAL`] where the issuer is elsewhere.
//! 3. A message to a stranger waits for one pull, then goes or is refused.

use super::api::{Command, Load, Reply, Send, Token};
use super::{Engine, Origin, Output};
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{LinkId, Name, OuterId};
use crate::identity::credential::acceptance;
use crate::identity::enrolment::PendingEnrolment;
use crate::time::{Now, Time};
use crate::wire::enrol_relay::{EnrolAnswer, EnrolRelay, MAX_HOPS, MAX_PIECES, PIECE};
use crate::wire::enrolment::{MAX_REQUEST, Refusal};
use crate::wire::frame::Kind;
use crate::wire::hello::{EnrolHello, EnrolReply};
use crate::wire::{self};
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Most requests on their way through.
const MAX_RELAYS: usize = 64;
/// How long a request may take.
const RELAY_TIME: Duration = Duration::from_secs(15);
/// Least time between two pulls.
const PULL_INTERVAL: Duration = Duration::from_secs(5);
/// First and longest wait after a failed renewal.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Most messages that wait for a pull. Drop policy: the newest is refused as to an unknown contact.
const MAX_STRANGERS: usize = 256;
/// A destination whose session the peer did not know, or refused, is tried again after this.
const REOPEN: Duration = Duration::from_millis(200);
/// Clock steps larger than this are events.
const STEP: i64 = 1_000_000;

#[derive(Debug)]
enum Back {
    Admission { id: u64, pieces: BTreeMap<u16, Vec<u8>> },
    Link(LinkId),
}

#[derive(Debug)]
struct Relay {
    number: u64,
    back: Back,
    until: Time,
}

#[derive(Debug)]
struct Stranger {
    token: Token,
    to: Name,
    command: Command,
    since: Time,
}

/// Requests passing through, our own, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Enrolment {
    relays: BTreeMap<OuterId, Relay>,
    last_number: u64,
    asking: Option<PendingEnrolment>,
    /// Whether the request asks for credentials, and not only for cards.
    asking_batch: bool,
    /// Something new was wanted while a request was under way.
    pull_again: bool,
    last_pull: Option<Time>,
    next_pull: Option<Time>,
    next_renewal: Option<Time>,
    failures: u32,
    strangers: Vec<Stranger>,
    next_epoch: Option<Time>,
    /// When keys of past epochs are erased.
    next_erasure: Option<Time>,
    reopen: BTreeSet<(Time, Name)>,
}

impl Enrolment {
    pub(super) fn next_wake(&self) -> Option<Time> {
        let relays = self.relays.values().map(|relay| relay.until).min();
        let reopen = self.reopen.first().map(|(at, _)| *at);
        let own = [self.next_pull, self.next_renewal, self.next_epoch, self.next_erasure];
        own.into_iter().chain([relays, reopen]).flatten().min()
    }
}

impl Engine {
    /// Takes up the present epoch.
    pub(super) fn start_epoch(&mut self) {
        let length = self.membership.epoch_length();
        let epoch = length.epoch_at(self.now.unix);
        self.enrolment.next_epoch = Some(self.now.time + length.end(epoch).since(self.now.unix));
        // At a start and after a step of the clock too: a clock that is wrong by days is given time to be set.
        self.enrolment.next_erasure = Some(self.now.time + length.skew() * 2);
        self.record(Event::EpochChanged { epoch: epoch.0 });
        self.outputs.push_back(Output::MembershipChanged { save: false });
        self.learn_own();
        self.send_refresh();
        self.close_lapsed_links();
        self.plan_renewal();
    }

    /// Erases what opens the past: keys of epochs that are accepted no more, here and on disk, and the sessions of these.
    fn erase_past(&mut self) {
        self.enrolment.next_erasure = None;
        self.sessions.retire(self.now.unix);
        if self.membership.erase_past(self.now.unix) {
            self.outputs.push_back(Output::MembershipChanged { save: true });
        }
    }

    /// Closes links whose neighbour has not refreshed its credential in time, or is revoked.
    pub(super) fn close_lapsed_links(&mut self) {
        let (unix, bulletin) = (self.now.unix, self.membership.bulletin().clone());
        let lapsed: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                acceptance(&link.peer.body).is_none_or(|(_, until)| until <= unix)
                    || bulletin.verify_credential(&link.peer.signed, unix).is_err()
            })
            .map(|(id, _)| id)
            .collect();
        for link in lapsed {
            self.close(link, "its credential has lapsed");
        }
    }

    /// A device wants to enrol at this node.
    pub(super) fn handle_enrol(&mut self, id: u64, hello: EnrolHello) {
        if hello.realm != self.membership.realm() {
            return self.refuse_enrolment(id, Refusal::ForeignRealm);
        }
        if self.issuer == Some(hello.issuer) {
            return self.outputs.push_back(Output::Issue { origin: Origin::Admission(id), hello });
        }
        if self.links.ids().is_empty() {
            return self.refuse_enrolment(id, Refusal::NoIssuer);
        }
        let mut relay = [0; OuterId::LEN];
        self.rng.fill_bytes(&mut relay);
        let relay = OuterId(relay);
        if !self.remember_relay(relay, Back::Admission { id, pieces: BTreeMap::new() }) {
            self.count(Counter::EnrolmentsDroppedBusy, 1);
            return self.refuse_enrolment(id, Refusal::Busy);
        }
        let frame = EnrolRelay { id: relay, hops: 0, issuer: hello.issuer, sealed: &hello.sealed };
        for link in self.links.ids() {
            self.send_control(link, Kind::EnrolRelay, &frame);
        }
    }

    pub(super) fn handle_enrol_relay(&mut self, from: LinkId, body: &[u8]) {
        let Ok(relay) = wire::decode::<EnrolRelay<'_>>(body) else { return self.count(Counter::ControlMalformed, 1) };
        if relay.sealed.len() > MAX_REQUEST || relay.hops >= MAX_HOPS || self.enrolment.relays.contains_key(&relay.id) {
            return;
        }
        if !self.remember_relay(relay.id, Back::Link(from)) {
            return self.count(Counter::EnrolmentsDroppedBusy, 1);
        }
        if self.issuer == Some(relay.issuer) {
            let number = self.enrolment.last_number;
            let realm = self.membership.realm();
            let hello = EnrolHello { realm, issuer: relay.issuer, sealed: relay.sealed.to_vec() };
            return self.outputs.push_back(Output::Issue { origin: Origin::Relay(number), hello });
        }
        let onward = EnrolRelay { hops: relay.hops + 1, ..relay };
        for link in self.links.ids().into_iter().filter(|link| *link != from) {
            self.send_control(link, Kind::EnrolRelay, &onward);
        }
    }

    pub(super) fn handle_enrol_answer(&mut self, link: LinkId, body: &[u8]) {
        let Ok(answer) = wire::decode::<EnrolAnswer<'_>>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let sound = answer.pieces <= MAX_PIECES && answer.piece < answer.pieces && answer.bytes.len() <= PIECE;
        let Some(relay) = self.enrolment.relays.get_mut(&answer.id).filter(|_| sound) else { return };
        match &mut relay.back {
            Back::Link(back) if *back != link => {
                let back = *back;
                self.send_control(back, Kind::EnrolAnswer, &answer);
            }
            Back::Link(_) => {}
            Back::Admission { id, pieces } => {
                pieces.insert(answer.piece, answer.bytes.to_vec());
                if pieces.len() == usize::from(answer.pieces) {
                    let (id, reply) = (*id, pieces.values().flatten().copied().collect::<Vec<u8>>());
                    self.enrolment.relays.remove(&answer.id);
                    match wire::decode(&reply) {
                        Ok(reply) => self.outputs.push_back(Output::Enrolled { id, reply }),
                        Err(_) => self.refuse_enrolment(id, Refusal::Malformed),
                    }
                }
            }
        }
    }

    /// This node's issuer has answered.
    pub(super) fn handle_issued(&mut self, origin: Origin, reply: EnrolReply, event: Option<Event>) {
        let introduced = matches!(event, Some(Event::Enrolled { .. }));
        if let Some(event) = event {
            self.record(event);
        }
        match origin {
            Origin::Admission(id) => self.outputs.push_back(Output::Enrolled { id, reply }),
            Origin::Own => self.handle_renewed(Ok(reply)),
            Origin::Relay(number) => {
                let found = self.enrolment.relays.iter().find(|(_, relay)| relay.number == number);
                if let Some((&id, &Relay { back: Back::Link(link), .. })) = found {
                    self.send_pieces(id, link, &wire::encode(&reply));
                }
            }
        }
        if introduced {
            self.pull_cards();
        }
    }

    pub(super) fn handle_renewed(&mut self, answer: Result<EnrolReply, String>) {
        let Some(pending) = self.enrolment.asking.take() else { return };
        let result = answer.and_then(|reply| match (reply.sealed, reply.refused) {
            (Some(sealed), None) => {
                self.membership.finish_renewal(&pending, &sealed, self.now.unix).map_err(|error| error.to_string())
            }
            (_, Some(refused)) => Err(refused.to_string()),
            _ => Err("the answer is empty".to_owned()),
        });
        match result {
            Ok(renewed) => {
                self.enrolment.failures = 0;
                if renewed.credentials {
                    let until = self.membership.valid_until().seconds();
                    self.record(Event::Joined { until });
                }
                self.outputs.push_back(Output::MembershipChanged { save: true });
                self.rename_links();
                if renewed.bulletin {
                    self.heed_bulletin();
                }
                self.update_topics();
            }
            Err(reason) => {
                self.enrolment.failures += 1;
                if self.enrolment.asking_batch {
                    self.record(Event::RenewalFailed { reason });
                } else {
                    self.count(Counter::PullsFailed, 1);
                }
            }
        }
        self.plan_renewal();
        self.settle_strangers();
        if core::mem::take(&mut self.enrolment.pull_again) {
            self.pull_cards();
        }
    }

    /// Asks the issuer for new cards, soon.
    pub(super) fn pull_cards(&mut self) {
        if self.enrolment.asking.is_some() {
            self.enrolment.pull_again = true;
            return;
        }
        // An issuer that is here costs nobody else anything.
        let interval = if self.issuer.is_some() { Duration::ZERO } else { PULL_INTERVAL };
        let earliest = self.enrolment.last_pull.map(|last| last + interval);
        self.enrolment.next_pull = Some(earliest.unwrap_or(self.now.time).max(self.now.time));
        self.start_pull_if_due();
    }

    /// A message to a name without a card: pull, then see.
    pub(super) fn submit_after_pull(&mut self, token: Token, to: Name, command: Command) {
        if to == *self.membership.name() {
            return self.refuse_unknown(token, &to);
        }
        if self.enrolment.strangers.len() >= MAX_STRANGERS {
            self.count(Counter::MessagesToStrangersRefused, 1);
            return self.refuse_unknown(token, &to);
        }
        let since = self.now.time;
        self.enrolment.strangers.push(Stranger { token, to, command, since });
        if self.enrolment.asking.is_none() {
            self.pull_cards();
        }
    }

    /// The peer did not know our session, or us: try again in a moment.
    pub(super) fn retry_later(&mut self, name: Name) {
        self.ready.remove(&name);
        self.enrolment.reopen.insert((self.now.time + REOPEN, name));
    }

    pub(super) fn forget_link_in_relays(&mut self, link: LinkId) {
        self.enrolment.relays.retain(|_, relay| !matches!(relay.back, Back::Link(back) if back == link));
    }

    pub(super) fn timeout_enrolment(&mut self) {
        let now = self.now.time;
        let late: Vec<OuterId> =
            self.enrolment.relays.iter().filter(|(_, relay)| relay.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(Relay { back: Back::Admission { id, .. }, .. }) = self.enrolment.relays.remove(&id) {
                self.refuse_enrolment(id, Refusal::NoIssuer);
            }
        }
        while self.enrolment.reopen.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, name)) = self.enrolment.reopen.pop_first() {
                self.ready.insert(name);
            }
        }
        if self.enrolment.next_epoch.is_some_and(|at| at <= now) {
            self.start_epoch();
            self.update_topics();
        }
        if self.enrolment.next_erasure.is_some_and(|at| at <= now) {
            self.erase_past();
        }
        if self.enrolment.next_renewal.is_some_and(|at| at <= now) {
            self.enrolment.next_renewal = None;
            self.ask_issuer(true);
        }
        self.start_pull_if_due();
    }

    /// Notes when the wall clock moves against the monotonic one.
    pub(super) fn watch_clock(&mut self, now: Now) {
        let wall = now.unix.0.cast_signed() - self.now.unix.0.cast_signed();
        let elapsed = now.time.since(self.now.time).as_micros();
        let by = wall - i64::try_from(elapsed).unwrap_or(i64::MAX);
        if by.abs() > STEP {
            self.now = now;
            self.record(Event::ClockStepped { by_ms: by / 1_000 });
            self.start_epoch();
            self.update_topics();
        }
    }

    fn refuse_enrolment(&mut self, id: u64, refused: Refusal) {
        let reply = EnrolReply { sealed: None, refused: Some(refused) };
        self.outputs.push_back(Output::Enrolled { id, reply });
    }

    fn remember_relay(&mut self, id: OuterId, back: Back) -> bool {
        if self.enrolment.relays.len() >= MAX_RELAYS {
            return false;
        }
        self.enrolment.last_number += 1;
        let (number, until) = (self.enrolment.last_number, self.now.time + RELAY_TIME);
        self.enrolment.relays.insert(id, Relay { number, back, until });
        true
    }

    fn send_pieces(&mut self, id: OuterId, link: LinkId, sealed: &[u8]) {
        let pieces = u16::try_from(sealed.len().div_ceil(PIECE)).unwrap_or(u16::MAX);
        for (piece, bytes) in (0..pieces).zip(sealed.chunks(PIECE)) {
            self.send_control(link, Kind::EnrolAnswer, &EnrolAnswer { id, piece, pieces, bytes });
        }
    }

    /// When the next batch is to be asked for.
    fn plan_renewal(&mut self) {
        let at = if self.enrolment.failures > 0 {
            let (first, longest) = RETRY;
            let wait = first.saturating_mul(1 << (self.enrolment.failures - 1).min(6)).min(longest);
            Some(self.now.time + wait)
        } else {
            self.membership.renewal_due(self.now.unix).then_some(self.now.time)
        };
        self.enrolment.next_renewal = at.filter(|_| self.membership.renewal_due(self.now.unix));
    }

    fn start_pull_if_due(&mut self) {
        if self.enrolment.asking.is_none() && self.enrolment.next_pull.is_some_and(|at| at <= self.now.time) {
            self.enrolment.next_pull = None;
            self.enrolment.last_pull = Some(self.now.time);
            self.ask_issuer(false);
        }
    }

    fn ask_issuer(&mut self, batch: bool) {
        if self.enrolment.asking.is_some() {
            return;
        }
        let begun = if batch {
            self.membership.begin_renewal(self.now.unix, &mut self.rng)
        } else {
            self.membership.begin_pull(self.now.unix, &mut self.rng)
        };
        let (hello, pending) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.record(Event::RenewalFailed { reason: error.to_string() }),
        };
        let seed = pending.connection_seed();
        self.enrolment.asking = Some(pending);
        self.enrolment.asking_batch = batch;
        if self.issuer == Some(hello.issuer) {
            self.outputs.push_back(Output::Issue { origin: Origin::Own, hello });
        } else {
            self.outputs.push_back(Output::Renew { hello, seed });
        }
    }

    /// The pull is over: messages to strangers go, or are refused.
    fn settle_strangers(&mut self) {
        for Stranger { token, to, mut command, since } in core::mem::take(&mut self.enrolment.strangers) {
            if let Command::Send(Send { lifetime, .. })
            | Command::SendLoad(Load { lifetime, .. })
            | Command::Request { send: Send { lifetime, .. }, .. } = &mut command
            {
                *lifetime = lifetime.saturating_sub(self.now.time.since(since));
            }
            if self.membership.contacts().get(&to).is_none() {
                self.refuse_unknown(token, &to);
            } else {
                self.handle_command(token, command);
            }
        }
    }

    /// Whom the application can address.
    pub fn contacts(&mut self) -> Reply {
        let contacts = self.membership.contacts().iter().map(|card| card.name.clone()).collect::<Vec<_>>();
        let contact =
            |name: Name| super::api::Contact { neighbour: self.links.to(&name).is_some(), name: name.to_string() };
        Reply::Contacts(contacts.into_iter().map(contact).collect())
    }
}
