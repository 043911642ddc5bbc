//! A node inside this program: started by a [`Builder`], used through methods, and stopped in good order.
//!
//! The command `m2mesh run` is the first user of this module: it starts a [`Node`], waits for a signal, and stops it. A
//! method here takes the same path as a request to the local API and means the same, but without a socket or JSON in
//! between. `examples/two_nodes.rs` runs two nodes in one program.
//!
//! Needs a tokio runtime with its drivers for IO and time.
//!
//! Invariants
//! - Every message handed over gets exactly one outcome, as long as the node runs.
//! - Nothing that waits here is unbounded: if the node has no room for a call, the caller waits.

use super::blobs::Blobs;
use super::inbox::Inbox;
use super::outlet::Outlet;
use super::sending::{Message, Publication};
use super::system::{self, NodeError, RunOptions, Running};
use crate::client::{
    self, AskError, Caller, Command, Denied, Heard, Listener, Peer, Principal, Reading, Reply, Status,
};
use crate::engine::api::{
    Anycast, AnycastKind, BlobCommand, BlobRequest, Broadcast, Call, Contact, Missed, Outcome, Past, Published,
    Refused, Send,
};
use crate::engine::view::{IdentityView, LinkView, MailboxView, RoutesView};
use crate::gateway::dto::{LogPage, LogQuery};
use crate::gateway::pages;
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::keystore::Keyring;
use crate::store::SledReader;
use crate::wire::batch::{Ack, MAX_PAYLOAD};
use crate::wire::data::Class;
use futures::lock::Mutex;
use futures::{Stream, StreamExt};
use std::io::Cursor;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A node that runs in this program.
pub struct Node {
    running: Running,
    /// This program as a client of the node.
    caller: Caller<SledReader>,
    /// The one channel that all calls of this handle share: callers wait for each other, and for room.
    calls: Mutex<Caller<SledReader>>,
}

/// The options with which a node is started.
#[derive(Clone, Debug)]
pub struct Builder {
    options: RunOptions,
}

impl Builder {
    /// Reads the settings from this file instead of `config.toml` in the node's directory.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.options.config = Some(file.into());
        self
    }

    /// Listens on this multiaddress, instead of those in the settings. May be called repeatedly.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.options.listen.push(address.into());
        self
    }

    /// Stays connected with the member at this multiaddress, in addition to those in the settings. May be called
    /// repeatedly.
    pub fn bootstrap(mut self, address: impl Into<String>) -> Self {
        self.options.bootstrap.push(address.into());
        self
    }

    /// Whether to look for members in the local network by multicast DNS, as far as the settings permit.
    pub fn mdns(mut self, wanted: bool) -> Self {
        self.options.no_mdns = !wanted;
        self
    }

    /// Whether to open the local API in the node's directory, for other programs and for the command `m2mesh`.
    pub fn api(mut self, wanted: bool) -> Self {
        self.options.no_api = !wanted;
        self
    }

    /// Sets what opens the node's keys where they are sealed under a passphrase.
    pub fn keys(mut self, keys: Keyring) -> Self {
        self.options.keys = keys;
        self
    }

    /// Starts the node. When this returns, the node listens.
    ///
    /// # Errors
    /// [`NodeError`] names the step that failed: directory lock, settings, identity, store, sockets or local API.
    pub async fn start(self) -> Result<Node, NodeError> {
        let running = system::start(self.options).await?;
        let caller = running.door.admit(Principal::program());
        Ok(Node { calls: Mutex::new(caller.clone()), caller, running })
    }
}

/// Why a call to a node failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The node did not accept the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller lacks the right to it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The store could not be read.
    #[error("{0}")]
    Store(String),
    /// A request ended without a response; how it ended.
    #[error("{}", unanswered(.0))]
    Unanswered(Outcome),
}

impl From<AskError> for CallError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Denied(denied) => Self::Denied(denied),
            AskError::Refused(refused) => Self::Refused(refused),
            // No method of this handle gives orders to a lab.
            AskError::Lab(_) | AskError::Stopped => Self::Stopped,
        }
    }
}

fn unanswered(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Expired { reason } => format!("no response in time: {reason}"),
        Outcome::Refused { reason } => format!("the request was refused: {reason}"),
        Outcome::Unreachable { reason } => format!("no way to the service: {reason}"),
        Outcome::Superseded { reason } => format!("another took the place of the request: {reason}"),
        Outcome::Delivered { .. } | Outcome::Sent { .. } | Outcome::Heard { .. } => "no response".to_owned(),
    }
}

impl Node {
    /// Options for the node whose identity is in this directory; `m2mesh join` puts one there, and so does
    /// [`realm::found`](super::realm::found).
    pub fn builder(directory: impl Into<PathBuf>) -> Builder {
        Builder { options: RunOptions { dir: directory.into(), ..RunOptions::default() } }
    }

    /// The name of this device.
    pub fn name(&self) -> &str {
        &self.running.ready.name
    }

    /// The multiaddresses that the node listens on.
    pub fn listen(&self) -> &[String] {
        &self.running.ready.listen
    }

    /// Sends a message and waits for its outcome.
    ///
    /// # Errors
    /// Fails if the node refuses the message or has stopped.
    pub async fn send(&self, message: Message) -> Result<Outcome, CallError> {
        self.submit(message).await?.await
    }

    /// Hands a message over. The future returned resolves to its outcome; several can be pending at a time.
    ///
    /// # Errors
    /// Fails if the node has stopped. The future fails if the node refuses the message or stops before it ends.
    pub async fn submit(
        &self,
        message: Message,
    ) -> Result<impl Future<Output = Result<Outcome, CallError>> + use<>, CallError> {
        let listener = self.start(Command::Send(message.send).at(message.timing)).await?;
        Ok(outcome(listener))
    }

    /// An outlet: it sends many messages to a device without asking for confirmation.
    pub fn outlet(&self, to: Name) -> Outlet {
        Outlet::new(self.caller.clone(), to)
    }

    /// The blobs of the node: large payloads that are put, fetched and sent.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.caller.clone())
    }

    /// Reads the messages sent to this device. A named consumer has a read position of its own and is created if it
    /// does not exist; `""` is the consumer without a name, which always exists.
    pub async fn inbox(&self, consumer: &str) -> Result<Inbox, CallError> {
        Inbox::open(self.caller.clone(), consumer).await
    }

    /// Calls a service of a device and returns its response. `service` may be `None` where the device offers exactly
    /// one. A request or response of more than 60 KiB travels as a blob.
    ///
    /// # Errors
    /// A call that ends without a response fails with [`CallError::Unanswered`]; others as for [`Self::send`].
    pub async fn request(
        &self,
        to: Name,
        service: Option<&str>,
        payload: impl Into<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let Message { send, .. } = Message::new(to, payload).deadline(timeout);
        let service = service.map(str::to_owned);
        let command = match send.payload.len() > MAX_PAYLOAD {
            false => Command::Request { send, service },
            true => {
                let Send { to, payload, class, policy, lifetime, .. } = send;
                let hash = self.blobs().hand_in(Cursor::new(payload), false, false).await?;
                Command::Blob(BlobCommand::Request(BlobRequest { hash, to, service, class, policy, lifetime }))
            }
        };
        let mut listener = self.start(command).await?;
        match hear(&mut listener).await? {
            Reply::Response { payload, .. } => Ok(payload),
            Reply::BlobResponse { blob, .. } => self.blobs().response(blob.hash).await,
            Reply::Outcome(outcome) => Err(CallError::Unanswered(outcome)),
            _ => Err(CallError::Stopped),
        }
    }

    /// Sends a message to one of the devices that offer a service, by the options of a message.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn send_any(&self, service: &str, message: Message) -> Result<Outcome, CallError> {
        let Message { send: Send { payload, ack, class, policy, lifetime, id, .. }, .. } = message;
        let (service, kind) = (service.to_owned(), AnycastKind::Message { ack, id });
        let command = Command::Anycast(Anycast { service, payload, class, policy, lifetime, kind });
        outcome(self.start(command).await?).await
    }

    /// Sends a message to the inbox of every device of the area, which takes the role `broadcast`. With [`Ack::End`] it waits for their
    /// confirmations, until the deadline at the latest.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn broadcast(
        &self,
        payload: impl Into<Vec<u8>>,
        ack: Ack,
        lifetime: Duration,
    ) -> Result<Outcome, CallError> {
        let broadcast = Broadcast { payload: payload.into(), ack, policy: None, lifetime };
        outcome(self.start(Command::Broadcast(broadcast)).await?).await
    }

    /// Calls a service at one of the devices that offer it, and returns who has answered, and the response. It is executed at
    /// most once, unless `repeat` allows another device to be asked when one has been silent.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub async fn request_any(
        &self,
        service: &str,
        payload: impl Into<Vec<u8>>,
        timeout: Duration,
        repeat: bool,
    ) -> Result<(Name, Vec<u8>), CallError> {
        let kind = AnycastKind::Request { repeat, id: None };
        let (service, payload, class, lifetime) = (service.to_owned(), payload.into(), Class::Telemetry, timeout);
        let anycast = Anycast { service, payload, class, policy: None, lifetime, kind };
        let mut listener = self.start(Command::Anycast(anycast)).await?;
        match hear(&mut listener).await? {
            Reply::Response { from, payload, .. } => Ok((from, payload)),
            Reply::BlobResponse { from, blob, .. } => Ok((from, self.blobs().response(blob.hash).await?)),
            Reply::Outcome(outcome) => Err(CallError::Unanswered(outcome)),
            _ => Err(CallError::Stopped),
        }
    }

    /// Offers a service. The stream yields the calls, to be answered by [`Self::respond`]. Dropping the stream
    /// withdraws the offer.
    pub async fn offer(&self, service: &str) -> Result<ServiceCalls, CallError> {
        let command = Command::Offer { service: service.to_owned(), capacity: None };
        Ok(ServiceCalls(stand(self.start(command).await?).await?))
    }

    /// The question of a call, read as a whole if it is a blob.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub async fn question(&self, call: &Call) -> Result<Vec<u8>, CallError> {
        match &call.blob {
            Some(blob) => self.blobs().response(blob.hash).await,
            None => Ok(call.payload.clone()),
        }
    }

    /// Answers a call with a response (`Ok`), or with the reason why there is none (`Err`). A response of more than 60 KiB
    /// travels as a blob.
    pub async fn respond(&self, call: &Call, answer: Result<Vec<u8>, String>) -> Result<(), CallError> {
        let call = call.call;
        let command = match answer {
            Ok(response) if response.len() > MAX_PAYLOAD => {
                let hash = self.blobs().hand_in(Cursor::new(response), false, false).await?;
                Command::Blob(BlobCommand::Respond { call, hash })
            }
            answer => Command::Respond { call, answer },
        };
        let mut listener = self.start(command).await?;
        hear(&mut listener).await.map(drop)
    }

    /// Publishes a message. Its outcome says to how many neighbours it went, or how many devices have confirmed it.
    pub async fn publish(&self, publication: Publication) -> Result<Outcome, CallError> {
        let Publication { topic, payload, policy, lifetime, confirm, latest, timing } = publication;
        let command = Command::Publish { topic, payload, policy, lifetime, confirm, latest }.at(timing);
        outcome(self.start(command).await?).await
    }

    /// Subscribes to the topics that a filter matches. Dropping the stream ends the subscription.
    pub async fn subscribe(&self, filter: &str) -> Result<Publications, CallError> {
        self.subscribe_from(filter, Past::default()).await
    }

    /// Subscribes as [`Self::subscribe`] does, and also delivers earlier publications that have not expired and are
    /// still kept within reach.
    pub async fn subscribe_from(&self, filter: &str, past: Past) -> Result<Publications, CallError> {
        let command = Command::Subscribe { filter: filter.to_owned(), past, latest: false };
        Ok(Publications(stand(self.start(command).await?).await?))
    }

    /// Subscribes as [`Self::subscribe`] does, for a program that wants values and not their history: while it does not take
    /// them, only the newest of each topic and publisher waits.
    pub async fn subscribe_latest(&self, filter: &str) -> Result<Publications, CallError> {
        let command = Command::Subscribe { filter: filter.to_owned(), past: Past::default(), latest: true };
        Ok(Publications(stand(self.start(command).await?).await?))
    }

    /// Returns the state of the node.
    pub async fn status(&self) -> Result<Status, CallError> {
        match hear(&mut self.start(Command::Status).await?).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns the neighbours.
    pub async fn peers(&self) -> Result<Vec<Peer>, CallError> {
        match hear(&mut self.start(Command::Peers).await?).await? {
            Reply::Peers(peers) => Ok(peers),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns under which pseudonym the device takes part, and until when.
    pub async fn identity(&self) -> Result<IdentityView, CallError> {
        match hear(&mut self.start(Command::Identity).await?).await? {
            Reply::Identity(identity) => Ok(*identity),
            _ => Err(CallError::Stopped),
        }
    }

    /// Takes the next pseudonym now, if its epoch has begun, or sets for how long the device is to be known by one.
    pub async fn rotate(&self, anonymity: Option<Anonymity>) -> Result<IdentityView, CallError> {
        match hear(&mut self.start(Command::Rotate { anonymity }).await?).await? {
            Reply::Identity(identity) => Ok(*identity),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns what this node keeps for devices that are away.
    pub async fn mailbox(&self) -> Result<Vec<MailboxView>, CallError> {
        match hear(&mut self.start(Command::Mailbox).await?).await? {
            Reply::Mailbox(boxes) => Ok(boxes),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns the links as the router sees them.
    pub async fn links(&self) -> Result<Vec<LinkView>, CallError> {
        match hear(&mut self.start(Command::Links).await?).await? {
            Reply::Links(links) => Ok(links),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns what the router knows: routers of the area, routes in use, hops in doubt.
    pub async fn routes(&self) -> Result<RoutesView, CallError> {
        match hear(&mut self.start(Command::Routes).await?).await? {
            Reply::Routes(routes) => Ok(*routes),
            _ => Err(CallError::Stopped),
        }
    }

    /// Returns the devices that this device can address.
    pub async fn contacts(&self) -> Result<Vec<Contact>, CallError> {
        match hear(&mut self.start(Command::Contacts).await?).await? {
            Reply::Contacts(contacts) => Ok(contacts),
            _ => Err(CallError::Stopped),
        }
    }

    /// Hands over a bulletin that the operator has signed, with documents that it names. Answers the version of the one that holds now, and
    /// whether that is a newer one than before.
    pub async fn take_bulletin(&self, signed: Vec<u8>, documents: Vec<Vec<u8>>) -> Result<(u64, bool), CallError> {
        match hear(&mut self.start(Command::Bulletin { signed, documents }).await?).await? {
            Reply::Bulletin { version, newer } => Ok((version, newer)),
            _ => Err(CallError::Stopped),
        }
    }

    /// A page of the event log, of what the query wants.
    pub async fn log(&self, query: LogQuery) -> Result<LogPage, CallError> {
        let reader = self.caller.reader(Reading::Log)?;
        let read = system::blocking(move || pages::log_page(&reader, &query)).await;
        read.and_then(|page| page.map_err(|error| error.to_string())).map_err(CallError::Store)
    }

    async fn start(&self, command: Command) -> Result<Listener, CallError> {
        Ok(self.calls.lock().await.start(command).await?)
    }

    /// Stops the node in good order: when this returns, everything it has accepted is durable.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// The calls of an offered service, as a stream.
pub struct ServiceCalls(Listener);

impl Stream for ServiceCalls {
    type Item = Call;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Call>> {
        self.0.poll_next_unpin(cx).map(|heard| match heard?.reply {
            Reply::Call(call) => Some(call),
            _ => None,
        })
    }
}

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A message, with the number of messages missed before it.
    Message(Published),
    /// The number of messages missed at the end of a publisher's stream.
    Missed(Missed),
}

/// What a subscription yields, as a stream.
pub struct Publications(Listener);

impl Stream for Publications {
    type Item = News;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<News>> {
        self.0.poll_next_unpin(cx).map(|heard| match heard? {
            Heard { reply: Reply::Published(published), skipped } => {
                Some(News::Message(Published { lost: published.lost + skipped, ..published }))
            }
            Heard { reply: Reply::Missed(missed), skipped } => {
                Some(News::Missed(Missed { lost: missed.lost + skipped, ..missed }))
            }
            _ => None,
        })
    }
}

/// Waits for the next reply.
///
/// # Errors
/// A refusal is an error, as is the end of the conversation.
pub(super) async fn hear(listener: &mut Listener) -> Result<Reply, CallError> {
    Ok(client::hear(listener).await?)
}

async fn stand(mut listener: Listener) -> Result<Listener, CallError> {
    hear(&mut listener).await.map(|_| listener)
}

async fn outcome(mut listener: Listener) -> Result<Outcome, CallError> {
    match hear(&mut listener).await? {
        Reply::Outcome(outcome) => Ok(outcome),
        _ => Err(CallError::Stopped),
    }
}
