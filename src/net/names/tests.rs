//! Tests of names, by the system's resolver and by a DNS server on loopback.

use super::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::net::UdpSocket;

fn at(address: &str) -> Multiaddr {
    address.parse().expect("an address")
}

#[tokio::test]
async fn names_lead_to_addresses_of_the_family_that_is_asked_for() {
    let four = resolve(at("/dns4/localhost/tcp/7707")).await.expect("localhost is known");
    assert_eq!(four, [at("/ip4/127.0.0.1/tcp/7707")]);
    let any = resolve(at("/dns/localhost/udp/7707/quic-v1")).await.expect("localhost is known");
    assert!(any.contains(&at("/ip4/127.0.0.1/udp/7707/quic-v1")) && any.len() <= MAX_RESOLVED);
    assert_eq!(resolve(at("/ip4/192.0.2.7/tcp/1")).await, Ok(vec![at("/ip4/192.0.2.7/tcp/1")]));
    assert!(resolve(at("/dns6/192.0.2.7/tcp/1")).await.is_err_and(|error| error.contains("no address")));
    let unknown = resolve(at("/dns4/there.is.no.such.name.invalid/tcp/1")).await.expect_err("reserved");
    assert!(unknown.contains("there.is.no.such.name.invalid"), "{unknown}");
}

#[test]
fn texts_are_addresses_with_the_end_that_is_asked_for() {
    let peer = libp2p::PeerId::random();
    let text = format!("dnsaddr=/ip4/192.0.2.7/tcp/7707/p2p/{peer}");
    assert_eq!(parse(text.as_bytes(), &Multiaddr::empty()), Some(at("/ip4/192.0.2.7/tcp/7707")));
    assert_eq!(parse(text.as_bytes(), &at("/tcp/7707")), Some(at("/ip4/192.0.2.7/tcp/7707")));
    assert_eq!(parse(text.as_bytes(), &at("/tcp/7708")), None);
    assert_eq!(parse(b"v=spf1", &Multiaddr::empty()), None);
    assert_eq!(parse(b"dnsaddr=nonsense", &Multiaddr::empty()), None);
}

/// A DNS server on loopback that has only TXT records.
struct Server {
    at: SocketAddr,
    texts: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = socket.local_addr().expect("an address");
        let (texts, asked) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicUsize::new(0)));
        let this = Self { at, texts, asked };
        let (texts, asked) = (this.texts.clone(), this.asked.clone());
        tokio::spawn(async move {
            let mut query = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                asked.fetch_add(1, Ordering::Relaxed);
                let reply = answer(&query[..length], &texts.lock().unwrap_or_else(PoisonError::into_inner));
                // The client may be gone.
                let _ = socket.send_to(&reply, from).await;
            }
        });
        this
    }

    fn says(&self, name: &str, texts: &[String]) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("_dnsaddr.{name}"), texts.to_vec());
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    async fn resolve(&self, address: &str) -> Result<Vec<Multiaddr>, String> {
        by_server(self.at)(at(address)).await
    }
}

/// Returns the answer to a query (RFC 1035): its header, its question, and the TXT records of the name in the question.
fn answer(query: &[u8], texts: &BTreeMap<String, Vec<String>>) -> Vec<u8> {
    let (mut labels, mut end) = (Vec::new(), 12);
    while query[end] != 0 {
        let label = &query[end + 1..=end + usize::from(query[end])];
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        end += 1 + label.len();
    }
    let question = &query[12..end + 5];
    let found = texts.get(&labels.join(".")).cloned().unwrap_or_default();
    let code = if found.is_empty() { 3 } else { 0 };
    let mut reply = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0], question].concat();
    for text in found {
        let length = text.len() as u8;
        // The name of the question, TXT, IN, valid for an hour.
        reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 14, 16, 0, length + 1, length]);
        reply.extend(text.as_bytes());
    }
    reply
}

fn texts<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}

#[tokio::test]
async fn a_name_leads_where_its_texts_say_at_each_try() {
    let server = Server::start().await;
    let peer = libp2p::PeerId::random();
    let first = format!("dnsaddr=/ip4/192.0.2.7/tcp/7707/p2p/{peer}");
    let more = texts(["v=spf1 -all", "dnsaddr=/ip4/192.0.2.8/udp/7707/quic-v1", "dnsaddr=/nonsense"]);
    server.says("plant.test", &[&[first], &more[..]].concat());
    let found = server.resolve("/dnsaddr/plant.test").await.expect("texts");
    assert_eq!(found, [at("/ip4/192.0.2.7/tcp/7707"), at("/ip4/192.0.2.8/udp/7707/quic-v1")]);
    assert_eq!(server.resolve("/dnsaddr/plant.test/tcp/7707").await, Ok(vec![at("/ip4/192.0.2.7/tcp/7707")]));
    // The member has moved, although the TXT records were valid for an hour.
    server.says("plant.test", &texts(["dnsaddr=/ip4/192.0.2.9/tcp/7707"]));
    assert_eq!(server.resolve("/dnsaddr/plant.test").await, Ok(vec![at("/ip4/192.0.2.9/tcp/7707")]));
    let missing = server.resolve("/dnsaddr/other.test").await.expect_err("no texts");
    assert!(missing.contains("other.test"), "{missing}");
}

/// Invariants 1 and 2.
#[tokio::test]
async fn names_behind_names_are_followed_so_far_and_no_further() {
    let server = Server::start().await;
    for (name, next) in [("a", "dnsaddr/b.test"), ("b", "dnsaddr/c.test"), ("c", "ip4/192.0.2.7/tcp/1")] {
        server.says(&format!("{name}.test"), &[format!("dnsaddr=/{next}")]);
    }
    assert_eq!(server.resolve("/dnsaddr/a.test").await, Ok(vec![at("/ip4/192.0.2.7/tcp/1")]));
    server.says("before.test", &texts(["dnsaddr=/dnsaddr/a.test"]));
    assert!(server.resolve("/dnsaddr/before.test").await.is_err_and(|error| error.contains("no address")));
    server.asked();
    server.says("circle.test", &texts(["dnsaddr=/dnsaddr/circle.test"]));
    assert!(server.resolve("/dnsaddr/circle.test").await.is_err());
    assert!(server.asked() <= DEPTH as usize);
}

/// Invariants 1 and 2.
#[tokio::test]
async fn a_name_leads_to_so_many_addresses_and_asks_for_so_many_names() {
    let server = Server::start().await;
    let numbered = |what: &str, count: u32| (0..count).map(|n| format!("dnsaddr=/{what}{n}")).collect::<Vec<_>>();
    server.says("many.test", &texts(["dnsaddr=/dnsaddr/one.test", "dnsaddr=/dnsaddr/two.test"]));
    server.says("one.test", &numbered("ip4/192.0.2.7/tcp/1", 9));
    server.says("two.test", &numbered("ip4/192.0.2.8/tcp/1", 9));
    assert_eq!(server.resolve("/dnsaddr/many.test").await.expect("texts").len(), MAX_RESOLVED);
    server.asked();
    server.says("wide.test", &numbered("dnsaddr/w", 10));
    (0..10).for_each(|n| server.says(&format!("w{n}"), &numbered(&format!("dnsaddr/x{n}"), 10)));
    assert!(server.resolve("/dnsaddr/wide.test").await.is_err());
    assert!(server.asked() <= MAX_TEXTS, "a name has 110 behind it");
}
