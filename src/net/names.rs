//! Names: addresses that begin with a host name, and the addresses that they currently resolve to.
//!
//! `/dns/…`, `/dns4/…` and `/dns6/…` are resolved by the system (getaddrinfo: hosts file, DNS and other sources), so
//! that a name that works for other programs works here. `/dnsaddr/NAME` resolves to the multiaddresses given as
//! `dnsaddr=…` in the TXT records of `_dnsaddr.NAME`; what follows `NAME` must be at their end. These may be names
//! again, up to [`DEPTH`] deep.
//!
//! There is no cache: a name is resolved anew each time, by the resolvers that the system has at that time.
//!
//! Invariants
//! 1. A lookup returns at most [`MAX_RESOLVED`] addresses, none of which is a name.
//! 2. A lookup asks for the TXT records of at most [`MAX_TEXTS`] names, whatever these lead to.
//! - A lookup ends within [`PATIENCE`].

use super::{Multiaddr, reach};
use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt, pin_mut};
use futures_timer::Delay;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The function that resolves an address: [`resolve`], or a simulator's replacement.
pub type Resolver = Arc<dyn Fn(Multiaddr) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>> + Send + Sync>;

/// Whether the address begins with a host name.
pub fn is_name(address: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Dnsaddr};
    matches!(address.iter().next(), Some(Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_)))
}

/// Returns a resolver that uses the system's resolvers. It needs a tokio runtime.
pub fn system() -> Resolver {
    Arc::new(|address| resolve(address).boxed())
}

/// As [`system`], but asks this server for TXT records, over UDP.
pub fn by_server(server: SocketAddr) -> Resolver {
    Arc::new(move |address| resolve_by(address, Some(server)).boxed())
}

/// Returns the addresses that `address` resolves to; an address that is not a name resolves to itself.
///
/// # Errors
/// Fails with a text for people if the name does not exist, leads to no address, or is not resolved within
/// [`PATIENCE`].
pub async fn resolve(address: Multiaddr) -> Result<Vec<Multiaddr>, String> {
    resolve_by(address, None).await
}

async fn resolve_by(address: Multiaddr, server: Option<SocketAddr>) -> Result<Vec<Multiaddr>, String> {
    if !is_name(&address) {
        return Ok(vec![address]);
    }
    let found = look_up(address.clone(), DEPTH, Arc::new(Texts { server, left: AtomicUsize::new(MAX_TEXTS) }));
    pin_mut!(found);
    match select(found, Delay::new(PATIENCE)).await {
        Either::Left((found, _)) => {
            let mut found = found?;
            found.truncate(MAX_RESOLVED);
            if found.is_empty() { Err(format!("{address} leads to no address")) } else { Ok(found) }
        }
        Either::Right(_) => Err(format!("{address} was not looked up within {} s", PATIENCE.as_secs())),
    }
}

/// The server to ask for TXT records, and for how many more names they may be asked.
struct Texts {
    server: Option<SocketAddr>,
    left: AtomicUsize,
}

impl Texts {
    fn resolver(&self) -> Result<TokioResolver, impl std::fmt::Display> {
        let Some(server) = self.server else {
            return TokioResolver::builder_tokio().and_then(|builder| builder.build());
        };
        let mut name_server = NameServerConfig::udp(server.ip());
        name_server.connections.iter_mut().for_each(|connection| connection.port = server.port());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn look_up(address: Multiaddr, depth: u32, texts: Arc<Texts>) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>> {
    async move {
        let rest: Multiaddr = address.iter().skip(1).collect();
        let (host, family): (String, fn(&IpAddr) -> bool) = match address.iter().next() {
            Some(Protocol::Dns(host)) => (host.into(), |_| true),
            Some(Protocol::Dns4(host)) => (host.into(), IpAddr::is_ipv4),
            Some(Protocol::Dns6(host)) => (host.into(), IpAddr::is_ipv6),
            Some(Protocol::Dnsaddr(name)) if depth > 0 => return look_up_texts(&name, &rest, depth - 1, &texts).await,
            Some(Protocol::Dnsaddr(_)) => return Err(format!("{address} is one name too many behind another")),
            _ => return Ok(vec![address]),
        };
        let found = tokio::net::lookup_host((host.as_str(), 0)).await;
        let found = found.map_err(|error| format!("{host} cannot be looked up: {error}"))?;
        let mut addresses: Vec<Multiaddr> = Vec::new();
        for ip in found.map(|host| host.ip()).filter(family) {
            let first = match ip {
                IpAddr::V4(ip) => Protocol::Ip4(ip),
                IpAddr::V6(ip) => Protocol::Ip6(ip),
            };
            let address: Multiaddr = std::iter::once(first).chain(rest.iter()).collect();
            if reach::can_be_dialled(&address) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
    .boxed()
}

/// Returns the addresses in the TXT records of a name.
async fn look_up_texts(name: &str, end: &Multiaddr, depth: u32, texts: &Arc<Texts>) -> Result<Vec<Multiaddr>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the texts of {name} cannot be looked up: {error}");
    if !texts.take() {
        return Err(failed(&"there are too many names behind the one that was asked for"));
    }
    let resolver = texts.resolver().map_err(|error| failed(&error))?;
    let found = resolver.txt_lookup(format!("_dnsaddr.{name}.")).await.map_err(|error| failed(&error))?;
    let said = found.answers().iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(text.txt_data.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>()),
        _ => None,
    });
    let mut addresses = Vec::new();
    for address in said.filter_map(|text| parse(&text, end)).take(MAX_RESOLVED) {
        // An entry that leads nowhere does not spoil the others.
        if let Ok(found) = look_up(address, depth, texts.clone()).await {
            addresses.extend(found);
        }
        if addresses.len() >= MAX_RESOLVED {
            break;
        }
    }
    Ok(addresses)
}

/// Returns the address in a TXT record if it ends with `end`; without its PeerId, since keys rotate.
fn parse(text: &[u8], end: &Multiaddr) -> Option<Multiaddr> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix("dnsaddr=")?;
    let address = super::discovery::without_peer(&text.parse().ok()?);
    address.ends_with(&super::discovery::without_peer(end)).then_some(address)
}

/// How many `/dnsaddr` names may follow one another.
const DEPTH: u32 = 3;
/// The maximum number of names whose TXT records one lookup asks for.
const MAX_TEXTS: usize = 16;
/// The maximum number of addresses that a name resolves to.
pub(crate) const MAX_RESOLVED: usize = 16;
/// How long a lookup may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
