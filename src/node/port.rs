//! The port of a node whose settings name no address: the same at each start, so that others find it again.
//!
//! At its first start the node takes [`PORT`], or any free port if another program uses that one, and writes it to the
//! file `port`. It keeps this port from then on. If the port is in use at a later start, the node takes another until
//! it is started again and logs a warning, since others know it at the port it has lost.
//!
//! libp2p binds a TCP port even if another libp2p process listens on it (SO_REUSEPORT), and connections would reach
//! either of the two. Ports are therefore probed with sockets that do not share.

use crate::keystore::private_file;
use crate::net::{self, Multiaddr, PORT};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Chooses a free port, and returns the addresses to listen on.
pub(super) fn choose(directory: &Path) -> Vec<Multiaddr> {
    let file = directory.join(FILE);
    let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    let wanted = kept.unwrap_or(PORT);
    let port = if is_free(wanted) { wanted } else { any().unwrap_or(wanted) };
    if kept.is_none()
        && let Err(error) = private_file::write(&file, format!("{port}\n").as_bytes())
    {
        tracing::warn!(%error, "the port could not be noted; the next start may take another");
    }
    match kept {
        _ if port == wanted => {}
        None => tracing::warn!("another program uses port {wanted}: this device has port {port} from now on"),
        Some(_) => tracing::warn!(
            "another program uses port {wanted}, at which others know this device: it has port {port} until it is started again"
        ),
    }
    everywhere(port)
}

/// All addresses of this machine, at a port.
pub(super) fn everywhere(port: u16) -> Vec<Multiaddr> {
    let has_ipv6 = socket(AddressFamily::INET6, SocketType::DGRAM, None).is_ok();
    let everywhere = net::everywhere(port).into_iter();
    everywhere.filter(|address| has_ipv6 || !address.to_string().starts_with("/ip6/")).collect()
}

/// Whether no socket is bound to this address and port, for TCP or UDP.
pub(super) fn is_free_at(at: SocketAddr, tcp: bool) -> bool {
    // Any other error will show when the network listens there.
    attempt(at, tcp) != Err(Errno::ADDRINUSE)
}

/// Whether no socket is bound to this port on any address, for TCP and UDP.
fn is_free(port: u16) -> bool {
    let hosts: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    hosts.iter().all(|host| [true, false].iter().all(|tcp| is_free_at(SocketAddr::new(*host, port), *tcp)))
}

/// Returns a free port chosen by the system; `None` after [`ATTEMPTS`] that failed.
pub(super) fn any() -> Option<u16> {
    let candidates = (0..ATTEMPTS).filter_map(|_| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        Some(listener.local_addr().ok()?.port())
    });
    candidates.into_iter().find(|port| is_free(*port))
}

/// Binds the address for a moment as the network would, but without sharing it.
fn attempt(at: SocketAddr, tcp: bool) -> Result<(), Errno> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, if tcp { SocketType::STREAM } else { SocketType::DGRAM }, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if tcp {
        // Lets it bind while closed connections of that port are still in TIME-WAIT.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)?;
    if tcp { listen(&socket, 1) } else { Ok(()) }
}

/// Name of the file with the port.
const FILE: &str = "port";
/// How many ports of the system's choice are tried.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn ports(addresses: &[Multiaddr]) -> Vec<u16> {
        let digits = |text: &str| text.split(['/']).find_map(|part| part.parse().ok());
        let mut ports: Vec<u16> = addresses.iter().filter_map(|address| digits(&address.to_string())).collect();
        ports.dedup();
        ports
    }

    #[test]
    fn a_port_is_kept_and_given_up_only_while_another_has_it() {
        let place = tempfile::tempdir().expect("a directory");
        let free = any().expect("a port");
        std::fs::write(place.path().join(FILE), format!("{free}\n")).expect("written");
        assert_eq!(ports(&choose(place.path())), [free]);
        let hosts = choose(place.path()).iter().map(|address| address.to_string()).collect::<Vec<_>>().join(" ");
        assert!(hosts.contains(&format!("/ip4/0.0.0.0/tcp/{free} /ip4/0.0.0.0/udp/{free}/quic-v1")), "{hosts}");

        for other in ["udp", "tcp"] {
            let (udp, tcp);
            if other == "udp" {
                udp = Some(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, free)).expect("free"));
                tcp = None;
            } else {
                tcp = Some(TcpListener::bind((Ipv4Addr::LOCALHOST, free)).expect("free"));
                udp = None;
            }
            assert_ne!(ports(&choose(place.path())), [free], "{other}");
            drop((udp, tcp));
        }
        assert_eq!(ports(&choose(place.path())), [free], "it is known at this one");
    }

    #[test]
    fn the_port_of_the_first_start_is_that_of_the_second() {
        let place = tempfile::tempdir().expect("a directory");
        let first = ports(&choose(place.path()));
        // This holds whether or not another program uses the default port at this moment.
        let kept = std::fs::read_to_string(place.path().join(FILE)).expect("written down");
        assert_eq!(first, [kept.trim().parse::<u16>().expect("a port")]);
    }
}
