//! Issuer search: to which neighbours a request for an issuer is handed, and in which order.
//!
//! The search widens in rounds, so that bytes that cost money are spent only where no free path leads, and as few as
//! possible:
//!
//! ```text
//! the neighbour through which this issuer last answered, or one over a free link that may be the issuer: alone
//!   ── no answer in time ─▶ all other neighbours over links that cost nothing, at once
//!   ── no answer in time ─▶ neighbours over links that cost something, one after the other, the cheapest first
//!   ── no answer in time ─▶ neighbours over links that are silent or closed, likewise
//! ```
//!
//! *In time* means within [`WIDEN`] plus the time, at most [`LONGEST`], that the links of the round take to carry a
//! request and its answer there and back. A piece of the answer that arrives extends the wait by the same time again.
//!
//! If there is no neighbour to be asked alone, the links that cost nothing are the first round; if there are none of
//! these either, the cheapest of the others is. So a request crosses free links as fast as they carry it.
//!
//! Invariants
//! 1. Each neighbour is asked once for a request.
//! 2. A neighbour through which an issuer answered is remembered for that issuer until a request through it is in vain,
//!    or there is a new neighbour, which may have a better path.
//! - A neighbour is asked over its cheapest link; a leaf is asked only if it may be the issuer.
//! - The answering neighbours of at most [`MAX_RESPONDERS`] issuers are remembered. Drop policy: all are forgotten.

use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::Link;
use crate::id::{IssuerId, LinkId, Pseudonym};
use crate::wire::credential::Role;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How long a round is given before the next one, besides the time that its links take.
const WIDEN: Duration = Duration::from_secs(2);
/// The longest time that is allowed for the links of a round.
const LONGEST: Duration = Duration::from_secs(60);
/// Size in bytes of an answer with credentials for 64 epochs.
const ANSWER: u64 = 32 * 1_024;
/// Most issuers for which the answering neighbour is remembered.
const MAX_RESPONDERS: usize = 64;

/// The neighbour through which each issuer last answered.
#[derive(Debug, Default)]
pub(in crate::engine) struct Responders(BTreeMap<IssuerId, Pseudonym>);

impl Responders {
    /// Notes that an issuer answered through a neighbour.
    pub(in crate::engine) fn learn(&mut self, issuer: IssuerId, by: Pseudonym) {
        if self.0.len() >= MAX_RESPONDERS && !self.0.contains_key(&issuer) {
            self.0.clear();
        }
        self.0.insert(issuer, by);
    }

    /// Forgets the neighbour of an issuer that did not answer in time.
    pub(in crate::engine) fn unlearn(&mut self, issuer: &IssuerId) {
        self.0.remove(issuer);
    }

    /// Forgets all neighbours that answered, since there is a new one.
    pub(in crate::engine) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The neighbours that a request is still to be handed to, in rounds; those of a round are asked at once.
pub(in crate::engine) type Rounds = VecDeque<Vec<Pseudonym>>;

impl Member {
    /// Plans the rounds of a request for an issuer, without the neighbour that it came from. Returns them, and whether
    /// the first asks a neighbour through which the issuer answered before.
    pub(in crate::engine) fn plan_rounds(
        &self,
        neighbours: &Neighbours,
        issuer: &IssuerId,
        from: Option<LinkId>,
    ) -> (Rounds, bool) {
        let from = from.and_then(|from| neighbours.links.get(from)).map(|link| link.peer.body.key);
        let others = neighbours.links.neighbours().filter(|key| Some(**key) != from);
        let mut ways: Vec<(bool, bool, u64, Pseudonym, bool)> = others
            .filter_map(|key| {
                let (_, link) = self.cheapest_link(neighbours, key)?;
                let issues = link.peer.body.has_role(Role::Issuer);
                let serves = link.forwarding || link.process.is_none() || issues;
                serves.then(|| (!link.usable, self.costs(neighbours, link), link.metrics.price, *key, issues))
            })
            .collect();
        ways.sort_unstable();
        let known = self.issuer_search.0.get(issuer);
        let learnt = ways.iter().position(|(.., key, _)| Some(key) == known);
        let first = learnt.or_else(|| ways.iter().position(|(away, costs, _, _, issues)| *issues && !*away && !*costs));
        let mut rounds: Rounds = first.map(|at| vec![ways.remove(at).3]).into_iter().collect();
        let free = |(away, costs, ..): &(bool, bool, u64, Pseudonym, bool)| !*away && !*costs;
        let at_once: Vec<Pseudonym> = ways.iter().filter(|way| free(way)).map(|way| way.3).collect();
        rounds.extend((!at_once.is_empty()).then_some(at_once));
        rounds.extend(ways.iter().filter(|way| !free(way)).map(|way| vec![way.3]));
        (rounds, learnt.is_some())
    }

    /// Returns the usable link to a neighbour that costs least, or else the cheapest of its other links.
    pub(in crate::engine) fn cheapest_link<'n>(
        &self,
        neighbours: &'n Neighbours,
        neighbour: &Pseudonym,
    ) -> Option<(LinkId, &'n Link)> {
        neighbours
            .links
            .of(neighbour)
            .min_by_key(|(id, link)| (!link.usable, self.costs(neighbours, link), link.metrics.price, *id))
    }

    /// Returns how long a round over these links is given.
    pub(in crate::engine) fn time_of_round(
        &self,
        neighbours: &Neighbours,
        links: &[LinkId],
        request: usize,
    ) -> Duration {
        let bits = (request as u64 + ANSWER) * 8;
        let carried = links.iter().filter_map(|link| neighbours.links.get(*link)).map(|link| {
            let sent = Duration::from_millis(bits / u64::from(link.metrics.rate.max(1)));
            sent + Duration::from_micros(u64::from(link.metrics.delay)) * 2
        });
        WIDEN + carried.max().unwrap_or_default().min(LONGEST)
    }

    pub(in crate::engine) fn costs(&self, neighbours: &Neighbours, link: &Link) -> bool {
        neighbours.link_metrics.bearer(link.bearer).metered || link.metrics.price > 0
    }
}
