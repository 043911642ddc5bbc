//! Ledger: every message of the workload, from when it is handed over to its end, at both ends.
//!
//! A payload begins with its message's number, and the rest follows from that, so that whatever arrives can be told and
//! compared. Applications, disks and senders report here; the checks on messages are made as reports come in.
//!
//! Invariants
//! 1. The ledger changes nothing in the world: it is told, and only asked when the run has ended.

use super::checks::{Checks, Promise};
use super::events::{Events, What};
use super::medium::{NANOS, now};
use super::publications::{Findings, Heard, Publications};
use crate::virtual_os::splitmix;
use m2mesh::engine::api::Outcome;
use m2mesh::event_log::{Logged, Record};
use m2mesh::wire::batch::Ack;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module's documentation. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Book>>);

/// What the ledger holds.
pub struct Book {
    /// By number.
    pub messages: Vec<Message>,
    /// Checks made so far.
    pub checks: Checks,
    /// Messages without an outcome, by node.
    pub open: Vec<u64>,
    /// Copies that were to arrive, and that did; and that are known not to.
    pub expected: u64,
    /// Copies that arrived.
    pub delivered: u64,
    /// Copies known not to have arrived in time.
    pub failed: u64,
    /// Payload bytes that arrived.
    pub useful: u64,
    /// Indices of the nodes, by their names.
    names: BTreeMap<String, usize>,
    /// Nodes whose clock or disk is not sound: by how many nanoseconds their deadlines may be missed.
    pub excused: BTreeMap<usize, u64>,
    /// The last number that each node's application was handed from its inbox.
    numbers: BTreeMap<usize, u64>,
    /// Messages that each node has told to have failed.
    pub failures: BTreeMap<usize, u64>,
    /// By number, when the application that has a request answered it.
    pub answered: BTreeMap<u64, u64>,
    /// Commits that nodes' disks put off, since they take no writes.
    pub put_off: BTreeMap<usize, u64>,
    /// Who subscribed to what, and heard what.
    pub publications: Publications,
    /// What came of that, when the run has ended.
    pub findings: Findings,
    /// So much later than its deadline something may come, in nanoseconds.
    pub slack: u64,
    /// Whether reports come from other processes, a while after what they tell of, so that what a receiver has cannot be held against what
    /// its sender is told at that moment.
    pub remote: bool,
    events: Events,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Index of its flow.
    pub flow: usize,
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver; `None` for a publication.
    pub to: Option<usize>,
    /// Number of its topic, of a publication.
    pub topic: Option<u32>,
    /// Bytes.
    pub size: usize,
    /// What confirmation was asked for; requests count as end to end.
    pub ack: Ack,
    /// When it was handed over, in nanoseconds.
    pub sent: u64,
    /// Of no use after this.
    pub deadline: u64,
    /// How it ended, and when.
    pub end: Option<(End, u64)>,
    /// How it went, as its sender's node says, if it was confirmed.
    pub way: Option<Way>,
    /// When it was durable at the receiver.
    pub durable: Option<u64>,
    /// When each receiver's application had it, and under which number of its inbox.
    pub received: Vec<Received>,
    /// Handed to an application again.
    pub duplicates: u32,
    /// Handed over after its deadline.
    pub late: u32,
    /// Receivers that it was to reach.
    pub expected: u32,
    /// Whether its sender's node went down before it ended.
    pub orphaned: bool,
}

/// How a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Over so many links.
    pub hops: u32,
    /// Millionths of a unit of money.
    pub price: u64,
    /// Microseconds.
    pub latency: u64,
}

/// A message at a receiver's application.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Index of the node.
    pub node: usize,
    /// When.
    pub at: u64,
    /// Number in its inbox; 0 where it was not there.
    pub number: u64,
}

/// How a message ended for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Confirmed, or answered.
    Delivered,
    /// Handed on, and nothing more was asked.
    Sent,
    /// Not confirmed by its deadline.
    Expired,
    /// Not taken.
    Refused,
    /// No way.
    Unreachable,
}

impl End {
    /// In a word.
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
            Outcome::Unreachable { .. } => Self::Unreachable,
        }
    }
}

impl Ledger {
    /// Of a world with nodes of these names, whose slowest disk flushes in `flush`.
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
            slack,
            remote: false,
            events,
        })))
    }

    /// Of a lab with nodes of these names.
    pub fn of_lab(names: &[String], events: Events) -> Self {
        let ledger = Self::new(names, Duration::ZERO, events);
        {
            let mut book = ledger.lock();
            (book.remote, book.slack) = (true, REMOTE_SLACK);
        }
        ledger
    }

    /// Everything.
    pub fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is handed over: its number and payload.
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

    /// The sender has heard how it went.
    pub fn handle_way(&self, id: u64, way: Way) {
        if let Some(message) = self.lock().messages.get_mut(id as usize) {
            message.way = Some(way);
        }
    }

    /// The sender's node has told that it failed.
    pub fn handle_failure(&self, node: usize) {
        *self.lock().failures.entry(node).or_default() += 1;
    }

    /// The sender has heard how it ended.
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
            // Looked at when all is over, by `results::check_messages`.
        } else if end == End::Delivered {
            // A response says so itself: its request was taken, whatever the disk.
            let there = message.durable.is_some() || !message.received.is_empty();
            let to = message.to.unwrap_or_default();
            book.checks.look(Promise::DurableFirst, there, || format!("message {id} is not durable at node {to}"));
        } else if end != End::Sent {
            book.failed += u64::from(message.expected).saturating_sub(message.received.len() as u64);
        }
    }

    /// It is on a disk, durably, in the inbox.
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

    /// A commit that its disk does not take.
    pub fn handle_put_off(&self, node: usize) {
        *self.lock().put_off.entry(node).or_default() += 1;
    }

    /// A record of its event log, as it is written.
    pub fn handle_logged(&self, node: usize, raw: &[u8]) {
        let book = self.lock();
        if !book.events.are_off()
            && let Ok(Record { event: Logged::Known(event), .. }) = Record::decode(raw)
        {
            book.events.note(node, &What::Logged(&event));
        }
    }

    /// An application has it; `number` is its inbox's, 0 where it did not lie there.
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
        let before = message.received.iter().find(|received| received.node == node);
        match before.map(|before| before.number) {
            // Read again from the inbox, after a crash.
            Some(before) if before == number && number != 0 => return Some(id),
            Some(before) => {
                message.duplicates += 1;
                let numbers = || format!("message {id} at node {node} again: as {before} and {number} of its inbox");
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

    /// An application has done with a request, and answers it.
    pub fn handle_answered(&self, id: u64) {
        self.lock().answered.insert(id, now());
    }

    /// A device listens to a topic. Answers the number of the subscription.
    pub fn handle_subscribed(&self, node: usize, topic: u32) -> usize {
        self.lock().publications.handle_subscribed(node, topic, now())
    }

    /// A subscription was handed a message, and told that so many were missed before it.
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

    /// A subscription was told that it has missed messages of a device, and that none comes after them.
    pub fn handle_missed(&self, subscription: usize, topic: &str, from: &str, (lost, uncertain): (u64, bool)) {
        let mut book = self.lock();
        if let Some(from) = book.names.get(from).copied() {
            if let Some(node) = book.publications.node_of(subscription) {
                book.events.note(node, &What::Missed { topic, from, lost, uncertain, before: None });
            }
            book.publications.handle_heard(subscription, Heard { from, message: None, lost, uncertain, at: now() });
        }
    }

    /// A node's clock was set, and is wrong by so many microseconds from now on.
    pub fn handle_set(&self, node: usize, wrong: i64) {
        self.lock().publications.handle_set(node, now(), wrong);
    }

    /// A node went down: nobody hears any more how its messages end.
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

/// By how many nanoseconds these nodes may miss a deadline together, as neither's clock or disk need be sound.
pub fn excuse(excused: &BTreeMap<usize, u64>, nodes: [usize; 2]) -> u64 {
    let of = |node| excused.get(node).copied().unwrap_or_default();
    let [one, other] = &nodes;
    of(one).saturating_add(if one == other { 0 } else { of(other) })
}

/// What a message of that number and size carries.
pub fn payload(id: u64, size: usize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    let mut state = id;
    while bytes.len() < size {
        bytes.extend_from_slice(&splitmix(&mut state).to_be_bytes());
    }
    bytes.truncate(size.max(LEAST_SIZE));
    bytes
}

/// The number of the message whose payload begins so.
pub fn message_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|number| u64::from_be_bytes(*number))
}

/// Bytes of the smallest payload: its number.
pub const LEAST_SIZE: usize = 8;
/// A sender is told so soon after the deadline of its message how that ended.
const TOLD: u64 = 5 * NANOS;
/// How much later than its deadline something may become durable, besides what the disk takes: a turn of the loop.
const SLACK: Duration = Duration::from_millis(20);
/// The same in a lab, in nanoseconds: what a report may take from a node to this process while the machine is busy.
const REMOTE_SLACK: u64 = NANOS;
