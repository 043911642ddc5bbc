//! Data frames that go out: batches under seals from end to end, and what becomes of them.
//!
//! **Out.** [`Engine::pump_unicast`] serves the ready destinations in turn: one batch, one seal, one frame, along the way
//! that the batch's terms ask for, over a link that takes data. The first frame of a session carries its opener.
//!
//! What comes in is in `arrivals`; what is said of it, in `receipts`.
//!
//! Invariants
//! 1. Nothing is sealed for a link that takes no data: what cannot go waits unsealed, and may still be batched.
//! 2. A message that the application has named leaves no earlier than it is durable itself, while the disk takes writes.

use super::Engine;
use super::api::{Outcome, Reply, Token};
use super::flights::Flight;
use super::routes::{NoWay, Route, Way, explain_no_way};
use super::seals::Envelope;
use super::store::{Read, ReadError, Table};
use crate::counter::Counter;
use crate::delivery::departure::{Departure, PLAIN_OVERHEAD};
use crate::delivery::kept::KeptRecord;
use crate::delivery::lane::{Lane, Terms};
use crate::delivery::outgoing::{End, Fate, Overdue};
use crate::delivery::retry;
use crate::delivery::unconfirmed::Gone;
use crate::id::{InnerId, LinkId, Lsn, Name, OuterId};
use crate::identity::credential::PeerCredential;
use crate::routing::search::Limit;
use crate::wire::batch::{Ack, MAX_REPLY_HANDLES};
use crate::wire::data::{Class, DataFrame, Path, Policy, put_prefixed};
use crate::wire::frame::{self, Kind};
use crate::wire::out_frame::{OutFrame, SHARED};
use crate::wire::receipt::Verdict;
use crate::wire::{self};
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Counters of messages that ended without success, by class.
const FAILED: [Counter; 4] =
    [Counter::FailedAlarm, Counter::FailedControl, Counter::FailedTelemetry, Counter::FailedBulk];
/// How far ahead a batch names the handles under which a receipt finds us.
const REPLY_HORIZON: Duration = Duration::from_secs(6 * 3_600);

/// Bytes of a frame around its plaintext, for what it costs: header, seal, and what opens a session.
const SEAL: usize = 256;
/// And around its messages.
pub(super) const AROUND: usize = SEAL + PLAIN_OVERHEAD;
/// A budget that yields does so when this part of the lifetime is left, within the two bounds that follow.
const LAST_CALL: u32 = 20;
const SHORTEST_CALL: Duration = Duration::from_secs(2);
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Messages of as many different ends are passed over in a turn, for want of time, before the lane waits.
const MOST_PASSED_OVER: usize = 8;

/// What is urgent waits for the frame before it: one holds no more than its way carries in this time,
const BATCH: Duration = Duration::from_millis(250);
/// or so many bytes.
const LEAST_BATCH: usize = 1_024;

/// Most bytes of messages in one frame on a way of so many kbit/s.
fn batch_of(rate: u32) -> usize {
    let bytes = u128::from(rate) * BATCH.as_micros() / 8_000;
    usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_BATCH)
}

/// Most bytes of plaintext that a frame may carry on a way for what its terms allow to be spent.
fn affordable(terms: &Terms, route: &Route) -> usize {
    let bytes = terms.policy.budget.map_or(u64::MAX, |budget| route.totals.bytes_for(budget));
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(SEAL)
}

/// A batch that can leave.
struct Departing {
    lane: Lane,
    /// As the lane's, but for a budget that has yielded.
    terms: Arc<Terms>,
    way: Way,
    link: LinkId,
    /// Of the link, in micro-units per MB.
    price: u64,
}

/// Who waits for the end of a message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The application, for the message's outcome; nobody yet after a restart.
    Message(Option<Token>, Name),
    /// The application, for a response.
    Request(Token, Name),
    /// Nobody: it is our answer to a call.
    Answer,
}

/// A path as it leaves its sender, over a link of that price in micro-units per MB. `bytes` are those of header and sealed part.
pub(super) fn path_of(route: &Route, price: u64, bytes: usize, outer: OuterId) -> Path {
    let spent = price.saturating_mul(bytes as u64) / 1_000_000;
    Path { outer, hops: route.hops.clone(), spent, ..Path::default() }
}

impl Engine {
    /// Seals and queues one batch, if some destination has messages, a way, and a link that takes them.
    pub(super) fn pump_unicast(&mut self) -> bool {
        while let Some(name) = self.next_ready() {
            if let Some(departing) = self.next_departing(&name) {
                self.served = Some(name.clone());
                if self.send_batch(&name, &departing) {
                    return true;
                }
            }
            self.ready.remove(&name);
        }
        false
    }

    /// The most urgent lane of a destination that has a way, and whose first link takes data.
    fn next_departing(&mut self, name: &Name) -> Option<Departing> {
        let lanes: BTreeSet<Lane> = self.outgoing.lanes(name).chain(self.unconfirmed.lanes(name)).cloned().collect();
        for lane in lanes {
            let Some((terms, way)) = self.way_of_next(name, &lane) else { continue };
            let link = way.route.first().and_then(|first| self.link_under(&first, &terms.policy));
            match link {
                Some((link, _)) if self.links.get(link).is_some_and(|link| link.blocked) => {
                    self.blocked_on.entry(link).or_default().insert(name.clone());
                }
                Some((link, price)) => return Some(Departing { lane, terms, way, link, price }),
                None => {}
            }
        }
        None
    }

    /// The way of what is next in a lane. Where that has too little time left for any, what has more goes first: on a link
    /// that carries less than there is, the oldest message has next to none, whichever it is.
    fn way_of_next(&mut self, name: &Name, lane: &Lane) -> Option<(Arc<Terms>, Way)> {
        self.outgoing.pass_over_hurried(name, lane, self.now.unix);
        for _ in 0..MOST_PASSED_OVER {
            let confirmed = self.outgoing.next_in(name, lane);
            let (expiry, lifetime, bytes) = confirmed.or_else(|| self.unconfirmed.next_in(name, lane))?;
            let left = expiry.since(self.now.unix);
            let terms = self.terms_now(&lane.terms, left, lifetime);
            let no_way = match self.way(name, &terms, left, bytes + AROUND) {
                Ok(way) => return Some((terms, way)),
                Err(no_way) => no_way,
            };
            let another = match no_way {
                NoWay::Limits(Limit::Time, by) => {
                    let ends_by = expiry + Duration::from_micros(by);
                    match confirmed {
                        Some(_) => self.outgoing.pass_over(name, lane, ends_by),
                        None => self.unconfirmed.pass_over(name, lane, ends_by),
                    }
                }
                _ => false,
            };
            self.no_way.insert(name.clone(), no_way);
            if !another {
                break;
            }
        }
        None
    }

    /// What a message asks of its way now that so much time is left: a budget that yields does so near the end.
    fn terms_now(&mut self, terms: &Arc<Terms>, left: Duration, lifetime: Duration) -> Arc<Terms> {
        if !terms.yields || terms.policy.budget.is_none() {
            return terms.clone();
        }
        let last_call = (lifetime / LAST_CALL).clamp(SHORTEST_CALL, LONGEST_CALL);
        if left > last_call {
            let at = self.now.time + (left - last_call);
            self.last_call = Some(self.last_call.map_or(at, |known| known.min(at)));
            return terms.clone();
        }
        Arc::new(Terms { policy: Policy { budget: None, ..terms.policy.clone() }, yields: false })
    }

    /// Whether something is to be sent to a destination.
    pub(super) fn waits_for(&self, name: &Name) -> bool {
        self.outgoing.lanes(name).next().is_some() || self.unconfirmed.lanes(name).next().is_some()
    }

    /// The next destination after the one served last, in order of names, all in turn.
    fn next_ready(&self) -> Option<Name> {
        use core::ops::Bound::{Excluded, Unbounded};
        let after = self.served.as_ref().and_then(|served| self.ready.range((Excluded(served), Unbounded)).next());
        after.or_else(|| self.ready.first()).cloned()
    }

    fn send_batch(&mut self, name: &Name, departing: &Departing) -> bool {
        let Departing { lane, terms, way, link, price } = departing;
        let attempt = self.outer_id();
        let mut plain = core::mem::take(&mut self.plain);
        plain.clear();
        let (mut ends, mut gone) = (Vec::new(), Vec::new());
        // In turn, where both wait: neither can keep the other from leaving.
        self.confirmed_last = !self.confirmed_last;
        let first = self.confirmed_last && self.outgoing.waits(name, lane);
        let flight = self.flights.next();
        let round_trip = Duration::from_micros(way.route.totals.delay.saturating_mul(2));
        // A link that breaks tells so: a neighbour is given more time, unless the link itself takes longer.
        let hasty = way.route.nodes.len() == 1 && round_trip < retry::LONGEST / 2;
        let expected = (!hasty).then_some(round_trip);
        let most = batch_of(way.route.rate).min(affordable(terms, &way.route));
        let arrives = self.now.unix + Duration::from_micros(way.route.totals.delay);
        let spares = way.spares.map(|delay| self.now.unix + Duration::from_micros(delay));
        let taken = if first || !self.unconfirmed.waits(name, lane) {
            let reply = self.membership.handles(self.now.unix, self.now.unix + REPLY_HORIZON, MAX_REPLY_HANDLES);
            let departure =
                Departure { attempt, reply: &reply, flight, expected, most, arrives, spares, now: self.now };
            self.outgoing.take_batch(name, lane, &departure, &mut plain, &mut ends)
        } else {
            let departure = Departure { attempt, reply: &[], flight, expected, most, arrives, spares, now: self.now };
            self.unconfirmed.take(name, lane, &departure, &mut plain, &mut gone)
        };
        if let Some(taken) = taken {
            let envelope = Envelope { class: lane.class, policy: &terms.policy, outer: attempt, expiry: taken.expiry };
            if let Some(mut frame) = self.seal(name, (&way.route, *price), &envelope, &plain, None) {
                let flags = if taken.ack == Ack::Hop { frame::HOP_ACK } else { 0 };
                frame[5] = flags;
                match taken.ack {
                    Ack::None => {}
                    Ack::Hop => {
                        if let Some(link) = self.links.get(*link) {
                            self.flights.asks_hop(attempt, link.peer.body.key, name.clone());
                        }
                    }
                    Ack::End => {
                        let price = way.route.totals.cost_of(frame.len() as u64);
                        let left = Flight {
                            route: way.route.clone(),
                            price,
                            messages: taken.messages,
                            praised: false,
                            blamed: false,
                        };
                        let forgotten = self.flights.left(flight, left);
                        self.count(Counter::FlightsForgotten, u64::from(forgotten));
                    }
                }
                // What this turn submitted is in the turn's commit, which has been numbered before. A disk that fails keeps
                // nothing from leaving: nobody knows for how long, and a message may be an alarm.
                let after = if taken.named && !self.disk_fails { self.journal.last() } else { Lsn(0) };
                self.send_copy(terms, way, &frame, after);
                self.send_data(*link, lane.class, frame.into(), after);
            } else {
                self.outgoing.handle_path_broken(name);
                // These are not queued again, and did not leave.
                gone.iter_mut().for_each(|gone| gone.left = false);
                self.ready.remove(name);
            }
        }
        self.plain = plain;
        self.report(ends);
        self.report_gone(gone);
        taken.is_some()
    }

    /// Sends the same record along the alternate path, where two copies are wanted: the receiver takes the first.
    fn send_copy(&mut self, terms: &Terms, way: &Way, frame: &[u8], after: Lsn) {
        if terms.policy.copies.is_none_or(|copies| copies < 2) {
            return;
        }
        let Some(route) = &way.alternate else { return self.count(Counter::CopiesWithoutWay, 1) };
        let link = route.first().and_then(|first| self.link_under(&first, &terms.policy));
        let Some((link, price)) = link.filter(|(link, _)| self.links.get(*link).is_some_and(|link| !link.blocked))
        else {
            return self.count(Counter::CopiesWithoutWay, 1);
        };
        let Ok(data) = DataFrame::parse(&frame[frame::HEADER..]) else { return };
        let path = path_of(route, price, data.header_bytes.len() + data.sealed.len(), data.path.outer);
        let class = data.header.class;
        let copy = put_data(data.header_bytes, &path, data.sealed, &Bytes::new());
        self.send_data(link, class, copy, after);
    }

    /// Queues a data frame, which is paid for.
    pub(super) fn send_data(&mut self, link: LinkId, class: Class, frame: OutFrame, after: Lsn) {
        self.spend(link, frame.len());
        self.send_in_pieces(link, class, frame, after, None);
    }

    /// The credential of the device at the end of a route.
    pub(super) fn credential_at_end(&mut self, name: &Name, route: &Route) -> Option<PeerCredential> {
        let last = route.nodes.last()?;
        if let Some((_, link)) = self.links.of(last).next() {
            return Some(link.peer.clone());
        }
        if let Some(hash) = self.routing.hash_of(last) {
            return self.peers.get(&hash).cloned();
        }
        self.credential_of_name(name)
    }

    pub(super) fn timeout_unicast(&mut self) {
        let (mut ends, mut overdue) = (Vec::new(), Overdue::default());
        self.outgoing.handle_timeout(self.now.time, &mut ends, &mut overdue);
        for flight in overdue.suspicious {
            if let Some(route) = self.flights.suspicious(flight) {
                self.blame(&route);
                self.fail_over(&route);
            }
        }
        overdue.lost.into_iter().for_each(|flight| self.flights.lost(flight));
        self.last_call = None;
        let mut gone = Vec::new();
        self.unconfirmed.handle_timeout(self.now.time, &mut gone);
        let waiting = self.outgoing.destinations_waiting().chain(self.unconfirmed.destinations());
        self.ready.extend(waiting.cloned());
        self.report(ends);
        self.report_gone(gone);
    }

    /// Takes up what an earlier process has left to be sent. What has ended is not sent again.
    pub(super) fn restore_outgoing(&mut self, store: &dyn Read) -> Result<(), ReadError> {
        let mut damaged = 0;
        store.scan(Table::Outbox, &[], &mut |_, value| {
            let Ok(record) = wire::decode::<KeptRecord<'_>>(value) else {
                damaged += 1;
                return true;
            };
            let to = record.to.clone();
            let outcomes = &mut self.outcomes;
            self.outgoing.restore(record, self.now, &mut |message| {
                if let Some(id) = message.id {
                    if outcomes.has_ended(&id) {
                        return None;
                    }
                    outcomes.opened(id);
                }
                Some(if message.purpose.is_some() { Sender::Answer } else { Sender::Message(None, to.clone()) })
            });
            self.ready.insert(to);
            true
        })?;
        self.count(Counter::OutgoingDamaged, damaged);
        Ok(())
    }

    /// Tells whoever waits how messages ended.
    pub(super) fn report(&mut self, ends: Vec<End<Sender>>) {
        for End { token, id, class, fate, latency, flight } in ends {
            let price = flight.map_or(0, |flight| self.land(flight, fate));
            let (token, to, request) = match token {
                Sender::Message(token, to) => (token, to, false),
                Sender::Request(token, to) => (Some(token), to, true),
                Sender::Answer => continue,
            };
            if request && matches!(fate, Fate::Delivered { .. } | Fate::Sent) {
                // The service has it: from here on the response counts, see `services`.
                continue;
            }
            let outcome = self.outcome(&to, fate, latency, price);
            if !outcome.is_success() {
                self.note_failure(to.as_str(), &outcome);
                self.count(FAILED[class as usize], 1);
            }
            // A crash could let a message be sent again that was refused, and one that has a name end otherwise for who asks
            // again: such an end is written before it is told. While the disk fails nobody knows how long that takes.
            let refused = matches!(outcome, Outcome::Refused { .. });
            let first = refused || (id.is_some() && !outcome.is_success() && !self.disk_fails);
            let asked = id.map_or_else(Vec::new, |id| self.outcomes.ended(id, &outcome));
            if let Some(token) = token.filter(|_| request) {
                self.services.forget_request(token);
            }
            for token in token.into_iter().chain(asked) {
                let reply = Reply::Outcome(outcome.clone());
                if first && !request { self.journal.finish_with(token, reply) } else { self.finish(token, reply) }
            }
        }
    }

    /// A flight has arrived.
    pub(super) fn arrived(&mut self, flight: u64) {
        if let Some((true, route, _)) = self.flights.confirmed(flight) {
            self.praise(&route);
        }
    }

    /// A message of a flight has ended; what the message cost in micro-units.
    fn land(&mut self, flight: u64, fate: Fate) -> u64 {
        if !matches!(fate, Fate::Delivered { .. } | Fate::Refused(_)) {
            return 0;
        }
        let Some((first, route, price)) = self.flights.confirmed(flight) else {
            return self.flights.price_of_given_up(flight).unwrap_or(0);
        };
        if first {
            self.praise(&route);
        }
        price
    }

    fn report_gone(&mut self, gone: Vec<Gone<(Token, Name)>>) {
        for Gone { token: (token, to), count, class, left, latency } in gone {
            let fate = if left { Fate::Sent } else { Fate::Unreachable };
            let outcome = self.outcome(&to, fate, latency, 0);
            if !left {
                self.note_failure(to.as_str(), &outcome);
                self.count(FAILED[class as usize], count.into());
            }
            self.finish(token, Reply::Outcome(outcome));
        }
    }

    pub(super) fn note_failure(&mut self, to: &str, outcome: &Outcome) {
        let (kind, reason) = match outcome {
            Outcome::Delivered { .. } | Outcome::Sent { .. } | Outcome::Heard { .. } => return,
            Outcome::Expired { reason } => ("expired", reason),
            Outcome::Refused { reason } => ("refused", reason),
            Outcome::Unreachable { reason } => ("unreachable", reason),
        };
        self.log.note_failed(to, kind, reason);
        self.timeout_log();
    }

    fn outcome(&self, to: &Name, fate: Fate, latency: Duration, price: u64) -> Outcome {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        match fate {
            Fate::Delivered { hops } => Outcome::Delivered { latency_us, hops, price },
            Fate::Sent => Outcome::Sent { latency_us, neighbours: 1 },
            Fate::Expired => {
                Outcome::Expired { reason: format!("it left, but no receipt of {to} came by the deadline") }
            }
            Fate::NoRoom => Outcome::Expired {
                reason: format!(
                    "the inbox of {to} was full until the deadline; `m2mesh receive` there empties it, for each consumer"
                ),
            },
            Fate::Unreachable => {
                let why =
                    self.no_way.get(to).map_or_else(String::new, |no_way| format!(": {}", explain_no_way(no_way)));
                Outcome::Unreachable { reason: format!("there was no way to {to} by the deadline{why}") }
            }
            Fate::Refused(verdict) => Outcome::Refused {
                reason: match verdict {
                    Verdict::NoService => format!("{to} offers no such service"),
                    Verdict::ServiceBusy => format!("the service of {to} has too many calls waiting"),
                    Verdict::Forbidden => format!("{to} does not permit it"),
                    Verdict::NotStored => format!("the disk of {to} takes nothing at the moment"),
                    Verdict::Delivered | Verdict::Expired | Verdict::InboxFull => format!("{to} says {verdict:?}"),
                },
            },
        }
    }

    /// Names an attempt, by which it is known if it should come back.
    pub(super) fn outer_id(&mut self) -> OuterId {
        let mut id = [0; OuterId::LEN];
        self.rng.fill_bytes(&mut id);
        self.flows.begin(OuterId(id));
        OuterId(id)
    }
}

/// A data frame of its parts; the sealed one lies in `buffer`, if that is to be shared.
pub(super) fn put_data(header: &[u8], path: &Path, sealed: &[u8], buffer: &Bytes) -> OutFrame {
    let path = wire::encode(path);
    let copied = if sealed.len() < SHARED { sealed.len() } else { 0 };
    let mut head = Vec::with_capacity(frame::HEADER + header.len() + path.len() + 4 + copied);
    frame::begin(&mut head, Kind::Data);
    put_prefixed(&mut head, header);
    put_prefixed(&mut head, &path);
    OutFrame::around(head, buffer, sealed)
}

/// A message's identity, for logs.
pub(super) fn inner(stream: crate::id::StreamId, sequence: u64) -> InnerId {
    InnerId { stream, sequence }
}
