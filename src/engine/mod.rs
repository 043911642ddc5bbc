//! The engine: everything a node decides, with no clock, socket, disk or randomness of its own.
//!
//! **Mechanism.** The node hands in what has happened ([`Input`]) with the time, any number of times, then drains
//! [`Engine::poll_output`] until it answers [`Output::Wait`]. That is a *turn*. What the inputs of a turn caused
//! is gathered, not sent: the writes of a turn become one [`Commit`], the receipts to one neighbour one seal, the
//! messages to one destination as few seals as fit. So a busy node works in large batches and an idle one answers
//! at once, without a timer between.
//!
//! Outputs that speak of something written carry `after`: the node releases them when the store says that the
//! commit of that number is durable. Everything else goes at once.
//!
//! ```text
//!   Input ──▶ commands ─┬▶ delivery::outgoing ─▶ pump ─▶ sessions ─▶ Output::Send
//!             links ────┤                                  ▲
//!             control ──┤                        receipts ─┘
//!             unicast ──┴▶ delivery::dedupe ─▶ inbox, services ─▶ journal ─▶ Output::Commit
//!             multicast ──▶ delivery::reorder ─▶ subscriptions ─▶ Output::Reply
//!             enrolment ──▶ relays, issuer, renewal
//! ```
//!
//! Files: [`api`] what the application says and hears · [`lab`] what a lab tells · [`store`] what a disk is asked ·
//! `commands` dispatch · `links` neighbours · `control` frames of the control stream · `sessions` seals · `unicast` data
//! frames both ways · `inbox` durable messages, dedupe and receipts · `outcomes` what became of named messages ·
//! `services` offers and calls · `multicast` publishing and subscriptions · `gossip` group frames from others ·
//! `enrolment` relaying, renewal, epochs · `journal` the commit of the turn and the event log.
//!
//! Invariants
//! 1. Inputs only change state and gather; bytes are sealed and writes numbered when outputs are drained.
//! 2. A receipt, a delivery, a call and a log notice come out with the number of the commit that holds them.
//! 3. Every table here has a bound, and what its drop policy drops is counted under its name.
//! 4. The same inputs at the same times with the same seed give the same outputs.

pub mod api;
pub mod lab;
pub mod store;

mod commands;
mod control;
mod enrolment;
mod gossip;
mod inbox;
mod journal;
mod links;
mod multicast;
mod outcomes;
mod services;
mod sessions;
mod unicast;

use crate::delivery::outgoing::Outgoing;
use crate::delivery::unconfirmed::Unconfirmed;
use crate::event_log::{self, Event, EventLog};
use crate::id::{IssuerId, LinkId, Lsn, Name};
use crate::identity::admission::AdmittedPeer;
use crate::identity::kdf::Secret;
use crate::identity::membership::Membership;
use crate::time::{Now, Time};
use crate::wire::data::Class;
use crate::wire::hello::{EnrolHello, EnrolReply};
use api::{Command, Reply, Token};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use store::{Commit, Read, ReadError};

/// What has happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The application asks for something.
    Command {
        /// To answer under.
        token: Token,
        /// What.
        command: Command,
    },
    /// A neighbour was admitted and its streams stand.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Who.
        peer: AdmittedPeer,
        /// What carries it: `tcp`, `quic`.
        transport: &'static str,
        /// Over which of the node's bearers: its place among the settings; 0 where there are none.
        bearer: u8,
    },
    /// A link's round trip was measured by a ping.
    Measured {
        /// Which.
        link: LinkId,
        /// How long it took.
        round_trip: core::time::Duration,
    },
    /// Nothing is heard of a link although something was sent over it; it stays up.
    Silent(LinkId),
    /// A silent link is heard again.
    Heard(LinkId),
    /// A link costs something else than its bearer does.
    Priced {
        /// Which.
        link: LinkId,
        /// Micro-units per MB (10⁶ bytes); `None` for its bearer's price.
        price: Option<u64>,
    },
    /// A link is gone.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// Whole frames came over a link.
    Frames {
        /// Which.
        link: LinkId,
        /// As in [`Frames`](crate::wire::frame::Frames).
        buffer: &'a [u8],
    },
    /// A link takes no more data for now.
    Blocked(LinkId),
    /// It does again.
    Writable(LinkId),
    /// A frame came by gossip; it is answered by [`Output::Verdict`].
    Gossip {
        /// Number for the verdict.
        id: u64,
        /// The neighbour that forwarded it.
        link: LinkId,
        /// A signed group frame.
        data: &'a [u8],
    },
    /// What became of an [`Output::Gossip`].
    Published {
        /// Its number.
        job: u64,
        /// Neighbours that listen to it, and got it; `None` when their queues are full.
        neighbours: Option<u32>,
    },
    /// The addresses this node listens on, in binary form, without a PeerId.
    Listening(Vec<Vec<u8>>),
    /// A device at admission wants to enrol; answered by [`Output::Enrolled`].
    Enrol {
        /// Number for the answer.
        id: u64,
        /// What it said.
        hello: EnrolHello,
    },
    /// This node's issuer has answered an [`Output::Issue`].
    Issued {
        /// As asked.
        origin: Origin,
        /// Its answer.
        reply: EnrolReply,
        /// For the log: the device enrolled or why not; nothing for a renewal.
        event: Option<Event>,
    },
    /// An [`Output::Renew`] has been answered.
    Renewed(Result<EnrolReply, String>),
    /// Something that belongs into the event log happened below.
    Event(Event),
    /// Connections were refused at admission.
    Refused {
        /// Reason code.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// Something was dropped at a bound below.
    Dropped {
        /// Counter's name.
        counter: &'static str,
        /// How many.
        count: u64,
    },
    /// Time has passed.
    Timeout,
}

/// What the node is to do.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Commit(Commit),
    /// Send a frame over a link.
    Send {
        /// Which.
        link: LinkId,
        /// Its queue there.
        class: Class,
        /// A whole frame.
        frame: Vec<u8>,
        /// Not before this is durable.
        after: Lsn,
    },
    /// Publish a frame; answered by [`Input::Published`].
    Gossip {
        /// Number for the answer.
        job: u64,
        /// Gossip topic.
        topic: String,
        /// A signed group frame.
        frame: Vec<u8>,
    },
    /// Listen to a gossip topic.
    Subscribe(String),
    /// Listen to it no more.
    Unsubscribe(String),
    /// Whether a gossip frame is to be forwarded.
    Verdict {
        /// Its number.
        id: u64,
        /// What it is.
        verdict: GossipVerdict,
    },
    /// Tell the application.
    Reply {
        /// Whom.
        token: Token,
        /// What.
        reply: Reply,
        /// Not before this is durable.
        after: Lsn,
        /// Whether nothing more comes under this token.
        last: bool,
    },
    /// Answer a device that enrols here.
    Enrolled {
        /// Its number.
        id: u64,
        /// The answer.
        reply: EnrolReply,
    },
    /// Have this node's issuer answer a request; answered by [`Input::Issued`].
    Issue {
        /// To be handed back.
        origin: Origin,
        /// The request.
        hello: EnrolHello,
    },
    /// Carry this request to some member; answered by [`Input::Renewed`].
    Renew {
        /// The request.
        hello: EnrolHello,
        /// Seed of the Ed25519 key of the connection.
        seed: Secret,
    },
    /// The membership has changed: save it, and publish a new admission view.
    MembershipChanged {
        /// Whether there is anything new to save.
        save: bool,
    },
    /// A neighbour says where it and others listen.
    Addresses {
        /// Which neighbour.
        link: LinkId,
        /// Its own.
        own: Vec<Vec<u8>>,
        /// Of others.
        others: Vec<Vec<u8>>,
    },
    /// Close a link.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// Nothing more: call again with an input, or with [`Input::Timeout`] at this time.
    Wait(Option<Time>),
}

/// What a gossip frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipVerdict {
    /// Good: forward it.
    Accept,
    /// Bad: do not, and hold it against the one who forwarded it.
    Reject,
    /// Not forwarded, nobody's fault.
    Ignore,
}

/// Where an enrolment request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A device at this node's admission.
    Admission(u64),
    /// Another member; the relay's number.
    Relay(u64),
    /// This node itself.
    Own,
}

/// The engine. See the module's documentation.
pub struct Engine {
    now: Now,
    rng: ChaCha20Rng,
    membership: Membership,
    /// The issuer whose key this node holds.
    issuer: Option<IssuerId>,
    links: links::Links,
    sessions: sessions::Sessions,
    outgoing: Outgoing<unicast::Sender>,
    unconfirmed: Unconfirmed<(Token, Name)>,
    /// Which of the two goes first where both wait.
    confirmed_last: bool,
    outcomes: outcomes::Outcomes,
    /// Destinations for which something may wait; looked at in turn.
    ready: BTreeSet<Name>,
    served: Option<Name>,
    inbox: inbox::Inbox,
    services: services::Services,
    multicast: multicast::Multicast,
    enrolment: enrolment::Enrolment,
    log: EventLog,
    journal: journal::Journal,
    outputs: VecDeque<Output>,
    /// Where a batch is put together; kept for its room.
    plain: Vec<u8>,
    counters: BTreeMap<&'static str, u64>,
    /// When something is due, as of the end of the last turn.
    wake: Option<Time>,
    addresses: Vec<Vec<u8>>,
}

impl Engine {
    /// Loads what the store holds.
    pub fn new(
        membership: Membership,
        issuer: Option<IssuerId>,
        config: event_log::Config,
        store: &dyn Read,
        rng: ChaCha20Rng,
        now: Now,
    ) -> Result<Self, ReadError> {
        let log = journal::load(store, config, now)?;
        let inbox = inbox::Inbox::load(store)?;
        let mut engine = Self {
            now,
            rng,
            membership,
            issuer,
            links: links::Links::default(),
            sessions: sessions::Sessions::default(),
            outgoing: Outgoing::new(),
            unconfirmed: Unconfirmed::new(),
            confirmed_last: false,
            outcomes: outcomes::Outcomes::load(store)?,
            ready: BTreeSet::new(),
            served: None,
            inbox,
            services: services::Services::new(now),
            multicast: multicast::Multicast::new(),
            enrolment: enrolment::Enrolment::default(),
            log,
            journal: journal::Journal::default(),
            outputs: VecDeque::new(),
            plain: Vec::new(),
            counters: BTreeMap::new(),
            wake: None,
            addresses: Vec::new(),
        };
        engine.start_epoch();
        engine.record(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
        engine.restore_outgoing(store)?;
        engine.end_interrupted_calls(store)?;
        Ok(engine)
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        self.pass_time(now);
        match input {
            Input::Command { token, command } => self.handle_command(token, command),
            Input::LinkUp { link, peer, transport, bearer } => self.handle_link_up(link, peer, transport, bearer),
            Input::Measured { link, round_trip } => self.handle_measured(link, round_trip),
            Input::Silent(link) => self.links.set_silent(link, true),
            Input::Heard(link) => self.links.set_silent(link, false),
            Input::Priced { link, price } => self.links.set_price(link, price),
            Input::LinkDown { link, reason } => self.handle_link_down(link, &reason),
            Input::Frames { link, buffer } => self.handle_frames(link, buffer),
            Input::Blocked(link) => self.links.set_blocked(link, true),
            Input::Writable(link) => self.handle_writable(link),
            Input::Gossip { id, link, data } => self.handle_gossip(id, link, data),
            Input::Published { job, neighbours } => self.handle_published(job, neighbours),
            Input::Listening(addresses) => self.handle_listening(addresses),
            Input::Enrol { id, hello } => self.handle_enrol(id, hello),
            Input::Issued { origin, reply, event } => self.handle_issued(origin, reply, event),
            Input::Renewed(answer) => self.handle_renewed(answer),
            Input::Event(event) => self.record(event),
            Input::Refused { reason, count } => self.note_refused(reason, count),
            Input::Dropped { counter, count } => self.count(counter, count),
            Input::Timeout => {}
        }
    }

    /// The next thing to do. After [`Output::Wait`] the turn is over.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            // First what tells others what happened, then the commit that it waits for, then new data.
            if self.flush_turn() || self.pump_unicast() || self.pump_multicast() {
                continue;
            }
            self.wake = self.next_wake();
            return Output::Wait(self.wake);
        }
    }

    /// Whether the node should take commands from the application, or let them wait.
    pub fn has_room(&self) -> bool {
        let (open, fresh) = (self.outgoing.open(), self.outgoing.pending_bytes());
        open < COMMANDS_OPEN && fresh < COMMIT_BYTES && self.unconfirmed.has_room() && self.multicast.has_room()
    }

    /// What this device is.
    pub fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// Counters of everything dropped or refused.
    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }

    /// Messages on their way out that have not ended.
    pub fn outgoing_open(&self) -> usize {
        self.outgoing.open() + self.unconfirmed.waiting()
    }

    /// Messages in the inbox that have not been consumed.
    pub fn inbox_waiting(&self) -> u64 {
        self.inbox.waiting()
    }

    /// Records in the event log.
    pub fn log_records(&self) -> u64 {
        self.log.len()
    }

    /// Links with the neighbour's name, where it is a contact.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, Option<&Name>)> {
        self.links.iter().map(|(id, link)| (id, link.name.as_ref()))
    }

    /// Closes the books: the last commit.
    pub fn stop(&mut self, now: Now) {
        self.pass_time(now);
        self.record(Event::Stopped);
    }

    /// Advances time and does what has become due.
    fn pass_time(&mut self, now: Now) {
        if now.time < self.now.time {
            return;
        }
        self.watch_clock(now);
        self.now = now;
        if self.wake.is_some_and(|at| at <= now.time) {
            self.wake = None;
            self.handle_timeout();
        }
    }

    fn handle_timeout(&mut self) {
        self.timeout_unicast();
        self.timeout_services();
        self.timeout_multicast();
        self.timeout_enrolment();
        self.timeout_log();
    }

    fn next_wake(&self) -> Option<Time> {
        [
            self.outgoing.next_wake(),
            self.unconfirmed.next_wake(),
            self.services.next_wake(),
            self.multicast.next_wake(),
            self.enrolment.next_wake(),
            Some(self.log.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
    }

    fn finish(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: true });
    }
}

/// Bytes of messages to be kept in a turn, before commands have to wait for the next.
const COMMIT_BYTES: usize = 1024 * 1024;
/// Messages that may be open before commands have to wait; drop policy: none, back-pressure.
const COMMANDS_OPEN: usize = 32_768;
