//! Multicast: addresses from multicast DNS, where anybody on the network can make up answers for any host and key.
//!
//! Addresses from there that have not led to a member therefore have a bounded number of places, and each host a few of
//! these (only the host tells one source from another). When all places are taken, a new address replaces the one with
//! the most failed dials, or is refused if none has failed. Addresses from neighbours, settings and former links are
//! never replaced by them.

use super::{Discovery, Multiaddr, State, without_peer};
use crate::net::reach::ip_of;
use std::cmp::Reverse;

/// The maximum number of addresses from multicast DNS that have not led to a member.
pub(super) const SHARE: usize = 256;
/// The maximum number of these for one host: two transports on a handful of devices.
pub(super) const HOST_SHARE: usize = 16;

impl Discovery {
    /// Handles an address from multicast DNS. Returns false if it was not taken.
    #[must_use]
    pub(crate) fn handle_multicast(&mut self, address: &Multiaddr) -> bool {
        let address = without_peer(address);
        if self.addresses.contains_key(&address) {
            return true;
        }
        let unproved = || self.addresses.iter().filter(|(_, entry)| entry.multicast && !entry.reached);
        let host = ip_of(&address);
        if unproved().filter(|(address, _)| ip_of(address) == host).count() >= HOST_SHARE {
            return false;
        }
        if unproved().count() >= SHARE {
            let idle = unproved().filter(|(_, entry)| matches!(entry.state, State::Idle(_)) && entry.failures > 0);
            let Some(worst) = idle.min_by_key(|(_, entry)| Reverse(entry.failures)).map(|(address, _)| address.clone())
            else {
                return false;
            };
            self.addresses.remove(&worst);
        }
        let kept = self.learn(address.clone(), false);
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.multicast = true;
        }
        kept
    }
}
