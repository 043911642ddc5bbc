//! Members of a live node's realm that misuse what they may do: floods of frames of every kind, of substreams and of
//! subscriptions, and seats at the enrolment desk held, over TCP and QUIC, while two honest nodes talk.
//!
//! `M2MESH_INSIDER_SECONDS` is how long it goes on (default 5).

use super::hostile::{hold_seat, open_streams, transport};
use super::realm::Realm;
use super::{network, number};
use crate::support::insider::Hostile;
use crate::support::processes::{Running, done};
use ed25519_dalek::SigningKey;
use m2mesh::gateway::client::Client;
use m2mesh::id::Tag;
use m2mesh::net::{Multiaddr, NetConfig, NetEvent};
use m2mesh::wire::announce::Announce;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::{self, Frames, Kind};
use m2mesh::wire::out_frame::OutFrame;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Resident memory of a process, in KiB.
pub fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends messages one after the other, and answers how long each took until it was told delivered, in microseconds.
async fn deliveries(client: &Client, until: Instant, least: usize) -> Vec<u64> {
    let mut latencies = Vec::new();
    while Instant::now() < until || latencies.len() < least {
        let body = json!({ "to": "gateway", "payload": "reading", "deadline": "60s" });
        let outcome: Value = client.post("/v1/send", &body).await.unwrap();
        assert_eq!(outcome["outcome"], "delivered", "{outcome}");
        latencies.push(outcome["latency_us"].as_u64().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    latencies.sort_unstable();
    latencies
}

fn p99(latencies: &[u64]) -> Duration {
    Duration::from_micros(latencies[latencies.len() * 99 / 100])
}

/// A member that sends whatever it likes for so long; how many frames went out, and how many announcements of groups.
async fn flood(realm: &Realm, number: u8, address: Multiaddr, until: Instant) -> (u64, u64) {
    let seed = [0xf0 + number; 32];
    let key = SigningKey::from_bytes(&seed);
    let config = NetConfig { listen: Vec::new(), bootstrap: vec![address], ..NetConfig::default() };
    let mut network = network(realm, seed, &config);
    let mut hostile = Hostile::new(u64::from(number));
    let (mut link, mut sent, mut topics) = (None, 0, 0);
    while Instant::now() < until {
        for _ in 0..32 {
            let Some(to) = link else { break };
            let frame: OutFrame = hostile.framed(&key, realm.now.0).into();
            match network.try_send(to, Class::ALL[hostile.below(4)], &frame) {
                Ok(()) => sent += 1,
                Err(_) => break,
            }
            if hostile.below(8) == 0 {
                topics += 1;
                let groups = (0..64_u64).map(|group| Tag((topics * 64 + group).to_be_bytes())).collect();
                let announce = frame::of(Kind::Announce, &Announce { groups, ..Announce::default() });
                // A full queue takes none.
                let _ = network.try_send(to, Class::Control, &announce.into());
            }
        }
        poll_fn(|cx| {
            while let Poll::Ready(event) = network.poll(cx) {
                match event {
                    NetEvent::LinkUp { link: up, .. } => link = Some(up),
                    NetEvent::LinkDown { .. } => link = None,
                    NetEvent::Frames { buffer, .. } => {
                        let whole = |frame: frame::Frame<'_>| {
                            let mut bytes = u32::try_from(frame.body.len() + 2).unwrap().to_be_bytes().to_vec();
                            bytes.extend_from_slice(&[frame.kind, frame.flags]);
                            bytes.extend_from_slice(frame.body);
                            bytes
                        };
                        hostile.learn(Frames(&buffer).filter_map(Result::ok).map(whole).collect());
                    }
                    _ => {}
                }
            }
            Poll::Ready(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (sent, topics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_flood_a_node_keep_nobody_from_it() {
    let place = tempfile::tempdir().unwrap();
    let at: &Path = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let node = Running::start(&[&["run", "--dir", "plant", "--no-mdns"], &listen[..]].concat(), at);
    let addresses: Vec<Multiaddr> = node.addresses().map(|address| address.parse().unwrap()).collect();
    let ticket = done(&["realm", "invite", "plant", "--name", "meter"], at);
    done(&["join", &ticket, "--dir", "meter"], at);
    let _meter = Running::start(&["run", "--dir", "meter", "--no-mdns"], at);
    let client = Client::new(at.join("meter"));
    let quiet = deliveries(&client, Instant::now(), 60).await;

    let realm = Arc::new(Realm::of_directory(&at.join("plant")));
    let period = Duration::from_secs(number("M2MESH_INSIDER_SECONDS", 5) as u64);
    let until = Instant::now() + period;
    let floods = (0..3).map(|n| {
        let (realm, address) = (realm.clone(), addresses[usize::from(n) % addresses.len()].clone());
        tokio::spawn(async move { flood(&realm, n, address, until).await })
    });
    let floods: Vec<_> = floods.collect();
    let others = (0..4_u8).map(|n| {
        let (realm, address) = (realm.clone(), addresses[usize::from(n) % addresses.len()].clone());
        tokio::spawn(async move {
            let mut opened = 0;
            while Instant::now() < until {
                let seed = [0x80 + n; 32];
                if n < 2 {
                    opened += open_streams(transport(seed), address.clone(), &realm, seed, period).await;
                } else {
                    hold_seat(transport(seed), address.clone(), &realm, period).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened
        })
    });
    let others: Vec<_> = others.collect();
    let early = memory(node.id());
    let half = deliveries(&client, Instant::now() + period / 2, 1).await;
    let middle = memory(node.id());
    let attacked = deliveries(&client, until, 60).await;
    let late = memory(node.id());
    let (mut frames, mut topics, mut streams) = (0, 0, 0);
    for flood in floods {
        let (sent, subscribed) = flood.await.unwrap();
        (frames, topics) = (frames + sent, topics + subscribed);
    }
    for other in others {
        streams += other.await.unwrap();
    }
    let status: Value = client.get("/v1/status", &()).await.unwrap();
    let of_gateway: Value = Client::new(at.join("plant")).get("/v1/status", &()).await.unwrap();
    println!(
        "{frames} frames, {topics} subscriptions, {streams} substreams in {period:?}; p99 {:?} before, {:?} and {:?} during; \
         memory {early}, {middle}, {late} KiB; counted {}",
        p99(&quiet),
        p99(&half),
        p99(&attacked),
        of_gateway["counters"]
    );
    // However little else leaves room for.
    assert!(frames > 20 && streams > 0, "it was no attack");
    assert_eq!(status["links"], 1, "the meter has its link still");
    assert!(late < middle + 96 * 1024, "the node grew from {middle} KiB to {late} KiB");
    // On a machine that has much else to do, a quiet hundredth says little.
    let bound = 3 * p99(&quiet).max(Duration::from_millis(100));
    assert!(p99(&attacked) <= bound, "p99 is {:?}, was {:?}", p99(&attacked), p99(&quiet));
}
