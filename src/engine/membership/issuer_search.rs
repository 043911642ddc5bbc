//! Search for an issuer: to which neighbours a request for an issuer is handed, and in which order.
//!
//! A search that widens, so that bytes that cost money are spent only where there is no other way, and as few as will do:
//!
//! ```text
//! the neighbour by which this issuer answered last, or one that may be the issuer, for nothing: alone
//!   ── no answer in time ─▶ all others over links that cost nothing, at once
//!   ── no answer in time ─▶ over links that cost something, one after the other, the cheapest first
//!   ── no answer in time ─▶ over links that are silent or closed, likewise
//! ```
//!
//! *In time* is [`WIDEN`] and what the links of the round take to carry a request and an answer there and back, at most
//! [`LONGEST`]. A piece of the answer that arrives gives that time again.
//!
//! Where there is no neighbour to be asked alone, the links that cost nothing are the first; where there are none of them
//! either, the cheapest of the others. So a request crosses free links as fast as they carry it.
//!
//! Invariants
//! 1. Each neighbour is asked once for a request, over its cheapest link; a leaf only if it may be the issuer.
//! 2. A neighbour by which an issuer answered is remembered for that issuer until a request by it is in vain, or there is a
//!    new neighbour, by which the way may be better. Of [`MAX_RESPONDERS`] issuers at most; drop policy: all are forgotten.

use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::Link;
use crate::id::{IssuerId, LinkId, Pseudonym};
use crate::wire::credential::Role;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How long a round is given before the next, besides what its links take.
const WIDEN: Duration = Duration::from_secs(2);
/// Most that the links of a round are given.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes of an answer with credentials for 64 epochs.
const ANSWER: u64 = 32 * 1_024;
/// Issuers of which it is remembered by whom they answered.
const MAX_RESPONDERS: usize = 64;

/// By whom issuers answered.
#[derive(Debug, Default)]
pub(in crate::engine) struct Responders(BTreeMap<IssuerId, Pseudonym>);

impl Responders {
    /// An issuer answered by that neighbour.
    pub(in crate::engine) fn learn(&mut self, issuer: IssuerId, by: Pseudonym) {
        if self.0.len() >= MAX_RESPONDERS && !self.0.contains_key(&issuer) {
            self.0.clear();
        }
        self.0.insert(issuer, by);
    }

    /// It did not, in time.
    pub(in crate::engine) fn unlearn(&mut self, issuer: &IssuerId) {
        self.0.remove(issuer);
    }

    /// There is a new neighbour.
    pub(in crate::engine) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Whom a request is still to be handed to: those of a round at once.
pub(in crate::engine) type Rounds = VecDeque<Vec<Pseudonym>>;

impl Member {
    /// Whom a request for an issuer goes to, but the neighbour that it came from; and whether the first is one by which the
    /// issuer answered before.
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

    /// The link over which a neighbour is reached at the least cost.
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

    /// How long a round over these links is given.
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
