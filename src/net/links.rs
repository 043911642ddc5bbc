//! Links: which connections form one link, and which of them stays.
//!
//! A neighbour that is reached over several bearers has a link for each. The rules below are about the connections of
//! one link: those to one neighbour over one bearer.
//!
//! Two nodes that dial each other at once end up with two connections. Both ends prefer the one whose dialer has the
//! lower PeerId. Of several by one dialer the oldest is preferred, and the dialer alone decides, since the other end
//! may have seen them in another order. Before the others are finished, the preferred one has to prove that the peer
//! lives: otherwise a dead connection to a neighbour that has crashed and come back would win. Until then frames go out
//! on the newest, which has just proved itself at admission. The others are finished in good order, so no frame is
//! lost; only frames under way on two connections may change their order.
//!
//! A process that restarts leaves a dead connection behind and comes back with another process number. So when a
//! connection is established, all connections to other processes of the same peer are asked to prove that these live.
//! If one does, both processes live: somebody has copied a device's directory. Each of these *twins* keeps its
//! connections, so that neither dials again and again; frames for the device go to the one that connected last.
//!
//! Invariants
//! 1. A peer has at most one link over each bearer; a link has one to [`MAX_CONNECTIONS`] connections.
//! 2. A link number is never used twice, not even by another network of the same node.
//! 3. A link is silent while every open connection of it is silent and at least one is open; without an open connection
//!    its state does not change.
//! 4. Of two connections to different processes, neither is finished in favour of the other.

use super::link_ids::LinkIds;
use super::pipe::Pipe;
use super::{Multiaddr, PeerId};
use crate::id::LinkId;
use libp2p::swarm::ConnectionId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All links of one network.
#[derive(Debug)]
pub(crate) struct Links {
    local: PeerId,
    most: usize,
    ids: LinkIds,
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<(PeerId, u8), LinkId>,
    neighbours: usize,
    by_connection: BTreeMap<ConnectionId, LinkId>,
    room: Arc<Room>,
}

/// The room for further links, as admission asks for it.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    /// The number of links of each peer that has any.
    links: Mutex<BTreeMap<PeerId, usize>>,
}

/// A connection that has just been established.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) peer: PeerId,
    pub(crate) bearer: u8,
    pub(crate) id: ConnectionId,
    pub(crate) outbound: bool,
    /// The address of the other end.
    pub(crate) address: Multiaddr,
    /// The process number of the other end.
    pub(crate) process: u64,
}

/// The connections to one neighbour over one bearer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) bearer: u8,
    /// The state that was last reported.
    silent: bool,
    /// The connections, the oldest first.
    pub(crate) connections: Vec<Connection>,
}

/// One connection of a link.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) outbound: bool,
    pub(crate) pipe: Arc<Pipe>,
    /// The connection is being finished and takes no more frames.
    pub(crate) ending: bool,
    /// The number of buffers that the network has fetched from it.
    pub(crate) fetched: u64,
    /// Nothing is heard on it after a ping.
    pub(crate) silent: bool,
    /// The address of the other end.
    pub(crate) address: Multiaddr,
    /// The process number of the other end.
    pub(crate) process: u64,
    /// The process has proved that it lives since a connection to another process was established.
    twin: bool,
}

/// What becomes of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It is the first of a new link.
    New(LinkId),
    /// It is another of an existing link. The given connection is to prove that the peer lives, if this end decides.
    Another(LinkId, Option<ConnectionId>),
    /// There are too many links, or too many connections of this link.
    Refused,
}

impl Links {
    pub(crate) fn new(local: PeerId, most: u32, ids: LinkIds) -> Self {
        Self {
            local,
            most: most as usize,
            ids,
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            neighbours: 0,
            by_connection: BTreeMap::new(),
            room: Arc::new(Room { most: most as usize, links: Mutex::default() }),
        }
    }

    /// Returns the shared state from which admission sees whether there is room.
    pub(crate) fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    /// Adds a connection that has been established.
    pub(crate) fn join(&mut self, arrived: Arrived, pipe: Arc<Pipe>) -> Joined {
        let Arrived { peer, bearer, id, outbound, address, process } = arrived;
        let twin = false;
        let connection =
            Connection { id, outbound, pipe, ending: false, fetched: 0, silent: false, address, process, twin };
        if let Some(link) = self.by_peer.get(&(peer, bearer)).copied() {
            let Some(known) = self.links.get_mut(&link) else { return Joined::Refused };
            if known.connections.len() == MAX_CONNECTIONS {
                return Joined::Refused;
            }
            known.connections.push(connection);
            self.by_connection.insert(id, link);
            let decides = !self.losers(link, process).is_empty();
            return Joined::Another(link, self.preferred(link, process).filter(|_| decides));
        }
        if self.links.len() == self.most {
            return Joined::Refused;
        }
        let is_new = self.of_peer(peer).next().is_none();
        self.neighbours += usize::from(is_new);
        let link = self.ids.next();
        self.links.insert(link, Link { peer, bearer, silent: false, connections: vec![connection] });
        self.by_peer.insert((peer, bearer), link);
        self.by_connection.insert(id, link);
        *self.room.lock().entry(peer).or_default() += 1;
        Joined::New(link)
    }

    /// Handles a connection that has proved that its peer lives. Returns the connections to finish now.
    pub(crate) fn proved(&mut self, id: ConnectionId) -> Vec<ConnectionId> {
        let Some(link) = self.by_connection.get(&id).copied() else { return Vec::new() };
        let Some(process) = self.connection_mut(id).map(|connection| connection.process) else { return Vec::new() };
        if self.preferred(link, process) != Some(id) {
            return Vec::new();
        }
        self.losers(link, process)
    }

    /// Returns the connections of the same peer, over any bearer, that lead to another process than this one.
    pub(crate) fn of_others(&self, id: ConnectionId) -> Vec<ConnectionId> {
        let Some((peer, process)) = self.connection(id).map(|(link, connection)| (link.peer, connection.process))
        else {
            return Vec::new();
        };
        let others = self.standing(peer).filter(|connection| connection.process != process);
        others.map(|connection| connection.id).collect()
    }

    /// Handles a connection whose process has proved that it lives. Returns two addresses if this shows for the first
    /// time that the peer has two live processes: that of this one, and that of a connection established since.
    pub(crate) fn handle_alive(&mut self, id: ConnectionId) -> Option<[Multiaddr; 2]> {
        let other = *self.of_others(id).last()?;
        let connection = self.connection_mut(id)?;
        let (known, own) = (std::mem::replace(&mut connection.twin, true), connection.address.clone());
        let other = self.connection_mut(other)?;
        let told = std::mem::replace(&mut other.twin, true) && known;
        (!told).then(|| [own, other.address.clone()])
    }

    /// Returns the peers that have two live processes, and the addresses of these.
    pub(crate) fn twins(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut found: BTreeMap<PeerId, BTreeMap<u64, Multiaddr>> = BTreeMap::new();
        for link in self.links.values() {
            for connection in link.connections.iter().filter(|connection| connection.twin && !connection.ending) {
                found.entry(link.peer).or_default().insert(connection.process, connection.address.clone());
            }
        }
        let several = found.into_iter().filter(|(_, processes)| processes.len() > 1);
        several.map(|(peer, processes)| (peer, processes.into_values().collect())).collect()
    }

    fn connection(&self, id: ConnectionId) -> Option<(&Link, &Connection)> {
        let link = self.links.get(self.by_connection.get(&id)?)?;
        Some((link, link.connections.iter().find(|connection| connection.id == id)?))
    }

    /// Returns a peer's connections that are not being finished.
    fn standing(&self, peer: PeerId) -> impl Iterator<Item = &Connection> {
        let links = self.of_peer(peer).filter_map(|link| self.links.get(&link));
        links.flat_map(|link| &link.connections).filter(|connection| !connection.ending)
    }

    /// Marks a connection as being finished.
    pub(crate) fn ending(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection_mut(id) {
            connection.ending = true;
        }
    }

    /// Removes a connection that is closed. Returns its link, and whether that was its last connection.
    pub(crate) fn leave(&mut self, id: ConnectionId) -> Option<(LinkId, bool)> {
        let link = self.by_connection.remove(&id)?;
        let known = self.links.get_mut(&link)?;
        known.connections.retain(|connection| connection.id != id);
        if !known.connections.is_empty() {
            return Some((link, false));
        }
        let (peer, bearer) = (known.peer, known.bearer);
        self.by_peer.remove(&(peer, bearer));
        self.links.remove(&link);
        self.room.leave(&peer);
        let is_gone = self.of_peer(peer).next().is_none();
        self.neighbours -= usize::from(is_gone);
        Some((link, true))
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// Returns all links of a peer, by bearer.
    pub(crate) fn of_peer(&self, peer: PeerId) -> impl Iterator<Item = LinkId> {
        self.by_peer.range((peer, 0)..=(peer, u8::MAX)).map(|(_, link)| *link)
    }

    /// Returns the state of a link if it has become silent, or is no longer silent, since the last call; otherwise
    /// `None`.
    pub(crate) fn silence_changed(&mut self, link: LinkId) -> Option<bool> {
        let known = self.links.get_mut(&link)?;
        let mut standing = known.connections.iter().filter(|connection| !connection.ending).peekable();
        // A link that only waits for its connections to end keeps its state.
        standing.peek()?;
        let silent = standing.all(|connection| connection.silent);
        (core::mem::replace(&mut known.silent, silent) != silent).then_some(silent)
    }

    pub(crate) fn of_connection(&self, id: ConnectionId) -> Option<LinkId> {
        self.by_connection.get(&id).copied()
    }

    pub(crate) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let link = self.by_connection.get(&id)?;
        self.links.get_mut(link)?.connections.iter_mut().find(|connection| connection.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// Returns the number of neighbours.
    pub(crate) fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// Returns the preferred connection to one process: the oldest of those whose dialer has the lowest PeerId.
    fn preferred(&self, link: LinkId, process: u64) -> Option<ConnectionId> {
        let known = self.links.get(&link)?;
        let standing = known.connections.iter().filter(|known| !known.ending && known.process == process);
        standing.min_by_key(|connection| self.dialer(known, connection)).map(|connection| connection.id)
    }

    /// Returns the connections that this end may finish in favour of the preferred one.
    fn losers(&self, link: LinkId, process: u64) -> Vec<ConnectionId> {
        let Some(known) = self.links.get(&link) else { return Vec::new() };
        let Some(preferred) = self.preferred(link, process) else { return Vec::new() };
        let Some(best) = known.connections.iter().find(|connection| connection.id == preferred) else {
            return Vec::new();
        };
        let standing = known.connections.iter().filter(|connection| !connection.ending && connection.id != preferred);
        standing
            .filter(|connection| connection.process == process)
            .filter(|connection| connection.outbound || connection.outbound != best.outbound)
            .map(|connection| connection.id)
            .collect()
    }

    fn dialer(&self, link: &Link, connection: &Connection) -> PeerId {
        if connection.outbound { self.local } else { link.peer }
    }
}

impl Room {
    /// Whether a connection of this peer can form a new link or join one that exists.
    pub(crate) fn has_for(&self, peer: &PeerId) -> bool {
        let links = self.lock();
        links.contains_key(peer) || links.values().sum::<usize>() < self.most
    }

    fn leave(&self, peer: &PeerId) {
        let mut links = self.lock();
        if let Some(count) = links.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                links.remove(peer);
            }
        }
    }

    /// Every statement leaves the counts consistent, so a panic of another holder does no harm.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, usize>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Returns the pipe that takes frames: that of the newest connection that is not being finished.
    pub(crate) fn pipe(&self) -> Option<&Arc<Pipe>> {
        self.connections.iter().rev().find(|connection| !connection.ending).map(|connection| &connection.pipe)
    }
}

/// The maximum number of connections of one link: two that cross, and two left over from before a crash.
pub const MAX_CONNECTIONS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        (a.min(b), a.max(b))
    }

    fn join(links: &mut Links, peer: PeerId, id: usize, outbound: bool) -> Joined {
        join_over(links, peer, 0, id, outbound)
    }

    fn join_over(links: &mut Links, peer: PeerId, bearer: u8, number: usize, outbound: bool) -> Joined {
        join_as(links, peer, 0, bearer, number, outbound)
    }

    fn join_as(links: &mut Links, peer: PeerId, process: u64, bearer: u8, number: usize, outbound: bool) -> Joined {
        let address = at(number);
        let arrived = Arrived { peer, bearer, id: id(number), outbound, address, process };
        links.join(arrived, Arc::new(Pipe::new(1)))
    }

    fn at(number: usize) -> Multiaddr {
        format!("/memory/{number}").parse().expect("an address")
    }

    fn id(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    /// Invariant 2.
    #[test]
    fn two_networks_of_a_node_number_their_links_apart() {
        let (low, high) = peers();
        let ids = LinkIds::default();
        let (mut one, mut other) = (Links::new(low, 9, ids.clone()), Links::new(low, 9, ids));
        assert_eq!(join(&mut one, high, 1, true), Joined::New(LinkId(1)));
        assert_eq!(join(&mut other, high, 1, true), Joined::New(LinkId(2)));
        assert!(one.leave(id(1)).is_some());
        assert_eq!(join(&mut one, high, 2, true), Joined::New(LinkId(3)));
    }

    #[test]
    fn both_ends_keep_the_connection_of_the_lower_dialer() {
        let (low, high) = peers();
        let (mut at_low, mut at_high) =
            (Links::new(low, 9, LinkIds::default()), Links::new(high, 9, LinkIds::default()));
        assert_eq!(join(&mut at_low, high, 1, true), Joined::New(LinkId(1)));
        assert_eq!(join(&mut at_low, high, 2, false), Joined::Another(LinkId(1), Some(id(1))));
        assert_eq!(join(&mut at_high, low, 2, true), Joined::New(LinkId(1)));
        assert_eq!(join(&mut at_high, low, 1, false), Joined::Another(LinkId(1), Some(id(1))));
        assert_eq!(at_low.proved(id(1)), [id(2)]);
        assert_eq!(at_high.proved(id(1)), [id(2)]);
        at_low.ending(id(2));
        assert_eq!(at_low.leave(id(2)), Some((LinkId(1), false)));
        assert_eq!(at_low.leave(id(1)), Some((LinkId(1), true)));
    }

    #[test]
    fn only_the_dialer_decides_between_its_own() {
        let (low, high) = peers();
        let (mut at_low, mut at_high) =
            (Links::new(low, 9, LinkIds::default()), Links::new(high, 9, LinkIds::default()));
        join(&mut at_low, high, 1, true);
        assert_eq!(join(&mut at_low, high, 2, true), Joined::Another(LinkId(1), Some(id(1))));
        assert_eq!(at_low.proved(id(1)), [id(2)]);
        join(&mut at_high, low, 2, false);
        assert_eq!(join(&mut at_high, low, 1, false), Joined::Another(LinkId(1), None));
    }

    /// Invariant 1: the bound of connections.
    #[test]
    fn links_are_bounded() {
        let mut links = Links::new(PeerId::random(), 1, LinkIds::default());
        let peer = PeerId::random();
        for id in 0..MAX_CONNECTIONS {
            assert_ne!(join(&mut links, peer, id, false), Joined::Refused);
        }
        assert_eq!(join(&mut links, peer, 8, false), Joined::Refused);
        assert_eq!(join(&mut links, PeerId::random(), 9, false), Joined::Refused);
        assert_eq!((links.iter().count(), links.neighbours()), (1, 1));
    }

    /// Invariant 1: one link over each bearer.
    #[test]
    fn a_peer_has_a_link_for_each_bearer() {
        let (low, high) = peers();
        let mut links = Links::new(low, 9, LinkIds::default());
        assert_eq!(join_over(&mut links, high, 0, 1, true), Joined::New(LinkId(1)));
        assert_eq!(join_over(&mut links, high, 3, 2, true), Joined::New(LinkId(2)));
        assert_eq!(join_over(&mut links, high, 3, 3, false), Joined::Another(LinkId(2), Some(id(2))));
        assert_eq!((links.of_peer(high).collect::<Vec<_>>(), links.neighbours()), (vec![LinkId(1), LinkId(2)], 1));
        assert_eq!(links.proved(id(2)), [id(3)]);
        assert_eq!(links.leave(id(1)), Some((LinkId(1), true)));
        assert_eq!((links.of_peer(high).collect::<Vec<_>>(), links.neighbours()), (vec![LinkId(2)], 1));
        assert_eq!(join_over(&mut links, high, 0, 4, true), Joined::New(LinkId(3)));
    }

    /// Invariant 4.
    #[test]
    fn a_restarted_peer_is_no_twin_and_two_processes_that_live_are_and_both_stay() {
        let (low, high) = peers();
        let mut links = Links::new(low, 9, LinkIds::default());
        join_as(&mut links, high, 1, 0, 1, false);
        assert_eq!(join_as(&mut links, high, 2, 0, 2, false), Joined::Another(LinkId(1), None));
        // The old process does not answer.
        assert_eq!(links.of_others(id(2)), [id(1)]);
        assert_eq!(links.leave(id(1)), Some((LinkId(1), false)));
        assert_eq!((links.handle_alive(id(2)), links.twins()), (None, Vec::new()));
        // This process does.
        join_as(&mut links, high, 3, 5, 3, true);
        assert_eq!(links.handle_alive(id(2)), Some([at(2), at(3)]));
        assert_eq!((links.handle_alive(id(2)), links.handle_alive(id(3))), (None, None), "told once");
        assert_eq!(links.twins(), [(high, vec![at(2), at(3)])]);
        join_as(&mut links, high, 3, 0, 4, false);
        assert_eq!((links.proved(id(2)), links.proved(id(4))), (Vec::new(), Vec::new()), "neither is finished");
        links.leave(id(3));
        links.leave(id(4));
        assert_eq!(links.twins(), Vec::new());
    }

    #[test]
    fn there_is_room_for_neighbours_when_there_is_none_for_others() {
        let (one, other) = peers();
        let mut links = Links::new(PeerId::random(), 1, LinkIds::default());
        let room = links.room();
        assert!(room.has_for(&one) && room.has_for(&other));
        join(&mut links, one, 1, false);
        assert!(room.has_for(&one) && !room.has_for(&other));
        links.leave(id(1));
        assert!(room.has_for(&other));
    }

    /// Invariant 3.
    #[test]
    fn a_link_is_silent_while_all_its_connections_are() {
        let (low, high) = peers();
        let mut links = Links::new(low, 9, LinkIds::default());
        join(&mut links, high, 1, true);
        let link = LinkId(1);
        links.connection_mut(id(1)).expect("there").silent = true;
        assert_eq!([links.silence_changed(link), links.silence_changed(link)], [Some(true), None]);
        join(&mut links, high, 2, true);
        assert_eq!(links.silence_changed(link), Some(false));
        links.ending(id(2));
        assert_eq!(links.silence_changed(link), Some(true));
        links.ending(id(1));
        assert_eq!(links.silence_changed(link), None);
    }
}
