//! Ledger: every message of the workload, from its submission to its end, at both ends.
//!
//! A payload begins with its message's number, and the rest follows from that number, so that each arriving payload can
//! be identified and compared. Applications, disks and senders report here; the checks on messages are made as reports
//! come in.
//!
//! Invariants
//! - The ledger changes nothing in the world: it receives reports, and is read only when the run has ended.

use super::checks::{Checks, Promise};
use super::events::{Events, What};
use super::medium::{NANOS, now};
use super::publications::{Findings, Heard, Publications, UNNAMED};
use crate::virtual_os::splitmix;
use m2mesh::engine::api::Outcome;
use m2mesh::event_log::{Event, Logged, Record};
use m2mesh::wire::batch::Ack;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A ledger: see the module's documentation. Clones share it.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Book>>);

/// The contents of the ledger.
pub struct Book {
    /// The messages by number.
    pub messages: Vec<Message>,
    /// The checks made so far.
    pub checks: Checks,
    /// The number of messages without an outcome, by node.
    pub open: Vec<u64>,
    /// The number of copies that are to arrive.
    pub expected: u64,
    /// The number of copies that arrived.
    pub delivered: u64,
    /// The number of copies known not to have arrived in time.
    pub failed: u64,
    /// The number of payload bytes that arrived.
    pub useful: u64,
    /// The indices of the nodes, by name.
    names: BTreeMap<String, usize>,
    /// The nodes whose clock or disk is faulty, with the nanoseconds by which they may miss deadlines.
    pub excused: BTreeMap<usize, u64>,
    /// The last number that each node's application was handed from its inbox.
    numbers: BTreeMap<usize, u64>,
    /// The number of messages that each node has reported as failed.
    pub failures: BTreeMap<usize, u64>,
    /// By number, the time at which the application that has a request answered it.
    pub answered: BTreeMap<u64, u64>,
    /// The number of commits that nodes' disks delayed, since they take no writes.
    pub put_off: BTreeMap<usize, u64>,
    /// The subscriptions, and the publications that they heard.
    pub publications: Publications,
    /// The findings on publications, when the run has ended.
    pub findings: Findings,
    /// What nodes say that broadcasts cost.
    pub narrowed: Narrowed,
    /// The time in nanoseconds by which a message may come later than its deadline.
    pub slack: u64,
    /// Whether reports come from other processes, with a delay, so that the receiver's state cannot be compared with
    /// what the sender is told at the same moment.
    pub remote: bool,
    events: Events,
}

/// What nodes say that broadcasts cost, in transmissions, and what it would be without their being narrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Narrowed {
    /// Whether any are sent, so that it is listened to.
    pub heard: bool,
    /// The number of broadcasts.
    pub count: u64,
    /// Of these, the number that went to one device.
    pub unicasts: u64,
    /// What they cost.
    pub transmissions: u64,
    /// What they would cost over every link.
    pub flood: u64,
}

/// A message of the workload.
#[derive(Clone, Debug)]
pub struct Message {
    /// The index of its flow.
    pub flow: usize,
    /// The index of the sender.
    pub from: usize,
    /// The index of the receiver; `None` for a publication, and for what goes to any device or to all.
    pub to: Option<usize>,
    /// Whether one device is to get it, whichever that is, and no other after it.
    pub any: bool,
    /// The number of its topic, for a publication.
    pub topic: Option<u32>,
    /// The size of the payload in bytes.
    pub size: usize,
    /// The confirmation that was asked for; requests count as end to end.
    pub ack: Ack,
    /// The time at which it was submitted, in nanoseconds.
    pub sent: u64,
    /// The time after which it is of no use, in nanoseconds.
    pub deadline: u64,
    /// The outcome and its time in nanoseconds.
    pub end: Option<(End, u64)>,
    /// The report of its sender's node on its path, if it was confirmed.
    pub way: Option<Way>,
    /// The time at which it was durable at the receiver.
    pub durable: Option<u64>,
    /// The receptions at each receiver's application.
    pub received: Vec<Received>,
    /// The number of times that it was handed to an application again.
    pub duplicates: u32,
    /// The number of times that it was handed over after its deadline.
    pub late: u32,
    /// The number of receivers that it is to reach.
    pub expected: u32,
    /// Whether its sender's node went down before it ended.
    pub orphaned: bool,
    /// Whether a revocation may have kept it from arriving, so that nothing is expected of it.
    pub spared: bool,
}

/// The report on a message's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The number of links.
    pub hops: u32,
    /// The cost in millionths of a unit of money.
    pub price: u64,
    /// The latency in microseconds.
    pub latency: u64,
}

/// The reception of a message at a receiver's application.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The index of the node.
    pub node: usize,
    /// The time of the reception.
    pub at: u64,
    /// The message's number in the inbox; 0 if it was not there.
    pub number: u64,
}

/// The outcome of a message for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was confirmed, or answered.
    Delivered,
    /// It was forwarded, and no confirmation was asked for.
    Sent,
    /// It was not confirmed by its deadline.
    Expired,
    /// It was not accepted.
    Refused,
    /// There was no path.
    Unreachable,
}

impl End {
    /// Returns the outcome in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Sent => "sent",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered { .. } => Self::Delivered,
            Outcome::Sent { .. } | Outcome::Heard { .. } => Self::Sent,
            Outcome::Expired { .. } => Self::Expired,
            Outcome::Refused { .. } => Self::Refused,
            // No workload of a scenario asks that newer messages take the place of older ones.
            Outcome::Unreachable { .. } | Outcome::Superseded { .. } => Self::Unreachable,
        }
    }
}

impl Ledger {
    /// Returns the ledger of a world with nodes of these names, whose slowest disk flushes in `flush`.
    pub fn new(names: &[String], flush: Duration, events: Events) -> Self {
        let slack = u64::try_from((flush * 3 + SLACK).as_nanos()).unwrap_or(NANOS);
        Self(Arc::new(Mutex::new(Book {
            messages: Vec::new(),
            checks: Checks::new(),
            open: vec![0; names.len()],
            names: names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect(),
            expected: 0,
            delivered: 0,
            failed: 0,
            useful: 0,
            excused: BTreeMap::new(),
            failures: BTreeMap::new(),
            numbers: BTreeMap::new(),
            answered: BTreeMap::new(),
            put_off: BTreeMap::new(),
            publications: Publications::default(),
            findings: Findings::default(),
            narrowed: Narrowed::default(),
            slack,
            remote: false,
            events,
        })))
    }

    /// Returns the ledger of a lab with nodes of these names.
    pub fn of_lab(names: &[String], events: Events) -> Self {
        let ledger = Self::new(names, Duration::ZERO, events);
        {
            let mut book = ledger.lock();
            (book.remote, book.slack) = (true, REMOTE_SLACK);
        }
        ledger
    }

    /// Locks the ledger and returns its contents.
    pub fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a message that is submitted; returns its number and payload.
    pub fn handle_sent(&self, message: Message) -> (u64, Vec<u8>) {
        let mut book = self.lock();
        let id = book.messages.len() as u64;
        let payload = payload(id, message.size);
        book.expected += u64::from(message.expected);
        book.open[message.from] += 1;
        book.events.note(message.from, &What::Sent { message: id, flow: message.flow, to: message.to });
        book.messages.push(message);
        (id, payload)
    }

    /// Notes the report that the sender has received on the message's path.
    pub fn handle_way(&self, id: u64, way: Way) {
        if let Some(message) = self.lock().messages.get_mut(id as usize) {
            message.way = Some(way);
        }
    }

    /// Notes that the sender's node has reported a message as failed.
    pub fn handle_failure(&self, node: usize) {
        *self.lock().failures.entry(node).or_default() += 1;
    }

    /// Notes the outcome that the sender has been told.
    pub fn handle_end(&self, id: u64, end: End, reason: &str) {
        let mut book = self.lock();
        let book = &mut *book;
        let Some(message) = book.messages.get_mut(id as usize) else { return };
        book.events.note(message.from, &What::Ended { message: id, outcome: end.word(), reason });
        let again = message.end.replace((end, now()));
        book.checks.look(Promise::OneOutcome, again.is_none(), || format!("message {id} ended twice"));
        book.open[message.from] = book.open[message.from].saturating_sub(1);
        let last = (message.deadline + TOLD).saturating_add(excuse(&book.excused, [message.from, message.from]));
        let what = || format!("message {id} ended {} ms after its deadline", (now() - message.deadline) / 1_000_000);
        book.checks.look(Promise::OneOutcome, now() <= last, what);
        if end == End::Delivered && book.remote {
            // `results::check_messages` checks this at the end of the run.
        } else if end == End::Delivered {
            // A response proves that its request was taken, whatever the disk holds.
            let there = message.durable.is_some() || !message.received.is_empty();
            let to = message.to.unwrap_or_default();
            book.checks.look(Promise::DurableFirst, there, || format!("message {id} is not durable at node {to}"));
        } else if end != End::Sent {
            book.failed += u64::from(message.expected).saturating_sub(message.received.len() as u64);
        }
    }

    /// Notes that a message is durable in a node's inbox.
    pub fn handle_durable(&self, id: u64, node: usize) {
        let mut book = self.lock();
        let book = &mut *book;
        let Some(message) = book.messages.get_mut(id as usize) else { return };
        let allowed = book.slack.saturating_add(excuse(&book.excused, [node, message.from]));
        let (now, late) = (now(), now() > message.deadline.saturating_add(allowed));
        book.events.note(node, &What::Durable { message: id });
        if message.durable.is_none() {
            message.late += u32::from(late);
            let by = || format!("message {id} reached node {node} {} ms late", (now - message.deadline) / 1_000_000);
            book.checks.look(Promise::InTime, !late, by);
        }
        message.durable.get_or_insert(now);
    }

    /// Notes a commit that a node's disk does not take.
    pub fn handle_put_off(&self, node: usize) {
        *self.lock().put_off.entry(node).or_default() += 1;
    }

    /// Notes a record of a node's event log, as it is written.
    pub fn handle_logged(&self, node: usize, raw: &[u8]) {
        let mut book = self.lock();
        if !book.narrowed.heard && book.events.are_off() {
            return;
        }
        let Ok(Record { event: Logged::Known(event), .. }) = Record::decode(raw) else { return };
        book.events.note(node, &What::Logged(&event));
        if let Event::BroadcastNarrowed { to, transmissions, flood, .. } = event {
            book.narrowed.count += 1;
            book.narrowed.unicasts += u64::from(to == "unicast");
            book.narrowed.transmissions += transmissions;
            book.narrowed.flood += flood;
        }
    }

    /// Notes that an application has received a message. `number` is its number in the inbox, or 0 if it was not there.
    /// Returns the number of the message.
    pub fn handle_received(&self, node: usize, bytes: &[u8], number: u64) -> Option<u64> {
        let mut book = self.lock();
        let book = &mut *book;
        let id = message_of(bytes);
        let known = id.and_then(|id| Some((id, book.messages.get_mut(usize::try_from(id).ok()?)?)));
        let Some((id, message)) = known else {
            book.checks.look(Promise::Unaltered, false, || format!("node {node} got bytes that nobody sent"));
            return None;
        };
        let right = message.to.is_none_or(|to| to == node) && bytes == payload(id, message.size);
        book.checks.look(Promise::Unaltered, right, || format!("message {id} at node {node} is not as it was sent"));
        let before = message.received.iter().find(|received| received.node == node || message.any);
        match before.map(|before| (before.node, before.number)) {
            // The message was read again from the inbox, after a crash.
            Some((there, before)) if there == node && before == number && number != 0 => return Some(id),
            Some((there, before)) => {
                message.duplicates += 1;
                let numbers = || {
                    format!(
                        "message {id} is number {number} of the inbox of {node}, and was number {before} of that of {there}"
                    )
                };
                book.checks.look(Promise::AtMostOnce, false, numbers);
                return Some(id);
            }
            None => book.checks.look(Promise::AtMostOnce, true, String::new),
        }
        let now = now();
        if number != 0 {
            let last = book.numbers.insert(node, number).unwrap_or_default();
            let what = || format!("message {id} is number {number} of the inbox of node {node}, after {last}");
            book.checks.look(Promise::AtMostOnce, number > last, what);
        }
        message.received.push(Received { node, at: now, number });
        book.events.note(node, &What::Received { message: id });
        if number == 0 {
            let allowed = book.slack.saturating_add(excuse(&book.excused, [node, message.from]));
            let late = now > message.deadline.saturating_add(allowed);
            message.late += u32::from(late);
            let by = || format!("message {id} reached node {node} {} ms late", (now - message.deadline) / 1_000_000);
            book.checks.look(Promise::InTime, !late, by);
        }
        book.delivered += 1;
        book.useful += message.size as u64;
        Some(id)
    }

    /// Notes that an application has processed a request, and answers it.
    pub fn handle_answered(&self, id: u64) {
        self.lock().answered.insert(id, now());
    }

    /// Notes that a device listens to a topic, and returns the number of the subscription.
    pub fn handle_subscribed(&self, node: usize, topic: u32) -> usize {
        self.lock().publications.handle_subscribed(node, topic, now())
    }

    /// Notes that a subscription was handed a message, and told that this number of messages was missed before it.
    pub fn handle_heard(&self, subscription: usize, topic: &str, payload: &[u8], lost: u64) {
        let mut book = self.lock();
        let known = message_of(payload).and_then(|id| Some((id, book.messages.get(usize::try_from(id).ok()?)?.from)));
        if let Some((id, from)) = known {
            if let Some(node) = book.publications.node_of(subscription).filter(|_| lost > 0) {
                book.events.note(node, &What::Missed { topic, from, lost, uncertain: false, before: Some(id) });
            }
            book.publications
                .handle_heard(subscription, Heard { from, message: Some(id), lost, uncertain: false, at: now() });
        }
    }

    /// Notes that a subscription was told that it has missed messages of a device, without a message after them.
    pub fn handle_missed(&self, subscription: usize, topic: &str, from: &str, (lost, uncertain): (u64, bool)) {
        let mut book = self.lock();
        if let Some(from) = book.names.get(from).copied() {
            if let Some(node) = book.publications.node_of(subscription) {
                book.events.note(node, &What::Missed { topic, from, lost, uncertain, before: None });
            }
            book.publications.handle_heard(subscription, Heard { from, message: None, lost, uncertain, at: now() });
        } else {
            let unnamed = Heard { from: UNNAMED, message: None, lost: 0, uncertain: true, at: now() };
            book.publications.handle_heard(subscription, unnamed);
        }
    }

    /// Notes that a node's clock was set, and is wrong by this number of microseconds from now on.
    pub fn handle_set(&self, node: usize, wrong: i64) {
        self.lock().publications.handle_set(node, now(), wrong);
    }

    /// Notes that a node went down: the outcomes of its messages are no longer reported.
    pub fn handle_down(&self, node: usize) {
        let mut book = self.lock();
        book.publications.handle_down(node, now());
        book.open[node] = 0;
        for message in &mut book.messages {
            if message.from == node && message.end.is_none() {
                message.orphaned = true;
            }
        }
    }
}

/// Returns the nanoseconds by which these nodes may miss a deadline together, since their clocks or disks may be
/// faulty.
pub fn excuse(excused: &BTreeMap<usize, u64>, nodes: [usize; 2]) -> u64 {
    let of = |node| excused.get(node).copied().unwrap_or_default();
    let [one, other] = &nodes;
    of(one).saturating_add(if one == other { 0 } else { of(other) })
}

/// Returns the payload of a message of that number and size.
pub fn payload(id: u64, size: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    let mut state = id;
    while bytes.len() < size {
        bytes.extend_from_slice(&splitmix(&mut state).to_be_bytes());
    }
    bytes.truncate(size.max(LEAST_SIZE));
    bytes
}

/// Returns the number of the message with this payload.
pub fn message_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|number| u64::from_be_bytes(*number))
}

/// The size of the smallest payload, which is the message's number, in bytes.
pub const LEAST_SIZE: usize = 8;
/// The time after the deadline of a message by which its sender is told the outcome.
const TOLD: u64 = 5 * NANOS;
/// The time by which something may become durable later than its deadline, in addition to the disk's flush: a turn of
/// the loop.
const SLACK: Duration = Duration::from_millis(20);
/// The same in a lab, in nanoseconds: the time that a report may take from a node to this process while the machine is
/// busy.
const REMOTE_SLACK: u64 = NANOS;
