//! Life: the application on a lab's node, for one life of its process. It does by the node's local API what the
//! simulated [application](crate::world::application) does by calls.
//!
//! It reads the inbox as it grows, and listens and answers as the workload says, all in one task that ends with the
//! node. Messages for one receiver, and publications under one topic, are written as lines to a stream of their own, in
//! their order; requests are separate calls. A payload is the ledger's in base64, since a line consists of text.
//!
//! Invariants
//! - When a life is dropped, nothing of it continues.
//! - At most [`MOST_WAITING`] lines wait for their stream, and at most [`MOST_REQUESTS`] requests are under way;
//!   further ones are refused.

use super::worker::News;
use crate::world::application::SERVICE;
use crate::world::ledger::{End, Ledger, Way};
use crate::world::workload::Listening;
use axum::body::{Body, Bytes};
use data_encoding::BASE64_NOPAD;
use futures::future::join_all;
use futures::{FutureExt, stream};
use m2mesh::client::Command;
use m2mesh::engine::api::Send;
use m2mesh::gateway::client::{Client, ClientError, Events, escape};
use m2mesh::gateway::dto::{
    self, AnswerBody, ConsumeBody, Done, InboxFollowQuery, InboxMessage, LineOutcome, Missed, Outcome, Payload,
    PublishLinesQuery, Published, RequestBody, SendLinesQuery, ServiceCall, Span, SubscribeQuery,
};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use serde::Deserialize;
use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// A life: see the module's documentation.
pub struct Life {
    device: usize,
    client: Client,
    ledger: Ledger,
    streams: RefCell<Vec<Stream>>,
    tasks: RefCell<Vec<Task>>,
    requests: Arc<Semaphore>,
}

/// A task that ends when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The lines that are written to the node.
struct Stream {
    route: Route,
    lines: mpsc::Sender<Bytes>,
    /// The numbers in the ledger of all lines so far.
    ids: Ids,
    _task: Task,
}

type Ids = Arc<Mutex<Vec<u64>>>;

/// The destination of lines.
#[derive(Clone, Debug, PartialEq)]
enum Route {
    Send(SendLinesQuery),
    Publish(PublishLinesQuery),
}

/// An item that a subscription yields.
#[derive(Deserialize)]
#[serde(untagged)]
enum Heard {
    Message(Published),
    Missed(Missed),
}

impl Life {
    /// Begins to listen, and reports when all subscriptions are in force.
    pub fn begin(
        device: usize,
        client: Client,
        ledger: Ledger,
        listening: Listening,
        news: mpsc::Sender<News>,
    ) -> Self {
        let listener = Listener { device, client: client.clone(), ledger: ledger.clone() };
        let task = tokio::spawn(async move {
            let told = match listener.attend(listening, &news).await {
                Ok(()) => "its node has ended a stream".to_owned(),
                Err(error) => error.to_string(),
            };
            // The driver knows whether the node was killed on purpose, and has ended at the end of the run.
            let _ = news.send(News::Broken { device, what: told }).await;
        });
        Self {
            device,
            client,
            ledger,
            streams: RefCell::default(),
            tasks: RefCell::new(vec![Task(task)]),
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
        }
    }

    /// Sends a message, a request or a publication, and reports its outcome.
    pub fn send(&self, id: u64, command: Command) {
        match command {
            Command::Send(Send { to, payload, ack, class, policy, lifetime, id: _, latest }) => {
                let (to, deadline) = (to.to_string(), Span(lifetime));
                let query = SendLinesQuery {
                    to,
                    ack: told_ack(ack),
                    class: told_class(class),
                    policy,
                    deadline,
                    id: None,
                    latest,
                    first: 1,
                };
                self.line(Route::Send(query), id, &payload);
            }
            Command::Publish { topic, payload, policy, lifetime, confirm, latest } => {
                let query = PublishLinesQuery { topic, policy, deadline: Span(lifetime), confirm, latest };
                self.line(Route::Publish(query), id, &payload);
            }
            Command::Request { send, service } => self.request(id, send, service),
            // A workload has no other commands.
            _ => {}
        }
    }

    fn line(&self, route: Route, id: u64, payload: &[u8]) {
        let mut line = BASE64_NOPAD.encode(payload).into_bytes();
        line.push(b'\n');
        let mut streams = self.streams.borrow_mut();
        // A stream that has ended is replaced by a new one.
        streams.retain(|stream| !stream.lines.is_closed());
        let at = streams.iter().position(|stream| stream.route == route).unwrap_or_else(|| {
            streams.push(self.stream(route));
            streams.len() - 1
        });
        let Stream { lines, ids, .. } = &streams[at];
        // Under one lock, so that the line's number is its place in the list.
        let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.try_send(Bytes::from(line)) {
            Ok(()) => ids.push(id),
            Err(_) => {
                drop(ids);
                self.ledger.handle_end(id, End::Refused, "the node takes no more lines");
            }
        }
    }

    fn stream(&self, route: Route) -> Stream {
        let (lines, waiting) = mpsc::channel::<Bytes>(MOST_WAITING);
        let ids = Ids::default();
        let (client, ledger, numbers, device) = (self.client.clone(), self.ledger.clone(), ids.clone(), self.device);
        let way = route.clone();
        let task = tokio::spawn(async move {
            if let Err(ClientError::Api(error)) = carry(&client, &way, waiting, &numbers, &ledger, device).await {
                // The node has not accepted the stream, and so none of its lines.
                let ids = numbers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                ids.into_iter().for_each(|id| refuse(&ledger, device, id, &error.error));
            }
        });
        Stream { route, lines, ids, _task: Task(task) }
    }

    fn request(&self, id: u64, send: Send, service: Option<String>) {
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            return self.ledger.handle_end(
                id,
                End::Refused,
                "the application has as many requests under way as it may",
            );
        };
        let Send { to, payload, class, policy, lifetime, .. } = send;
        let body = RequestBody {
            blob: None,
            not_before: None,
            spread: None,
            wait: None,
            to: to.to_string(),
            service,
            payload: Some(BASE64_NOPAD.encode(&payload)),
            payload_base64: None,
            class: told_class(class),
            policy,
            timeout: Span(lifetime),
            repeat: false,
            id: None,
        };
        let (client, ledger, device) = (self.client.clone(), self.ledger.clone(), self.device);
        let task = tokio::spawn(async move {
            match client.post::<Outcome>("/v1/request", &body).await {
                Ok(outcome) => report(&ledger, device, id, &outcome),
                Err(ClientError::Api(error)) => refuse(&ledger, device, id, &error.error),
                // The node is gone, and the outcome is unknown.
                Err(_) => {}
            }
            drop(permit);
        });
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.0.is_finished());
        tasks.push(Task(task));
    }
}

/// Lets the node take lines until the node or their sender is gone.
async fn carry(
    client: &Client,
    route: &Route,
    waiting: mpsc::Receiver<Bytes>,
    ids: &Ids,
    ledger: &Ledger,
    device: usize,
) -> Result<(), ClientError> {
    let lines = stream::unfold(waiting, |mut waiting| async move {
        let line = waiting.recv().await?;
        Some((Ok::<_, Infallible>(line), waiting))
    });
    let body = Body::from_stream(lines);
    let mut answers = match route {
        Route::Send(query) => client.lines("/v1/send-lines", query, body).await?,
        Route::Publish(query) => client.lines("/v1/publish-lines", query, body).await?,
    };
    while let Some(LineOutcome { line, outcome }) = answers.next().await? {
        let place = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
        let id = place.and_then(|place| ids.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied());
        if let Some(id) = id {
            report(ledger, device, id, &outcome);
        }
    }
    Ok(())
}

/// The listening part of a life.
struct Listener {
    device: usize,
    client: Client,
    ledger: Ledger,
}

impl Listener {
    async fn attend(&self, listening: Listening, news: &mpsc::Sender<News>) -> Result<(), ClientError> {
        let inbox = self.client.events("/v1/inbox/follow", &InboxFollowQuery::default()).await?;
        let mut subscriptions = Vec::new();
        for (number, topic) in &listening.topics {
            let query = SubscribeQuery { filter: topic.clone(), since: None, last: None, latest: false };
            let heard = self.client.events("/v1/subscribe", &query).await?;
            subscriptions.push(self.hear(self.ledger.handle_subscribed(self.device, *number), heard));
        }
        // A lab's flows to any device are to one that is drawn, so that there is one service.
        let calls = match listening.offers.is_empty() {
            false => Some(self.client.events(&format!("/v1/offers/{}", escape(SERVICE)), &()).await?),
            true => None,
        };
        // At the end of the run there may be no receiver.
        let _ = news.send(News::Listens(self.device)).await;
        let (inbox, heard, calls) = futures::join!(self.read(inbox), join_all(subscriptions), self.answer(calls));
        heard.into_iter().collect::<Result<(), _>>().and(inbox).and(calls)
    }

    /// Reads the inbox and consumes it, a burst at a time.
    async fn read(&self, mut inbox: Events) -> Result<(), ClientError> {
        let mut last = None;
        loop {
            let next = match inbox.next::<InboxMessage>().now_or_never() {
                Some(next) => next?,
                None => {
                    if let Some(up_to) = last.take() {
                        let body = ConsumeBody { up_to, consumer: String::new(), durable: false };
                        let Done {} = self.client.post("/v1/inbox/consume", &body).await?;
                    }
                    inbox.next().await?
                }
            };
            let Some(InboxMessage { number, payload, .. }) = next else { return Ok(()) };
            if let Some(id) = self.ledger.handle_received(self.device, &bytes(payload), number) {
                self.ledger.handle_durable(id, self.device);
            }
            last = Some(number);
        }
    }

    async fn hear(&self, subscription: usize, mut heard: Events) -> Result<(), ClientError> {
        while let Some(heard) = heard.next::<Heard>().await? {
            match heard {
                Heard::Message(Published { topic, lost, skipped, payload, .. }) => {
                    let payload = bytes(payload);
                    self.ledger.handle_heard(subscription, &topic, &payload, lost + skipped);
                    self.ledger.handle_received(self.device, &payload, 0);
                }
                Heard::Missed(Missed { topic, from, lost, uncertain, skipped, .. }) => {
                    let from = from.unwrap_or_default();
                    self.ledger.handle_missed(subscription, &topic, &from, (lost + skipped, uncertain));
                }
            }
        }
        Ok(())
    }

    /// Answers requests by an echo.
    async fn answer(&self, calls: Option<Events>) -> Result<(), ClientError> {
        let Some(mut calls) = calls else { return Ok(()) };
        while let Some(ServiceCall { call, payload, .. }) = calls.next().await? {
            self.ledger.handle_received(self.device, &bytes(payload.clone()), 0);
            let Payload { payload, payload_base64 } = payload;
            let body = AnswerBody { payload, payload_base64, ..AnswerBody::default() };
            match self.client.post::<Done>(&format!("/v1/calls/{call}"), &body).await {
                // The caller has given up.
                Ok(Done {}) | Err(ClientError::Api(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the ledger's payload; a payload that is not of the ledger is returned as it came.
pub fn bytes(payload: Payload) -> Vec<u8> {
    let text = payload.into_bytes().unwrap_or_default();
    BASE64_NOPAD.decode(&text).unwrap_or(text)
}

fn report(ledger: &Ledger, device: usize, id: u64, outcome: &Outcome) {
    let (end, reason) = match outcome {
        Outcome::Delivered { latency_us, hops, price } => {
            let price = (price * 1e6).round() as u64;
            ledger.handle_way(id, Way { hops: *hops, price, latency: *latency_us });
            (End::Delivered, "")
        }
        Outcome::Replied { .. } => (End::Delivered, ""),
        Outcome::Sent { .. } | Outcome::Heard { .. } => (End::Sent, ""),
        Outcome::Expired { reason } => (End::Expired, &**reason),
        Outcome::Refused { reason } => (End::Refused, &**reason),
        Outcome::Unreachable { reason } | Outcome::Superseded { reason } => (End::Unreachable, &**reason),
    };
    if !outcome.is_success() {
        ledger.handle_failure(device);
    }
    ledger.handle_end(id, end, reason);
}

fn refuse(ledger: &Ledger, device: usize, id: u64, reason: &str) {
    report(ledger, device, id, &Outcome::Refused { reason: reason.to_owned() });
}

fn told_ack(ack: Ack) -> dto::Ack {
    match ack {
        Ack::None => dto::Ack::None,
        Ack::Hop => dto::Ack::Hop,
        Ack::End => dto::Ack::End,
    }
}

fn told_class(class: Class) -> dto::Class {
    match class {
        Class::Alarm => dto::Class::Alarm,
        Class::Control => dto::Class::Control,
        Class::Telemetry => dto::Class::Telemetry,
        Class::Bulk => dto::Class::Bulk,
    }
}

/// The number of lines that may wait for their stream: as many as an application holds back in a simulation.
const MOST_WAITING: usize = 4_096;
/// The number of requests of one device that may be under way. Together with the streams they are within what a node
/// serves of one program.
const MOST_REQUESTS: usize = 24;
