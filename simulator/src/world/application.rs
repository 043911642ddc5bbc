//! Application: the program on a device, which takes arriving messages, answers requests, and sends the workload's
//! messages.
//!
//! Everything here runs as tasks that belong to the device's life, and uses the node by the same calls as any
//! application. The application reads the inbox as far as it is durable, and consumes it; messages whose processing a
//! crash interrupts are read again. An application that takes time for its work consumes each message when it has
//! finished with it, and answers one request after the other.

use super::executor::{self, Owner};
use super::ledger::{End, Ledger, Way};
use super::medium::Medium;
use futures::StreamExt;
use futures::channel::mpsc;
use futures_timer::Delay;
use m2mesh::client::{Caller, Command, Listener, Reply};
use m2mesh::engine::api::{self, InboxRecord};
use m2mesh::engine::store::{Read, Table};
use m2mesh::store::memory::MemoryReader;
use m2mesh::wire::batch::MAX_MESSAGES;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The application of one life of a device.
#[derive(Clone)]
pub struct Application {
    /// The index of the device.
    pub node: usize,
    /// The life of the device.
    pub owner: Owner,
    /// The caller of its node.
    pub caller: Caller<()>,
    /// The time for which it processes each message and each request.
    pub work: Duration,
    /// The time from the start of its node until it listens and offers.
    pub start_up: Duration,
    /// The ledger to which it reports.
    pub ledger: Ledger,
    /// The medium, for the trace.
    pub medium: Medium,
}

impl Application {
    /// Reads the inbox, and messages that ask for no confirmation. These come in while it processes the messages of the
    /// inbox.
    pub fn receive(&self, reader: MemoryReader) {
        let (mut this, mut worker) = (self.clone(), self.clone());
        // The latest report includes the earlier ones.
        let extent = Arc::new(Mutex::new((0, 0)));
        let ((mut tell, mut told), known) = (mpsc::channel(1), extent.clone());
        executor::spawn(self.owner, async move {
            let command = Command::Receive { consumer: String::new(), live: true };
            let Some(mut listener) = this.call(command).await else { return };
            while let Some(heard) = listener.next().await {
                match heard.reply {
                    Reply::Inbox { first, last } => {
                        *extent.lock().unwrap_or_else(PoisonError::into_inner) = (first, last);
                        // If the channel is full, its worker is awake in any case.
                        drop(tell.try_send(()));
                    }
                    Reply::Live(record) => record.payloads().for_each(|payload| {
                        this.handle(payload, 0);
                    }),
                    _ => {}
                }
            }
        });
        executor::spawn(self.owner, async move {
            let mut next = 0;
            while let Some(()) = told.next().await {
                let (first, last) = *known.lock().unwrap_or_else(PoisonError::into_inner);
                next = first.max(next);
                if next > last {
                    continue;
                }
                for (number, payload) in read(&reader, next, last) {
                    worker.handle(&payload, number);
                    if !worker.work.is_zero() {
                        Delay::new(worker.work).await;
                        worker.consume(number).await;
                    }
                }
                next = last + 1;
                if worker.work.is_zero() {
                    worker.consume(last).await;
                }
            }
        });
    }

    /// Subscribes to a topic, which the ledger knows by its number.
    pub fn subscribe(&self, topic: &str, number: u32) {
        let (mut this, filter) = (self.clone(), topic.to_owned());
        executor::spawn(self.owner, async move {
            this.start_up().await;
            let Some(mut listener) = this.call(Command::subscribe(filter)).await else { return };
            let mut subscription = None;
            while let Some(heard) = listener.next().await {
                match (heard.reply, subscription) {
                    (Reply::Ready, _) => subscription = Some(this.ledger.handle_subscribed(this.node, number)),
                    (Reply::Published(published), Some(subscription)) => {
                        let lost = published.lost + heard.skipped;
                        this.ledger.handle_heard(subscription, &published.topic, &published.payload, lost);
                        this.handle(&published.payload, 0);
                    }
                    (Reply::Missed(missed), Some(subscription)) => {
                        let from = missed.from.map(|name| name.to_string()).unwrap_or_default();
                        let lost = missed.lost + heard.skipped;
                        this.ledger.handle_missed(subscription, &missed.topic, &from, (lost, missed.uncertain));
                    }
                    _ => {}
                }
            }
        });
    }

    /// Answers requests by an echo, one after the other. Further requests come in while it processes one.
    pub fn offer(&self, service: &str) {
        let (mut this, mut worker, service) = (self.clone(), self.clone(), service.to_owned());
        let (mut take, mut taken) = mpsc::channel(MOST_CALLS);
        executor::spawn(self.owner, async move {
            this.start_up().await;
            let Some(mut listener) = this.call(Command::Offer { service, capacity: None }).await else { return };
            while let Some(heard) = listener.next().await {
                if let Reply::Call(api::Call { call, payload, .. }) = heard.reply {
                    let request = this.handle(&payload, 0);
                    // A request beyond the bound is not answered.
                    drop(take.try_send((request, call, payload)));
                }
            }
        });
        executor::spawn(self.owner, async move {
            while let Some((request, call, payload)) = taken.next().await {
                if !worker.work.is_zero() {
                    Delay::new(worker.work).await;
                }
                if let Some(request) = request {
                    worker.ledger.handle_answered(request);
                }
                drop(worker.call(Command::Respond { call, answer: Ok(payload) }).await);
            }
        });
    }

    /// Sends a message, a request or a publication, and reports its outcome.
    pub fn send(&self, id: u64, command: Command) {
        let mut this = self.clone();
        executor::spawn(self.owner, async move {
            let (end, reason) = match this.call(command).await {
                Some(mut listener) => match listener.next().await.map(|heard| heard.reply) {
                    Some(Reply::Outcome(outcome)) => {
                        if let api::Outcome::Delivered { hops, price, latency_us: latency } = outcome {
                            this.ledger.handle_way(id, Way { hops, price, latency });
                        }
                        if !outcome.is_success() {
                            this.ledger.handle_failure(this.node);
                        }
                        (End::from(&outcome), reason_of(outcome))
                    }
                    Some(Reply::Response { .. }) => (End::Delivered, String::new()),
                    Some(Reply::Refused(refused)) => (End::Refused, refused.to_string()),
                    _ => return,
                },
                None => return,
            };
            this.ledger.handle_end(id, end, &reason);
        });
    }

    /// Gives the node a command whose outcome nobody waits for.
    pub fn order(&self, command: Command) {
        let mut this = self.clone();
        executor::spawn(self.owner, async move {
            if let Some(mut listener) = this.call(command).await {
                drop(listener.next().await);
            }
        });
    }

    /// Handles a message and returns the number by which the ledger knows it.
    fn handle(&self, payload: &[u8], number: u64) -> Option<u64> {
        let message = self.ledger.handle_received(self.node, payload, number)?;
        self.medium.note_delivery(self.node, message);
        Some(message)
    }

    async fn start_up(&self) {
        if !self.start_up.is_zero() {
            Delay::new(self.start_up).await;
        }
    }

    /// Consumes the inbox up to that number; after a crash the messages are read again.
    async fn consume(&mut self, up_to: u64) {
        drop(self.call(Command::Consume { consumer: String::new(), up_to, durable: true }).await);
    }

    async fn call(&mut self, command: Command) -> Option<Listener> {
        self.caller.start(command).await.ok()
    }
}

fn reason_of(outcome: api::Outcome) -> String {
    match outcome {
        api::Outcome::Expired { reason }
        | api::Outcome::Refused { reason }
        | api::Outcome::Unreachable { reason }
        | api::Outcome::Superseded { reason } => reason,
        api::Outcome::Delivered { .. } | api::Outcome::Sent { .. } | api::Outcome::Heard { .. } => String::new(),
    }
}

/// Returns the messages of these numbers, both included.
fn read(reader: &MemoryReader, first: u64, last: u64) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    // A record is stored under the number of its first message, so the record that holds `first` may begin earlier.
    let from = first.saturating_sub(MAX_MESSAGES as u64 - 1);
    let scanned = reader.scan(Table::Inbox, &from.to_be_bytes(), &mut |_, value| {
        let Ok(record) = m2mesh::wire::decode::<InboxRecord<'_>>(value) else { return true };
        let numbers = (record.first..).zip(record.payloads());
        let wanted = numbers.filter(|(number, _)| (first..=last).contains(number));
        found.extend(wanted.map(|(number, payload)| (number, payload.to_vec())));
        record.first <= last
    });
    debug_assert!(scanned.is_ok(), "a store in memory can be read");
    found
}

/// The number of requests that may wait for their turn. Drop policy: those beyond are not answered.
const MOST_CALLS: usize = 4_096;
/// The name of the service that devices offer for requests to them alone.
pub const SERVICE: &str = "echo";
