//! Detour: another address for a neighbour that falls silent after much was sent to it.
//!
//! **A path that drops long packets** without telling the sender stops a TCP stream for good. So a neighbour that falls
//! silent after much was sent is dialled over datagrams, at the address that it announces or at the same port: QUIC
//! starts with packets that every path carries, and finds out the longest that this one does. The connection joins the
//! link and takes over its frames.

use super::{Discovery, Entry, Instant, LinkId, Multiaddr, Protocol, State};

impl Discovery {
    /// Handles a link that is silent after much was sent over a connection to `address`, by the module's mechanism.
    pub(crate) fn handle_stuck(&mut self, link: LinkId, address: &Multiaddr) {
        let Some((peer, bearer)) = self.links.get(&link).copied() else { return };
        let announced = |(address, entry): &(&Multiaddr, &Entry)| {
            over_datagrams(address) && entry.of == Some(peer) && entry.bearer == bearer
        };
        let announced = self.addresses.iter().find(announced).map(|(address, _)| address.clone());
        let Some(way) = announced.or_else(|| same_port(address)) else { return };
        if over_datagrams(address) || !self.learn(way.clone(), false) {
            return;
        }
        if let Some(entry) = self.addresses.get_mut(&way)
            && !matches!(entry.state, State::Dialing | State::Own)
            && !self.urgent.contains(&way)
        {
            entry.of = Some(peer);
            self.urgent.push(way);
            self.changed = true;
        }
    }

    /// Returns the next detour to dial if its bearer is open, and marks it as being dialled.
    pub(super) fn next_detour(&mut self, openings: &[Instant], now: Instant) -> Option<Multiaddr> {
        while let Some(way) = self.urgent.pop() {
            let Some(entry) = self.addresses.get_mut(&way) else { continue };
            if openings.get(usize::from(entry.bearer)).is_none_or(|opens| *opens <= now) {
                entry.state = State::Dialing;
                self.changed = true;
                return Some(way);
            }
        }
        None
    }
}

fn over_datagrams(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Udp(_)))
}

/// Returns the QUIC address on the same port as a TCP address.
fn same_port(address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (host @ (Protocol::Ip4(_) | Protocol::Ip6(_)), Protocol::Tcp(port), None) => {
            Some(Multiaddr::empty().with(host).with(Protocol::Udp(port)).with(Protocol::QuicV1))
        }
        _ => None,
    }
}
