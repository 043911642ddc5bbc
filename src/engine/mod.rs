//! The engine: everything a node decides, with no clock, socket, disk or randomness of its own.
//!
//! **Mechanism.** The node hands in what has happened ([`Input`]) with the time, any number of times, then drains
//! [`Engine::poll_output`] until it answers [`Output::Wait`]. That is a *turn*. What the inputs of a turn caused
//! is gathered, not sent: the writes of a turn become one [`Commit`](store::Commit), the receipts to one device one seal, the
//! messages to one destination as few seals as fit. So a busy node works in large batches and an idle one answers
//! at once, without a timer between. Frames to a group alone are spaced, by a millisecond, while there is more (`publishing`).
//!
//! Outputs that speak of something written carry `after`: the node releases them when the store says that the
//! commit of that number is durable. Everything else goes at once.
//!
//! ```text
//!   Input ──▶ commands ─┬▶ delivery::outgoing ─▶ pump ─▶ sessions ─▶ Output::Send
//!             links ────┤                                  ▲
//!             control ──┤                        receipts ─┘
//!             unicast ──┴▶ delivery::dedupe ─▶ inbox, services ─▶ journal ─▶ Output::Commit
//!             publishing ─▶ tree ─▶ Output::Send
//!             group_frames ─▶ shelf, tree ─▶ streams ─▶ Output::Reply
//!             enrolment ──▶ relays, issuer, renewal
//! ```
//!
//! Files: `exchange` inputs and outputs · [`api`] what the application says and hears · [`lab`] what a lab tells ·
//! [`store`] what a disk is asked · `commands` dispatch · `links` neighbours · `control` frames of the control stream
//! · `documents` what the bulletin names · `sessions` which there are · `seals` put on and taken off · `unicast` data
//! frames out · `arrivals` data frames in · `inbox` durable messages and dedupe · `receipts` what is said of them · `holdings` how much of it each contact has · `consumers` who reads them
//! · `outcomes` what became of named messages · `link_state` what routers tell each other · `worth` what
//! links are worth · `routes` which way, by `pathfinding` · `standing` and until when · `forward` for others · `fragments` for narrow
//! links · `flights` what became of frames · `locate` where a leaf is · `peer_credentials` whose
//! signatures are known · `segments` whose frames · `share` no link
//! more than its part · `forgeries` nor much that is forged · `tree` to whom a group's frames are pushed · [`view`]
//! and `report` what an operator may look at · `services` offers and calls · `multicast` subscriptions
//! · `publishing` what is published, in `out_streams` with `ordinals`, and confirmed by `confirmations` · `group_frames` what others publish · `streams` their order, from one to the next by `succession` · `past` what was there before a subscription · `missing` their gaps · `shelf` frames kept
//! · `repair` and fetched, as `wanted` · `heard` up to where subscribers have heard them, for good · `relaying` enrolment of
//! others, by the `ways` that cost least · `enrolment` renewal, epochs · `journal` the commit of the turn and
//! the event log.
//!
//! Invariants
//! 1. Inputs only change state and gather; bytes are sealed and writes numbered when outputs are drained.
//! 2. A receipt, a delivery, a call and a log notice come out with the number of the commit that holds them.
//! 3. Every table here has a bound, and what its drop policy drops is counted under its name.
//! 4. The same inputs at the same times with the same seed give the same outputs.
//! 5. The seed is one that no other process has, of this device or a copy of its disk: all freshness of keys is from it.

pub mod api;
pub mod lab;
pub mod store;
pub mod tables;
pub mod view;

mod arrivals;
mod commands;
mod confirmations;
mod consumers;
mod control;
mod documents;
mod enrolment;
mod exchange;
mod flights;
mod forgeries;
mod forward;
mod fragments;
mod group_frames;
mod heard;
mod holdings;
mod inbox;
mod journal;
mod lag;
mod link_state;
mod links;
mod locate;
mod missing;
mod multicast;
mod ordinals;
mod out_streams;
mod outcomes;
mod past;
mod pathfinding;
mod peer_credentials;
mod publishing;
mod receipts;
mod relaying;
mod repair;
mod report;
mod routes;
mod seals;
mod segments;
mod senders;
mod services;
mod sessions;
mod settings;
mod share;
mod shelf;
mod standing;
mod streams;
mod succession;
mod tree;
mod unicast;
mod wanted;
mod ways;
mod worth;

use crate::counter::Counter;
use crate::delivery::lane::Terms;
use crate::delivery::outgoing::Outgoing;
use crate::delivery::unconfirmed::Unconfirmed;
use crate::event_log::{Event, EventLog};
use crate::id::{IssuerId, LinkId, Lsn, Name, Pseudonym};
use crate::identity::membership::Membership;
use crate::routing::policies::Policies;
use crate::time::{Now, Time};
use api::{Reply, Token};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use store::{Read, ReadError};

pub use exchange::{Input, Origin, Output};
pub use settings::Settings;

/// The engine. See the module's documentation.
pub struct Engine {
    now: Now,
    rng: ChaCha20Rng,
    membership: Membership,
    /// The issuer whose key this node holds.
    issuer: Option<IssuerId>,
    settings: Settings,
    policies: Policies,
    /// What messages of each of them ask of their way.
    terms: BTreeMap<String, Arc<Terms>>,
    /// Our pseudonym.
    own: Pseudonym,
    /// Number of this process.
    process: u64,
    /// Nothing becomes durable for now.
    disk_fails: bool,
    links: links::Links,
    sessions: sessions::Sessions,
    outgoing: Outgoing<unicast::Sender>,
    unconfirmed: Unconfirmed<(Token, Name)>,
    /// Which of the two goes first where both wait.
    confirmed_last: bool,
    outcomes: outcomes::Outcomes,
    /// Destinations for which something may wait; looked at in turn.
    ready: BTreeSet<Name>,
    /// Destinations that wait until a link takes data.
    blocked_on: BTreeMap<LinkId, BTreeSet<Name>>,
    /// Why there was no way to a destination when it was last looked for.
    no_way: BTreeMap<Name, routes::NoWay>,
    /// When the first budget yields.
    last_call: Option<Time>,
    served: Option<Name>,
    inbox: inbox::Inbox,
    services: services::Services,
    peers: peer_credentials::PeerCredentials,
    multicast: multicast::Multicast,
    publishing: publishing::Publishing,
    confirmations: confirmations::Confirmations,
    shelf: shelf::Shelf,
    repair: repair::Repair,
    heard: heard::Heard,
    tree: tree::Trees,
    worth: worth::Worth,
    routing: link_state::LinkState,
    routes: routes::Routes,
    flights: flights::Flights,
    flows: forward::Flows,
    fragments: fragments::Fragments,
    /// How many forged frames each link may still bring.
    forgeries: share::Rates,
    locating: locate::Locating,
    enrolment: enrolment::Enrolment,
    relaying: relaying::Relays,
    ways: ways::Ways,
    documents: documents::Documents,
    log: EventLog,
    journal: journal::Journal,
    outputs: VecDeque<Output>,
    /// Where a batch is put together; kept for its room.
    plain: Vec<u8>,
    counters: BTreeMap<Counter, u64>,
    /// When something is due, as of the end of the last turn.
    wake: Option<Time>,
    addresses: Vec<Vec<u8>>,
}

impl Engine {
    /// Loads what the store holds.
    pub fn new(
        membership: Membership,
        issuer: Option<IssuerId>,
        settings: Settings,
        store: &dyn Read,
        mut rng: ChaCha20Rng,
        now: Now,
    ) -> Result<Self, ReadError> {
        let log = journal::load(store, settings.log.clone(), now)?;
        let inbox = inbox::Inbox::load(store)?;
        let (own, area) = (membership.pseudonym(), settings.area);
        let process = rng.next_u64() | 1;
        let policies = Policies::new(&settings.policies);
        let terms = commands::all_terms(&policies);
        let mut engine = Self {
            now,
            rng,
            membership,
            issuer,
            policies,
            terms,
            worth: worth::Worth::load(&settings.bearers, store, now)?,
            settings,
            own,
            process,
            disk_fails: false,
            links: links::Links::default(),
            sessions: sessions::Sessions::new(),
            outgoing: Outgoing::new(),
            unconfirmed: Unconfirmed::new(),
            confirmed_last: false,
            outcomes: outcomes::Outcomes::load(store)?,
            ready: BTreeSet::new(),
            blocked_on: BTreeMap::new(),
            no_way: BTreeMap::new(),
            last_call: None,
            served: None,
            inbox,
            services: services::Services::new(now),
            peers: peer_credentials::PeerCredentials::new(peer_credentials::MAX_CREDENTIALS),
            multicast: multicast::Multicast::new(),
            publishing: publishing::Publishing::load(store)?,
            confirmations: confirmations::Confirmations::default(),
            shelf: shelf::Shelf::new(shelf::MAX_BYTES),
            repair: repair::Repair::default(),
            heard: heard::Heard::load(store)?,
            tree: tree::Trees::default(),
            routing: link_state::LinkState::new(own, area),
            routes: routes::Routes::default(),
            flights: flights::Flights::default(),
            flows: forward::Flows::default(),
            fragments: fragments::Fragments::default(),
            forgeries: forgeries::rates(),
            locating: locate::Locating::default(),
            enrolment: enrolment::Enrolment::default(),
            relaying: relaying::Relays::default(),
            ways: ways::Ways::default(),
            documents: documents::Documents::default(),
            log,
            journal: journal::Journal::new(store)?,
            outputs: VecDeque::new(),
            plain: Vec::new(),
            counters: BTreeMap::new(),
            wake: None,
            addresses: Vec::new(),
        };
        engine.membership.groups_mut().set_time(now.unix);
        engine.start_epoch();
        engine.record(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
        engine.restore_outgoing(store)?;
        engine.end_interrupted_calls(store)?;
        Ok(engine)
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.pass_time(now);
        match input {
            Input::Command { token, command } => self.handle_command(token, command),
            Input::LinkUp { link, peer, transport, bearer, age } => {
                self.handle_link_up(link, peer, transport, bearer, age)
            }
            Input::LinkDown { link, reason } => self.handle_link_down(link, &reason),
            Input::Frames { link, buffer } => self.handle_frames(link, &buffer),
            Input::Measured { link, round_trip } => self.handle_measured(link, round_trip),
            Input::Silent(link) => self.handle_silence(link, true),
            Input::Heard(link) => self.handle_silence(link, false),
            Input::Broken(link) => self.handle_broken(link),
            Input::Twins { link, addresses } => self.handle_twins(link, addresses),
            Input::Priced { link, price } => self.handle_priced(link, price),
            Input::Blocked(link) => self.links.set_blocked(link, true),
            Input::Writable(link) => self.handle_writable(link),
            Input::Listening(addresses) => self.handle_listening(addresses),
            Input::Enrol { id, hello } => self.handle_enrol(id, hello),
            Input::Issued { origin, reply, pieces, event } => self.handle_issued(origin, reply, &pieces, event),
            Input::Renewed(answer) => self.handle_renewed(answer),
            Input::Event(event) => {
                self.disk_fails = match event {
                    Event::StoreFailed { .. } => true,
                    Event::StoreRecovered => false,
                    _ => self.disk_fails,
                };
                self.record(event);
            }
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
        open < COMMANDS_OPEN && fresh < COMMIT_BYTES && self.unconfirmed.has_room() && self.publishing.has_room()
    }

    /// What this device is.
    pub fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// Counters of everything dropped or refused.
    pub fn counters(&self) -> &BTreeMap<Counter, u64> {
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

    /// How far inbox and event log reach, once all commits handed out are durable: their last numbers.
    pub fn extents(&self) -> (u64, u64) {
        (self.inbox.last_given(), self.log.head().last)
    }

    /// Records in the event log.
    pub fn log_records(&self) -> u64 {
        self.log.len()
    }

    /// Links with the neighbour's name, where it is a contact.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, Option<&Name>, bool)> {
        self.links.iter().map(|(id, link)| (id, link.name.as_ref(), link.silent))
    }

    /// Closes the books: the last commit.
    pub fn stop(&mut self, now: Now) {
        self.pass_time(now);
        let unused = self.heard.close();
        self.journal.extend(unused);
        let ends = self.publishing.close();
        self.journal.extend([ends]);
        self.record(Event::Stopped);
    }

    /// Advances time and does what has become due.
    fn pass_time(&mut self, now: Now) {
        if now.time < self.now.time {
            return;
        }
        self.watch_clock(now);
        self.now = now;
        self.membership.groups_mut().set_time(now.unix);
        if self.wake.is_some_and(|at| at <= now.time) {
            self.wake = None;
            self.handle_timeout();
        }
    }

    fn handle_timeout(&mut self) {
        self.timeout_unicast();
        self.timeout_services();
        self.timeout_confirmations();
        self.timeout_multicast();
        self.timeout_link_state();
        self.timeout_locating();
        self.timeout_worth();
        self.timeout_tree();
        self.timeout_repair();
        self.timeout_relays();
        self.timeout_documents();
        self.timeout_enrolment();
        self.timeout_log();
    }

    fn next_wake(&self) -> Option<Time> {
        [
            self.outgoing.next_wake(),
            self.unconfirmed.next_wake(),
            self.services.next_wake(),
            self.multicast.next_wake(self.now.time),
            self.publishing.next_wake(),
            self.confirmations.next_wake(),
            self.shelf.next_wake(),
            self.repair.next_wake(),
            self.routing.next_wake(),
            self.next_route_check(),
            self.next_question(),
            self.next_bearer_change(),
            self.tree.next_wake(),
            self.last_call,
            self.enrolment.next_wake(),
            self.relaying.next_wake(),
            self.documents.next_wake(),
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
