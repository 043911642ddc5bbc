//! Permits: how many connections may be in set-up at once, in all and from one source.
//!
//! A stranger costs memory and signatures before it has shown who it is. So whoever is let into set-up holds a
//! permit until it is through or refused. Inbound permits are counted in all and per [`Source`]; the last few of
//! them are only for sources where a neighbour has been seen lately, so that a flood from elsewhere does not keep
//! members out. Outbound permits are apart: being flooded does not keep a node from dialling.
//!
//! Invariants
//! 1. A permit is returned exactly when it is dropped.
//! 2. The table of sources holds only sources with a permit out: never more entries than permits.

use crate::net::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who counts as one source: an IPv4 address, an IPv6 network of 64 bits, or what else a transport calls its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    Other(String),
}

impl Source {
    /// By the first component of an address.
    pub(crate) fn of(address: &Multiaddr) -> Self {
        match address.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::V4(ip.octets()),
            Some(Protocol::Ip6(ip)) => match ip.to_ipv4_mapped() {
                Some(ip) => Self::V4(ip.octets()),
                None => {
                    let mut network = [0; 8];
                    network.copy_from_slice(&ip.octets()[..8]);
                    Self::V6(network)
                }
            },
            Some(other) => Self::Other(other.to_string()),
            None => Self::Other(String::new()),
        }
    }
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// All are out, or the rest is reserved.
    Busy,
    /// This source has its share.
    SourceBusy,
}

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) inbound: u32,
    pub(crate) per_source: u32,
    pub(crate) outbound: u32,
}

/// The permits of one network.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    inbound: u32,
    outbound: u32,
    sources: BTreeMap<Source, u32>,
    recent: VecDeque<Source>,
}

/// One connection's leave to be in set-up.
#[derive(Debug)]
pub(crate) struct Permit {
    state: Arc<Mutex<State>>,
    /// Absent for an outbound one.
    source: Option<Source>,
}

impl Permits {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State { limits, inbound: 0, outbound: 0, sources: BTreeMap::new(), recent: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// For a connection that came in from `address`.
    pub(crate) fn inbound(&self, address: &Multiaddr) -> Result<Permit, Denied> {
        let source = Source::of(address);
        let mut state = lock(&self.state);
        let reserved = if state.recent.contains(&source) { 0 } else { RESERVED.min(state.limits.inbound / 2) };
        if state.inbound >= state.limits.inbound - reserved {
            return Err(Denied::Busy);
        }
        let per_source = state.limits.per_source;
        let held = state.sources.entry(source.clone()).or_default();
        if *held >= per_source {
            return Err(Denied::SourceBusy);
        }
        *held += 1;
        state.inbound += 1;
        Ok(Permit { state: self.state.clone(), source: Some(source) })
    }

    /// For a connection that is dialled.
    pub(crate) fn outbound(&self) -> Result<Permit, Denied> {
        let mut state = lock(&self.state);
        if state.outbound >= state.limits.outbound {
            return Err(Denied::Busy);
        }
        state.outbound += 1;
        Ok(Permit { state: self.state.clone(), source: None })
    }

    /// A neighbour was admitted there: its source may use the reserved permits. The oldest of them is forgotten.
    pub(crate) fn remember(&self, address: &Multiaddr) {
        let source = Source::of(address);
        let mut state = lock(&self.state);
        state.recent.retain(|known| *known != source);
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(source);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let Some(source) = self.source.take() else {
            state.outbound -= 1;
            return;
        };
        state.inbound -= 1;
        if let Some(held) = state.sources.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                state.sources.remove(&source);
            }
        }
    }
}

/// The state is counts that are right after every statement, so a panic elsewhere does not spoil it.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inbound permits only for sources of recent neighbours, at most half of all.
const RESERVED: u32 = 8;
/// Sources of recent neighbours that are remembered.
const RECENT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Multiaddr {
        address.parse().unwrap()
    }

    fn permits() -> Permits {
        Permits::new(Limits { inbound: 16, per_source: 3, outbound: 2 })
    }

    #[test]
    fn a_source_gets_its_share_and_no_more() {
        let permits = permits();
        let held: Vec<_> = (0..3).map(|port| permits.inbound(&at(&format!("/ip4/10.0.0.1/tcp/{port}")))).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(permits.inbound(&at("/ip4/10.0.0.1/tcp/9")).unwrap_err(), Denied::SourceBusy);
        assert!(permits.inbound(&at("/ip4/10.0.0.2/tcp/9")).is_ok());
        drop(held);
        assert!(permits.inbound(&at("/ip4/10.0.0.1/tcp/9")).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        assert_eq!(Source::of(&at("/ip6/2001:db8::1/tcp/1")), Source::of(&at("/ip6/2001:db8::2/udp/1")));
        assert_ne!(Source::of(&at("/ip6/2001:db8::1/tcp/1")), Source::of(&at("/ip6/2001:db8:0:1::1/tcp/1")));
        assert_eq!(Source::of(&at("/ip6/::ffff:10.0.0.1/tcp/1")), Source::of(&at("/ip4/10.0.0.1/tcp/2")));
    }

    #[test]
    fn the_last_permits_are_for_neighbours() {
        let permits = permits();
        let flood: Vec<_> =
            (0..16).filter_map(|host| permits.inbound(&at(&format!("/ip4/10.0.1.{host}/tcp/1"))).ok()).collect();
        assert_eq!(flood.len(), 8);
        permits.remember(&at("/ip4/10.0.2.1/tcp/1"));
        assert!(permits.inbound(&at("/ip4/10.0.2.1/tcp/7")).is_ok());
        assert_eq!(permits.inbound(&at("/ip4/10.0.2.2/tcp/7")).unwrap_err(), Denied::Busy);
    }

    #[test]
    fn a_flood_does_not_keep_a_node_from_dialling() {
        let permits = permits();
        let _flood: Vec<_> =
            (0..16).filter_map(|host| permits.inbound(&at(&format!("/ip4/10.0.1.{host}/tcp/1"))).ok()).collect();
        let first = permits.outbound().unwrap();
        let _second = permits.outbound().unwrap();
        assert_eq!(permits.outbound().unwrap_err(), Denied::Busy);
        drop(first);
        assert!(permits.outbound().is_ok());
    }
}
