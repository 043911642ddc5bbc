//! Reach: how far an address carries, and which of a node's own addresses to tell others.
//!
//! A loopback address leads any other machine that uses it to itself. A link-local address of IPv6 is meaningless
//! without its interface, which a multiaddress as it is dialled here does not name: it is neither told nor dialled.
//! `0.0.0.0` and `::` are addresses to listen at only.

use super::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::IpAddr;

/// Returns the IP address of a host; `None` for an unspecified address, or an address of another kind.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let ip = match address.iter().next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    (!ip.is_unspecified()).then_some(ip)
}

/// Whether the address leads to the machine that uses it.
pub fn is_loopback(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether the address can be dialled: it names a host and says all that is needed to find it.
pub fn can_be_dialled(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_unicast_link_local(),
        Some(_) => true,
        None => false,
    }
}

/// Returns those of a node's listening addresses that others can use, each once and in order. Loopback addresses are
/// included only if there are no others: then they serve devices on the same machine.
pub fn for_others<'a>(listening: impl IntoIterator<Item = &'a Multiaddr>) -> Vec<Multiaddr> {
    let mut found: Vec<Multiaddr> = Vec::new();
    for address in listening {
        if can_be_dialled(address) && !found.contains(address) {
            found.push(address.clone());
        }
    }
    if found.iter().any(|address| !is_loopback(address)) {
        found.retain(|address| !is_loopback(address));
    }
    found
}

/// Adds an address to the listening addresses and keeps those first that others can use.
pub fn insert(listening: &mut Vec<Multiaddr>, address: Multiaddr) {
    if !listening.contains(&address) {
        listening.push(address);
        listening.sort_by_key(is_loopback);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[&str]) -> Vec<Multiaddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn others_are_told_what_leads_to_this_machine_and_loopback_only_where_that_is_all() {
        let listening = at(&[
            "/ip4/127.0.0.1/tcp/7707",
            "/ip4/192.0.2.7/tcp/7707",
            "/ip6/::1/tcp/7707",
            "/ip6/fe80::1/tcp/7707",
            "/ip4/192.0.2.7/tcp/7707",
            "/ip6/2001:db8::7/udp/7707/quic-v1",
        ]);
        let told = for_others(&listening);
        assert_eq!(told, at(&["/ip4/192.0.2.7/tcp/7707", "/ip6/2001:db8::7/udp/7707/quic-v1"]));
        let local = at(&["/ip4/127.0.0.1/tcp/7707", "/ip6/fe80::1/tcp/7707", "/ip6/::ffff:127.0.0.2/tcp/1"]);
        assert_eq!(for_others(&local), at(&["/ip4/127.0.0.1/tcp/7707", "/ip6/::ffff:127.0.0.2/tcp/1"]));
        assert_eq!(for_others(&at(&["/memory/7", "/ip4/0.0.0.0/tcp/1"])), at(&["/memory/7"]));
    }

    #[test]
    fn what_others_can_use_stands_first_and_once() {
        let mut listening = Vec::new();
        for address in at(&["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.7/tcp/1", "/ip6/::1/tcp/1", "/ip4/192.0.2.7/tcp/1"]) {
            insert(&mut listening, address);
        }
        assert_eq!(listening, at(&["/ip4/192.0.2.7/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]));
    }
}
