//! Admissions without end: credentials of every kind that must not be let in, shown to a node's process over TCP and QUIC
//! while a device enrols and talks. None is let in, each is counted under its reason, and every message arrives.
//!
//! `M2MESH_ADMISSIONS` sets the number of attempts (default 300); with 10,000 it takes some minutes.

use super::hostile::{show, transport};
use super::number;
use super::realm::Realm;
use crate::support::processes::{Running, done, m2mesh};
use futures::StreamExt;
use m2mesh::identity::membership::Membership;
use m2mesh::keystore::device_dir::DeviceDir;
use m2mesh::net::Multiaddr;
use m2mesh::wire::encode;
use m2mesh::wire::hello::Hello;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is wrong with what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    /// It is of another realm.
    ForeignRealm,
    /// Its epoch is over.
    Expired,
    /// The operator has revoked the device, which holds all its keys.
    Revoked,
    /// It is a member's, shown by somebody who does not hold its key.
    Cloned,
    /// It is the hello that a member has shown another, byte for byte.
    Replayed,
    /// One bit of a good one, of the attacker's own key, is another.
    Flipped,
}

const ALL: [Wrong; 6] =
    [Wrong::ForeignRealm, Wrong::Expired, Wrong::Revoked, Wrong::Cloned, Wrong::Replayed, Wrong::Flipped];

impl Wrong {
    /// The reason under which it is counted; of a flipped bit there are several.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::ForeignRealm => Some("realm"),
            Self::Expired => Some("expired"),
            Self::Revoked => Some("revoked"),
            Self::Cloned | Self::Replayed => Some("wrong-peer"),
            Self::Flipped => None,
        }
    }
}

/// What the attacker has.
struct Loot {
    realm: Realm,
    foreign: Realm,
    /// The whole identity of a device that is revoked.
    revoked: Membership,
    /// What a member has shown the attacker, when it was a member too.
    hello: Vec<u8>,
}

impl Loot {
    /// What is shown in an attempt, and the seed of the key under which.
    fn attempt(&self, wrong: Wrong, number: usize) -> (Vec<u8>, [u8; 32]) {
        let mut seed = [0x90; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let hello = |credential: Vec<u8>| {
            let seconds = self.realm.now.seconds();
            encode(&Hello { lowest: 1, highest: 1, credential, bulletin: 1, seconds, process: number as u64 })
        };
        let shown = match wrong {
            Wrong::ForeignRealm => hello(self.foreign.credential(seed, 0)),
            Wrong::Expired => hello(self.realm.credential(seed, -2)),
            Wrong::Revoked => {
                let unix = self.realm.now;
                return (self.revoked.admission_view().hello(unix, number as u64), *self.revoked.libp2p_seed(unix));
            }
            Wrong::Cloned => {
                let theirs: Hello = m2mesh::wire::decode(&self.hello).expect("a hello");
                hello(theirs.credential)
            }
            Wrong::Replayed => self.hello.clone(),
            Wrong::Flipped => {
                let mut credential = self.realm.credential(seed, 0);
                let bit = number.wrapping_mul(2_654_435_761) % (credential.len() * 8);
                credential[bit / 8] ^= 1 << (bit % 8);
                hello(credential)
            }
        };
        (shown, seed)
    }
}

/// What a node's log says of refusals, by reason.
fn refusals(at: &Path) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let log = done(&["log", "--kind", "refused", "--json", "--dir", "plant"], at);
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        for (reason, count) in record["details"]["reasons"].as_object().expect("reasons") {
            *counts.entry(reason.clone()).or_default() += count.as_u64().expect("a count");
        }
    }
    counts
}

/// A device joins and sends until it is told to stop, once a second at most. Answers its node, and how much it has sent.
fn join_and_talk(at: PathBuf, stop: Arc<AtomicBool>) -> (Running, usize) {
    let ticket = done(&["realm", "invite", "plant", "--name", "meter"], &at);
    done(&["join", &ticket, "--dir", "meter"], &at);
    let node = Running::start(&["run", "--dir", "meter", "--no-mdns"], &at);
    let mut sent = 0;
    while sent == 0 || !stop.load(Relaxed) {
        done(&["send", "gateway", &format!("reading {sent}"), "--dir", "meter", "--deadline", "60s"], &at);
        sent += 1;
        std::thread::park_timeout(Duration::from_secs(1));
    }
    (node, sent)
}

/// Invariant 2 of identity::admission.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_credentials_that_are_wrong_none_is_let_in_while_a_member_joins_and_talks() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let arguments = [&["run", "--dir", "plant", "--no-mdns"], &listen[..]].concat();
    let node = Running::start(&arguments, at);
    // One device will be revoked, one has its hello recorded by it.
    for name in ["gone", "witness"] {
        let ticket = done(&["realm", "invite", "plant", "--name", name], at);
        done(&["join", &ticket, "--dir", name], at);
    }
    done(&["realm", "revoke", "plant", "gone"], at);
    let realm = Realm::of_directory(&at.join("plant"));
    let load = |name: &str| DeviceDir::new(at.join(name)).load().expect("a device");
    let hello = load("witness").admission_view().hello(realm.now, 7);
    let loot = Arc::new(Loot { realm, foreign: Realm::new(99), revoked: load("gone"), hello });
    let addresses: Vec<Multiaddr> = node.addresses().map(|address| address.parse().unwrap()).collect();
    assert_eq!(addresses.len(), 2);

    let stop = Arc::new(AtomicBool::new(false));
    let member = tokio::task::spawn_blocking({
        let (at, stop) = (at.to_owned(), stop.clone());
        move || join_and_talk(at, stop)
    });
    let (attempts, began) = (number("M2MESH_ADMISSIONS", 300), Instant::now());
    let all = futures::stream::iter(0..attempts).map(|n| {
        let (wrong, address) = (ALL[n % ALL.len()], addresses[n / ALL.len() % 2].clone());
        let (hello, seed) = loot.attempt(wrong, n);
        async move { (wrong, show(transport(seed), address, &hello, Duration::from_secs(20)).await) }
    });
    let mut answered = Vec::new();
    all.buffer_unordered(8)
        .for_each(|(wrong, was)| {
            answered.extend(was.then_some(wrong));
            std::future::ready(())
        })
        .await;
    let took = began.elapsed();
    stop.store(true, Relaxed);
    let (member, sent) = member.await.unwrap();

    assert_eq!(answered, [], "who is refused is told nothing");
    // Only the member has ever had a link.
    let links = done(&["log", "--kind", "link-up", "--json", "--dir", "plant"], at);
    let names = links.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["details"].clone());
    let others: Vec<_> = names.filter(|details| details["name"] != "meter").collect();
    assert!(others.is_empty(), "{others:?}");
    let inbox = done(&["receive", "--count", &sent.to_string(), "--dir", "plant"], at);
    assert_eq!(inbox.lines().count(), sent, "each message has arrived once");
    let mut counts = refusals(at);
    let counted = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    // The last counts are logged a second after the first of them.
    while counted(&counts) < attempts as u64 {
        assert!(began.elapsed() < took + Duration::from_secs(60), "{counts:?} of {attempts}");
        std::thread::park_timeout(Duration::from_millis(200));
        counts = refusals(at);
    }
    println!("{attempts} attempts in {took:?}, {sent} messages of a member meanwhile, refused: {counts:?}");
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in (0..attempts).filter_map(|n| ALL[n % ALL.len()].reason()) {
        *expected.entry(reason).or_default() += 1;
    }
    for (reason, count) in expected {
        let found = counts.get(reason).copied().unwrap_or_default();
        assert!(found >= count, "{found} of {count} counted as {reason}: {counts:?}");
    }
    drop(member);
    // The node is as it was.
    let said = std::process::Command::output(&mut m2mesh(&["status", "--json", "--dir", "plant"], at)).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(status["quarantined_neighbours"], 0, "strangers are in no quarantine: {status}");
}
