//! Links: which connections are one neighbour, and which of them stays.
//!
//! A neighbour that is reached over several bearers has a link for each. What follows is about the connections of one
//! link, which are those of one neighbour over one bearer.
//!
//! Two nodes that dial each other at once end up with two connections. Both ends prefer the one whose dialer has
//! the lower PeerId; of several by one dialer the oldest, and there only the dialer decides, since the other end
//! may have seen them in another order. Before the others go, the preferred one has to prove that the peer lives
//! on it: an old connection to a neighbour that has crashed and come back would win otherwise, and be dead. Until
//! then frames go out on the newest, which has just proved itself at admission. The others are finished in good
//! order, so nothing is lost; only frames that were under way on two connections may change places.
//!
//! A process that is restarted leaves a connection behind which is dead, and comes with another number. So connections of
//! other processes of the same peer are asked to prove themselves too when one comes up; if one does, both processes live:
//! somebody has copied a device's directory. Such *twins* each keep their connections, so that neither is made to dial again
//! and again; what goes to the device goes to the one that connected last.
//!
//! Invariants
//! 1. A peer has at most one link over each bearer; a link has one to [`MAX_CONNECTIONS`] connections.
//! 2. Numbers of links are never used twice, nor are those of another network of the same node.
//! 3. A link is silent while every open connection of it is silent, and at least one is open.
//! 4. Of connections of two processes neither is finished in favour of the other.

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

/// Whether there is room for another link, as admission asks.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    /// Links by peer; as many as there are.
    links: Mutex<BTreeMap<PeerId, usize>>,
}

/// A new connection.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) peer: PeerId,
    pub(crate) bearer: u8,
    pub(crate) id: ConnectionId,
    pub(crate) outbound: bool,
    /// Where the other end is.
    pub(crate) address: Multiaddr,
    /// Number of the other end's process.
    pub(crate) process: u64,
}

/// One neighbour over one bearer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) bearer: u8,
    /// As last told.
    silent: bool,
    /// Oldest first.
    pub(crate) connections: Vec<Connection>,
}

/// One of its connections.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) outbound: bool,
    pub(crate) pipe: Arc<Pipe>,
    /// It is being finished and takes no more frames.
    pub(crate) ending: bool,
    /// Buffers that have been fetched from it.
    pub(crate) fetched: u64,
    /// Nothing is heard on it.
    pub(crate) silent: bool,
    /// Where the other end is.
    pub(crate) address: Multiaddr,
    /// Number of the other end's process.
    pub(crate) process: u64,
    /// It has proved to live since a connection of another process came up.
    twin: bool,
}

/// What becomes of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The first of a new link.
    New(LinkId),
    /// Another of a link; that connection is to prove itself, if it is for this end to decide.
    Another(LinkId, Option<ConnectionId>),
    /// There are too many links, or too many connections of this one.
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

    /// For admission.
    pub(crate) fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    /// A connection has come up.
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

    /// A connection has proved itself: those that are to be finished now.
    pub(crate) fn proved(&mut self, id: ConnectionId) -> Vec<ConnectionId> {
        let Some(link) = self.by_connection.get(&id).copied() else { return Vec::new() };
        let Some(process) = self.connection_mut(id).map(|connection| connection.process) else { return Vec::new() };
        if self.preferred(link, process) != Some(id) {
            return Vec::new();
        }
        self.losers(link, process)
    }

    /// Connections of a connection's peer, over any bearer, that lead to another process than it does.
    pub(crate) fn of_others(&self, id: ConnectionId) -> Vec<ConnectionId> {
        let Some((peer, process)) = self.connection(id).map(|(link, connection)| (link.peer, connection.process))
        else {
            return Vec::new();
        };
        let others = self.standing(peer).filter(|connection| connection.process != process);
        others.map(|connection| connection.id).collect()
    }

    /// A connection has proved to live. Answers with its peer's addresses if that, only now, shows two processes: its own,
    /// and that of a connection that has come up since.
    pub(crate) fn handle_alive(&mut self, id: ConnectionId) -> Option<[Multiaddr; 2]> {
        let other = *self.of_others(id).last()?;
        let connection = self.connection_mut(id)?;
        let (known, own) = (std::mem::replace(&mut connection.twin, true), connection.address.clone());
        let other = self.connection_mut(other)?;
        let told = std::mem::replace(&mut other.twin, true) && known;
        (!told).then(|| [own, other.address.clone()])
    }

    /// Peers with two processes, and where these are.
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

    /// A peer's connections that are not being finished.
    fn standing(&self, peer: PeerId) -> impl Iterator<Item = &Connection> {
        let links = self.of_peer(peer).filter_map(|link| self.links.get(&link));
        links.flat_map(|link| &link.connections).filter(|connection| !connection.ending)
    }

    /// A connection is being finished.
    pub(crate) fn ending(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection_mut(id) {
            connection.ending = true;
        }
    }

    /// A connection is gone: its link, and whether that is gone with it.
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

    /// All links of a peer, by bearer.
    pub(crate) fn of_peer(&self, peer: PeerId) -> impl Iterator<Item = LinkId> {
        self.by_peer.range((peer, 0)..=(peer, u8::MAX)).map(|(_, link)| *link)
    }

    /// Whether a link has begun or ceased to be silent since this was last asked.
    pub(crate) fn silence_changed(&mut self, link: LinkId) -> Option<bool> {
        let known = self.links.get_mut(&link)?;
        let mut standing = known.connections.iter().filter(|connection| !connection.ending).peekable();
        // One that only waits for its end is as it was.
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

    /// How many neighbours there are.
    pub(crate) fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// By the lower dialer, then by age; of those to one process.
    fn preferred(&self, link: LinkId, process: u64) -> Option<ConnectionId> {
        let known = self.links.get(&link)?;
        let standing = known.connections.iter().filter(|known| !known.ending && known.process == process);
        standing.min_by_key(|connection| self.dialer(known, connection)).map(|connection| connection.id)
    }

    /// Those that this end may finish in favour of the preferred one.
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
    /// Whether a connection of this peer can become a link, or is another of one.
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

    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, usize>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Where frames go: the newest that still takes them.
    pub(crate) fn pipe(&self) -> Option<&Arc<Pipe>> {
        self.connections.iter().rev().find(|connection| !connection.ending).map(|connection| &connection.pipe)
    }
}

/// Connections of one link: two that cross, and as many left over from before a crash.
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

    #[test]
    fn a_restarted_peer_is_no_twin_and_two_processes_that_live_are_and_both_stay() {
        let (low, high) = peers();
        let mut links = Links::new(low, 9, LinkIds::default());
        join_as(&mut links, high, 1, 0, 1, false);
        assert_eq!(join_as(&mut links, high, 2, 0, 2, false), Joined::Another(LinkId(1), None));
        // The old one does not answer.
        assert_eq!(links.of_others(id(2)), [id(1)]);
        assert_eq!(links.leave(id(1)), Some((LinkId(1), false)));
        assert_eq!((links.handle_alive(id(2)), links.twins()), (None, Vec::new()));
        // This one does.
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
