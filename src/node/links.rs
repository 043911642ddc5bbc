//! The node's side of its links: network events become inputs of the engine, and the engine's frames go to the network,
//! or wait while a link accepts no more.

use super::networks::{self, OpenNetwork};
use super::places::Places;
use super::stalled::{Pushed, Stalled};
use super::{Done, EventLoop, Host};
use crate::counter::Counter;
use crate::engine::Input;
use crate::id::{LinkId, Name, Pseudonym};
use crate::identity::admission::AdmittedPeer;
use crate::identity::kdf::Secret;
use crate::net::emulation::Shape;
use crate::net::{self, Multiaddr, NetEvent, SendError, serial};
use crate::store::Store;
use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use futures::FutureExt;
use std::collections::BTreeMap;

/// What the node knows about a neighbour in addition to what the engine knows.
pub(super) struct Neighbour {
    pub(super) peer: Pseudonym,
    pub(super) address: Multiaddr,
    pub(super) outbound: bool,
    pub(super) since: Time,
    pub(super) addresses: Vec<Multiaddr>,
    /// In a lab: how the link is shaped.
    pub(super) shape: Option<Shape>,
    /// In a lab: whether the link carries nothing.
    pub(super) mute: bool,
    /// In a lab: the price of the link, as the engine was told.
    pub(super) price: Option<u64>,
}

impl<S: Store, H: Host> EventLoop<S, H> {
    pub(super) fn handle_network(&mut self, own: Pseudonym, event: NetEvent<AdmittedPeer>) {
        match event {
            NetEvent::Listening(address) => {
                tracing::info!(%address, "listening");
                self.handle_listening(own, address, true);
            }
            NetEvent::NotListening(address) => {
                tracing::info!(%address, "not listening any more");
                self.handle_listening(own, address, false);
            }
            NetEvent::Met => self.keep_places(),
            NetEvent::ListenFailed { reason } => tracing::error!(%reason, "cannot listen"),
            NetEvent::LinkUp { link, peer, admitted, address, outbound, bearer, age } => {
                let transport = net::transport_of(&address);
                self.compare_clocks(link, &address, admitted.seconds, age);
                let since = self.host.now().time;
                let neighbour = Neighbour {
                    peer,
                    address,
                    outbound,
                    since,
                    addresses: Vec::new(),
                    shape: None,
                    mute: false,
                    price: None,
                };
                self.neighbours.insert(link, neighbour);
                self.handle(Input::LinkUp { own, link, peer: admitted, transport, bearer, age });
                self.enforce_on_link(link, false);
            }
            NetEvent::LinkDown { link, reason } => {
                self.neighbours.remove(&link);
                self.stalled.remove(&link);
                self.handle(Input::LinkDown { link, reason });
            }
            NetEvent::Measured { link, round_trip } => self.handle(Input::Measured { link, round_trip }),
            NetEvent::Silent { link } => self.handle(Input::Silent(link)),
            NetEvent::Heard { link } => self.handle(Input::Heard(link)),
            NetEvent::Broken { link } => self.handle(Input::Broken(link)),
            NetEvent::Twins { link: Some(link), addresses } => self.handle_twins(Some(link), &addresses),
            NetEvent::Twins { link: None, addresses } => self.handle_met_itself(&addresses),
            NetEvent::Frames { link, lane: _, buffer } => self.handle(Input::Frames { link, buffer }),
            NetEvent::Writable { link, .. } => self.unstall(link),
            NetEvent::Enrol { hello, respond } => {
                self.enrolling.retain(|_, waiting| !waiting.is_canceled());
                self.last_enrolling += 1;
                self.enrolling.insert(self.last_enrolling, respond);
                self.handle(Input::Enrol { id: self.last_enrolling, hello });
            }
            NetEvent::Refused { reason, count } => self.handle(Input::Refused { reason, count }),
            NetEvent::Skewed { address, skew } => self.handle_skew(&address, skew),
            NetEvent::Cut { count } => self.cut += count,
            NetEvent::Dropped { counter, count } => self.handle(Input::Dropped { counter, count }),
        }
    }

    /// The set of addresses that the node listens on has changed: tells neighbours, and saves it for invitations.
    fn handle_listening(&mut self, own: Pseudonym, address: Multiaddr, listens: bool) {
        if let Some(addresses) = self.networks.note_listening(&own, address, listens) {
            self.handle(Input::Listening { own, addresses });
            self.keep_places();
        }
    }

    /// Opens the network of another pseudonym in the background.
    pub(super) fn open_network(&mut self, own: Pseudonym, seed: &Secret) {
        let view = self.engine.admission_view_of(&own);
        let known = self.members();
        let opened = self.host.open_network(own, seed, view, known);
        let seed = seed.clone();
        self.begin(opened.map(move |result| Done::Opened { own, seed, result: result.map(Box::new) }).boxed());
    }

    pub(super) fn handle_opened(&mut self, own: Pseudonym, seed: &Secret, result: Result<Box<OpenNetwork>, String>) {
        let result = result.map(|opened| {
            let addresses = networks::for_others(&opened.listening);
            if !self.networks.has(&own) {
                let neighbours = self.whom_to_seek();
                self.networks.enter(*opened, seed, &neighbours);
            }
            addresses
        });
        self.handle(Input::Networked { own, result });
        self.enforce_lab(false);
        self.keep_places();
    }

    /// The neighbours that a further network is to be linked with, too, each with its addresses, the best first.
    fn whom_to_seek(&self) -> Vec<(Pseudonym, Vec<Multiaddr>)> {
        let neighbours = self.neighbours.values().map(|neighbour| {
            let over_ip = serial::device_of(&neighbour.address).is_none();
            let dialled = (neighbour.outbound && over_ip).then(|| neighbour.address.clone());
            (neighbour.peer, dialled.into_iter().chain(neighbour.addresses.iter().cloned()).collect())
        });
        neighbours.collect()
    }

    /// Closes the network of a pseudonym that this device has left, with all its links.
    pub(super) fn leave_network(&mut self, own: &Pseudonym) {
        for link in self.networks.leave(own) {
            self.neighbours.remove(&link);
            self.stalled.remove(&link);
            self.handle(Input::LinkDown { link, reason: "its pseudonym has been left".to_owned() });
        }
        self.again = true;
    }

    fn keep_places(&mut self) {
        let met = self.networks.met().cloned().collect();
        let now = self.now().unix;
        let epoch = self.engine.membership().epoch_of_pseudonym(now);
        self.host.keep_places(Places { listening: self.networks.listening().to_vec(), met, epoch });
    }

    fn handle_twins(&mut self, link: Option<LinkId>, addresses: &[Multiaddr]) {
        let addresses: Vec<String> = addresses.iter().map(Multiaddr::to_string).collect();
        tracing::error!(at = %addresses.join(" and "), own = link.is_none(), "two copies of one device run at once");
        self.handle(Input::Twins { link, addresses });
    }

    /// Another process with this node's identity was met. This happens again and again, but is reported only now and
    /// then.
    fn handle_met_itself(&mut self, addresses: &[Multiaddr]) {
        let now = self.host.now().time;
        let fresh = |(_, at): &(Multiaddr, Time)| now.since(*at) < TWIN_KNOWN;
        let known = self.twin.as_ref().is_some_and(fresh);
        self.twin = addresses.first().map(|address| (address.clone(), now)).or(self.twin.take());
        if !known {
            self.handle_twins(None, addresses);
        }
    }

    /// The identities that two processes have at once, one line each.
    pub(super) fn twins(&self) -> Vec<String> {
        let now = self.host.now().time;
        let names = self.engine.links().filter_map(|(link, name, _)| Some((self.neighbours.get(&link)?.peer, name)));
        let names: BTreeMap<Pseudonym, Option<Name>> = names.map(|(peer, name)| (peer, name.cloned())).collect();
        let of = |peer: &net::PeerId| match net::pseudonym(peer).and_then(|peer| names.get(&peer).cloned().flatten()) {
            Some(name) => name.to_string(),
            None => peer.to_string(),
        };
        let texts =
            |addresses: &[Multiaddr]| addresses.iter().map(Multiaddr::to_string).collect::<Vec<_>>().join(" and ");
        let others = self.networks.twins();
        let mut lines: Vec<String> =
            others.iter().map(|(peer, addresses)| format!("{} runs at {}", of(peer), texts(addresses))).collect();
        let own = self.twin.as_ref().filter(|(_, at)| now.since(*at) < TWIN_KNOWN);
        lines.extend(own.map(|(address, _)| format!("this device runs here and at {address}")));
        lines
    }

    pub(super) fn send(&mut self, link: LinkId, class: Class, frame: OutFrame, until: Option<Time>) {
        // Frames of a less urgent class that wait do not hold up this one.
        let first = self.stalled.get(&link).is_none_or(|stalled| stalled.has_none(class));
        if first && !self.is_stalling(link, class, &frame) {
            return;
        }
        let blocked = self.stalled.get(&link).and_then(Stalled::most_urgent).is_none_or(|first| class < first);
        match self.stalled.entry(link).or_default().push(class, frame, until) {
            Pushed::Waits if blocked => self.handle(Input::Blocked(link, class)),
            Pushed::Waits => {}
            Pushed::Dropped(counter) => self.handle(Input::Dropped { counter, count: 1 }),
            Pushed::TooMany => {
                self.stalled.remove(&link);
                self.networks.close(link, "it does not take what it is sent");
                self.handle(Input::Dropped { counter: Counter::LinksStalled, count: 1 });
            }
        }
    }

    /// Hands a frame to the network. Returns whether it has to wait. The node learns later than the network that a
    /// connection is gone; as long as the link is up, another connection takes over, and the network reports that.
    fn is_stalling(&self, link: LinkId, class: Class, frame: &OutFrame) -> bool {
        match self.networks.try_send(link, class, frame) {
            Ok(()) | Err(SendError::NotAFrame) => false,
            Err(SendError::Full) => true,
            Err(SendError::Gone) => self.neighbours.contains_key(&link),
        }
    }

    /// Sends the frames that wait for a link, now that it accepts frames again.
    fn unstall(&mut self, link: LinkId) {
        let Some(mut queue) = self.stalled.remove(&link) else { return };
        let (now, before, mut dropped, mut stalls) = (self.host.now().time, queue.most_urgent(), 0, false);
        for class in Class::ALL {
            while let Some(frame) = queue.next(class, now, &mut dropped) {
                if self.is_stalling(link, class, frame) {
                    stalls = true;
                    break;
                }
                queue.take(class);
            }
        }
        if dropped > 0 {
            self.handle(Input::Dropped { counter: Counter::DataExpired, count: dropped });
        }
        let first = queue.most_urgent();
        if stalls {
            self.stalled.insert(link, queue);
            if let Some(first) = first.filter(|_| first != before) {
                self.handle(Input::Blocked(link, first));
            }
        } else {
            self.handle(Input::Writable(link));
        }
    }

    pub(super) fn learn_addresses(&mut self, link: LinkId, own: Vec<Vec<u8>>, others: Vec<Vec<u8>>) {
        let parse = |addresses: Vec<Vec<u8>>| -> Vec<Multiaddr> {
            addresses.into_iter().filter_map(|address| Multiaddr::try_from(address).ok()).collect()
        };
        let own = parse(own);
        if let Some(network) = self.networks.of_link(link) {
            network.add_told_addresses(link, parse(others));
            network.set_neighbour_addresses(link, own.clone());
        }
        if let Some(neighbour) = self.neighbours.get_mut(&link) {
            neighbour.addresses = own;
        }
    }

    /// The addresses at which members are known to listen: first those of neighbours, in the order of their links'
    /// cost.
    pub(super) fn members(&self) -> Vec<Multiaddr> {
        let neighbours = self.engine.links_by_cost().into_iter().filter_map(|link| self.neighbours.get(&link));
        let neighbours = neighbours.flat_map(|neighbour| neighbour.addresses.iter());
        neighbours.chain(&self.bootstrap).chain(self.networks.met()).cloned().collect()
    }
}

/// How long a report that another process has this node's identity counts as current; it is met again well before that.
const TWIN_KNOWN: std::time::Duration = std::time::Duration::from_secs(1_200);
