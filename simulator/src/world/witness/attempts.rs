//! Attempts: the paths of data frames, and what the frames cost on them.
//!
//! An attempt is named by its outer id. Its sender writes it first, when no relay has forwarded it yet; each relay adds
//! itself. The amount that a frame states as spent is compared with the price of each link over which it went, by the
//! medium's books.
//!
//! A path names credentials, and no relay knows that two pseudonyms are those of one device. While a device changes its
//! pseudonym, a frame may therefore come to it again under the other one: that is what a change costs, and it is counted.

use super::{Going, Witness};
use crate::world::checks::Promise;
use crate::world::medium::{NANOS, now};
use m2mesh::id::{OuterId, Pseudonym};
use m2mesh::net;
use m2mesh::wire::data::{DataFrame, MAX_HOPS, Path};
use std::collections::BTreeMap;

/// The attempts that are under way.
#[derive(Default)]
pub struct Attempts {
    open: BTreeMap<OuterId, Attempt>,
    /// The number of attempts above which those that have expired are forgotten.
    limit: usize,
    /// By the device that sent them first, the amount that all devices have paid for its frames, in micro-units of
    /// money.
    pub paid: BTreeMap<usize, f64>,
    /// By device, the bytes of frames that it has forwarded for others.
    pub forwarded: BTreeMap<usize, u64>,
    /// The number of frames that were handed to a device which had had them under another pseudonym.
    pub beside: u64,
}

struct Attempt {
    origin: usize,
    /// The pseudonym under which its sender wrote it first, if that is known.
    under: Option<Pseudonym>,
    /// Whether its sender's process has ended, and so has lost its memory of the attempt.
    orphaned: bool,
    /// The time after which it is forgotten, in nanoseconds.
    until: u64,
    /// The amount that the frame stated as spent when each device sent it.
    spent: Vec<(usize, u64)>,
}

impl Attempts {
    /// Notes that a device's process is gone, and with it its memory of its attempts.
    pub fn note_down(&mut self, device: usize) {
        for attempt in self.open.values_mut().filter(|attempt| attempt.origin == device) {
            attempt.orphaned = true;
        }
    }

    fn entry(&mut self, outer: OuterId, origin: usize) -> &mut Attempt {
        if self.open.len() >= self.limit {
            let now = now();
            self.open.retain(|_, attempt| attempt.until > now);
            self.limit = (2 * self.open.len()).max(LEAST_LIMIT);
        }
        self.open.entry(outer).or_insert(Attempt { origin, under: None, orphaned: false, until: 0, spent: Vec::new() })
    }
}

impl Witness {
    pub(super) fn handle_data(&mut self, going: &Going<'_>) {
        let Ok(data) = DataFrame::parse(going.body) else { return };
        let DataFrame { header, header_bytes, path, sealed } = data;
        self.note_spending(going);
        self.note_mail_frame(&header, sealed);
        self.look_at_way(going, &path);
        let (from, unix) = (going.from, self.unix());
        let late = unix.saturating_sub(header.expiry);
        self.look(Promise::WithinLimits, late <= self.skew + SLACK, |known| {
            format!("{} sends a frame {} ms after its expiry", known.device(from), late / 1_000)
        });
        let avoided = header.policy.avoid.unwrap_or(0) & (1u16 << self.known.bearers[going.bearer].class) != 0;
        self.look(Promise::WithinLimits, !avoided, |known| {
            let bearer = &known.bearers[going.bearer].name;
            format!("{} sends a frame over {bearer}, which its policy avoids", known.device(from))
        });
        let own = path.visited.is_empty() || self.known.forwarding.get(from).copied().unwrap_or(true);
        self.look(Promise::WithinLimits, own, |known| {
            format!("{} hands on a frame, and is a leaf", known.device(from))
        });
        let within = header.policy.budget.is_none_or(|budget| path.spent <= budget.saturating_add(ROUNDING));
        self.look(Promise::WithinLimits, within, |known| {
            format!(
                "{} sends a frame on which {} were spent of {:?}",
                known.device(from),
                path.spent,
                header.policy.budget
            )
        });
        let least = header_bytes.len() + sealed.len();
        self.look_at_price(going, &path, least, header.expiry);
    }

    /// Checks that a device which has had the frame does not get it again.
    fn look_at_way(&mut self, going: &Going<'_>, path: &Path) {
        let relays: Vec<Option<usize>> = path.visited.iter().map(|hop| self.owners.get(hop).copied()).collect();
        let known = self.attempts.open.get(&path.outer);
        let (origin, orphaned) = (known.map(|attempt| attempt.origin), known.is_some_and(|attempt| attempt.orphaned));
        let mut seen: Vec<usize> = relays.iter().flatten().copied().collect();
        let is_last = relays.last().copied().flatten().is_none_or(|last| last == going.from);
        seen.extend(origin.filter(|_| !relays.is_empty() && !orphaned));
        // The first relay knows the neighbour from which it has the frame; the others know the relays that the path
        // names.
        let from_there = relays.len() == 1 && !orphaned && origin == Some(going.to);
        let back = from_there || relays.contains(&Some(going.to));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        let beside = (back || seen.len() < count) && self.is_beside(going, path, orphaned);
        self.attempts.beside += u64::from(beside && back);
        let (back, count) = if beside { (false, seen.len()) } else { (back, count) };
        let from = going.from;
        self.look(Promise::NoLoop, seen.len() == count, |known| {
            let way: Vec<&str> = relays.iter().map(|relay| relay.map_or("?", |relay| known.device(relay))).collect();
            let origin = origin.map_or("?", |origin| known.device(origin));
            format!("{} hands on a frame of {origin} that has gone over {}", known.device(from), way.join(", "))
        });
        let to = going.to;
        self.look(Promise::NoLoop, !back, |known| {
            format!("{} hands a frame to {}, which has had it", known.device(from), known.device(to))
        });
        self.look(Promise::NoLoop, is_last, |known| {
            format!("{} hands on a frame without naming itself", known.device(from))
        });
        self.look(Promise::WithinLimits, path.visited.len() <= MAX_HOPS, |known| {
            format!("{} hands on a frame after {} hops", known.device(from), path.visited.len())
        });
    }

    /// Returns whether the devices that a frame has come to more than once had it under different pseudonyms.
    fn is_beside(&self, going: &Going<'_>, path: &Path, orphaned: bool) -> bool {
        let known = self.attempts.open.get(&path.outer).filter(|_| !orphaned && !path.visited.is_empty());
        let first = known.map(|attempt| (attempt.origin, attempt.under));
        let relays =
            path.visited.iter().filter_map(|hop| Some((*self.owners.get(hop)?, self.pseudonyms.get(hop).copied())));
        let next = (going.to, going.under[1].and_then(|peer| net::pseudonym(&peer)));
        let mut places: Vec<(usize, Option<Pseudonym>)> = first.into_iter().chain(relays).chain([next]).collect();
        // The sender and the first relay of a frame that nobody has seen leave may be one.
        places.sort_unstable();
        places.windows(2).all(|pair| {
            let ((one, under), (other, also)) = (pair[0], pair[1]);
            one != other || under.zip(also).is_some_and(|(under, also)| under != also)
        })
    }

    /// Checks that the amount that a frame states as spent is the cost of the links over which it went.
    fn look_at_price(&mut self, going: &Going<'_>, path: &Path, least: usize, expiry: u64) {
        let before = match path.visited.len() {
            0 => None,
            1 => self.attempts.open.get(&path.outer).map(|attempt| attempt.origin),
            more => path.visited.get(more - 2).and_then(|hop| self.owners.get(hop).copied()),
        };
        let price = self.known.bearers[going.bearer].price;
        let from = going.from;
        // An attempt that came to its first relay in fragments is not seen before that relay forwards it.
        let attempt = self.attempts.entry(path.outer, if path.visited.is_empty() { from } else { UNSEEN });
        let lasts = expiry.saturating_sub(self.start).saturating_add(self.skew + LINGERS).saturating_mul(1_000);
        if path.visited.is_empty() {
            attempt.under = going.under[0].and_then(|peer| net::pseudonym(&peer));
        }
        attempt.until = attempt.until.max(NANOS.saturating_add(lasts));
        let origin = attempt.origin;
        // Both copies of a message have one id, and may have left the same device over different links.
        let spent: Vec<u64> = match before {
            None if path.visited.is_empty() => vec![0],
            None => Vec::new(),
            Some(before) => {
                attempt.spent.iter().filter(|(device, _)| *device == before).map(|(_, spent)| *spent).collect()
            }
        };
        if attempt.spent.len() < MOST_STEPS {
            attempt.spent.push((from, path.spent));
        }
        if !path.visited.is_empty() {
            *self.attempts.forwarded.entry(from).or_default() += going.length as u64;
        }
        let cost = |bytes: usize| price as f64 * bytes as f64 / 1e6;
        *self.attempts.paid.entry(origin).or_default() += cost(going.length);
        let grown = spent.iter().map(|spent| path.spent as f64 - *spent as f64);
        let fits = |grown: f64| grown >= cost(least) * 0.95 - 1.0 && grown <= cost(going.length) * 1.05 + 1.0;
        let Some(last) = grown.clone().next_back() else { return };
        let holds = grown.into_iter().any(fits);
        self.look(Promise::BooksAgree, holds, |known| {
            let (device, bearer) = (known.device(from), &known.bearers[going.bearer].name);
            format!("{device} adds {last} for {} bytes over {bearer}, which is {:.0}", going.length, cost(going.length))
        });
    }
}

/// The index for the unknown sender of an attempt.
const UNSEEN: usize = usize::MAX;
/// The least number of attempts above which those that have expired are searched for.
const LEAST_LIMIT: usize = 16_384;
/// The number of devices of an attempt whose amounts are remembered: both copies of a message over the most hops.
const MOST_STEPS: usize = 2 * MAX_HOPS;
/// The micro-units by which the sum of rounded prices may exceed a budget.
const ROUNDING: u64 = MAX_HOPS as u64;
/// The microseconds after its expiry for which a frame that waits for a link may be under way.
const LINGERS: u64 = 60_000_000;
/// The microseconds for which a frame may wait for its turn after its node has read the time.
const SLACK: u64 = 5_000_000;
