//! Link state: what a router tells of its links is so.
//!
//! A router names neighbours that it can have a link to, at the price of a bearer between the two, and with no less delay than the line
//! takes. It tells one thing under one number.

use super::{Going, Witness};
use crate::plan::{FaultKind, Plan};
use crate::world::checks::Promise;
use m2mesh::id::CredentialHash;
use m2mesh::link::estimate::PRIOR_DELAY;
use m2mesh::wire::lsa::{Lsa, LsaLink};
use m2mesh::wire::{self, Signed};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What routers have told, and could.
pub struct Told {
    /// Hashes of what has been seen lately.
    seen: BTreeSet<u64>,
    /// What each router has told: by number, a hash of it.
    told: BTreeMap<CredentialHash, BTreeMap<u64, u64>>,
    /// By two devices, the lower first: the bearers between them.
    between: BTreeMap<(usize, usize), Vec<Between>>,
}

struct Between {
    bearer: usize,
    /// Least microseconds from the lower to the higher, and back.
    delays: [u64; 2],
}

impl Told {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut between = BTreeMap::<(usize, usize), Vec<Between>>::new();
        // Jitter goes both ways.
        let micros = |shape: &m2mesh::net::shape::Shape| shape.delay.saturating_sub(shape.jitter).as_micros() as u64;
        for edge in &plan.edges {
            let delays = [micros(&edge.shapes[0]), micros(&edge.shapes[1])];
            let delays = if edge.a < edge.b { delays } else { [delays[1], delays[0]] };
            let ends = (edge.a.min(edge.b), edge.a.max(edge.b));
            between.entry(ends).or_default().push(Between { bearer: edge.bearer, delays });
        }
        // While a line is shaped otherwise, its delay may be another.
        for fault in &plan.faults {
            let FaultKind::Degrade { edges, shapes } = &fault.what else { continue };
            for edge in edges.iter().map(|edge| &plan.edges[*edge]) {
                let ends = (edge.a.min(edge.b), edge.a.max(edge.b));
                let of = between.get_mut(&ends).into_iter().flatten().filter(|of| of.bearer == edge.bearer);
                let least = shapes.iter().flatten().map(micros).min().unwrap_or(u64::MAX);
                of.for_each(|of| of.delays = of.delays.map(|delay| delay.min(least)));
            }
        }
        Self { seen: BTreeSet::new(), told: BTreeMap::new(), between }
    }

    /// The processes with these credentials are gone: the next of them count anew, until they hear of what was told before.
    pub fn forget(&mut self, are: impl Fn(&CredentialHash) -> bool) {
        self.told.retain(|origin, _| !are(origin));
    }

    fn is_new(&mut self, body: &[u8]) -> bool {
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(hash_of(body))
    }
}

impl Witness {
    pub(super) fn handle_lsa(&mut self, going: &Going<'_>) {
        self.look_at_area(going);
        // Link state is flooded, and the one who tells it writes it first.
        if !self.told.is_new(going.body) {
            return;
        }
        let Ok(signed) = wire::decode::<Signed<'_>>(going.body) else { return };
        let Ok(lsa) = wire::decode::<Lsa>(signed.body) else { return };
        let hash = hash_of(signed.body);
        if self.owners.get(&lsa.origin.prefix()) != Some(&going.from) {
            return;
        }
        let from = going.from;
        let told = self.told.told.entry(lsa.origin).or_default();
        // A link that is slow may bring an earlier number after a later one.
        let once = told.insert(lsa.sequence, hash).is_none_or(|before| before == hash);
        if told.len() > MOST_TOLD {
            told.pop_first();
        }
        self.look(Promise::LinkStateTrue, once, |known| {
            format!("{} tells number {} of its link state twice, and not the same", known.device(from), lsa.sequence)
        });
        let routes = self.known.forwarding.get(from).copied().unwrap_or(true);
        self.look(Promise::LinkStateTrue, routes, |known| {
            format!("{} tells link state, and is a leaf", known.device(from))
        });
        for link in &lsa.links {
            self.look_at_link(from, link);
        }
    }

    /// Link state stays in its area.
    fn look_at_area(&mut self, going: &Going<'_>) {
        let area = |device: usize| self.known.areas.get(device).copied();
        if area(going.from) == area(going.to) {
            return;
        }
        let (from, to) = (going.from, going.to);
        self.look(Promise::LinkStateTrue, false, |known| {
            format!("{} tells link state to {}, of another area", known.device(from), known.device(to))
        });
    }

    fn look_at_link(&mut self, from: usize, link: &LsaLink) {
        let Some(to) = self.owners.get(&link.to.prefix()).copied() else { return };
        let ends = (from.min(to), from.max(to));
        let all = self.told.between.get(&ends).map_or(&[][..], |all| all);
        let of: Vec<&Between> = all.iter().filter(|of| self.known.bearers[of.bearer].class == link.bearer).collect();
        let prices: Vec<u64> = of.iter().map(|of| self.known.bearers[of.bearer].price).collect();
        let direction = usize::from(from > to);
        let delay = of.iter().map(|of| of.delays[direction].min(of.delays[1 - direction])).min().unwrap_or_default();
        let (there, paid, slow) = (!of.is_empty(), prices.contains(&link.price), is_slow(link.delay, delay));
        self.look(Promise::LinkStateTrue, there, |known| {
            format!("{} tells of a link to {}, to which it can have none", known.device(from), known.device(to))
        });
        if there {
            self.look(Promise::LinkStateTrue, paid, |known| {
                format!(
                    "{} tells a price of {} to {}, where it is {prices:?}",
                    known.device(from),
                    link.price,
                    known.device(to)
                )
            });
            self.look(Promise::LinkStateTrue, slow, |known| {
                format!(
                    "{} tells {} us to {}, where it takes {delay}",
                    known.device(from),
                    link.delay,
                    known.device(to)
                )
            });
        }
    }
}

/// Whether a delay is as long as the line's at least, or not measured yet.
fn is_slow(told: u32, least: u64) -> bool {
    told == PRIOR_DELAY || u64::from(told) >= least * 7 / 10
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Numbers of a router of which it is known what it told under them.
const MOST_TOLD: usize = 256;
/// Advertisements that are known to have been seen; beyond, all are looked at again.
const MOST_SEEN: usize = 65_536;
