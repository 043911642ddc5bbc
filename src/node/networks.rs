//! Networks: the one under the pseudonym in force, and while the pseudonym changes a second one beside it.
//!
//! A link belongs to one network, or to a serial line, which all networks share; its number tells nobody which, so whoever asks for a
//! link asks here. Addresses of members go to the network that was opened last: the one before it is about to be left.
//!
//! Invariants
//! - There is at least one network, and at most two, but for one that opens too late and is left at once. The last is the newest.
//! - Each is asked in turn, so that neither keeps the other from being heard.

use super::Gate;
use crate::id::{LinkId, Pseudonym};
use crate::identity::admission::AdmittedPeer;
use crate::identity::kdf::Secret;
use crate::link::windows::Windows;
use crate::net::serial::{LineState, Lines};
use crate::net::{LinkCounters, Multiaddr, NetEvent, Network, PeerId, SendError, peer_id, reach};
use crate::time::Unix;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A network that is open.
pub struct OpenNetwork {
    /// The pseudonym that it is under.
    pub own: Pseudonym,
    /// The network.
    pub network: Network<Gate>,
    /// Its gatekeeper.
    pub gate: Arc<Gate>,
    /// Where it listens.
    pub listening: Vec<Multiaddr>,
}

/// The networks of a node. See the module's documentation.
pub(super) struct Networks {
    open: Vec<OpenNetwork>,
    lines: Lines<Gate>,
    /// Which is asked first; the lines come after the networks.
    turn: usize,
    reading: bool,
    /// The access windows that bearers were told last.
    windows: BTreeMap<u8, Windows>,
    asleep: bool,
}

impl Networks {
    /// The first one, with lines that have been entered under its pseudonym.
    pub(super) fn new(first: OpenNetwork, lines: Lines<Gate>) -> Self {
        Self { open: vec![first], lines, turn: 0, reading: true, windows: BTreeMap::new(), asleep: false }
    }

    /// Another one is open, under the pseudonym whose key has that seed, which is to have links to these neighbours as well.
    pub(super) fn enter(&mut self, mut next: OpenNetwork, seed: &Secret, neighbours: &[(Pseudonym, Vec<Multiaddr>)]) {
        self.lines.enter(next.own, seed, &next.gate);
        next.network.set_reading(self.reading);
        self.windows.iter().for_each(|(bearer, windows)| next.network.set_windows(*bearer, windows.clone()));
        next.network.sleep(self.asleep);
        for (peer, addresses) in neighbours {
            next.network.seek(peer, addresses);
        }
        self.open.push(next);
    }

    /// Tells all of them when a bearer may be used in the days ahead.
    pub(super) fn set_windows(&mut self, bearer: u8, windows: &Windows) {
        self.open.iter_mut().for_each(|one| one.network.set_windows(bearer, windows.clone()));
        self.lines.set_windows(bearer, windows);
        self.windows.insert(bearer, windows.clone());
    }

    /// Whether there is one under a pseudonym.
    pub(super) fn has(&self, own: &Pseudonym) -> bool {
        self.open.iter().any(|one| one.own == *own)
    }

    /// Closes the network of a pseudonym, unless it is the only one. Returns its links.
    pub(super) fn leave(&mut self, own: &Pseudonym) -> Vec<LinkId> {
        let at = self.open.iter().position(|one| one.own == *own).filter(|_| self.open.len() > 1);
        let Some(left) = at.map(|at| self.open.remove(at)) else { return Vec::new() };
        left.network.links().chain(self.lines.leave(own)).collect()
    }

    /// What happened next, and under which pseudonym.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Pseudonym, NetEvent<AdmittedPeer>)> {
        let count = self.open.len() + 1;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let polled = match self.open.get_mut(at) {
                Some(one) => one.network.poll(cx).map(|event| (one.own, event)),
                None => self.lines.poll(cx),
            };
            if polled.is_ready() {
                self.turn = (at + 1) % count;
                return polled;
            }
        }
        Poll::Pending
    }

    /// A time that another has told one of them, which has no credential for it.
    pub(super) fn poll_told(&self, cx: &mut Context<'_>) -> Option<Unix> {
        self.open.iter().filter_map(|one| one.gate.poll_told(cx)).last()
    }

    /// Whether something that was asked of one waits for [`Networks::poll`].
    pub(super) fn wants_poll(&self) -> bool {
        self.lines.wants_poll() || self.open.iter().any(|one| one.network.wants_poll())
    }

    /// As [`Network::try_send`].
    pub(super) fn try_send(&self, link: LinkId, class: Class, frame: &OutFrame) -> Result<(), SendError> {
        match self.lines.has(link) {
            true => self.lines.try_send(link, class, frame),
            false => self.of(link).ok_or(SendError::Gone)?.network.try_send(link, class, frame),
        }
    }

    /// Closes a link at once; `LinkDown` with this reason follows.
    pub(super) fn close(&mut self, link: LinkId, reason: &str) {
        match self.of_link(link) {
            Some(network) => network.close(link, reason),
            None => self.lines.close(link, reason),
        }
    }

    /// The state of each serial line.
    pub(super) fn lines(&self) -> Vec<LineState> {
        self.lines.states()
    }

    /// As [`Network::set_reading`], of all.
    pub(super) fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
        self.lines.set_reading(reading);
        self.open.iter_mut().for_each(|one| one.network.set_reading(reading));
    }

    /// The network of a link, to be told something of it; `None` for a link over a serial line.
    pub(super) fn of_link(&mut self, link: LinkId) -> Option<&mut Network<Gate>> {
        self.open.iter_mut().map(|one| &mut one.network).find(|network| network.has(link))
    }

    fn of(&self, link: LinkId) -> Option<&OpenNetwork> {
        self.open.iter().rev().find(|one| one.network.has(link))
    }

    /// A link's figures, while it is up.
    pub(super) fn counters(&self, link: LinkId) -> Option<LinkCounters> {
        self.lines.counters(link).or_else(|| self.of(link)?.network.counters(link))
    }

    /// Identities that two processes have at once, and where these are.
    pub(super) fn twins(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.open.iter().flat_map(|one| one.network.twins()).collect()
    }

    /// Whether the access windows of its bearer allow an address to be dialled now.
    pub(super) fn may_dial(&self, address: &Multiaddr) -> bool {
        self.open.last().is_none_or(|one| one.network.may_dial(address))
    }

    /// Addresses at which members were met, the last first.
    pub(super) fn met(&self) -> impl Iterator<Item = &Multiaddr> {
        self.open.iter().rev().flat_map(|one| one.network.met())
    }

    /// Where the newest network listens.
    pub(super) fn listening(&self) -> &[Multiaddr] {
        self.open.last().map_or(&[], |one| &one.listening)
    }

    /// A network listens at an address, or not any more. Returns the addresses that others can use if that has changed anything.
    pub(super) fn note_listening(
        &mut self,
        own: &Pseudonym,
        address: Multiaddr,
        listens: bool,
    ) -> Option<Vec<Vec<u8>>> {
        let one = self.open.iter_mut().find(|one| one.own == *own)?;
        if one.listening.contains(&address) == listens {
            return None;
        }
        if listens {
            reach::insert(&mut one.listening, address);
        } else {
            one.listening.retain(|known| *known != address);
        }
        Some(for_others(&one.listening))
    }

    /// Every gatekeeper with the pseudonym of its network.
    pub(super) fn gates(&self) -> impl Iterator<Item = (&Pseudonym, &Arc<Gate>)> {
        self.open.iter().map(|one| (&one.own, &one.gate))
    }

    /// Leaves the addresses of a member alone for so long; for no time, dials them again.
    pub(super) fn shun(&mut self, peer: &Pseudonym, rest: Duration) {
        if let Some(peer) = peer_id(peer) {
            self.open.iter_mut().for_each(|one| one.network.shun(peer, rest));
        }
    }

    /// The device falls asleep, or wakes: while it sleeps nobody is dialled, and no further network dials.
    pub(super) fn sleep(&mut self, asleep: bool) {
        self.asleep = asleep;
        self.open.iter_mut().for_each(|one| one.network.sleep(asleep));
    }

    /// Lets all wanted addresses be dialled at once, as if none had failed.
    pub(super) fn forget_backoff(&mut self) {
        self.open.iter_mut().for_each(|one| one.network.forget_backoff());
    }
}

/// The addresses that others can use, in binary form.
pub(super) fn for_others(listening: &[Multiaddr]) -> Vec<Vec<u8>> {
    reach::for_others(listening).iter().map(Multiaddr::to_vec).collect()
}
