//! What a sender heard to be delivered is in the receiver's inbox, once, however often the receiver is killed.
//!
//! A real pair of nodes: one sends all the time and asks for receipts, the other is killed with SIGKILL at random moments,
//! also while it starts, and started again. `M2MESH_NODE_KILL_ROUNDS=200` for a long run, `M2MESH_NODE_KILL_SEED` to
//! repeat what is drawn.

use super::power::random::{Random, number};
use crate::support::limit;
use crate::support::processes::{ANYWHERE, Place};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[test]
fn what_was_delivered_is_there_once_after_kills() {
    let mut random = Random::from_environment("M2MESH_NODE_KILL_SEED");
    let place = Place::new();
    place.pair();
    let meter = place.start(&["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE]);
    // The same address each time, so that each finds the other at once.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", &listen, "--bootstrap", meter.address()];
    let mut sending = Sending::start(&place);

    let mut inbox = Vec::new();
    for round in 0..number("M2MESH_NODE_KILL_ROUNDS", 3) {
        if random.below(3) == 0 {
            // One that dies before it is ready.
            let mut early = place.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            pass(Duration::from_millis(random.below(60)));
            early.kill().expect("it is killed");
            limit::wait(&mut early, "an early receiver");
        }
        let mut gateway = place.start(&run);
        sending.wait_for_a_delivery();
        pass(Duration::from_millis(random.below(300)));
        if random.below(4) == 0 {
            inbox.extend(received(&place));
            pass(Duration::from_millis(random.below(50)));
        }
        gateway.kill();
        let verdict = place.run(&["log", "verify", "--dir", "plant"]);
        assert_eq!(verdict.code, Some(0), "round {round}: {}{}", verdict.out, verdict.said);
    }
    let _gateway = place.start(&run);
    sending.wait_for_a_delivery();
    let outcomes = sending.stop();
    inbox.extend(received(&place));

    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    inbox.iter().for_each(|number| *times.entry(*number).or_default() += 1);
    let delivered: BTreeSet<u64> = outcomes.iter().filter(|(_, word)| *word == "delivered").map(|(n, _)| *n).collect();
    let missing: Vec<_> = delivered.iter().filter(|number| !times.contains_key(number)).collect();
    let repeated: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    println!("{} sent, {} delivered, {} there", outcomes.len(), delivered.len(), times.len());
    assert!(missing.is_empty(), "reported delivered, and not there: {missing:?}");
    assert!(repeated.is_empty(), "there more than once: {repeated:?}");
    assert!(!delivered.is_empty());
}

/// What `receive` takes out of the inbox.
fn received(place: &Place) -> Vec<u64> {
    let out = place.done(&["receive", "--dir", "plant"]);
    out.lines().map(|line| line.parse().expect("a number")).collect()
}

/// Lets time pass: a kill is to come at any moment.
fn pass(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// `send --lines`, fed with one number after the other.
struct Sending {
    child: Child,
    stop: SyncSender<()>,
    feeder: JoinHandle<u64>,
    outcomes: Receiver<(u64, String)>,
    all: BTreeMap<u64, String>,
}

impl Sending {
    fn start(place: &Place) -> Self {
        let arguments = ["send", "gateway", "--lines", "--json", "--ack", "end", "--deadline", "20s", "--dir", "meter"];
        let mut command = place.command(&arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        let (stop, stopped) = sync_channel(1);
        let feeder = thread::spawn(move || {
            let mut number = 0;
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                number += 1;
                writeln!(input, "{number}").expect("the sender reads");
            }
            number
        });
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (tell, outcomes) = sync_channel(1_000_000);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                let Some(number) = line["line"].as_u64() else { return };
                let word = line["outcome"].as_str().expect("an outcome").to_owned();
                if tell.send((number, word)).is_err() {
                    return;
                }
            }
        });
        Self { child, stop, feeder, outcomes, all: BTreeMap::new() }
    }

    /// Until one more is delivered, so that a kill finds messages under way.
    fn wait_for_a_delivery(&mut self) {
        while let Ok((number, word)) = self.outcomes.try_recv() {
            self.all.insert(number, word);
        }
        loop {
            let (number, word) = self.outcomes.recv_timeout(PATIENCE).expect("something is delivered");
            let delivered = word == "delivered";
            self.all.insert(number, word);
            if delivered {
                return;
            }
        }
    }

    /// All outcomes: each message has one.
    fn stop(mut self) -> BTreeMap<u64, String> {
        self.stop.send(()).expect("the feeder feeds");
        let sent = self.feeder.join().expect("the feeder ends");
        limit::wait(&mut self.child, "the sender");
        self.all.extend(self.outcomes.iter());
        assert_eq!(self.all.len() as u64, sent, "each message has exactly one outcome");
        self.all
    }
}

/// Between two messages.
const PACE: Duration = Duration::from_millis(1);
/// How long nothing may be delivered while both nodes run, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
