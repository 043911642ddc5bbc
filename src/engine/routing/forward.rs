//! Forwarding: what a router does with a data frame that is for another device.
//!
//! ```text
//! frame ─▶ expired? hops used up? been here? ──yes──▶ drop, counted
//!    │ no
//!    ▼
//! the next hop of its path, over the link that its policy ranks best
//!    │ gone, silent, or none named
//!    ▼
//! repair: a route of this router's own, under the frame's own policy less what is spent, past nobody who has had it
//!    │ none
//!    ▼
//! drop, counted; ask where the receiver is, if that is not known, for when the frame comes again
//! ```
//!
//! The header and the sealed part are forwarded byte for byte; only the path is written anew, and the sealed part is
//! not even copied: it leaves from the buffer into which it was read. A router remembers where the frames of a session
//! come from, so that the receiver's NACK for an unknown session finds its way back to whoever has the session.
//!
//! A frame that its next link does not accept yet waits for it, for as long as it has left by this clock and ten
//! seconds more, and is dropped then: a link that was overloaded must not go on to carry expired frames.
//!
//! Invariants
//! 1. A frame that comes back to its sender goes no further: the sender, which is not in the list of relays, knows the
//!    last [`MAX_OWN`] attempts of its process by their outer ids.
//! 2. No frame is forwarded over more than [`MAX_HOPS`] relays, or after its expiry plus the skew that clocks may have.
//! 3. A router reads the header and the path of a frame, and nothing of its payload.
//! - A frame passes a router once: its path lists the relays that have had it, and a relay that finds itself there
//!   drops it.
//! - A route that a relay finds itself keeps what is left of the frame's budget. Along the hops that its path names,
//!   the budget is not checked again.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::{Arrival, of_use_until, put_data};
use crate::id::{CredentialPrefix, LinkId, Lsn, OuterId, Pseudonym, SessionId};
use crate::routing::policy::Wants;
use crate::share::Shares;
use crate::time::Unix;
use crate::wire::data::{DataFrame, MAX_HOPS, Path};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most sessions of others, and most mails, for which it is remembered where their frames come from. Drop policy: of the link with most
/// of them, the one learnt first is forgotten (`flows_forgotten`); its sender retries until it finds out by itself.
pub(in crate::engine) const MAX_FLOWS: usize = 4_096;

/// Most of this node's own attempts that are recognized if they come back. Drop policy: the oldest is forgotten, and
/// its frame would be forwarded once.
const MAX_OWN: usize = 4_096;

/// The sessions of others that pass through here, and the attempts that began here.
#[derive(Debug)]
pub(in crate::engine) struct Flows {
    from: BTreeMap<SessionId, LinkId>,
    shares: Shares<SessionId>,
    /// The links over which mail came, by its frames' outer ids.
    mail: BTreeMap<OuterId, LinkId>,
    mail_shares: Shares<OuterId>,
    own: BTreeSet<OuterId>,
    /// The attempts in `own`, oldest first.
    begun: VecDeque<OuterId>,
    /// Bytes of all frames forwarded.
    pub(in crate::engine) forwarded: u64,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            from: BTreeMap::new(),
            shares: Shares::new(MAX_FLOWS),
            mail: BTreeMap::new(),
            mail_shares: Shares::new(MAX_FLOWS),
            own: BTreeSet::new(),
            begun: VecDeque::new(),
            forwarded: 0,
        }
    }
}

impl Flows {
    /// How many sessions of others are remembered.
    pub(in crate::engine) fn len(&self) -> usize {
        self.from.len()
    }

    /// Notes that a transmission attempt begins here.
    pub(in crate::engine) fn begin(&mut self, attempt: OuterId) {
        self.own.insert(attempt);
        self.begun.push_back(attempt);
        if self.begun.len() > MAX_OWN
            && let Some(oldest) = self.begun.pop_front()
        {
            self.own.remove(&oldest);
        }
    }

    /// Notes that frames of a session come over a link. Returns whether another session had to be forgotten.
    fn note(&mut self, session: SessionId, from: LinkId) -> bool {
        if self.from.insert(session, from) == Some(from) {
            return false;
        }
        let gone = self.shares.enter(from, session);
        gone.is_some_and(|gone| self.from.remove(&gone).is_some())
    }

    /// Whether an attempt began here.
    pub(super) fn has_begun(&self, attempt: &OuterId) -> bool {
        self.own.contains(attempt)
    }

    /// Notes that mail came over a link. Returns whether another had to be forgotten.
    pub(super) fn note_mail(&mut self, frame: OuterId, from: LinkId) -> bool {
        self.mail.insert(frame, from);
        let gone = self.mail_shares.enter(from, frame);
        gone.is_some_and(|gone| self.mail.remove(&gone).is_some())
    }

    /// Forgets mail that went no further.
    pub(super) fn forget_mail(&mut self, frame: &OuterId) {
        self.mail.remove(frame);
        self.mail_shares.leave(frame);
    }

    /// The link over which mail came that has passed through here.
    pub(in crate::engine) fn mail_back(&self, frame: &OuterId) -> Option<LinkId> {
        self.mail.get(frame).copied()
    }

    /// The link over which the frames of a session come.
    pub(in crate::engine) fn back(&self, session: &SessionId) -> Option<LinkId> {
        self.from.get(session).copied()
    }
}

/// The link over which a frame leaves next, and its path as it leaves.
struct Next {
    link: LinkId,
    path: Path,
}

impl Routing {
    /// Whether a hop may be this device, by one of its credentials that are known here.
    fn is_own(&self, core: &Core, neighbours: &Neighbours, hop: &CredentialPrefix) -> bool {
        neighbours.peers.under(hop).any(|pseudonym| core.carries(&pseudonym))
    }

    /// Forwards a frame that is for another device, or drops it.
    pub(in crate::engine) fn forward(&mut self, core: &mut Core, neighbours: &mut Neighbours, arrival: Arrival<'_>) {
        if !core.settings.forwarding {
            return core.count(Counter::DataForOthers, 1);
        }
        let Arrival { link, data, .. } = arrival;
        if self.may_pass(core, neighbours, data) && !self.pass_on(core, neighbours, arrival) {
            self.seek(core, neighbours, link, data.header.to);
            core.count(Counter::DataWithoutWay, 1);
        }
    }

    /// Whether a frame for another device may go further; if it may not, it is counted.
    pub(super) fn may_pass(&self, core: &mut Core, neighbours: &Neighbours, data: &DataFrame<'_>) -> bool {
        let path = &data.path;
        let looped =
            || self.flows.has_begun(&path.outer) || path.visited.iter().any(|hop| self.is_own(core, neighbours, hop));
        let refused = if path.visited.len() >= MAX_HOPS {
            Counter::DataOutOfHops
        } else if looped() {
            Counter::DataLooped
        } else if Unix(data.header.expiry) + core.skew() < core.now.unix {
            Counter::DataExpired
        } else {
            return core.credential().is_some();
        };
        core.count(refused, 1);
        false
    }

    /// Sends a frame for another device on its way. Returns whether there is one.
    pub(super) fn pass_on(&mut self, core: &mut Core, neighbours: &mut Neighbours, arrival: Arrival<'_>) -> bool {
        let Arrival { link: from, data, buffer, .. } = arrival;
        let Some(own) = core.credential().map(|own| own.hash) else { return true };
        let expiry = Unix(data.header.expiry);
        let bytes = data.sealed.len() + data.header_bytes.len();
        let Some(Next { link, mut path }) = self.next_hop(core, neighbours, from, data, bytes) else { return false };
        if let Some(session) = data.session() {
            let forgotten = self.flows.note(session, from);
            core.count(Counter::FlowsForgotten, u64::from(forgotten));
        }
        arrival.acknowledge(core, neighbours);
        path.visited.push(own.prefix());
        path.age = path.age.saturating_add(neighbours.delay_of(from).into());
        let out = put_data(data.header_bytes, &path, data.sealed, buffer);
        self.flows.forwarded += out.len() as u64;
        let until = of_use_until(expiry, core.now);
        neighbours
            .send_data(core, Leaving { link, class: data.header.class, frame: out, after: Lsn(0), until: Some(until) });
        true
    }

    /// The next hop that the frame's path names, if there is a usable link to it; else the first one of a route of this
    /// router's own.
    fn next_hop(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        data: &DataFrame<'_>,
        bytes: usize,
    ) -> Option<Next> {
        let mut path = data.path.clone();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let named = usize::from(path.next) + 1;
        if !path.hops.is_empty()
            && let Some(next) = path.hops.get(named).and_then(|hop| self.pseudonym_at(neighbours, hop))
            && let Some((link, price)) = neighbours.link_under(&next, &data.header.policy)
        {
            path.next = u8::try_from(named).ok()?;
            path.spent = path.spent.saturating_add(price.saturating_mul(bytes.into()) / 1_000_000);
            return Some(Next { link, path });
        }
        self.repair(core, neighbours, from, data, bytes)
    }

    /// Finds a route of this router's own, past nobody who has had the frame.
    fn repair(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        data: &DataFrame<'_>,
        bytes: u32,
    ) -> Option<Next> {
        let mut path = data.path.clone();
        let mut policy = data.header.policy.clone();
        policy.budget = policy.budget.map(|budget| budget.saturating_sub(path.spent));
        let mut past: Vec<Pseudonym> =
            path.visited.iter().filter_map(|hop| self.pseudonym_at(neighbours, hop)).collect();
        past.extend(neighbours.links.get(from).map(|link| link.peer.body.key));
        let left = Unix(data.header.expiry).since(core.now.unix);
        let wants = Wants { policy, time: Some(u64::try_from(left.as_micros()).unwrap_or(u64::MAX)), bytes };
        let route = self.route_to_handle(core, neighbours, &data.header.to, data.header.segment, &wants, &past)?;
        let (link, price) = neighbours.link_under(&route.first()?, &wants.policy)?;
        if !path.hops.is_empty() {
            core.count(Counter::DataRepaired, 1);
        }
        path.hops.clone_from(&route.hops);
        path.next = 0;
        path.spent = path.spent.saturating_add(price.saturating_mul(bytes.into()) / 1_000_000);
        Some(Next { link, path })
    }
}
