//! Sorter: which bearer carries a connection, by its addresses.
//!
//! [`Bearers`] holds the rules; this module takes addresses apart and looks up interfaces for the rules that name one.
//! If the own end of a connection is unknown, the address that the system would send from is used. Interfaces
//! and this address are looked up only if a rule needs them, so that the machine is not queried otherwise.

use super::Multiaddr;
use super::reach::ip_of;
use crate::link::bearer::{Bearers, Ends, Profile};
use crate::link::windows::Windows;
use crate::time::Unix;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Assigns the connections of one network to bearers.
#[derive(Debug)]
pub(crate) struct Sorter {
    bearers: Bearers,
    /// The access windows of the bearers, as they were told last.
    windows: ArcSwap<Vec<Windows>>,
    interfaces: Mutex<Option<Interfaces>>,
}

/// The machine's interfaces and their networks, as last listed.
#[derive(Debug)]
struct Interfaces {
    seen: Instant,
    networks: Vec<(String, IpNet)>,
}

impl Sorter {
    pub(crate) fn new(bearers: Bearers) -> Self {
        let windows = bearers.profiles().iter().map(|profile| profile.windows.clone()).collect();
        Self { bearers, windows: ArcSwap::from_pointee(windows), interfaces: Mutex::new(None) }
    }

    /// Returns the number of bearers.
    pub(crate) fn count(&self) -> usize {
        self.bearers.profiles().len()
    }

    /// Whether there is more than one bearer.
    pub(crate) fn is_several(&self) -> bool {
        self.count() > 1
    }

    pub(crate) fn is_metered(&self, bearer: u8) -> bool {
        self.bearers.profile(bearer).metered
    }

    pub(crate) fn profile(&self, bearer: u8) -> &Profile {
        self.bearers.profile(bearer)
    }

    /// Sets the access windows of a bearer for the days ahead.
    pub(crate) fn set_windows(&self, bearer: u8, windows: Windows) {
        let mut all = self.windows.load().to_vec();
        if let Some(own) = all.get_mut(usize::from(bearer)) {
            *own = windows;
            self.windows.store(Arc::new(all));
        }
    }

    /// Returns, for each bearer, when it may be dialled over: now if its access windows are open, otherwise when to
    /// check again. Empty if no bearer has windows or there is no clock. `clock` returns unix seconds. As the clock may
    /// be set at any time, the next check is at most [`LOOK`] away.
    pub(crate) fn openings(&self, clock: &dyn Fn() -> Option<u64>, now: Instant) -> Vec<Instant> {
        let all = self.windows.load();
        if all.iter().all(Windows::is_empty) {
            return Vec::new();
        }
        let Some(unix) = clock() else { return Vec::new() };
        let unix = Unix::from_seconds(unix);
        let opens = |windows: &Windows| match windows.open_at(unix) {
            true => now,
            false => now + windows.next_change(unix).map_or(LOOK, |at| at.since(unix).min(LOOK)),
        };
        all.iter().map(opens).collect()
    }

    /// Whether an address may be dialled at this time, by the access windows of its bearer.
    pub(crate) fn is_open(&self, remote: &Multiaddr, unix: Option<u64>) -> bool {
        let (all, bearer) = (self.windows.load(), usize::from(self.carrying(remote, None)));
        let windows = all.get(bearer).filter(|windows| !windows.is_empty());
        windows.zip(unix).is_none_or(|(windows, unix)| windows.open_at(Unix::from_seconds(unix)))
    }

    /// Returns the bearer that carries a connection between these addresses.
    pub(crate) fn carrying(&self, remote: &Multiaddr, local: Option<&Multiaddr>) -> u8 {
        if !self.is_several() {
            return 0;
        }
        let (remote_ip, mut local_ip) = (ip_of(remote), local.and_then(ip_of));
        if let (Some(remote), None) = (remote_ip, local_ip)
            && self.bearers.ask_for_interfaces()
        {
            local_ip = source_for(remote);
        }
        let host = |ip: IpAddr| IpNet::from(ip.to_canonical());
        let ends = Ends { remote: remote_ip.map(host), local: local_ip.map(host), transport: transport(remote) };
        self.bearers.carrying(&ends, &|interface| self.networks_of(interface))
    }

    fn networks_of(&self, interface: &str) -> Vec<IpNet> {
        let mut interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let old = interfaces.take().filter(|known| known.seen.elapsed() < FRESH);
        let known = interfaces.insert(old.unwrap_or_else(Interfaces::look));
        known.networks.iter().filter(|(name, _)| name == interface).map(|(_, network)| *network).collect()
    }
}

impl Interfaces {
    fn look() -> Self {
        let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::warn!(%error, "the network interfaces cannot be listed");
            Vec::new()
        });
        let networks = found.into_iter().filter_map(|interface| {
            let (address, length) = match interface.addr {
                if_addrs::IfAddr::V4(address) => (IpAddr::V4(address.ip), address.prefixlen),
                if_addrs::IfAddr::V6(address) => (IpAddr::V6(address.ip), address.prefixlen),
            };
            Some((interface.name, IpNet::new(address, length).ok()?))
        });
        Self { seen: Instant::now(), networks: networks.collect() }
    }
}

/// Returns the name of the transport of an address: `quic`, `tcp`, `serial`, `memory` or `other`.
pub fn transport(address: &Multiaddr) -> &'static str {
    for protocol in address {
        match protocol {
            Protocol::QuicV1 => return "quic",
            Protocol::Tcp(_) => return "tcp",
            Protocol::Memory(_) => return "memory",
            Protocol::Unix(_) => return "serial",
            _ => {}
        }
    }
    "other"
}

/// Returns the address from which the system sends to `remote`. Connecting a datagram socket sends nothing.
fn source_for(remote: IpAddr) -> Option<IpAddr> {
    let any = match remote {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(remote, DISCARD)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// How long a list of interfaces is used.
const FRESH: Duration = Duration::from_secs(5);
/// The port that [`source_for`] connects to; any port serves.
const DISCARD: u16 = 9;

/// The longest time after which a closed bearer is checked again.
const LOOK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::bearer::Rule;
    use crate::link::windows::{EVERY_DAY, Window};

    #[test]
    fn an_address_may_be_dialled_while_its_bearer_is_open_or_there_is_no_clock() {
        let rule = Rule { transports: vec!["tcp".to_owned()], ..Rule::default() };
        let sorter = Sorter::new(Bearers::new([(Profile::default(), rule)]));
        let (tcp, other) =
            ("/ip4/192.0.2.1/tcp/7".parse().expect("an address"), "/memory/7".parse().expect("an address"));
        assert!(sorter.is_open(&tcp, Some(0)), "there are no windows yet");
        sorter.set_windows(0, Windows::new(Window::new(60, 120, EVERY_DAY)));
        assert!(!sorter.is_open(&tcp, Some(0)) && sorter.is_open(&tcp, Some(3_600)) && sorter.is_open(&tcp, None));
        assert!(sorter.is_open(&other, Some(0)), "another bearer carries it");
    }

    #[test]
    fn the_loopback_interface_is_known_by_address_and_by_route() {
        let found = if_addrs::get_if_addrs().expect("a list");
        let Some(interface) = found.into_iter().find(if_addrs::Interface::is_loopback) else { return };
        let rule = Rule { interface: Some(interface.name), ..Rule::default() };
        let sorter = Sorter::new(Bearers::new([(Profile::default(), rule)]));
        let carrying = |remote: &str| sorter.carrying(&remote.parse().expect("an address"), None);
        assert_eq!(carrying("/ip4/127.0.0.1/tcp/1"), 0);
        assert_eq!(carrying("/ip6/::ffff:127.0.0.1/tcp/1"), 0);
        assert_eq!(carrying("/memory/7"), 1);
        assert_eq!(source_for(IpAddr::V4(Ipv4Addr::LOCALHOST)), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
