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
