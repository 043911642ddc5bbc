//! What has to be right before a node is of use: its ports are nobody else's, and its clock agrees with its credentials.

use super::port;
use crate::identity::membership::Membership;
use crate::net::Multiaddr;
use crate::time::Unix;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, SocketAddr};

/// Fails with a text that names the first address that another program listens on. Whatever else may be wrong with an
/// address shows when the network listens on it.
pub(super) fn ports_are_free(listen: &[Multiaddr]) -> Result<(), String> {
    for address in listen {
        if place(address).is_some_and(|(at, tcp)| !port::is_free_at(at, tcp)) {
            return Err(format!("{address}: another program uses that port"));
        }
    }
    Ok(())
}

/// What is wrong with the credentials by this clock, if there is none of the present epoch: with both times.
pub(super) fn lapsed(membership: &Membership, now: Unix) -> Option<String> {
    if membership.credential(now).is_some() {
        return None;
    }
    let (from, until) = (membership.valid_from(), membership.valid_until());
    Some(if now < from {
        format!(
            "the credentials are not valid yet: they begin at {from}, and this machine's clock says {now}; set the clock"
        )
    } else {
        format!(
            "the credentials have expired: they ended at {until}, and this machine's clock says {now}; set the clock if it \
             is wrong, else wait: they are renewed once a member can be reached"
        )
    })
}

/// Where an address is, and whether by TCP; nothing where the port is to be chosen.
fn place(address: &Multiaddr) -> Option<(SocketAddr, bool)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let (port, tcp) = match parts.next()? {
        Protocol::Tcp(port) => (port, true),
        Protocol::Udp(port) => (port, false),
        _ => return None,
    };
    (port != 0).then_some((SocketAddr::new(ip, port), tcp))
}
