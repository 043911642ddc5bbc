//! Ports: at which of them the first network of a process listens.
//!
//! A port that stays tells whoever can connect to it that two pseudonyms are one device. So a device keeps its port, whether told or found, while it
//! goes by the pseudonym that serves all epochs, and in a lab, where others are told where it is. Otherwise it takes any free port for each
//! pseudonym, and the same again only if it is started anew under the same one.

use crate::net::{self, Multiaddr};
use crate::node::places::Places;
use crate::node::port;
use crate::time::Epoch;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The addresses to listen at in the epoch of a pseudonym, as [`of_one_pseudonym`]; warns of ports in the settings that are not kept.
pub(super) fn of_this_epoch(told: Option<&[Multiaddr]>, places: &Places, epoch: Option<Epoch>) -> Vec<Multiaddr> {
    if let Some(complaint) = told.and_then(complaint) {
        tracing::warn!("{complaint}");
    }
    of_one_pseudonym(told, Some(places).filter(|places| places.epoch == epoch))
}

/// The addresses to listen at for a device that takes a port for each pseudonym. `told` are those of its settings, if they name any; `places` are
/// those where it listened last, if that was under the same pseudonym.
pub(super) fn of_one_pseudonym(told: Option<&[Multiaddr]>, places: Option<&Places>) -> Vec<Multiaddr> {
    let addresses = told.map_or_else(|| port::everywhere(0), <[Multiaddr]>::to_vec);
    let before = |tcp| places.and_then(|places| places.listening.iter().find_map(|address| port_of(address, tcp)));
    let any = port::any().unwrap_or(0);
    let (tcp, udp) = (free(before(true), true).unwrap_or(any), free(before(false), false).unwrap_or(any));
    let at = |part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(tcp),
        Protocol::Udp(_) => Protocol::Udp(udp),
        other => other,
    };
    addresses.iter().map(|address| address.iter().map(at).collect()).collect()
}

/// What the operator is to be told of ports in the settings that are not kept; `None` if none is named.
fn complaint(told: &[Multiaddr]) -> Option<String> {
    let named = told.iter().find(|address| **address != net::at_any_port(address))?;
    Some(format!(
        "the port of {named} is kept only while this device is stable: with a pseudonym for each epoch it takes another port for each, since one \
         that stays would tell that they are one device. Write anonymity = \"stable\" in config.toml for a device that others are told an address of"
    ))
}

fn port_of(address: &Multiaddr, tcp: bool) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) if tcp => Some(port),
        Protocol::Udp(port) if !tcp => Some(port),
        _ => None,
    })
}

/// The port if it is free.
fn free(port: Option<u16>, tcp: bool) -> Option<u16> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    port.filter(|port| port::is_free_at(SocketAddr::new(everywhere, *port), tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_port_is_kept_for_one_pseudonym_and_no_longer() {
        let told = [address("/ip4/127.0.0.1/tcp/7"), address("/ip4/127.0.0.1/udp/7/quic-v1")];
        let ports = |addresses: &[Multiaddr]| [port_of(&addresses[0], true), port_of(&addresses[1], false)];
        let other = ports(&of_one_pseudonym(Some(&told), None));
        assert!(
            other[0].is_some_and(|port| port != 7) && other[0] == other[1],
            "one that is told is not kept: {other:?}"
        );
        let busy = std::net::TcpListener::bind(("0.0.0.0", 0)).expect("a port");
        let taken = busy.local_addr().expect("bound").port();
        let idle = std::net::TcpListener::bind(("0.0.0.0", 0)).and_then(|one| one.local_addr()).expect("a port").port();
        let places =
            |port| Places { listening: vec![address(&format!("/ip4/192.0.2.1/tcp/{port}"))], ..Places::default() };
        let again = of_one_pseudonym(Some(&told), Some(&places(idle)));
        assert_eq!(ports(&again)[0], Some(idle));
        assert_ne!(
            ports(&of_one_pseudonym(Some(&told), Some(&places(taken))))[0],
            Some(taken),
            "another program has it"
        );
        let any: Vec<Multiaddr> = told.iter().map(net::at_any_port).collect();
        assert!(complaint(&told).is_some_and(|text| text.contains("/tcp/7")) && complaint(&any).is_none());
    }
}
