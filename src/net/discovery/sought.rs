//! Sought: peers that are to be linked whatever the number of neighbours.
//!
//! Where a device goes on under another key, a second network is to have links to the neighbours of the first before
//! that is closed. Each of them is sought at the addresses that are known of it, until it is linked, or for [`SOUGHT`].
//! A neighbour is also missing on each bearer over which it has an address and no link.

use super::{Discovery, Entry, State, without_peer};
use crate::net::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

impl Discovery {
    /// Seeks a peer at these addresses, the best first. Returns false if there was no room for one of them.
    #[must_use]
    pub(crate) fn seek(&mut self, peer: PeerId, addresses: &[Multiaddr]) -> bool {
        let mut room = true;
        for (at, address) in addresses.iter().enumerate() {
            let address = without_peer(address);
            room &= self.learn(address.clone(), false);
            if let Some(entry) = self.addresses.get_mut(&address) {
                entry.of = entry.of.or(Some(peer));
                entry.reached |= at == 0;
            }
        }
        self.sought.insert(peer, Instant::now() + SOUGHT);
        self.changed = true;
        room
    }

    /// Returns the addresses of neighbours on bearers over which they have no link and are not being dialled, and those
    /// of peers that are sought.
    pub(super) fn missing(&mut self, now: Instant) -> BTreeSet<Multiaddr> {
        let linked: BTreeSet<PeerId> = self.links.values().map(|(peer, _)| *peer).collect();
        self.sought.retain(|peer, until| *until > now && !linked.contains(peer));
        let several = self.sorter.is_several();
        if !several && self.sought.is_empty() {
            return BTreeSet::new();
        }
        let dialled = self.addresses.values().filter(|entry| entry.state == State::Dialing);
        let mut under_way: BTreeMap<PeerId, BTreeSet<u8>> = BTreeMap::new();
        let dialled = dialled.filter_map(|entry| Some((entry.of?, entry.bearer)));
        for (peer, bearer) in self.links.values().copied().chain(dialled) {
            under_way.entry(peer).or_default().insert(bearer);
        }
        let is_missing = |entry: &Entry| {
            let Some(peer) = entry.of else { return false };
            let wanted = (several && linked.contains(&peer)) || self.sought.contains_key(&peer);
            wanted && under_way.get(&peer).is_none_or(|bearers| !bearers.contains(&entry.bearer))
        };
        self.addresses.iter().filter(|(_, entry)| is_missing(entry)).map(|(address, _)| address.clone()).collect()
    }
}

/// For how long a peer is sought.
const SOUGHT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LinkId;
    use crate::link::bearer::Bearers;
    use crate::net::sorter::Sorter;
    use futures::task::noop_waker;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    fn discovery(target: u32) -> Discovery {
        Discovery::new(&[], &[], target, Arc::new(Sorter::new(Bearers::default())), [1; 32])
    }

    fn address(port: u32) -> Multiaddr {
        format!("/memory/{port}").parse().expect("an address")
    }

    fn next(discovery: &mut Discovery, neighbours: usize) -> Option<Multiaddr> {
        match discovery.poll(neighbours, &|| None, &mut Context::from_waker(&noop_waker())) {
            Poll::Ready(address) => Some(address),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_peer_that_is_sought_is_dialled_at_one_address_at_a_time_however_many_neighbours_there_are() {
        let (mut discovery, one, other) = (discovery(1), PeerId::random(), PeerId::random());
        discovery.handle_link_up(LinkId(1), one, 0);
        assert!(discovery.handle_heard(&address(9)));
        assert!(discovery.seek(other, &[address(5), address(6)]));
        assert_eq!(next(&mut discovery, 1), Some(address(5)), "the best first");
        assert_eq!(next(&mut discovery, 1), None, "one at a time, and nothing else");
        discovery.handle_failed(&address(5), super::super::Failure::Usual);
        assert_eq!(next(&mut discovery, 1), Some(address(6)));
        discovery.handle_link_up(LinkId(2), other, 0);
        discovery.handle_linked(&address(6), LinkId(2));
        assert_eq!(next(&mut discovery, 2), None);
    }

    #[test]
    fn a_neighbour_that_goes_on_under_another_key_is_not_dialled_again_when_the_link_of_the_former_ends() {
        let (mut discovery, former, present) = (discovery(8), PeerId::random(), PeerId::random());
        discovery.handle_link_up(LinkId(1), former, 0);
        assert!(discovery.handle_neighbour(LinkId(1), &address(5)), "told over the old link");
        discovery.handle_link_up(LinkId(2), present, 0);
        assert!(discovery.handle_neighbour(LinkId(2), &address(5)), "and over the new one");
        discovery.handle_link_down(LinkId(1));
        assert_eq!(next(&mut discovery, 1), None);
        discovery.handle_link_down(LinkId(2));
        assert!(matches!(discovery.addresses[&address(5)].state, State::Idle(_)));
    }
}
