//! Permits: how many connections may be in set-up at once, in all and from one source.
//!
//! A stranger costs memory and signatures before it has shown who it is. So every connection in set-up holds a permit
//! until it is admitted or refused. Inbound permits are counted in all and for each [`Source`]. The last few are
//! reserved for sources where a neighbour was admitted lately, so that a flood from elsewhere does not keep members
//! out. Outbound permits are counted separately: a flood does not keep a node from dialling.
//!
//! **When no permit is left** the newcomer is not turned away: another connection makes room for it. A source that has
//! its full share makes room itself; if all permits are taken, the source with the most gives one up. Of its
//! connections, the one that has come the least far is displaced ([`Stage`]), and of several the oldest. So a peer that
//! does what is due within a few round trips gets in, however many others only wait: those displace each other. A
//! connection that is served at the desk of enrolment is never displaced.
//!
//! The sender of a datagram may not be where it claims to be until the connection is encrypted. Where sources have
//! equally many permits, connections from unproved addresses are displaced first, so that a flood under forged
//! addresses displaces itself.
//!
//! Invariants
//! 1. A permit is returned exactly when it is dropped or given up.
//! 2. The table holds only permits that are taken, and never more than the limits allow.

use crate::net::Multiaddr;
use futures::channel::oneshot;
use libp2p::multiaddr::Protocol;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who counts as one source: an IPv4 address, an IPv6 network of 64 bits, or the first component of another address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    Other(String),
}

impl Source {
    /// Returns the source of an address, by its first component.
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

/// The reason why no permit is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// All permits are taken, or the rest is reserved.
    Busy,
    /// This source has its full share.
    SourceBusy,
}

/// The maximum numbers of permits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) inbound: u32,
    pub(crate) per_source: u32,
    pub(crate) outbound: u32,
}

/// The permits of one network. All clones share one table.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    outbound: u32,
    /// The number of the latest permit.
    last: u64,
    /// Inbound permits by number, the oldest first.
    held: BTreeMap<u64, Held>,
    recent: VecDeque<Source>,
}

/// An inbound permit that is taken.
#[derive(Debug)]
struct Held {
    source: Source,
    stage: Stage,
    /// Dropped together with this entry, which tells the holder that the permit is given up.
    _notice: oneshot::Sender<()>,
}

/// How far a connection in set-up has come. The one that has come the least far makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its address is not proved.
    Unproved,
    /// Its address is proved, but it has sent nothing.
    Silent,
    /// It has shown a valid credential.
    Known,
    /// Its request for enrolment is being served.
    Served,
}

/// The right of one connection to be in set-up.
#[derive(Debug)]
pub(crate) struct Permit {
    state: Arc<Mutex<State>>,
    /// The number of an inbound permit; `None` for an outbound one.
    number: Option<u64>,
}

/// Ready when the permit that came with it has been given up for another connection.
pub(crate) type GivenUp = Option<oneshot::Receiver<()>>;

impl Permits {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State { limits, outbound: 0, last: 0, held: BTreeMap::new(), recent: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Returns a permit for a connection that came in from `address`.
    ///
    /// # Errors
    /// Fails if all permits, or all of this source, are taken by connections that cannot be displaced.
    pub(crate) fn inbound(&self, address: &Multiaddr) -> Result<(Permit, GivenUp), Denied> {
        let source = Source::of(address);
        let mut state = lock(&self.state);
        let reserved = if state.recent.contains(&source) { 0 } else { RESERVED.min(state.limits.inbound / 2) };
        let own = state.held.values().filter(|held| held.source == source).count();
        if own >= state.limits.per_source as usize {
            state.make_room(Some(&source)).ok_or(Denied::SourceBusy)?;
        } else if state.held.len() >= (state.limits.inbound - reserved) as usize {
            state.make_room(None).ok_or(Denied::Busy)?;
        }
        let datagrams = address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let stage = if datagrams { Stage::Unproved } else { Stage::Silent };
        let (notice, given_up) = oneshot::channel();
        state.last += 1;
        let number = state.last;
        state.held.insert(number, Held { source, stage, _notice: notice });
        Ok((Permit { state: self.state.clone(), number: Some(number) }, Some(given_up)))
    }

    /// Returns a permit for an outbound connection.
    pub(crate) fn outbound(&self) -> Result<(Permit, GivenUp), Denied> {
        let mut state = lock(&self.state);
        if state.outbound >= state.limits.outbound {
            return Err(Denied::Busy);
        }
        state.outbound += 1;
        Ok((Permit { state: self.state.clone(), number: None }, None))
    }

    /// Notes that a neighbour was admitted from there: its source may use the reserved permits. Drop policy: the oldest
    /// source is forgotten.
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

impl State {
    /// Displaces a connection of the source, or of the source that has the most displaceable ones. Returns `None` if
    /// there is no such connection. See the module's mechanism.
    fn make_room(&mut self, from: Option<&Source>) -> Option<()> {
        let mut counts: BTreeMap<&Source, usize> = BTreeMap::new();
        let taken = |held: &&Held| held.stage < Stage::Served && from.is_none_or(|from| held.source == *from);
        for held in self.held.values().filter(taken) {
            *counts.entry(&held.source).or_default() += 1;
        }
        let candidates = self.held.iter().filter(|(_, held)| taken(held));
        let worst = candidates.min_by_key(|(number, held)| (Reverse(counts.get(&held.source)), held.stage, **number));
        let number = *worst?.0;
        self.held.remove(&number).map(drop)
    }
}

impl Permit {
    /// Notes how far the connection has come.
    pub(crate) fn reached(&self, stage: Stage) {
        let Some(number) = self.number else { return };
        if let Some(held) = lock(&self.state).held.get_mut(&number) {
            held.stage = stage;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        match self.number {
            None => state.outbound -= 1,
            Some(number) => drop(state.held.remove(&number)),
        }
    }
}

/// Every statement leaves the counts consistent, so a panic of another holder does no harm.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inbound permits that are reserved for sources of recent neighbours, but at most half of all.
const RESERVED: u32 = 8;
/// The maximum number of recent neighbours' sources that are remembered.
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

    fn is_out((_, given_up): &mut (Permit, GivenUp)) -> bool {
        given_up.as_mut().is_none_or(|given_up| given_up.try_recv() == Ok(None))
    }

    /// Invariants 1 and 2.
    #[test]
    fn a_source_gets_its_share_and_its_oldest_silent_one_makes_room() {
        let permits = permits();
        let mut held: Vec<_> =
            (0..3).map(|port| permits.inbound(&at(&format!("/ip4/10.0.0.1/tcp/{port}"))).expect("its share")).collect();
        held[0].0.reached(Stage::Known);
        let _another = permits.inbound(&at("/ip4/10.0.0.2/tcp/9")).expect("another source");
        let _fourth = permits.inbound(&at("/ip4/10.0.0.1/tcp/9")).expect("the second makes room");
        assert_eq!([0, 1, 2].map(|one| is_out(&mut held[one])), [true, false, true]);
        for held in &held {
            held.0.reached(Stage::Served);
        }
        drop(_fourth);
        let _fifth = permits.inbound(&at("/ip4/10.0.0.1/tcp/9")).expect("two are out");
        _fifth.0.reached(Stage::Served);
        assert_eq!(permits.inbound(&at("/ip4/10.0.0.1/tcp/9")).map(drop), Err(Denied::SourceBusy));
    }

    /// Invariant 2.
    #[test]
    fn the_greediest_source_makes_room_when_all_are_out() {
        let permits = permits();
        let take = |address: &str| permits.inbound(&at(address)).expect("somebody makes room");
        let mut greedy: Vec<_> = (0..3).map(|_| take("/ip4/10.0.0.1/tcp/1")).collect();
        let mut others: Vec<_> = (2..7).map(|host| take(&format!("/ip4/10.0.0.{host}/tcp/1"))).collect();
        let mut joiner = take("/ip4/10.0.1.1/tcp/1");
        assert_eq!([0, 1, 2].map(|one| is_out(&mut greedy[one])), [false, true, true]);
        let mut flood: Vec<_> = (0..40).map(|_| take("/ip4/10.0.0.1/tcp/1")).collect();
        assert!(others.iter_mut().all(is_out) && is_out(&mut joiner), "it drives out itself");
        assert_eq!(flood.iter_mut().filter_map(|one| is_out(one).then_some(())).count(), 2);
    }

    #[test]
    fn who_may_not_be_where_it_says_makes_room_before_others() {
        let permits = permits();
        let take = |address: &str| permits.inbound(&at(address)).expect("somebody makes room");
        let mut first = take("/ip4/10.0.1.1/tcp/1");
        let mut proved = take("/ip4/10.0.1.2/udp/1/quic-v1");
        proved.0.reached(Stage::Silent);
        let mut flood: Vec<_> = (0..200).map(|host| take(&format!("/ip4/10.0.2.{host}/udp/1/quic-v1"))).collect();
        assert!(is_out(&mut first) && is_out(&mut proved));
        assert_eq!(flood.iter_mut().filter_map(|one| is_out(one).then_some(())).count(), 6);
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
        let served = |address: &str| {
            let held = permits.inbound(&at(address))?;
            held.0.reached(Stage::Served);
            Ok(held)
        };
        let flood: Vec<_> = (0..16).filter_map(|host| served(&format!("/ip4/10.0.1.{host}/tcp/1")).ok()).collect();
        assert_eq!(flood.len(), 8);
        permits.remember(&at("/ip4/10.0.2.1/tcp/1"));
        let _member = served("/ip4/10.0.2.1/tcp/7").expect("reserved");
        assert_eq!(served("/ip4/10.0.2.2/tcp/7").map(drop), Err(Denied::Busy));
    }

    /// Invariant 1: outbound permits.
    #[test]
    fn a_flood_does_not_keep_a_node_from_dialling() {
        let permits = permits();
        let _flood: Vec<_> =
            (0..16).filter_map(|host| permits.inbound(&at(&format!("/ip4/10.0.1.{host}/tcp/1"))).ok()).collect();
        let first = permits.outbound().unwrap();
        let _second = permits.outbound().unwrap();
        assert_eq!(permits.outbound().map(drop), Err(Denied::Busy));
        drop(first);
        assert!(permits.outbound().is_ok());
    }
}
