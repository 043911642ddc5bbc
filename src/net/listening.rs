//! Listening: where the network can be reached, and which addresses its listeners are still to get.
//!
//! A listener at `0.0.0.0` or `::` gets one address for each of the machine's interfaces, one after the other, as the
//! system tells of them, and others as they come and go. Whoever asks for the addresses right after the start would
//! have the first of them only, which is mostly the loopback's. So [`Listening`] knows which are to come, and says when
//! they are there; what has not come within [`GRACE`] is not waited for.
//!
//! Link-local addresses of IPv6 are no places to be reached at, see [`reach`], and left out.

use super::Multiaddr;
use super::reach::{self, ip_of};
use futures::FutureExt;
use futures_timer::Delay;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// The listeners of one network.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    addresses: Vec<Multiaddr>,
    /// What each is still to get: the addresses of these hosts, or any at all.
    awaited: Vec<(ListenerId, BTreeSet<Option<IpAddr>>)>,
    /// Runs once somebody waits.
    grace: Option<Delay>,
}

impl Listening {
    /// A listener was begun there.
    pub(crate) fn begin(&mut self, listener: ListenerId, at: &Multiaddr) {
        let awaited = match at.iter().next() {
            Some(Protocol::Ip4(ip)) if ip.is_unspecified() => hosts(IpAddr::is_ipv4),
            Some(Protocol::Ip6(ip)) if ip.is_unspecified() => hosts(IpAddr::is_ipv6),
            _ => BTreeSet::from([None]),
        };
        if !awaited.is_empty() {
            self.awaited.push((listener, awaited));
        }
    }

    /// A listener has an address. Answers whether it is news.
    pub(crate) fn handle_address(&mut self, listener: ListenerId, address: &Multiaddr) -> bool {
        for (_, awaited) in self.awaited.iter_mut().filter(|(awaiting, _)| *awaiting == listener) {
            awaited.remove(&None);
            awaited.remove(&ip_of(address));
        }
        self.awaited.retain(|(_, awaited)| !awaited.is_empty());
        let news = reach::can_be_dialled(address) && !self.addresses.contains(address);
        if news {
            reach::insert(&mut self.addresses, address.clone());
        }
        news
    }

    /// A listener has lost an address. Answers whether it was one.
    pub(crate) fn handle_gone(&mut self, address: &Multiaddr) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|known| known != address);
        self.addresses.len() < before
    }

    /// A listener has ended.
    pub(crate) fn handle_closed(&mut self, listener: ListenerId) {
        self.awaited.retain(|(awaiting, _)| *awaiting != listener);
    }

    /// Those that others can use come first.
    pub(crate) fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Ready once no more addresses are awaited.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.awaited.is_empty() {
            return Poll::Ready(());
        }
        self.grace.get_or_insert_with(|| Delay::new(GRACE)).poll_unpin(cx)
    }
}

/// Addresses of this machine's interfaces that are to be listened on.
fn hosts(is_wanted: impl Fn(&IpAddr) -> bool) -> BTreeSet<Option<IpAddr>> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed");
        Vec::new()
    });
    let hosts = found.into_iter().map(|interface| interface.ip()).filter(is_wanted);
    hosts.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())).map(Some).collect()
}

/// How long addresses are waited for that do not come.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    fn at(address: &str) -> Multiaddr {
        address.parse().expect("an address")
    }

    #[test]
    fn a_listener_everywhere_is_waited_for_until_it_has_every_address() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let (everywhere, elsewhere) = (ListenerId::next(), ListenerId::next());
        let mut listening = Listening::default();
        assert_eq!(listening.poll(&mut cx), Poll::Ready(()));
        listening.begin(everywhere, &at("/ip4/0.0.0.0/tcp/0"));
        let hosts: Vec<IpAddr> =
            listening.awaited.iter().flat_map(|(_, hosts)| hosts.iter().copied().flatten()).collect();
        assert!(hosts.iter().any(IpAddr::is_loopback), "{hosts:?}");
        listening.begin(elsewhere, &at("/memory/7"));
        for host in &hosts {
            assert_eq!(listening.poll(&mut cx), Poll::Pending);
            assert!(listening.handle_address(everywhere, &at(&format!("/ip4/{host}/tcp/1"))));
        }
        assert_eq!(listening.poll(&mut cx), Poll::Pending);
        assert!(listening.handle_address(elsewhere, &at("/memory/7")));
        assert_eq!(listening.poll(&mut cx), Poll::Ready(()));
        assert!(!listening.handle_address(elsewhere, &at("/memory/7")), "no news");
        assert_eq!(listening.addresses().len(), hosts.len() + 1);
        assert!(listening.handle_gone(&at("/memory/7")) && !listening.handle_gone(&at("/memory/7")));
        assert!(!listening.handle_address(everywhere, &at("/ip6/fe80::1/tcp/1")), "cannot be dialled");
    }
}
