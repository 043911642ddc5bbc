//! Listening: the addresses of the network's listeners, and those that they are still waiting for.
//!
//! A listener at `0.0.0.0` or `::` gets one address for each of the machine's interfaces, one after the other as the
//! system reports them, and more or fewer as interfaces come and go. A caller that read the addresses right after the
//! start would get only the first, usually the loopback address. So [`Listening`] knows which addresses are due and
//! says when all of them have come; it waits for at most [`GRACE`].
//!
//! Link-local addresses of IPv6 are left out, since others cannot dial them: see [`reach`].

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
    /// The addresses that each listener waits for: those of these hosts, or any address (`None`).
    awaited: Vec<(ListenerId, BTreeSet<Option<IpAddr>>)>,
    /// The time limit, which starts with the first call of [`Listening::poll`].
    grace: Option<Delay>,
}

impl Listening {
    /// Notes that a listener was started at this address.
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

    /// Notes that a listener has an address. Returns whether the address is new.
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

    /// Notes that a listener has lost an address. Returns whether the address was known.
    pub(crate) fn handle_gone(&mut self, address: &Multiaddr) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|known| known != address);
        self.addresses.len() < before
    }

    /// Notes that a listener has ended.
    pub(crate) fn handle_closed(&mut self, listener: ListenerId) {
        self.awaited.retain(|(awaiting, _)| *awaiting != listener);
    }

    /// Returns the addresses, those that other machines can use first.
    pub(crate) fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Ready once no address is awaited any more, or after [`GRACE`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.awaited.is_empty() {
            return Poll::Ready(());
        }
        self.grace.get_or_insert_with(|| Delay::new(GRACE)).poll_unpin(cx)
    }
}

/// Returns the addresses of this machine's interfaces that a listener on all interfaces gets.
fn hosts(is_wanted: impl Fn(&IpAddr) -> bool) -> BTreeSet<Option<IpAddr>> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed");
        Vec::new()
    });
    let hosts = found.into_iter().map(|interface| interface.ip()).filter(is_wanted);
    hosts.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())).map(Some).collect()
}

/// How long to wait for addresses.
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
