//! Promises: whatever happens to devices, links and disks, each message arrives at most once, and its sender is told one outcome that is true.
//!
//! Four devices in a ring send each other messages and requests, while links are cut and joined, processes crash and stand still, and disks
//! take no writes for a while. What was sent is kept in a list beside the mesh, the reference: at the end it is compared with what
//! was told and with what lies on the receivers' disks. `PROMISES` in the environment sets how many runs there are.
//!
//! - A payload lies in its receiver's inbox once at most; a call is handed over once at most.
//! - Who is told *delivered* finds it there; who is told *refused* does not.
//! - A send whose process lives on is told one outcome, when its deadline has passed at the latest.
//! - Who asks again, under the name of a message, is told what was told first; only a success that a crash came after at once may be *not
//!   known* later.

use super::mesh::{Mesh, message};
use super::multicast::seconds;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Reply, Token};
use m2mesh::id::SendId;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::wire::batch::Ack;
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// How long after its deadline the outcome of a send may be told: receipts that are under way are waited for.
const SLACK: u64 = 2;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, over: usize, ack: Ack, lifetime: u64, named: bool },
    Request { from: usize, over: usize, lifetime: u64 },
    AskAgain { which: usize },
    Cut { after: usize },
    Join { after: usize },
    Restart { at: usize },
    Stop { at: usize },
    GoOn { at: usize },
    Stuck { at: usize, stuck: bool },
    Pass { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..NAMES.len();
    let ack = prop_oneof![6 => Just(Ack::End), 1 => Just(Ack::Hop), 1 => Just(Ack::None)];
    prop_oneof![
        12 => (at.clone(), 1..NAMES.len(), ack, 1u64..60, any::<bool>())
            .prop_map(|(from, over, ack, lifetime, named)| Step::Send { from, over, ack, lifetime, named }),
        3 => (at.clone(), 1..NAMES.len(), 1u64..60).prop_map(|(from, over, lifetime)| Step::Request { from, over, lifetime }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::AskAgain { which: which.index(1_000) }),
        2 => at.clone().prop_map(|after| Step::Cut { after }),
        3 => at.clone().prop_map(|after| Step::Join { after }),
        2 => at.clone().prop_map(|at| Step::Restart { at }),
        1 => at.clone().prop_map(|at| Step::Stop { at }),
        2 => at.clone().prop_map(|at| Step::GoOn { at }),
        2 => (at, any::<bool>()).prop_map(|(at, stuck)| Step::Stuck { at, stuck }),
        8 => prop_oneof![0u64..20, 20u64..5_000].prop_map(|millis| Step::Pass { millis }),
    ]
}

/// What the reference knows of one send.
#[derive(Debug)]
struct Sent {
    token: Token,
    from: usize,
    to: usize,
    payload: Vec<u8>,
    request: bool,
    id: Option<SendId>,
    /// The life of the sender's process in which it was submitted.
    life: usize,
    lifetime: u64,
    /// Those who have asked again.
    again: Vec<(usize, Token)>,
}

struct Run {
    mesh: Mesh,
    sent: Vec<Sent>,
    /// How often each process was started.
    lives: [usize; NAMES.len()],
    offers: [Token; NAMES.len()],
    answered: BTreeSet<(usize, u64)>,
    calls: BTreeMap<(usize, Vec<u8>), usize>,
    stopped: BTreeSet<usize>,
}

impl Run {
    fn new() -> Self {
        let mesh = Mesh::with(&NAMES, |_| Settings { anonymity: Anonymity::Rotating, ..Settings::default() });
        let offers = [Token(0); NAMES.len()];
        let (lives, stopped) = ([0; NAMES.len()], BTreeSet::new());
        let (answered, calls) = (BTreeSet::new(), BTreeMap::new());
        let mut run = Self { mesh, sent: Vec::new(), lives, offers, answered, calls, stopped };
        for at in 0..NAMES.len() {
            run.mesh.connect(at, (at + 1) % NAMES.len());
            run.offer(at);
        }
        // Shortly before the turn of an epoch, so that pseudonyms change meanwhile.
        let left = 3_600 - run.mesh.now.unix.seconds() % 3_600;
        run.mesh.run(seconds(left - 20));
        run
    }

    fn offer(&mut self, at: usize) {
        self.offers[at] = self.mesh.command(at, Command::Offer { service: "count".to_owned(), capacity: None });
    }

    /// Answers the calls that have come.
    fn answer(&mut self) {
        for at in (0..NAMES.len()).filter(|at| !self.stopped.contains(at)).collect::<Vec<_>>() {
            let call = |(_, reply): &(Token, Reply)| match reply {
                Reply::Call(call) => Some(call.clone()),
                _ => None,
            };
            let calls: Vec<_> = self.mesh.nodes[at].replies.iter().filter_map(call).collect();
            for call in calls {
                if self.answered.insert((at, call.call)) {
                    *self.calls.entry((at, call.payload.clone())).or_default() += 1;
                    self.mesh.command(at, Command::Respond { call: call.call, answer: Ok(call.payload) });
                }
            }
        }
    }

    fn send(&mut self, from: usize, over: usize, lifetime: u64, request: bool, ack: Ack, named: bool) {
        let (to, number) = ((from + over) % NAMES.len(), self.sent.len());
        let payload = format!("message {number}").into_bytes();
        let id = (named && !request && ack != Ack::None)
            .then(|| SendId::from_slice(&(number as u128).to_be_bytes()).expect("16 bytes"));
        let send = m2mesh::engine::api::Send { id, ..message(NAMES[to], &payload, ack, lifetime) };
        let command = match request {
            true => Command::Request { send, service: Some("count".to_owned()) },
            false => Command::Send(send),
        };
        let token = self.mesh.command(from, command);
        let life = self.lives[from];
        self.sent.push(Sent { token, from, to, payload, request, id, life, lifetime, again: Vec::new() });
    }

    fn take(&mut self, step: Step) {
        let next = |at: usize| (at + 1) % NAMES.len();
        match step {
            Step::Send { from, over, ack, lifetime, named } if !self.stopped.contains(&from) => {
                self.send(from, over, lifetime, false, ack, named);
            }
            Step::Request { from, over, lifetime } if !self.stopped.contains(&from) => {
                self.send(from, over, lifetime, true, Ack::End, false);
            }
            Step::AskAgain { which } => self.ask_again(which),
            Step::Cut { after } if self.mesh.link(after, next(after)).is_some() => {
                self.mesh.disconnect(after, next(after));
            }
            Step::Join { after } if self.mesh.link(after, next(after)).is_none() => {
                self.mesh.connect(after, next(after));
            }
            Step::Restart { at } if !self.stopped.contains(&at) => {
                self.mesh.restart(at);
                self.lives[at] += 1;
                self.offer(at);
            }
            Step::Stop { at } => {
                self.stopped.insert(at);
                self.mesh.stop(at);
            }
            Step::GoOn { at } if self.stopped.remove(&at) => self.mesh.go_on(at),
            Step::Stuck { at, stuck: true } => {
                self.mesh.stuck.insert(at);
            }
            Step::Stuck { at, stuck: false } => {
                self.mesh.stuck.remove(&at);
            }
            Step::Pass { millis } => self.mesh.run(Duration::from_millis(millis)),
            _ => {}
        }
        self.answer();
    }

    fn ask_again(&mut self, which: usize) {
        let named: Vec<usize> = (0..self.sent.len()).filter(|at| self.sent[*at].id.is_some()).collect();
        let Some(at) = named.get(which % named.len().max(1)).copied() else { return };
        let Sent { from, to, ref payload, id, lifetime, .. } = self.sent[at];
        if self.stopped.contains(&from) {
            return;
        }
        let send = m2mesh::engine::api::Send { id, ..message(NAMES[to], payload, Ack::End, lifetime) };
        let token = self.mesh.command(from, Command::Send(send));
        self.sent[at].again.push((self.lives[from], token));
    }

    /// All is well again, and stays so until every deadline has passed.
    fn heal(&mut self) {
        for at in 0..NAMES.len() {
            self.take(Step::Stuck { at, stuck: false });
            self.take(Step::GoOn { at });
            self.take(Step::Join { after: at });
        }
        for _ in 0..(60 + SLACK) * 10 {
            self.take(Step::Pass { millis: 100 });
        }
        (0..self.sent.len()).filter(|at| self.sent[*at].id.is_some()).collect::<Vec<_>>().into_iter().for_each(|at| {
            let Sent { from, to, ref payload, id, .. } = self.sent[at];
            let send = m2mesh::engine::api::Send { id, ..message(NAMES[to], payload, Ack::End, 5) };
            let token = self.mesh.command(from, Command::Send(send));
            self.sent[at].again.push((self.lives[from], token));
        });
        for _ in 0..100 {
            self.take(Step::Pass { millis: 100 });
        }
    }

    /// Compares the reference with what was told and what is there.
    fn judge(&self) -> Result<(), TestCaseError> {
        let inboxes: Vec<Vec<Vec<u8>>> = (0..NAMES.len())
            .map(|at| self.mesh.inbox(at).into_iter().map(|message| message.payload).collect())
            .collect();
        for sent in &self.sent {
            let lies = inboxes[sent.to].iter().filter(|payload| **payload == sent.payload).count();
            let called = self.calls.get(&(sent.to, sent.payload.clone())).copied().unwrap_or(0);
            prop_assert!(lies <= 1 && called <= 1, "{lies} times in the inbox, {called} calls: {sent:?}");
            let response = self.mesh.nodes[sent.from].replies.iter().any(|(token, reply)| {
                *token == sent.token && matches!(reply, Reply::Response { .. } | Reply::Refused(_))
            });
            let lives = sent.life == self.lives[sent.from];
            let told = self.mesh.ended.get(&sent.token);
            prop_assert!(told.is_some() || response || !lives, "nothing was told: {sent:?}");
            let again: Vec<(usize, &Outcome)> =
                sent.again.iter().filter_map(|(life, token)| Some((*life, self.mesh.ended.get(token)?))).collect();
            for outcome in told.into_iter().chain(again.iter().map(|(_, outcome)| *outcome)) {
                match outcome {
                    Outcome::Delivered { .. } => prop_assert!(lies == 1, "told delivered: {sent:?}"),
                    Outcome::Refused { .. } if !sent.request => prop_assert!(lies == 0, "told refused: {sent:?}"),
                    _ => {}
                }
            }
            let first = told.map(|outcome| (sent.life, outcome));
            let all = first.into_iter().chain(again);
            let told: Vec<(usize, Discriminant<Outcome>, bool)> =
                all.map(|(life, outcome)| (life, discriminant(outcome), outcome.is_success())).collect();
            // A success is told before it is durable: a crash in these moments can make of it that it is not known.
            let same = |one: &(usize, Discriminant<Outcome>, bool), other: &(usize, Discriminant<Outcome>, bool)| {
                one.1 == other.1 || (one.2 && one.0 < other.0)
            };
            let agree = told.windows(2).all(|pair| same(&pair[0], &pair[1]));
            prop_assert!(agree || sent.id.is_none(), "told one thing and another: {told:?}, {sent:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(Config {
        cases: std::env::var("PROMISES").ok().and_then(|runs| runs.parse().ok()).unwrap_or(24),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    })]

    /// Invariant 1 of delivery.
    #[test]
    fn each_message_arrives_at_most_once_and_its_sender_is_told_one_outcome_that_is_true(
        steps in prop::collection::vec(step(), 10..120),
    ) {
        let mut run = Run::new();
        steps.into_iter().for_each(|step| run.take(step));
        run.heal();
        run.judge()?;
    }
}

/// The response comes, and the receipt of the request does not, since its service was restarted in between.
#[test]
fn a_request_that_is_answered_before_its_receipt_ends_once() {
    let send = |from| Step::Send { from, over: 1, ack: Ack::End, lifetime: 1, named: false };
    let steps = [
        Step::Stop { at: 2 },
        send(0),
        Step::Pass { millis: 7_380 },
        Step::Restart { at: 0 },
        Step::Join { after: 0 },
        Step::Pass { millis: 4_106 },
        Step::Restart { at: 3 },
        Step::Pass { millis: 4_769 },
        Step::Join { after: 2 },
        Step::Restart { at: 0 },
        Step::Join { after: 3 },
        Step::Pass { millis: 3_246 },
        send(0),
        Step::GoOn { at: 2 },
        Step::Restart { at: 0 },
        Step::Join { after: 0 },
        Step::Restart { at: 2 },
        send(2),
        Step::Pass { millis: 500 },
        Step::Request { from: 3, over: 3, lifetime: 2 },
    ];
    let mut run = Run::new();
    steps.into_iter().for_each(|step| run.take(step));
    run.heal();
    run.judge().expect("each has one outcome");
}

/// The process crashes before the outcome is on its disk that it was about to tell.
#[test]
fn who_asks_again_is_told_what_no_crash_can_change() {
    for millis in [1_999, 2_000, 2_001, 2_003, 2_010] {
        let mut run = Run::new();
        run.take(Step::Cut { after: 0 });
        run.take(Step::Cut { after: 3 });
        run.take(Step::Send { from: 0, over: 1, ack: Ack::End, lifetime: 2, named: true });
        run.take(Step::Pass { millis });
        run.take(Step::AskAgain { which: 0 });
        run.take(Step::Restart { at: 0 });
        run.heal();
        run.judge().unwrap_or_else(|reason| panic!("after {millis} ms: {reason}"));
    }
}
