//! Engine: everything a node decides, with no clock, socket, disk or randomness of its own.
//!
//! **Mechanism.** The node hands in inputs ([`Input`]) with the time, any number of times, then drains
//! [`Engine::poll_output`] until it returns [`Output::Wait`]. That is a *turn*. The effects of a turn's inputs are
//! gathered, not sent: the writes of a turn become one [`Commit`](store::Commit), the receipts to one device one seal,
//! the messages to one destination as few seals as possible. So a busy node works in large batches and an idle one
//! answers at once, without a timer between. Only frames to a group are spaced, by a millisecond, while more are
//! waiting (`publishing`).
//!
//! Outputs that report something written carry `after`: the node releases them when the store says that the commit of
//! that number is durable. All other outputs go at once.
//!
//! ```text
//!   Input ──▶ dispatch ─┬▶ submission ─▶ delivery::outgoing ─▶ departures ─▶ Output::Send
//!                       ├▶ receiving ─▶ intake ─▶ delivery::dedupe ─▶ inbox, services ─▶ journal ─▶ Output::Commit
//!                       │                                                receipts ─▶ Output::Send
//!                       ├▶ publishing ─▶ tree ─▶ Output::Send
//!                       ├▶ group_frames ─▶ shelf, tree ─▶ streams ─▶ Output::Reply
//!                       ├▶ link_state ─▶ routes; locate, forward ─▶ Output::Send
//!                       └▶ relaying, renewal, bulletins, epochs
//!   drained ─▶ turn: the commit, what waits for it, new data
//! ```
//!
//! The engine has five wings over a small `core`. Each wing is a folder with a struct that owns its state; lower ones
//! are lent to higher ones.
//!
//! - **Way in and out.** `exchange`: inputs and outputs; [`api`]: commands of an application and replies; [`store`]:
//!   what a disk is asked; `dispatch`: which module each input is for; `turn`: the order in which a turn ends;
//!   `journal`: its commit and the event log; `core`: what every wing needs; `timers`: which module is due.
//! - **Neighbours.** `links`: who they are; `announcements`: what they say about themselves; `credential_exchange` and
//!   `peer_credentials`: whose signatures can be verified; `clocks`: how far their clocks differ; `link_metrics`: the
//!   metrics of links; `fragments`: frames in pieces for narrow links; `air`: frames that are held for
//!   time on air; `segments`: whose frames are taken; `forgeries`:
//!   neighbours that bring too many forged frames; `sleep`: when this device is awake; `sleepers`: whose parent it is, and who is away; `quarantine`: those that do so again; `allowances`: how much a neighbour
//!   may ask.
//! - **Routing.** `link_state`: what routers advertise to each other; `routes`: which route is taken, found by
//!   `pathfinding` and kept by `hold_down`; `forward`: frames of others; `locate`: where a leaf is; `identities`: which devices the hops of paths are; `flights`: what became of frames; `data_frames`: the
//!   parts of a frame; `no_route`: why there is none; `wording`: texts for people.
//! - **Messages out.** `submission`: checks, with `objectives` from the message's policy; `held`: messages that are not to
//!   leave yet; `strangers`: messages to
//!   names without a card yet; `departures`: sealing and sending in turn; `patience`: what could leave and does not yet; `waiting`: why messages wait, for people; `endings`: what became of messages;
//!   `outcomes`: the same by name; `outbox`: through a restart; `sessions` and `seals`: how they are sealed and opened;
//!   `sender`: who waits for the end.
//!   `named_requests`: requests by name, through a restart;
//! - **Messages in.** `receiving`: data frames; `intake`: judges messages; `inbox`: keeps them; `senders`: whose duplicates are known; `receipts`: confirmations; `reading`: how those who read the
//!   inbox are told; `services`: offers and calls.
//! - **Anycast.** `anycast`: messages and requests to any device that offers a service: whom to ask, by `choosing`, and in
//!   which steps, `asking`; `places` that are kept free for callers; the `tags` of services.
//! - **Blobs.** `blobs`: large payloads: `sending`, `taking`, `fetching`, `serving`, and the application's `commands`.
//! - **Mail.** `mail`: messages for devices that are away: `sending`, `custodian`, `handing`, `receiving`, and `statements` of custody.
//! - **Groups.** `multicast`: subscriptions; `publishing`: publications, in `out_streams` with `ordinals`;
//!   `confirmations`: who has heard them; `tree`: next hops of frames; `group_frames`: frames of others; `lag`: their
//!   publishers' clocks; `shelf`: frames kept; `repair`: missing frames, which are `wanted`, with `telling` for
//!   neighbours; `streams`: their order; `succession`: from one stream to the next; `past`: publications from before a
//!   subscription; `broadcast`: messages to all; `answers`: to requests that are published; `missing`: gaps; `heard`: up to where subscribers have heard publishers, for good.
//! - **Membership.** `epochs`: their turn; `renewal`: credentials and cards; `relaying`: enrolment of others, by an
//!   `issuer_search` that costs least; `bulletins`: the operator's bulletin; `documents`: what it names.
//! - **Looks.** [`view`] and `report`: what an operator may look at; [`tables`]: what may have grown; `spelling`: the
//!   name that was meant; `send_policy`: what a policy asks; `settings`: the configuration.
//!
//! Invariants
//! 1. Inputs only change state and gather; bytes are sealed and writes numbered when outputs are drained.
//! 2. A receipt, a delivery, a call and a log notice come out with the number of the commit that holds them.
//! 3. Every table of the engine has a bound, and what its drop policy drops is counted under the counter that it names.
//! 4. The same inputs at the same times with the same seed give the same outputs.
//! - No other process, of this device or of a copy of its disk, has the same seed: the freshness of all keys comes from
//!   it.

pub mod api;
pub mod store;
pub mod tables;
pub mod view;

mod core;
mod dispatch;
mod exchange;
mod groups;
mod journal;
mod membership;
mod messages;
mod neighbours;
mod report;
mod routing;
mod send_policy;
mod sender;
mod settings;
mod spelling;
mod timers;
mod turn;

use self::core::Core;
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{IssuerId, LinkId, Name, Pseudonym};
use crate::identity::admission::AdmissionView;
use crate::identity::clock::{Change, Standing};
use crate::identity::membership::Membership;
use crate::routing::policies::Policies;
use crate::time::Now;
use groups::Groups;
use membership::Member;
use messages::Messages;
use neighbours::Neighbours;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use routing::Routing;
use std::collections::{BTreeMap, VecDeque};
use store::{Read, ReadError};
use timers::Timers;
use view::{HeldView, QuarantinedView, WaitingView};

pub use exchange::{Input, Origin, Output};
pub use settings::{Settings, SleepSettings};

/// The engine of one node. See the module's documentation.
pub struct Engine {
    core: Core,
    neighbours: Neighbours,
    routing: Routing,
    messages: Messages,
    groups: Groups,
    member: Member,
}

impl Engine {
    /// Creates an engine with the state that the store holds.
    pub fn new(
        mut membership: Membership,
        issuer: Option<IssuerId>,
        settings: Settings,
        store: &dyn Read,
        mut rng: ChaCha20Rng,
        now: Now,
    ) -> Result<Self, ReadError> {
        let (clock, kept) = membership::clock::start(&membership, &settings, store, now)?;
        let (machine, now) = (now.unix, clock.read(now));
        let log = journal::load(store, settings.log.clone(), now)?;
        let process = rng.next_u64() | 1;
        let policies = Policies::new(&settings.policies);
        membership.set_anonymity(membership::anonymity::load(store, settings.anonymity)?);
        let own = membership.pseudonym(now.unix);
        let mut engine = Self {
            neighbours: Neighbours::load(&settings, store, now)?,
            routing: Routing::new(own, settings.area),
            messages: Messages::load(store, &settings, now)?,
            groups: Groups::load(store, now)?,
            member: Member::new(issuer),
            core: Core {
                now,
                clock,
                rng,
                membership,
                send_policies: send_policy::all(&policies),
                policies,
                settings,
                own,
                former: None,
                process,
                log,
                journal: journal::Journal::new(store)?,
                outputs: VecDeque::new(),
                counters: BTreeMap::new(),
                timers: Timers::default(),
            },
        };
        engine.core.membership.groups_mut().set_time(now.unix);
        engine.start_epoch();
        engine.core.record(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
        engine.member.clock.kept = kept;
        if clock.is_unset() {
            engine.member.heed_machine(&mut engine.core, &mut engine.neighbours, Change::Unset, machine);
        }
        engine.messages.restore_requests(&engine.core);
        engine.messages.restore_outgoing(&mut engine.core, store)?;
        engine.messages.restore_held(&mut engine.core, store)?;
        engine.messages.end_interrupted_calls(&mut engine.core, store)?;
        engine.messages.reopen_blob_sends();
        engine.messages.restore_blobs(&mut engine.core);
        engine.cut_off_revoked();
        engine.member.plan_cards(&mut engine.core);
        Ok(engine)
    }

    /// Whether the node should take commands from the application, or let them wait.
    pub fn has_room(&self) -> bool {
        let (open, fresh) = (self.messages.sends.open(), self.messages.sends.pending_bytes());
        open < COMMANDS_OPEN
            && fresh < COMMIT_BYTES
            && self.messages.sends.has_room()
            && self.groups.publishing.has_room()
    }

    /// What the node's clocks say when the machine's say this.
    pub fn read_clock(&self, raw: Now) -> Now {
        self.core.clock.read(raw)
    }

    /// Whose time the node goes by.
    pub fn clock(&self) -> Standing {
        self.core.clock.standing()
    }

    /// What the transport needs to admit neighbours, by the node's clock. To be published anew at each
    /// [`Output::MembershipChanged`].
    pub fn admission_view(&self) -> AdmissionView {
        self.core.membership.admission_view().by(self.core.clock).without(self.neighbours.quarantine.shunned())
    }

    /// The same for a network under one of this device's pseudonyms.
    pub fn admission_view_of(&self, own: &Pseudonym) -> AdmissionView {
        self.core.membership.admission_view_of(own).by(self.core.clock).without(self.neighbours.quarantine.shunned())
    }

    /// The pseudonym under which this device takes part.
    pub fn pseudonym(&self) -> Pseudonym {
        self.core.own
    }

    /// What this device is.
    pub fn membership(&mut self) -> &mut Membership {
        &mut self.core.membership
    }

    /// Returns the counters of everything dropped or refused.
    pub fn counters(&self) -> &BTreeMap<Counter, u64> {
        &self.core.counters
    }

    /// Returns the number of outgoing messages that have not ended.
    pub fn outgoing_open(&self) -> usize {
        self.messages.sends.pending()
    }

    /// Returns the messages that are not to leave yet, the first to leave first.
    pub fn held(&self) -> Vec<HeldView> {
        self.messages.held_view()
    }

    /// Returns the number of messages that are not to leave yet.
    pub fn held_open(&self) -> usize {
        self.messages.held.len()
    }

    /// Returns the number of messages in the inbox that have not been consumed.
    pub fn inbox_waiting(&self) -> u64 {
        self.messages.inbox.waiting()
    }

    /// Returns the last numbers of inbox and event log, as they are once all commits handed out are durable.
    pub fn extents(&self) -> (u64, u64) {
        (self.messages.inbox.last_given(), self.core.log.head().last)
    }

    /// Returns the number of records in the event log.
    pub fn log_records(&self) -> u64 {
        self.core.log.len()
    }

    /// Returns the links, each with its neighbour's name if that is a contact, and whether it is silent.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, Option<&Name>, bool)> {
        self.neighbours.links.iter().map(|(id, link)| (id, link.name.as_ref(), link.silent))
    }

    /// The signed credential of the neighbour at the other end of a link, as it travels.
    pub fn credential_of(&self, link: LinkId) -> Option<&[u8]> {
        self.neighbours.links.get(link).map(|link| &link.peer.signed[..])
    }

    /// The devices for which messages wait for long, and why.
    pub fn waiting(&self) -> Vec<WaitingView> {
        self.messages.waiting(self.core.now.time)
    }

    /// The neighbours in quarantine.
    pub fn quarantined(&self) -> Vec<QuarantinedView> {
        self.neighbours.quarantine.view(self.core.now.time)
    }

    /// All links, those that cost least first.
    pub fn links_by_cost(&self) -> Vec<LinkId> {
        let mut links: Vec<(bool, bool, u64, LinkId)> = self
            .neighbours
            .links
            .iter()
            .map(|(id, link)| (!link.usable, self.member.costs(&self.neighbours, link), link.metrics.price, id))
            .collect();
        links.sort_unstable();
        links.into_iter().map(|(.., id)| id).collect()
    }

    /// Prepares the last commit of this process, when the node stops.
    pub fn stop(&mut self, now: Now) {
        self.pass_time(now);
        let unused = self.groups.heard.close();
        self.core.journal.extend(unused);
        let ends = self.groups.publishing.close();
        self.core.journal.extend([ends]);
        self.core.record(Event::Stopped);
    }
}

/// Bytes of messages that a turn's commit may hold before commands have to wait for the next turn.
const COMMIT_BYTES: usize = 1024 * 1024;
/// Messages that may be open before commands have to wait. Drop policy: none, back-pressure.
const COMMANDS_OPEN: usize = 32_768;
