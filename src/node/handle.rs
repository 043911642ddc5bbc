//! A node in this program: started by a [`Builder`], spoken to by methods, stopped in good order.
//!
//! The command `m2mesh run` is the first user of this: it starts a [`Node`], waits for a signal, and stops it. What is
//! asked here goes the same way as what comes in by the local API, and means the same; there is only no socket and no
//! JSON between. `examples/two_nodes.rs` shows two of them in one program.
//!
//! Needs a tokio runtime with its drivers for IO and time.
//!
//! Invariants
//! 1. Every message handed over gets one outcome, as long as the node runs.
//! 2. Nothing that waits here is unbounded: what the node does not take, the caller waits with.

use super::inbox::Inbox;
use super::outlet::Outlet;
use super::system::{self, NodeError, RunOptions, Running};
use crate::client::{
    self, AskError, Caller, Command, Denied, Heard, Listener, Peer, Principal, Reading, Reply, Status,
};
use crate::engine::api::{Call, Contact, Missed, Outcome, Past, Published, Refused, Send};
use crate::engine::view::{LinkView, RoutesView};
use crate::gateway::dto::{LogPage, LogQuery};
use crate::gateway::pages;
use crate::id::Name;
use crate::keystore::Keyring;
use crate::store::SledReader;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use futures::lock::Mutex;
use futures::{Stream, StreamExt};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A running node of this program.
pub struct Node {
    running: Running,
    /// This program at the clients' door.
    caller: Caller<SledReader>,
    /// One way for all: who calls waits for its turn, and for room.
    calls: Mutex<Caller<SledReader>>,
}

/// How to start one.
#[derive(Clone, Debug)]
pub struct Builder {
    options: RunOptions,
}

impl Builder {
    /// Settings from this file instead of `config.toml` in the node's directory.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.options.config = Some(file.into());
        self
    }

    /// Listens on this multiaddress, instead of those in the settings; may be repeated.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.options.listen.push(address.into());
        self
    }

    /// Stays connected with the member at this multiaddress, besides those in the settings; may be repeated.
    pub fn bootstrap(mut self, address: impl Into<String>) -> Self {
        self.options.bootstrap.push(address.into());
        self
    }

    /// Whether to look for members in the local network by multicast DNS, as far as the settings permit.
    pub fn mdns(mut self, wanted: bool) -> Self {
        self.options.no_mdns = !wanted;
        self
    }

    /// Whether to open the local API in the node's directory, for other programs and the command.
    pub fn api(mut self, wanted: bool) -> Self {
        self.options.no_api = !wanted;
        self
    }

    /// Opens keys that lie under a passphrase.
    pub fn keys(mut self, keys: Keyring) -> Self {
        self.options.keys = keys;
        self
    }

    /// Starts the node; it listens when this is done.
    pub async fn start(self) -> Result<Node, NodeError> {
        let running = system::start(self.options).await?;
        let caller = running.door.admit(Principal::program());
        Ok(Node { calls: Mutex::new(caller.clone()), caller, running })
    }
}

/// Why something asked of a node was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// It was not accepted.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Who asks has no right to it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The store did not answer.
    #[error("{0}")]
    Store(String),
    /// A request ended without a response.
    #[error("{}", unanswered(.0))]
    Unanswered(Outcome),
}

impl From<AskError> for CallError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Denied(denied) => Self::Denied(denied),
            AskError::Refused(refused) => Self::Refused(refused),
            // No call of this handle is about a lab.
            AskError::Lab(_) | AskError::Stopped => Self::Stopped,
        }
    }
}

fn unanswered(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Expired { reason } => format!("no response in time: {reason}"),
        Outcome::Refused { reason } => format!("the request was refused: {reason}"),
        Outcome::Unreachable { reason } => format!("no way to the service: {reason}"),
        Outcome::Delivered { .. } | Outcome::Sent { .. } | Outcome::Heard { .. } => "no response".to_owned(),
    }
}

/// A message to a device, with what is wanted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Send);

impl Message {
    /// To the inbox of a device: confirmed end to end, class telemetry, of use for 30 s.
    pub fn new(to: Name, payload: impl Into<Vec<u8>>) -> Self {
        let (payload, lifetime) = (payload.into(), DEADLINE);
        Self(Send { to, payload, ack: Ack::End, class: Class::Telemetry, policy: None, lifetime, id: None })
    }

    /// What confirmation is wanted.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.0.ack = ack;
        self
    }

    /// How urgent it is.
    pub fn class(mut self, class: Class) -> Self {
        self.0.class = class;
        self
    }

    /// Name of its policy.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.0.policy = Some(policy.into());
        self
    }

    /// Of no use after this long.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.lifetime = deadline;
        self
    }

    /// The application's name for it: sent again under the same name, it is not sent twice, and the outcome of the
    /// first is told. So a program that was restarted can ask what became of its messages.
    pub fn named(mut self, id: crate::id::SendId) -> Self {
        self.0.id = Some(id);
        self
    }
}

/// Something published to a topic, with what is wanted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    topic: String,
    payload: Vec<u8>,
    policy: Option<String>,
    lifetime: Duration,
    confirm: Option<u32>,
}

impl Publication {
    /// To all who listen to a topic: of use for 30 s.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), policy: None, lifetime: DEADLINE, confirm: None }
    }

    /// Name of its policy.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Of no use after this long.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.lifetime = deadline;
        self
    }

    /// Devices confirm it that hand it to a subscriber: it ends when so many have, or at its deadline, with their number
    /// ([`Outcome::Heard`]).
    pub fn confirmed_by(mut self, devices: u32) -> Self {
        self.confirm = Some(devices);
        self
    }
}

impl Node {
    /// For the device whose identity lies in a directory: `m2mesh join` puts one there, or
    /// [`realm::found`](super::realm::found).
    pub fn builder(directory: impl Into<PathBuf>) -> Builder {
        Builder { options: RunOptions { dir: directory.into(), ..RunOptions::default() } }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.running.ready.name
    }

    /// Where it listens, as multiaddresses.
    pub fn listen(&self) -> &[String] {
        &self.running.ready.listen
    }

    /// Sends a message and waits until it is known how it ended.
    pub async fn send(&self, message: Message) -> Result<Outcome, CallError> {
        self.submit(message).await?.await
    }

    /// Hands a message over. What comes back is its outcome, once it is known: several can be under way.
    pub async fn submit(
        &self,
        message: Message,
    ) -> Result<impl Future<Output = Result<Outcome, CallError>> + use<>, CallError> {
        let listener = self.start(Command::Send(message.0)).await?;
        Ok(outcome(listener))
    }

    /// A way to send many messages that ask for no confirmation.
    pub fn outlet(&self, to: Name) -> Outlet {
        Outlet::new(self.caller.clone(), to)
    }

    /// Messages sent to this device. A consumer with a name has a cursor of its own, and is made if it is not there; `""` is
    /// the one without, which is always there.
    pub async fn inbox(&self, consumer: &str) -> Result<Inbox, CallError> {
        Inbox::open(self.caller.clone(), consumer).await
    }

    /// Calls a service of a device: its response. A call that ends without one is [`CallError::Unanswered`].
    pub async fn request(
        &self,
        to: Name,
        service: Option<&str>,
        payload: impl Into<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let Message(send) = Message::new(to, payload).deadline(timeout);
        let command = Command::Request { send, service: service.map(str::to_owned) };
        let mut listener = self.start(command).await?;
        match hear(&mut listener).await? {
            Reply::Response { payload, .. } => Ok(payload),
            Reply::Outcome(outcome) => Err(CallError::Unanswered(outcome)),
            _ => Err(CallError::Stopped),
        }
    }

    /// Offers a service: a stream of calls, to be answered by [`Self::respond`]. Dropping it withdraws the offer.
    pub async fn offer(&self, service: &str) -> Result<ServiceCalls, CallError> {
        let command = Command::Offer { service: service.to_owned() };
        Ok(ServiceCalls(stand(self.start(command).await?).await?))
    }

    /// Answers a call: `Ok` the response, `Err` why there is none.
    pub async fn respond(&self, call: &Call, answer: Result<Vec<u8>, String>) -> Result<(), CallError> {
        let command = Command::Respond { call: call.call, answer };
        let mut listener = self.start(command).await?;
        hear(&mut listener).await.map(drop)
    }

    /// Publishes to all who listen to a topic; the outcome says to how many neighbours it went, or how many devices have confirmed it.
    pub async fn publish(&self, publication: Publication) -> Result<Outcome, CallError> {
        let Publication { topic, payload, policy, lifetime, confirm } = publication;
        let command = Command::Publish { topic, payload, policy, lifetime, confirm };
        outcome(self.start(command).await?).await
    }

    /// Messages to the topics that a filter matches. Dropping the stream ends the subscription.
    pub async fn subscribe(&self, filter: &str) -> Result<Publications, CallError> {
        self.subscribe_from(filter, Past::default()).await
    }

    /// The same, with what was published before as well, as far as it is still of use and kept within reach.
    pub async fn subscribe_from(&self, filter: &str, past: Past) -> Result<Publications, CallError> {
        let command = Command::Subscribe { filter: filter.to_owned(), past };
        Ok(Publications(stand(self.start(command).await?).await?))
    }

    /// What the node is.
    pub async fn status(&self) -> Result<Status, CallError> {
        match hear(&mut self.start(Command::Status).await?).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(CallError::Stopped),
        }
    }

    /// Its neighbours.
    pub async fn peers(&self) -> Result<Vec<Peer>, CallError> {
        match hear(&mut self.start(Command::Peers).await?).await? {
            Reply::Peers(peers) => Ok(peers),
            _ => Err(CallError::Stopped),
        }
    }

    /// Its links as the router sees them.
    pub async fn links(&self) -> Result<Vec<LinkView>, CallError> {
        match hear(&mut self.start(Command::Links).await?).await? {
            Reply::Links(links) => Ok(links),
            _ => Err(CallError::Stopped),
        }
    }

    /// What the router holds: routers of the area, routes in use, hops in doubt.
    pub async fn routes(&self) -> Result<RoutesView, CallError> {
        match hear(&mut self.start(Command::Routes).await?).await? {
            Reply::Routes(routes) => Ok(*routes),
            _ => Err(CallError::Stopped),
        }
    }

    /// Whom this device can address.
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

    /// Stops it in good order: what it has taken is durable when this is done.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// Calls of a service.
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

/// What a subscription hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A message, with how many were missed before it.
    Message(Published),
    /// How many were missed at the end of a publisher's stream.
    Missed(Missed),
}

/// What a subscription hears.
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

/// The next reply.
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

/// How long a message is of use when nothing is said.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
