//! Held: messages and publications that are not to leave yet, durable from the moment they are accepted.
//!
//! **Mechanism.** A command with a [`Timing`] is checked and resolved like any other and then held
//! (`delivery::held`) instead of queued. When it is due it is queued with what is left of its lifetime, and its record
//! is removed in the commit that holds it as an outgoing message. A policy may spread messages: each is held for a
//! random part of a span. A request is held in memory only, since after a restart nobody waits for its response.
//!
//! A message that takes the place of older ones of its key does so to those that are held when it is accepted, and to
//! those that wait when it leaves.
//!
//! A message that asks for no confirmation is in no record once it has left: if the node is cut off just then, before
//! the commit is durable, it leaves once more after the restart.
//!
//! Invariants
//! 1. A message that is held outlives a restart, and leaves or ends once.
//! 2. Nothing but its deadline, a newer one of its key, or the end of its destination's membership, ends a message that is
//!    held.

use super::endings::FAILED;
use crate::counter::Counter;
use crate::delivery::held::{Held, Item, Start, part_of};
use crate::delivery::lane::{Lane, SendPolicy};
use crate::delivery::message::{Content, End, Fate, Submission};
use crate::delivery::outgoing::MAX_LIFETIME;
use crate::delivery::sends::Ended;
use crate::delivery::unconfirmed::{Gone, Load as UnconfirmedLoad};
use crate::engine::api::{Outcome, Refused, Reply, Send, Timing, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::sender::Sender;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::engine::view::HeldView;
use crate::id::{Name, SendId};
use crate::time::Unix;
use crate::wire;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long a message that is due waits when there is no room for it.
const RETRY: Duration = Duration::from_secs(1);

/// What is held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::engine) enum Parked {
    /// A message that is to be confirmed.
    Message {
        to: Name,
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
        ack: Ack,
        class: Class,
        policy: SendPolicy,
        id: Option<SendId>,
        latest: Option<String>,
    },
    /// Messages that are not.
    Load {
        to: Name,
        #[serde(with = "serde_bytes")]
        records: Vec<u8>,
        count: u32,
        class: Class,
        policy: SendPolicy,
    },
    /// A publication.
    Publication {
        topic: String,
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
        policy: SendPolicy,
        confirm: Option<u32>,
        latest: bool,
    },
    /// A request, which is not stored.
    #[serde(skip)]
    Request { send: Send, service: Option<String> },
}

/// What is held, and who waits for its end.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Waiting {
    pub token: Option<Token>,
    pub parked: Parked,
}

/// A held message as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    due: Unix,
    expiry: Unix,
    /// The lifetime when it was accepted, in microseconds: whatever the clock shows after a restart, it lives no longer.
    lifetime: u64,
    what: Parked,
}

impl Parked {
    fn bytes(&self) -> usize {
        let own = match self {
            Self::Message { payload, .. } | Self::Publication { payload, .. } => payload.len(),
            Self::Load { records, .. } => records.len(),
            Self::Request { send, .. } => send.payload.len(),
        };
        own + OVERHEAD
    }

    fn to(&self) -> Option<&Name> {
        match self {
            Self::Message { to, .. } | Self::Load { to, .. } => Some(to),
            Self::Request { send, .. } => Some(&send.to),
            Self::Publication { .. } => None,
        }
    }
}

impl Messages {
    /// Holds a message until it may leave. Hands it back if that is now; returns `None` if it is held, or refused
    /// because it may leave only when it is of no use any more.
    pub(in crate::engine) fn hold(
        &mut self,
        core: &mut Core,
        token: Token,
        parked: Parked,
        timing: &Timing,
        lifetime: Duration,
    ) -> Option<Parked> {
        let lifetime = lifetime.min(MAX_LIFETIME);
        let now = core.now;
        let first = timing.start.map_or(Duration::ZERO, |start| start.left(now));
        if first >= lifetime {
            let refused = Refused::NeverInTime { from: now.unix + first, until: now.unix + lifetime };
            core.finish(token, Reply::Refused(refused));
            return None;
        }
        let part =
            timing.spread.map_or(Duration::ZERO, |spread| part_of(spread, lifetime - first, core.rng.next_u64()));
        if (first + part).is_zero() {
            return Some(parked);
        }
        let start = match timing.start {
            Some(Start::At(at)) if !first.is_zero() => Start::At(at + part),
            _ => Start::After(first + part),
        };
        let id = match &parked {
            Parked::Message { id, .. } => *id,
            _ => None,
        };
        let stored = !matches!(parked, Parked::Request { .. });
        let bytes = parked.bytes();
        let item = Item::new(Waiting { token: Some(token), parked }, bytes, start, lifetime, now);
        let (due, expiry) = (item.due, item.expiry);
        let value = stored.then(|| {
            let lifetime = u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
            wire::encode(&Stored { due, expiry, lifetime, what: item.what.parked.clone() })
        });
        match self.held.hold(item) {
            Ok(number) => {
                core.journal.extend(value.map(|value| Write::Put { table: Table::Held, key: key(number), value }));
                id.into_iter().for_each(|id| self.outcomes.opened(id));
            }
            Err(full) => core.finish(token, Reply::Refused(Refused::Full(full.to_string()))),
        }
        None
    }

    /// Takes up what an earlier process held.
    pub(in crate::engine) fn restore_held(&mut self, core: &mut Core, store: &dyn Read) -> Result<(), ReadError> {
        let (mut damaged, now) = (0, core.now);
        let mut over = Vec::new();
        store.scan(Table::Held, &[], &mut |key, value| {
            let number = key.try_into().map(u64::from_be_bytes);
            let (Ok(number), Ok(Stored { due, expiry, lifetime, what })) = (number, wire::decode::<Stored>(value))
            else {
                damaged += 1;
                return true;
            };
            if let Parked::Message { id: Some(id), .. } = &what {
                if self.outcomes.has_ended(id) {
                    over.push(key.to_vec());
                    return true;
                }
                self.outcomes.opened(*id);
            }
            let left = expiry.since(now.unix).min(Duration::from_micros(lifetime));
            let bytes = what.bytes();
            let item = Item::new(Waiting { token: None, parked: what }, bytes, Start::At(due), left, now);
            self.held.restore(number, item);
            true
        })?;
        core.journal.extend(over.into_iter().map(|key| Write::Delete { table: Table::Held, key }));
        core.count(Counter::OutgoingDamaged, damaged);
        Ok(())
    }

    /// Lets a message go that is due, or ends it if it is past its deadline. It is held on for a moment if there is no
    /// room for it.
    pub(in crate::engine) fn let_go(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        number: u64,
        item: Item<Waiting>,
    ) {
        let left = item.left(core.now);
        if left.is_zero() {
            return self.end_held(core, neighbours, routing, number, item.what, Fate::Unreachable);
        }
        let again = item.clone();
        let Waiting { token, parked } = item.what;
        let taken = match parked {
            Parked::Message { to, payload, ack, class, policy, id, latest } => {
                if let Some(key) = &latest {
                    self.supersede_queued(core, neighbours, routing, &to, key);
                }
                let lane = Lane { class, send_policy: Arc::new(policy) };
                let (token, content) = (Sender::Message(token, to.clone()), Content::Inbox);
                let message = Submission { token, payload, content, ack, lane, lifetime: left, keep: true, id, latest };
                self.sends.submit(&to, message, core.now, &mut core.rng).is_ok()
            }
            Parked::Load { to, records, count, class, policy } => {
                let lane = Lane { class, send_policy: Arc::new(policy) };
                let token = (token.unwrap_or(NOBODY), to.clone());
                let load = UnconfirmedLoad { token, records, count, lane, lifetime: left };
                self.sends.submit_load(to, load, core.now, &mut core.rng).is_ok()
            }
            Parked::Request { send, service } => {
                let send = Send { lifetime: left, ..send };
                let token = token.unwrap_or(NOBODY);
                self.request(core, neighbours, routing, token, send, service, &Timing::default());
                return;
            }
            Parked::Publication { .. } => false,
        };
        if taken { self.forget_held(core, number) } else { self.held.keep(number, again, core.now.time + RETRY) }
    }

    /// Removes the record of a message that is held no more.
    pub(in crate::engine) fn forget_held(&mut self, core: &mut Core, number: u64) {
        core.journal.write(Write::Delete { table: Table::Held, key: key(number) });
    }

    /// Keeps a publication for a moment for which there is no room.
    pub(in crate::engine) fn keep_held(&mut self, core: &Core, number: u64, item: Item<Waiting>) {
        self.held.keep(number, item, core.now.time + RETRY);
    }

    /// Ends a message that never left.
    pub(in crate::engine) fn end_held(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        number: u64,
        waiting: Waiting,
        fate: Fate,
    ) {
        let (token, latency) = (waiting.token, Duration::ZERO);
        match waiting.parked {
            Parked::Message { to, class, id, .. } => {
                let end = End { token: Sender::Message(token, to), id, class, fate, latency, flight: None };
                self.report(core, neighbours, routing, vec![end]);
            }
            Parked::Load { to, count, class, .. } => {
                let token = (token.unwrap_or(NOBODY), to);
                self.report_gone(core, vec![Gone { token, count, class, left: false, latency }]);
            }
            Parked::Request { send, .. } => {
                let outcome = self.outcome(&send.to, fate, latency, 0);
                core.note_failure(send.to.as_str(), &outcome);
                core.count(FAILED[send.class as usize], 1);
                return core.finish(token.unwrap_or(NOBODY), Reply::Outcome(outcome));
            }
            Parked::Publication { topic, .. } if fate == Fate::Superseded => {
                core.count(Counter::MessagesSuperseded, 1);
                let reason = format!("a newer publication to {topic} took its place");
                core.finish(token.unwrap_or(NOBODY), Reply::Outcome(Outcome::Superseded { reason }));
            }
            Parked::Publication { topic, .. } => {
                let outcome = Outcome::Expired { reason: "there was no room for it by the deadline".to_owned() };
                core.note_failure(&topic, &outcome);
                core.count(FAILED[Class::Telemetry as usize], 1);
                core.finish(token.unwrap_or(NOBODY), Reply::Outcome(outcome));
            }
        }
        self.forget_held(core, number);
    }

    /// Ends what is held for a device that has been revoked.
    pub(in crate::engine) fn cut_off_held(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        to: &Name,
    ) {
        let of = |parked: &Parked| parked.to() == Some(to);
        self.end_all_held(core, neighbours, routing, of, Fate::Revoked { left: false });
    }

    /// Ends the messages of a key that are held and those that wait: a newer one takes their place.
    pub(in crate::engine) fn supersede(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        to: &Name,
        key: &str,
    ) {
        self.supersede_held(core, neighbours, routing, to, key);
        self.supersede_queued(core, neighbours, routing, to, key);
    }

    /// Ends the messages of a key that are held.
    pub(in crate::engine) fn supersede_held(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        receiver: &Name,
        key: &str,
    ) {
        let of = |parked: &Parked| match parked {
            Parked::Message { to, latest: Some(latest), .. } => to == receiver && latest == key,
            _ => false,
        };
        self.end_all_held(core, neighbours, routing, of, Fate::Superseded);
    }

    fn supersede_queued(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        to: &Name,
        key: &str,
    ) {
        let mut ended = Ended::default();
        self.sends.supersede(to, key, core.now.time, &mut ended);
        self.report(core, neighbours, routing, ended.ends);
    }

    /// Ends the publications to a topic that are held: a newer one takes their place.
    pub(in crate::engine) fn supersede_held_publications(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        on: &str,
    ) {
        let of = |parked: &Parked| matches!(parked, Parked::Publication { topic, .. } if topic == on);
        self.end_all_held(core, neighbours, routing, of, Fate::Superseded);
    }

    fn end_all_held(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        of: impl Fn(&Parked) -> bool,
        fate: Fate,
    ) {
        let held = self.held.iter().filter(|(_, item)| of(&item.what.parked)).map(|(number, _)| number);
        for number in held.collect::<Vec<_>>() {
            if let Some(item) = self.held.remove(number) {
                self.end_held(core, neighbours, routing, number, item.what, fate);
            }
        }
    }

    /// Removes a held request whose requester has gone.
    pub(in crate::engine) fn forget_held_request(&mut self, token: Token) {
        let asked =
            |waiting: &Waiting| waiting.token == Some(token) && matches!(waiting.parked, Parked::Request { .. });
        let held = self.held.iter().filter(|(_, item)| asked(&item.what)).map(|(number, _)| number);
        for number in held.collect::<Vec<_>>() {
            self.held.remove(number);
        }
    }

    /// What is held, the first to leave first.
    pub(in crate::engine) fn held_view(&self) -> Vec<HeldView> {
        let view = |item: &Item<Waiting>| {
            let (to, class) = match &item.what.parked {
                Parked::Message { to, class, .. } | Parked::Load { to, class, .. } => (to.to_string(), *class),
                Parked::Request { send, .. } => (send.to.to_string(), send.class),
                Parked::Publication { topic, .. } => (topic.clone(), Class::Telemetry),
            };
            HeldView { to, class, bytes: item.bytes.saturating_sub(OVERHEAD), leaves: item.due, expires: item.expiry }
        };
        let mut held: Vec<HeldView> = self.held.iter().map(|(_, item)| view(item)).collect();
        held.sort_by(|a, b| (a.leaves, &a.to).cmp(&(b.leaves, &b.to)));
        held
    }
}

/// What a message that is held counts besides its payload, so that many small ones are bounded too.
const OVERHEAD: usize = 128;
/// Stands for nobody: no reply under it reaches anyone.
const NOBODY: Token = Token(0);

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The state of what is held.
pub(in crate::engine) type HeldMessages = Held<Waiting>;
