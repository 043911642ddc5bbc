//! Custodians are killed at random moments, alone and all at once, with all that is not on their disks: nothing in custody is lost, and nothing
//! comes twice.
//!
//! In each round a sends b, which is away, a message over two mailboxes. At a random moment some of these lose power. As soon as custody has been
//! stated, a is out of reach for good, so that the custodians alone have the message. Then b comes to one of them, and at another random moment
//! some of the three lose power. In the end b has the message once. `CUSTODY_KILLS` in the environment sets how many rounds there are, `CUSTODY_SEED` which.

use super::mesh::{Mesh, message};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome};
use m2mesh::engine::{Input, Settings};
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

const A: usize = 1;
const M: usize = 2;
const N: usize = 3;
const B: usize = 4;
/// How long a message is of use, in seconds.
const LIFETIME: u64 = 300;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

struct Run {
    mesh: Mesh,
    rng: ChaCha20Rng,
    /// How many processes were killed.
    killed: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let nodes = ["issuer", "a", "m", "n", "b"].map(|name| (name, DEFAULT_SEGMENT));
        let roles = |at| if at == M || at == N { Role::Mailbox as u16 } else { 0 };
        let settings = |at| Settings { mail: at == B, ..Settings::default() };
        let mut mesh = Mesh::of_roles(7, &nodes, Vec::new(), roles, settings);
        (0..nodes.len()).for_each(|at| mesh.handle(at, Input::Timeout));
        mesh.connect(M, N);
        mesh.run(Duration::from_secs(60));
        Self { mesh, rng: ChaCha20Rng::seed_from_u64(seed), killed: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn link(&mut self, a: usize, b: usize) {
        if self.mesh.link(a, b).is_none() {
            self.mesh.connect(a, b);
        }
    }

    fn part(&mut self, a: usize, b: usize) {
        if self.mesh.link(a, b).is_some() {
            self.mesh.disconnect(a, b);
        }
    }

    /// These lose power at one instant, and are there again.
    fn kill(&mut self, which: &[usize], links: &[(usize, usize)]) {
        self.killed += which.len();
        which.iter().for_each(|at| self.mesh.restart(*at));
        links.iter().for_each(|(a, b)| self.link(*a, *b));
    }

    fn got(&self, payload: &[u8]) -> usize {
        self.mesh.inbox(B).iter().filter(|message| message.payload == payload).count()
    }

    fn round(&mut self, round: u64) {
        let payload = format!("message {round}").into_bytes();
        self.part(B, M);
        self.part(B, N);
        self.link(A, M);
        self.mesh.run(Duration::from_secs(5));
        let before = self.mesh.counted(A, Counter::MailTaken);
        let token = self.mesh.command(A, Command::Send(message("b", &payload, Ack::End, LIFETIME)));
        // It leaves after two seconds, is written for five milliseconds, and stated.
        let moment = Duration::from_millis(1_995) + Duration::from_micros(self.below(30_000));
        self.mesh.run(moment);
        let custodians: &[usize] = match self.below(3) {
            0 => &[M],
            1 => &[N],
            _ => &[M, N],
        };
        if self.mesh.counted(A, Counter::MailTaken) > before {
            self.part(A, M);
            self.kill(custodians, &[(M, N)]);
        } else {
            self.kill(custodians, &[(M, N), (A, M)]);
        }
        for _ in 0..100 {
            if self.mesh.counted(A, Counter::MailTaken) > before {
                break;
            }
            self.mesh.run(Duration::from_millis(500));
        }
        assert!(self.mesh.counted(A, Counter::MailTaken) > before, "round {round}: nobody keeps it");
        self.part(A, M);
        let host = if self.below(2) == 0 { M } else { N };
        self.link(host, B);
        let moment = Duration::from_micros(self.below(60_000));
        self.mesh.run(moment);
        let which: &[usize] = match self.below(5) {
            0 => &[M],
            1 => &[N],
            2 => &[B],
            3 => &[M, N],
            _ => &[M, N, B],
        };
        self.kill(which, &[(M, N), (host, B)]);
        self.mesh.run(Duration::from_secs(75));
        assert_eq!(self.got(&payload), 1, "round {round}: by custody alone, {which:?} killed after {moment:?}");
        // The sender comes back, and is told the truth; what it sends again is no second message.
        self.link(A, M);
        self.mesh.run(Duration::from_secs(LIFETIME));
        assert_eq!(self.got(&payload), 1, "round {round}: once");
        let told = self.mesh.ended.get(&token);
        assert!(matches!(told, Some(Outcome::Delivered { .. } | Outcome::Expired { .. })), "round {round}: {told:?}");
    }
}

/// Invariants 1, 2 and 3 of engine::messages::mail.
#[test]
fn nothing_in_custody_is_lost_or_comes_twice_whoever_loses_power_when() {
    let rounds = number("CUSTODY_KILLS", 12);
    let mut run = Run::new(number("CUSTODY_SEED", 1));
    for round in 0..rounds {
        run.round(round);
    }
    let (kept, on) = [M, N].iter().fold((0, 0), |(kept, on), at| {
        (kept + run.mesh.counted(*at, Counter::MailKept), on + run.mesh.counted(*at, Counter::MailHandedOn))
    });
    println!(
        "{rounds} messages, {} processes killed; counted since their last starts: {kept} kept, {on} handed on",
        run.killed
    );
}
