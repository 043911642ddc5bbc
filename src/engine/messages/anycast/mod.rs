//! Anycast: messages and requests to any one of the devices that offer a service.
//!
//! **Mechanism.** Routers advertise the tags of the services that they or their leaves offer ([`tags`]). Who sends to a
//! service takes its contacts at these routers, ranks them by the message's policy and then by load ([`choosing`]), and
//! asks them ([`asking`]):
//!
//! ```text
//! seek ─▶ enquiry to the best of those not tried ─▶ choose among those that answer ─┬▶ message ─▶ its own outcome
//!   ▲      (left out for a request, if offers are known and fresh)                 │
//!   │                                                                              ▼
//!   ├── none is left: pause, then all again              request: reservation ─▶ order ─▶ response
//!   └── silent for a retransmission time-out, full, or without the service ◀──┴─────┘ refused for certain
//! ```
//!
//! An enquiry and a reservation execute nothing, so another device may be asked whenever they are not answered. The order is
//! the request itself. From the moment at which it has left, nobody can know whether it was executed unless the device says
//! so: it goes to no other device until the first one says that it has *not* taken it, with a receipt that is durable there
//! before it leaves. Silence after the order therefore ends as *not known* at the deadline.
//! With a caller that allows repetition, silence is enough.
//!
//! The place that a device keeps free (`places`) is a promise of room and no state of the request: it is not on a disk. An order
//! that finds none, since it ran out or the device was restarted, is judged as if it were the first message.
//!
//! Invariants
//! 1. A request is executed at most once, on whichever device, unless its caller allows repetition.
//! 2. A message leaves for one device only.
//! 3. A send to a service ends once, and no later than its deadline.
//! - At most [`MAX_OPEN`] sends to services look for a device, with [`MAX_BYTES`] of payload. Drop policy: the newest is
//!   refused (`Full`).
//! - At most [`MAX_KNOWN`] offers of others are known. Drop policy: the oldest is forgotten. Only answers to own questions are
//!   taken.

mod asking;
mod choosing;
mod listing;
mod places;
mod tags;

pub(in crate::engine) use places::MAX_PLACES;

use crate::delivery::lane::Lane;
use crate::engine::api::{AnycastKind, Token};
use crate::id::{InnerId, Name, SendId};
use crate::time::Time;
use crate::wire::offer::Offer;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most sends to services that look for a device.
pub(in crate::engine) const MAX_OPEN: usize = 1_024;
/// Most payload of these, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most offers of others that are known.
pub(in crate::engine) const MAX_KNOWN: usize = 4_096;
/// Most devices asked at a time for one send.
const WAVE: usize = 16;
/// Most devices asked at a time for a list of offers.
const LIST: usize = 64;
/// Most devices considered for one send.
const MAX_CANDIDATES: usize = 256;
/// How long what a device has said of its offer is taken for true.
const FRESH: Duration = Duration::from_secs(10);
/// How long is waited for slower answers after the first, besides the time that the first took.
const GATHER: Duration = Duration::from_millis(20);
/// The pause before all are asked again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// A send to a service.
#[derive(Debug)]
struct Entry {
    token: Token,
    /// Others who have asked for the outcome, under the message's name.
    also: Vec<Token>,
    service: String,
    payload: Vec<u8>,
    /// The name of the policy that the application has given.
    policy: Option<String>,
    lane: Lane,
    kind: AnycastKind,
    since: Time,
    deadline: Time,
    step: Step,
    devices: Devices,
    pause: Duration,
    /// Its questions since the last pause.
    questions: BTreeSet<InnerId>,
    /// Whether it asks for the offers alone.
    lists: bool,
    /// Whether a device may have executed it that has not said so; only where repetition is allowed.
    unsure: bool,
}

/// What a send knows of the devices that offer its service.
#[derive(Debug, Default)]
struct Devices {
    /// Those that have answered and are not tried yet.
    found: BTreeSet<Name>,
    /// Those that need not be asked again before a pause, and why.
    tried: BTreeMap<Name, Why>,
    /// The last that each has said, also before the pause.
    heard: BTreeMap<Name, Why>,
}

impl Devices {
    fn note(&mut self, of: &Name, why: Why) {
        self.found.remove(of);
        self.tried.insert(of.clone(), why);
        self.heard.insert(of.clone(), why);
    }
}

/// Why a device is not tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Silent,
    Full,
    Without,
}

/// What a send to a service waits for.
#[derive(Debug)]
enum Step {
    /// The time at which devices are looked for.
    Pausing { until: Time },
    /// Answers to enquiries.
    Enquiring { waiting: BTreeMap<Name, InnerId>, since: Time, until: Time },
    /// The answer of one device.
    Reserving { to: Name, id: InnerId, until: Time },
    /// The response. `until`: when the order is given up if it has no receipt, where repetition is allowed.
    Ordered { to: Name, id: InnerId, until: Option<Time> },
}

impl Step {
    fn until(&self) -> Option<Time> {
        match self {
            Self::Pausing { until } | Self::Enquiring { until, .. } | Self::Reserving { until, .. } => Some(*until),
            Self::Ordered { until, .. } => *until,
        }
    }

    /// What is under way to devices that asks and does not order.
    fn asked(&self) -> Vec<(Name, InnerId)> {
        match self {
            Self::Enquiring { waiting, .. } => waiting.iter().map(|(name, id)| (name.clone(), *id)).collect(),
            Self::Reserving { to, id, .. } => vec![(to.clone(), *id)],
            Self::Pausing { .. } | Self::Ordered { .. } => Vec::new(),
        }
    }
}

/// What is known of an offer of another device.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None` if it does not offer the service.
    offer: Option<Offer>,
    at: Time,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Anycasts {
    entries: BTreeMap<u64, Entry>,
    last: u64,
    bytes: usize,
    by_token: BTreeMap<Token, u64>,
    by_id: BTreeMap<SendId, u64>,
    /// The questions under way, by the identity of their messages: answers are taken to these alone.
    asked: BTreeMap<InnerId, (Name, String)>,
    known: BTreeMap<(String, Name), Known>,
    /// The sends that may have something to do.
    ready: BTreeSet<u64>,
    places: places::Places,
    tags: tags::Tags,
}

impl Anycasts {
    /// How many sends look for a device.
    pub(in crate::engine) fn open(&self) -> usize {
        self.entries.len()
    }

    /// How many offers of others are known.
    pub(in crate::engine) fn known(&self) -> usize {
        self.known.len()
    }

    /// How many places are kept free for callers.
    pub(in crate::engine) fn places(&self) -> usize {
        self.places.len()
    }

    /// When [`Messages::timeout_anycasts`](crate::engine::messages::Messages::timeout_anycasts) has something to do.
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let due = self.entries.values().filter_map(Entry::due).min();
        [due, self.tags.next].into_iter().flatten().min()
    }

    /// Notes what a device has said of its offer.
    fn learn(&mut self, service: &str, of: &Name, offer: Option<Offer>, at: Time) {
        if self.known.len() >= MAX_KNOWN
            && let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.at).map(|(key, _)| key.clone())
        {
            self.known.remove(&oldest);
        }
        self.known.insert((service.to_owned(), of.clone()), Known { offer, at });
    }

    /// What is known of an offer and fresh.
    fn fresh(&self, service: &str, of: &Name, now: Time) -> Option<Option<Offer>> {
        let known = self.known.get(&(service.to_owned(), of.clone()))?;
        (now.since(known.at) < FRESH).then_some(known.offer)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.ready.remove(&number);
        self.bytes -= entry.payload.len();
        self.by_token.remove(&entry.token);
        if let Some(id) = entry.kind.id() {
            self.by_id.remove(&id);
        }
        entry.questions.iter().for_each(|id| {
            self.asked.remove(id);
        });
        Some(entry)
    }

    /// A request has its response, or has ended without one.
    pub(in crate::engine) fn ended(&mut self, token: Token) {
        if let Some(number) = self.by_token.get(&token) {
            self.remove(*number);
        }
    }
}

impl Entry {
    fn due(&self) -> Option<Time> {
        match self.step {
            // The request has a deadline of its own.
            Step::Ordered { until, .. } => until,
            _ => self.step.until().map(|until| until.min(self.deadline)),
        }
    }

    fn repeats(&self) -> bool {
        matches!(self.kind, AnycastKind::Request { repeat: true, .. })
    }
}
