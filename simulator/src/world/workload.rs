//! Workload: the messages of the run, with their senders and times.
//!
//! Every sender of every flow has a random generator of its own, made from the seed, so that one flow's messages do not
//! depend on another's. A device that is off sends nothing. A device whose node accepts no more messages holds back at
//! most [`MOST_OPEN`] messages that have not ended; messages beyond this number are refused.

use super::agenda::{Agenda, Item};
use super::application::{Application, SERVICE};
use super::device::{Device, seed_of};
use super::ledger::{End, LEAST_SIZE, Ledger, Message};
use super::medium::{NANOS, now};
use super::nanos;
use crate::plan::{Flow, FlowKind, Pattern, Plan};
use m2mesh::client::Command;
use m2mesh::engine::api::{Anycast, AnycastKind, Broadcast, Send};
use m2mesh::wire::batch::Ack;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The workload of a run: see the module's documentation.
pub struct Workload {
    senders: Vec<Sender>,
    /// The factor by which each flow sends more than planned.
    factors: Vec<f64>,
    /// The numbers of each flow's topics. A topic of several flows has one number.
    topics: Vec<Vec<u32>>,
}

/// The place in which the workload is carried out: devices with applications.
pub trait Site {
    /// Returns whether a device's application runs.
    fn is_on(&self, device: usize) -> bool;

    /// Lets a device's application send the message that the ledger has under that number.
    fn send(&self, device: usize, id: u64, command: Command);
}

impl Site for [Device] {
    fn is_on(&self, device: usize) -> bool {
        self[device].application().is_some()
    }

    fn send(&self, device: usize, id: u64, command: Command) {
        if let Some(application) = self[device].application() {
            application.send(id, command);
        }
    }
}

/// What a device's application listens to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// The topics with their numbers, each once.
    pub topics: Vec<(u32, String)>,
    /// The services that it offers, [`SERVICE`] among them if requests go to it alone.
    pub offers: BTreeSet<String>,
}

struct Sender {
    flow: usize,
    device: usize,
    /// The sender's index in the flow's list.
    place: usize,
    rng: ChaCha20Rng,
    /// The index of the next entry, for a trace.
    next: usize,
    /// The number of publications so far, which use the topics in turn.
    turn: usize,
}

impl Workload {
    /// Returns a workload that has sent nothing.
    pub fn new(plan: &Plan) -> Self {
        let mut senders = Vec::new();
        for (flow, planned) in plan.flows.iter().enumerate() {
            for (place, device) in planned.from.iter().enumerate() {
                let what = WORKLOAD ^ ((flow as u64) << 40) ^ place as u64;
                let rng = ChaCha20Rng::from_seed(seed_of(plan.seed, what));
                senders.push(Sender { flow, device: *device, place, rng, next: 0, turn: 0 });
            }
        }
        Self { senders, factors: vec![1.0; plan.flows.len()], topics: numbers(plan) }
    }

    /// Enters the first message of every sender into the agenda.
    pub fn begin(&mut self, plan: &Plan, agenda: &Agenda) {
        for number in 0..self.senders.len() {
            let sender = &mut self.senders[number];
            let flow = &plan.flows[sender.flow];
            let first = match &flow.pattern {
                Pattern::Periodic(every) => flow.begin + every.mul_f64(sender.unit()),
                Pattern::Poisson(rate) => sender.arrival(flow, *rate, flow.begin),
                Pattern::Burst { .. } => flow.begin,
                Pattern::Trace(traced) => match traced.iter().position(|line| line.from == sender.device) {
                    Some(first) => {
                        sender.next = first;
                        traced[first].at
                    }
                    None => continue,
                },
            };
            Self::enter(plan, flow, first, number, agenda);
        }
    }

    fn enter(plan: &Plan, flow: &Flow, at: Duration, sender: usize, agenda: &Agenda) {
        if at < flow.end.min(plan.duration) {
            agenda.enter(plan.warmup + at, Item::Send(sender));
        }
    }

    /// Sets the factor by which the senders of a flow send more from now on.
    pub fn set_factor(&mut self, flow: usize, factor: f64) {
        self.factors[flow] = factor.max(1e-6);
    }

    /// Subscribes an application that has started to its topics, and lets it offer its service.
    pub fn join(&self, plan: &Plan, application: &Application) {
        let Listening { topics, offers } = self.listening(plan, application.node);
        topics.iter().for_each(|(number, topic)| application.subscribe(topic, *number));
        offers.iter().for_each(|service| application.offer(service));
    }

    /// Returns what a device's application listens to.
    pub fn listening(&self, plan: &Plan, device: usize) -> Listening {
        let (mut listening, mut subscribed) = (Listening::default(), BTreeSet::new());
        listening.offers.extend(plan.devices[device].offers.iter().cloned());
        for (flow, numbers) in plan.flows.iter().zip(&self.topics) {
            match &flow.kind {
                FlowKind::Publish { topics, subscribers } if subscribers.contains(&device) => {
                    let new = topics.iter().zip(numbers).filter(|(_, number)| subscribed.insert(**number));
                    listening.topics.extend(new.map(|(topic, number)| (*number, topic.clone())));
                }
                FlowKind::Request(to) if to.iter().any(|to| to.contains(&device)) => {
                    listening.offers.insert(SERVICE.to_owned());
                }
                _ => {}
            }
        }
        listening
    }

    /// Sends the message of a sender that was due at a time of the run, and enters the sender's next message into the
    /// agenda. The next time follows from the due time and not from the time of sending, so that delays in a lab do not
    /// accumulate.
    pub fn send(
        &mut self,
        plan: &Plan,
        (number, due): (usize, u64),
        site: &(impl Site + ?Sized),
        ledger: &Ledger,
        agenda: &Agenda,
    ) {
        let factor = self.factors[self.senders[number].flow];
        let sender = &mut self.senders[number];
        let (index, device) = (sender.flow, sender.device);
        let flow = &plan.flows[index];
        let since = Duration::from_nanos(due.saturating_sub(NANOS)).saturating_sub(plan.warmup);
        let (mut count, mut size, mut receiver) = (1, flow.size, None);
        let next = match &flow.pattern {
            Pattern::Periodic(every) => Some(since + every.div_f64(factor)),
            Pattern::Poisson(rate) => Some(sender.arrival(flow, rate * factor, since)),
            Pattern::Burst { count: planned, every } => {
                count = (f64::from(*planned) * factor).round() as u32;
                Some(since + *every)
            }
            Pattern::Trace(traced) => {
                let line = traced[sender.next];
                (size, receiver) = (line.size, line.to);
                let rest = &traced[sender.next + 1..];
                rest.iter().position(|line| line.from == device).map(|ahead| {
                    sender.next += ahead + 1;
                    traced[sender.next].at
                })
            }
        };
        for _ in 0..count {
            if !site.is_on(device) {
                break;
            }
            let drawn = sender.rng.next_u64();
            let mut topic = None;
            let (to, expected) = match &flow.kind {
                FlowKind::Send(lists) | FlowKind::Request(lists) => {
                    let list = &lists[sender.place];
                    let drawn = list.get(usize::try_from(drawn % list.len().max(1) as u64).unwrap_or_default());
                    let Some(to) = receiver.or(drawn.copied()) else { break };
                    (Some(to), usize::from(plan.layout.may_send(device, to)))
                }
                FlowKind::Any { .. } => (None, 1),
                FlowKind::Broadcast => (None, within_reach(plan, device).filter(|other| site.is_on(*other)).count()),
                FlowKind::Publish { topics, subscribers } => {
                    let on = |subscriber: &&usize| site.is_on(**subscriber);
                    let place = sender.turn % topics.len().max(1);
                    sender.turn += 1;
                    topic = topics.get(place).zip(self.topics[index].get(place).copied());
                    let may = |subscriber: &&usize| {
                        let apart = |(topic, _): &(&String, u32)| !plan.layout.may_hear(device, **subscriber, topic);
                        plan.layout.is_plain() || !topic.as_ref().is_some_and(apart)
                    };
                    (None, subscribers.iter().filter(on).filter(may).count())
                }
            };
            let what = Handed { to, topic, size: size.max(LEAST_SIZE), expected };
            hand_over(plan, index, device, what, site, ledger);
        }
        if let Some(next) = next {
            Self::enter(plan, flow, next, number, agenda);
        }
    }
}

/// A message to be submitted.
struct Handed<'a> {
    /// The index of the receiver, if there is exactly one.
    to: Option<usize>,
    /// The topic and its number, for a publication.
    topic: Option<(&'a String, u32)>,
    size: usize,
    /// The number of copies that are to arrive.
    expected: usize,
}

fn hand_over(plan: &Plan, index: usize, from: usize, what: Handed<'_>, site: &(impl Site + ?Sized), ledger: &Ledger) {
    let Handed { to, topic, size, expected } = what;
    let flow = &plan.flows[index];
    let full = ledger.lock().open[from] >= MOST_OPEN;
    let ack = match &flow.kind {
        FlowKind::Any { request: true, .. } | FlowKind::Request(_) => Ack::End,
        // A broadcast is confirmed by counting its receivers.
        FlowKind::Broadcast | FlowKind::Publish { .. } => Ack::None,
        FlowKind::Any { .. } | FlowKind::Send(_) => flow.ack,
    };
    let (id, payload) = ledger.handle_sent(Message {
        flow: index,
        from,
        to,
        any: matches!(flow.kind, FlowKind::Any { repeat: false, .. }),
        topic: topic.map(|(_, number)| number),
        size,
        ack,
        sent: now(),
        deadline: now() + nanos(flow.deadline),
        end: None,
        way: None,
        durable: None,
        received: Vec::new(),
        duplicates: 0,
        late: 0,
        expected: u32::try_from(expected).unwrap_or(u32::MAX),
        orphaned: false,
        spared: false,
    });
    if full {
        return ledger.handle_end(id, End::Refused, "the application holds as much as it may");
    }
    let command = command(plan, flow, payload, to, topic.map(|(topic, _)| topic));
    command.into_iter().for_each(|command| site.send(from, id, command));
}

/// Returns the command by which a message is sent, to the receiver or the topic that was chosen.
fn command(plan: &Plan, flow: &Flow, payload: Vec<u8>, to: Option<usize>, topic: Option<&String>) -> Option<Command> {
    let name = |device: usize| plan.devices[device].name.clone();
    let message = |to: usize, payload| Send {
        to: name(to),
        payload,
        ack: flow.ack,
        class: flow.class,
        policy: flow.policy.clone(),
        lifetime: flow.deadline,
        id: None,
        latest: None,
    };
    let (policy, lifetime) = (flow.policy.clone(), flow.deadline);
    match &flow.kind {
        FlowKind::Send(_) => Some(Command::Send(message(to?, payload))),
        FlowKind::Request(_) => {
            Some(Command::Request { send: message(to?, payload), service: Some(SERVICE.to_owned()) })
        }
        FlowKind::Any { service, request, repeat, servers: _ } => {
            let kind = match request {
                true => AnycastKind::Request { repeat: *repeat, id: None },
                false => AnycastKind::Message { ack: flow.ack, id: None },
            };
            let (service, class) = (service.clone(), flow.class);
            Some(Command::Anycast(Anycast { service, payload, class, policy, lifetime, kind }))
        }
        FlowKind::Broadcast => Some(Command::Broadcast(Broadcast { payload, ack: flow.ack, policy, lifetime })),
        FlowKind::Publish { .. } => Some(Command::Publish {
            topic: topic?.clone(),
            payload,
            policy: None,
            lifetime,
            confirm: None,
            latest: false,
        }),
    }
}

/// Returns the devices that a broadcast is for: those of the sender's area with which it may exchange messages.
fn within_reach(plan: &Plan, from: usize) -> impl Iterator<Item = usize> {
    let area = plan.devices[from].area;
    let others = (0..plan.devices.len()).filter(move |other| *other != from);
    others.filter(move |other| plan.devices[*other].area == area && plan.layout.may_send(from, *other))
}

/// Returns the topic of that number.
pub fn topic(plan: &Plan, number: u32) -> Option<String> {
    plan.flows.iter().zip(numbers(plan)).find_map(|(flow, numbers)| {
        let place = numbers.iter().position(|known| *known == number)?;
        let FlowKind::Publish { topics, .. } = &flow.kind else { return None };
        topics.get(place).cloned()
    })
}

/// Returns the numbers of each flow's topics.
fn numbers(plan: &Plan) -> Vec<Vec<u32>> {
    let mut known = BTreeMap::new();
    let topics = plan.flows.iter().map(|flow| match &flow.kind {
        FlowKind::Publish { topics, .. } => &topics[..],
        _ => &[],
    });
    let mut number = |topic| {
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        *known.entry(topic).or_insert(next)
    };
    topics.map(|topics| topics.iter().map(&mut number).collect()).collect()
}

impl Sender {
    /// Draws a number from 0 to 1, excluding 1.
    fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns the next event after a time. If the rate differs over the day, events are drawn at the day's highest
    /// rate, and each is kept with the ratio of the rate at its time to the highest: thinning (Lewis and Shedler 1979).
    fn arrival(&mut self, flow: &Flow, rate: f64, after: Duration) -> Duration {
        let Some(daily) = &flow.daily else { return after + self.gap(rate) };
        let (most, mut at) = (daily.most(), after);
        loop {
            at += self.gap(rate * most);
            if at >= flow.end || self.unit() * most < daily.factor(at) {
                return at;
            }
        }
    }

    /// Draws the time until the next event of a Poisson process with this rate a second.
    fn gap(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.unit()).ln() / rate.max(1e-12);
        Duration::try_from_secs_f64(seconds.max(1e-6)).unwrap_or(Duration::MAX / 4)
    }
}

/// The part of the senders' seeds that distinguishes them from others made from the plan's seed.
const WORKLOAD: u64 = 0x3a00_0000_0000_0000;
/// The number of messages of one device that may be open, which means that they have not ended.
const MOST_OPEN: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Daily;
    use m2mesh::wire::data::Class;

    #[test]
    fn arrivals_follow_the_hours_and_without_a_profile_only_the_rate() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let daily = Daily { steps: vec![(hours(0), 0.0), (hours(6), 3.0), (hours(18), 1.0)], dawn: hours(3) };
        let mut flow = Flow {
            name: "readings".into(),
            from: vec![0],
            kind: FlowKind::Send(vec![vec![1]]),
            pattern: Pattern::Poisson(0.01),
            daily: Some(daily),
            size: 8,
            ack: Ack::End,
            class: Class::Telemetry,
            policy: None,
            deadline: hours(1),
            begin: Duration::ZERO,
            end: hours(240),
        };
        let arrivals = |flow: &Flow| {
            let rng = ChaCha20Rng::from_seed([7; 32]);
            let mut sender = Sender { flow: 0, device: 0, place: 0, rng, next: 0, turn: 0 };
            let mut by_hour = [0u32; 24];
            let mut at = sender.arrival(flow, 0.01, flow.begin);
            while at < flow.end {
                by_hour[((at + hours(3)).as_secs() / 3_600 % 24) as usize] += 1;
                at = sender.arrival(flow, 0.01, at);
            }
            [0..6, 6..18, 18..24].map(|part| by_hour[part].iter().sum::<u32>())
        };
        // Ten days of 36 an hour, by the factors: 0, 12,960 and 2,160; within five sigmas.
        let [night, day, evening] = arrivals(&flow);
        assert!(night == 0 && day.abs_diff(12_960) < 570 && evening.abs_diff(2_160) < 233, "{day} {evening}");
        assert_eq!(arrivals(&flow), [night, day, evening]);
        flow.daily = None;
        let [night, day, evening] = arrivals(&flow);
        assert!(night.abs_diff(2_160) < 233 && day.abs_diff(4_320) < 329 && evening.abs_diff(2_160) < 233);
    }
}
