//! Checks before a node starts: no other program uses its ports, and its clock agrees with its credentials.

use super::port;
use crate::identity::membership::Membership;
use crate::net::Multiaddr;
use crate::time::Unix;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, SocketAddr};

/// Checks that no other program uses the port of an address. Any other problem with an address shows when the network
/// listens on it.
///
/// # Errors
/// A text that names the first address whose port another program uses.
pub(super) fn ports_are_free(listen: &[Multiaddr]) -> Result<(), String> {
    for address in listen {
        if place(address).is_some_and(|(at, tcp)| !port::is_free_at(at, tcp)) {
            return Err(format!("{address}: another program uses that port"));
        }
    }
    Ok(())
}

/// Returns what is wrong, with the times of clock and credentials, if no credential covers the present epoch; `None` if
/// one does.
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

/// The socket address of a multiaddress, and whether it is for TCP; `None` where the port is still to be chosen, and
/// for addresses of other kinds.
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
