//! Discovery: which addresses are known, and which is dialled when.
//!
//! Addresses come from the settings (*bootstrap*), from neighbours and from multicast DNS. None carries a PeerId:
//! keys rotate, addresses last. Bootstrap addresses are dialled until they are linked, and again when the link goes
//! down; others only while there are fewer links than wanted, the best known first. After a failure an address
//! rests for a random time between nothing and a bound that doubles with every failure in a row (exponential
//! back-off with full jitter): 250 ms to 30 s, to 60 s if it has never been reached; less while nobody is heard at all
//! ([`solitude`]), and where a link has been lost: no longer than an eighth of the time since, and two seconds, so that a neighbour
//! that was restarted is back as soon as it can be, and one that is gone for good costs what any other does. A silent neighbour is not counted.
//!
//! An address that a neighbour has told and that has not led to a member is dialled twice, some seconds apart, and forgotten
//! if that was in vain: whoever is there need not be a member, and did not ask to be dialled. It is told again when the
//! neighbour's neighbours change.
//!
//! Addresses at which members were *met*, by dials that led to an admitted connection, outlast the process: the node keeps
//! the last [`MAX_MET`] of them, and begins with them the next time. So a device finds the others again when the member
//! that it once joined by is gone, or elsewhere. They are dialled like those that were heard of, and not forgotten; what is
//! long in vain rests for up to [`LONGEST_MET`]. An address may be a name, which the network looks up at each dial.
//!
//! A member that has no room for another link says so: it rests for half a minute to ten, and whoever else is known goes
//! first. Where bytes cost money no haste is made, and the bound follows the price ([`Profile::longest_rest`]).
//!
//! Nothing is dialled over a bearer outside of its access windows.
//!
//! A neighbour to whom long packets do not come through is dialled another way ([`detour`]).
//!
//! Where there are several bearers, a neighbour is wanted over each of them: of the addresses that it calls its own, those
//! on bearers over which it has no link are dialled too, one for each bearer at a time, however many neighbours there are,
//! and they are not forgotten while it is a neighbour.
//!
//! Invariants
//! 1. At most [`MAX_ADDRESSES`] addresses are known. For a new one the worst that is idle and not bootstrap goes.
//! 2. At most [`MAX_DIALS`] dials are under way; of several bearers none takes more than half of these.
//! 3. Addresses of the node itself and of linked neighbours are not dialled.
//! 4. A neighbour may have so many addresses tried on its word as its share allows, which shrinks with each that is in vain
//!    ([`tellers`]); what has led to a member that is linked stays that member's, whoever else claims it.
//! 5. Multicast DNS has a share of its own, and each host in it ([`multicast`]).
//! 6. An address is among those met only if a dial to it has led to a member.

mod detour;
mod entry;
mod multicast;
mod solitude;
mod tellers;

use super::reach::can_be_dialled;
use super::sorter::Sorter;
use super::{Multiaddr, PeerId};
use crate::id::LinkId;
use crate::link::bearer::Profile;
use futures::FutureExt;
use futures_timer::Delay;
use libp2p::multiaddr::Protocol;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use solitude::Solitude;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tellers::Tellers;

/// The addresses of one network.
#[derive(Debug)]
pub(crate) struct Discovery {
    addresses: BTreeMap<Multiaddr, Entry>,
    /// Where members were met, the last first.
    met: VecDeque<Multiaddr>,
    sorter: Arc<Sorter>,
    /// Links that are up.
    links: BTreeMap<LinkId, (PeerId, u8)>,
    solitude: Solitude,
    tellers: Tellers,
    /// Neighbours that are wanted before addresses other than bootstrap are left alone.
    target: usize,
    /// Neighbours at the last poll.
    neighbours: usize,
    rng: ChaCha20Rng,
    /// Until the next address is due; not to be looked at while `changed`.
    timer: Delay,
    changed: bool,
    /// To be dialled whatever else there is: ways around, one for a link at most.
    urgent: Vec<Multiaddr>,
}

/// Why a dial led nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody was there, or no member.
    Usual,
    /// A member that has no room for another link, or a copy of this node.
    Full,
}

#[derive(Debug)]
struct Entry {
    bootstrap: bool,
    reached: bool,
    /// In a row.
    failures: u32,
    /// When a link that had lasted went down there.
    lost: Option<Instant>,
    state: State,
    /// Over which it is reached, as far as can be told.
    bearer: u8,
    /// Who says that it listens there.
    of: Option<PeerId>,
    /// The neighbour on whose word it is tried, until it has led to a member.
    told_by: Option<PeerId>,
    /// Whoever is there had no room when it was asked last.
    full: bool,
    /// It came by multicast DNS, of which anybody on the network may say anything.
    multicast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// May be dialled from then on.
    Idle(Instant),
    Dialing,
    /// Since then.
    Linked(LinkId, Instant),
    /// The node's own.
    Own,
}

impl Discovery {
    /// `met` is what a network before it has [met](Self::met).
    pub(crate) fn new(
        bootstrap: &[Multiaddr],
        met: &[Multiaddr],
        target: u32,
        sorter: Arc<Sorter>,
        seed: [u8; 32],
    ) -> Self {
        let mut this = Self {
            addresses: BTreeMap::new(),
            met: VecDeque::new(),
            sorter,
            links: BTreeMap::new(),
            solitude: Solitude::new(),
            tellers: Tellers::default(),
            target: target as usize,
            neighbours: 0,
            rng: ChaCha20Rng::from_seed(seed),
            timer: Delay::new(Duration::ZERO),
            changed: true,
            urgent: Vec::new(),
        };
        for address in bootstrap {
            this.learn(without_peer(address), true);
        }
        for address in met.iter().take(MAX_MET) {
            let address = without_peer(address);
            if this.learn(address.clone(), false) && !this.met.contains(&address) {
                if let Some(entry) = this.addresses.get_mut(&address) {
                    entry.reached = true;
                }
                this.met.push_back(address);
            }
        }
        this
    }

    /// An address was heard of. False when an address had to go, this one or a worse one.
    #[must_use]
    pub(crate) fn handle_heard(&mut self, address: &Multiaddr) -> bool {
        self.learn(without_peer(address), false)
    }

    /// The node listens there.
    pub(crate) fn handle_listening(&mut self, address: &Multiaddr) {
        self.set_own(without_peer(address));
    }

    /// The node does not listen there any more.
    pub(crate) fn handle_not_listening(&mut self, address: &Multiaddr) {
        let address = without_peer(address);
        if self.addresses.get(&address).is_some_and(|entry| entry.state == State::Own) {
            self.addresses.remove(&address);
        }
    }

    /// Addresses at which members were met, the last first: at most [`MAX_MET`].
    pub(crate) fn met(&self) -> impl Iterator<Item = &Multiaddr> {
        self.met.iter()
    }

    /// A link is up.
    pub(crate) fn handle_link_up(&mut self, link: LinkId, peer: PeerId, bearer: u8) {
        self.links.insert(link, (peer, bearer));
        self.solitude.handle_link(link, true);
        for entry in self.addresses.values_mut() {
            if entry.of == Some(peer) && entry.bearer == bearer {
                entry.settle(link);
            }
        }
        self.changed = true;
    }

    /// A neighbour says that a member listens there. False when there was no place for it.
    #[must_use]
    pub(crate) fn handle_told(&mut self, link: LinkId, address: &Multiaddr) -> bool {
        let teller = self.links.get(&link).map(|(peer, _)| *peer);
        self.learn_from(without_peer(address), false, teller)
    }

    /// A neighbour says that it listens there. A bootstrap address is not taken from the neighbour's word: it is
    /// dialled to see whose it is.
    #[must_use]
    pub(crate) fn handle_neighbour(&mut self, link: LinkId, address: &Multiaddr) -> bool {
        let address = without_peer(address);
        let kept = self.handle_told(link, &address);
        if self.is_proven_of_another(link, &address) {
            return kept;
        }
        if let (Some(entry), Some((peer, _))) = (self.addresses.get_mut(&address), self.links.get(&link)) {
            entry.of = Some(*peer);
            let over_it = |(_, ends): &(&LinkId, &(PeerId, u8))| **ends == (*peer, entry.bearer);
            match self.links.iter().find(over_it) {
                Some((link, _)) => entry.settle(*link),
                None => self.changed = true,
            }
        }
        kept
    }

    /// Whether a dial has led to another neighbour there, which still is one.
    fn is_proven_of_another(&self, link: LinkId, address: &Multiaddr) -> bool {
        let by = self.links.get(&link).map(|(peer, _)| *peer);
        let of = self.addresses.get(address).filter(|entry| entry.reached).and_then(|entry| entry.of);
        of.is_some_and(|of| Some(of) != by && self.links.values().any(|(peer, _)| *peer == of))
    }

    /// A dial has led to this link. Answers whether a member was met there for the first time.
    pub(crate) fn handle_linked(&mut self, address: &Multiaddr, link: LinkId) -> bool {
        if let Some(entry) = self.addresses.get_mut(address) {
            (entry.reached, entry.full) = (true, false);
            if let Some(teller) = entry.told_by.take() {
                self.tellers.proved(&teller);
            }
            entry.state = State::Linked(link, Instant::now());
            if let Some((peer, bearer)) = self.links.get(&link) {
                (entry.of, entry.bearer) = (Some(*peer), *bearer);
            }
        }
        self.changed = true;
        let known = self.met.iter().position(|met| met == address).and_then(|at| self.met.remove(at)).is_some();
        self.met.push_front(address.clone());
        self.met.truncate(MAX_MET);
        !known
    }

    /// A dial has led nowhere.
    pub(crate) fn handle_failed(&mut self, address: &Multiaddr, why: Failure) {
        if let Some(entry) = self.addresses.get_mut(address) {
            let missing = self.sorter.is_several() && self.links.values().any(|(peer, _)| entry.of == Some(*peer));
            let most = if entry.is_hearsay() && why == Failure::Usual { FORGET_HEARSAY } else { FORGET };
            let hopeless = entry.failures + 1 >= most && !entry.bootstrap && !missing && !entry.is_awaited();
            let longest = if hopeless { LONGEST_MET } else { entry.longest() };
            entry.bearer = self.sorter.carrying(address, None);
            entry.fail(why, longest, self.sorter.profile(entry.bearer), &self.solitude, &mut self.rng);
            if hopeless && !self.met.contains(address) {
                let gone = self.addresses.remove(address);
                if let Some(teller) = gone.and_then(|entry| entry.told_by) {
                    self.tellers.in_vain(teller);
                }
            }
        }
        self.changed = true;
    }

    /// A dial has led to the node itself.
    pub(crate) fn handle_own(&mut self, address: &Multiaddr) {
        self.set_own(address.clone());
    }

    /// A link is gone. One that has not lasted counts as a failure, so that an end that always hangs up is not
    /// dialled without a pause.
    pub(crate) fn handle_link_down(&mut self, gone: LinkId) {
        self.links.remove(&gone);
        let alone = self.solitude.handle_link(gone, false);
        for (address, entry) in &mut self.addresses {
            if let State::Linked(link, since) = entry.state
                && link == gone
            {
                entry.bearer = self.sorter.carrying(address, None);
                let bearer = self.sorter.profile(entry.bearer);
                if since.elapsed() >= if bearer.metered { LASTING_METERED } else { LASTING } {
                    (entry.failures, entry.lost) = (0, Some(Instant::now()));
                }
                let longest = entry.longest();
                entry.fail(Failure::Usual, longest, bearer, &self.solitude, &mut self.rng);
                if entry.is_hearsay() {
                    // Nobody has been dialled there yet.
                    entry.failures = 0;
                }
            }
        }
        if alone {
            self.hasten();
        }
        self.changed = true;
    }

    /// Nothing is heard over a link, or something again.
    pub(crate) fn handle_silence(&mut self, link: LinkId, silent: bool) {
        if self.solitude.handle_silence(link, silent) {
            self.hasten();
        }
        self.changed = true;
    }

    /// The node is alone from now on: no address rests for long.
    fn hasten(&mut self) {
        for entry in self.addresses.values_mut() {
            if let State::Idle(due) = entry.state
                && !entry.full
                && !entry.is_hearsay()
                && !self.sorter.is_metered(entry.bearer)
            {
                entry.state =
                    State::Idle(due.min(Instant::now() + draw(self.solitude.hastened(LONGEST, None), &mut self.rng)));
            }
        }
    }

    /// All idle addresses may be dialled at once, as if none had failed.
    pub(crate) fn forget_backoff(&mut self) {
        for entry in self.addresses.values_mut() {
            entry.failures = 0;
            if let State::Idle(due) = &mut entry.state {
                *due = Instant::now();
            }
        }
        self.changed = true;
    }

    /// The next address to dial; it counts as being dialled from now on. `clock` tells unix seconds, for access windows.
    pub(crate) fn poll(
        &mut self,
        neighbours: usize,
        clock: &dyn Fn() -> Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Multiaddr> {
        if self.neighbours != neighbours {
            self.neighbours = neighbours;
            self.changed = true;
        }
        while self.changed || self.timer.poll_unpin(cx).is_ready() {
            let now = Instant::now();
            let dialing = self.addresses.values().filter(|entry| entry.state == State::Dialing).count();
            self.changed = dialing < MAX_DIALS;
            if !self.changed {
                // The end of a dial comes by.
                self.timer.reset(LASTING);
                continue;
            }
            let openings = self.sorter.openings(clock, now);
            if let Some(way) = self.next_detour(&openings, now) {
                return Poll::Ready(way);
            }
            let mut by_bearer: BTreeMap<u8, usize> = BTreeMap::new();
            for entry in self.addresses.values().filter(|entry| entry.state == State::Dialing) {
                *by_bearer.entry(entry.bearer).or_default() += 1;
            }
            let share = if self.sorter.is_several() { MAX_DIALS / 2 } else { MAX_DIALS };
            let may = |bearer: u8| by_bearer.get(&bearer).is_none_or(|dialing| *dialing < share);
            let more = neighbours.saturating_sub(self.silent()) + dialing < self.target;
            let missing = self.missing();
            let idle = self.addresses.iter_mut().filter_map(|(address, entry)| match entry.state {
                State::Idle(due) if may(entry.bearer) && (more || entry.bootstrap || missing.contains(address)) => {
                    let opens = openings.get(usize::from(entry.bearer)).copied();
                    Some((opens.map_or(due, |opens| due.max(opens)), entry.rank(), address, entry))
                }
                _ => None,
            });
            // What is due ranks by its worth, what is not by its time.
            let best = idle.max_by_key(|(due, rank, _, _)| (Reverse((*due).max(now)), *rank));
            match best {
                Some((due, _, address, entry)) if due <= now => {
                    entry.state = State::Dialing;
                    return Poll::Ready(address.clone());
                }
                Some((due, ..)) => self.timer.reset(due - now),
                None => self.timer.reset(LASTING),
            }
            self.changed = false;
        }
        Poll::Pending
    }

    /// Neighbours of whom nothing is heard.
    fn silent(&self) -> usize {
        let peers = |silent: bool| {
            let links = self.links.iter().filter(move |(link, _)| self.solitude.is_silent(link) == silent);
            links.map(|(_, (peer, _))| *peer).collect::<BTreeSet<PeerId>>()
        };
        let heard = peers(false);
        peers(true).iter().filter(|peer| !heard.contains(peer)).count()
    }

    /// Addresses of neighbours on bearers over which they have no link and are not being dialled.
    fn missing(&self) -> BTreeSet<Multiaddr> {
        if !self.sorter.is_several() {
            return BTreeSet::new();
        }
        let dialled = self.addresses.values().filter(|entry| entry.state == State::Dialing);
        let dialled = dialled.filter_map(|entry| Some((entry.of?, entry.bearer)));
        let there: BTreeSet<(PeerId, u8)> = self.links.values().copied().chain(dialled).collect();
        let neighbours: BTreeSet<PeerId> = self.links.values().map(|(peer, _)| *peer).collect();
        let is_missing = |entry: &Entry| {
            entry.of.is_some_and(|peer| neighbours.contains(&peer) && !there.contains(&(peer, entry.bearer)))
        };
        self.addresses.iter().filter(|(_, entry)| is_missing(entry)).map(|(address, _)| address.clone()).collect()
    }

    fn learn(&mut self, address: Multiaddr, bootstrap: bool) -> bool {
        self.learn_from(address, bootstrap, None)
    }

    fn learn_from(&mut self, address: Multiaddr, bootstrap: bool, told_by: Option<PeerId>) -> bool {
        if let Some(known) = self.addresses.get_mut(&address) {
            known.bootstrap |= bootstrap;
            return true;
        }
        if !can_be_dialled(&address) {
            return true;
        }
        if let Some(teller) = &told_by {
            let tried = self.addresses.values().filter(|entry| entry.told_by.as_ref() == Some(teller)).count();
            if tried >= self.tellers.share(teller) {
                return false;
            }
        }
        let full = self.addresses.len() >= MAX_ADDRESSES;
        if full && !self.drop_worst() && !bootstrap {
            return false;
        }
        let bearer = self.sorter.carrying(&address, None);
        let state = State::Idle(Instant::now());
        self.addresses.insert(address, Entry { told_by, ..Entry::new(bootstrap, state, bearer) });
        self.changed = true;
        !full
    }

    fn drop_worst(&mut self) -> bool {
        let idle = self.addresses.iter().filter(|(_, entry)| matches!(entry.state, State::Idle(_)) && !entry.bootstrap);
        let worst = idle.min_by_key(|(_, entry)| entry.rank()).map(|(address, _)| address.clone());
        worst.and_then(|worst| self.addresses.remove(&worst)).is_some()
    }

    fn set_own(&mut self, address: Multiaddr) {
        let full = self.addresses.len() >= MAX_ADDRESSES;
        if self.addresses.contains_key(&address) || !full || self.drop_worst() {
            self.addresses.insert(address, Entry::new(false, State::Own, 0));
        }
        self.changed = true;
    }
}

/// A random time up to this.
fn draw(bound: Duration, rng: &mut ChaCha20Rng) -> Duration {
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.next_u64() % micros.max(1))
}

/// The address without the `/p2p/…` at its end.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

/// Addresses known at a time.
const MAX_ADDRESSES: usize = 1_024;
/// Addresses at which members were met that are kept.
pub(crate) const MAX_MET: usize = 32;
/// Dials under way at a time: one that nobody answers takes as long as its bearer allows, and whoever is on the move knows
/// many such.
pub(crate) const MAX_DIALS: usize = 32;
/// Bound of the rest after a first failure.
const SHORTEST: Duration = Duration::from_millis(250);
/// Bound of the rest after many failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The same for an address that has never been reached.
const LONGEST_UNREACHED: Duration = Duration::from_secs(60);
/// The same for one at which a member was met, and nobody is any more: it is not forgotten, and not worth much.
const LONGEST_MET: Duration = Duration::from_secs(600);
/// Failures in a row after which an address that is not bootstrap is forgotten.
const FORGET: u32 = 10;
/// The same for one that stands on a neighbour's word alone: whoever is there may be anybody.
const FORGET_HEARSAY: u32 = 2;
/// A link that lived this long was worth dialling.
const LASTING: Duration = Duration::from_secs(10);
/// The same where bytes cost money.
const LASTING_METERED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
