//! Links: which connections are one neighbour, and which of them stays.
//!
//! Two nodes that dial each other at once end up with two connections. Both ends prefer the one whose dialer has
//! the lower PeerId; of several by one dialer the oldest, and there only the dialer decides, since the other end
//! may have seen them in another order. Before the others go, the preferred one has to prove that the peer lives
//! on it: an old connection to a neighbour that has crashed and come back would win otherwise, and be dead. Until
//! then frames go out on the newest, which has just proved itself at admission. The others are finished in good
//! order, so nothing is lost; only frames that were under way on two connections may change places.
//!
//! Invariants
//! 1. A peer has one link; a link has one to [`MAX_CONNECTIONS`] connections.
//! 2. Numbers of links are never used twice.

use super::PeerId;
use super::pipe::Pipe;
use crate::id::LinkId;
use libp2p::swarm::ConnectionId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All links of one network.
#[derive(Debug)]
pub(crate) struct Links {
    local: PeerId,
    most: usize,
    next: u64,
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerId, LinkId>,
    by_connection: BTreeMap<ConnectionId, LinkId>,
}

/// One neighbour.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
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
    pub(crate) fn new(local: PeerId, most: u32) -> Self {
        Self {
            local,
            most: most as usize,
            next: 0,
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_connection: BTreeMap::new(),
        }
    }

    /// A connection has come up.
    pub(crate) fn join(&mut self, peer: PeerId, id: ConnectionId, outbound: bool, pipe: Arc<Pipe>) -> Joined {
        let connection = Connection { id, outbound, pipe, ending: false, fetched: 0 };
        if let Some(link) = self.by_peer.get(&peer).copied() {
            let Some(known) = self.links.get_mut(&link) else { return Joined::Refused };
            if known.connections.len() == MAX_CONNECTIONS {
                return Joined::Refused;
            }
            known.connections.push(connection);
            self.by_connection.insert(id, link);
            let decides = !self.losers(link).is_empty();
            return Joined::Another(link, self.preferred(link).filter(|_| decides));
        }
        if self.links.len() == self.most {
            return Joined::Refused;
        }
        self.next += 1;
        let link = LinkId(self.next);
        self.links.insert(link, Link { peer, connections: vec![connection] });
        self.by_peer.insert(peer, link);
        self.by_connection.insert(id, link);
        Joined::New(link)
    }

    /// A connection has proved itself: those that are to be finished now.
    pub(crate) fn proved(&mut self, id: ConnectionId) -> Vec<ConnectionId> {
        let Some(link) = self.by_connection.get(&id).copied() else { return Vec::new() };
        if self.preferred(link) != Some(id) {
            return Vec::new();
        }
        self.losers(link)
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
        self.by_peer.remove(&known.peer);
        self.links.remove(&link);
        Some((link, true))
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub(crate) fn of_peer(&self, peer: &PeerId) -> Option<LinkId> {
        self.by_peer.get(peer).copied()
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

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// By the lower dialer, then by age.
    fn preferred(&self, link: LinkId) -> Option<ConnectionId> {
        let known = self.links.get(&link)?;
        let standing = known.connections.iter().filter(|connection| !connection.ending);
        standing.min_by_key(|connection| self.dialer(known, connection)).map(|connection| connection.id)
    }

    /// Those that this end may finish in favour of the preferred one.
    fn losers(&self, link: LinkId) -> Vec<ConnectionId> {
        let Some(known) = self.links.get(&link) else { return Vec::new() };
        let Some(preferred) = self.preferred(link) else { return Vec::new() };
        let Some(best) = known.connections.iter().find(|connection| connection.id == preferred) else {
            return Vec::new();
        };
        let standing = known.connections.iter().filter(|connection| !connection.ending && connection.id != preferred);
        standing
            .filter(|connection| connection.outbound || connection.outbound != best.outbound)
            .map(|connection| connection.id)
            .collect()
    }

    fn dialer(&self, link: &Link, connection: &Connection) -> PeerId {
        if connection.outbound { self.local } else { link.peer }
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
        links.join(peer, ConnectionId::new_unchecked(id), outbound, Arc::new(Pipe::new(1)))
    }

    fn id(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    #[test]
    fn both_ends_keep_the_connection_of_the_lower_dialer() {
        let (low, high) = peers();
        let (mut at_low, mut at_high) = (Links::new(low, 9), Links::new(high, 9));
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
        let (mut at_low, mut at_high) = (Links::new(low, 9), Links::new(high, 9));
        join(&mut at_low, high, 1, true);
        assert_eq!(join(&mut at_low, high, 2, true), Joined::Another(LinkId(1), Some(id(1))));
        assert_eq!(at_low.proved(id(1)), [id(2)]);
        join(&mut at_high, low, 2, false);
        assert_eq!(join(&mut at_high, low, 1, false), Joined::Another(LinkId(1), None));
    }

    #[test]
    fn links_are_bounded() {
        let mut links = Links::new(PeerId::random(), 1);
        let peer = PeerId::random();
        for id in 0..MAX_CONNECTIONS {
            assert_ne!(join(&mut links, peer, id, false), Joined::Refused);
        }
        assert_eq!(join(&mut links, peer, 8, false), Joined::Refused);
        assert_eq!(join(&mut links, PeerId::random(), 9, false), Joined::Refused);
        assert_eq!(links.len(), 1);
    }
}
