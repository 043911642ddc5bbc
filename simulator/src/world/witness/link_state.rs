//! Link state: routers advertise true values for their links.
//!
//! A router names neighbours to which it can have a link, at the price of a bearer between the two, and with at least
//! the delay of the line. If only the line itself delays a probe, the advertised delay is also bounded from above, and
//! after a while the advertised chance of arrival must not exceed what the line's losses leave. A router advertises one
//! content under one sequence number.

use super::{Going, Witness};
use crate::plan::{Edge, FaultKind, Hostility, Plan};
use crate::world::checks::Promise;
use crate::world::medium::{NANOS, now};
use m2mesh::id::CredentialHash;
use m2mesh::link::estimate::PRIOR_DELAY;
use m2mesh::wire::lsa::{Lsa, LsaLink};
use m2mesh::wire::{self, Signed};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What routers have advertised, and what they may advertise.
pub struct Told {
    /// The hashes of LSAs that have been seen recently.
    seen: BTreeSet<u64>,
    /// By router and sequence number, a hash of the LSA.
    told: BTreeMap<CredentialHash, BTreeMap<u64, u64>>,
    /// By two devices, the lower first: the bearers between them.
    between: BTreeMap<(usize, usize), Vec<Between>>,
}

struct Between {
    bearer: usize,
    /// The least delays in microseconds, from the lower to the higher, and back.
    delays: [u64; 2],
    /// The greatest one-way delay in microseconds, as the mean of both directions; `None` if something else may delay a
    /// probe.
    most: Option<u64>,
    /// The probability that a probe or its answer is lost at its first attempt.
    lost: f64,
}

impl Told {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut between = BTreeMap::<(usize, usize), Vec<Between>>::new();
        // Jitter may lengthen or shorten the delay.
        let micros =
            |shape: &m2mesh::net::emulation::Shape| shape.delay.saturating_sub(shape.jitter).as_micros() as u64;
        for edge in &plan.edges {
            let delays = [micros(&edge.shapes[0]), micros(&edge.shapes[1])];
            let delays = if edge.a < edge.b { delays } else { [delays[1], delays[0]] };
            let ends = (edge.a.min(edge.b), edge.a.max(edge.b));
            let most = edge.shapes.iter().map(|shape| (shape.delay + shape.jitter).as_micros() as u64).sum::<u64>() / 2;
            let most = Some(most).filter(|_| is_plain(plan, edge));
            let arrives = edge.shapes.iter().map(|shape| 1.0 - f64::from(shape.loss) / 1e6);
            let lost = Some(1.0 - arrives.product::<f64>());
            let lost = lost.filter(|lost| *lost >= TELLING && is_steady(plan, edge)).unwrap_or_default();
            between.entry(ends).or_default().push(Between { bearer: edge.bearer, delays, most, lost });
        }
        // While a fault changes the shape of a line, its delay may be another.
        for fault in &plan.faults {
            let FaultKind::Degrade { edges, shapes } = &fault.what else { continue };
            for edge in edges.iter().map(|edge| &plan.edges[*edge]) {
                let ends = (edge.a.min(edge.b), edge.a.max(edge.b));
                let of = between.get_mut(&ends).into_iter().flatten().filter(|of| of.bearer == edge.bearer);
                let least = shapes.iter().flatten().map(micros).min().unwrap_or(u64::MAX);
                of.for_each(|of| {
                    (of.delays, of.most, of.lost) = (of.delays.map(|delay| delay.min(least)), None, 0.0);
                });
            }
        }
        Self { seen: BTreeSet::new(), told: BTreeMap::new(), between }
    }

    /// Forgets the processes with these credentials: their successors count sequence numbers anew, until they hear of
    /// the earlier ones.
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
        // LSAs are flooded, and their origin writes them first.
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
        // A slow link may carry an earlier number after a later one.
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

    /// Checks that an LSA stays in its area.
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
        // If there are several lines of a class, the link may be over any of them.
        let most = of.iter().map(|of| of.most).try_fold(0, |most, one| Some(most.max(one?)));
        let quick = most.is_none_or(|most| is_quick(link.delay, most));
        let lost = of.iter().map(|of| of.lost).fold(1.0, f64::min);
        let chance = f64::from(link.success) / f64::from(u16::MAX);
        let sure = now() / NANOS < KNOWN_AFTER || chance <= 1.0 - lost / 4.0;
        let (there, paid, slow) = (!of.is_empty(), prices.contains(&link.price), is_slow(link.delay, delay));
        self.look(Promise::LinkStateTrue, there, |known| {
            format!("{} tells of a link to {}, to which it can have none", known.device(from), known.device(to))
        });
        if there {
            self.look(Promise::LinkStateTrue, quick, |known| {
                format!(
                    "{} tells {} us to {}, where it takes {most:?} at most",
                    known.device(from),
                    link.delay,
                    known.device(to)
                )
            });
            self.look(Promise::LinkStateTrue, sure, |known| {
                format!(
                    "{} tells a chance of {chance:.3} to {}, where {lost:.3} are lost",
                    known.device(from),
                    known.device(to)
                )
            });
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

/// Returns whether a delay is at least that of the line, or not measured yet.
fn is_slow(told: u32, least: u64) -> bool {
    told == PRIOR_DELAY || u64::from(told) >= least * 7 / 10
}

/// Returns whether a delay is at most that of the line, or not measured yet. The first answers come before the link is
/// idle.
fn is_quick(told: u32, most: u64) -> bool {
    told == PRIOR_DELAY || u64::from(told) <= most * 3 / 2 + SLACK
}

/// Returns whether an edge exists from the beginning to the end, as far as no fault affects it.
fn is_steady(plan: &Plan, edge: &Edge) -> bool {
    let stays = |device: usize| plan.devices[device].schedules.is_empty() && plan.devices[device].track.len() == 1;
    plan.bearers[edge.bearer].windows.is_empty() && stays(edge.a) && stays(edge.b)
}

/// Returns whether only the line itself, unchanged from the beginning to the end, delays a probe.
fn is_plain(plan: &Plan, edge: &Edge) -> bool {
    let bearer = &plan.bearers[edge.bearer];
    let lossless = edge.shapes.iter().all(|shape| shape.loss == 0 && shape.rate.is_none());
    let alone = bearer.channel.is_none() && bearer.bursts.is_none();
    let at_once = |device: usize| plan.devices[device].processing.is_zero();
    let holds_up = |fault: &FaultKind| match fault {
        FaultKind::Cut { edges, .. } | FaultKind::Flap { edges, .. } | FaultKind::Degrade { edges, .. } => {
            edges.iter().any(|at| plan.edges[*at] == *edge)
        }
        FaultKind::Pause(devices)
        | FaultKind::PowerCut(devices)
        | FaultKind::Hostile { devices, how: Hostility::Delay(_) | Hostility::Flood(_) | Hostility::Pester(_) } => {
            devices.contains(&edge.a) || devices.contains(&edge.b)
        }
        _ => false,
    };
    let held_up = plan.faults.iter().any(|fault| holds_up(&fault.what));
    lossless && alone && [edge.a, edge.b].into_iter().all(at_once) && is_steady(plan, edge) && !held_up
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The microseconds that a probe may take in addition.
const SLACK: u64 = 2_000;
/// The loss below which a measurement does not soon show it.
const TELLING: f64 = 0.15;
/// The seconds after which a line's loss has been measured.
const KNOWN_AFTER: u64 = 900;
/// The number of sequence numbers of a router whose contents are remembered.
const MOST_TOLD: usize = 256;
/// The number of LSAs that are known to have been seen; if there are more, all are examined again.
const MOST_SEEN: usize = 65_536;
