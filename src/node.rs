//! The node: the event loop that joins the engine, the network, the store and the local API.
//!
//! **Mechanism.** [`EventLoop`] is a future. Each poll serves its sources in a fixed order, local work first: what the
//! store has made durable, background jobs, the application's commands, the network, the timer. Everything found
//! becomes inputs of the [`Engine`]; then the engine's outputs are carried out until the engine waits. That is one
//! *turn*; the next follows at once if a source holds more than one turn takes.
//!
//! An output whose `after` is not durable yet is kept in [`waiting`] until the store has made that commit durable. A
//! frame that a link does not accept is kept in [`stalled`]; the engine sends no data over that link until it has left.
//!
//! The loop has no clock, disk or socket of its own: [`Host`] provides those of the machine, and [`system`] is the real
//! one. A simulator runs the same loop with another host, store and transport.
//!
//! Invariants
//! 1. Whatever waits for the disk leaves in the order of its commit numbers, never before its commit is durable, and
//!    the replies of one conversation leave in the order in which the engine made them.
//! 2. While the disk fails and there is no room, commands that need room are refused; questions are answered at any
//!    time.
//! 3. The loop spawns no task and starts no thread.
//! - Commands are started only while the engine has room, and frames are read only while the store has.
//! - The loop never blocks.

pub mod blobs;
mod clock;
mod conversations;
pub mod handle;
mod host;
pub mod inbox;
mod lab;
mod links;
mod networks;
pub mod outlet;
pub mod places;
mod port;
mod preflight;
pub mod realm;
pub mod sending;
mod stalled;
mod status;
pub mod system;
mod waiting;

pub use host::{Gate, Host, Issued, Parts};
pub use networks::OpenNetwork;
pub use system::{NodeError, Ready, RunOptions};

use crate::blob::disk;
use crate::client::{Arriving, Call, Replies};
use crate::config::cron::AWAKE;
use crate::counter::Counter;
use crate::engine::api::{Reply, Token};
use crate::engine::{Engine, Input, Origin, Output};
use crate::event_log::Event;
use crate::id::{LinkId, Lsn, Pseudonym};
use crate::identity::kdf::Secret;
use crate::net::Multiaddr;
use crate::net::emulation::Lab;
use crate::store::{Quarantine, Store};
use crate::time::{Now, Time};
use crate::wire::OutFrame;
use crate::wire::data::Class;
use crate::wire::hello::EnrolReply;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use futures_timer::Delay;
use links::Neighbour;
use networks::Networks;
use stalled::Stalled;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use waiting::Waiting;

/// A running node. See the module's documentation.
pub struct EventLoop<S: Store, H: Host> {
    engine: Engine,
    networks: Networks,
    store: S,
    host: H,
    calls: Arriving,
    stop: oneshot::Receiver<()>,
    stopping: bool,
    /// Why the disk accepts no writes, while it accepts none.
    store_failure: Option<String>,
    /// A command that was taken from the channel and has to wait for room.
    next_call: Option<Call>,
    started: Time,
    timer: Delay,
    /// When the timer fires: never after `wake`, but possibly before it, since resetting the timer costs more than an
    /// extra turn.
    timer_at: Option<Time>,
    /// When the engine wants to be called.
    wake: Option<Time>,
    /// Whether another turn is due at once.
    again: bool,
    durable: Lsn,
    submitted: Lsn,
    /// The last numbers of inbox and event log that each commit not yet durable will make durable; bounded by the
    /// store.
    reach: VecDeque<(Lsn, (u64, u64))>,
    /// The last numbers of inbox and event log that are durable.
    reached: (u64, u64),
    waiting: Waiting,
    /// Frames that wait for a link to accept them. Bounded: a link with too many of them is closed.
    stalled: BTreeMap<LinkId, Stalled>,
    conversations: BTreeMap<Token, Replies>,
    /// The conversations that are streams: they end when the application goes.
    streams: BTreeMap<Token, ()>,
    last_token: u64,
    /// Devices that enrol here and wait for an answer. Bounded by the number of permits that admission gives.
    enrolling: BTreeMap<u64, oneshot::Sender<EnrolReply>>,
    last_enrolling: u64,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    neighbours: BTreeMap<LinkId, Neighbour>,
    bootstrap: Vec<Multiaddr>,
    /// Where another process with this node's identity was last met, and when.
    twin: Option<(Multiaddr, Time)>,
    lab: Option<Lab>,
    differing: Option<clock::Differing>,
    /// Connections that were refused because a lab keeps the two devices apart.
    cut: u64,
}

/// An output that waits for the disk.
enum Held {
    Frame { link: LinkId, class: Class, frame: OutFrame, until: Option<Time> },
    Reply { token: Token, reply: Reply, last: bool },
}

/// The result of a background job.
enum Done {
    Issued { origin: Origin, issued: Issued },
    Renewed(Result<EnrolReply, String>),
    Saved(Result<(), String>),
    Blob(Vec<disk::Done>),
    LabKept { replies: Replies, result: Result<(), String> },
    Opened { own: Pseudonym, seed: Secret, result: Result<Box<OpenNetwork>, String> },
}

impl<S: Store, H: Host> EventLoop<S, H> {
    /// Builds the event loop from its parts.
    pub fn new(parts: Parts<S, H>) -> Self {
        let Parts { engine, network, lines, store, host, calls, stop, bootstrap, lab } = parts;
        let started = host.now().time;
        network.gate.view.store(Arc::new(engine.admission_view_of(&network.own)));
        let reached = engine.extents();
        Self {
            engine,
            networks: Networks::new(network, lines),
            store,
            host,
            calls,
            stop,
            stopping: false,
            store_failure: None,
            next_call: None,
            started,
            timer: Delay::new(FAR),
            timer_at: None,
            wake: None,
            again: false,
            durable: Lsn(0),
            submitted: Lsn(0),
            reach: VecDeque::new(),
            reached,
            waiting: Waiting::default(),
            stalled: BTreeMap::new(),
            conversations: BTreeMap::new(),
            streams: BTreeMap::new(),
            last_token: 0,
            enrolling: BTreeMap::new(),
            last_enrolling: 0,
            jobs: FuturesUnordered::new(),
            neighbours: BTreeMap::new(),
            bootstrap,
            twin: None,
            lab,
            differing: None,
            cut: 0,
        }
    }

    /// Runs one turn. Returns whether another is due at once: a source holds more than a turn takes, or the engine's
    /// decisions have given a source something to do. Every other source wakes this task by itself.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        self.again = false;
        self.renew_windows();
        self.poll_store(cx);
        self.poll_losses();
        self.poll_jobs(cx);
        self.poll_gone(cx);
        self.poll_questions(cx);
        self.poll_calls(cx);
        // While the node stops, it reads no more from the network: what came would have to be made durable first.
        if !self.stopping {
            self.poll_network(cx);
        }
        self.drain_engine();
        // The timer may have been reset, and it wakes nobody before it has been polled again.
        self.poll_timer(cx);
        self.again || (!self.stopping && self.networks.wants_poll()) || (self.next_call.is_some() && self.has_room())
    }

    /// What the node's clocks say.
    fn now(&self) -> Now {
        self.engine.read_clock(self.host.now())
    }

    fn handle(&mut self, input: Input) {
        let now = self.host.now();
        self.engine.handle(input, now);
    }

    fn renew_windows(&mut self) {
        let now = self.now().unix;
        for (bearer, windows) in self.host.windows(now) {
            if bearer == AWAKE {
                self.handle(Input::Awake(windows));
                continue;
            }
            self.networks.set_windows(bearer, &windows);
            self.handle(Input::Windows { bearer, windows });
        }
    }

    fn poll_store(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(durable) = self.store.poll_durable(self.durable, cx) {
            match durable {
                Ok(lsn) => self.handle_durable(lsn),
                Err(error) => {
                    self.store_failure = Some(error.to_string());
                    self.release_publications();
                    self.handle(Input::Event(Event::StoreFailed { reason: error.to_string() }));
                }
            }
        }
    }

    fn poll_losses(&mut self) {
        while let Some(Quarantine { place, reason }) = self.store.take_loss() {
            self.handle(Input::Event(Event::Quarantined { place, reason, chain: None }));
        }
    }

    fn handle_durable(&mut self, lsn: Lsn) {
        self.durable = lsn;
        if self.store_failure.take().is_some() {
            tracing::info!("the disk takes writes again");
            self.handle(Input::Event(Event::StoreRecovered));
        }
        while let Some((_, reached)) = self.reach.pop_front_if(|(of, _)| *of <= lsn) {
            self.reached = reached;
        }
        while let Some(held) = self.waiting.pop(lsn) {
            self.let_go(held);
        }
        self.networks.set_reading(!self.store.is_full());
    }

    fn poll_jobs(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(done)) = self.jobs.poll_next_unpin(cx) {
            match done {
                Done::Issued { origin, issued: Issued { reply, pieces, event } } => {
                    self.handle(Input::Issued { origin, reply, pieces, event });
                }
                Done::Renewed(answer) => self.handle(Input::Renewed(answer)),
                Done::LabKept { replies, result } => self.handle_lab_kept(&replies, result),
                Done::Opened { own, seed, result } => self.handle_opened(own, &seed, result),
                Done::Blob(done) => done.into_iter().for_each(|done| self.handle(Input::Blob(done))),
                Done::Saved(Ok(())) => {}
                Done::Saved(Err(reason)) => {
                    tracing::error!(%reason, "the identity could not be saved");
                    self.handle(Input::Event(Event::StoreFailed { reason }));
                }
            }
        }
    }

    /// Starts a background job.
    fn begin(&mut self, job: BoxFuture<'static, Done>) {
        self.jobs.push(job);
        self.again = true;
    }

    fn poll_questions(&mut self, cx: &mut Context<'_>) {
        for _ in 0..QUESTIONS_A_TURN {
            match self.calls.questions.poll_next_unpin(cx) {
                Poll::Ready(Some(call)) => self.start(call),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
        self.again = true;
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>) {
        if !self.stopping && self.stop.poll_unpin(cx).is_ready() {
            self.stopping = true;
            let now = self.host.now();
            self.engine.stop(now);
        }
        for _ in 0..CALLS_A_TURN {
            if self.stopping {
                return;
            }
            let call = match self.next_call.take() {
                Some(call) => call,
                None => match self.calls.orders.poll_next_unpin(cx) {
                    Poll::Ready(Some(call)) => call,
                    Poll::Ready(None) | Poll::Pending => return,
                },
            };
            if let Some(call) = self.admit(call) {
                self.next_call = Some(call);
                return;
            }
        }
        self.again = true;
    }

    fn has_room(&self) -> bool {
        !self.store.is_full() && self.engine.has_room()
    }

    fn poll_network(&mut self, cx: &mut Context<'_>) {
        if let Some(told) = self.networks.poll_told(cx) {
            self.handle(Input::Told(told));
        }
        for _ in 0..EVENTS_A_TURN {
            match self.networks.poll(cx) {
                Poll::Ready((own, event)) => self.handle_network(own, event),
                Poll::Pending => return,
            }
        }
        self.again = true;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer_at.is_some() && self.timer.poll_unpin(cx).is_ready() {
            self.timer_at = None;
            if self.wake.is_some_and(|wake| wake <= self.host.now().time) {
                self.handle(Input::Timeout);
                self.again = true;
                return;
            }
            self.set_timer();
        }
    }

    /// Carries out what the engine has decided.
    fn drain_engine(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Commit(commit) => {
                    self.submitted = commit.lsn;
                    self.reach.push_back((commit.lsn, self.engine.extents()));
                    self.store.submit(commit);
                    if self.store.is_full() {
                        self.networks.set_reading(false);
                    }
                }
                Output::Send { link, class, frame, after, until } => {
                    self.when_durable(after, Held::Frame { link, class, frame, until });
                }
                Output::Reply { token, reply, after, last } => {
                    self.when_durable(after, Held::Reply { token, reply, last });
                }
                Output::Blob(order) => {
                    let done = self.host.blob(order);
                    self.begin(done.map(Done::Blob).boxed());
                }
                Output::Enrolled { id, reply } => {
                    // The device may have gone meanwhile. It will ask again and get the same answer.
                    let _ = self.enrolling.remove(&id).map(|respond| respond.send(reply));
                }
                Output::Issue { origin, hello } => {
                    let answer = self.host.issue(hello, origin.relayed(), self.now().unix);
                    self.begin(answer.map(move |issued| Done::Issued { origin, issued }).boxed());
                }
                Output::Renew { hello, seed, judge } => {
                    let members =
                        self.members().into_iter().filter(|address| self.networks.may_dial(address)).collect();
                    let answer = self.host.renew(hello, seed, judge, members);
                    self.begin(answer.map(Done::Renewed).boxed());
                }
                Output::MembershipChanged { save } => {
                    for (own, gate) in self.networks.gates() {
                        gate.view.store(Arc::new(self.engine.admission_view_of(own)));
                    }
                    if save {
                        let stored = self.engine.membership().to_stored();
                        let saved = self.host.save(stored);
                        self.begin(saved.map(Done::Saved).boxed());
                    }
                    self.enforce_lab(false);
                }
                Output::Addresses { link, own, others } => self.learn_addresses(link, own, others),
                Output::Close { link, reason } => {
                    self.networks.close(link, &reason);
                }
                Output::Asleep { asleep } => self.networks.sleep(asleep),
                Output::Shun { peer, rest } => self.networks.shun(&peer, rest),
                Output::Network { own, seed } => self.open_network(own, &seed),
                Output::Leave { own } => self.leave_network(&own),
                Output::Wait(at) => {
                    self.wake = at;
                    self.set_timer();
                    return;
                }
            }
        }
    }

    fn when_durable(&mut self, after: Lsn, held: Held) {
        // Nobody knows how long the disk will fail, so publications go to subscribers without waiting for it.
        let after = self.waiting.commit_for(&held, after);
        let waits = after > self.durable && (held.published().is_none() || self.store_failure.is_none());
        if !waits {
            return self.let_go(held);
        }
        self.tell_what_is_durable(&held);
        if self.waiting.push(after, held).is_err() {
            self.handle(Input::Dropped { counter: Counter::PublicationsDropped, count: 1 });
        }
    }

    fn let_go(&mut self, held: Held) {
        match held {
            Held::Frame { link, class, frame, until } => self.send(link, class, frame, until),
            Held::Reply { token, reply, last } => self.tell(token, reply, last),
        }
    }

    /// Resets the timer to fire in time. A timer that fires earlier is left alone, and reset when it has fired.
    fn set_timer(&mut self) {
        if let Some(at) = self.wake.filter(|at| self.timer_at.is_none_or(|set| set > *at)) {
            self.timer_at = Some(at);
            self.timer.reset(at.since(self.host.now().time));
        }
    }

    /// Whether the node may stop: it was told to, no job is running, and all commits are durable.
    fn is_settled(&self) -> bool {
        self.stopping && self.jobs.is_empty() && self.durable >= self.submitted
    }
}

impl<S: Store + Unpin, H: Host + Unpin> Future for EventLoop<S, H> {
    type Output = ();

    /// Resolves once the node was told to stop and everything it has accepted is durable.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let node = self.get_mut();
        let again = node.turn(cx);
        // A busy network always offers more work; stopping waits only for what was already accepted.
        if node.is_settled() {
            return Poll::Ready(());
        }
        if again {
            // Other tasks of the executor run in between, above all the application that reads what has come.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Commands taken in a turn: they make up one batch.
const CALLS_A_TURN: usize = 1_024;
/// Questions taken in a turn.
const QUESTIONS_A_TURN: usize = 64;
/// Network events taken in a turn. Each may hold a buffer of up to 64 KiB; together they are fewer bytes than may wait
/// for an application.
const EVENTS_A_TURN: usize = 32;
/// The interval of a timer that is not set.
const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);
