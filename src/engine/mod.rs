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
//! What is decided lies in five wings over a small `core`, each a folder with a struct that owns its state; what is below is lent to what is above.
//!
//! | wing | files |
//! |-|-|
//! | the way in and out | `exchange` inputs and outputs, [`api`] what is asked of it for an application and what it makes of it, [`store`] what a disk is asked; `dispatch` which room each is for, `turn` in which order a turn ends, `journal` its commit and the event log, `core` what all need |
//! | neighbours | `links` who they are, `announcements` what they say of themselves, `credential_exchange` and `peer_credentials` whose signatures are known, `link_metrics` what links are worth, `fragments` for narrow ones, `segments` whose frames, `share` no link more than its part, `forgeries` nor much that is forged |
//! | routing | `link_state` what routers tell each other, `routes` which way, by `pathfinding`, `hold_down` and until when, `forward` for others, `locate` where a leaf is, `flights` what became of frames, `questions` about leaves, `data_frames` the parts of a frame, `wording` for people |
//! | messages out | `submission` checked, by the `objectives` of their policy, `strangers` to whom there is no card yet, `departures` sealed and sent in turn, `endings` what became of them, `outcomes` by name, `outbox` through a restart; `sessions` which there are, `seals` put on and taken off, `sender` who waits for an end |
//! | messages in | `receiving` data frames, `intake` judged, `inbox` kept, `senders` whose duplicates are known, `receipts` what is said of them, `reading` whoever reads them is told, `services` offers and calls |
//! | groups | `multicast` subscriptions, `publishing` what is published, in `out_streams` with `ordinals`, `confirmations` who has heard it, `tree` to whom frames are pushed, `group_frames` what others publish, `lag` by whose clocks, `shelf` frames kept, `repair` and fetched, as `wanted`, and `telling` neighbours of it, `streams` their order, `succession` from one to the next, `past` what was there before a subscription, `missing` their gaps, `heard` up to where subscribers have heard them, for good |
//! | membership | `clock` the time, where the machine does not know it, `epochs` their turn, `renewal` credentials and cards, `relaying` enrolment of others, by an `issuer_search` that costs least, `bulletins` the operator's word, `documents` and what it names |
//! | looks | [`view`] and `report` what an operator may look at, [`tables`] what may have grown, `spelling` what was meant, `send_policy` what a policy asks |
//!
//! Invariants
//! 1. Inputs only change state and gather; bytes are sealed and writes numbered when outputs are drained.
//! 2. A receipt, a delivery, a call and a log notice come out with the number of the commit that holds them.
//! 3. Every table here has a bound, and what its drop policy drops is counted under its name.
//! 4. The same inputs at the same times with the same seed give the same outputs.
//! 5. The seed is one that no other process has, of this device or a copy of its disk: all freshness of keys is from it.

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
use crate::id::{IssuerId, LinkId, Name};
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

pub use exchange::{Input, Origin, Output};
pub use settings::Settings;

/// The engine. See the module's documentation.
pub struct Engine {
    core: Core,
    neighbours: Neighbours,
    routing: Routing,
    messages: Messages,
    groups: Groups,
    member: Member,
}

impl Engine {
    /// Loads what the store holds, at a reading of the machine's clocks.
    pub fn new(
        membership: Membership,
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
        let own = membership.pseudonym();
        let mut engine = Self {
            neighbours: Neighbours::load(&settings, store, now)?,
            routing: Routing::new(own, settings.area),
            messages: Messages::load(store, now)?,
            groups: Groups::load(store)?,
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
                process,
                disk_fails: false,
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
        engine.messages.restore_outgoing(&mut engine.core, store)?;
        engine.messages.end_interrupted_calls(&mut engine.core, store)?;
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
        self.core.membership.admission_view().by(self.core.clock)
    }

    /// What this device is.
    pub fn membership(&mut self) -> &mut Membership {
        &mut self.core.membership
    }

    /// Counters of everything dropped or refused.
    pub fn counters(&self) -> &BTreeMap<Counter, u64> {
        &self.core.counters
    }

    /// Messages on their way out that have not ended.
    pub fn outgoing_open(&self) -> usize {
        self.messages.sends.pending()
    }

    /// Messages in the inbox that have not been consumed.
    pub fn inbox_waiting(&self) -> u64 {
        self.messages.inbox.waiting()
    }

    /// How far inbox and event log reach, once all commits handed out are durable: their last numbers.
    pub fn extents(&self) -> (u64, u64) {
        (self.messages.inbox.last_given(), self.core.log.head().last)
    }

    /// Records in the event log.
    pub fn log_records(&self) -> u64 {
        self.core.log.len()
    }

    /// Links with the neighbour's name, where it is a contact.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, Option<&Name>, bool)> {
        self.neighbours.links.iter().map(|(id, link)| (id, link.name.as_ref(), link.silent))
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

    /// Closes the books: the last commit.
    pub fn stop(&mut self, now: Now) {
        self.pass_time(now);
        let unused = self.groups.heard.close();
        self.core.journal.extend(unused);
        let ends = self.groups.publishing.close();
        self.core.journal.extend([ends]);
        self.core.record(Event::Stopped);
    }
}

/// Bytes of messages to be kept in a turn, before commands have to wait for the next.
const COMMIT_BYTES: usize = 1024 * 1024;
/// Messages that may be open before commands have to wait; drop policy: none, back-pressure.
const COMMANDS_OPEN: usize = 32_768;
