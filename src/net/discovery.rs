//! Discovery: which addresses are known, and which is dialled when.
//!
//! Addresses come from the settings (*bootstrap*), from neighbours and from multicast DNS. They are kept without a
//! PeerId, since keys rotate and addresses last. Bootstrap addresses are dialled until they are linked, and again when
//! the link goes down; other addresses only while fewer neighbours than wanted are linked and not silent, the best
//! known first. After a failure an address rests for a random time between zero and a bound that doubles with each
//! consecutive failure (exponential back-off with full jitter): from 250 ms to 30 s, or to 60 s if it has never been
//! reached. The rest is shorter while the node hears nobody ([`solitude`]) and where a link was lost: at most an eighth
//! of the time since then, or two seconds if that is more. So a restarted neighbour is back soon, and one that is gone
//! for good soon costs what any other address does.
//!
//! An address on a neighbour's word that has not led to a member is dialled twice, some seconds apart, and then
//! forgotten: its owner may not be a member and did not ask to be dialled. The neighbour announces it again
//! when its own neighbours change.
//!
//! Addresses at which members were *met*, by dials that led to an admitted connection, outlast the process: the node
//! saves the last [`MAX_MET`] of them and starts with them the next time, so that a device finds the mesh again when
//! the member that it joined by is gone. They are dialled like other known addresses and not forgotten; after many
//! failures they rest for up to [`LONGEST_MET`]. An address may be a name, which is looked up at each dial.
//!
//! A member without room for another link says so: its address rests for half a minute to ten minutes, and others are
//! dialled first. Where bytes cost money the rest is not shortened, and its bound follows the price
//! ([`Profile::longest_rest`]). No address is dialled outside the access windows of its bearer. A neighbour that long
//! packets do not reach is dialled at another address ([`detour`]).
//!
//! Where there are several bearers, a link to each neighbour is wanted over each of them. Of the addresses that a
//! neighbour announces as its own, those on bearers without a link are dialled too, one for each bearer at a time, even
//! beyond the wanted number of links, and they are kept while it is a neighbour. So are those of the neighbours of a
//! network that this one is to replace ([`sought`]).
//!
//! Invariants
//! 1. At most [`MAX_ADDRESSES`] addresses are known. Drop policy: the lowest-ranked idle one that is not bootstrap.
//! 2. At most [`MAX_DIALS`] dials are under way.
//! 3. Addresses of the node itself are not dialled, nor those of linked neighbours other than as a [`detour`].
//! 4. The number of addresses tried on a neighbour's word is bounded by its share, which shrinks with each failure
//!    ([`tellers`]). An address that led to a linked member stays that member's, whoever else claims it.
//! 5. The number of addresses from multicast DNS is bounded, in all and for each host ([`multicast`]).
//! 6. An address is among those met only if a dial to it has led to a member.
//! - Of several bearers, none takes more than half of the dials, detours aside.

mod detour;
mod entry;
mod multicast;
mod pause;
mod shunned;
mod solitude;
mod sought;
mod tellers;

use super::reach::can_be_dialled;
use super::sorter::Sorter;
use super::{Multiaddr, PeerId};
use crate::id::LinkId;
use crate::link::bearer::Profile;
use crate::link::windows::Windows;
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

/// The addresses that a network knows.
#[derive(Debug)]
pub(crate) struct Discovery {
    addresses: BTreeMap<Multiaddr, Entry>,
    /// Addresses at which members were met, the latest first.
    met: VecDeque<Multiaddr>,
    sorter: Arc<Sorter>,
    /// Whether nothing is dialled now.
    pause: pause::Pause,
    /// The links that are up: the peer and the bearer of each.
    links: BTreeMap<LinkId, (PeerId, u8)>,
    solitude: Solitude,
    tellers: Tellers,
    /// The number of neighbours from which on only bootstrap addresses are dialled.
    target: usize,
    /// The number of neighbours at the last poll.
    neighbours: usize,
    rng: ChaCha20Rng,
    /// Fires when the next address is due; not polled while `changed` is set.
    timer: Delay,
    changed: bool,
    /// Peers that a network beside this one has links to, and until when they are to be linked here, too.
    sought: BTreeMap<PeerId, Instant>,
    /// Detours, which are dialled before all other addresses: at most one for each link.
    urgent: Vec<Multiaddr>,
}

/// The reason why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No member answered.
    Usual,
    /// A member without room for another link, or a copy of this node, answered.
    Full,
    /// A member answered that this node's turn is after this time.
    Later(Duration),
}

#[derive(Debug)]
struct Entry {
    bootstrap: bool,
    reached: bool,
    /// Consecutive failures.
    failures: u32,
    /// When a link that had lasted was lost there.
    lost: Option<Instant>,
    state: State,
    /// The bearer that carries it, as far as this can be told.
    bearer: u8,
    /// The peer that claims to listen there.
    of: Option<PeerId>,
    /// The neighbour on whose word it is tried; `None` once it has led to a member.
    told_by: Option<PeerId>,
    /// The member there had no room at the last dial.
    full: bool,
    /// It came from multicast DNS, where any host of the network may claim anything.
    multicast: bool,
    /// Until when it is not dialled, since its member is shunned.
    rests_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It may be dialled from this time on.
    Idle(Instant),
    Dialing,
    /// It led to this link, since this time.
    Linked(LinkId, Instant),
    /// The node itself listens there.
    Own,
}

impl Discovery {
    /// `met` holds the addresses that an earlier network has [met](Self::met).
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
            pause: pause::Pause::default(),
            links: BTreeMap::new(),
            solitude: Solitude::new(),
            tellers: Tellers::default(),
            target: target as usize,
            neighbours: 0,
            rng: ChaCha20Rng::from_seed(seed),
            timer: Delay::new(Duration::ZERO),
            changed: true,
            sought: BTreeMap::new(),
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

    /// Handles an address that was heard of. Returns false if an address was dropped: this one or a lower-ranked one.
    #[must_use]
    pub(crate) fn handle_heard(&mut self, address: &Multiaddr) -> bool {
        self.learn(without_peer(address), false)
    }

    /// Handles an address at which the node listens.
    pub(crate) fn handle_listening(&mut self, address: &Multiaddr) {
        self.set_own(without_peer(address));
    }

    /// Handles an address at which the node no longer listens.
    pub(crate) fn handle_not_listening(&mut self, address: &Multiaddr) {
        let address = without_peer(address);
        if self.addresses.get(&address).is_some_and(|entry| entry.state == State::Own) {
            self.addresses.remove(&address);
        }
    }

    /// Returns the addresses at which members were met, the latest first: at most [`MAX_MET`].
    pub(crate) fn met(&self) -> impl Iterator<Item = &Multiaddr> {
        self.met.iter()
    }

    /// Handles a link that is up.
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

    /// Handles an address of a member, on a neighbour's word. Returns false if there was no room for it.
    #[must_use]
    pub(crate) fn handle_told(&mut self, link: LinkId, address: &Multiaddr) -> bool {
        let teller = self.links.get(&link).map(|(peer, _)| *peer);
        self.learn_from(without_peer(address), false, teller)
    }

    /// Handles an address at which a neighbour claims to listen. A bootstrap address is not believed to be its own: it
    /// is dialled to find out. Returns false if there was no room for it.
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

    /// Whether a dial to this address has led to another peer that is still a neighbour.
    fn is_proven_of_another(&self, link: LinkId, address: &Multiaddr) -> bool {
        let by = self.links.get(&link).map(|(peer, _)| *peer);
        let of = self.addresses.get(address).filter(|entry| entry.reached).and_then(|entry| entry.of);
        of.is_some_and(|of| Some(of) != by && self.links.values().any(|(peer, _)| *peer == of))
    }

    /// Handles a dial that has led to a link. Returns whether a member was met at this address for the first time.
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

    /// Handles a dial that has failed.
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

    /// Handles a dial that has led to the node itself.
    pub(crate) fn handle_own(&mut self, address: &Multiaddr) {
        self.set_own(address.clone());
    }

    /// Handles a link that is down. A link that did not last counts as a failure, so that a peer that always hangs up
    /// is not dialled without pause.
    pub(crate) fn handle_link_down(&mut self, gone: LinkId) {
        self.links.remove(&gone);
        let alone = self.solitude.handle_link(gone, false);
        for (address, entry) in &mut self.addresses {
            if let State::Linked(link, since) = entry.state
                && link == gone
            {
                // The member that claims to listen there may have another link, under the key that it goes on with.
                let goes_on =
                    |(_, ends): &(&LinkId, &(PeerId, u8))| entry.of.map(|peer| (peer, entry.bearer)) == Some(**ends);
                let other = self.links.iter().find(goes_on).map(|(link, _)| *link);
                if let Some(other) = other.filter(|_| !entry.bootstrap) {
                    entry.state = State::Linked(other, Instant::now());
                    continue;
                }
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

    /// Handles a link that falls silent, or that is heard again.
    pub(crate) fn handle_silence(&mut self, link: LinkId, silent: bool) {
        if self.solitude.handle_silence(link, silent) {
            self.hasten();
        }
        self.changed = true;
    }

    /// Lets all idle addresses be dialled at once, as if none had failed.
    pub(crate) fn forget_backoff(&mut self) {
        for entry in self.addresses.values_mut() {
            entry.failures = 0;
            if let State::Idle(due) = &mut entry.state {
                *due = Instant::now();
            }
        }
        self.changed = true;
    }

    /// Sets the access windows of a bearer for the days ahead.
    pub(crate) fn set_windows(&mut self, bearer: u8, windows: Windows) {
        self.sorter.set_windows(bearer, windows);
        self.changed = true;
    }

    /// Returns the next address to dial and marks it as being dialled. `clock` returns unix seconds, for access
    /// windows.
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
            self.changed = dialing < MAX_DIALS && !self.pause.asleep;
            if !self.changed {
                // The end of a dial sets `changed`, and so does waking.
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
            let missing = self.missing(now);
            let idle = self.addresses.iter_mut().filter_map(|(address, entry)| match entry.state {
                State::Idle(due) if may(entry.bearer) && (more || entry.bootstrap || missing.contains(address)) => {
                    let opens = openings.get(usize::from(entry.bearer)).copied();
                    Some((opens.map_or(due, |opens| due.max(opens)), entry.rank(), address, entry))
                }
                _ => None,
            });
            // Addresses that are due are ordered by rank, the others by time.
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

    /// Returns the number of neighbours of whom nothing is heard on any link.
    fn silent(&self) -> usize {
        let peers = |silent: bool| {
            let links = self.links.iter().filter(move |(link, _)| self.solitude.is_silent(link) == silent);
            links.map(|(_, (peer, _))| *peer).collect::<BTreeSet<PeerId>>()
        };
        let heard = peers(false);
        peers(true).iter().filter(|peer| !heard.contains(peer)).count()
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
        let state = State::Idle(self.pause.after(Instant::now()));
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

/// Returns a random time below `bound`.
fn draw(bound: Duration, rng: &mut ChaCha20Rng) -> Duration {
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.next_u64() % micros.max(1))
}

/// Returns the address without its `/p2p/…` parts.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

/// The maximum number of known addresses.
const MAX_ADDRESSES: usize = 1_024;
/// The maximum number of addresses at which members were met.
pub(crate) const MAX_MET: usize = 32;
/// The maximum number of dials under way. An unanswered dial takes as long as its bearer allows, and a device on the
/// move knows many addresses that do not answer.
pub(crate) const MAX_DIALS: usize = 32;
/// The bound of the rest after a first failure.
const SHORTEST: Duration = Duration::from_millis(250);
/// The bound of the rest after many failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The bound of the rest after many failures, at an address that has never been reached.
const LONGEST_UNREACHED: Duration = Duration::from_secs(60);
/// The bound of the rest after many failures, at an address where a member was once met: it is never forgotten.
const LONGEST_MET: Duration = Duration::from_secs(600);
/// The number of consecutive failures after which an address that is not bootstrap is forgotten.
const FORGET: u32 = 10;
/// The same for an address on a neighbour's word alone: anybody may be there.
const FORGET_HEARSAY: u32 = 2;
/// A link that lasted this long resets the back-off of its address.
const LASTING: Duration = Duration::from_secs(10);
/// The same where bytes cost money.
const LASTING_METERED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
