//! A listening network under attack, over real TCP and QUIC: whatever strangers do, they get no connection, each is
//! counted under its reason, and members come in meanwhile.
//!
//! `M2MESH_ATTACKS` sets the number of attempts (default 120), `M2MESH_SILENT` that of silent ones (default 12).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers of tests")]

#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/realm.rs"]
mod realm;

use futures::StreamExt;
use hostile::{Attack, attack};
use m2mesh::net::{Executor, Multiaddr, NetConfig, NetEvent, Network, keypair};
use realm::{Member, Realm};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

fn network(realm: &Realm, seed: [u8; 32], config: &NetConfig) -> Network<Member> {
    let config = &NetConfig { mdns: false, ..config.clone() };
    let executor: Executor = Box::new(|task| drop(tokio::spawn(task)));
    let local = keypair(&seed).public().to_peer_id();
    Network::new(hostile::transport(seed), local, executor, realm.member(seed), config, seed)
}

async fn listening(network: &mut Network<Member>) -> Vec<Multiaddr> {
    poll_fn(|cx| network.poll_listening(cx)).await.unwrap()
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Polls a network and notes what it says while something else goes on.
#[derive(Default)]
struct Watch {
    refused: BTreeMap<&'static str, u64>,
    links: u64,
}

impl Watch {
    async fn during<T>(&mut self, network: &mut Network<Member>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            loop {
                match network.poll(cx) {
                    Poll::Ready(NetEvent::Refused { reason, count }) => {
                        *self.refused.entry(reason).or_default() += count;
                    }
                    Poll::Ready(NetEvent::LinkUp { .. }) => self.links += 1,
                    Poll::Ready(NetEvent::Frames { .. } | NetEvent::Gossip { .. }) => panic!("strangers were heard"),
                    Poll::Ready(_) => {}
                    Poll::Pending => return work.as_mut().poll(cx),
                }
            }
        })
        .await
    }

    /// Until so many have been refused: an attacker may know it before the count is told.
    async fn until_refused(&mut self, network: &mut Network<Member>, count: u64) {
        while self.refused.values().sum::<u64>() < count {
            if let NetEvent::Refused { reason, count } = poll_fn(|cx| network.poll(cx)).await {
                *self.refused.entry(reason).or_default() += count;
            }
        }
    }
}

fn loopback() -> NetConfig {
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    NetConfig { listen: listen.map(|address| address.parse().unwrap()).to_vec(), ..NetConfig::default() }
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nowhere_and_members_get_in() {
    let realm = Arc::new(Realm::new(1));
    let mut victim = network(&realm, [1; 32], &loopback());
    let addresses = listening(&mut victim).await;
    assert_eq!(addresses.len(), 2);
    victim.subscribe("topic");
    let mut watch = Watch::default();

    let attacks = number("M2MESH_ATTACKS", 120);
    let before = resident();
    let attempts = futures::stream::iter(0..attacks).map(|n| {
        let kind = Attack::QUICK[n % Attack::QUICK.len()];
        let (realm, address) = (realm.clone(), addresses[n / Attack::QUICK.len() % 2].clone());
        async move {
            let mut seed = [0xa0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            let answered = attack(hostile::transport(seed), address, &realm, seed, kind, Duration::from_secs(20)).await;
            (kind, answered)
        }
    });
    let attempts = attempts.buffer_unordered(8).for_each(async |(kind, answered)| {
        assert!(!answered, "{kind:?} was answered");
    });
    watch.during(&mut victim, attempts).await;
    watch.until_refused(&mut victim, attacks as u64).await;
    assert_eq!(watch.links, 0);
    let mut expected = BTreeMap::new();
    for n in 0..attacks {
        *expected.entry(Attack::QUICK[n % Attack::QUICK.len()].reason()).or_default() += 1u64;
    }
    assert_eq!(watch.refused, expected, "each attempt is counted under its reason");

    // Silent ones hold permits; a member comes in nevertheless, over both transports.
    let silent = number("M2MESH_SILENT", 12);
    let silence = futures::stream::iter(0..silent).map(|n| {
        let (realm, address) = (realm.clone(), addresses[n % 2].clone());
        async move {
            let mut seed = [0xb0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            attack(hostile::transport(seed), address, &realm, seed, Attack::Silent, Duration::from_secs(20)).await
        }
    });
    let silence = silence.buffer_unordered(12).for_each(async |answered| assert!(!answered));
    let members = async {
        for (n, address) in addresses.iter().enumerate() {
            let config = NetConfig { listen: Vec::new(), bootstrap: vec![address.clone()], ..NetConfig::default() };
            let mut member = network(&realm, [10 + n as u8; 32], &config);
            loop {
                if let NetEvent::LinkUp { .. } = poll_fn(|cx| member.poll(cx)).await {
                    break;
                }
            }
        }
    };
    watch.during(&mut victim, futures::future::join(silence, members)).await;
    watch.until_refused(&mut victim, (attacks + silent) as u64).await;
    assert_eq!(watch.links, 2);
    assert_eq!(watch.refused.get("timeout"), Some(&(silent as u64)));
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 * 1024, "memory grew by {grown} KiB, attackers included");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_does_not_take_all_permits() {
    let realm = Arc::new(Realm::new(1));
    let config = NetConfig { permits_per_source: 2, ..loopback() };
    let mut victim = network(&realm, [1; 32], &config);
    let address = listening(&mut victim).await.swap_remove(0);
    let mut watch = Watch::default();
    let attempts =
        (0..6u8).map(|n| {
            let (realm, address, seed) = (realm.clone(), address.clone(), [0xc0 + n; 32]);
            async move {
                attack(hostile::transport(seed), address, &realm, seed, Attack::Silent, Duration::from_secs(20)).await
            }
        });
    watch.during(&mut victim, futures::future::join_all(attempts)).await;
    watch.until_refused(&mut victim, 6).await;
    assert_eq!(watch.refused, BTreeMap::from([("source-busy", 4), ("timeout", 2)]));
    // The permits have come back.
    let config = NetConfig { listen: Vec::new(), bootstrap: vec![address], ..NetConfig::default() };
    let mut member = network(&realm, [10; 32], &config);
    let member = poll_fn(|cx| match member.poll(cx) {
        Poll::Ready(NetEvent::LinkUp { .. }) => Poll::Ready(()),
        Poll::Ready(_) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Pending,
    });
    watch.during(&mut victim, member).await;
    assert_eq!(watch.links, 1);
}
