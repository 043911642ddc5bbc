//! Two networks, and two nodes, over real TCP on loopback, which has room for two bearers: a link for each, and silence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers of tests")]

use m2mesh::Message;
use m2mesh::Node;
use m2mesh::engine::api::Outcome;
use m2mesh::id::{LinkId, Name, Pseudonym};
use m2mesh::link::bearer::{Bearers, Profile, Rule};
use m2mesh::net::{self, Executor, Gatekeeper, LinkIds, Multiaddr, NetConfig, NetEvent, Network, Probing};
use m2mesh::node::realm;
use m2mesh::time::EpochLength;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::{Frames, Kind, raw};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Everybody is a member.
struct Open;

impl Gatekeeper for Open {
    type Peer = ();

    fn hello(&self) -> Vec<u8> {
        b"open".to_vec()
    }

    fn verify(&self, _: &[u8], _: &Pseudonym) -> Result<(), &'static str> {
        Ok(())
    }
}

/// `127.1.0.0/16`, and `127.2.0.0/16`, which is metered or not.
fn bearers(metered: bool) -> Bearers {
    let bearer = |network: &str, metered| {
        let rule = Rule { addresses: vec![network.parse().unwrap()], ..Rule::default() };
        (Profile { name: network.to_owned(), metered, ..Profile::default() }, rule)
    };
    Bearers::new([bearer("127.1.0.0/16", false), bearer("127.2.0.0/16", metered)])
}

/// Listens on these addresses.
async fn network(seed: u8, addresses: &[&str], config: NetConfig) -> (Network<Open>, Vec<Multiaddr>) {
    let config = NetConfig {
        listen: addresses.iter().map(|ip| format!("/ip4/{ip}/tcp/0").parse().unwrap()).collect(),
        mdns: false,
        target_links: 1,
        ..config
    };
    let key = net::keypair(&[seed; 32]);
    let executor: Executor = Box::new(|task| drop(tokio::spawn(task)));
    let (transport, local) = (net::transport::system(&key).unwrap(), key.public().to_peer_id());
    let mut network =
        Network::new(transport, local, executor, Arc::new(Open), &config, [seed; 32], &LinkIds::default());
    let listening = poll_fn(|cx| network.poll_listening(cx)).await.unwrap();
    (network, listening)
}

/// Two networks, and their links by bearer.
struct Pair {
    networks: [Network<Open>; 2],
    links: [BTreeMap<u8, LinkId>; 2],
    addresses: Vec<Multiaddr>,
}

impl Pair {
    /// The second knows of the first the address on the first bearer.
    async fn new(metered: bool, shaping: bool) -> Self {
        let probing = Probing {
            every: Duration::from_millis(50),
            after: Duration::from_millis(20),
            silent_after: Duration::from_millis(100),
        };
        let config = NetConfig { bearers: bearers(metered), probing, shaping, ..NetConfig::default() };
        let (first, addresses) = network(1, &["127.1.0.1", "127.2.0.1"], config.clone()).await;
        let known = addresses.iter().find(|address| address.to_string().contains("127.1.")).unwrap().clone();
        let (second, _) = network(2, &["127.1.0.2", "127.2.0.2"], NetConfig { bootstrap: vec![known], ..config }).await;
        let mut pair = Self { networks: [first, second], links: [BTreeMap::new(), BTreeMap::new()], addresses };
        pair.until(|pair, _, _| pair.links.iter().all(|links| links.contains_key(&0))).await;
        pair
    }

    /// The second is told where the first listens.
    async fn linked_twice(&mut self) {
        let link = self.links[1][&0];
        self.networks[1].set_neighbour_addresses(link, self.addresses.clone());
        self.until(|pair, _, _| pair.links.iter().all(|links| links.len() == 2)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(usize, NetEvent<()>)> {
        for at in 0..2 {
            if let Poll::Ready(event) = self.networks[at].poll(cx) {
                if let NetEvent::LinkUp { link, bearer, .. } = event {
                    assert_eq!(self.links[at].insert(bearer, link), None, "a second link over bearer {bearer}");
                }
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    }

    /// Runs until `done` says so of an event at one of them, at most ten seconds.
    async fn until(&mut self, mut done: impl FnMut(&mut Self, usize, &NetEvent<()>) -> bool) {
        let running = async {
            loop {
                let (at, event) = poll_fn(|cx| self.poll(cx)).await;
                assert!(!matches!(event, NetEvent::LinkDown { .. }), "{event:?}");
                if done(self, at, &event) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), running).await.unwrap();
    }

    /// Sends a numbered frame from the first to the second.
    fn send(&self, bearer: u8, number: u8) {
        let frame = raw(Kind::Data, &[number]);
        self.networks[0].try_send(self.links[0][&bearer], Class::Telemetry, &frame.into()).unwrap();
    }
}

fn numbers(event: &NetEvent<()>) -> Vec<u8> {
    match event {
        NetEvent::Frames { buffer, .. } => Frames(buffer).map(|frame| frame.unwrap().body[0]).collect(),
        _ => Vec::new(),
    }
}

/// Invariant 3 of net.
#[tokio::test]
async fn a_neighbour_on_two_bearers_has_two_links() {
    let mut pair = Pair::new(false, false).await;
    pair.linked_twice().await;
    for bearer in [0, 1] {
        pair.send(bearer, bearer);
        let link = pair.links[1][&bearer];
        let mut measured = false;
        pair.until(|pair, at, event| {
            measured |= matches!(event, NetEvent::Measured { link, .. } if *link == pair.links[0][&bearer]);
            let arrived = at == 1 && numbers(event) == [bearer];
            assert!(!arrived || matches!(event, NetEvent::Frames { link: on, .. } if *on == link));
            arrived
        })
        .await;
    }
}

/// Invariant 1 of net::emulation::shaped.
#[tokio::test]
async fn a_mute_link_is_silent_and_then_heard_and_loses_nothing() {
    let mut pair = Pair::new(false, true).await;
    pair.linked_twice().await;
    let began = Instant::now();
    for at in [0, 1] {
        let link = pair.links[at][&0];
        pair.networks[at].set_mute(link, true);
    }
    let silent = pair.links[0][&0];
    for number in [1, 2, 3] {
        pair.send(0, number);
    }
    // Both bearers share a profile in a lab: what is told of this one is what counts here.
    pair.until(|_, at, event| {
        assert_eq!(numbers(event), [0; 0], "it came through");
        matches!(event, NetEvent::Silent { link } if at == 0 && *link == silent)
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(100));
    for at in [0, 1] {
        let link = pair.links[at][&0];
        pair.networks[at].set_mute(link, false);
    }
    let (mut heard, mut arrived) = (false, Vec::new());
    pair.until(|_, at, event| {
        heard |= matches!(event, NetEvent::Heard { link } if at == 0 && *link == silent);
        if at == 1 {
            arrived.extend(numbers(event));
        }
        heard && arrived == [1, 2, 3]
    })
    .await;
}

#[tokio::test]
async fn nodes_find_each_other_on_every_bearer() {
    const SETTINGS: &str = r#"
[[bearer]]
name = "radio"
class = "wifi"
match = { addresses = ["127.1.0.0/16"] }

[[bearer]]
name = "modem"
class = "cellular"
match = { addresses = ["127.2.0.0/16"], transports = ["tcp"] }
price = 2.5
"#;
    let place = tempfile::tempdir().unwrap();
    let names = ["pump", "meter"].map(|name| Name::new(name).unwrap());
    let devices = names.map(|name| (name.clone(), place.path().join(name.as_str())));
    for (_, directory) in &devices {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("config.toml"), SETTINGS).unwrap();
    }
    realm::found(&devices, EpochLength::HOUR).unwrap();
    let node = |at: usize| {
        let builder = Node::builder(&devices[at].1).mdns(false).api(false);
        let [radio, modem] = [1, 2].map(|bearer| format!("/ip4/127.{bearer}.0.{}/tcp/0", at + 1));
        builder.listen(radio).listen(modem)
    };
    let pump = node(0).start().await.unwrap();
    let radio = pump.listen().iter().find(|address| address.contains("127.1.")).unwrap();
    let meter = node(1).bootstrap(radio).start().await.unwrap();
    let linked = async {
        while pump.peers().await.unwrap().len() < 2 || meter.peers().await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), linked).await.unwrap();
    let outcome = meter.send(Message::new(Name::new("pump").unwrap(), "21.5")).await.unwrap();
    assert!(matches!(outcome, Outcome::Delivered { .. }));
    meter.stop().await;
    pump.stop().await;
}
