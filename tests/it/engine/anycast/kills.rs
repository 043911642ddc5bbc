//! Kills: devices that offer a service, and the one that calls it, are killed at random moments of requests.
//!
//! `M2MESH_KILLS` in the environment sets how many kills there are. Each request has a payload of its own, and the
//! reference counts in how many lives of how many devices it was handed to a program.
//!
//! - No request is handed over twice.
//! - Who is told that it was answered finds that it was handed over, and who is told *unreachable* that it was not.
//! - Whoever lives on is told one outcome, by the deadline.
//! - If another device than the one that was killed answers, it does within a retransmission time-out and the way there and
//!   back.

use super::{CLIENT, offer, request, seconds};
use crate::engine::mesh::Mesh;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::wire::batch::Ack;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

/// The relay, and the devices that offer the service.
const RELAY: usize = 1;
const SERVERS: [usize; 3] = [2, 3, 4];
/// How long a request is of use, in seconds.
const LIFETIME: u64 = 8;
/// The shortest retransmission time-out, and the way there and back with the flushes on it: for a place, for the request, and once more to a device that does not
/// know the session, since it was killed before.
const FAILOVER: Duration = Duration::from_millis(1_000 + 60);

struct Run {
    mesh: Mesh,
    offers: BTreeMap<usize, Token>,
    /// How many replies of each device have been looked at.
    read: BTreeMap<usize, usize>,
    /// By whom each payload was handed over.
    handed: BTreeMap<Vec<u8>, Vec<usize>>,
    answers: bool,
}

impl Run {
    fn new() -> Self {
        let names = ["client", "relay", "s2", "s3", "s4"];
        let mut mesh = Mesh::with(&names, |_| Settings { anonymity: Anonymity::Rotating, ..Settings::default() });
        mesh.connect(CLIENT, RELAY);
        let (offers, read, handed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut run = Self { mesh, offers, read, handed, answers: true };
        for server in SERVERS {
            run.mesh.connect(RELAY, server);
            run.offers.insert(server, offer(&mut run.mesh, server, Some(4)));
        }
        run.mesh.run(seconds(5));
        run.measure();
        run
    }

    /// Sends a few messages to all, so that the client has measured how long receipts take.
    fn measure(&mut self) {
        for _ in 0..3 {
            for server in ["s2", "s3", "s4"] {
                self.mesh.send(CLIENT, server, b"hello", Ack::End, 30);
                self.mesh.run(seconds(1));
            }
        }
    }

    fn note(&mut self) {
        for (at, token) in self.offers.clone() {
            let replies = &self.mesh.nodes[at].replies;
            let from = self.read.insert(at, replies.len()).unwrap_or(0);
            let call = |(of, reply): &(Token, Reply)| match reply {
                Reply::Call(call) if *of == token => Some(call.clone()),
                _ => None,
            };
            for call in replies[from..].iter().filter_map(call).collect::<Vec<_>>() {
                self.handed.entry(call.payload.clone()).or_default().push(at);
                if self.answers {
                    self.mesh.command(at, Command::Respond { call: call.call, answer: Ok(call.payload) });
                }
            }
        }
    }

    /// Lets time pass, in steps that are short as long as the client waits.
    fn pass(&mut self, millis: u64, token: Token) {
        let end = self.mesh.now.time + Duration::from_millis(millis);
        while self.mesh.now.time < end {
            let step = if self.mesh.nodes[CLIENT].finished.contains(&token) { 50 } else { 2 };
            self.mesh.run(Duration::from_millis(step).min(end.since(self.mesh.now.time)));
            self.note();
        }
    }

    fn kill(&mut self, at: usize) {
        self.note();
        self.mesh.restart(at);
        self.read.remove(&at);
        if at != CLIENT {
            self.offers.insert(at, offer(&mut self.mesh, at, Some(4)));
        }
    }

    fn back(&mut self, at: usize) {
        if self.mesh.link(at, RELAY).is_none() {
            self.mesh.connect(at, RELAY);
        }
    }
}

#[test]
fn a_request_is_executed_at_most_once_whenever_devices_are_killed() {
    let kills: usize = std::env::var("M2MESH_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(60);
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let (mut run, mut answered, mut unknown, mut none, mut slowest) = (Run::new(), 0, 0, 0, Duration::ZERO);
    for number in 0..kills {
        if number % 100 == 99 {
            run.mesh.forget_past();
            run.read.clear();
        }
        let payload = format!("request {number}").into_bytes();
        // Some answers are given before the kill, and some after it, or never.
        run.answers = rng.next_u64() % 4 != 0;
        let token = run.mesh.command(CLIENT, request(&payload, LIFETIME));
        run.pass(rng.next_u64() % 44, token);
        // One in ten kills is of the client; of the servers every one may be it, whether it has the request or not.
        let at = match rng.next_u64() % 10 {
            0 => CLIENT,
            other => SERVERS[other as usize % SERVERS.len()],
        };
        run.kill(at);
        // It comes back soon, or not before the deadline.
        let away = if rng.next_u64() % 2 == 0 { rng.next_u64() % 500 } else { LIFETIME * 1_000 };
        run.pass(away, token);
        run.back(at);
        run.pass(LIFETIME * 1_000 + 500 - away, token);
        run.answers = true;
        let by = run.handed.remove(&payload).unwrap_or_default();
        assert!(by.len() <= 1, "request {number} was executed by {by:?}");
        let handed = by.len();
        if at == CLIENT {
            run.measure();
            continue;
        }
        match run.mesh.reply(CLIENT, token) {
            Some(Reply::Response { latency, .. }) => {
                assert_eq!(handed, 1, "request {number} was answered by nobody");
                answered += 1;
                // By the one that was killed: it had been ordered, and waited for that one.
                if by[0] != at {
                    slowest = slowest.max(*latency);
                }
            }
            Some(Reply::Outcome(Outcome::Unreachable { .. })) => {
                none += 1;
                assert_eq!(handed, 0, "request {number} was executed, and is told not to be");
            }
            Some(Reply::Outcome(Outcome::Expired { .. } | Outcome::Refused { .. })) => unknown += 1,
            other => unreachable!("request {number} of {token:?} has no outcome but {other:?}"),
        }
    }
    println!(
        "{kills} kills: {answered} answered, {unknown} not known, {none} not executed; slowest fail-over {slowest:?}"
    );
    assert!(slowest <= FAILOVER + Duration::from_millis(44), "slowest: {slowest:?}");
    assert!(answered > kills / 3);
}
