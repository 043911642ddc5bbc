//! What multicast DNS says: anybody on the network can make up answers, of any host and key.
//!
//! So addresses from there that have not led to a member have a share of their own, and of it each host (which is all that
//! tells one source from another) has a few. A new one takes the place of the one that was dialled in vain most often; where
//! none was, it is not taken. What neighbours, settings and former links have said stays whatever comes.

use super::{Discovery, Multiaddr, State, without_peer};
use crate::net::reach::ip_of;
use std::cmp::Reverse;

/// Addresses from multicast DNS that have not led to a member.
pub(super) const SHARE: usize = 256;
/// Of these, those of one host: two transports on a handful of devices.
pub(super) const HOST_SHARE: usize = 16;

impl Discovery {
    /// Multicast DNS names an address. False when it was not taken.
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
